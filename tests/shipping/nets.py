"""Small networks as people write them, one a kind of data, for bundles that are examined."""

import torch
from torch import nn


class Colours(nn.Module):
    """Pictures in colour: batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(8 * 4 * 4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.norm(self.conv(image)).relu(), 2)
        return self.out(self.drop(x.flatten(1)))


class Requests(nn.Module):
    """Texts: the mean of what an LSTM says of the real tokens."""

    def __init__(self, vocab_size: int = 20_000, num_classes: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16, padding_idx=0)
        self.rnn = nn.LSTM(16, 16, batch_first=True, bidirectional=True)
        self.out = nn.Linear(32, num_classes)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(tokens), lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        mask = torch.arange(states.shape[1])[None] < lengths[:, None]
        total = (states * mask[..., None]).sum(1)
        return self.out(total / lengths.clamp_min(1)[:, None])


class Prices(nn.Module):
    """Rows: numbers and one-hot categories to one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features).squeeze(1)


class Tones(nn.Module):
    """Sounds: strided convolutions, and the mean of what is real."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, 8, 64, stride=32), nn.Linear(8, 2)

    def forward(self, sound: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.conv(nn.functional.pad(sound, (0, 64))[:, None]).relu()
        mask = torch.arange(x.shape[2])[None] < torch.div(lengths, 32, rounding_mode="floor")[:, None]
        return self.out((x * mask[:, None]).sum(2) / mask.sum(1, keepdim=True).clamp_min(1))
