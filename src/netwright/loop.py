"""The loop: batches in, updates out, one ``Step`` after each. What is done around it is in ``training``.

for step in training_steps(net, data, epochs=3):   # yours to write a body for
    print(step.index, step.loss.item())
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from netwright.allocation import memory_kept
from netwright.batch import Batch, Step, Strip
from netwright.blame import blame
from netwright.data.batches import train_strips
from netwright.data.chunks import singly
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource, Source
from netwright.given import Given, refuse
from netwright.layout import plain_layout
from netwright.optim import compiler_spared
from netwright.options import make_options
from netwright.randomness import random_state, set_random_state
from netwright.records import Settings
from netwright.session import Session, prepare
from netwright.step import Program, StepResult, train_several, train_step
from netwright.sums import Sums

# Options of what is done around the loop.
OF_A_RUN = ("checkpoint_every_steps", "ema_decay", "keep", "log_every_steps", "monitor", "patience")


def training_steps(model: nn.Module, data: Data, *, given: Given | None = None, **options: Any) -> Iterator[Step]:
    """Train, and yield after each update. No files are written: what to do with a step is yours.

    Args:
        model: Left with the weights of the last update.
        given: Python objects for loss, optimizer, schedule or step.
        options: Fields of ``Settings``. The plan is the plain one, unless another is asked for: such a plan does not
            see attributes of the module that are changed in the loop, and ``split`` leaves torch one thread within a
            pass.
    """
    from netwright.plans.adopting import adopt
    from netwright.plans.comparing import threads_as_before

    settings = make_options(Settings, options)
    refuse(settings, dict.fromkeys(OF_A_RUN, "a loop of your own, which keeps no run"))
    with contextlib.ExitStack() as around:
        around.enter_context(threads_as_before())
        with compiler_spared():
            session = prepare(model, data, settings, given or Given())
        around.enter_context(memory_kept(session.state.device.type))
        if settings.plan != "auto":
            session = adopt(session)
        try:
            yield from run_steps(session)
        finally:
            plain_layout(session.model)


def run_steps(session: Session, *, ahead: Callable[[int], int] | None = None) -> Iterator[Step]:
    """The loop: from the state's position to the end of the last epoch.

    Args:
        ahead: Of the number of updates done, how many may follow before somebody looks: a step is yielded after these,
            where the plan can do several at once. None: after each.
    """
    state = session.state
    seed, augment, workers = session.settings.seed, tuple(session.plan["augment"]), session.plan["workers"]
    program = state.program or Program()
    while state.epoch < session.epochs:
        session.model.train()
        if state.batch == session.steps_per_epoch:  # resumed where only the evaluation was left
            yield Step(state.step, state.epoch + 1, None, current_lr(session), epoch_end=True)
            finish_epoch(session)
            continue
        strips = _strips(session, seed=seed, augment=augment, workers=workers)
        with contextlib.closing(strips if ahead is not None else singly(strips)) as found:
            for batch, result in _results(session, found, ahead):
                done = state.batch == session.steps_per_epoch
                if done:
                    program.rest()
                yield Step(state.step, state.epoch + 1, result.loss, current_lr(session), done, batch)
                if done or state.batch == 0:
                    break
        finish_epoch(session)


def _results(
    session: Session, found: Iterable[Strip | Batch], ahead: Callable[[int], int] | None
) -> Iterator[tuple[Batch | None, StepResult]]:
    """What updates gave: of a batch one, of a strip several at once, for as long as nobody is to look between them."""
    state = session.state
    for one in found:
        if not isinstance(one, Strip):
            batch = one.to(state.device)
            yield batch, _step(session, batch)
            continue
        place = 0
        while place < len(one):
            before = state.step
            several = train_several(state, one, place, 1 if ahead is None else ahead(state.step))
            if several is not None:
                place += state.step - before
                yield None, several
            else:
                batch = one.batch(place).to(state.device)
                place += 1
                yield batch, _step(session, batch)


def finish_epoch(session: Session) -> None:
    """Move to the start of the next pass; does nothing where that is done."""
    state = session.state
    if state.batch:
        state.epoch += 1
        state.batch = 0
        state.sums = Sums.zero(state.device)
        session.model.train()


def current_lr(session: Session) -> float:
    """The learning rate of the last update, of the first parameter group."""
    return float(session.state.optimizer.param_groups[0]["lr"])


def _strips(
    session: Session, *, seed: int, augment: tuple[str, ...], workers: int
) -> Generator[Strip | Batch, None, None]:
    """The rest of the present epoch.

    A person's own loader draws its order from random generators; they are set back to the start of the epoch, the
    batches that were done are drawn again, and then the generators go on from where they were.
    """
    state, source = session.state, session.data.train
    if state.batch == session.steps_per_epoch:
        return
    own_loader = isinstance(source, LoaderSource)
    redo = state.batch if own_loader else 0
    now = loader_random(source, state.device) if redo else None
    if own_loader and not redo:
        state.epoch_random = loader_random(source, state.device)
    if redo:
        set_loader_random(source, state.epoch_random, state.device)
    strips = train_strips(
        session.data,
        batch_size=session.batch_size,
        seed=seed,
        epoch=state.epoch,
        augment=augment,
        workers=workers,
        skip=0 if own_loader else state.batch,
        device=state.device,
    )
    for _ in range(redo):
        next(strips)
    if now is not None:
        set_loader_random(source, now, state.device)
    yield from strips


def loader_random(source: Source, device: torch.device) -> dict[str, Any]:
    """The random generators that a person's loader draws from: the global ones, and its own."""
    return {"global": random_state(device), "own": [generator.get_state() for generator in _own(source)]}


def set_loader_random(source: Source, state: dict[str, Any], device: torch.device) -> None:
    """Set what ``loader_random`` gave."""
    set_random_state(state["global"], device)
    for generator, value in zip(_own(source), state["own"], strict=True):
        generator.set_state(value)


def _own(source: Source) -> list[torch.Generator]:
    return source.generators() if isinstance(source, LoaderSource) else []


def _step(session: Session, batch: Batch) -> StepResult:
    try:
        result = train_step(session.state, batch)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a person's module raises is told with their own lines
        raise blame(session, batch, error) from error
    if not result.finite:
        if session.settings.on_nonfinite == "stop":
            raise blame(session, batch, None)
        session.state.skipped += 1
    return result
