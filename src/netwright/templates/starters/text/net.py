"""A network for texts in any language: embedding, convolution, self-attention."""

import torch
from torch import nn
from torch.nn import functional

from netwright.blocks import TemporalConv, TransformerLayer, hide, max_pool, mean_pool

UNKNOWN = 1  # the token of what training had not; 0 is padding


class Net(nn.Module):
    """Neighbouring words by a convolution, distant ones by self-attention, and pairs of words by themselves.

    Each pair of neighbours has an embedding of its own, as in fastText (Joulin et al. 2016, arXiv:1607.01759): so that
    "not good" need not be learned from "not" and "good". Pairs share ``num_pairs`` rows by a hash.

    Args:
        vocab_size: Different tokens.
        num_classes: Answers to choose from.
        forget: Share of the words that are hidden from the network in training, so that it relies on none alone.
    """

    def __init__(
        self,
        vocab_size: int = 20_000,
        num_classes: int = 2,
        features: int = 128,
        num_pairs: int = 50_021,
        forget: float = 0.1,
    ) -> None:
        super().__init__()
        self.forget = forget
        self.words = nn.Embedding(vocab_size, features)
        self.pairs = nn.Embedding(num_pairs, features)
        for table in (self.words, self.pairs):
            nn.init.normal_(table.weight, std=0.1)
        self.near = TemporalConv(features, features, 3)
        self.far = TransformerLayer(features, 4, hidden=2 * features, dropout=0.1, rotary=True)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(3 * features, num_classes)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens int64 (B, T) and mask bool (B, T), True where real, to logits (B, num_classes)."""
        if self.training:
            forgotten = torch.rand(tokens.shape, device=tokens.device) < self.forget
            tokens = tokens.masked_fill(forgotten & mask, UNKNOWN)
        following = functional.pad(tokens[:, 1:], (0, 1))
        pairs = hide(self.pairs((tokens * 1_000_003 + following) % self.pairs.num_embeddings), mask)
        x = self.drop(self.words(tokens))
        x = x + self.near(x, mask).relu()
        x = self.far(x, mask)
        found = torch.cat((mean_pool(x, mask), max_pool(x, mask), mean_pool(pairs, mask)), dim=1)
        return self.out(self.drop(found))
