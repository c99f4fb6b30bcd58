"""What is done around the loop: logging, evaluation, checkpoints, stopping and resuming.

run = train(net, data)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import checkpoints
from netwright.allocation import memory_kept
from netwright.checks.before import check_before
from netwright.copies import settings_of
from netwright.data.batches import eval_batches
from netwright.data.dataset import Data
from netwright.errors import NonFiniteError, UsageError
from netwright.given import Given
from netwright.gradients import have_finite_norms
from netwright.inference import check_same_model, data_of, eval_batch, is_lazy, rebuild, split_means
from netwright.journal import Journal, describe_choices, start_run
from netwright.layout import plain_layout
from netwright.loop import current_lr, finish_epoch, run_steps, set_loader_random
from netwright.optim import compiler_spared
from netwright.packing import unpack_state
from netwright.plans.adopting import adopt
from netwright.plans.comparing import threads_as_before
from netwright.progress import Progress, Silent
from netwright.randomness import seed_all
from netwright.records import RunSpec, Settings
from netwright.run import Run, locked, open_run
from netwright.saving import Saver
from netwright.session import Session, prepare
from netwright.signals import Interrupted, Stopper, stop_on_signals


def train(
    model: nn.Module,
    data: Data,
    *,
    run: Path | str | None = None,
    given: Given | None = None,
    progress: Progress | None = None,
    reference: str | None = None,
    arguments: dict[str, Any] | None = None,
    settings: Settings | None = None,
) -> Run:
    """Train a module, keep the run in a folder, and leave the module with the weights the run ends with.

    Args:
        model: Any ``nn.Module``; trained in place.
        run: Folder for the run; new or empty. None: ``runs/DATE-DATA-CLASS``.
        given: Python objects for loss, optimizer, schedule or step.
        reference: ``file.py:Class`` the module was made from, with ``arguments``; kept so that it can be made again.

    Returns:
        The run. Evaluate it with ``evaluate``.

    Raises:
        FaultError: Checking found that the result would be wrong.
        NetwrightError: Something cannot work; said before the first update where it can be.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    settings, given, progress = settings or Settings(), given or Given(), progress or Silent()
    with contextlib.ExitStack() as around:
        around.enter_context(threads_as_before())
        around.enter_context(compiler_spared())
        session = prepare(model, data, settings, given)
        around.enter_context(memory_kept(session.state.device.type))
        found = check_before(session, given, progress)
        session = adopt(session)
        folder = start_run(
            session,
            None if run is None else Path(run),
            found=found,
            reference=reference,
            arguments=arguments or {},
            given=tuple(sorted(given.names())),
        )
        for line in describe_choices((*data.spec.choices, *session.plan.choices)):
            progress.say(line)
        with locked(folder):
            _loop(session, folder, progress)
    return folder


def resume(
    run: Run | Path | str,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
    given: Given | None = None,
    progress: Progress | None = None,
) -> Run:
    """Go on with a run from its last whole checkpoint, as if it had never stopped.

    Raises:
        CheckpointError: No checkpoint is whole, or the model is another one.
        DataError: The data have changed.
    """
    folder = run if isinstance(run, Run) else open_run(run)
    progress = progress or Silent()
    spec = folder.read_spec()
    with locked(folder), threads_as_before(), compiler_spared():
        _check_given(spec, given or Given(), folder)
        seed_all(spec.settings.seed)
        module = rebuild(folder, spec) if model is None else model
        lazy = is_lazy(module)
        if not lazy:
            check_same_model(module, spec, folder)
        settings = settings_of(spec, folder)
        session = prepare(module, data_of(folder, spec, data), settings, given or Given())
        if lazy:  # its shapes are known since the first batch
            check_same_model(module, spec, folder)
        _restore(session, folder, progress)
        with memory_kept(session.state.device.type):
            begun = folder.read_plan()
            session = adopt(session, begun)
            if session.plan["plan"] != begun["plan"]:
                now = next(one for one in session.plan.choices if one.name == "plan")
                progress.say(
                    f"plan {now.value} ({now.reason}) where the run was begun with {begun['plan']}: weights may come "
                    "out a rounding apart from those of an unbroken run"
                )
            _loop(session, folder, progress)
    return folder


def _check_given(spec: RunSpec, given: Given, run: Run) -> None:
    """A run that was made with Python objects goes on with the same ones, or not at all."""
    missing = sorted(set(spec.given) - given.names())
    if missing:
        raise UsageError(
            where=str(run.path),
            expected=f"the {', '.join(spec.given)} that the run was started with",
            got=f"no {', '.join(missing)}",
            cure=f"Give it again: nw.resume(run, {', '.join(f'{name}=…' for name in missing)}).",
        )


def _restore(session: Session, run: Run, progress: Progress) -> None:
    """Put the last whole checkpoint back; a run that was stopped before its first one starts from its seed."""
    if run.checkpoints.is_dir() and any(run.checkpoints.glob("step-*")):
        loaded = checkpoints.load(run.checkpoints)
        for message in loaded.messages:
            progress.say(message)
        unpack_state(session.state, loaded.state["train"])
        set_loader_random(session.data.train, loaded.state["loader"], session.state.device)
    pending = session.state.batch == session.steps_per_epoch  # only the evaluation is left: its rows come again
    run.rewind_metrics(session.state.step - pending)
    progress.say(f"going on from update {session.state.step:,} of {session.total_steps:,}")


def _loop(session: Session, run: Run, progress: Progress) -> None:
    """Log, evaluate, save; end with the weights asked for."""
    try:
        _log_and_save(session, run, progress)
        session.model.load_state_dict(checkpoints.read_weights(run.weights_file))
        session.model.eval()
    finally:
        plain_layout(session.model)


def _log_and_save(session: Session, run: Run, progress: Progress) -> None:
    with (
        stop_on_signals() as stopper,
        Journal(session, run, progress) as journal,
        Saver(session, run, journal.say) as saver,
    ):
        if session.state.step == 0:
            saver.now()
        every = session.settings.checkpoint_every_steps
        for step in run_steps(session, ahead=lambda done: until_next(done, session.settings)):
            journal.step(step.index)
            if step.epoch_end:
                if not _end_epoch(session, journal, stopper, saver):
                    break
            elif every is not None and step.index % every == 0:
                saver.beside()
            elif step.index % session.settings.log_every_steps == 0:
                _check_loss(session, journal.log_train(step.epoch, current_lr(session)))
            if stopper.asked():
                break
        if stopper.received is not None:
            saver.now()
            raise Interrupted(stopper.received, run.path)


def until_next(done: int, settings: Settings) -> int:
    """Updates until a row of metrics or a checkpoint is due, after so many."""
    marks = (settings.log_every_steps, settings.checkpoint_every_steps)
    return min(every - done % every for every in marks if every)


def _end_epoch(session: Session, journal: Journal, stopper: Stopper, saver: Saver) -> bool:
    """Evaluate, keep the best weights, save. False where training is to end here."""
    state = session.state
    monitor = session.plan["monitor"]
    epoch = state.epoch + 1
    if state.skipped:
        journal.say(f"{state.skipped} updates skipped so far: their loss or gradient was not finite")
    scores = journal.log_train(epoch, current_lr(session), epoch_end=session.data.val is None)
    if session.data.val is not None:
        means = validate(session, stopper)
        if means is None:
            return False
        scores |= journal.log_val(epoch, means)
    _check_loss(session, scores)
    _check_finite(session, scores)
    better = _is_better(scores, state.best, monitor, higher=session.plan["better"] == "higher")
    if better:
        loss = scores.get("val/loss", scores["train/loss"])
        state.best = {"value": scores[monitor], "loss": loss, "epoch": epoch, "step": state.step}
    finish_epoch(session)
    patience = session.settings.patience
    tired = patience is not None and epoch - state.best["epoch"] >= patience
    if tired:
        journal.say(f"no better {monitor} for {patience} epochs: stopped, best was epoch {state.best['epoch']}")
        state.epoch = session.epochs
    every = session.settings.checkpoint_every_steps
    due = state.epoch == session.epochs or (every is not None and state.step % every == 0)
    saver.epoch(weights=better or session.settings.keep == "last", due=due)
    return not tired


def _is_better(scores: dict[str, float], best: dict[str, Any], monitor: str, *, higher: bool) -> bool:
    """Whether a score is better than the best so far; of equal ones, as small splits give, the lower loss is."""
    if not best or math.isnan(scores[monitor]):
        return not best
    if math.isnan(best["value"]):
        return True
    if scores[monitor] == best["value"]:
        return bool(scores.get("val/loss", scores["train/loss"]) < best["loss"])
    return bool((scores[monitor] > best["value"]) == higher)


def validate(session: Session, stopper: Stopper) -> tuple[float, dict[str, float]] | None:
    """Mean loss and metrics on the validation split, of the averaged weights where there are any."""
    state = session.state
    with averaged(session):
        return split_means(
            session.model,
            session.task,
            state.recipe.objective,
            session.binding,
            eval_batches(
                session.data,
                "val",
                batch_size=eval_batch(session.model, session.data, "val"),
                workers=session.plan["workers"],
            ),
            device=state.device,
            stop=stopper.asked,
        )


@contextlib.contextmanager
def averaged(session: Session) -> Iterator[None]:
    """The averaged weights in the model inside, its own again after."""
    if session.state.ema is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in session.model.state_dict().items()}
    session.model.load_state_dict(session.state.ema)
    try:
        yield
    finally:
        session.model.load_state_dict(own)


def _check_loss(session: Session, scores: dict[str, float]) -> None:
    """On a GPU a loss that is not finite is found here, when the mean is read, and not at each update."""
    if session.settings.on_nonfinite == "stop" and not math.isfinite(scores["train/loss"]):
        raise NonFiniteError(
            where=f"update {session.state.step} or one since the last row of metrics",
            expected="a finite loss",
            got=f"{scores['train/loss']}",
            cure="Lower --lr, or clip with --max-grad-norm 1; the last checkpoint is whole.",
        )


def _check_finite(session: Session, scores: dict[str, float]) -> None:
    """No weight that is not a number may reach the disk."""
    real = [value.detach() for value in session.state.parameters if value.is_floating_point() or value.is_complex()]
    if have_finite_norms(real):
        return  # quicker than to look at one after the other; where it says no, a norm may be too large and no weight
    for name, value in session.model.named_parameters():  # buffers may well hold -inf, as masks of attention do
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteError(
                where=f"{name}, after update {session.state.step}",
                expected="finite weights",
                got=f"NaN or infinity (train/loss {scores.get('train/loss', float('nan')):.4g})",
                cure="Lower --lr, or clip with --max-grad-norm 1; the last checkpoint is whole.",
            )
