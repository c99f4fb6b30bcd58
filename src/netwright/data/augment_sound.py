"""Augmentations for batches of sounds, each drawn from (seed, epoch, sample index) alone.

All take waves float32 (B, T), zero at padding, and lengths int64 (B,), and give the same; T may change. What becomes of
a sound does not depend on who else is in its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.order import keyed_uniform
from netwright.errors import unknown_name

Draws = NDArray[np.float64]
# A quiet room is 40 dB below a voice, a loud one 10.
QUIETEST_DB, LOUDEST_DB = 40.0, 10.0
MOST_SILENCE_S = 0.1
# As far as pitch and pace of grown speakers lie apart; Ko et al. 2015 ("Audio augmentation for speech recognition",
# Interspeech) take 10 % for sets with the same speakers in training and test.
MOST_SPEED = 0.15


def noise(waves: Tensor, lengths: Tensor, draws: Draws, rate: int, keys: NDArray[np.uint64]) -> tuple[Tensor, Tensor]:
    """Add white noise, 10 to 40 dB below each sound's own mean level."""
    del rate
    changed = waves.clone()
    decibels = QUIETEST_DB + (LOUDEST_DB - QUIETEST_DB) * draws[:, 0]
    for row, (size, key) in enumerate(zip(lengths.tolist(), keys, strict=True)):
        sound = changed[row, :size]
        level = float(sound.square().mean().sqrt()) * 10 ** (-decibels[row] / 20) if size else 0.0
        sound += level * torch.from_numpy(_normal(key, size))
    return changed, lengths


def shift(waves: Tensor, lengths: Tensor, draws: Draws, rate: int, keys: NDArray[np.uint64]) -> tuple[Tensor, Tensor]:
    """Put up to 0.1 s of silence before and behind each sound; nothing of it is cut."""
    del keys
    silence = torch.from_numpy((draws[:, :2] * (MOST_SILENCE_S * rate + 1)).astype(np.int64))
    longer = lengths + silence.sum(1)
    steps = torch.arange(int(longer.max()))[None]
    places = steps - silence[:, :1]
    inside = (places >= 0) & (places < lengths[:, None])
    moved = waves.gather(1, places.clamp(0, waves.shape[1] - 1))
    return moved.masked_fill(~inside, 0.0), longer


def speed(waves: Tensor, lengths: Tensor, draws: Draws, rate: int, keys: NDArray[np.uint64]) -> tuple[Tensor, Tensor]:
    """Play each sound up to 15 % slower or faster, which moves its pitch as well; read between the samples."""
    del rate, keys
    factors = torch.from_numpy(1 + MOST_SPEED * (2 * draws[:, 0] - 1))
    sizes = (lengths / factors).floor().long().clamp_min(1)
    steps = torch.arange(int(sizes.max()))[None]
    places = (steps * factors[:, None]).clamp(max=waves.shape[1] - 1)
    below = places.floor().long()
    above = torch.minimum(below + 1, (lengths - 1).clamp_min(0)[:, None])
    share = (places - below).float()
    read = waves.gather(1, below) * (1 - share) + waves.gather(1, above.clamp_min(0)) * share
    return read.masked_fill(steps >= sizes[:, None], 0.0), sizes


Change = Callable[[Tensor, Tensor, Draws, int, NDArray[np.uint64]], tuple[Tensor, Tensor]]
SOUND_AUGMENTATIONS: dict[str, Change] = {"speed": speed, "shift": shift, "noise": noise}
DRAWS = 2  # the most that any of them uses for a sound
FIRST_STREAM = 100  # those of images lie below


def augment_sounds(
    inputs: dict[str, Tensor],
    names: tuple[str, ...],
    sample_ids: NDArray[np.int64],
    *,
    rate: int,
    seed: int,
    epoch: int,
) -> dict[str, Tensor]:
    """Augment a batch, in the order of ``names``.

    Args:
        inputs: ``sound`` float32 (B, T), ``lengths`` int64 (B,), ``mask`` bool (B, T).
        sample_ids: int64 (B,): what each sound's randomness is drawn from.
        rate: Samples a second.

    Raises:
        UnknownNameError: There is no such augmentation.
    """
    waves, lengths = inputs["sound"], inputs["lengths"]
    for name in names:
        if name not in SOUND_AUGMENTATIONS:
            raise unknown_name("augmentation of sound", name, [*SOUND_AUGMENTATIONS, "none"], where="--augment")
        stream = FIRST_STREAM + list(SOUND_AUGMENTATIONS).index(name)
        draws = keyed_uniform(sample_ids, DRAWS + 1, seed=seed, epoch=epoch, stream=stream)
        keys = (draws[:, DRAWS] * 2**53).astype(np.uint64)
        waves, lengths = SOUND_AUGMENTATIONS[name](waves, lengths, draws[:, :DRAWS], rate, keys)
    mask = torch.arange(waves.shape[1])[None] < lengths[:, None]
    return {**inputs, "sound": waves, "lengths": lengths, "mask": mask}


def _normal(key: np.uint64, count: int) -> NDArray[np.float32]:
    """Normal numbers that belong to a key, float32 (count,).

    Of raw Philox words, since NumPy promises no more of its distributions than of its permutations.

    Source:
        Box & Muller 1958, Ann. Math. Statist. 29:610.
    """
    words = np.random.Philox(key=np.asarray([key, 0], dtype=np.uint64)).random_raw((count + 1) // 2)
    first = ((words >> np.uint64(32)).astype(np.float32) + 1) * np.float32(2.0**-32)
    second = (words & np.uint64(0xFFFFFFFF)).astype(np.float32) * np.float32(2 * math.pi * 2.0**-32)
    radius = np.sqrt(-2 * np.log(np.minimum(first, np.float32(1))))
    return np.concatenate((radius * np.cos(second), radius * np.sin(second)))[:count]
