"""A network for texts in any language: embedding, convolution, self-attention."""

import torch
from torch import nn

from netwright.blocks import TemporalConv, TransformerLayer, max_pool, mean_pool


class Net(nn.Module):
    """Neighbouring words by a convolution, distant ones by self-attention; then mean and maximum over the text.

    Args:
        vocab_size: Different tokens; 0 is padding.
        num_classes: Answers to choose from.
    """

    def __init__(self, vocab_size: int = 20_000, num_classes: int = 2, features: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, features, padding_idx=0)
        self.near = TemporalConv(features, features, 3)
        self.far = TransformerLayer(features, 4, hidden=2 * features, dropout=0.1, rotary=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(2 * features, num_classes)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens int64 (B, T) and mask bool (B, T), True where real, to logits (B, num_classes)."""
        x = self.drop(self.embed(tokens))
        x = x + self.near(x, mask).relu()
        x = self.far(x, mask)
        return self.out(self.drop(torch.cat((mean_pool(x, mask), max_pool(x, mask)), dim=1)))
