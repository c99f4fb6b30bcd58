"""Thousands of requests that mean harm, or are merely broken: each gets a 2xx or 4xx, and the server stays."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netwright.answering.predictor import Predictor
from netwright.errors import NetwrightError
from serving import bundles
from serving.running import Running, error_of, request, serving

MEMORY = 256 << 20  # bytes that the server may grow by, whatever it is sent
INSIDE = re.compile(rb'Traceback|File "|\.py\b|/work|/home|/usr|0x[0-9a-f]{6,}|onnxruntime|Pillow|uvicorn|python', re.I)

Make = Callable[[random.Random], bytes]


def mutated(generator: random.Random, content: bytes) -> bytes:
    """Some bytes changed, cut, doubled or put in."""
    data = bytearray(content)
    for _ in range(generator.randrange(1, 8)):
        if not data:
            break
        at = generator.randrange(len(data))
        way = generator.randrange(5)
        if way == 0:
            data[at] = generator.randrange(256)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at : at + 4] = struct.pack(">I", generator.choice([0, 1, 2**31 - 1, 2**32 - 1]))
        elif way == 3:
            data[at:at] = data[at : at + 50]
        else:
            data[at:at] = bytes(generator.randrange(256) for _ in range(8))
    return bytes(data)


def picture(generator: random.Random) -> bytes:
    kind = generator.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
    content = mutated(generator, bundles.png(generator.randrange(20), size=generator.choice([1, 28, 90]), kind=kind))
    return request("/predict", content, kind="image/png", method="POST")


def sound(generator: random.Random) -> bytes:
    content = mutated(generator, bundles.wav(generator.randrange(100, 900), seconds=0.05))
    return request("/models/sounds/predict", content, kind="audio/wav", method="POST")


def broken_json(generator: random.Random) -> bytes:
    good = json.dumps(
        {"input": generator.choice(["good", {"age": 3, "town": "Rome"}, [1, [2.5, None]], {"a": {"b": []}}])}
    )
    path = generator.choice(
        ["/predict", "/predict?model=texts", "/models/rows/predict", "/predict/batch", "/v2/models/digits/infer"]
    )
    return request(path, mutated(generator, good.encode()), method="POST")


def tensors(generator: random.Random) -> bytes:
    size = generator.choice([0, 1, 2, 784, -1, 2**40, 1.5, None, "a"])
    shape = generator.choice([[1, 1, 28, 28], [size, 1, 28, 28], [1, size], size, [[1]]])
    value = generator.choice([0, 255, 256, -1, 1e30, "a", None, True, [1]])
    tensor = {
        "name": generator.choice(["image", "tokens", ""]),
        "datatype": generator.choice(["UINT8", "FP32", "BYTES", 3]),
    }
    body = {"inputs": [tensor | {"shape": shape, "data": [value] * generator.choice([0, 1, 784])}]}
    return request("/v2/models/digits/infer", json.dumps(body).encode())


def unicode_text(generator: random.Random) -> bytes:
    text = "".join(
        chr(generator.choice([0, 7, 27, 0x202E, 0xFFFF, 0x1F600, 0x597D, 0x300, 97]))
        for _ in range(generator.randrange(300))
    )
    if generator.random() < 0.5:
        return request("/predict?model=texts", json.dumps({"input": text}).encode())
    raw = mutated(generator, text.encode() or b"a")
    return request("/predict?model=texts", raw, kind="text/plain; charset=utf-8", method="POST")


def form(generator: random.Random) -> bytes:
    part = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a"\r\n\r\n'
        + bundles.png(1)
        + b"\r\n--x--\r\n"
    )
    return request("/predict", mutated(generator, part), kind="multipart/form-data; boundary=x", method="POST")


def path(generator: random.Random) -> bytes:
    pieces = [
        "..",
        "%2e%2e",
        "models",
        "v2",
        "page",
        "%00",
        "%ff",
        "~root",
        "etc",
        "passwd",
        "C:",
        "%5c",
        ";",
        "*",
        "digits",
    ]
    return request("/" + "/".join(generator.choice(pieces) for _ in range(generator.randrange(1, 7))))


def wire(generator: random.Random) -> bytes:
    good = request("/predict", bundles.png(1), kind="image/png", close=True)
    return mutated(generator, good[:160]) + b"\r\n\r\n"


def types(generator: random.Random) -> bytes:
    kind = generator.choice(
        ["", "a", "image/svg+xml", "application/zip", "text/html", "multipart/form-data", "application/json;charset=x"]
    )
    return request("/predict", os.urandom(50), kind=kind)


KINDS: tuple[Make, ...] = (picture, picture, sound, broken_json, tensors, unicode_text, form, path, wire, types)


async def one_by_one(port: int, requests: list[bytes]) -> list[bytes]:
    """Replies, each over a connection of its own; empty where the connection was closed without one."""

    async def ask(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 40)
            length = int((re.search(rb"content-length: (\d+)", head) or [b"", b"0"])[1])
            return head + (b"" if data.startswith(b"HEAD") else await asyncio.wait_for(reader.readexactly(length), 40))
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.close()

    found: list[bytes] = []
    for begin in range(0, len(requests), 250):
        found += await asyncio.gather(*(ask(data) for data in requests[begin : begin + 250]))
    return found


def hostile(server: Running, count: int) -> None:
    generator = random.Random(7)
    good = request("/predict", bundles.png(2), kind="image/png")
    answer = server.ask(good)[2]
    memory, files = server.rss(), server.files()
    done = 0
    while done < count:
        asked = [KINDS[place % len(KINDS)](generator) for place in range(min(500, count - done))]
        for data, reply in zip(asked, asyncio.run(one_by_one(server.port, asked)), strict=True):
            assert re.match(rb"HTTP/1\.1 [24]\d\d ", reply), (data[:300], reply[:300])
            body = reply.partition(b"\r\n\r\n")[2]
            assert not INSIDE.search(body), (data[:300], body)
            if reply[9:10] == b"4" and body:
                error_of(body)
        done += len(asked)
        assert server.rss() - memory < MEMORY
        assert server.ask(good)[2] == answer
    time.sleep(0.5)
    assert server.files() <= files + 5
    assert server.process.poll() is None
    assert not server.events("fault")


def test_hostile_requests_get_a_4xx_each(server: Running) -> None:
    """300 of all kinds."""
    hostile(server, 300)


@pytest.mark.soak
def test_ten_thousand_hostile_requests(server: Running) -> None:
    """10,000 of all kinds; then 200 at once, and a good one is answered as before."""
    hostile(server, 10_000)


def test_two_hundred_at_once_are_all_answered(server: Running) -> None:
    """No 5xx where the queue has room for all."""

    async def all_at_once() -> list[bytes]:
        async def ask(seed: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request("/predict", bundles.png(seed % 20), kind="image/png"))
            reply = await reader.read()
            writer.close()
            return reply

        return await asyncio.gather(*(ask(seed) for seed in range(200)))

    assert {reply[:12] for reply in asyncio.run(all_at_once())} == {b"HTTP/1.1 200"}


def damaged(folder: Path, tmp_path: Path, count: int) -> None:
    raw = bundles.png(3)
    generator = random.Random(3)
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    certified = Predictor.open(folder).predict([raw])
    place = tmp_path / "copy"
    place.mkdir()
    refused = 0
    for _ in range(count):
        name = generator.choice(list(whole))
        for other, content in whole.items():
            (place / other).write_bytes(content)
        data = bytearray(whole[name])
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        (place / name).write_bytes(data)
        try:
            assert Predictor.open(place).predict([raw]) == certified
        except NetwrightError:
            refused += 1
    assert refused > 0.9 * count  # the rest changed a word that nobody reads, as the date


def test_bundles_with_a_flipped_bit_are_refused_or_answer_as_certified(made: Path, tmp_path: Path) -> None:
    """Forty bits, anywhere in the bundle."""
    damaged(made / "digits", tmp_path, 40)


@pytest.mark.soak
def test_a_thousand_flipped_bits(made: Path, tmp_path: Path) -> None:
    """A thousand."""
    damaged(made / "digits", tmp_path, 1000)


@pytest.mark.soak
def test_five_hundred_slow_clients(made: Path) -> None:
    """500 connections that drip, closed at the deadline of ten seconds; a healthy client's 99 % stays near idle."""
    import threading

    from serving.test_http import slow

    with serving(*(made / name for name in ("digits", "rows")), "--quiet") as one:
        times: list[float] = []
        failures: list[int] = []
        done = threading.Event()
        data = request("/predict", bundles.png(1), kind="image/png")

        def healthy() -> None:
            while not done.is_set():
                begun = time.perf_counter()
                status = one.ask(data)[0]
                times.append(time.perf_counter() - begun)
                if status != 200:
                    failures.append(status)
                time.sleep(0.01)

        def measured(action: Callable[[], object]) -> float:
            times.clear()
            done.clear()
            other = threading.Thread(target=healthy)
            other.start()
            action()
            done.set()
            other.join()
            return sorted(times)[int(0.99 * len(times))]

        idle = measured(lambda: time.sleep(5))
        borne: list[float] = []
        loaded = measured(lambda: borne.extend(slow(one, 500, 10.0, pace=1.0)))
        assert len(borne) == 500 and max(borne) < 10.0 + 1.5  # from the first connection to the last one's end
        assert not failures
        print(f"99 % of a healthy client: idle {1000 * idle:.1f} ms, beside 500 slow ones {1000 * loaded:.1f} ms")
        assert loaded < 2 * idle + 0.02  # the slow clients run on the same cores as the server


@pytest.mark.soak
def test_a_long_time_of_mixed_requests(made: Path) -> None:
    """NETWRIGHT_SOAK_S seconds (3,600 under `make soak`, by default a minute): memory, files and times do not grow."""
    seconds = float(os.environ.get("NETWRIGHT_SOAK_S", "60"))
    names = ("digits", "texts", "rows", "sounds")
    with serving(*(made / name for name in names), "--quiet") as one:
        encoded = base64.b64encode(bundles.png(1)).decode()
        asked = [
            request("/predict", bundles.png(1), kind="image/png"),
            request("/predict/batch", json.dumps({"inputs": [encoded] * 5}).encode()),
            request("/predict?model=texts&explain=1", json.dumps({"input": "a good day"}).encode()),
            request("/models/rows/predict", json.dumps({"input": {"age": 3}}).encode()),
            request("/models/sounds/predict", bundles.wav(300), kind="audio/wav"),
            request("/metrics"),
        ]
        begun = time.monotonic()
        kept: list[tuple[float, int, int]] = []
        late: list[list[float]] = [[], []]
        turn = 0
        while (elapsed := time.monotonic() - begun) < seconds:
            since = time.perf_counter()
            assert one.ask(asked[turn % len(asked)])[0] == 200
            late[int(elapsed > seconds / 2)].append(time.perf_counter() - since)
            turn += 1
            if turn % 500 == 0 and elapsed > seconds / 4:  # after warming up
                kept.append((elapsed, one.rss(), one.files()))
        growth = kept[-1][1] - kept[0][1]
        slope = np.polyfit([one[0] for one in kept], [one[1] for one in kept], 1)[0] * 3600
        first, second = (sorted(part)[int(0.99 * len(part))] for part in late)
        print(
            f"{turn:,} requests, {growth / 2**20:.1f} MiB, {slope / 2**20:.2f} MiB/h, "
            f"99 % {1000 * first:.1f} then {1000 * second:.1f} ms"
        )
        assert growth < 4 * 2**20
        assert seconds < 1800 or slope < 2**20  # in less time a line through a few pages is steep
        assert abs(kept[-1][2] - kept[0][2]) <= 2
