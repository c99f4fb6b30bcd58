"""Activations as ``torch.autograd.Function``, each with a plain twin that computes the same.

A plain ``x * torch.sigmoid(x)`` keeps two tensors for its backward pass, and so does a plain Mish; the functions here
keep the input alone and compute the rest again: half the memory, for nearly twice the time of this one operation
(``bench/activations.py``). Their backward is made of differentiable operations, so that second derivatives work. They
show how an activation of one's own is written; where torch has a fused one, as ``silu`` and ``mish``, take that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SwishFunction(torch.autograd.Function):
    """x · sigmoid(x); keeps x.

    Source:
        Ramachandran et al. 2017, arXiv:1710.05941.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Any shape, floating."""
        return x * x.sigmoid()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # ctx has no public type
        """Keep the input."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """s + x · s · (1 − s), with s = sigmoid(x)."""
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * (s + x * s * (1 - s))


class MishFunction(torch.autograd.Function):
    """x · tanh(softplus(x)); keeps x.

    Source:
        Misra 2019, arXiv:1908.08681.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Any shape, floating."""
        return x * functional.softplus(x).tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep the input."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """t + x · (1 − t²) · sigmoid(x), with t = tanh(softplus(x))."""
        (x,) = ctx.saved_tensors
        t = functional.softplus(x).tanh()
        return grad * (t + x * (1 - t * t) * x.sigmoid())


class LearnableSwishFunction(torch.autograd.Function):
    """x · sigmoid(beta · x), with one beta for each feature, the last dimension; keeps both."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: Tensor) -> Tensor:
        """x (..., D) and beta (D,)."""
        return x * (beta * x).sigmoid()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """To x: s + beta · x · s · (1 − s). To beta: x² · s · (1 − s), summed over all but the last dimension."""
        x, beta = ctx.saved_tensors
        s = (beta * x).sigmoid()
        slope = s * (1 - s)
        to_beta = (grad * x * x * slope).sum_to_size(beta.shape)
        return grad * (s + beta * x * slope), to_beta


class RoundFunction(torch.autograd.Function):
    """Round to whole numbers; gradients pass straight through, since the true ones are zero nearly everywhere.

    Source:
        Bengio et al. 2013, arXiv:1308.3432, section 4.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Any shape, floating."""
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing needs keeping."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The gradient as it comes."""
        del ctx
        return grad


def swish(x: Tensor) -> Tensor:
    """x · sigmoid(x), any shape."""
    return SwishFunction.apply(x)


def mish(x: Tensor) -> Tensor:
    """x · tanh(softplus(x)), any shape."""
    return MishFunction.apply(x)


def learnable_swish(x: Tensor, beta: Tensor) -> Tensor:
    """x · sigmoid(beta · x): x (..., D), beta (D,)."""
    return LearnableSwishFunction.apply(x, beta)


def round_straight_through(x: Tensor) -> Tensor:
    """x rounded, with the gradient of x."""
    return RoundFunction.apply(x)


class Swish(nn.Module):
    """``swish`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return swish(x)


class Mish(nn.Module):
    """``mish`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return mish(x)


class LearnableSwish(nn.Module):
    """``learnable_swish`` with a beta for each feature; 1 at the start, as in ``Swish``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """(..., features) to the same."""
        return learnable_swish(x, self.beta)


class RoundStraightThrough(nn.Module):
    """``round_straight_through`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return round_straight_through(x)


# What each function computes, in plain operations that torch differentiates by itself.
PLAIN_TWINS = {
    swish: lambda x: x * x.sigmoid(),
    mish: lambda x: x * functional.softplus(x).tanh(),
    learnable_swish: lambda x, beta: x * (beta * x).sigmoid(),
    round_straight_through: lambda x: x + (x.round() - x).detach(),
}
