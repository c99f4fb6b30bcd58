"""The modules of bench/never_worse.py: the starters on their example data, blocks, and what else people write.

Each case is a function that answers a module, data and further settings. Arrays have 500 samples, so that the last
batch of 32 is a smaller one.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent  # tests load this file by itself

Case = tuple[nn.Module, Any, dict[str, Any]]
COUNT = 500
LIGHTER = {"lm": {"batch_size": 4}, "transcriber": {"batch_size": 8}, "text": {"batch_size": 8}}  # else minutes a turn


def _arrays(*shape: int, whole: int | None = None) -> Any:
    """Inputs of a shape, and which of three classes each is."""
    import netwright as nw

    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (COUNT,), generator=generator)
    if whole is not None:
        x = torch.randint(whole, (COUNT, *shape), generator=generator)
    else:
        x = torch.randn(COUNT, *shape, generator=generator) + y.reshape(-1, *[1] * len(shape)) * 0.5
    return nw.load((x, y), val_fraction=0, test_fraction=0)


def starter(name: str) -> Callable[[], Case]:
    """A starter as ``netwright new`` writes it, on the data that its README names."""

    def make() -> Case:
        import netwright as nw
        from netwright.models import arguments_from
        from netwright.starters import STARTERS, write_starter

        source, *options = shlex.split(STARTERS[name].data)
        asked = dict(zip([one.removeprefix("--") for one in options[::2]], options[1::2], strict=True))
        data = nw.load(str(ROOT / source) if "/" in source else source, **asked)
        with tempfile.TemporaryDirectory() as folder:
            write_starter(name, Path(folder))
            reference = f"{folder}/net.py:Net"
            return nw.load_model(reference, arguments_from(reference, data.spec)), data, LIGHTER.get(name, {})

    return make


class First(nn.Module):
    """The first answer of a module that gives several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Mean(nn.Module):
    """Mean over time or over pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) if x.ndim == 3 else x.mean((2, 3))


def block(make: Callable[[Any], list[nn.Module]], *shape: int, whole: int | None = None) -> Callable[[], Case]:
    """Layers of netwright.blocks in a row."""

    def case() -> Case:
        from netwright import blocks

        return nn.Sequential(*make(blocks)), _arrays(*shape, whole=whole), {}

    return case


def odd(make: Callable[[], nn.Module], *shape: int, **options: Any) -> Callable[[], Case]:
    """A module on rows of 20 numbers, or of another shape."""
    return lambda: (make(), _arrays(*(shape or (20,))), options)


class Branches(nn.Module):
    """Which way, and how often, depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.mid, self.out = nn.Linear(20, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x)
        h = h.relu() if x.mean() > 0 else h.tanh()
        for _ in range(int(x.abs().max()) % 3):
            h = self.mid(h).relu()
        return self.out(h)


class OldSquare(torch.autograd.Function):
    """``forward`` with ctx, as before torch 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class NewSquare(torch.autograd.Function):
    """With ``setup_context``."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class Squared(nn.Module):
    """A custom function between two layers."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function, self.into, self.out = function, nn.Linear(20, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.function.apply(self.into(x)))


class Tied(nn.Module):
    """One weight in two layers, a counter in Python, a buffer that is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.into, self.out = 0, nn.Linear(20, 32), nn.Linear(20, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += len(x)
        return self.out(self.into(x).relu() @ self.into.weight)


class Pair(nn.Module):
    """Answers a tuple, as recurrent networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(8, 24, batch_first=True), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, (last, _) = self.rnn(x)
        return self.out(states.mean(1)), last


class ThroughNumpy(nn.Module):
    """A feature is computed in NumPy, where no gradient goes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(21, 3)

    def forward(self, x: Tensor) -> Tensor:
        import numpy as np

        spread = torch.from_numpy(np.ptp(x.detach().cpu().numpy(), axis=1, keepdims=True)).to(x)
        return self.out(torch.cat((x, spread), 1))


def mlp() -> nn.Sequential:
    """20-64-64-3."""
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def hooked() -> nn.Module:
    """A forward hook changes what a layer answers, another the gradient."""
    net = mlp()
    net[1].register_forward_hook(lambda module, inputs, output: output * 0.5)
    net[2].register_full_backward_hook(lambda module, into, out: tuple(g if g is None else g * 2 for g in into))
    return net


def frozen() -> nn.Module:
    """The first layer does not learn."""
    net = mlp()
    net[0].requires_grad_(False)
    return net


def normed() -> nn.Module:
    """Batch normalisation and dropout."""
    return nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 3))


def parametrised() -> nn.Module:
    """A weight that is made of two."""
    net = mlp()
    nn.utils.parametrizations.weight_norm(net[0])
    return net


def convolutional() -> nn.Module:
    """Pictures, and a batch whose last one is smaller."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), Mean(), nn.Linear(16, 3)
    )


STARTER_NAMES = ("mlp", "cnn", "rnn", "text", "table", "series", "lm", "tagger", "speech", "transcriber")
CASES: dict[str, Callable[[], Case]] = {
    **{f"starter {name}": starter(name) for name in STARTER_NAMES},  # texts, sounds: lengths change
    "block mlp": block(lambda b: [b.mlp(20, 64, 64, 3, dropout=0.1)], 20),
    "block CategoryEmbeddings": block(lambda b: [b.CategoryEmbeddings([9] * 5, 4), nn.Linear(20, 3)], 5, whole=9),
    "block SelfAttention": block(lambda b: [b.SelfAttention(16, 4), Mean(), nn.Linear(16, 3)], 12, 16),
    "block TransformerEncoder": block(
        lambda b: [b.TransformerEncoder(16, 4, 2, rotary=True), Mean(), nn.Linear(16, 3)], 12, 16
    ),
    "block DepthwiseConv": block(lambda b: [b.DepthwiseConv(16, 24, 3), Mean(), nn.Linear(24, 3)], 12, 16),
    "block ResidualBlock": block(lambda b: [b.ResidualBlock(3, 16, squeeze=True), Mean(), nn.Linear(16, 3)], 3, 16, 16),
    "block Recurrent": block(lambda b: [First(b.Recurrent(8, 16)), b.AttentionPool(16), nn.Linear(16, 3)], 12, 8),
    "block Swish, Mish": block(
        lambda b: [nn.Linear(20, 64), b.Swish(), nn.Linear(64, 64), b.Mish(), nn.Linear(64, 3)], 20
    ),
    "block LearnableSwish": block(lambda b: [nn.Linear(20, 64), b.LearnableSwish(64), nn.Linear(64, 3)], 20),
    "block RoundStraightThrough": block(lambda b: [nn.Linear(20, 64), b.RoundStraightThrough(), nn.Linear(64, 3)], 20),
    "branches and loops by value": odd(Branches),
    "hooks forward and backward": odd(hooked),
    "custom function, ctx": odd(lambda: Squared(OldSquare)),
    "custom function, setup_context": odd(lambda: Squared(NewSquare)),
    "LBFGS": odd(mlp, optimizer="LBFGS", lr=0.01),
    "SGD with momentum": odd(mlp, optimizer="SGD", lr=0.05, optimizer_args={"momentum": 0.9}),
    "tied weight, counter, buffer": odd(Tied),
    "LSTM that answers a tuple": odd(Pair, 12, 8),
    "through NumPy": odd(ThroughNumpy),
    "a frozen layer": odd(frozen),
    "batch normalisation and dropout": odd(normed),
    "weight_norm": odd(parametrised),
    "pictures": odd(convolutional, 3, 16, 16),
}
