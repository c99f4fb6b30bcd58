"""Make a run ready: bind the module, fit task and loss to it, build the optimizer, put it on its device.

What ``training`` loops over. Knows nothing of the run folder.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from netwright.batch import Batch
from netwright.binding import Binding, ask, bind, probe
from netwright.data.batches import eval_batches, steps_per_epoch
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.errors import DataError, LossError, ModelError, UsageError
from netwright.frames import Frames, find_frames
from netwright.given import Given, build_optimizer, build_schedule, refuse_idle, with_given
from netwright.layout import with_layout
from netwright.models import load_function
from netwright.optim import needs_closure
from netwright.planning import plan as make_plan
from netwright.randomness import seed_all, unchanged_random
from netwright.records import Choice, DataSpec, Plan, Settings
from netwright.step import Recipe, TrainState, make_state
from netwright.sums import Tally
from netwright.tasks import (
    Objective,
    Task,
    balanced_weights,
    build_loss,
    check_loss,
    find_loss,
    find_task,
)
from netwright.tasks.classification import Classification
from netwright.tasks.transcription import refuse_short

AMP_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A prime number of samples: a module that mixes up the batch with another dimension is likelier to fail on it.
PROBE_SAMPLES = 7


@dataclass(frozen=True, slots=True)
class Session:
    """A run made ready. ``model`` is the person's own object."""

    model: nn.Module
    data: Data
    settings: Settings
    plan: Plan
    state: TrainState
    steps_per_epoch: int
    binding: Binding
    task: Task

    @property
    def epochs(self) -> int:
        """Passes over the training split."""
        return int(self.plan["epochs"])

    @property
    def batch_size(self) -> int:
        """Samples per update."""
        return int(self.plan["batch_size"])

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.epochs * self.steps_per_epoch


def prepare(model: nn.Module, data: Data, settings: Settings, given: Given) -> Session:
    """Make a run ready.

    Raises:
        ModelError: The module cannot take the data, or its outputs do not answer the task.
        LossError: Loss, outputs and targets contradict each other.
        UsageError: Something asked cannot be had.
    """
    if next(model.parameters(), None) is None:
        raise ModelError(
            where=type(model).__name__,
            expected="a module with parameters to train",
            got="none",
            cure="Modules kept in a Python list are not registered: use nn.ModuleList or nn.Sequential.",
        )
    refuse_idle(settings, given, data)
    decided = make_plan(model, data.spec, settings, given=given.names())
    device = torch.device(decided["device"])
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    seed_all(settings.seed)
    with unchanged_random(device):
        size = min(PROBE_SAMPLES, len(data.train))
        with contextlib.closing(eval_batches(data, "train", batch_size=size, workers=0)) as batches:
            batch = next(batches)
        binding = bind_to(model, data.spec, batch)
        if isinstance(binding.frames, Frames) and binding.frames.formula is not None:
            refuse_short(data, binding.frames.formula)
        outputs = probe_outputs(model, binding, batch)
        task = find_task(data.spec.task).fit(data.spec, outputs, batch)
        objective = _objective(task, data, settings, given, outputs, batch, device)
        with evaluating(model):
            decided = with_layout(decided, model, binding, batch)
    model.to(device)
    if decided["memory_format"] == "channels_last":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = steps_per_epoch(data, decided["batch_size"])
    if not per_epoch:
        raise DataError(
            where="train loader",
            expected="at least one batch",
            got=f"none: {len(data.train)} samples, and the last batch is dropped",
            cure="Take a smaller batch_size, or drop_last=False.",
        )
    _check_last_batch(model, data, decided["batch_size"])
    optimizer = build_optimizer(model, decided, settings, given)
    if needs_closure(optimizer) and decided["dtype"] == "float16":
        raise UsageError(
            where="--dtype float16",
            expected=f"an optimizer that takes gradients; {type(optimizer).__name__} asks for the loss itself",
            got="half precision, whose gradients are scaled before the update",
            cure="Take --dtype float32 or bfloat16, or another optimizer.",
        )
    recipe = Recipe(
        task=task,
        objective=objective,
        binding=binding,
        schedule=build_schedule(decided, given, decided["epochs"] * per_epoch),
        step_fn=given.step,
        micro_batches=decided["gradient_accumulation_steps"],
        max_grad_norm=settings.max_grad_norm,
        ema_decay=settings.ema_decay,
        amp_dtype=AMP_DTYPES[decided["dtype"]],
        check_each_loss=device.type == "cpu" or settings.on_nonfinite == "skip",
        tally=_tally(task, data, device),
    )
    state = make_state(model, optimizer, recipe, device)
    choices = (
        Choice(name="inputs", value=binding.text, reason="from the signature of forward"),
        Choice(
            name="loss",
            value="step function" if given.step is not None else objective.name,
            reason="a step function was given" if given.step is not None else objective.reason,
            asked=settings.loss is not None or given.loss is not None,
        ),
    )
    whole = Plan(choices=(*choices, *with_given(decided.choices, optimizer, data, settings, given)))
    return Session(model, data, settings, whole, state, per_epoch, binding, task)


def _tally(task: Task, data: Data, device: torch.device) -> Tally | None:
    """What counts the metrics of many batches at once: on the CPU, where nobody else may change targets meanwhile."""
    if device.type != "cpu" or isinstance(data.train, LoaderSource) or not isinstance(task, Classification):
        return None
    return task.tally


def bind_to(model: nn.Module, spec: DataSpec, batch: Batch) -> Binding:
    """How the module is called and where its answers are; of transcripts also how many frames it emits.

    Leaves it on the CPU where frames are counted.

    Raises:
        BindingError: A parameter of ``forward`` has no field.
        ModelError: Its frames cannot be counted.
        ShapeError: A layer cannot take what reaches it.
    """
    binding = bind(model, tuple(batch.inputs), spec.parts, answers=tuple(answer.name for answer in spec.answers))
    if spec.letters is None:
        return binding
    model.to("cpu")
    probe(model, binding, batch.inputs)
    return replace(binding, frames=find_frames(model, binding, batch.inputs))


# A tensor; of several answers a dict of such, and of transcripts one of logits and lengths.
def probe_outputs(model: nn.Module, binding: Binding, batch: Batch) -> Any:
    """The module's answer to a batch in eval mode, with its graph, on the CPU where the batch is.

    Raises:
        ShapeError: A layer cannot take what reaches it.
    """
    model.to("cpu")
    probe(model, binding, batch.inputs)
    with evaluating(model), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of is shown when training begins
        inputs = batch.inputs
        if not any(parameter.requires_grad for parameter in model.parameters()):  # a frozen one has no graph of its own
            leaves = {name: value.detach().clone() for name, value in inputs.items()}
            inputs = {n: v.requires_grad_() * 1 if v.is_floating_point() else v for n, v in leaves.items()}
        outputs = ask(binding, model, inputs)
    for name, output in (outputs if isinstance(outputs, dict) else {"": outputs}).items():
        if output.shape[:1] != (len(batch),):
            raise ModelError(
                where=f"the module's output {name}".strip(),
                expected=f"one answer for each of the {len(batch)} samples of a batch",
                got=f"shape {tuple(output.shape)}",
                cure="Keep the first dimension, the batch: x.flatten(1), x.mean(dim=1), and no sum or mean over all.",
            )
    return outputs


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; each submodule's own mode again after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _objective(
    task: Task,
    data: Data,
    settings: Settings,
    given: Given,
    outputs: Any,
    batch: Batch,
    device: torch.device,
) -> Objective:
    if batch.targets is None:
        raise UsageError(
            where="the data", expected="targets to learn from", got="none", cure="Give inputs and targets."
        )
    weight = None
    if settings.class_weights == "balanced":
        counts = data.spec.splits["train"].class_counts
        if counts is None:
            raise UsageError(
                where="--class-weights balanced",
                expected="data with classes",
                got=f"{data.spec.task} targets",
                cure="Leave it out.",
            )
        weight = balanced_weights(counts)
    if isinstance(given.loss, Mapping) and not data.spec.answers:
        raise LossError(
            where="loss", expected=f"one loss: the data have one answer, {data.spec.target.name}",
            got=f"a mapping of {', '.join(map(str, given.loss))}", cure="Give the loss itself.",
        )  # fmt: skip
    if given.loss is not None:
        objective = task.use_loss(given.loss, outputs, batch)
    elif settings.loss is not None and ":" in settings.loss:
        objective = task.use_loss(load_function(settings.loss, where="--loss"), outputs, batch)
    elif settings.loss is not None:
        objective = task.use_loss(build_loss(find_loss(settings.loss), weight), outputs, batch)
    else:
        objective = task.propose_loss(weight)
    if given.step is None:
        check_loss(objective, outputs, batch)
    if isinstance(objective.loss_fn, nn.Module):
        objective.loss_fn.to(device)
    return objective


def _check_last_batch(model: nn.Module, data: Data, batch_size: int) -> None:
    """Batch normalisation cannot train on one sample: say so now, not at the end of the first epoch."""
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    alone = len(data.train) % batch_size == 1 and not isinstance(data.train, LoaderSource)
    if normalised and alone:
        raise UsageError(
            where=f"--batch-size {batch_size}",
            expected="at least 2 samples in each batch, since the module has batch normalisation",
            got=f"1 in the last batch of {len(data.train):,} samples",
            cure=f"Take --batch-size {batch_size + 1}.",
        )
