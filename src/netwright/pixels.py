"""Images of any kind as Pillow's grey or RGB: from files, bytes or arrays of pixels, upright, flattened."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from netwright.errors import DataError

# Pillow's own limit for a warning; here it is an error, raised from the header alone (its ImageFile.MAX_IMAGE_PIXELS).
MAX_PIXELS = 89_478_485
# What Pillow decodes by itself. For others it starts a program (PostScript by Ghostscript, which runs what a file
# says), asks the system (WMF), has no decoder (HDF5, GRIB, BUFR, MPEG), or opens another image of any kind (IPTC).
FORMATS = frozenset(
    {
        "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "HEIF", "ICNS", "ICO",
        "IM", "IMT", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI",
        "SGI", "SPIDER", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB",
    }
)  # fmt: skip


def read_image(raw: bytes | Path | NDArray[Any], mode: Literal["L", "RGB"]) -> Image.Image:
    """Open any image Pillow decodes by itself, as grey or colour with 8 bits a channel.

    Raises:
        DataError: It cannot be read, or it is too large.
    """
    name = str(raw) if isinstance(raw, Path) else "image"
    if isinstance(raw, np.ndarray):
        return _flatten(Image.fromarray(_as_pixels(raw)), mode)
    try:
        content = raw.read_bytes() if isinstance(raw, Path) else raw
        if not content:
            raise unreadable(name, "0 bytes")
        image = _quickly(content)
        if image is not None:
            return image if image.mode == mode else image.convert(mode)
        with Image.open(io.BytesIO(content)) as opened:  # reads the header alone
            if opened.format not in FORMATS:
                raise unreadable(name, f"a file of {opened.format}, of which Pillow decodes nothing itself")
            if opened.width * opened.height > MAX_PIXELS:
                size = f"{opened.width:,} x {opened.height:,} pixels"
                raise unreadable(name, f"{size}, more than {MAX_PIXELS:,}: a decompression bomb")
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)  # else an upright one is copied, a fifth of all the work
            return _flatten(opened, mode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # the latter under -W error
        raise unreadable(name, f"more than {MAX_PIXELS:,} pixels: a decompression bomb") from error
    except DataError:
        raise
    # Damaged files lead Pillow's readers to RuntimeError (AVIF), NotImplementedError (DDS), TypeError (IM) and more.
    except Exception as error:
        reason = str(error).split(" <")[0] if "cannot identify" in str(error) else str(error)
        raise unreadable(name, reason or type(error).__name__) from error


def _quickly(content: bytes) -> Image.Image | None:
    """A plain JPEG by Pillow's decoder alone, in a tenth less time; None of all else, damaged ones among them."""
    plain = plain_jpeg(content)
    if plain is None or plain.width * plain.height > min(MAX_PIXELS, Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return None
    image = Image.new(plain.mode, (plain.width, plain.height), None)
    try:
        image.frombytes(content, "jpeg", plain.mode, "")
    except Exception:  # the longer way says why
        return None
    return image


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """What the header of a JPEG says."""

    width: int
    height: int
    mode: Literal["L", "RGB"]


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """Size and colours of a JPEG file that has nothing in it by which more than its samples would count.

    Args:
        content: The file, or its beginning.

    Returns:
        None where Pillow shall judge: of other formats and colours, of what is damaged or not there whole, and where an
        EXIF tag may say how the picture is turned.
    """
    found: PlainJpeg | None = None
    place = 2
    if content[:3] != b"\xff\xd8\xff":
        return None
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, size = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        inside = content[place + 4 : place + 2 + size]
        if len(inside) != size - 2:
            return None
        if marker == 0xDA:  # the samples follow
            return found
        if marker in (0xC0, 0xC1, 0xC2) and found is None and len(inside) in (9, 15) and inside[0] == 8:
            height, width = int.from_bytes(inside[1:3], "big"), int.from_bytes(inside[3:5], "big")
            if not height or not width or len(inside) != 6 + 3 * inside[5]:
                return None
            found = PlainJpeg(width, height, "L" if inside[5] == 1 else "RGB")
        elif marker == 0xDB:  # tables of 64 bytes
            if len(inside) % 65 or any(one >= 16 for one in inside[::65]):
                return None
        elif not (marker in (0xC4, 0xDD, 0xFE) or (marker == 0xE0 and len(inside) >= 14)):
            return None
        place += 2 + size
    return None


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bilinear, with antialiasing where it gets smaller."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def unreadable(name: str, reason: str) -> DataError:
    """The error for an image that cannot be read."""
    return DataError(
        where=name, expected="an image that can be read", got=reason, cure="Replace or remove it, or convert it to PNG."
    )


def _as_pixels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array as (H, W) or (H, W, C) uint8."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == np.uint8 and array.ndim in (2, 3):
        return np.ascontiguousarray(array)
    raise DataError(
        where="image",
        expected="a uint8 array (H, W), (H, W, C) or (C, H, W)",
        got=f"{array.dtype} {array.shape}",
        cure="Give the pixels as 0 to 255, uint8.",
    )


def _flatten(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F":  # no scale is known: the image's own range
            low, high = float(values.min()), float(values.max())
            values = (values - low) / (high - low) * 255 if high > low else values * 0
        else:
            values = values / 257  # 16 bits to 8: 65535 / 257 = 255
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(ground, image)
    return image if image.mode == mode else image.convert(mode)
