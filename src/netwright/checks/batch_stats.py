"""Batch normalisation with one set of statistics or another: those of the batch, the running ones, or such taken anew.

All on copies. ``B`` is the number of samples, ``C`` of channels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netwright.checks.subject import NotCheckedError, Subject, copy_module, pick, set_mode
from netwright.checks.trials import guess_of, short_trained

FEWEST = 16  # values of a channel below which batch statistics are noisy (faults.md, M21)
WORSE = 2.0  # times the loss, where no cause is known; half as much again where one is
CLEAR = 0.1  # of the loss of guessing: a smaller difference is told of nothing
MOST_ROWS = 128
MOST_POOL = 256
MOST_S = 0.5  # of one pass, of which some ten are done
BATCHES = 10


@dataclass(frozen=True, slots=True)
class Losses:
    """Of the same samples.

    Attributes:
        held: In eval mode, with the running statistics as they are; ``anew`` with such of some batches of training.
        batch: With statistics of the batch, as in training.
        guess: Of the best constant answer.
        when: Of which weights.
    """

    held: float
    anew: float
    batch: float
    guess: float
    when: str

    def clearly(self, worse: float, better: float, times: float = WORSE) -> bool:
        """Whether one loss is far above another."""
        return worse > times * max(better, 0.0) and worse - better > CLEAR * abs(self.guess)


def norms_of(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers that keep running statistics, by name."""
    return {
        name: one
        for name, one in model.named_modules()
        if isinstance(one, _BatchNorm) and one.track_running_stats and one.running_mean is not None
    }


def normalising(model: nn.Module) -> nn.Module:
    """Eval mode, but for batch normalisation."""
    set_mode(model, train=False)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    return model


def has_moved(subject: Subject) -> bool:
    """Whether there is a trained copy whose statistics were followed."""
    if subject.trained is None:
        return False
    return any(int(one.num_batches_tracked or 0) > 0 for one in norms_of(subject.trained).values())


def eval_apart(subject: Subject, trained: nn.Module) -> float:
    """How far answers in eval mode lie from those with statistics of all the batch, relative to their spread."""
    size = min(MOST_POOL, subject.pool_size)
    inputs = pick(subject.pool, slice(0, size))
    held = subject.answer(restated(subject, copy_module(trained), rows=size), inputs).detach().float()
    batch = subject.answer(normalising(copy_module(trained)), inputs).detach().float()
    return float((held - batch).std() / batch.std().clamp_min(1e-12))


def losses_of(subject: Subject) -> Losses:
    """Losses in eval mode, with statistics taken anew, and with those of the batch; found once.

    Raises:
        NotCheckedError: The loss is not known, or there are too few samples.
    """
    if "norm_losses" not in subject.cache:
        subject.cache["norm_losses"] = _measure(subject)
    losses: Losses = subject.cache["norm_losses"]
    return losses


def trained_copy(subject: Subject) -> tuple[nn.Module, str]:
    """A copy whose weights were trained, and when."""
    if has_moved(subject) and subject.trained is not None:
        return copy_module(subject.trained), "After training"
    model, short = short_trained(subject)
    return copy_module(model), f"After {len(short.losses)} steps"


def _measure(subject: Subject) -> Losses:
    if subject.pool_size < 2 * FEWEST:
        raise NotCheckedError("there are too few samples to take the statistics of batch normalisation anew")
    began = time.perf_counter()
    guess = guess_of(subject)
    if (took := time.perf_counter() - began) > MOST_S:
        raise NotCheckedError(f"a pass of 64 samples takes {took:.1f} s")
    model, when = trained_copy(subject)
    held = mean_loss(subject, set_mode(copy_module(model), train=False))
    anew = mean_loss(subject, restated(subject, copy_module(model)))
    batch = mean_loss(subject, normalising(copy_module(model)))
    return Losses(held, anew, batch, guess, when)


def mean_loss(subject: Subject, model: nn.Module, *, rows: int = MOST_ROWS) -> float:
    """Mean loss of some samples, in batches of so many."""
    count = min(MOST_ROWS, subject.pool_size)
    rows = min(rows, count)
    losses = []
    for start in range(0, count - rows + 1, rows):
        where = slice(start, start + rows)
        loss = subject.loss(model, pick(subject.pool, where), pick(subject.pool_targets, where), grad=False)
        losses.append(float(loss))
    return sum(losses) / max(1, len(losses))


def restated(subject: Subject, model: nn.Module, *, rows: int | None = None) -> nn.Module:
    """Take running statistics anew, as the mean over batches of the pool; then eval mode.

    Args:
        rows: Of one batch, which alone is taken; None: all of the pool, in up to ten.
    """
    for one in norms_of(model).values():
        one.reset_running_stats()
        one.momentum = None  # the mean of all
    normalising(model)
    pool = min(MOST_POOL, subject.pool_size)
    size = rows or max(FEWEST, -(-pool // BATCHES))
    starts = range(0, pool - size + 1, size) if rows is None else range(1)
    for start in starts:
        subject.call(model, pick(subject.pool, slice(start, start + size)))
    return set_mode(model, train=False)


def by_one_batch(subject: Subject, rows: int, at: int) -> nn.Module:
    """A trained copy in eval mode whose running statistics are those of the ``at``-th batch alone."""
    model = trained_copy(subject)[0]
    for one in norms_of(model).values():
        one.reset_running_stats()
        one.momentum = None
    normalising(model)
    start = (at * rows) % max(1, subject.pool_size - rows)
    subject.call(model, pick(subject.pool, slice(start, start + rows)))
    return set_mode(model, train=False)


def apart_alone(subject: Subject, trained: nn.Module, rows: int) -> float:
    """How far answers to a few samples at a time lie from those in eval mode, relative to their spread."""
    model, held = normalising(copy_module(trained)), restated(subject, copy_module(trained))
    count = min(32, subject.pool_size // rows * rows)
    inputs = pick(subject.pool, slice(0, count))
    parts = [subject.answer(model, pick(inputs, slice(at, at + rows))) for at in range(0, count, rows)]
    usual = subject.answer(held, inputs).detach().float()
    return float((torch.cat(parts).detach().float() - usual).std() / usual.std().clamp_min(1e-12))
