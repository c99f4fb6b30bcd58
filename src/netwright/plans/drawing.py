"""Dropout of a batch that is done in parts: what it would draw for the whole batch is drawn first, and then shared out.

So parts that are done at the same time draw nothing, and all masks are those of the plain update, from the same random
stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from netwright.batch import Batch
from netwright.plans.operations import NoProgramError
from netwright.randomness import random_state, set_random_state
from netwright.step import TrainState, forward

# What draws a number for each feature map, where there are such.
BY_MAP = (functional.dropout1d, functional.dropout2d, functional.dropout3d)
DROPOUTS = (functional.dropout, *BY_MAP)


# The share that is dropped, and what a part's numbers are multiplied by.
Mask = tuple[float, Tensor]


class OtherDrawsError(Exception):
    """A forward pass asks for other masks than the one that was looked at."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One mask of a forward pass: its shape for the whole batch, and the dimension that is the batch's.

    Attributes:
        strides: How it lies in memory, which is the order in which its numbers are drawn.
        p: The share that is dropped.
        each: Numbers along that dimension that one sample has.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    p: float
    dim: int = 0
    each: int = 1

    def mask(self) -> Tensor:
        """As torch's dropout draws it, which is the same from the same random state."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype).bernoulli_(1 - self.p).div_(1 - self.p)


@dataclass(frozen=True, slots=True)
class Draws:
    """All masks of a forward pass in their order, for batches of one shape.

    Attributes:
        shapes: Of that batch's inputs.
    """

    drawn: tuple[Draw, ...] = ()
    shapes: tuple[Any, ...] = ()

    def fit(self, batch: Batch) -> bool:
        """Whether masks for this batch are known."""
        return not self.drawn or _shapes(batch) == self.shapes

    def masks(self, sizes: list[int]) -> list[list[Mask]]:
        """Drawn anew: for each part its own, where parts have so many samples."""
        found: list[list[Mask]] = [[] for _ in sizes]
        for one in self.drawn:
            parts = torch.split(one.mask(), [size * one.each for size in sizes], one.dim)
            for held, part in zip(found, parts, strict=True):
                held.append((one.p, part))
        return found


class _Dropouts(TorchFunctionMode):
    """Takes the place of dropout where it draws; each torch function passes here, which takes a microsecond."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """As ``func``, but for dropout."""
        kwargs = kwargs or {}
        return self.dropped(func, *args, **kwargs) if func in DROPOUTS else func(*args, **kwargs)

    def dropped(self, func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """What dropout gives, in the words of its own signature."""
        if not training or not 0 < p < 1 or not input.numel():  # where nothing is drawn
            return func(input, p, training, inplace)  # type: ignore[no-any-return]
        return self.masked(func, input, p, inplace)

    def masked(self, func: Any, input: Tensor, p: float, inplace: bool) -> Tensor:
        """What dropout gives where it draws."""
        raise NotImplementedError


class Noted(_Dropouts):
    """Notes what dropout draws."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Draw] = []

    def masked(self, func: Any, input: Tensor, p: float, inplace: bool) -> Tensor:
        """As it is, and noted."""
        noise = torch.empty_like(input)
        if func in BY_MAP and input.ndim > 2:
            noise = input.new_empty((*input.shape[:2], *([1] * (input.ndim - 2))))
        self.drawn.append(Draw(tuple(noise.shape), noise.stride(), noise.dtype, p))
        return func(input, p, True, inplace)  # type: ignore[no-any-return]


class Given(_Dropouts):
    """Gives dropout masks in place of those that it would draw.

    Raises:
        OtherDrawsError: There are not as many, or they do not fit.
    """

    def __init__(self, masks: list[Mask]) -> None:
        super().__init__()
        self.left: Iterator[Mask] | None = iter(masks) if masks else None

    def __enter__(self) -> Any:
        return self if self.left is None else super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if self.left is None:
            return
        super().__exit__(kind, *rest)  # type: ignore[no-untyped-call]
        if kind is None and next(self.left, None) is not None:
            raise OtherDrawsError

    def masked(self, func: Any, input: Tensor, p: float, inplace: bool) -> Tensor:
        """By the next mask."""
        given = next(self.left or iter(()), None)
        if given is None:
            raise OtherDrawsError
        share, mask = given
        sizes = zip(mask.shape, input.shape, strict=False)
        if share != p or mask.dtype is not input.dtype or any(one not in (1, size) for one, size in sizes):
            raise OtherDrawsError
        return input.mul_(mask) if inplace else input * mask


def draws_of(state: TrainState, batch: Batch, parts: int) -> Draws:
    """What a forward pass over a batch draws. Random generators are as before after.

    Raises:
        NoProgramError: Something else draws than dropout, or a mask has no dimension that is the batch's.
    """
    before = random_state(state.device)
    part = batch.split(parts)[0]
    try:
        whole, after = _noted(state, batch), torch.get_rng_state()
        torch.set_rng_state(before["torch"])
        of_part = _noted(state, part)
        if len(whole) != len(of_part):
            raise NoProgramError("the number of dropouts depends on the batch")
        drawn = tuple(_along(one, other, len(batch), len(part)) for one, other in zip(whole, of_part, strict=True))
        torch.set_rng_state(before["torch"])
        for one in drawn:
            one.mask()
        if not torch.equal(torch.get_rng_state(), after):
            raise NoProgramError("something draws random numbers beside nn.Dropout, and parts would draw others")
    finally:
        set_random_state(before, state.device)
    return Draws(drawn, _shapes(batch))


def _noted(state: TrainState, batch: Batch) -> list[Draw]:
    with Noted() as noted:
        forward(state, batch)
    drawn: list[Draw] = noted.drawn
    return drawn


def _along(whole: Draw, part: Draw, samples: int, of_part: int) -> Draw:
    """A draw with its dimension of the batch found: the one that is shorter for a part, in proportion."""
    differ = [dim for dim, (one, other) in enumerate(zip(whole.shape, part.shape, strict=False)) if one != other]
    if len(whole.shape) == len(part.shape) and len(differ) == 1 and whole.p == part.p:
        dim = differ[0]
        each, rest = divmod(whole.shape[dim], samples)
        if not rest and part.shape[dim] == each * of_part:
            return replace(whole, dim=dim, each=each)
    raise NoProgramError("a dropout's mask has no dimension that is the batch's")


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple(one.shape for one in batch.inputs.values())
