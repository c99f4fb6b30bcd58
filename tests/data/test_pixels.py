"""Pictures are read as Pillow's own calls one after another would, whatever the format and the orientation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from netwright import pixels
from netwright.data.images import look
from netwright.errors import DataError
from netwright.pixels import PlainJpeg, plain_jpeg, read_image
from netwright.preprocess import DecodeImage, Preprocess, Resize, decode
from netwright.records import LoadOptions

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "ICO", "PPM")


def encoded(kind: str, orientation: int) -> bytes:
    pixels = np.random.default_rng(orientation).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    extra = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    Image.fromarray(pixels).save(buffer, kind, **extra)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(kind: str, orientation: int) -> None:
    """As Pillow turns a copy of them; that none is copied changes no pixel."""
    raw = encoded(kind, orientation)
    with Image.open(io.BytesIO(raw)) as opened:
        copied = ImageOps.exif_transpose(opened)
    for mode in ("RGB", "L"):
        wanted = copied.convert("RGBA").convert("RGB") if copied.mode == "RGBA" else copied
        wanted = wanted.convert(mode)
        assert np.array_equal(np.asarray(read_image(raw, mode)), np.asarray(wanted))
        for size in ((5, 9), (64, 40)):
            operations = (DecodeImage(mode=mode), Resize(height=size[0], width=size[1]))
            planes = np.asarray(wanted.resize(size[::-1], Image.Resampling.BILINEAR))
            planes = planes[None] if mode == "L" else planes.transpose(2, 0, 1)
            made = decode(Preprocess(operations=operations), raw)
            assert np.array_equal(made, planes)
            assert made.flags.c_contiguous
            assert made.flags.writeable


def jpeg(mode: str, **how: object) -> bytes:
    shape = {"L": (33, 18), "RGB": (33, 18, 3), "CMYK": (33, 18, 4)}[mode]
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, mode).save(buffer, "JPEG", **how)
    return buffer.getvalue()


PLAIN = {
    "grey": jpeg("L"),
    "colour": jpeg("RGB", quality=95),
    "whole colours": jpeg("RGB", subsampling=0),
    "progressive": jpeg("RGB", progressive=True),
    "restarts": jpeg("RGB", restart_marker_blocks=2),
    "remark": jpeg("RGB", comment=b"a remark"),
    "own tables": jpeg("RGB", optimize=True, quality=3),
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_plain_jpeg_has_the_pixels_that_pillow_opens(kind: str, mode: str) -> None:
    """The shorter way is taken, and its pixels are the longer one's."""
    content = PLAIN[kind]
    with Image.open(io.BytesIO(content)) as opened:
        assert plain_jpeg(content) == PlainJpeg(*opened.size, opened.mode)  # type: ignore[arg-type]
        wanted = opened.convert(mode)
    quick = pixels._quickly(content)
    assert quick is not None
    assert np.array_equal(np.asarray(quick.convert(mode)), np.asarray(wanted))
    assert np.array_equal(np.asarray(read_image(content, mode)), np.asarray(wanted))  # type: ignore[arg-type]


def test_what_is_not_plain_is_left_to_pillow() -> None:
    """Other colours, what may be turned, other formats, and headers that are not there whole."""
    content = PLAIN["colour"]
    start = content.index(b"\xff\xda")
    assert plain_jpeg(content[: start + 14]) is not None
    turned, other = encoded("JPEG", 6), encoded("PNG", 1)
    for raw in (jpeg("CMYK"), turned, other, b"", content[: start + 13], content[:start], content[:20]):
        assert plain_jpeg(raw) is None


@pytest.mark.parametrize("kind", ["grey", "colour", "progressive"])
def test_a_damaged_jpeg_is_told_as_pillow_tells_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is harmed or cut: the same pixels or the same reason as by the longer way."""
    rng, content = np.random.default_rng(1), PLAIN[kind]
    harmed = []
    for _ in range(150):
        raw = bytearray(content)
        for place in rng.integers(0, len(raw) if rng.random() < 0.4 else 700, 2):
            raw[min(place, len(raw) - 1)] = rng.integers(256)
        harmed.append(bytes(raw[: rng.integers(1, len(raw))] if rng.random() < 0.3 else raw))

    def outcomes() -> list[object]:
        found: list[object] = []
        for raw in harmed:
            try:
                image = read_image(raw, "RGB")
                found.append((image.size, image.tobytes()))
            except DataError as error:
                found.append(error.got)
        return found

    quick = outcomes()
    monkeypatch.setattr(pixels, "_quickly", lambda content: None)
    assert quick == outcomes()


def test_headers_say_what_pillow_says_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and colours of a folder are found alike where each header is Pillow's to read."""
    for name, raw in (PLAIN | {"turned": encoded("JPEG", 6), "cut": PLAIN["colour"][:300], "none": b""}).items():
        (tmp_path / f"{name}.jpg").write_bytes(raw)
    paths = sorted(tmp_path.iterdir())
    quick = look(paths, LoadOptions())
    monkeypatch.setattr("netwright.data.images.plain_jpeg", lambda content: None)
    assert quick == look(paths, LoadOptions())
