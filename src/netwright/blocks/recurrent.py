"""LSTM and GRU over padded sequences: what stands in the padding changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.blocks.masks import hide, mask_of, reverse


class Recurrent(nn.Module):
    """Layers of ``nn.LSTM`` or ``nn.GRU`` that honour lengths, in one direction or both.

    Backwards each sequence is read from its own last position, not from the padding. Nothing is packed, so that lengths
    stay on their device and the module exports.

    Args:
        cell: ``nn.LSTM`` or ``nn.GRU``.
        dropout: Between layers.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        out = hidden * (2 if bidirectional else 1)
        sizes = [features] + [out] * (num_layers - 1)
        self.ahead = nn.ModuleList(cell(size, hidden, batch_first=True) for size in sizes)
        self.back = nn.ModuleList(cell(size, hidden, batch_first=True) for size in sizes if bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.num_features = out

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read the sequences.

        Args:
            x: (B, T, D).
            lengths: int64 (B,). None: all are T long.

        Returns:
            Outputs (B, T, num_features), zero at padding; and for each sequence what was known at its end, of the last
            layer, (B, num_features): ahead at its last position, backwards at its first.
        """
        mask = None if lengths is None else mask_of(lengths, x.shape[1])
        ahead = back = x
        for index, layer in enumerate(self.ahead):
            x = self.dropout(x) if index else x
            ahead = back = hide(layer(x)[0], mask)
            if len(self.back):
                back = reverse(hide(self.back[index](reverse(x, lengths))[0], mask), lengths)
                x = torch.cat((ahead, back), dim=2)
            else:
                x = ahead
        end = ahead[:, -1] if lengths is None else _at(ahead, lengths)
        return x, torch.cat((end, back[:, 0]), dim=1) if len(self.back) else end


def _at(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D) at the last real position of each, (B, D); an empty sequence gives what stands first, zeros."""
    index = (lengths - 1).clamp_min(0)[:, None, None].expand(-1, 1, x.shape[2])
    return x.gather(1, index).squeeze(1)
