"""Kernels for pictures do what Pillow and NumPy do, to the last bit, or are not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from netwright import native
from netwright.data import picture_kernels as module
from netwright.data.images import decode_all
from netwright.data.picture_facts import fact_of
from netwright.data.picture_kernels import PictureKernels, across_first, kernels_among, making, strips
from netwright.preprocess import DecodeImage, Preprocess, Resize, decode

compiled_here = pytest.mark.skipif(not any(map(shutil.which, native.COMPILERS)), reason="no C++ compiler is here")
COLOURS = ("L", "RGB")


@pytest.fixture
def _anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, and nothing loaded."""

    def forget() -> None:
        if making.cache_info().currsize:  # what is being made would be remembered later
            making().result()
        native.MADE.clear()
        for one in (making, kernels_among):
            one.cache_clear()

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache" / "kernels"
    forget()


def kernels() -> module.Kernels:
    made = making().result()
    assert made is not None
    return made


def noise(mode: str, height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def by_pillow(image: Image.Image, height: int, width: int) -> np.ndarray:
    found = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return found.reshape(height, width, -1).transpose(2, 0, 1)


@compiled_here
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(COLOURS), *[st.integers(1, 230)] * 4, st.integers(0, 99))
def test_pictures_are_resized_as_by_pillow(
    mode: str, height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    """Whatever the sizes: rows of one pixel, columns of one, larger, smaller."""
    image = noise(mode, height, width, seed)
    if across_first(image, new_height, new_width):
        found = kernels().resize(image, new_height, new_width)
        assert found is not None
        assert found.shape == (len(mode), new_height, new_width)
        assert np.array_equal(found, by_pillow(image, new_height, new_width))


@compiled_here
@pytest.mark.parametrize("mode", COLOURS)
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 3000, 700, 5),
        (1, 65_000, 1, 1),
        (1, 1, 300, 400),
        (375, 500, 224, 224),
        (500, 375, 224, 224),
        (99, 7, 99, 9),
    ],
)
def test_odd_shapes_and_flat_pictures(mode: str, sizes: tuple[int, int, int, int]) -> None:
    """Weights that add up to more than one by their roundings make no overflow."""
    height, width, *new = sizes
    for image in (noise(mode, height, width), *(Image.new(mode, (width, height), (v,) * len(mode)) for v in (0, 255))):
        assert np.array_equal(kernels().resize(image, *new), by_pillow(image, *new))


@compiled_here
@pytest.mark.parametrize("mode", COLOURS)
def test_large_pictures_are_taken_strip_by_strip(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow has them in several pieces; so few rows as one are enough."""
    image = noise(mode, 77, 130)
    wanted = by_pillow(image, 40, 51)
    for size in (1, 130 * 4 * 7, 130 * 4 * 76, 130 * 4 * 77):
        monkeypatch.setattr(module, "STRIP_BYTES", size)
        assert sum(one.height for one in strips(image, 4)) == 77
        assert np.array_equal(kernels().resize(image, 40, 51), wanted)
    monkeypatch.undo()
    large = Image.new("RGB", (3000, 2000), (1, 2, 3))  # 24 MB, of which Pillow shows no whole
    found = kernels().resize(large, 20, 30)
    assert found is not None
    assert [set(plane.flat) for plane in found] == [{1}, {2}, {3}]


@compiled_here
def test_several_threads_at_once() -> None:
    """Each has memory of its own."""
    images = [noise(COLOURS[seed % 2], 90 + seed, 120 + seed, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: kernels().resize(image, 60, 70), images * 3))
    wanted = [by_pillow(image, 60, 70) for image in images] * 3
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@compiled_here
@pytest.mark.parametrize("size", [1, 255, 4095, 4096, 50_176])
def test_sums_are_those_of_numpy(size: int) -> None:
    """Also of the brightest pictures."""
    for pixels in (
        np.full((3, 1, size), 255, dtype=np.uint8),
        np.random.default_rng(0).integers(0, 256, (3, 1, size), dtype=np.uint8),
    ):
        wanted = fact_of(pixels)
        found = fact_of(pixels, kernels().sums(pixels))
        assert found.digest == wanted.digest
        assert found.sums.dtype == wanted.sums.dtype
        assert np.array_equal(found.sums, wanted.sums)


@compiled_here
def test_memory_of_others_is_left_alone() -> None:
    """Pillow maps grey arrays and does not say so to Arrow."""
    mapped = Image.fromarray(np.zeros((90, 80), dtype=np.uint8))
    assert mapped.readonly
    assert kernels().resize(mapped, 40, 50) is None


def test_what_pillow_may_round_the_other_way_is_left_to_it() -> None:
    """Where columns lose more than twice as many pixels as rows, the order of the passes depends on its version."""
    assert across_first(Image.new("L", (50, 60)), 40, 40)
    assert not across_first(Image.new("L", (50, 60)), 39, 40)
    assert not across_first(Image.new("L", (50, 60)), 59, 51)
    assert across_first(Image.new("L", (50, 60)), 60, 51)
    assert not across_first(Image.new("L", (2, 201)), 300, 2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Colour and grey, upright and wide."""
    paths = [tmp_path / f"{index}.jpg" for index in range(12)]
    for index, path in enumerate(paths):
        noise(COLOURS[index % 2], 100 + index, 130 - index, index).save(path)
    return paths


def operations(mode: str) -> Preprocess:
    return Preprocess(operations=(DecodeImage(mode=mode), Resize(height=64, width=70)))


@compiled_here
@pytest.mark.parametrize("mode", COLOURS)
def test_a_folder_is_read_by_the_kernels(mode: str, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """All its pictures; pixels, digests and sums are those of Pillow and NumPy."""
    wanted = np.stack([decode(operations(mode), path) for path in files])
    kernels()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("netwright.pixels.resized", never)
    monkeypatch.setattr("netwright.data.picture_facts._sums", never)
    images, kept, bad, facts = decode_all(files, operations(mode))
    assert (kept, bad) == (list(range(12)), ())
    assert np.array_equal(images, wanted)
    monkeypatch.undo()
    assert [one.tobytes() for one in facts.digests] == [fact_of(one).digest for one in wanted]
    assert np.array_equal(facts.sums, [fact_of(one).sums for one in wanted])


@compiled_here
def test_they_are_compiled_where_that_pays(_anew: Path) -> None:
    """Of few pictures Pillow resizes all; of many the first ones, until the kernels are there."""
    image = noise("RGB", 375, 500)
    few = PictureKernels(20)
    assert few.resize(image, 224, 224) is None
    assert not _anew.exists()
    assert making.cache_info().currsize == 0
    many = PictureKernels(20_000)
    first = many.resize(image, 224, 224)
    making().result()
    (_,) = _anew.iterdir()
    wanted = by_pillow(image, 224, 224)
    assert first is None or np.array_equal(first, wanted)
    for later in (many, PictureKernels(1)):
        kernels()
        assert np.array_equal(later.resize(image, 224, 224), wanted)


def test_small_pictures_are_left_to_pillow() -> None:
    assert PictureKernels(10**6).resize(noise("RGB", 28, 28), 14, 14) is None


def test_without_a_compiler_pillow_does_it(_anew: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.stack([decode(operations("RGB"), path) for path in files])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert making().result() is None
    assert np.array_equal(decode_all(files, operations("RGB"))[0], wanted)


@compiled_here
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("1u << (SHIFT - 1)", "1u << (SHIFT - 2)"),  # rounds down more often
        ("one > 255u ? (lanes){} + 255u : one", "one & 254u"),
        ("sum += from[x], square", "square"),
    ],
)
def test_kernels_that_differ_are_noticed(
    right: str, wrong: str, _anew: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a compiler may make them; Pillow does it then."""
    wanted = np.stack([decode(operations("RGB"), path) for path in files])
    source = module.SOURCE.read_text()
    assert right in source
    broken = tmp_path / "picture_kernels.cpp"
    broken.write_text(source.replace(right, wrong))
    monkeypatch.setattr(module, "SOURCE", broken)
    native.library(broken)
    assert making().result() is None
    assert np.array_equal(decode_all(files, operations("RGB"))[0], wanted)


@compiled_here
def test_a_pillow_that_rounds_otherwise_is_noticed(_anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that takes columns first."""

    def columns_first(image: Image.Image, width: int, height: int) -> Image.Image:
        tall = image.resize((image.width, height), Image.Resampling.BILINEAR)
        return tall.resize((width, height), Image.Resampling.BILINEAR)

    monkeypatch.setattr(module, "resized", columns_first)
    assert making().result() is None


@compiled_here
@pytest.mark.parametrize("size", [(1, 2**16 + 1), (2**16 + 1, 1), (2**16 + 1, 3)])
def test_what_is_longer_than_any_jpeg_is_left_to_pillow(size: tuple[int, int]) -> None:
    """A picture of a few bytes may be 60,000,000 wide, and takes 64 rows of memory, or its places overflow."""
    kernels()
    assert PictureKernels(10**6).resize(Image.new("RGB", size), 4, 4) is None


@compiled_here
@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("version", ["10.3.0", "11.2.1"])
def test_a_pillow_that_keeps_what_it_shows_is_not_asked(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.PIL, "__version__", version)
    assert making().result() is None


@compiled_here
@pytest.mark.usefixtures("_anew")
def test_whatever_fails_pillow_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(kernels: module.Kernels) -> bool:
        raise MemoryError

    monkeypatch.setattr(module, "does_as_pillow", fails)
    assert making().result(timeout=60) is None


@compiled_here
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_makes_its_own() -> None:
    """It has no thread that would end what is being made."""
    kernels()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os._exit(0 if making.cache_info().currsize == 0 and making().result(timeout=60) is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
