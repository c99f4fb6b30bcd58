"""Every reader of what comes from outside, given good inputs that were spoilt at random, many of them.

NETWRIGHT_FUZZ says how many each; a million under `make soak`. Nothing may come out but a value or the refusals that a
reader declares; none may take a second, and memory may not grow.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netwright.answering.bundle import open_bundle
from netwright.answering.predictor import Predictor
from netwright.answering.spec import read_spec
from netwright.checkpoints import read_weights, write_weights
from netwright.data.raw import UNREADABLE
from netwright.errors import NetwrightError
from netwright.serving.http1 import Chunks, parse_head
from netwright.serving.inputs import check_picture, raw_inputs
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused
from serving import bundles
from serving.running import memory_of
from serving.test_hostile import mutated

COUNT = int(os.environ.get("NETWRIGHT_FUZZ", "20000"))
LONGEST_S = 1.0
GROWTH = 64 << 20
LIMITS = Limits()
BOUNDARY = "multipart/form-data; boundary=x"

Reader = Callable[[bytes], object]
HEADS = (
    b"GET / HTTP/1.1\r\nHost: a",
    b"POST /predict?model=a%2fb&explain=1 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\nExpect: 100-continue",
    b"POST /a HTTP/1.1\r\nHost: [::1]:8000\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\nX-Request-ID: 1",
)
CHUNKED = (b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nx\r\nA\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n")
JSONS = tuple(
    json.dumps(one).encode()
    for one in (
        {"input": {"age": 3, "town": "Rome"}},
        {"inputs": [{"age": None}, {"town": "\u597d"}, {"age": 1e300}]},
        {"input": {"age": -1.5e-3, "town": 'a\\b"c'}},
    )
)
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nabc\r\n'
FORMS = (PART + b"--x--\r\n", PART * 3 + b"--x--\r\n")


def _chunks(data: bytes) -> None:
    reader, rest = Chunks(LIMITS), bytearray(data)
    reader.feed(rest)


def _weights(folder: Path) -> Reader:
    file = folder / "weights.safetensors"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        read_weights(file)

    return read


def _seeds(made: Path, folder: Path) -> dict[str, tuple[Sequence[bytes], Reader]]:
    """By name good inputs, and what reads them."""
    rows, digits, sounds = (open_bundle(made / name) for name in ("rows", "digits", "sounds"))
    pictures, tones = (Predictor.open(made / name) for name in ("digits", "sounds"))
    specs = {name: (made / name / "preprocess.json").read_bytes() for name in ("rows", "digits")}

    def spec(data: bytes) -> None:
        try:
            given = json.loads(data)
        except (ValueError, RecursionError):
            return  # told by who opens the bundle
        if isinstance(given, dict):
            read_spec(given, {"classes": bundles.CLASSES}, where="bundle")

    def body(kind: str, one: Any) -> Reader:
        return lambda data: raw_inputs(
            one.spec, kind, data, LIMITS, several=b"inputs" in data or data.count(b"--x") > 2
        )

    images = [bundles.png(1, size=12, kind=kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]
    write_weights(folder / "good", {"a": torch.zeros(3, 2), "b": torch.zeros(4, dtype=torch.int64)})
    return {
        "heads": (HEADS, lambda data: parse_head(data, LIMITS)),
        "chunks": (CHUNKED, _chunks),
        "JSON": (JSONS, body("application/json", rows)),
        "forms": (FORMS, body(BOUNDARY, digits)),
        "headers of pictures": (images, lambda data: check_picture(data, LIMITS)),
        "pictures": (images, pictures.decode),
        "sounds": (tones_of(), tones.decode),
        "sounds in JSON": ([b'{"input": [0.5, -0.25, 1]}'], body("application/json", sounds)),
        "preprocess.json": (list(specs.values()), spec),
        "weights": ([(folder / "good").read_bytes()], _weights(folder)),
    }


def tones_of() -> list[bytes]:
    """A short tone in several rates and formats."""
    import soundfile

    found = [bundles.wav(300, 0.01)]
    for rate, kind, subtype in ((16_000, "WAV", "FLOAT"), (44_100, "WAV", "PCM_U8"), (48_000, "FLAC", "PCM_16")):
        out = io.BytesIO()
        soundfile.write(out, np.sin(np.arange(400).reshape(200, 2)), rate, format=kind, subtype=subtype)
        found.append(out.getvalue())
    return found


def spoilt(generator: random.Random, content: bytes) -> bytes:
    """A byte or a few changed, or worse."""
    if generator.random() < 0.4:
        return mutated(generator, content)
    data = bytearray(content)
    for _ in range(generator.randrange(1, 4)):
        data[generator.randrange(len(data))] = generator.choice((generator.randrange(256), *b' "0-9{[,:;=\r\n'))
    return bytes(data)


NAMES = (
    "heads", "chunks", "JSON", "forms", "headers of pictures", "pictures", "sounds", "sounds in JSON",
    "preprocess.json", "weights",
)  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_spoilt_inputs_are_read_or_refused(name: str, made: Path, tmp_path: Path) -> None:
    """COUNT of each kind."""
    seeds, read = _seeds(made, tmp_path)[name]
    for one in seeds:  # what is read well, and what is imported for it
        read(one)
    generator = random.Random(1)
    refused, longest, before = 0, 0.0, 0
    for turn in range(COUNT):
        data = spoilt(generator, generator.choice(seeds))
        begun = time.perf_counter()
        try:
            read(data)
        except (Refused, NetwrightError):
            refused += 1
        except UNREADABLE:
            assert name in ("pictures", "sounds"), data
            refused += 1
        except Exception as error:
            raise AssertionError(f"{error!r} of {data!r}") from error
        longest = max(longest, time.perf_counter() - begun)
        if turn == COUNT // 10:
            before = memory_of("self")
    grown = memory_of("self") - before
    print(f"{name}: {COUNT:,}, {refused:,} refused; longest {1000 * longest:.0f} ms, {grown / 2**20:+.1f} MiB")
    assert longest < LONGEST_S
    assert grown < GROWTH


def test_all_readers_are_named(made: Path, tmp_path: Path) -> None:
    """The list of names is the readers'."""
    assert tuple(_seeds(made, tmp_path)) == NAMES
