"""Modules as people write them, each with something that exporters get wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

VOCABULARY, CLASSES = 200, 4


class Packed(nn.Module):
    """All that a packed recurrence gives: each position's output, and each layer's last states."""

    def __init__(
        self, cell: type[nn.RNNBase], *, both: bool, first: bool = True, state: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 12, padding_idx=0)
        self.read = cell(12, 10, 2, batch_first=first, bidirectional=both, **options)
        ways, ends = 2 if both else 1, 2 if cell is nn.LSTM else 1
        self.first, self.start = first, nn.Parameter(torch.randn(ends, 2 * ways, 1, 10)) if state else None
        self.out = nn.Linear(10 * ways + 2 * ways * ends * 10, CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = x if self.first else x.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=self.first, enforce_sorted=False)
        state: Any = None
        if self.start is not None:
            spread = self.start.expand(-1, -1, len(tokens), -1).contiguous()
            state = tuple(spread) if len(spread) > 1 else spread[0]
        found, last = self.read(packed, state)
        y, _ = pad_packed_sequence(found, batch_first=self.first)
        y = y if self.first else y.transpose(0, 1)
        last = torch.cat(last) if isinstance(last, tuple) else last
        return self.out(torch.cat((y.amax(1), last.transpose(0, 1).flatten(1)), dim=1))


class Repacked(nn.Module):
    """A layer over packed values, packed again; sorted by the person."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.dense = nn.Embedding(VOCABULARY, 8), nn.Linear(8, 8)
        self.read, self.out = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        sizes, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(self.embed(tokens)[order], sizes.cpu(), batch_first=True)
        again = PackedSequence(
            self.dense(packed.data), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        _, (state, _) = self.read(again)
        return self.out(state[-1])[order.argsort()]


class LastPlace(nn.Module):
    """The output at each text's own end, by len() and by indices."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read = nn.Embedding(VOCABULARY, 8), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.read(self.embed(tokens))
        return self.out(y[torch.arange(len(y)), lengths - 1])


class Encoder(nn.Module):
    """Torch's encoder, with a mean over all places: what stands at padding counts."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(VOCABULARY, 16), nn.Parameter(torch.randn(1, 64, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options)
        self.encode = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16), enable_nested_tensor=not options)
        nn.init.normal_(self.encode.norm.bias)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(tokens) + self.places[:, : tokens.shape[1]]
        return self.out(self.encode(x, src_key_padding_mask=~mask).mean(1))


class Attention(nn.Module):
    """Attention that sees nothing in an empty text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Embedding(VOCABULARY, 16), nn.Linear(16, 48)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        count, size = tokens.shape
        q, k, v = self.qkv(self.embed(tokens)).view(count, size, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out(y.transpose(1, 2).reshape(count, size, 16)[:, 0])


class MultiHead(nn.Module):
    """``nn.MultiheadAttention`` with a mask of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.look = nn.Embedding(VOCABULARY, 16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(tokens)
        y, _ = self.look(x, x, x, key_padding_mask=~mask, need_weights=False)
        return self.out((y * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))


class Leaky(torch.autograd.Function):
    """In the old style."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return torch.where(x > 0, x, x * slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient, gradient * ctx.slope), None


class Spike(torch.autograd.Function):
    """In the new style."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return (x > 0).float()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return gradient / (1 + x.abs()) ** 2


spike = Spike.apply


class Functions(nn.Module):
    """Own functions, batch normalisation, a tensor that is no buffer, something kept to be looked at, a squeeze."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm, self.out = nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Linear(40, 10)
        self.calls, self.kept, self.turn = 0, None, [torch.randn(20, 20)]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.kept = x
        h = Leaky.apply(self.norm(self.dense(x.view(x.size(0), -1))), 0.1) @ self.turn[0]
        return self.out(torch.cat((spike(h), h), dim=1)).squeeze()


class Pooled(nn.Module):
    """A squeeze that takes away all sizes of 1, a lone sample's too."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.pool = nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.look(x)).squeeze()


class Inside(nn.Module):
    """Changes in place, and a buffer that counts."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 10)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        h = torch.zeros(x.shape[0], 64)
        h[:, :] = x.flatten(1)
        h[:, 0] = 1
        return self.out(h)


class Spectra(nn.Module):
    """Log spectra by ``torch.stft``."""

    window: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(options.get("win_length", 400)))
        self.options, self.out = options, nn.Linear(201, 2)

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        spectra = torch.stft(sound, 400, 160, window=self.window, return_complex=True, **self.options)
        x = torch.log(spectra.abs().pow(2) + 1e-6)
        real = (torch.arange(x.shape[2])[None] < (lengths // 160)[:, None]).float()
        return self.out((x * real[:, None]).sum(2) / real.sum(1, keepdim=True).clamp(min=1))


class Framed(nn.Module):
    """Spectra by ``unfold`` and ``torch.fft.rfft``."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(129, 2)

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        frames = functional.pad(sound, (0, 256)).unfold(1, 256, 128) * torch.hann_window(256)
        x = torch.log1p(torch.fft.rfft(frames, norm="ortho").abs())
        real = (torch.arange(x.shape[1])[None] < (lengths // 128)[:, None]).float()
        return self.out((x * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1))
