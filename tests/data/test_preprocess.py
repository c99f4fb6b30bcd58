"""Preprocessing: the numpy and torch twins agree, and any image becomes uint8 (C, H, W) or is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import netwright.data as nd
from netwright.data import tensors
from netwright.data.batches import eval_batches
from netwright.errors import DataError
from netwright.pixels import read_image
from netwright.preprocess import DecodeImage, Normalise, Preprocess, Resize, Scale, apply, decode
from netwright.records import DataSpec, LoadOptions

GREY = Preprocess(operations=(DecodeImage(mode="L"),))
COLOUR = Preprocess(operations=(DecodeImage(mode="RGB"),))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ulps(one: np.ndarray, other: np.ndarray) -> int:
    """Largest distance in units in the last place, float32."""

    def ordered(values: np.ndarray) -> np.ndarray:
        bits = values.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return int(np.abs(ordered(one) - ordered(other)).max())


def test_the_twins_agree_on_a_thousand_batches() -> None:
    """On 1,000 random uint8 batches numpy and torch differ by at most one unit in the last place."""
    rng = np.random.default_rng(0)
    for index in range(1000):
        channels = (1, 3)[index % 2]
        operations = (
            Scale(factor=1 / 255),
            Normalise(mean=tuple(rng.uniform(0, 1, channels)), std=tuple(rng.uniform(0.05, 1, channels))),
        )
        preprocess = Preprocess(operations=operations)
        batch = rng.integers(0, 256, (2, channels, 5, 4), dtype=np.uint8)
        assert ulps(apply(preprocess, batch), tensors.apply(preprocess, torch.from_numpy(batch)).numpy()) <= 1


@settings(max_examples=100, deadline=None)
@given(
    factor=st.none() | st.floats(1e-4, 1e4),
    mean=st.none() | st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
    std=st.tuples(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4)),
    ndim=st.sampled_from([2, 3, 4]),
    whole=st.booleans(),
)
def test_the_twins_agree_whatever_the_operations(
    factor: float | None, mean: tuple[float, float] | None, std: tuple[float, float], ndim: int, whole: bool
) -> None:
    """With any subset of the operations, on columns, sequences or images, and both equal the written definition."""
    operations: list[Any] = [] if factor is None else [Scale(factor=factor)]
    operations += [] if mean is None else [Normalise(mean=mean, std=std)]
    preprocess = Preprocess(operations=tuple(operations))
    rng = np.random.default_rng(0)
    shape = (4, 2, 3, 2)[:ndim]
    batch = rng.integers(0, 256, shape, dtype=np.uint8) if whole else rng.normal(size=shape).astype(np.float32)
    one, other = apply(preprocess, batch), tensors.apply(preprocess, torch.from_numpy(batch))
    if operations:
        assert one.dtype == np.float32 and other.dtype == torch.float32
        assert ulps(one, other.numpy()) <= 1
        values = batch.astype(np.float64) * (factor or 1)
        size = np.abs(values).max()
        if mean is not None:
            broad = (1, 2, *(1,) * (ndim - 2))
            values = (values - np.reshape(mean, broad)) / np.reshape(std, broad)
            size = (size + np.abs(mean).max()) / min(std)
        assert np.allclose(one, values, rtol=1e-6, atol=1e-6 * size)
    else:
        assert torch.equal(other, torch.from_numpy(batch))


class Prepared(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return tensors.apply(SCALED, images)


SCALED = Preprocess(operations=(Scale(factor=1 / 255), Normalise(mean=(0.5,), std=(0.25,))))


def test_the_torch_twin_can_be_exported() -> None:
    """Exporting a model with its preprocessing needs a graph that gives the same numbers for other pixels."""
    batch = torch.arange(2 * 9, dtype=torch.uint8).reshape(2, 1, 3, 3)
    exported = torch.export.export(Prepared(), (batch,), strict=False).module()
    assert torch.equal(exported(batch + 1), tensors.apply(SCALED, batch + 1))


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_training_and_serving_agree_on_many_pictures(tmp_path: Path, count: int) -> None:
    """Of five kinds of files, modes and sizes: in batches, and made anew from bytes and the record on disk."""
    generator = np.random.default_rng(0)
    kinds = ("png", "jpg", "webp", "gif", "bmp")
    for index in range(count):
        kind, mode = kinds[index % 5], ("RGB", "L", "RGBA" if index % 5 in (0, 2) else "RGB")[index % 3]
        height, width = generator.integers(4, 12, 2)
        channels = () if mode == "L" else (len(mode),)
        pixels = generator.integers(0, 256, (height, width, *channels), dtype=np.uint8)
        folder = tmp_path / f"class {index % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.{kind}")
    data = nd.load(tmp_path, options=LoadOptions(image_size=(8, 6)))
    served = DataSpec.model_validate_json(data.spec.model_dump_json()).preprocess
    seen = 0
    for split in data.spec.splits:
        for batch in eval_batches(data, split, batch_size=256, workers=0):
            files = [tmp_path / data.split(split).name(int(at)) for at in batch.sample_ids]
            again = np.stack([decode(served, file.read_bytes()) for file in files])
            assert ulps(batch.inputs["image"].numpy(), apply(served, again)) <= 1
            seen += len(files)
    assert seen == count


def test_preprocessing_survives_json() -> None:
    """What is written into a bundle gives the same numbers when read."""
    preprocess = Preprocess(
        operations=(
            DecodeImage(mode="L"),
            Resize(height=3, width=2),
            Scale(factor=1 / 3),
            Normalise(mean=(0.1,), std=(3,)),
        )
    )
    assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess
    assert [len(preprocess.decode), len(preprocess.tensor)] == [2, 2]


CASES: dict[str, tuple[Image.Image, str, dict[str, Any], list[int], int]] = {
    # image, format, options of saving, colour expected, grey expected
    "grey": (Image.new("L", (4, 3), 200), "PNG", {}, [200, 200, 200], 200),
    "rgb": (Image.new("RGB", (4, 3), (255, 0, 0)), "PNG", {}, [255, 0, 0], 76),
    "rgba": (Image.new("RGBA", (4, 3), (255, 255, 255, 128)), "PNG", {}, [128, 128, 128], 128),
    "transparent": (Image.new("RGBA", (4, 3), (255, 255, 255, 0)), "PNG", {}, [0, 0, 0], 0),
    "la": (Image.new("LA", (4, 3), (200, 255)), "PNG", {}, [200, 200, 200], 200),
    "16 bit": (Image.fromarray(np.full((3, 4), 51400, np.uint16)), "PNG", {}, [200, 200, 200], 200),
    "16 bit tiff": (Image.fromarray(np.full((3, 4), 65535, np.uint16)), "TIFF", {}, [255, 255, 255], 255),
    "1 bit": (Image.new("1", (4, 3), 1), "PNG", {}, [255, 255, 255], 255),
    "cmyk": (Image.new("CMYK", (4, 3), (0, 255, 255, 0)), "TIFF", {}, [255, 0, 0], 76),
    "bmp": (Image.new("RGB", (4, 3), (0, 0, 255)), "BMP", {}, [0, 0, 255], 29),
    "webp": (Image.new("RGB", (4, 3), (0, 255, 0)), "WEBP", {"lossless": True}, [0, 255, 0], 150),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_kind_of_image_is_read(name: str, mode: Literal["L", "RGB"], tmp_path: Path) -> None:
    """Grey, colour, transparent, 16 bits, 1 bit and CMYK come out as the right 8-bit values, from bytes and files."""
    image, kind, options, colour, grey = CASES[name]
    raw = saved(image, kind, **options)
    expected = np.asarray(colour if mode == "RGB" else [grey], dtype=np.int64)
    (tmp_path / "image").write_bytes(raw)
    for given_as in (raw, tmp_path / "image"):
        result = decode(COLOUR if mode == "RGB" else GREY, given_as)
        assert result.shape == (len(expected), 3, 4)
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
        assert np.abs(result.astype(np.int64) - expected[:, None, None]).max() <= 1


def test_a_palette_is_looked_up() -> None:
    """Indices become the colours that they stand for; a transparent one becomes black."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert decode(COLOUR, saved(image))[:, 0, :].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    assert decode(COLOUR, saved(image, transparency=0))[:, 0, :].T.tolist() == [[0, 0, 0], [200, 100, 50]]


def test_an_animation_gives_its_first_frame() -> None:
    """Of a GIF with two frames the first is taken."""
    frames = [Image.new("RGB", (5, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    raw = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert decode(COLOUR, raw)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_float_tiff_is_stretched_over_its_own_range() -> None:
    """Floats have no known scale: the least becomes 0, the largest 255; a constant image becomes 0."""
    values = np.asarray([[-1.0, 0.0, 1.0]], dtype=np.float32)
    assert decode(GREY, saved(Image.fromarray(values), "TIFF")).tolist() == [[[0, 128, 255]]]
    assert decode(GREY, saved(Image.fromarray(values * 0 + 7), "TIFF")).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation: int) -> None:
    """Each of the eight EXIF orientations gives the picture that was meant."""
    upright = np.zeros((2, 3), dtype=np.uint8)
    upright[0, 0], upright[0, 2] = 255, 128
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = saved(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert decode(GREY, raw)[0].tolist() == upright.tolist()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (1, 4, 5), (4, 5, 3), (3, 4, 5), (4, 5, 4), (4, 4, 5)])
def test_arrays_are_taken_as_pixels(shape: tuple[int, ...]) -> None:
    """Channels first or last, one, three or four of them."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    result = decode(GREY, pixels)
    assert result.shape == (1, 4, 5)
    assert result.dtype == np.uint8


def test_float_arrays_are_refused() -> None:
    """Nobody knows the scale of a float."""
    with pytest.raises(DataError, match="uint8"):
        decode(GREY, np.zeros((4, 5), dtype=np.float32))


def test_resizing_is_that_of_pillow_and_nothing_at_equal_size() -> None:
    """Bilinear with antialiasing; an image of the size asked for keeps every bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    raw = saved(Image.fromarray(pixels))
    same = Preprocess(operations=(DecodeImage(), Resize(height=20, width=30)))
    assert np.array_equal(decode(same, raw), pixels.transpose(2, 0, 1))
    half = Preprocess(operations=(DecodeImage(), Resize(height=5, width=7)))
    expected = np.asarray(Image.fromarray(pixels).resize((7, 5), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(half, raw), expected.transpose(2, 0, 1))


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 14_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    """No pixel is unpacked: below Pillow's own error, above it, and far above."""
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    with pytest.raises(DataError, match="decompression bomb") as caught:
        decode(GREY, tmp_path / "bomb.png")
    assert "bomb.png" in caught.value.where


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_a_truncated_file_is_refused_by_name(kind: str, share: float, tmp_path: Path) -> None:
    """Cut anywhere, in any format, the file is named and nothing but a DataError comes."""
    raw = saved(PICTURE, kind)
    (tmp_path / "cut").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(DataError) as caught:
        decode(COLOUR, tmp_path / "cut")
    assert caught.value.where == str(tmp_path / "cut")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "DDS"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_damaged_bytes_never_escape_as_another_error(kind: str, places: list[tuple[float, int]]) -> None:
    """A file with some bytes changed is read, or refused as a DataError."""
    raw = bytearray(saved(PICTURE.resize((16, 16)), kind))
    for place, value in places:
        raw[int(place**3 * len(raw))] = value  # most of them in the header
    try:
        assert decode(COLOUR, bytes(raw)).dtype == np.uint8
    except DataError as error:
        assert error.got


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    """Not a file at all, or no file there."""
    for path in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(DataError):
            read_image(path, "L")
