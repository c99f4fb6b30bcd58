"""Convolutions of 3x3 of a recorded update by Winograd's algorithm: a quarter of the products, in float32.

A tile of 4x4 outputs is the inverse transform of products of transformed inputs and weights, 36 for each pair of
channels where the definition has 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016); so
are the gradients. cuDNN does the same on a GPU; torch has no such kernels on a CPU.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from netwright.plans.compiled import library, parallel

SOURCE = Path(__file__).with_name("winograd.cpp")
ATEN = torch.ops.aten
FORWARD, BACKWARD = ATEN.convolution.default, ATEN.convolution_backward.default
SIDE, STEP, KERNEL = 6, 4, 3  # of a tile of inputs, of outputs, and of the weights
FREQUENCIES = SIDE * SIDE
LANES, WIDE = 8, 16  # floats that the kernels work on at once: channels are a multiple
FLOATS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever a person made torch's default
# Fewer tiles do not pay for transforming the weights: 512 channels, two threads: 64 tiles 0.7 times, 256 tiles 1.3.
LEAST_TILES = 160
# Root mean squares of its errors and of torch's, 64 channels: outputs 3.3e-7 and 1.5e-7, gradients of inputs 7.9e-7 and
# 4.2e-7, of weights 9.2e-7 and 1.1e-6. Of few channels up to four times torch's.
ROUNDS = 4.0
LEAST_FILLED = 0.5  # share of the tiles' outputs that there are
SUMS_BYTES = 1 << 28  # gradients of transformed weights, of all threads
WORK_BYTES, CHUNKS = 1 << 20, (32, 64)  # transformed tiles of a thread, which stay in its cache; how many at once
# How a row of weights becomes six frequencies: its polynomial at the points of winograd.cpp, over what is left out of
# the products there (the Toom-Cook scheme of Lavin and Gray); then how a whole kernel does.
NEAR, FAR = 2 / 3, 3 / 2
_OVER = 2 * (FAR**2 - NEAR**2)
ROW = torch.tensor(
    [
        [1.0, 0.0, 0.0],
        *([-1 / (_OVER * NEAR**2), -sign / (_OVER * NEAR), -1 / _OVER] for sign in (1, -1)),
        *([1 / (_OVER * FAR**2), sign / (_OVER * FAR), 1 / _OVER] for sign in (1, -1)),
        [0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
    device="cpu",
)
TO_FREQUENCIES = torch.kron(ROW, ROW).float()  # (36, 9)


class Job(ctypes.Structure):
    """As in winograd.cpp."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("height", "width", "channels", "out_height", "out_width", "out_channels")),
        *((name, ctypes.c_long) for name in ("padding", "chunk", "tiles", "parts", "next")),
        *((name, ctypes.c_void_p) for name in ("input", "weights", "bias", "gradient", "output", "work")),
    )


@dataclass(frozen=True, slots=True)
class _Kernels:
    forward: Any
    weights: Any
    panel: Any


def _kernels(channels: int, made: int) -> _Kernels:
    """The compiled functions for so many channels, of 16 floats at once where both are multiples of that.

    Raises:
        NoProgramError: They cannot be compiled here.
    """
    return _compiled(lanes_for(channels, made))


def lanes_for(channels: int, made: int) -> int:
    """Floats at once, of 8 and 16, for so many channels."""
    return WIDE if "avx512" in _capability() and channels % WIDE == made % WIDE == 0 else LANES


def macros(lanes: int) -> tuple[str]:
    """What the source is compiled with."""
    return (f"LANES={lanes}",)


@functools.cache
def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability().lower()


@functools.cache
def _compiled(lanes: int) -> _Kernels:
    held = library(SOURCE, *macros(lanes))
    held.winograd_panel.argtypes, held.winograd_panel.restype = [ctypes.c_long], ctypes.c_long
    for function in (held.winograd_forward, held.winograd_weights):
        function.argtypes, function.restype = [ctypes.POINTER(Job), ctypes.c_void_p], None
    return _Kernels(held.winograd_forward, held.winograd_weights, held.winograd_panel)


def takes(weight: Sequence[int]) -> bool:
    """Whether weights of this shape are those of a convolution of 3x3 between channels that the kernels take."""
    return len(weight) == 4 and tuple(weight[2:]) == (KERNEL, KERNEL) and weight[0] % LANES == weight[1] % LANES == 0


def exchange(graph: GraphModule) -> int:
    """Have a graph's convolutions done so, each that gains, and say how many.

    Raises:
        NoProgramError: The kernels cannot be compiled.
    """
    found = 0
    for node in list(graph.graph.nodes):
        given = node.args
        function: Callable[..., Any]
        if node.target is FORWARD and _fits(_value(given[0]), _value(given[1]), _value(node), given[3:]):
            function, arguments = convolve, (*given[:3], given[4][0])
        elif node.target is BACKWARD and _fits(_value(given[1]), _value(given[2]), _value(given[0]), given[4:10]):
            function, arguments = gradients, (*given[:3], given[5][0], tuple(given[-1]))
        else:
            continue
        _kernels(*_value(given[2 if function is gradients else 1]).shape[1::-1])
        node.target, node.args, node.kwargs = function, arguments, {}
        found += 1
    return found


def _value(node: Any) -> Any:
    return node.meta.get("val") if isinstance(node, Node) else None


def _fits(source: Any, weight: Any, output: Any, geometry: Sequence[Any]) -> bool:
    """Whether the kernels know a convolution, by what it reads and makes, and gain."""
    if not all(isinstance(one, Tensor) and one.dtype == torch.float32 for one in (source, weight, output)):
        return False
    stride, padding, dilation, transposed, _, groups = geometry
    if transposed or groups != 1 or [*stride, *dilation] != [1, 1, 1, 1] or not takes(weight.shape):
        return False
    if len(set(padding)) != 1 or padding[0] >= KERNEL or not (_lies_last(source) and _lies_last(output)):
        return False
    pictures, _, height, width = output.shape
    tiles = _tiles(height, width)
    filled = height * width / (tiles * STEP * STEP)
    return bool(pictures * tiles >= LEAST_TILES and filled >= LEAST_FILLED)


def _lies_last(value: Tensor) -> bool:
    return value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()


def _tiles(height: int, width: int) -> int:
    """How many a picture of outputs has."""
    return -(-height // STEP) * -(-width // STEP)


def convolve(source: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """What ``torch.nn.functional.conv2d`` gives, of stride 1.

    Args:
        source: (B, C, H, W), float32.
        weight: (K, C, 3, 3), where C and K are multiples of 8.
        padding: 0, 1 or 2 on each side.
    """
    source = source.contiguous(memory_format=torch.channels_last)
    held, job = _kernels(source.shape[1], len(weight)), _job(source, len(weight), padding)
    frequencies = _frequencies(weight, held.panel(len(weight)))
    size = (len(source), len(weight), job.out_height, job.out_width)
    output = torch.empty(size, memory_format=torch.channels_last, **FLOATS)
    job.weights, job.output = frequencies.data_ptr(), output.data_ptr()
    if bias is not None:
        bias = bias.contiguous()
        job.bias = bias.data_ptr()
    _do(held.forward, job)
    return output


def gradients(
    gradient: Tensor, source: Tensor, weight: Tensor, padding: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of the source, the weight and the bias, each where it is wanted: what ``convolve``'s backward pass gives.

    Args:
        gradient: Of the output, (B, K, OH, OW), float32.
    """
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    turned = weight.flip(2, 3).transpose(0, 1)
    return (
        convolve(gradient, turned, None, KERNEL - 1 - padding) if wanted[0] else None,
        _of_weight(gradient, source, weight, padding) if wanted[1] else None,
        gradient.sum((0, 2, 3)) if wanted[2] else None,
    )


def _of_weight(gradient: Tensor, source: Tensor, weight: Tensor, padding: int) -> Tensor:
    source = source.contiguous(memory_format=torch.channels_last)
    made, channels = weight.shape[:2]
    job = _job(source, made, padding)
    each = FREQUENCIES * channels * made
    job.parts = max(1, min(job.parts, SUMS_BYTES // (4 * each)))
    sums = torch.zeros(job.parts, each, **FLOATS)
    job.gradient, job.output = gradient.data_ptr(), sums.data_ptr()
    _do(_kernels(channels, made).weights, job)
    whole = sums[0] if len(sums) == 1 else sums.sum(0)
    found = TO_FREQUENCIES.t() @ whole.view(FREQUENCIES, channels * made)
    return (
        found.view(KERNEL, KERNEL, channels, made)
        .permute(3, 2, 0, 1)
        .contiguous(memory_format=torch.channels_last if _lies_last(weight) else torch.contiguous_format)
    )


def _frequencies(weight: Tensor, panel: int) -> Tensor:
    """Transformed weights, (36, K / panel, C, panel), as the products read them."""
    made, channels = weight.shape[:2]
    kernel_first = weight.permute(2, 3, 0, 1).reshape(KERNEL * KERNEL, made // panel, panel, channels)
    return TO_FREQUENCIES @ kernel_first.permute(0, 1, 3, 2).reshape(KERNEL * KERNEL, -1)


def _job(source: Tensor, made: int, padding: int) -> Job:
    """What is known of a convolution before its arguments are: shapes, and parts, as many as torch has threads."""
    pictures, channels, height, width = source.shape
    less = KERNEL - 1 - 2 * padding
    fitting = WORK_BYTES // (4 * FREQUENCIES * (channels + made))
    chunk = min(max(fitting, CHUNKS[0]), CHUNKS[1]) // 8 * 8
    tiles = pictures * _tiles(height - less, width - less)
    sizes = height, width, channels, height - less, width - less, made
    parts = torch.get_num_threads() if parallel().value else 1
    return Job(*sizes, padding, chunk, tiles, parts, input=source.data_ptr())


def _do(function: Callable[..., object], job: Job) -> None:
    work = torch.empty(job.parts, FREQUENCIES * job.chunk * (job.channels + job.out_channels), **FLOATS)
    job.work = work.data_ptr()
    function(ctypes.byref(job), parallel())
