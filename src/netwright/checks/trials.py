"""Counterfactuals: the same module with other weights at the start, trained for as many steps on the same batches.

A start, a depth or an activation is only called a fault where another one learns clearly more.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.subject import Inputs, NotCheckedError, Subject, set_mode
from netwright.checks.sweep import Short, batches_of, train
from netwright.optim import take_step

STEPS = 30
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def redrawn(model: nn.Module, *, only: Iterable[str] | None = None) -> nn.Module:
    """Draw the weights of a copy anew, as torch draws them; weights without a layer of torch's get a like spread.

    Args:
        only: Names of parameters whose layers are drawn; None: all that are learned.
    """
    torch.manual_seed(0)
    wanted = set(only) if only is not None else None
    for name, module in model.named_modules():
        own = {f"{name}.{key}" if name else key: one for key, one in module.named_parameters(recurse=False)}
        learned = {key for key, one in own.items() if one.requires_grad}
        if not learned or (wanted is not None and not learned & wanted):
            continue
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and type(module).__module__.startswith("torch."):
            reset()
            continue
        for key in learned:
            if own[key].ndim > 1 and (wanted is None or key in wanted):
                with torch.no_grad():
                    own[key].normal_(0.0, max(own[key].shape) ** -0.5)
    return model


def short_trained(subject: Subject) -> tuple[nn.Module, Short]:
    """A copy after some steps at the person's rate, made once; in eval mode.

    Raises:
        NotCheckedError: It cannot be trained.
    """
    if "short_trained" not in subject.cache:
        try:
            model = subject.fresh(train=True)
            short = train(subject, batches_of(subject), factor=1.0, steps=STEPS, model=model)
            subject.cache["short_trained"] = (set_mode(model, train=False), short)
        except NotCheckedError as reason:
            subject.cache["short_trained"] = reason
    found = subject.cache["short_trained"]
    if isinstance(found, NotCheckedError):
        raise found
    pair: tuple[nn.Module, Short] = found
    return pair


def against_torch(subject: Subject) -> tuple[Short, Short, nn.Module]:
    """Short trainings from the person's start and from torch's own; found once. Also a copy with torch's own start."""
    if "against_torch" not in subject.cache:
        subject.need(2.0, "two short trainings")
        batches = batches_of(subject)
        own = train(subject, batches, factor=1.0, steps=STEPS)
        model = redrawn(subject.fresh(train=True))
        start = redrawn(subject.fresh())
        other = train(subject, batches, factor=1.0, steps=STEPS, model=model)
        subject.cache["against_torch"] = (own, other, start)
    found: tuple[Short, Short, nn.Module] = subject.cache["against_torch"]
    return found


def guess_loss(subject: Subject, answer: Tensor, inputs: Inputs, targets: Any) -> float:
    """The loss of the best answer that is the same for all samples; found by descent, since any loss may be given.

    Raises:
        NotCheckedError: The loss is not known, or takes no such answer.
    """
    form = _form(answer.detach().float())
    found: list[float] = []
    for start in (torch.zeros(answer.shape[1:]), answer.detach().float().mean(0)):
        guess = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([guess], lr=0.5, max_iter=25)

        def closure(guess: Tensor = guess, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            same = form(guess.expand(len(answer), *guess.shape))
            loss = subject.loss_of(same.contiguous(), inputs, targets)
            found.append(float(loss.detach()))
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with contextlib.suppress(RuntimeError, NotCheckedError):  # a loss of probabilities ends at 0 and 1
            take_step(optimizer, closure)
    finite = [value for value in found if math.isfinite(value)]
    if not finite:
        raise NotCheckedError("the loss of a constant answer could not be found")
    return min(finite)


def _form(answer: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes any numbers such as the module gives: log-probabilities, probabilities, or as they are."""
    if answer.ndim > 1 and bool(((answer >= 0) & (answer <= 1)).all()):
        rows = answer.sum(1)
        sums_to_one = torch.allclose(rows, torch.ones_like(rows), atol=1e-3)
        return partial(torch.softmax, dim=1) if sums_to_one else torch.sigmoid
    if answer.ndim > 1 and bool((answer <= 0).all()):
        rows = answer.exp().sum(1)
        if torch.allclose(rows, torch.ones_like(rows), atol=1e-3):
            return partial(torch.log_softmax, dim=1)
    return torch.clone


def guess_of(subject: Subject) -> float:
    """The loss of the best constant answer on the pool; found once.

    Raises:
        NotCheckedError: It cannot be found.
    """
    if "guess" not in subject.cache:
        inputs, targets = subject.rows(min(subject.pool_size, 64))
        answer = subject.answer(subject.fresh(), inputs)
        subject.cache["guess"] = guess_loss(subject, answer, inputs, targets)
    guess: float = subject.cache["guess"]
    return guess
