"""A recurrent network for texts: an LSTM reads them word by word, forwards and backwards."""

import torch
from torch import nn

from netwright.blocks import Recurrent, max_pool


class Net(nn.Module):
    """Embedding, a two-way LSTM that stops at each text's end, the maximum over its words.

    Args:
        vocab_size: Different tokens; 0 is padding.
        num_classes: Answers to choose from.
        cell: nn.LSTM, or nn.GRU, which has one gate less.
    """

    def __init__(
        self, vocab_size: int = 20_000, num_classes: int = 2, features: int = 128, cell: type = nn.LSTM
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, features, padding_idx=0)
        self.read = Recurrent(features, features, cell=cell, bidirectional=True)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(self.read.num_features, num_classes)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens int64 (B, T), lengths int64 (B,) and mask bool (B, T) to logits (B, num_classes)."""
        outputs, _ = self.read(self.drop(self.embed(tokens)), lengths)
        return self.out(self.drop(max_pool(outputs, mask)))
