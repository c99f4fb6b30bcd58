"""A network that tags each word: which one it is, how it is spelt, and a two-way LSTM over the sentence."""

import torch
from torch import nn

from netwright.blocks import Recurrent, hide

UNKNOWN = 1  # the token of what training had not; 0 is padding


class Net(nn.Module):
    """Words by an embedding and, for those that training had not, by their characters and how they are written.

    Source: Ma & Hovy 2016, arXiv:1603.01354, without its conditional random field and its vectors trained elsewhere.

    Args:
        vocab_size: Different words.
        num_characters: Different characters.
        num_shapes: Ways in which a word may be written, as in capitals.
        num_classes: Tags to choose from.
        forget: Share of the words that are hidden from the network in training, so that it learns to go by spelling.
    """

    def __init__(
        self,
        vocab_size: int = 20_000,
        num_characters: int = 200,
        num_shapes: int = 14,
        num_classes: int = 2,
        features: int = 128,
        forget: float = 0.2,
    ) -> None:
        super().__init__()
        self.forget = forget
        self.words = nn.Embedding(vocab_size, features)
        self.shapes = nn.Embedding(num_shapes, features // 2)
        self.characters = nn.Embedding(num_characters, 32, padding_idx=0)
        self.spelling = nn.Conv1d(32, features, 3, padding=1)
        self.read = Recurrent(2 * features + features // 2, features, bidirectional=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(self.read.num_features, num_classes)

    def forward(
        self,
        tokens: torch.Tensor,
        characters: torch.Tensor,
        shapes: torch.Tensor,
        lengths: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Tokens and shapes (B, T), characters (B, T, K), lengths (B,), mask (B, T) to logits (B, T, num_classes)."""
        if self.training:
            forgotten = torch.rand(tokens.shape, device=tokens.device) < self.forget
            tokens = tokens.masked_fill(forgotten & mask, UNKNOWN)
        letters = self.characters(characters.flatten(0, 1)).transpose(1, 2)
        spelt = self.spelling(letters).relu().amax(2).unflatten(0, tokens.shape)
        x = hide(torch.cat((self.words(tokens), spelt, self.shapes(shapes)), dim=2), mask)
        x, _ = self.read(self.drop(x), lengths)
        return self.out(self.drop(x))
