"""What the activations written as autograd functions save beside their plain twins: bytes kept, and time.

    python bench/activations.py

Forward and backward of one layer's output, float32 (256, 4096), one thread; the two sides take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from common import machine
from torch import Tensor

from netwright.blocks import activations

ROUNDS = 30
SHAPE = (256, 4096)


def kept_bytes(function: Callable[..., Tensor], given: tuple[Tensor, ...]) -> int:
    """Bytes that are held for the backward pass, each tensor counted once."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = function(*given)
    del value
    return sum(held.values())


def seconds(function: Callable[..., Tensor], given: tuple[Tensor, ...]) -> float:
    """One forward and backward."""
    begin = time.perf_counter()
    torch.autograd.grad(function(*given).sum(), given)
    return time.perf_counter() - begin


def main() -> None:
    """Print a line for each activation."""
    print(machine())
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for function, twin in activations.PLAIN_TWINS.items():
        given = [torch.randn(SHAPE, requires_grad=True)]
        if function is activations.learnable_swish:
            given.append(torch.ones(SHAPE[1], requires_grad=True))
        sides: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for times, one in zip(sides, (function, twin), strict=True):
                times.append(seconds(one, tuple(given)))
        ratios = sorted(mine / plain for mine, plain in zip(*sides, strict=True))
        mine, plain = (kept_bytes(one, tuple(given)) / 2**20 for one in (function, twin))
        print(
            f"{function.__name__:<24} keeps {mine:5.1f} MiB, plain {plain:5.1f} MiB; time / plain "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, n={ROUNDS})"
        )


if __name__ == "__main__":
    main()
