"""Fourier transforms while a module is traced for ONNX: as convolutions and products with fixed numbers.

ONNX has operators for them, which onnxruntime runs some twenty times slower than a convolution with sines and cosines.
``B`` sounds, ``T`` samples, ``N`` bins, ``F`` frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netwright.shipping import patched

_rfft = torch.fft.rfft


def _waves(size: int, bins: int) -> Tensor:
    """Cosines and negative sines, float32 (2 * bins, size)."""
    angles = 2 * np.pi * (np.arange(bins)[:, None] * np.arange(size)[None] % size) / size
    return torch.tensor(np.concatenate((np.cos(angles), -np.sin(angles))).astype(np.float32))


def _stft(  # noqa: PLR0913 - they are torch.stft's
    sound: Tensor,
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: Tensor | None,
    center: bool,
    pad_mode: str,
    normalized: bool,
    onesided: bool | None,
    return_complex: bool | None,
    align_to_window: bool | None,
) -> Tensor:
    """``torch.stft`` of real sounds, (B, T) or (T,), to (B, N, F) or (N, F)."""
    del align_to_window  # where it changes something torch itself refuses it
    hop, size = hop_length or n_fft // 4, win_length or n_fft
    waves = sound.unsqueeze(0) if sound.ndim == 1 else sound
    if center:
        waves = functional.pad(waves[:, None], (n_fft // 2, n_fft // 2), pad_mode)[:, 0]
    bins = n_fft if onesided is False else n_fft // 2 + 1
    kernels = _waves(n_fft, bins).to(sound.dtype)
    if window is not None or size < n_fft:
        shape = kernels.new_ones(size) if window is None else window.to(sound.dtype)
        before = (n_fft - size) // 2
        kernels = kernels * functional.pad(shape, (before, n_fft - size - before))
    parts = functional.conv1d(waves[:, None], kernels[:, None], stride=hop)
    if normalized:
        parts = parts * n_fft**-0.5
    real, imaginary = parts[:, :bins], parts[:, bins:]
    found = torch.complex(real, imaginary) if return_complex else torch.stack((real, imaginary), dim=-1)
    return found.squeeze(0) if sound.ndim == 1 else found


def _of_real(values: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, **rest: Any) -> Tensor:
    """``torch.fft.rfft`` over a size that does not vary."""
    size = values.shape[dim] if n is None else n
    if rest or not isinstance(size, int) or not isinstance(values.shape[dim], int) or not values.is_floating_point():
        plain: Tensor = _rfft(values, n=n, dim=dim, norm=norm, **rest)
        return plain
    along = values.transpose(dim, -1)
    along = functional.pad(along, (0, size - along.shape[-1]))  # below zero it is cut
    bins = size // 2 + 1
    parts = along @ _waves(size, bins).to(values.dtype).T
    scale = {"ortho": size**-0.5, "forward": 1 / size}.get(norm or "backward", 1.0)
    parts = parts if scale == 1.0 else parts * scale
    return torch.complex(parts[..., :bins], parts[..., bins:]).transpose(dim, -1)


@contextlib.contextmanager
def as_products() -> Iterator[None]:
    """Spectra by convolutions and products while the block runs."""
    with patched.code(torch.functional.stft, _stft), patched.attribute(torch.fft, "rfft", _of_real):
        yield
