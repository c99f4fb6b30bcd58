"""How many frames a network emits for a sound of a length, found by asking it.

Convolutions, pooling and spectra make floor((n + a) / s) + b positions out of n. Of such steps one behind another the
same form comes out, floor((n + A) / S): floor((floor((n + a) / s) + b) / t) = floor((n + a + b s) / (s t)), since a
whole number may be drawn into a floor, and floors of floors of quotients by whole numbers collapse (Graham, Knuth &
Patashnik, "Concrete Mathematics", equation 3.11). So two jumps of the real network tell S and A exactly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.binding import Binding, answer, call, unchanged
from netwright.errors import ModelError

# Samples of silence beyond the first length in which a frame more must have come; no network skips four seconds.
FARTHEST = 65_536


@dataclass(frozen=True, slots=True)
class FrameMap:
    """Frames of a sound of n samples: floor((n + offset) / stride), none below 0."""

    stride: int
    offset: int

    def count(self, samples: int) -> int:
        """Frames of one length."""
        return max(0, (samples + self.offset) // self.stride)

    def __call__(self, lengths: Tensor) -> Tensor:
        """Frames of several lengths, int64 of the same shape."""
        return torch.div(lengths + self.offset, self.stride, rounding_mode="floor").clamp_min(0)

    @property
    def text(self) -> str:
        """The formula, for people."""
        sign = "+" if self.offset >= 0 else "-"
        inside = "n" if not self.offset else f"(n {sign} {abs(self.offset)})"
        return f"floor({inside} / {self.stride})"


def measure(emit: Callable[[int], int], typical: int) -> FrameMap:
    """Find how many frames come of how many samples.

    Args:
        emit: Frames that the network emits for one sound of so many samples, without padding.
        typical: Samples of a usual sound.

    Raises:
        ModelError: No such formula fits what was seen; the lengths and frames are named.
    """
    first = emit(typical)
    one = _next_jump(emit, typical, first)
    two = _next_jump(emit, one, first + 1)
    stride = two - one
    found = FrameMap(stride, (first + 1) * stride - one)
    for samples in (one - 1, two - 1, two, typical + 3 * stride, 2 * typical + 1, 3 * typical + stride // 2):
        if emit(samples) != found.count(samples):
            raise _no_formula(
                f"{emit(samples)} for {samples:,} samples, where {found.text}, which fits {one:,} and {two:,}, "
                f"says {found.count(samples)}"
            )
    return found


def _next_jump(emit: Callable[[int], int], begin: int, frames: int) -> int:
    """The least number of samples above ``begin`` for which there is one frame more."""
    step, low = 1, begin
    while (there := emit(begin + step)) == frames:
        low = begin + step
        step *= 2
        if step > begin + FARTHEST:
            raise _no_formula(
                f"{frames} for {begin:,} samples and for {low:,}: their number does not follow the length"
            )
    high = begin + step
    if there < frames:
        raise _no_formula(f"{frames} for {begin:,} samples, and fewer, {there}, for {high:,}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if emit(middle) == frames else (low, middle)
    if emit(high) != frames + 1:
        raise _no_formula(f"{frames} for {high - 1:,} samples and {emit(high)} for {high:,}: a jump of more than one")
    return high


def _no_formula(got: str) -> ModelError:
    return ModelError(
        where="frames of the module's output",
        expected="floor((n + a) / s) of n samples, as convolutions and spectra give it",
        got=got,
        cure="Return (logits, lengths) from forward, with the frames of each sound, int64 (B,).",
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of each sound of a batch: those that the module returns itself, or by the formula.

    Attributes:
        own: Whether the module returns them beside its logits.
        formula: From samples to frames; None where the module's own follow none.
    """

    own: bool
    formula: FrameMap | None

    def __call__(self, returned: object, inputs: Mapping[str, Tensor]) -> Tensor:
        """int64 (B,), from what the module returned and the fields it was given."""
        if self.formula is not None and not self.own:
            return self.formula(inputs["lengths"])
        lengths = own_lengths(returned)
        if lengths is None:
            raise ModelError(
                where="lengths of the module's output",
                expected="int64 (B,) in each answer, as in its first one",
                got="none",
                cure="Return (logits, lengths) from forward, whatever the batch is.",
            )
        return lengths


def find_frames(model: nn.Module, binding: Binding, inputs: Mapping[str, Tensor]) -> Frames:
    """How many frames a module emits, asked with sounds of our own in eval mode; the module is left as it was.

    Args:
        model: On the CPU.
        binding: How it is called.
        inputs: A batch, with ``sound`` (B, T) or ``log_mel`` (B, T, M), and ``lengths`` (B,).

    Raises:
        ModelError: It returns no lengths, and its frames follow no formula.
    """
    lengths = inputs["lengths"].clamp_min(1)
    typical = int(lengths.median())
    name = "sound" if "sound" in inputs else "log_mel"
    pattern = inputs[name][int((lengths - typical).abs().argmin()), :typical]

    def returned(samples: int) -> object:
        fields = {
            name: torch.cat((pattern,) * (samples // typical + 1))[None, :samples],
            "lengths": torch.tensor([samples]),
            "mask": torch.ones(1, samples, dtype=torch.bool),
        }
        return call(binding, model, fields)

    @functools.cache
    def emit(samples: int) -> int:
        found = returned(samples)
        lengths = own_lengths(found)
        return int(lengths[0]) if lengths is not None else _frames(answer(found))

    with unchanged(model), torch.no_grad():
        model.eval()
        own = own_lengths(returned(typical)) is not None
        try:
            return Frames(own, measure(emit, typical))
        except ModelError:
            if not own:
                raise
            return Frames(own, None)


def _frames(output: Tensor) -> int:
    """The second size of (B, F, C)."""
    if output.ndim != 3:
        raise ModelError(
            where="the module's output",
            expected="(B, frames, letters and a blank)",
            got=f"shape {tuple(output.shape)}",
            cure="Answer for each frame: no mean or maximum over time.",
        )
    return output.shape[1]


def own_lengths(output: object) -> Tensor | None:
    """Lengths that a module returned beside its logits, int64 (B,); None where it returned none."""
    found: object = None
    if isinstance(output, Mapping):
        found = output.get("lengths")
    elif isinstance(output, (tuple, list)) and len(output) > 1:
        found = output[1]
    else:
        found = getattr(output, "lengths", None)
    if isinstance(found, Tensor) and found.ndim == 1 and not found.is_floating_point() and found.dtype != torch.bool:
        return found.long()
    return None
