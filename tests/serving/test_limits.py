"""Each bound has its refusal: a 4xx with a sentence, soon, and without memory for what was refused."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import time
import wave
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving import bundles
from serving.running import Running, error_of, request

MIB = 1 << 20


def bomb(width: int, height: int) -> bytes:
    """A small PNG that promises, and holds, many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + (width + 7) // 8)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * height, 9))
        + chunk(b"IEND", b"")
    )


def refused(server: Running, data: bytes, *statuses: int) -> dict[str, str]:
    status, _, body = server.ask(data)
    assert status in statuses, body
    return error_of(body)


def test_bodies_beyond_the_bound_are_refused_without_being_kept(server: Running) -> None:
    """A length of 1 GB, bytes of it, and chunks without end: 413 within a second or so, and no memory."""
    before = server.rss()
    begun = time.monotonic()
    lie = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % (
        1 << 30
    )
    assert refused(server, lie, 413)["code"] == "body_too_large"
    assert refused(server, lie + bytes(4 * MIB), 413)["code"] == "body_too_large"
    chunked = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert refused(server, chunked + (b"100000\r\n" + bytes(MIB) + b"\r\n") * 20, 413)["code"] == "body_too_large"
    assert refused(server, chunked + b"1\r\na\r\n" * 1_000_000, 413)["code"] == "too_many_chunks"
    assert refused(server, chunked + b"ffffffff\r\n", 413)["code"] == "body_too_large"
    assert time.monotonic() - begun < 10
    assert server.rss() - before < 64 * MIB


def test_compressed_bodies_are_not_taken(server: Running) -> None:
    """A body that grows when it is unpacked has no way in."""
    data = zlib.compress(b" " * MIB)
    assert refused(server, request("/predict", data, Content_Encoding="gzip"), 415)["code"] == "unsupported_encoding"


@pytest.mark.parametrize("size", [(50_000, 50_000), (20_000, 20_000), (1, 2**31 - 1)])
def test_pictures_with_too_many_pixels_are_refused_by_their_header(server: Running, size: tuple[int, int]) -> None:
    """No pixel is made of a bomb; here of its first rows alone, which is what a reader would begin with."""
    content = bomb(size[0], 64)
    content = content[:16] + struct.pack(">II", *size) + content[24:]
    before, begun = server.rss(), time.monotonic()
    for sent in (
        request("/predict", content, kind="image/png"),
        request("/predict", json.dumps({"input": base64.b64encode(content).decode()}).encode()),
    ):
        assert refused(server, sent, 413)["code"] == "too_many_pixels"
    assert time.monotonic() - begun < 5
    assert server.rss() - before < 32 * MIB


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", (415,)), (b"GIF89a", (415, 422)), (b"\x89PNG\r\n\x1a\n", (415,)), (bundles.png(1)[:200], (422,)),
     (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", (415,)), (b"<svg/>", (415,)), (b"\x00" * 500, (415,)),
     (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 0, 5, 8, 0, 0, 0, 0) + bytes(40), (422,))],
)  # fmt: skip
def test_damaged_and_foreign_pictures_are_refused(server: Running, content: bytes, status: tuple[int, ...]) -> None:
    """Only what browsers and cameras make is opened, and what is cut off is told."""
    message = refused(server, request("/predict", content, kind="image/png", method="POST"), *status)["message"]
    assert not re.search(r"0x|/|\\|Traceback|PIL", message)


def test_odd_pictures_are_answered_as_training_would_read_them(server: Running) -> None:
    """One pixel, 16 bits, CMYK, a palette, transparency, two frames, and a photograph held upright."""
    grey = Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28))
    upright = Image.new("L", (10, 40), 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {
        "one pixel": (Image.new("L", (1, 1), 7), {}),
        "16 bits": (Image.fromarray((np.arange(784, dtype=np.uint16) * 80).reshape(28, 28)), {}),
        "palette": (grey.convert("P"), {}),
        "transparent": (grey.convert("RGBA"), {}),
        "turned": (upright, {"exif": exif}),
        "animated": (grey, {"save_all": True, "append_images": [grey]}),
    }
    for picture, options in pictures.values():
        out = io.BytesIO()
        picture.save(out, "PNG", **options)
        assert server.ask(request("/predict", out.getvalue(), kind="image/png"))[0] == 200
    out = io.BytesIO()
    grey.convert("CMYK").save(out, "JPEG")
    assert server.ask(request("/predict", out.getvalue(), kind="image/jpeg"))[0] == 200


def riff(frames: int, rate: int = bundles.RATE, channels: int = 1, promised: int | None = None) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.arange(frames * channels) % 200 * 50).astype("<i2").tobytes())
    data = bytearray(out.getvalue())
    if promised is not None:
        data[40:44] = struct.pack("<I", promised)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "status"),
    [(riff(bundles.RATE * 11), 413), (b"RIFF", 422), (b"", 422), (riff(0), 422), (riff(1), 422), (riff(100)[:40], 422),
     (riff(200, rate=200), 422), (b"ID3" + bytes(200), 422)],
)  # fmt: skip
def test_sounds_that_are_long_or_damaged_are_refused(server: Running, content: bytes, status: int) -> None:
    """A day of sound costs no memory: it is refused as soon as it is longer than the model allows."""
    data = request("/models/sounds/predict", content, kind="audio/wav", method="POST")
    assert not re.search(r"0x|/|\\", refused(server, data, status)["message"].replace("16/", ""))


def test_odd_sounds_are_answered(server: Running) -> None:
    """Two samples, other rates, six channels, and a header that promises more than there is."""
    for content in (riff(2), riff(100, promised=2**31), riff(4800, rate=96_000), riff(800, channels=6)):
        status, _, body = server.ask(request("/models/sounds/predict", content, kind="audio/wav"))
        assert status == 200, body


JSONS: dict[str, tuple[bytes, int]] = {
    "too deep": (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "too deep, in objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
    "a little too deep": (b'{"input": ' + b"[" * 40 + b"]" * 40 + b"}", 400),
    "brackets in a text": (json.dumps({"input": "[" * 300}).encode(), 200),
    "too many numbers": (b'{"input": [' + b"1," * 1_500_000 + b"1]}", 413),
    "an overflow": (b'{"input": [1e400]}', 400),
    "NaN": (b'{"input": [NaN]}', 400),
    "infinity": (b'{"input": [-Infinity]}', 400),
    "a large number": (b'{"input": ' + b"9" * 5000 + b"}", 400),
    "a key twice": (b'{"input": "a", "input": "b"}', 400),
    "no JSON": (b'{"input": ', 400),
    "no UTF-8": (b'{"input": "\xff"}', 400),
    "half a pair": (b'{"input": "\\ud800"}', 400),
    "no object": (b"[]", 422),
    "another key": (b'{"inputs": ["a"]}', 422),
    "a key more": (b'{"input": "a", "b": 1}', 422),
    "a number for a text": (b'{"input": 5}', 422),
    "null": (b'{"input": null}', 422),
    "a long text": (json.dumps({"input": "a" * 100_001}).encode(), 413),
}


@pytest.mark.parametrize("what", JSONS)
def test_json_beyond_its_bounds_is_refused(server: Running, what: str) -> None:
    """Depth, numbers, size, and what is no JSON."""
    body, status = JSONS[what]
    if status == 200:
        assert server.ask(request("/predict?model=texts", body))[0] == 200
    else:
        refused(server, request("/predict?model=texts", body), status)


@pytest.mark.parametrize(
    "value",
    [
        "a",
        [1, "a"],
        [[1], [1, 2]],
        [[-1]],
        [[256]],
        [[0.5]],
        [],
        [[]],
        {"a": 1},
        True,
        [[[[1]]]],
        "/etc/passwd",
        "a.png",
    ],
)
def test_values_that_are_no_picture_are_refused(server: Running, value: Any) -> None:
    """A text is base64 and never a path."""
    refused(server, request("/predict", json.dumps({"input": value}).encode()), 415, 422)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "a",
        {"agee": 1},
        {"age": [1]},
        {"age": "x"},
        {"age": {"b": 1}},
        {"age": True, "b": 1},
        {"town": "Rome", "../x": 1},
    ],
)
def test_values_that_are_no_row_are_refused(server: Running, value: Any) -> None:
    """Columns that are unknown, and cells that are no cell."""
    refused(server, request("/predict?model=rows", json.dumps({"input": value}).encode()), 422)


def test_forms_beyond_their_bounds_are_refused(server: Running) -> None:
    """100,000 parts, no end, no boundary, another file, none."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bundles.png(1) + b"\r\n"
    kind = "multipart/form-data; boundary=x"
    for body, status in (
        (b"--x\r\n\r\n\r\n" * 100_000 + b"--x--", 413),
        (part, 400),
        (b"nothing", 400),
        (part + part + b"--x--", 422),
        (b"--x--", 422),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\nX: ' + b"a" * 5000 + b"\r\n--x--", 400),
    ):
        refused(server, request("/predict", body, kind=kind), status)
    refused(server, request("/predict", part, kind="multipart/form-data"), 400)
    refused(server, request("/predict/batch", part * 63 + part + part + b"--x--", kind=kind), 413)
    assert server.ask(request("/predict", part + b"--x--\r\n", kind=kind))[0] == 200


def test_batches_and_types_beyond_their_bounds_are_refused(server: Running) -> None:
    """65 inputs, none, and a type that the model does not take."""
    for inputs, status in ((["a"] * 65, 413), ([], 422), ("a", 422)):
        refused(server, request("/predict/batch?model=texts", json.dumps({"inputs": inputs}).encode()), status)
    refused(server, request("/predict", b"abc", kind="text/plain"), 415)
    refused(server, request("/predict", b"abc", kind="application/x-python-pickle"), 415)
    refused(server, request("/predict?model=texts", bundles.png(1), kind="image/png"), 415)
    refused(server, request("/predict?explain=2", bundles.png(1), kind="image/png"), 422)
    refused(server, request("/predict?" + "a=1&" * 30, bundles.png(1), kind="image/png"), 400)


@pytest.mark.parametrize(
    "path",
    ["/..%2f..%2fetc/passwd", "/%252e%252e/etc/passwd", "/models/..%2f..%2fetc", "/models/file:%2f%2f%2fetc%2fpasswd",
     "/models/C:%5Cwindows", "/predict?model=http://169.254.169.254/", "/v2/models/%2e%2e/infer", "//127.0.0.1/etc"],
)  # fmt: skip
def test_paths_and_addresses_lead_nowhere(server: Running, path: str) -> None:
    """No name that a client sends is ever opened or asked."""
    body = json.dumps({"input": "a"}).encode()
    for data in (request(path), request(path, body)):
        status, _, told = server.ask(data)
        assert status in (404, 405)
        assert not re.search(r"etc|passwd|169|windows", error_of(told)["message"])
