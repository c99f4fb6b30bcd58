"""Make a run ready: bind the module, fit task and loss to it, build the optimizer, put it on its device.

What ``training`` loops over. Knows nothing of the run folder.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, answer, bind, call, probe
from netwright.data.batches import eval_batches, steps_per_epoch
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.errors import DataError, ModelError, UsageError
from netwright.models import load_function
from netwright.optim import Schedule, decayed_groups, find_optimizer, make_optimizer, make_schedule
from netwright.planning import plan as make_plan
from netwright.records import Choice, Plan, Settings
from netwright.step import Recipe, StepFunction, TrainState, make_state, random_state, seed_all, set_random_state
from netwright.tasks import (
    LossFunction,
    Objective,
    Task,
    balanced_weights,
    build_loss,
    check_loss,
    find_loss,
    make_task,
    propose_loss,
    use_loss,
)

AMP_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A prime number of samples: a module that mixes up the batch with another dimension is likelier to fail on it.
PROBE_SAMPLES = 7

OptimizerGiven = torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class Given:
    """Python objects handed over in place of names."""

    loss: LossFunction | None = None
    optimizer: OptimizerGiven | None = None
    schedule: Schedule | None = None
    step: StepFunction | None = None

    def names(self) -> frozenset[str]:
        """Names of what was handed over."""
        return frozenset(name for name in ("loss", "optimizer", "schedule", "step") if getattr(self, name) is not None)


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
    decided = make_plan(model, data.spec, settings, given=given.names())
    device = torch.device(decided["device"])
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    seed_all(settings.seed)
    with unchanged_random(device):
        size = min(PROBE_SAMPLES, len(data.train))
        with contextlib.closing(eval_batches(data, "train", batch_size=size, workers=0)) as batches:
            batch = next(batches)
        binding = bind(model, tuple(batch.inputs))
        outputs = probe_outputs(model, binding, batch)
        task = make_task(data.spec, outputs)
        objective = _objective(task, data, settings, given, outputs, batch, device)
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
    optimizer = _optimizer(model, decided, settings, given)
    recipe = Recipe(
        task=task,
        objective=objective,
        binding=binding,
        schedule=_schedule(decided, given, decided["epochs"] * per_epoch),
        step_fn=given.step,
        micro_batches=decided["gradient_accumulation_steps"],
        max_grad_norm=settings.max_grad_norm,
        ema_decay=settings.ema_decay,
        amp_dtype=AMP_DTYPES[decided["dtype"]],
        check_each_loss=device.type == "cpu" or settings.on_nonfinite == "skip",
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
    whole = Plan(choices=(*choices, *decided.choices))
    return Session(model, data, settings, whole, state, per_epoch, binding, task)


def probe_outputs(model: nn.Module, binding: Binding, batch: Batch) -> Tensor:
    """The module's answer to a batch in eval mode, with its graph, on the CPU where the batch is.

    Raises:
        ShapeError: A layer cannot take what reaches it.
    """
    model.to("cpu")
    probe(model, binding, batch.inputs)
    with evaluating(model), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of is shown when training begins
        return answer(call(binding, model, batch.inputs))


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


@contextlib.contextmanager
def unchanged_random(device: torch.device) -> Iterator[None]:
    """Random generators as they were, after."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)


def _objective(
    task: Task,
    data: Data,
    settings: Settings,
    given: Given,
    outputs: Tensor,
    batch: Batch,
    device: torch.device,
) -> Objective:
    targets = batch.targets
    if targets is None:
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
    if given.loss is not None:
        objective = use_loss(task, given.loss, outputs, targets)
    elif settings.loss is not None and ":" in settings.loss:
        objective = use_loss(task, load_function(settings.loss, where="--loss"), outputs, targets)
    elif settings.loss is not None:
        objective = use_loss(task, build_loss(find_loss(settings.loss), weight), outputs, targets)
    else:
        objective = propose_loss(task, weight)
    if given.step is None:
        check_loss(objective, outputs, targets)
    if isinstance(objective.loss_fn, nn.Module):
        objective.loss_fn.to(device)
    return objective


def _optimizer(model: nn.Module, decided: Plan, settings: Settings, given: Given) -> torch.optim.Optimizer:
    made: Any = given.optimizer  # an optimizer, its class, or a function of the parameters
    if made is None and settings.optimizer is not None and ":" in settings.optimizer:
        made = load_function(settings.optimizer, where="--optimizer")
    if isinstance(made, torch.optim.Optimizer):
        _check_owner(model, made)
        return made
    arguments = dict(settings.optimizer_args)
    if settings.lr is not None or made is None:
        arguments["lr"] = decided["lr"]
    if made is not None and not (inspect.isclass(made) and issubclass(made, torch.optim.Optimizer)):
        built: torch.optim.Optimizer = made(model.parameters())
        if settings.lr is not None:
            for group in built.param_groups:
                group["lr"] = settings.lr
        return built
    kind: type[torch.optim.Optimizer] = made if made is not None else find_optimizer(decided["optimizer"])
    decay = decided["weight_decay"]
    if settings.optimizer is None and made is None:
        return make_optimizer(kind, decayed_groups(model, decay), arguments)
    if decay is not None:
        arguments["weight_decay"] = decay
    return make_optimizer(kind, model.parameters(), arguments)


def _check_owner(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not own & held:
        raise UsageError(
            where="optimizer",
            expected="one that holds this module's parameters",
            got="one that holds none of them",
            cure="Build it after the module: torch.optim.AdamW(net.parameters()).",
        )


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


def _schedule(decided: Plan, given: Given, total_steps: int) -> Schedule:
    if given.schedule is not None:
        return given.schedule
    if ":" in decided["schedule"]:
        function: Schedule = load_function(decided["schedule"], where="--schedule")
        return function
    return make_schedule(decided["schedule"], total_steps=total_steps, warmup_steps=decided["warmup_steps"])
