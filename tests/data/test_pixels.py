"""Pictures are read as Pillow's own calls one after another would, whatever the format and the orientation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from netwright.pixels import read_image
from netwright.preprocess import DecodeImage, Preprocess, Resize, decode

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
