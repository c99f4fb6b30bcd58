"""Modules that no graph can answer for: each with its reason marked by a comment at its line."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(200, 16), nn.Linear(16, 4)
        self.cell, self.narrow = nn.GRUCell(16, 16), nn.LSTM(16, 8, proj_size=4, batch_first=True)
        self.before: Tensor | None = None


class Value(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        if x.mean().item() > 0:  # here
            x = x * 2
        return self.out(x.mean(1))


class Branch(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        if (lengths > 5).any():  # here
            x = x * 2
        return self.out(x.mean(1))


class Numpy(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.out(torch.as_tensor(np.tanh(x.detach().numpy())).mean(1))  # here


class Steps(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x, h = self.embed(tokens), None
        for step in range(x.shape[1]):  # here
            h = self.cell(x[:, step], h)
        return self.out(h)


class Rows(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([self.out(row.mean(0)) for row in self.embed(tokens)])  # here


class Lists(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.out(torch.stack([x[i, :n].mean(0) for i, n in enumerate(lengths.tolist())]))  # here


class Even(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        if x.shape[1] % 2:  # here
            x = functional.pad(x, (0, 0, 0, 1))
        return self.out(x.mean(1))


class Short(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        if x.shape[1] > 5:  # here
            x = x[:, :5] * 3
        return self.out(x.mean(1))


class Plain(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        count = int(tokens.shape[0])  # here
        return self.out(self.embed(tokens).view(count, -1, 16).mean(1))


class Chance(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens).mean(1)
        return self.out(x + torch.randn_like(x))  # here


class Dropout(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.out(functional.dropout(self.embed(tokens).mean(1), 0.5))  # here


class Bessel(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens).mean(1)
        return self.out(torch.special.bessel_j0(x))  # here


class Projected(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        _, (state, _) = self.narrow(self.embed(tokens))  # here
        return state[-1]


class Sequences(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_sequence(list(self.embed(tokens).unbind(0)), enforce_sorted=False)  # here
        return self.out(packed.data[: len(tokens)])


class Memory(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens).mean(1)
        if self.before is not None:
            x = x + self.before
        self.before = x.mean(0)
        return self.out(x)


class Limit(Base):
    """Exported: its own limit on lengths is no other way to answer, nor is a lone sample's."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        assert tokens.shape[1] <= 4000
        x = self.embed(tokens).mean(1)
        if x.shape[0] == 1:
            return self.out(x) * 1.0
        return self.out(x)
