"""A few samples for experiments, ways to change them, and how to tell that an answer moved.

``B`` is the number of samples: a prime that no other axis has, so that the batch is told from every other axis.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.optrace import tensors_in
from netwright.checks.subject import Inputs, NotCheckedError, Subject, copy_module
from netwright.checks.traced import Traced, seeded_call, traced

EXACT = 1e-5  # of the largest value: rounding of float32, with room for kernels that sum in another order
REAL = 1e-3  # of the spread of answers: what is called a different answer
LARGE = 50_000  # numbers of a sample, as of a photograph: fewer samples then
SLOW = 0.4  # seconds of a pass from which on samples are fewer and shorter
SHORTER = 31  # positions of a long sequence then
MOST_NUMBERS = 4_000_000  # of all inputs of a probe together


@dataclass(slots=True)
class Probe:
    """A module in eval mode with a few samples.

    Attributes:
        answer: What it answers, (B, ...), or (..., B, ...) where ``axis`` is not 0.
        axis: Axis of the answer that counts the samples; its length is ``rows`` or a multiple of it.
        stateful: Whether the same call twice gives different answers; then each call gets a fresh copy.
        noisy: Whether the answer depends on the seed.
    """

    subject: Subject
    model: nn.Module
    inputs: Inputs
    rows: int
    answer: Tensor
    axis: int
    stateful: bool
    noisy: bool

    def ready(self) -> nn.Module:
        """The module to be called next."""
        return copy_module(self.model) if self.stateful else self.model

    def run(self, inputs: Inputs, *, seed: int = 0) -> Tensor:
        """The answer for other inputs."""
        return answer_of(self.subject, seeded_call(self.subject, self.ready(), inputs, seed=seed))

    def trace(self, inputs: Inputs) -> Traced:
        """What is done for other inputs."""
        return traced(self.subject, self.ready(), inputs)

    def base(self) -> Traced:
        """What is done for its own inputs, traced once for all checks."""
        found = self.subject.cache.get("probe_trace")
        if not isinstance(found, Traced):
            found = self.subject.cache["probe_trace"] = self.trace(self.inputs)
        return found

    @property
    def spread(self) -> float:
        """How far answers lie apart: the unit in which a change of an answer is told to matter."""
        return spread_of(self.answer)


def probe_of(subject: Subject) -> Probe:
    """The probe that all checks share.

    Raises:
        NotCheckedError: The module cannot be tried on a few samples, or its answers have no row for each.
    """
    found = subject.cache.get("probe")
    if found is None:
        try:
            found = _make(subject)
        except NotCheckedError as error:
            found = error
        subject.cache["probe"] = found
    if isinstance(found, Probe):
        return found
    raise found


def _make(subject: Subject) -> Probe:
    """Try numbers of samples, fewer and shorter ones where a pass is slow."""
    reasons: list[NotCheckedError] = []
    counts, short = _counts(subject), False
    if len(counts) > 1:
        took = _seconds(subject, counts[-1] if counts[-1] < counts[0] else counts[0])
        if took > SLOW:
            counts, short = sorted(counts), True
    tried = [(count, True) for count in counts if short] + [(count, False) for count in counts]
    for count, cut_short in tried:
        inputs, _ = subject.rows(count)
        if cut_short:
            shorter = {name: cut(value, 1, SHORTER) if _is_long(value) else value for name, value in inputs.items()}
            if not any(_is_long(value) for value in inputs.values()):
                continue
            inputs = shorter
        try:
            return _probe(subject, inputs, count)
        except NotCheckedError as error:
            reasons.append(error)
    raise reasons[-1] if reasons else NotCheckedError("there are too few samples to try the module on")


def _probe(subject: Subject, inputs: Inputs, count: int) -> Probe:
    model = subject.fresh()
    answer = answer_of(subject, seeded_call(subject, model, inputs))
    axis = sample_axis(answer, count)
    other = answer_of(subject, seeded_call(subject, model, inputs, seed=1))
    differing = differs(answer, other)
    stateful = differing and differs(answer, answer_of(subject, seeded_call(subject, model, inputs)))
    # weights that are set by the first batch are so from now on; a state must begin anew for each call
    kept = subject.fresh() if stateful else model
    return Probe(subject, kept, inputs, count, answer, axis, stateful, differing and not stateful)


def _seconds(subject: Subject, count: int) -> float:
    """How long a pass of some samples takes; 0 where it raises."""
    inputs, _ = subject.rows(count)
    model = subject.fresh()
    began = time.perf_counter()
    try:
        seeded_call(subject, model, inputs)
    except NotCheckedError:
        return 0.0
    return time.perf_counter() - began


def _is_long(value: Tensor) -> bool:
    """Whether an input is a long sequence, of tokens or of numbers."""
    tokens = value.ndim == 2 and not value.is_floating_point()
    return (tokens or (value.ndim == 3 and value.is_floating_point())) and value.shape[1] >= 2 * SHORTER


def _counts(subject: Subject) -> list[int]:
    """Numbers of samples to try: primes, then the script's own, where a module takes no other."""
    have = subject.pool_size
    if have < 2:
        raise NotCheckedError("there is only one sample to try the module on")
    per_sample = sum(value[0].numel() for value in subject.pool.values())
    most = max(3, MOST_NUMBERS // max(1, per_sample))
    others = {size for value in subject.pool.values() for size in value.shape[1:]}
    order = (5, 3, 7) if per_sample > LARGE else (7, 11, 13, 5, 3)
    primes = [one for one in order if one <= min(have, most)]
    primes.sort(key=lambda one: one in others)
    own = [one for one in (subject.cache.get("rows"), subject.batch_size) if one and 1 < one <= have]
    return [*primes[:4], *[one for one in own[:1] if one not in primes]] or [have]


def answer_of(subject: Subject, returned: object) -> Tensor:
    """The answer in what a module returned; several answers side by side.

    Raises:
        NotCheckedError: There is none.
    """
    tensors = answers_in(subject, returned)
    if len(tensors) > 1 and len({len(one) for one in tensors}) == 1:
        return torch.cat([one.detach().reshape(len(one), -1) for one in tensors], dim=1)
    return tensors[0].detach()


def answers_in(subject: Subject, returned: object) -> list[Tensor]:
    """The answer in what a module returned, as it is; several where they are not told from each other.

    Raises:
        NotCheckedError: There is none.
    """
    try:
        found = subject.found(returned)
    except NotCheckedError:
        found = returned
    if isinstance(found, Tensor):
        return [found]
    tensors = [one for one in tensors_in(found) if one.is_floating_point() and one.ndim]
    if not tensors:
        raise NotCheckedError("the module gave no tensor")
    return tensors


def sample_axis(answer: Tensor, rows: int) -> int:
    """The axis of an answer that counts the samples.

    Raises:
        NotCheckedError: None does, or two do, as in a table of all samples against all.
    """
    if answer.ndim == 0:
        raise NotCheckedError("the answer is one number for all samples together")
    whole = [axis for axis, size in enumerate(answer.shape) if size == rows]
    if len(whole) > 1:
        raise NotCheckedError("the answer compares the samples of a batch with each other")
    if whole and whole[0] < 2:
        return whole[0]
    if answer.shape[0] and answer.shape[0] % rows == 0 and answer.shape[0] > rows:
        return 0  # positions of all samples laid end to end
    raise NotCheckedError("the answer has no row for each sample")


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Where two tensors of one shape differ by more than rounding, bool."""
    if not (before.is_floating_point() or before.is_complex()):
        return before != after
    unequal = (before != after) & ~(before.isnan() & after.isnan())
    gap = (before - after).abs()
    finite = before.abs()[before.isfinite()]
    scale = float(finite.max()) if finite.numel() else 0.0
    return unequal & ~(gap <= EXACT * scale)


def differs(before: Tensor, after: Tensor) -> bool:
    """Whether two answers differ by more than rounding."""
    return before.shape != after.shape or bool(moved(before, after).any())


def gap(before: Tensor, after: Tensor) -> float:
    """The largest difference of two tensors; infinite where one has NaN and the other has not."""
    if before.numel() == 0:
        return 0.0
    if not before.is_floating_point():
        before, after = before.double(), after.double()
    away = (before - after).abs()
    away = away.masked_fill(before.isnan() & after.isnan() | (before == after), 0.0)
    return float(away.nan_to_num(nan=float("inf")).max())


def spread_of(answer: Tensor) -> float:
    """Standard deviation of all numbers of an answer, at least a small part of their size."""
    values = answer.detach().double()
    values = values[values.isfinite()]
    if values.numel() < 2:
        return 1.0
    return max(float(values.std()), 1e-3 * float(values.abs().max()), 1e-12)


def replaced(subject: Subject, inputs: Inputs, rows: list[int]) -> Inputs:
    """Inputs whose given rows hold other samples; lengths, masks and padding stay, so that only contents change."""
    count = len(next(iter(inputs.values())))
    changed = {name: value.clone() for name, value in inputs.items()}
    for row in rows:
        donor = _donor(subject, inputs, row, count)
        for name, value in inputs.items():
            if name in (subject.lengths, subject.mask):
                continue
            given = donor[name]
            if given.ndim and given.shape[0] > value.shape[1]:
                given = given[: value.shape[1]]
            changed[name][row] = _content(value[row], given, tokens=_is_ids(value))
    return changed


def _is_ids(value: Tensor) -> bool:
    return not value.is_floating_point() and not value.is_complex()


def _donor(subject: Subject, inputs: Inputs, row: int, count: int) -> Inputs:
    """Another sample of the pool, that differs."""
    size = subject.pool_size
    told = (subject.lengths, subject.mask)
    for step in range(count, size + count):
        sample = {name: value[(row + step) % size] for name, value in subject.pool.items()}
        for name, value in inputs.items():
            own, other = value[row], sample[name]
            if name not in told and not torch.equal(own, other[: len(own)] if own.ndim else other):
                return sample
    raise NotCheckedError("all samples are alike")


def _content(own: Tensor, donor: Tensor, *, tokens: bool) -> Tensor:
    """The donor's content, with the padding of both where the own one has it."""
    if own.ndim == 0 or own.shape != donor.shape or (own.ndim > 1 and not tokens and own.ndim != 2):
        return donor
    keep = trailing(own) | trailing(donor)
    if bool(keep.all()):
        return donor
    return torch.where(keep.reshape(-1, *[1] * (own.ndim - 1)), own, donor)


def trailing(sample: Tensor) -> Tensor:
    """Where a sample ends in two or more equal entries along its first axis, bool (T,): probably padding."""
    length = sample.shape[0]
    flat = sample.reshape(length, -1)
    equal = (flat == flat[-1]).all(dim=1)
    count = len(list(itertools.takewhile(bool, reversed(equal.tolist()))))
    if count < 2 or count == length or (sample.is_floating_point() and bool((flat[-1] != 0).any())):
        count = 0
    return torch.arange(length) >= length - count


def jittered(model: nn.Module) -> nn.Module:
    """A copy whose parameters are all moved a little, so that none is 0 only because training has not begun."""
    copied = copy_module(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copied.parameters():
            if parameter.is_floating_point():
                spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_((noise * (0.3 * spread or 0.3)).to(parameter.dtype))
    return copied


def kinds(values: Tensor) -> list[Any]:
    """The different numbers in a tensor, in order."""
    return sorted(set(values.reshape(-1).tolist()))


def cut(value: Tensor, axis: int, length: int) -> Tensor:
    """The first entries of an axis, as a copy of its own."""
    return value.narrow(axis, 0, length).clone()
