"""A network that writes down what is said, letter by letter: spectra, convolutions, two-way GRUs, CTC."""

import torch
from torch import nn

from netwright.blocks import (
    LogMel,
    MaskedBatchNorm,
    Recurrent,
    SpecAugment,
    TemporalConv,
    UtteranceNorm,
    WarpBands,
    hide,
    mask_of,
)


class Net(nn.Module):
    """A frame each 10 ms, every second of which answers with a letter or with the blank, output 0.

    Args:
        num_classes: Letters and the blank.
        sample_rate: Samples a second.
    """

    def __init__(
        self, num_classes: int = 28, sample_rate: int = 16_000, features: int = 128, num_bands: int = 40
    ) -> None:
        super().__init__()
        self.spectra = LogMel(sample_rate, num_bands=num_bands)
        self.norm, self.warp = UtteranceNorm(), WarpBands(0.1)
        self.forget = SpecAugment(num_bands=1, band_width=6, num_times=2, time_share=0.03)
        self.first, self.second = TemporalConv(num_bands, features, 5), TemporalConv(features, features, 5)
        self.first_norm, self.second_norm = MaskedBatchNorm(features), MaskedBatchNorm(features)
        self.context = Recurrent(features, features // 2, cell=nn.GRU, num_layers=2, bidirectional=True, dropout=0.2)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(features, num_classes)

    def forward(self, sound: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Waves float32 (B, T) and their lengths, int64 (B,), to logits (B, frames, num_classes)."""
        x, frames = self.spectra(sound, lengths)
        mask = mask_of(frames, x.shape[1])
        x = self.forget(self.norm(hide(self.warp(x), mask), mask), mask)
        x = self.first_norm(self.first(x, mask), mask).relu()
        x, mask = x[:, ::2], mask[:, ::2]
        x = self.drop(self.second_norm(self.second(hide(x, mask), mask), mask).relu())
        x = hide(x, mask)
        x = x + self.context(x, mask.sum(1))[0]
        return self.out(self.drop(x))
