"""The loop, and what is done around it: logging, evaluation, checkpoints, stopping and resuming.

for step in training_steps(net, data, epochs=3):   # yours to write a body for
    print(step.index, step.loss.item())

run = train(net, data)                             # the body most people want
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netwright import checkpoints
from netwright.batch import Batch
from netwright.blame import blame
from netwright.data.batches import eval_batches, train_batches
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource, Source
from netwright.errors import NonFiniteError, RunError
from netwright.inference import EVAL_BATCH, check_same_model, data_of, is_lazy, rebuild, split_means
from netwright.journal import Journal, describe_choices, start_run
from netwright.options import make_options
from netwright.planning import MONITORS
from netwright.progress import Progress, Silent
from netwright.records import Settings
from netwright.run import Run, locked, open_run
from netwright.session import Given, Session, prepare
from netwright.signals import Interrupted, Stopper, stop_on_signals
from netwright.step import (
    StepResult,
    Sums,
    pack_state,
    random_state,
    seed_all,
    set_random_state,
    train_step,
    unpack_state,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One update, as the loop yields it.

    Attributes:
        index: Updates done so far, this one included.
        epoch: The pass it belongs to, from 1.
        loss: 0-d tensor on the device; None where a resumed run only has its evaluation left.
        epoch_end: Whether this was the last update of its pass.
    """

    index: int
    epoch: int
    loss: Tensor | None
    lr: float
    epoch_end: bool
    batch: Batch | None = None


def training_steps(model: nn.Module, data: Data, *, given: Given | None = None, **options: Any) -> Iterator[Step]:
    """Train, and yield after each update. No files are written: what to do with a step is yours.

    Args:
        model: Left with the weights of the last update.
        given: Python objects for loss, optimizer, schedule or step.
        options: Fields of ``Settings``.
    """
    yield from run_steps(prepare(model, data, make_options(Settings, options), given or Given()))


def run_steps(session: Session) -> Iterator[Step]:
    """The loop: from the state's position to the end of the last epoch."""
    state = session.state
    seed, augment, workers = session.settings.seed, tuple(session.plan["augment"]), session.plan["workers"]
    while state.epoch < session.epochs:
        session.model.train()
        if state.batch == session.steps_per_epoch:  # resumed where only the evaluation was left
            yield Step(state.step, state.epoch + 1, None, current_lr(session), epoch_end=True)
            finish_epoch(session)
            continue
        with contextlib.closing(_batches(session, seed=seed, augment=augment, workers=workers)) as batches:
            for batch in batches:
                result = _step(session, batch)
                done = state.batch == session.steps_per_epoch
                yield Step(state.step, state.epoch + 1, result.loss, current_lr(session), done, batch)
                if done or state.batch == 0:
                    break
        finish_epoch(session)


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


def _batches(session: Session, *, seed: int, augment: tuple[str, ...], workers: int) -> Generator[Batch, None, None]:
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
    batches = train_batches(
        session.data,
        batch_size=session.batch_size,
        seed=seed,
        epoch=state.epoch,
        augment=augment,
        workers=workers,
        skip=0 if own_loader else state.batch,
    )
    for _ in range(redo):
        next(batches)
    if now is not None:
        set_loader_random(source, now, state.device)
    for batch in batches:
        yield batch.to(state.device)


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
        NetwrightError: Something cannot work; said before the first update where it can be.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    settings = settings or Settings()
    progress = progress or Silent()
    session = prepare(model, data, settings, given or Given())
    folder = start_run(session, None if run is None else Path(run), reference=reference, arguments=arguments or {})
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
    with locked(folder):
        seed_all(spec.settings.seed)
        module = rebuild(folder, spec) if model is None else model
        lazy = is_lazy(module)
        if not lazy:
            check_same_model(module, spec, folder)
        session = prepare(module, data_of(folder, spec, data), spec.settings, given or Given())
        if lazy:  # its shapes are known since the first batch
            check_same_model(module, spec, folder)
        _restore(session, folder, progress)
        _loop(session, folder, progress)
    return folder


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
    state = session.state
    with stop_on_signals() as stopper, Journal(session, run, progress) as journal:
        if state.step == 0:
            save_checkpoint(session, run)
        every = session.settings.checkpoint_every_steps
        for step in run_steps(session):
            journal.step(step.index)
            if step.epoch_end:
                if not _end_epoch(session, run, journal, stopper):
                    break
            elif every is not None and step.index % every == 0:
                _save_or_say(session, run, journal)
            elif step.index % session.settings.log_every_steps == 0:
                _check_loss(session, journal.log_train(step.epoch, current_lr(session)))
            if stopper.asked():
                break
        if stopper.received is not None:
            save_checkpoint(session, run)
            raise Interrupted(stopper.received, run.path)
    _finish(session, run)


def _end_epoch(session: Session, run: Run, journal: Journal, stopper: Stopper) -> bool:
    """Evaluate, keep the best weights, save. False where training is to end here."""
    state = session.state
    monitor = session.plan["monitor"]
    epoch = state.epoch + 1
    scores = journal.log_train(epoch, current_lr(session), epoch_end=session.data.val is None)
    if session.data.val is not None:
        means = validate(session, stopper)
        if means is None:
            return False
        scores |= journal.log_val(epoch, means)
    _check_loss(session, scores)
    _check_finite(session, scores)
    better = _is_better(scores, state.best, monitor)
    if better:
        loss = scores.get("val/loss", scores["train/loss"])
        state.best = {"value": scores[monitor], "loss": loss, "epoch": epoch, "step": state.step}
    if better or session.settings.keep == "last":
        checkpoints.write_weights(run.weights_file, final_weights(session))
    finish_epoch(session)
    patience = session.settings.patience
    tired = patience is not None and epoch - state.best["epoch"] >= patience
    if tired:
        journal.say(f"no better {monitor} for {patience} epochs: stopped, best was epoch {state.best['epoch']}")
        state.epoch = session.epochs
    _save_or_say(session, run, journal)
    return not tired


def _is_better(scores: dict[str, float], best: dict[str, Any], monitor: str) -> bool:
    """Whether a score is better than the best so far; of equal ones, as small splits give, the lower loss is."""
    if not best or math.isnan(scores[monitor]):
        return not best
    if math.isnan(best["value"]):
        return True
    if scores[monitor] == best["value"]:
        return bool(scores.get("val/loss", scores["train/loss"]) < best["loss"])
    return bool((scores[monitor] > best["value"]) == MONITORS[monitor])


def validate(session: Session, stopper: Stopper) -> tuple[float, float] | None:
    """Mean loss and metric on the validation split, of the averaged weights where there are any."""
    state = session.state
    with averaged(session):
        return split_means(
            session.model,
            session.task,
            state.recipe.objective,
            session.binding,
            eval_batches(session.data, "val", batch_size=EVAL_BATCH, workers=session.plan["workers"]),
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


def final_weights(session: Session) -> dict[str, Tensor]:
    """The weights that are judged and kept: averaged where averaging was asked for."""
    return dict(session.model.state_dict() if session.state.ema is None else session.state.ema)


def save_checkpoint(session: Session, run: Run) -> None:
    """Save everything that is needed to go on; nothing where it was saved already."""
    place = (session.state.step, session.state.epoch, session.state.batch)
    if session.state.saved == place:
        return
    state = {
        "train": pack_state(session.state),
        "loader": loader_random(session.data.train, session.state.device),
    }
    checkpoints.save(run.checkpoints, state, step=session.state.step)
    session.state.saved = place


def _save_or_say(session: Session, run: Run, journal: Journal) -> None:
    """Save; where the disk refuses, say so and train on: the generation before is whole, and the next save may do."""
    try:
        save_checkpoint(session, run)
    except RunError as error:
        journal.say(f"checkpoint of update {session.state.step:,} not saved: {error}")


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
    for name, value in session.model.named_parameters():  # buffers may well hold -inf, as masks of attention do
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteError(
                where=f"{name}, after update {session.state.step}",
                expected="finite weights",
                got=f"NaN or infinity (train/loss {scores.get('train/loss', float('nan')):.4g})",
                cure="Lower --lr, or clip with --max-grad-norm 1; the last checkpoint is whole.",
            )


def _finish(session: Session, run: Run) -> None:
    """Leave the model on its device in plain layout, with the weights the run ends with."""
    session.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    session.model.load_state_dict(checkpoints.read_weights(run.weights_file))
    session.model.eval()
