"""What a person hands over in place of names: a loss, an optimizer, a schedule, a step; also as ``file.py:function``.

Builds the optimizer and the schedule of a run, refuses options that could not act beside what was handed over, and
says in the plan what was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netwright.batch import LossFunction, StepFunction
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.errors import UsageError
from netwright.models import load_function
from netwright.optim import Schedule, bring_state, decayed_groups, find_optimizer, make_optimizer, make_schedule
from netwright.records import Choice, Plan, Settings

OptimizerGiven = torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class Given:
    """Python objects handed over in place of names."""

    loss: LossFunction | Mapping[str, LossFunction] | None = None
    optimizer: OptimizerGiven | None = None
    schedule: Schedule | None = None
    step: StepFunction | None = None

    def names(self) -> frozenset[str]:
        """Names of what was handed over."""
        return frozenset(name for name in ("loss", "optimizer", "schedule", "step") if getattr(self, name) is not None)


def refuse_idle(settings: Settings, given: Given, data: Data) -> None:
    """Refuse options that could not act beside what was handed over.

    Raises:
        UsageError: The first of them.
    """
    idle: dict[str, str] = {}
    if isinstance(given.optimizer, torch.optim.Optimizer):
        idle |= dict.fromkeys(("lr", "weight_decay", "optimizer_args"), "the optimizer that was given, with its own")
    if given.schedule is not None or ":" in (settings.schedule or ""):
        idle["warmup_steps"] = "a schedule that is a function of the step"
    if given.loss is not None or given.step is not None or ":" in (settings.loss or ""):
        idle["class_weights"] = "a loss that was given, which weighs as it does"
    if isinstance(data.train, LoaderSource):
        idle |= dict.fromkeys(("batch_size", "workers"), "a DataLoader, with its own")
    refuse(settings, idle)


def refuse(settings: Settings, idle: dict[str, str]) -> None:
    """Refuse what was asked for and could not act.

    Args:
        idle: By name of the option, beside what it could not.

    Raises:
        UsageError: The first of them.
    """
    for name in sorted(settings.asked() & idle.keys()):
        raise UsageError(
            where=f"--{name.replace('_', '-')} {getattr(settings, name)}",
            expected="an option that changes something",
            got=f"one that cannot act beside {idle[name]}",
            cure="Set it there, or leave one of the two out.",
        )


def _is_function(made: object) -> bool:
    return made is not None and not (inspect.isclass(made) and issubclass(made, torch.optim.Optimizer))


def build_optimizer(model: nn.Module, decided: Plan, settings: Settings, given: Given) -> torch.optim.Optimizer:
    """The optimizer that was given, or made from its class, its name, or a function of the parameters.

    Raises:
        UsageError: It holds none of the module's parameters, or refuses an argument.
    """
    made: Any = given.optimizer
    if made is None and settings.optimizer is not None and ":" in settings.optimizer:
        made = load_function(settings.optimizer, where="--optimizer")
    if isinstance(made, torch.optim.Optimizer):
        _check_owner(model, made)
        bring_state(made)
        return made
    if _is_function(made):
        refuse(settings, dict.fromkeys(("weight_decay", "optimizer_args"), "a function that makes the optimizer"))
        built: torch.optim.Optimizer = made(model.parameters())
        _check_owner(model, built)
        for group in built.param_groups if settings.lr is not None else ():
            group["lr"] = settings.lr
        return built
    arguments = dict(settings.optimizer_args)
    if settings.lr is not None or made is None:
        arguments["lr"] = decided["lr"]
    kind: type[torch.optim.Optimizer] = made if made is not None else find_optimizer(decided["optimizer"])
    decay = decided["weight_decay"]
    if settings.optimizer is None and made is None:
        return make_optimizer(kind, decayed_groups(model, decay), arguments)
    if decay is not None:
        arguments["weight_decay"] = decay
    return make_optimizer(kind, model.parameters(), arguments)


def _check_owner(model: nn.Module, optimizer: object) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(
            where="optimizer",
            expected="a function that returns a torch.optim.Optimizer",
            got=f"one that returned {type(optimizer).__name__}",
            cure="As: lambda parameters: torch.optim.SGD(parameters, lr=0.1).",
        )
    own = {id(parameter) for parameter in model.parameters()}
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not own & held:
        raise UsageError(
            where="optimizer",
            expected="one that holds this module's parameters",
            got="one that holds none of them",
            cure="Build it after the module: torch.optim.AdamW(net.parameters()).",
        )


def build_schedule(decided: Plan, given: Given, total_steps: int) -> Schedule:
    """The schedule that was given, or the one of that name or file."""
    if given.schedule is not None:
        return given.schedule
    if ":" in decided["schedule"]:
        function: Schedule = load_function(decided["schedule"], where="--schedule")
        return function
    return make_schedule(decided["schedule"], total_steps=total_steps, warmup_steps=decided["warmup_steps"])


def with_given(
    choices: tuple[Choice, ...], optimizer: torch.optim.Optimizer, data: Data, settings: Settings, given: Given
) -> tuple[Choice, ...]:
    """The plan's choices as they came out: what was handed over decided for itself."""
    actual: dict[str, tuple[Any, str]] = {}
    if given.optimizer is not None or ":" in (settings.optimizer or ""):
        groups, reason = optimizer.param_groups, "of the optimizer that was given"
        actual["optimizer"] = (type(optimizer).__name__, "given")
        for name in ("lr", "weight_decay"):
            values = list(dict.fromkeys(float(group[name]) for group in groups if name in group))
            actual[name] = (values[0] if len(values) == 1 else values or None, reason)
    if given.schedule is not None:
        actual["schedule"] = (getattr(given.schedule, "__name__", type(given.schedule).__name__), "given")
        actual["warmup_steps"] = (0, "the schedule that was given")
    if isinstance(data.train, LoaderSource):
        loader = data.train.loader
        actual["batch_size"] = (loader.batch_size, "the loader's own")
        actual["workers"] = (loader.num_workers, "the loader's own")
    return tuple(
        choice.model_copy(update={"value": actual[choice.name][0], "reason": actual[choice.name][1]})
        if choice.name in actual
        else choice
        for choice in choices
    )
