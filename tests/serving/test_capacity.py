"""A server at its capacity and far beyond it, for as long as it takes to see what comes of it."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving import bundles
from serving.running import Running, error_of, request, serving
from serving.test_batching import ask_all, ask_and_compare, mixed

SOAK_S = float(os.environ.get("NETWRIGHT_SOAK_S", "60"))
OVERLOADED_S = 15.0


@pytest.mark.soak
def test_answers_stay_the_serial_ones_for_minutes(server: Running, made: Path) -> None:
    """1, 8, 64 and 256 at once in turns, all kinds and lengths, for up to five minutes: no other answer and no 5xx."""
    asked = mixed(made, 2000)
    end = time.monotonic() + min(SOAK_S, 300.0)
    count, turn = 0, 0
    while time.monotonic() < end:
        concurrency = (1, 8, 64, 256)[turn % 4]
        part = asked[:200] if concurrency == 1 else asked
        ask_and_compare(server.port, part, concurrency)
        count += len(part)
        turn += 1
    print(f"{count:,} requests, each answered as alone")


@dataclass(slots=True)
class Offered:
    """What came of requests that were sent at a fixed rate, whatever the answers."""

    sent: int = 0
    answered: list[float] = field(default_factory=list)  # seconds from the moment when each was due
    refused: list[float] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)


async def offer(port: int, data: bytes, rate: float, seconds: float) -> Offered:
    """Send requests at a rate, each over a connection that is free, or another one."""
    found = Offered()
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(due: float) -> None:
        reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        body = await reader.readexactly(int(lower.split(b"content-length:")[1].split()[0]))
        taken = time.monotonic() - due
        if b"connection: close" in lower:
            writer.close()
        else:
            free.append((reader, writer))
        if head.startswith(b"HTTP/1.1 200"):
            found.answered.append(taken)
        elif head.split()[1] in (b"429", b"503") and b"retry-after:" in lower and error_of(body):
            found.refused.append(taken)
        else:
            found.others.append(head)

    begun = time.monotonic()
    tasks: list[asyncio.Task[None]] = []
    while (now := time.monotonic()) < begun + seconds:
        while (due := begun + found.sent / rate) <= now:
            tasks.append(asyncio.create_task(one(due)))
            found.sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    for _, writer in free:
        writer.close()
    return found


@pytest.mark.soak
def test_five_times_its_capacity_costs_it_little(tmp_path: Path) -> None:
    """What is too much is told to come again; the rest is answered at four fifths of the peak, and then all is well."""
    bundles.digits(tmp_path / "slow", slow=150)
    data = request("/predict", bundles.png(1), kind="image/png", close=False)
    with serving(tmp_path / "slow", "--quiet") as one:
        one.ask(data)
        begun = time.monotonic()
        count = 0
        while time.monotonic() < begun + 5:
            assert {status for status, _, _ in asyncio.run(ask_all(one.port, [data] * 512, 64))} == {200}
            count += 512
        peak = count / (time.monotonic() - begun)
        begun = time.monotonic()
        found = asyncio.run(offer(one.port, data, 5 * peak, OVERLOADED_S))
        taken = time.monotonic() - begun
        again = time.monotonic()
        assert one.ask(data)[0] == 200
        recovered = time.monotonic() - again
        answered, refusals = len(found.answered), len(found.refused)
        late = sorted(found.answered)[int(0.99 * answered)]
        print(
            f"peak {peak:.0f}/s; offered {found.sent / OVERLOADED_S:.0f}/s: {answered / taken:.0f}/s answered, 99 % "
            f"within {late:.2f} s; {refusals} told to come again; then one in {1000 * recovered:.0f} ms"
        )
        assert not found.others
        assert refusals > found.sent / 2  # else it was no overload
        assert late < 30  # --answer-timeout, after which a request is given up
        assert answered > 0.8 * peak * taken
        assert recovered < 2
