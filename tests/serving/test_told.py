"""What the server may be told, and what it tells: no path is followed, no address asked, nothing of its inside said.

The server runs with an audit hook from its start (``answering/watched/sitecustomize.py``), which writes down files that
are read, connections, programs and payloads; and a listener on loopback waits for a request that must never come.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import netwright
from answering import gadgets, malice
from serving import bundles
from serving.asking import addresses, broken, inputs, steps
from serving.running import Running, error_of, request, serving

WATCHED = Path(__file__).resolve().parent.parent / "answering" / "watched"
# What a reply must never hold: traces, paths, modules, addresses in memory, versions.
INSIDE = re.compile(
    r'Traceback|File "|\.pyc?\b|site-packages|/(?:tmp|home|usr|root|var|opt|work|proc|etc)/|0x[0-9a-f]{6,}'
    r"|onnxruntime|onnx\b|numpy|torch|pillow|\bPIL\b|uvicorn|starlette|fastapi|pydantic|h11|httptools|soundfile|libsnd"
    r"|netwright\.|python|\w+Error\b|Exception\b|<class |object at|\b\d+\.\d+\.\d+\b",
    re.IGNORECASE,
)


class Watched(NamedTuple):
    """A server that is watched, its secret, and who waits to be asked."""

    server: Running
    folder: Path
    secret: Path
    port: int
    asked: list[bytes]

    def seen(self) -> list[str]:
        """What the hook wrote down."""
        return (self.folder / "log").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server over bundles of four kinds, each imported and asked once, so that all it needs has been read."""
    folder = tmp_path_factory.mktemp("told")
    names = ("digits", "texts", "rows", "sounds")
    for name in names:
        getattr(bundles, name)(folder / "bundles" / name)
    malice.prepare(folder / "marks")
    secret = folder / "secret.png"
    secret.write_bytes(bundles.png(5))
    (folder / "bundles" / "secret.txt").write_text("secret words")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        listener.settimeout(0.2)
        done = threading.Event()
        waiting = threading.Thread(target=_wait, args=(listener, done, asked))
        waiting.start()
        patch.setenv("PYTHONPATH", os.pathsep.join([str(WATCHED), str(folder / "marks")]))
        patch.setenv("NETWRIGHT_WATCH", str(folder / "log"))
        patch.setenv("NETWRIGHT_WATCH_READS", "1")
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        try:
            with serving(*(folder / "bundles" / name for name in names), "--receive-timeout", "2") as server:
                yield Watched(server, folder, secret, listener.getsockname()[1], asked)
        finally:
            done.set()
            waiting.join(10)


def _wait(listener: socket.socket, done: threading.Event, asked: list[bytes]) -> None:
    while not done.is_set():
        try:
            one, _ = listener.accept()
        except TimeoutError:
            continue
        with one:
            asked.append(b"somebody")


def told(one: Watched, data: bytes) -> tuple[int, bytes]:
    """Ask; the status and the body, in which nothing of the inside stands that the request did not hold itself."""
    reply = one.server.send(
        data if b"\r\nConnection: close" in data else data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    )
    head, _, body = reply.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    spoken = data.decode("latin-1").lower()
    if status != 200:
        for text in (head.decode("latin-1"), body.decode("utf-8")):
            hidden = [found for found in INSIDE.findall(text) if found.lower() not in spoken]
            assert not hidden, (hidden, data[:200], text[:400])
    assert b"secret words" not in body and b"root:" not in body
    return status, body


def outside(one: Watched, since: int) -> list[str]:
    """What was read elsewhere than where the server's own files lie, and all that is no read."""
    own = tuple(
        map(
            str,
            {
                Path(netwright.__file__).parent,
                Path(sys.prefix),
                Path(sys.base_prefix),
                Path(sysconfig.get_path("stdlib")),
                "/usr/share/zoneinfo",
                "/dev/urandom",
                "/proc/self",
                "/etc/localtime",
                "/usr/lib",
                "/lib",
            },
        )
    )
    found = []
    for line in one.seen()[since:]:
        path = line.removeprefix("reads ").partition(" | ")[0]
        if not line.startswith("reads ") or not path.startswith(own):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def since(watched: Watched) -> int:
    """Lines that were seen before anything hostile came: each model is asked once."""
    for data in (
        request("/predict", bundles.png(1), kind="image/png"),
        request("/models/sounds/predict", bundles.wav(300), kind="audio/wav"),
        request("/models/texts/predict", json.dumps({"input": "good"}).encode()),
        request("/models/rows/predict", json.dumps({"input": {"age": 3}}).encode()),
        request("/"),
        request("/openapi.json"),
        request("/metrics"),
    ):
        assert watched.server.ask(data)[0] == 200
    return len(watched.seen())


def test_the_watch_is_on(watched: Watched, since: int) -> None:
    """It saw the server read its bundles."""
    assert since
    assert [line for line in watched.seen() if line.startswith(f"reads {watched.folder}/bundles/digits/model.onnx")]


def test_paths_lead_nowhere(watched: Watched, since: int) -> None:
    """Every way up is a 404 or another 4xx, and no file is opened for it."""
    for path in steps(watched.secret):
        status, body = told(watched, request(path))
        assert status in (400, 404, 405), path
        error_of(body)
    assert not outside(watched, since)


def test_no_place_that_is_named_is_looked_at(watched: Watched, since: int) -> None:
    """Files and addresses where an input is wanted: text is answered as text, all else refused; none is opened."""
    count = 0
    places = [str(watched.secret), watched.secret.as_uri(), "../secret.txt", "/etc/passwd", "C:\\secret.png"]
    for place in (*places, *addresses(watched.port)):
        for data in inputs(place):
            status, _ = told(watched, data)
            assert status == 200 or 400 <= status < 500, (status, data[:300])
            if b"/models/digits/" in data or b"/models/sounds/" in data:
                assert status != 200, data[:300]
            count += 1
    assert count > 300
    assert not outside(watched, since)
    assert not watched.asked


def test_files_that_mean_harm_are_refused(watched: Watched, since: int) -> None:
    """All of them, as what they are, as pictures, sounds, JSON, forms and in base64, in turns."""
    kinds = (
        "image/png",
        "audio/wav",
        "application/json",
        "application/octet-stream",
        "text/plain",
        "text/csv",
        "application/x-pickle",
        "application/zip",
        "multipart/form-data; boundary=x",
        "image/svg+xml",
        "",
    )
    refused = 0
    for at, content in enumerate(malice.corpus(watched.folder / "marks").values()):
        for turn in range(3):
            model = ("digits", "sounds", "texts", "rows")[(at + turn) % 4]
            kind = kinds[(at + 4 * turn) % len(kinds)]
            body = content or b" "
            if turn == 2:
                kind, body = "application/json", json.dumps({"input": base64.b64encode(body).decode()}).encode()
            elif kind.startswith("multipart"):
                head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="data.pkl"\r\n\r\n'
                body = head + body + b"\r\n--x--\r\n"
            status, _ = told(watched, request(f"/models/{model}/predict", body, kind=kind))
            assert status == 200 or 400 <= status < 500, (status, kind, content[:100])
            assert status != 200 or model == "texts", (model, kind, content[:100])
            refused += status != 200
    assert refused > 500
    assert not outside(watched, since)
    assert malice.unharmed(watched.folder / "marks")


def test_refusals_tell_nothing_of_the_inside(watched: Watched, since: int) -> None:
    """No path, trace, version, module or kind of exception; three parts, of which one is a sentence."""
    statuses = set()
    for data in broken():
        status, body = told(watched, data)
        assert status == 200 or 400 <= status < 500, (status, data[:200])
        if status != 200 and body:
            assert error_of(body)["message"].endswith("."), body
        statuses.add(status)
    assert {200, 400, 404, 405, 415, 422} & statuses > {400, 404}
    assert not outside(watched, since)
    assert not watched.server.events("fault")


def test_the_expression_finds_what_it_looks_for() -> None:
    """What frameworks answer by themselves."""
    for text in (
        'Traceback (most recent call last):\n  File "/srv/app.py", line 3',
        "module 'numpy' has no attribute",
        "Server: uvicorn",
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT",
        "cannot identify image file <_io.BytesIO object at 0x7f00aabbcc>",
        "/home/a/model",
        "ValueError: x",
        "torch 2.13.0",
    ):
        assert INSIDE.search(text)


def test_a_bundle_that_means_harm_is_not_served(tmp_path: Path, made: Path) -> None:
    """A folder whose files are pickles under right digests ends the command with 1 and a sentence."""
    from answering.given_hostile import spoilt
    from netwright.cli import main

    malice.prepare(tmp_path / "marks")
    for name in ("model.onnx", "preprocess.json", "classes.json", "certificate.json"):
        place = Path(shutil.copytree(made / "digits", tmp_path / name))
        content = malice.as_global(gadgets.gadgets(tmp_path / "marks")[0])
        assert main(["serve", "--no-supervise", str(spoilt(place, name, content)), "--port", "0"]) == 1
    assert malice.unharmed(tmp_path / "marks")
