"""What is done with each picture that is read, by kernels whose source is ``picture_kernels.cpp``.

They resize as Pillow does, bilinear with antialiasing, to the same integers, in a sixth of the time, since Pillow takes
one pixel after the other. Where there is no compiler, or little to gain, and of what the kernels do not know, Pillow
does it: nothing but the time tells which it was. Before they are used they are compared with it, once a process.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from netwright.native import is_built, library
from netwright.pixels import resized

SOURCE = Path(__file__).with_name("picture_kernels.cpp")
SHIFT, WIDE = 22, 64  # as there
UNITS = {"L": 1, "RGB": 4}  # bytes of a pixel in Pillow's memory
# Pillow has 16 MiB of a picture in one piece. Larger ones are taken in copies of some of their rows.
STRIP_BYTES = 2**23
# Smaller ones are resized by Pillow in less time than Python takes to call a kernel.
LEAST_PIXELS = 64 * 64
# Wider or higher ones than any JPEG: memory for 64 rows at once would be too much, and Pillow's own numbers round.
MOST_SIDE = 2**16
# Grey ones gain less, and nothing where 64 rows are not there, or the picture is taken in copies.
LEAST_ROWS = 64
LEAST_PILLOW = (11, 3)  # before, it shows no memory, or never gives back what it has shown
# Of 500 x 375 to 224 x 224 Pillow takes 1.6 ms, and 0.15 to give its pixels away; to compile takes half a second.
SAVED_S, COMPILING_S = 7e-9, 1.0  # for each pixel that is read; twice as long, since other processors wait meanwhile
# Heights and widths, before and after, of pictures that are compared: larger and smaller each way, and at the limit of
# `across_first`, where another version of Pillow may round the other way first.
CHECKS = (
    (97, 71, 160, 33), (40, 31, 77, 90), (75, 100, 45, 45), (100, 75, 46, 48), (150, 60, 50, 10), (90, 80, 50, 60),
    (60, 200, 60, 30), (20, 9, 31, 9), (5, 300, 7, 3), (80, 70, 78, 69),
)  # fmt: skip


class _Array(ctypes.Structure):
    """The beginning of an array of Arrow's C data interface, by which Pillow shows its memory."""


_Array._fields_ = (
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
)


class _Plan(ctypes.Structure):
    """As in the source."""

    _fields_ = (("taps", ctypes.c_long), *((name, ctypes.c_void_p) for name in ("first", "count", "weights")))


@dataclass(frozen=True, slots=True)
class Weights:
    """How the outputs of one dimension are made.

    Attributes:
        first: The first input of each output, int32 (outputs,).
        count: How many inputs it has, int32 (outputs,).
        weights: Those of its inputs, with ``SHIFT`` bits of fraction, int32 (outputs, taps).
        plan: These for the kernels, as long as they live.
    """

    first: NDArray[np.int32]
    count: NDArray[np.int32]
    weights: NDArray[np.int32]
    plan: _Plan


@functools.lru_cache(maxsize=256)
def weights(given: int, made: int) -> Weights:
    """Of ``made`` outputs of ``given`` inputs, as Pillow computes them: the same operations, in the same order."""
    scale = given / made
    support = max(scale, 1.0)
    centre = (np.arange(made) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), given) - first
    taps = np.arange(int(count.max()))
    away = np.abs((taps + first[:, None] - centre[:, None] + 0.5) * (1.0 / support))
    found = np.where((away < 1.0) & (taps < count[:, None]), 1.0 - away, 0.0)
    found /= np.cumsum(found, axis=1)[:, -1:]  # one after the other, where `sum` adds in pairs
    whole = (0.5 + found * (1 << SHIFT)).astype(np.int32)
    three = first.astype(np.int32), count.astype(np.int32), np.ascontiguousarray(whole)
    return Weights(*three, _Plan(len(taps), *(one.ctypes.data for one in three)))


class Kernels:
    """The compiled functions, called without a copy of the picture; several threads may call them at once."""

    def __init__(self, held: Any) -> None:  # ctypes.CDLL, which finds functions by their names
        number, place, plan = ctypes.c_long, ctypes.c_void_p, ctypes.POINTER(_Plan)
        self._across, self._down, self._sums = held.resize_across, held.resize_down, held.plane_sums
        self._across.argtypes = (place, number, number, number, plan, number, number, place, place)
        self._down.argtypes = (place, number, number, number, plan, number, place, place)
        self._sums.argtypes = (place, number, number, place)
        for function in (self._across, self._down, self._sums):
            function.restype = None
        pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
        self._pointer = pointer(("PyCapsule_GetPointer", ctypes.pythonapi))

    def resize(self, image: Image.Image, height: int, width: int) -> NDArray[np.uint8] | None:
        """A grey or RGB picture in another size, uint8 (C, H, W); None where Pillow does not show its memory."""
        unit = UNITS[image.mode]
        across, down = weights(image.width, width), weights(image.height, height)
        apart = -(-width * unit // WIDE) * WIDE
        middle = np.empty((image.height, apart), dtype=np.uint8)
        aside = np.empty(max(WIDE * image.width, apart), dtype=np.uint8)
        found = np.empty((len(image.getbands()), height, width), dtype=np.uint8)
        row = 0
        for strip in strips(image, unit):
            capsule = self._memory(strip)
            begin = None if capsule is None else self._address(capsule, unit, strip.width * strip.height)
            if begin is None:
                return None
            sizes = strip.height, strip.width, unit
            self._across(begin, *sizes, across.plan, width, apart, middle[row:].ctypes.data, aside.ctypes.data)
            row += strip.height
        self._down(middle.ctypes.data, apart, width, unit, down.plan, height, found.ctypes.data, aside.ctypes.data)
        return found

    def sums(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Sums of each channel of (C, H, W), one row in memory behind the other, and of its squares, (2, C)."""
        found = np.empty((2, len(pixels)), dtype=np.int64)
        self._sums(pixels.ctypes.data, len(pixels), pixels[0].size, found.ctypes.data)
        return found.astype(np.float64)

    def _memory(self, image: Image.Image) -> object | None:
        """What keeps a picture's memory, and tells where it is."""
        alignment: int = Image.core.get_alignment()  # type: ignore[attr-defined]
        if image.readonly or alignment != 1:  # it lies in another's memory, or with gaps
            return None
        try:
            return image.__arrow_c_array__()[1]
        except ValueError:  # it lies in several pieces
            return None

    def _address(self, capsule: object, unit: int, pixels: int) -> int | None:
        array = ctypes.cast(self._pointer(capsule, b"arrow_array"), ctypes.POINTER(_Array)).contents
        if unit > 1:
            array = array.children[0].contents
        begin: int | None = array.buffers[1]
        return begin if array.length == pixels * unit and array.offset == 0 else None


def across_first(image: Image.Image, height: int, width: int) -> bool:
    """Whether every Pillow makes a picture's rows shorter or longer, rounds to bytes, and only then its columns.

    From 13 on it takes the columns first where they lose more than twice as many pixels as rows do, 12.2 and 12.3 did
    so with pictures a hundred times as high as wide.
    """
    lost = image.height - height
    return (lost <= 0 or lost <= 2 * (image.width - width)) and image.height <= 100 * image.width


def _is_small_gain(image: Image.Image) -> bool:
    """Whether Pillow is about as quick."""
    return image.mode == "L" and (image.height < LEAST_ROWS or image.width * image.height > STRIP_BYTES)


def strips(image: Image.Image, unit: int) -> Iterator[Image.Image]:
    """The picture, or copies of its rows, from above, where it is large."""
    rows = max(1, STRIP_BYTES // (unit * image.width))
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


@functools.cache
def making() -> Future[Kernels | None]:
    """The kernels of this process, made beside what else it does; None where there are none to be relied on."""
    made: Future[Kernels | None] = Future()
    try:  # a program that ends does not wait for them
        threading.Thread(target=lambda: made.set_result(_made()), name="netwright-kernels", daemon=True).start()
    except RuntimeError:  # no thread can be started
        made.set_result(None)
    return made


def _made() -> Kernels | None:
    if tuple(int(part) for part in PIL.__version__.split(".")[:2]) < LEAST_PILLOW:
        return None
    try:
        kernels = Kernels(library(SOURCE))
        return kernels if does_as_pillow(kernels) else None
    except Exception:  # whatever it is, Pillow does the work
        return None


def does_as_pillow(kernels: Kernels) -> bool:
    """Whether pictures of noise come out as Pillow's, each byte, and their sums as NumPy's."""
    rng = np.random.default_rng(0)
    for height, width, new_height, new_width in CHECKS:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for mode in UNITS:
            image = Image.fromarray(noise).convert(mode)
            wanted = np.asarray(resized(image, new_width, new_height)).reshape(new_height, new_width, -1)
            found = kernels.resize(image, new_height, new_width)
            if found is None or not np.array_equal(found, wanted.transpose(2, 0, 1)):
                return False
            numbers = found.astype(np.float64)
            if not np.array_equal(kernels.sums(found), [numbers.sum((1, 2)), np.square(numbers).sum((1, 2))]):
                return False
    return True


class PictureKernels:
    """The kernels for one reading of pictures, as soon as they are there; meanwhile Pillow does what they would.

    Args:
        count: Pictures that will be read. Where the kernels are not compiled yet, as many as make it worth while.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._first = threading.Lock()  # of several threads one begins
        self._making = making() if is_built(SOURCE) else None

    def resize(self, image: Image.Image, height: int, width: int) -> NDArray[np.uint8] | None:
        """A picture in another size, uint8 (C, H, W); None where Pillow is to do it."""
        pixels = image.width * image.height
        if image.mode not in UNITS or pixels < LEAST_PIXELS or max(*image.size, height, width) > MOST_SIDE:
            return None
        if not across_first(image, height, width) or _is_small_gain(image):
            return None
        if (
            self._making is None
            and self._count * pixels * SAVED_S > COMPILING_S
            and self._first.acquire(blocking=False)
        ):
            self._making = making()
        kernels = self._kernels()
        return None if kernels is None else kernels.resize(image, height, width)

    def sums(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """As ``fact_of`` takes them, of a picture (C, H, W); None where it is to add up by itself."""
        kernels = self._kernels()
        return kernels.sums(pixels) if kernels is not None and pixels.flags.c_contiguous else None

    def _kernels(self) -> Kernels | None:
        if self._making is None and making.cache_info().currsize:  # another reading has begun it
            self._making = making()
        made = self._making
        return made.result() if made is not None and made.done() else None


def _after_fork() -> None:
    """A child has no thread that makes them: it begins anew."""
    making.cache_clear()
    kernels_among.cache_clear()


@functools.lru_cache(maxsize=16)
def kernels_among(count: int) -> PictureKernels:
    """Those of a reading that goes on, a picture now and then."""
    return PictureKernels(count)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
