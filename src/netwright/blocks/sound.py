"""From sound to features: spectra on the mel scale, their cosine transform, and what is changed of them in training.

All of it is convolutions, products and sums with fixed numbers, so that it compiles and exports as any layer does, and
travels inside the network: no feature can differ between training and serving.
``B`` sounds, ``T`` samples, ``F`` frames, ``M`` bands, ``D`` coefficients.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.blocks.masks import hide, mask_of

Scale = Literal["slaney", "htk"]
# Energies below this are silence: -100 dB of a full-scale sine, under what 16 bits resolve.
FLOOR = 1e-10
# Slaney's scale is linear to 1,000 Hz, in steps of 200 / 3 Hz, and logarithmic above: 27 steps to a factor of 6.4.
SLANEY_STEP, SLANEY_BREAK, SLANEY_LOG = 200.0 / 3.0, 1_000.0, math.log(6.4) / 27.0


def hertz_to_mel(hertz: Tensor, scale: Scale = "slaney") -> Tensor:
    """Frequencies on a scale of equal steps of pitch, of any shape.

    Source:
        "slaney": Slaney 1998, "Auditory Toolbox", Interval Research report 1998-010. "htk": Young et al., "The HTK
        Book", equation 5.13, after O'Shaughnessy 1987.
    """
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hertz / 700.0)
    above = SLANEY_BREAK / SLANEY_STEP + torch.log(hertz.clamp_min(1e-9) / SLANEY_BREAK) / SLANEY_LOG
    return torch.where(hertz < SLANEY_BREAK, hertz / SLANEY_STEP, above)


def mel_to_hertz(mel: Tensor, scale: Scale = "slaney") -> Tensor:
    """The inverse of ``hertz_to_mel``."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    at_break = SLANEY_BREAK / SLANEY_STEP
    return torch.where(mel < at_break, mel * SLANEY_STEP, SLANEY_BREAK * torch.exp(SLANEY_LOG * (mel - at_break)))


def mel_filters(
    num_bands: int, num_bins: int, sample_rate: int, *, low_hz: float, high_hz: float, scale: Scale = "slaney"
) -> Tensor:
    """Triangles over the bins of a spectrum, at equal distances on the mel scale, float32 (M, bins).

    Args:
        num_bins: Of the spectrum, from 0 Hz to half the sample rate.
        scale: "slaney" triangles have equal areas, "htk" ones equal heights, as in their sources.
    """
    ends = hertz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64), scale)
    corners = mel_to_hertz(torch.linspace(float(ends[0]), float(ends[1]), num_bands + 2, dtype=torch.float64), scale)
    bins = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)
    rising = (bins[None] - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins[None]) / (corners[2:] - corners[1:-1])[:, None]
    triangles = torch.minimum(rising, falling).clamp_min(0.0)
    if scale == "slaney":
        triangles = triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return triangles.float()


class LogMel(nn.Module):
    """The logarithm of a sound's energy in bands of the mel scale, frame by frame.

    Frame ``f`` is centred on sample ``f * hop``; beyond the ends the sound is zero, so that there are ceil(T / hop)
    frames, one at least, and what stands in the padding changes none of the real ones.

    Args:
        sample_rate: Samples a second.
        num_bands: Bands, M.
        window_s: Length of a frame in seconds, under a Hann window.
        hop_s: Distance between frames in seconds.
        low_hz: Where the lowest band begins.
        high_hz: Where the highest band ends. None: at half the sample rate.

    Source:
        Davis & Mermelstein 1980, IEEE Trans. ASSP 28:357, with a logarithm in place of their cosine transform.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        *,
        num_bands: int = 40,
        window_s: float = 0.025,
        hop_s: float = 0.01,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        scale: Scale = "slaney",
    ) -> None:
        super().__init__()
        self.hop, self.size = max(1, round(sample_rate * hop_s)), max(2, round(sample_rate * window_s))
        num_fft = 2 ** math.ceil(math.log2(self.size))
        num_bins = num_fft // 2 + 1
        steps = torch.arange(self.size, dtype=torch.float64)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * steps / self.size)  # periodic, as spectra want it
        angles = 2 * math.pi * torch.arange(num_bins, dtype=torch.float64)[:, None] * steps[None] / num_fft
        kernels = torch.cat((angles.cos(), angles.sin())) * window / window.sum()
        self.register_buffer("kernels", kernels.float()[:, None], persistent=False)
        filters = mel_filters(
            num_bands, num_bins, sample_rate, low_hz=low_hz, high_hz=high_hz or sample_rate / 2, scale=scale
        )
        self.register_buffer("filters", filters, persistent=False)
        self.num_features = num_bands

    def forward(self, sound: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the features.

        Args:
            sound: float32 (B, T), full scale at 1.
            lengths: Real samples of each, int64 (B,). None: all are T long.

        Returns:
            float32 (B, F, M) with F = ceil(T / hop), zero at padding; and frames of each, int64 (B,).
        """
        size = sound.shape[1]
        frames = (size + self.hop - 1) // self.hop
        if lengths is None:
            lengths = torch.full_like(sound[:, 0], size, dtype=torch.int64)
        sound = sound.masked_fill(~mask_of(lengths, size), 0.0)
        before = self.size // 2
        after = (frames - 1) * self.hop + self.size - before - size
        # ``after`` is below zero where a hop is longer than half a window: then the end is cut, which no frame reaches.
        padded = functional.pad(sound[:, None], (before, after))
        parts = functional.conv1d(padded, self.kernels, stride=self.hop)
        real, imaginary = parts.chunk(2, dim=1)
        energy = functional.conv1d(real.square() + imaginary.square(), self.filters[..., None])
        found = torch.div(lengths + self.hop - 1, self.hop, rounding_mode="floor")
        return hide(energy.clamp_min(FLOOR).log().transpose(1, 2), mask_of(found, frames)), found


class MFCC(nn.Module):
    """The first coefficients of the cosine transform of log-mel bands: the shape of a spectrum, without its detail.

    Args:
        sample_rate: Samples a second.
        num_coefficients: D, of which the first is the loudness.
        num_bands: Bands that are transformed.

    Source:
        Davis & Mermelstein 1980; the orthonormal DCT-II, Ahmed, Natarajan & Rao 1974, IEEE Trans. Computers 23:90.
    """

    transform: Tensor

    def __init__(
        self, sample_rate: int, *, num_coefficients: int = 13, num_bands: int = 40, scale: Scale = "slaney"
    ) -> None:
        super().__init__()
        self.bands = LogMel(sample_rate, num_bands=num_bands, scale=scale)
        places = (torch.arange(num_bands, dtype=torch.float64) + 0.5) * math.pi / num_bands
        transform = torch.cos(places[:, None] * torch.arange(num_coefficients)[None]) * math.sqrt(2 / num_bands)
        transform[:, 0] /= math.sqrt(2)
        self.register_buffer("transform", transform.float(), persistent=False)
        self.num_features = num_coefficients

    def forward(self, sound: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """float32 (B, T) and lengths, int64 (B,), to (B, F, D), zero at padding, and frames of each, int64 (B,)."""
        bands, frames = self.bands(sound, lengths)
        return bands @ self.transform, frames


class UtteranceNorm(nn.Module):
    """The features of each sound with mean 0 and deviation 1: how loud it was recorded falls away.

    Args:
        each: Whether every feature by itself is normalised, which takes the microphone's colour away too, and of a
            sound as short as a word much of what was said.
        eps: Added to the deviation, so that silence stays near 0.

    Source:
        Viikki & Laurila 1998, Speech Communication 25:133.
    """

    def __init__(self, *, each: bool = False, eps: float = 1e-2) -> None:
        super().__init__()
        self.each, self.eps = each, eps

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, F, D) and a mask, bool (B, F), to (B, F, D), zero at padding."""
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        count = real.sum(1, keepdim=True).clamp_min(1.0)
        x = hide(x, mask)
        mean = x.sum(1, keepdim=True) / count
        mean = mean if self.each else mean.mean(2, keepdim=True)
        centred = (x - mean) * real
        variance = centred.square().sum(1, keepdim=True) / count
        variance = variance if self.each else variance.mean(2, keepdim=True)
        return centred / (variance.clamp_min(1e-12).sqrt() + self.eps)


class SpecAugment(nn.Module):
    """Hide random bands and random stretches of time in training, so that no one of them is relied on.

    Expects features whose mean is 0, which stands where something is hidden. Draws from torch's generator.

    Args:
        num_bands: Stretches of bands that are hidden, each up to ``band_width`` wide.
        num_times: Stretches of frames, each up to ``time_share`` of the sound long.

    Source:
        Park et al. 2019, arXiv:1904.08779, section 2; without their warping of time, which matters least.
    """

    def __init__(
        self, *, num_bands: int = 2, band_width: int = 8, num_times: int = 2, time_share: float = 0.15
    ) -> None:
        super().__init__()
        self.num_bands, self.band_width = num_bands, band_width
        self.num_times, self.time_share = num_times, time_share

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, F, D) and a mask, bool (B, F), to (B, F, D); in eval mode the same."""
        if not self.training:
            return x
        count, frames, bands = x.shape
        lengths = x.new_full((count, 1), frames) if mask is None else mask.sum(1, keepdim=True).to(x.dtype)
        hidden = torch.zeros_like(x, dtype=torch.bool)
        for _ in range(self.num_bands):
            hidden = hidden | _stretch(x, bands, self.band_width * torch.ones_like(lengths), bands)[:, None, :]
        for _ in range(self.num_times):
            hidden = hidden | _stretch(x, lengths, self.time_share * lengths, frames)[:, :, None]
        return x.masked_fill(hidden, 0.0)


def _stretch(x: Tensor, total: Tensor | int, most: Tensor, size: int) -> Tensor:
    """One random stretch of up to ``most`` places of ``total``, bool (B, size)."""
    draws = torch.rand(2, len(x), 1, device=x.device)
    width = draws[0] * (most + 1.0)
    begin = draws[1] * (total - width).clamp_min(0.0)
    steps = torch.arange(size, device=x.device)[None]
    return (steps >= begin.floor()) & (steps < (begin.floor() + width.floor()))


class WarpBands(nn.Module):
    """Stretch the bands of each sound in training by a factor of its own, as a longer or shorter throat would.

    Bands are read between their neighbours. Draws from torch's generator.

    Args:
        most: Factors are between 1 - ``most`` and 1 + ``most``.

    Source:
        Jaitly & Hinton 2013, "Vocal tract length perturbation improves speech recognition", on mel bands.
    """

    def __init__(self, most: float = 0.15) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, M) to the same; in eval mode x itself."""
        if not self.training:
            return x
        count, _, bands = x.shape
        factors = 1 + self.most * (2 * torch.rand(count, 1, device=x.device) - 1)
        places = (torch.arange(bands, device=x.device)[None] * factors).clamp(max=bands - 1)
        below = places.floor().long().clamp(max=max(0, bands - 2))
        share = (places - below)[:, None].to(x.dtype)
        index = below[:, None].expand_as(x)
        above = (index + 1).clamp(max=bands - 1)
        return x.gather(2, index) * (1 - share) + x.gather(2, above) * share
