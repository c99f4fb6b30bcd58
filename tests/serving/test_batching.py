"""Answers of requests that share a batch: the serial ones, each to whom it belongs; and what is done with too many."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from netwright.answering.predictor import Predictor
from netwright.serving.batching import Batcher, Worker
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused
from serving import bundles
from serving.running import Running, error_of, read_reply, request, serving

TOLERANCE = 1e-6  # batches of other sizes add in another order


async def ask_all(port: int, requests: Sequence[bytes], concurrency: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Replies in the order of their requests, over so many connections that are kept."""
    found: list[Any] = [None] * len(requests)
    places = iter(range(len(requests)))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for place in places:
            writer.write(requests[place])
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *rest = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            body = await reader.readexactly(int(headers["content-length"]))
            found[place] = int(status.split()[1]), headers, body
            if headers.get("connection") == "close":
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(one() for _ in range(concurrency)))
    return found


def sizes(server: Running, model: str) -> tuple[float, float]:
    """Batches of a model and inputs in them, all together."""
    text = server.ask(request("/metrics"))[2].decode()
    return tuple(
        float((re.search(rf'netwright_batch_size_{what}\{{model="{model}@1"\}} (\S+)', text) or ["", "0"])[1])
        for what in ("count", "sum")
    )  # type: ignore[return-value]


def mixed(made: Path, count: int) -> list[tuple[bytes, str, dict[str, Any]]]:
    """Requests of all kinds and lengths, an id each, and the serial answer."""
    generator = random.Random(1)
    predictors = {name: Predictor.open(made / name) for name in ("digits", "texts", "apart", "rows", "sounds")}
    found = []
    for place in range(count):
        name = generator.choice(list(predictors))
        raw: Any
        if name == "digits":
            raw = bundles.png(place % 50, size=generator.choice([28, 28, 28, 60]))
            sent: dict[str, Any] = {"input": base64.b64encode(raw).decode()}
        elif name == "rows":
            raw = {"age": generator.choice([None, 1, 40.5, 99]), "town": generator.choice(["Rome", "Oslo", "Bonn"])}
            sent = {"input": raw}
        elif name == "sounds":
            raw = bundles.wav(
                generator.randrange(100, 2000), seconds=generator.choice([0.1, 0.11, 0.3]), loud=generator.random()
            )
            sent = {"input": base64.b64encode(raw).decode()}
        else:
            raw = "".join(generator.choice(bundles.LETTERS[1:]) for _ in range(generator.randrange(1, 60)))
            sent = {"input": raw}
        answer = predictors[name].predict([raw] if name != "texts" else [raw])[0]
        data = request(f"/models/{name}/predict", json.dumps(sent).encode(), close=False, X_Request_ID=f"r-{place}")
        found.append((data, f"r-{place}", answer))
    return found


def ask_and_compare(port: int, asked: Sequence[tuple[bytes, str, dict[str, Any]]], concurrency: int) -> None:
    """Ask so many at once; each reply is for its own request, and equal to the serial answer."""
    replies = asyncio.run(ask_all(port, [data for data, _, _ in asked], concurrency))
    for (_, name, answer), (status, headers, body) in zip(asked, replies, strict=True):
        assert status == 200, body
        assert headers["x-request-id"] == name
        told = json.loads(body)
        assert told.get("label") == answer.get("label")
        for part in ("value", "probabilities"):
            if part in answer:
                expected = answer[part] if isinstance(answer[part], dict) else list(answer[part])
                assert told[part] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("concurrency", [1, 8, 64, pytest.param(256, marks=pytest.mark.soak)])
def test_answers_of_batches_are_the_serial_answers(server: Running, made: Path, concurrency: int) -> None:
    """Of all kinds and lengths at once, each reply is for its own request, and equal to the answer it gets alone."""
    asked = mixed(made, 400)
    before = sizes(server, "digits")
    ask_and_compare(server.port, asked, concurrency)
    after = sizes(server, "digits")
    batches, inputs = after[0] - before[0], after[1] - before[1]
    assert inputs > batches or concurrency == 1  # else nothing was tested


def test_one_bad_input_fails_alone(server: Running) -> None:
    """Others of its batch are answered."""
    good = request("/predict", bundles.png(1), kind="image/png", close=False)
    bad = request("/predict", bundles.png(1)[:150], kind="image/png", close=False)
    replies = asyncio.run(ask_all(server.port, [bad if place % 5 == 2 else good for place in range(100)], 20))
    assert [status for status, _, _ in replies] == [422 if place % 5 == 2 else 200 for place in range(100)]
    assert len({body for status, _, body in replies if status == 200}) <= 3  # up to the last bit, by the batch's size


def test_beyond_the_queue_requests_are_told_to_come_again(made: Path, tmp_path: Path) -> None:
    """429 with Retry-After; those that were accepted are answered right, and afterwards all is as before."""
    bundles.digits(tmp_path / "large", size=400, hidden=256)  # some milliseconds a picture
    with serving(tmp_path / "large", made / "rows", "--max-queue", "8", "--max-batch", "2") as one:
        body = bundles.png(1, size=400)
        data = request("/predict", body, kind="image/png", close=False)
        status, _, alone = one.ask(data)
        assert status == 200
        replies = asyncio.run(ask_all(one.port, [data] * 80, 40))
        statuses = {status for status, _, _ in replies}
        assert statuses == {200, 429}
        for status, headers, told in replies:
            if status == 429:
                assert int(headers["retry-after"]) >= 1 and error_of(told)["code"] == "busy"
            else:
                assert json.loads(told)["probabilities"] == pytest.approx(
                    json.loads(alone)["probabilities"], abs=TOLERANCE
                )
        assert one.ask(data)[0] == 200
        memory = one.rss()
        asyncio.run(ask_all(one.port, [data] * 80, 40))
        assert one.rss() - memory < 64 << 20


def test_at_the_systems_limit_of_files_clients_are_told_so(made: Path) -> None:
    """64 files: fewer connections, and said so at the begin; the others get 503 or are closed, and it goes on."""
    data = request("/predict", bundles.png(1), kind="image/png")
    with serving(made / "digits", files=64) as one:
        (warned,) = one.events("the system's limit of open files")
        assert warned["level"] == "warning" and 0 < warned["connections"] < 64
        several = [one.connect() for _ in range(200)]
        time.sleep(0.3)
        statuses = []
        for each in several:
            with contextlib.suppress(OSError):
                each.sendall(data)
                statuses.append(read_reply(each)[0])
            each.close()
        assert statuses.count(200) >= warned["connections"] - 1 and set(statuses) == {200, 503}
        end = time.monotonic() + 10
        while one.ask(data)[0] != 200 and time.monotonic() < end:
            time.sleep(0.05)  # it has not seen all of them leave yet
        assert one.ask(data)[0] == 200
        assert one.files() < 64


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_clients_that_leave_cost_nothing(server: Running, count: int) -> None:
    """Many that close in the midst of their request, or before their answer: no file stays open, no memory is kept."""
    content = bundles.png(1, size=300)
    data = request("/predict", content, kind="image/png", close=False)
    server.ask(data)
    files = server.files()
    for place in range(count):
        with server.connect() as one:
            one.sendall(data if place % 2 else data[: len(data) // 2])
            if place % 4 == 1:
                one.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER 0: the end comes as a reset
    end = time.monotonic() + 20
    while server.files() > files + 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert server.files() <= files + 2
    assert server.ask(data)[0] == 200


def test_too_many_connections_are_told_so(server: Running) -> None:
    """The 601st of 600 gets 503, and later ones are served again."""
    several = [server.connect() for _ in range(600)]
    time.sleep(0.2)
    try:
        status, headers, body = server.ask(b"")
        assert (status, error_of(body)["code"]) == (503, "too_many_connections")
        assert headers["retry-after"]
    finally:
        for one in several:
            one.close()
    end = time.monotonic() + 10
    while server.ask(request("/v2/health/live"))[0] != 200 and time.monotonic() < end:
        time.sleep(0.05)
    assert server.ask(request("/v2/health/live"))[0] == 200


class Slow:
    """A model that takes its time, and can be told to fail or to never come back."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def decode(self, raw: Any) -> dict[str, Any]:
        return {"x": raw}

    def answer(self, samples: Sequence[Any], names: Sequence[str]) -> list[dict[str, Any]]:
        self.sizes.append(len(samples))
        self.go.wait(30)
        if any(sample["x"] == "bad" for sample in samples):
            raise RuntimeError("a secret of the model")
        return [{"name": name, "text": sample["x"]} for name, sample in zip(names, samples, strict=True)]


def batcher(model: Slow, **limits: Any) -> tuple[Batcher, Worker]:
    worker = Worker()
    made = Batcher(model, worker, Limits(**limits), varying=(), together=True, observe=lambda size: None)
    return made, worker


def test_a_lone_request_waits_for_nobody_and_those_that_wait_are_taken_together() -> None:
    """One goes at once; ten that come meanwhile are the next batch."""

    async def run() -> None:
        model = Slow()
        line, _ = batcher(model, wait_ms=60_000.0)
        assert (await asyncio.wait_for(line.submit("a", "a"), 5))["text"] == "a"
        assert model.sizes == [1]
        model.go.clear()
        first = line.submit("b", "b")
        await asyncio.sleep(0.05)
        others = [line.submit(str(place), str(place)) for place in range(10)]
        model.go.set()
        await first
        assert [one["text"] for one in await asyncio.gather(*others)] == [str(place) for place in range(10)]
        assert model.sizes == [1, 1, 10]

    asyncio.run(run())


def test_a_batch_waits_for_inputs_that_are_known_to_come() -> None:
    """While one is decoded the other waits for it, but no longer than the budget."""

    async def run() -> None:
        model = Slow()
        line, _ = batcher(model, wait_ms=60_000.0)
        line.coming = 1
        first = line.submit("a", "a")
        await asyncio.sleep(0.05)
        assert not model.sizes
        second = line.submit(None, "b", sample={"x": "b"})
        line.came()
        await asyncio.gather(first, second)
        assert model.sizes == [2]
        short, _ = batcher(model, wait_ms=1.0)
        short.coming = 1
        await asyncio.wait_for(short.submit("c", "c"), 5)

    asyncio.run(run())


def test_a_model_that_raises_fails_that_request_and_tells_nothing() -> None:
    """Its batch is asked one by one; the words of the exception stay inside."""

    async def run() -> None:
        model = Slow()
        line, _ = batcher(model)
        asked = [line.submit(raw, raw) for raw in ("a", "bad", "c")]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [one["text"] for one in (found[0], found[2])] == ["a", "c"]  # type: ignore[index]
        assert isinstance(found[1], Refused) and found[1].status == 500 and "secret" not in found[1].message

    asyncio.run(run())


def test_a_model_that_does_not_come_back_is_left_behind() -> None:
    """Its request gets 503, the next is answered by another thread, and after four the server is not ready."""

    async def run() -> None:
        model = Slow()
        line, worker = batcher(model, answer_s=0.1)
        for turn in range(4):
            model.go.clear()
            stuck, waiting = line.submit("a", "a"), line.submit("b", "b")
            await asyncio.sleep(0.15)
            line.sweep(time.monotonic())
            for one in (stuck, waiting):
                with pytest.raises(Refused) as refused:
                    await one
                assert refused.value.status == 503
            assert worker.healthy == (turn < 3)
            model.go = threading.Event()
            model.go.set()
            assert (await asyncio.wait_for(line.submit("c", "c"), 5))["text"] == "c"

    asyncio.run(run())


def test_who_is_gone_is_not_asked_about() -> None:
    """A request that was cancelled while it waited never reaches the model."""

    async def run() -> None:
        model = Slow()
        line, _ = batcher(model)
        model.go.clear()
        first = line.submit("a", "a")
        await asyncio.sleep(0.05)
        gone, stays = line.submit("gone", "gone"), line.submit("b", "b")
        gone.cancel()
        model.go.set()
        await asyncio.gather(first, stays)
        assert model.sizes == [1, 1]

    asyncio.run(run())


def test_a_reply_is_one_write_and_is_read_whole(server: Running) -> None:
    """Large replies come whole, to one who reads slowly but reads."""
    with server.connect() as one:
        one.sendall(request("/openapi.json", close=False) * 3)
        time.sleep(0.3)
        assert read_reply(one)[0] == 200
