"""A network that tells words, voices or noises apart: spectra, convolutions over time, a two-way GRU."""

import torch
from torch import nn

from netwright.blocks import (
    AttentionPool,
    LogMel,
    MaskedBatchNorm,
    Recurrent,
    SpecAugment,
    TemporalConv,
    UtteranceNorm,
    WarpBands,
    hide,
    mask_of,
    max_pool,
)


class Net(nn.Module):
    """Spectra on the mel scale, changed a little in training so that a new voice is no surprise.

    Args:
        num_classes: Answers to choose from.
        sample_rate: Samples a second.
    """

    def __init__(
        self, num_classes: int = 2, sample_rate: int = 16_000, features: int = 128, num_bands: int = 40
    ) -> None:
        super().__init__()
        self.spectra = LogMel(sample_rate, num_bands=num_bands)
        self.norm, self.warp = UtteranceNorm(), WarpBands(0.1)
        self.forget = SpecAugment(num_bands=1, band_width=6, num_times=1, time_share=0.1)
        self.first, self.second = TemporalConv(num_bands, features, 5), TemporalConv(features, features, 5)
        self.first_norm, self.second_norm = MaskedBatchNorm(features), MaskedBatchNorm(features)
        self.context = Recurrent(features, features // 2, cell=nn.GRU, bidirectional=True)
        self.drop, self.pool = nn.Dropout(0.3), AttentionPool(features)
        self.out = nn.Linear(2 * features, num_classes)

    def forward(self, sound: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Waves float32 (B, T) and their lengths, int64 (B,), to logits (B, num_classes)."""
        x, frames = self.spectra(sound, lengths)
        mask = mask_of(frames, x.shape[1])
        x = self.forget(self.norm(hide(self.warp(x), mask), mask), mask)
        x = self.first_norm(self.first(x, mask), mask).relu()
        x, mask = x[:, ::2], mask[:, ::2]
        x = self.drop(self.second_norm(self.second(hide(x, mask), mask), mask).relu())
        x = hide(x, mask)
        x = x + self.context(x, mask.sum(1))[0]
        found = torch.cat((self.pool(x, mask), max_pool(x, mask)), dim=1)
        return self.out(self.drop(found))
