"""A language model for texts in any language: an LSTM that says which character comes next."""

import torch
from torch import nn


class Net(nn.Module):
    """Embedding, an LSTM that reads from left to right, and at each place an answer for what follows.

    An answer depends on what stands before it alone, since the LSTM has not read further yet.

    Args:
        vocab_size: Different tokens, as characters.
        features: Numbers that a token is written as.
        hidden: What the LSTM can keep in mind.
        num_layers: LSTMs on top of each other; more need more text and more time.
        dropout: Share of what it has in mind that is hidden from the answer in training.
    """

    def __init__(
        self, vocab_size: int = 256, features: int = 64, hidden: int = 512, num_layers: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, features)
        self.read = nn.LSTM(features, hidden, num_layers, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, vocab_size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 (B, T) to logits (B, T, vocab_size): at each place, for the token after it."""
        known, _ = self.read(self.embed(tokens))
        return self.out(self.drop(known))
