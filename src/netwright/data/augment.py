"""Augmentations for batches of images, each drawn from (seed, epoch, sample index) alone.

All take (B, C, H, W), uint8 or float, and give the same shape and dtype; a sample's result does not depend on who else
is in its batch. None loops over samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from netwright.data.order import keyed_uniform
from netwright.errors import unknown_name

Draws = NDArray[np.float64]
TURN_DEGREES = 12.0


def shift(images: Tensor, draws: Draws) -> Tensor:
    """Move by up to a fourteenth of the size (2 pixels of 28, at least 1); what comes in repeats the edge."""
    reach = [max(1, round(size / 14)) for size in images.shape[-2:]]
    return _window(images, reach, draws)


def crop(images: Tensor, draws: Draws) -> Tensor:
    """Cut a window of the same size from the image padded by an eighth of it (4 pixels of 32).

    Source:
        He et al. 2016, arXiv:1512.03385, section 4.2.
    """
    reach = [max(1, round(size / 8)) for size in images.shape[-2:]]
    return _window(images, reach, draws)


def flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror left and right in half of the cases."""
    mirrored = torch.from_numpy(draws[:, 0] < 0.5)[:, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def rotate(images: Tensor, draws: Draws) -> Tensor:
    """Turn by up to 12 degrees about the middle, bilinear; what comes in repeats the edge."""
    angle = torch.from_numpy((draws[:, 0] * 2 - 1) * math.radians(TURN_DEGREES)).float()
    height, width = images.shape[-2:]
    cos, sin = angle.cos(), angle.sin()
    zero = torch.zeros_like(cos)
    rows = (torch.stack((cos, -sin * height / width, zero), 1), torch.stack((sin * width / height, cos, zero), 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    turned = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned.round().to(images.dtype) if not images.is_floating_point() else turned.to(images.dtype)


def cutout(images: Tensor, draws: Draws) -> Tensor:
    """Cover a square of a quarter of the size with the image's own mean.

    Source:
        DeVries & Taylor 2017, arXiv:1708.04552.
    """
    covered = None
    for axis, size in enumerate(images.shape[-2:]):
        half = max(1, size // 4) / 2
        middle = torch.from_numpy(draws[:, axis])[:, None] * size
        inside = (torch.arange(size)[None, :] + 0.5 - middle).abs() < half
        covered = inside[:, :, None] if covered is None else covered & inside[:, None, :]
    mean = images.float().mean((-2, -1), keepdim=True).to(images.dtype)
    mask = torch.zeros(1, dtype=torch.bool) if covered is None else covered[:, None]
    return torch.where(mask, mean, images)


AUGMENTATIONS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "crop": crop,
    "flip": flip,
    "rotate": rotate,
    "shift": shift,
    "cutout": cutout,
}
DRAWS = 2  # the most that any of them uses for a sample


def augment(images: Tensor, names: tuple[str, ...], sample_ids: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
    """Augment a batch, in the order of ``names``.

    Args:
        images: (B, C, H, W), uint8 or float.
        sample_ids: int64 (B,): what each sample's randomness is drawn from.

    Raises:
        UnknownNameError: There is no such augmentation.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown_name("augmentation", name, [*AUGMENTATIONS, "none"], where="--augment")
        stream = list(AUGMENTATIONS).index(name)
        images = AUGMENTATIONS[name](images, keyed_uniform(sample_ids, DRAWS, seed=seed, epoch=epoch, stream=stream))
    return images


def _window(images: Tensor, reach: list[int], draws: Draws) -> Tensor:
    """Move each image by its own number of whole pixels, up to ``reach`` in each direction."""
    count, _, height, width = images.shape
    moves = [
        torch.from_numpy((draws[:, axis] * (2 * most + 1)).astype(np.int64) - most) for axis, most in enumerate(reach)
    ]
    rows = (torch.arange(height)[None, :] + moves[0][:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width)[None, :] + moves[1][:, None]).clamp_(0, width - 1)
    batch = torch.arange(count)[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return images[batch, channels, rows[:, None, :, None], columns[:, None, None, :]]
