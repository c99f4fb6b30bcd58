"""What half precision costs on this processor: measured, since what its flags promise is not what its kernels do."""

from __future__ import annotations

import functools
import time

import torch

SIDE, PRODUCTS = 256, 20


@functools.cache
def time_of_products(dtype: torch.dtype) -> float:
    """Seconds of a 256 by 256 matrix product in a dtype, as a share of those in float32, the shortest of a few each.

    About 0.5 with instructions for it, and 44 to 499 without (https://github.com/pytorch/pytorch/issues/146508).
    """
    factors = [torch.ones(SIDE, SIDE, dtype=kind) for kind in (dtype, torch.float32)]
    taken: list[list[float]] = [[], []]
    for _ in range(PRODUCTS):  # in turns, so that what else the machine does befalls both
        for factor, found in zip(factors, taken, strict=True):
            began = time.perf_counter()
            factor @ factor
            found.append(time.perf_counter() - began)
    return min(taken[0]) / min(taken[1])


def told(dtype: torch.dtype) -> str:
    """How much faster or slower its products are here, in words."""
    share = time_of_products(dtype)
    name = str(dtype).removeprefix("torch.")
    if share <= 1:
        return f"products in {name} are {1 / share:.1f} times as fast as in float32 here"
    return f"products in {name} take {share:.1f} times as long as in float32 here"
