"""The whole update – forward, loss, backward, clipping, the optimizer, sums – as one graph of torch operations.

traced = trace(state, batch)
loss, finite = traced.graph(*traced.arguments(state, batch))   # all that changes is changed in place
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.plans.attributes import attributes
from netwright.plans.operations import NoProgramError, operations
from netwright.plans.updates import Pairs, Rule, one_by_one, rule_of, together
from netwright.randomness import random_state, set_random_state
from netwright.step import Recipe, TrainState, forward, train_step

# Where a module keeps functions that are called beside forward; a program would run them once, while it is made.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OF_TENSORS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@dataclass(slots=True)
class Layout:
    """Which tensor stands where among a program's arguments.

    Attributes:
        weights: Names of parameters, then of buffers.
        trained: Of the parameters those that the optimizer moves: their name and the number of its group.
        slots: Of each of these the names in the optimizer's state.
        metrics: Names of the sums beside the loss.
        fields: Names of the inputs; ``answers`` those of the targets where there are several.
        groups: How many the optimizer has.
    """

    weights: tuple[str, ...]
    trained: tuple[tuple[str, int], ...]
    slots: tuple[tuple[str, ...], ...]
    metrics: tuple[str, ...]
    fields: tuple[str, ...]
    answers: tuple[str, ...] | None
    groups: int

    @property
    def brought(self) -> int:
        """How many arguments a batch brings; they are the last."""
        return len(self.fields) + (1 if self.answers is None else len(self.answers))

    def ready(self, state: TrainState) -> bool:
        """Whether the optimizer has its state, as after a first update."""
        parameters = dict(state.model.named_parameters())
        held = (state.optimizer.state.get(parameters[name], {}) for name, _ in self.trained)
        return all(slot in one for one, slots in zip(held, self.slots, strict=True) for slot in slots)

    def fixed(self, state: TrainState, rates: Tensor) -> list[Tensor]:
        """All arguments that stay the same objects from update to update, in a program's order."""
        held = tensors_of(state.model)
        parameters = dict(state.model.named_parameters())
        values: list[Tensor] = [rates, state.sums.loss, state.sums.count]
        for name in self.metrics:
            values += state.sums.held(name)
        values += [held[name].detach() for name in self.weights]
        for (name, _), slots in zip(self.trained, self.slots, strict=True):
            values += [state.optimizer.state[parameters[name]][slot] for slot in slots]
        return values

    def of_batch(self, batch: Batch) -> list[Tensor]:
        """The arguments that a batch brings."""
        targets = [batch.target] if self.answers is None else [batch.targets[name] for name in self.answers]  # type: ignore[index]
        return [*(batch.inputs[name] for name in self.fields), *targets]


class Whole(nn.Module):
    """A module with its loss and its metrics, so that all its tensors can be handed over in one call."""

    def __init__(self, state: TrainState) -> None:
        super().__init__()
        self.model = state.model
        self._state = [state]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The loss, its mean times its count, and what the metrics are made of."""
        state = self._state[0]
        outcome = forward(state, batch)
        objective = state.recipe.objective
        mean = objective.mean(outcome.loss.detach(), outcome.count)
        return outcome.loss, mean * outcome.count, {"": (mean, outcome.count), **outcome.metrics}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def refuse(state: TrainState, *, called: bool = False) -> Rule:
    """The optimizer's rule.

    Args:
        called: Module and loss are called as in the plain update, and with them their hooks.

    Raises:
        NoProgramError: The update cannot be one program, whatever the module does.
    """
    recipe = state.recipe
    modules, parameters = tuple(state.model.modules()), tuple(state.model.parameters())
    reasons = {
        "a step of your own is run as you wrote it": recipe.step_fn is not None,
        "gradients are gathered over several micro-batches": recipe.micro_batches > 1,
        "float16 scales its loss as it goes": state.scaler is not None,
        f"{type(state.optimizer).__name__} asks for the loss itself": state.closure,
        "the module has hooks": not called and any(getattr(one, name) for one in modules for name in HOOKS),
        "a gradient has hooks": not called and any(getattr(one, name, 0) for one in parameters for name in OF_TENSORS),
        "a parameter is sparse or complex": any(one.is_sparse or one.is_complex() for one in parameters),
        "an embedding gives sparse gradients": any(getattr(one, "sparse", False) for one in modules),
        "clipping counts gradients that the optimizer does not hold": recipe.max_grad_norm is not None
        and any(one.requires_grad for one in state.others),
        "the loss has parameters of its own": _has_parameters(recipe.objective.loss_fn),
    }
    for reason, holds in reasons.items():
        if holds:
            raise NoProgramError(reason)
    rule = rule_of(state.optimizer)
    if isinstance(rule, str):
        raise NoProgramError(rule)
    return rule


def _has_parameters(loss_fn: Any) -> bool:
    return isinstance(loss_fn, nn.Module) and next(loss_fn.parameters(), None) is not None


def put_steps_on_device(state: TrainState) -> None:
    """Counts of steps where the parameters are: torch keeps them on the CPU, where no GPU program can count."""
    for parameter, held in state.optimizer.state.items():
        step = held.get("step")
        if isinstance(step, Tensor) and step.device != parameter.device:
            held["step"] = step.to(parameter.device)


@dataclass(slots=True)
class Traced:
    """A graph that does an update in place, and where its arguments come from."""

    graph: torch.fx.GraphModule
    layout: Layout
    example: list[Tensor]


def trace(state: TrainState, batch: Batch, *, at_once: bool = False) -> Traced:
    """The update of a state by batches like this one, as a graph. The state is a copy that may be changed.

    Args:
        state: Whose optimizer has done an update already, so that its own state is there.
        at_once: Parameters are updated together, as a GPU wants it that is given small ones; a compiler sees to that.

    Raises:
        NoProgramError: It cannot be one graph, and why.
    """
    rule = refuse(state)
    put_steps_on_device(state)
    layout = layout_of(state, batch)
    rates = torch.zeros(len(state.optimizer.param_groups), dtype=torch.float64, device=state.device)
    example = [*layout.fixed(state, rates), *layout.of_batch(batch)]
    graph = graph_of(state, _update_of(state, layout, rule, at_once=at_once), example)
    return Traced(graph, layout, example)


def graph_of(state: TrainState, function: Callable[..., Any], example: list[Tensor]) -> torch.fx.GraphModule:
    """The operations of a function that calls the state's module, and is given copies of the example.

    Raises:
        NoProgramError: It cannot be one graph, and why.
    """
    before, drawn = attributes(state.model), random_state(state.device)

    def made() -> torch.fx.GraphModule:
        set_random_state(drawn, state.device)
        return operations(function, [one.clone() for one in example])

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph, again = made(), made()
        _refuse_draws(drawn, random_state(state.device))
        _refuse_others(graph, lambda: function(*(one.clone() for one in example)))
    except NoProgramError:
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NoProgramError(f"it cannot be traced: {text[:160]}") from error
    finally:
        set_random_state(drawn, state.device)
    changed = sorted(name for name, value in attributes(state.model).items() if before.get(name, value) != value)
    if changed:
        raise NoProgramError(f"forward changes {changed[0]}, which a program would not")
    if graph.code != again.code or not _same_constants(graph, again):
        raise NoProgramError("forward or the loss holds numbers that are others each time")
    _refuse_sizes(graph)
    return graph


def refuse_moves(state: TrainState, batch: Batch) -> None:
    """Do a plain update, and look whether the module puts other tensors in the place of its own.

    Raises:
        NoProgramError: It does, as ``self.weight.data = …`` in forward; a program would go on with the first ones.
    """
    before = _places(state.model)
    train_step(state, batch)
    moved = sorted(name for name, place in _places(state.model).items() if before.get(name) != place)
    if moved:
        raise NoProgramError(f"forward puts another tensor in the place of {moved[0]}, which a program would not")


def _places(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor each parameter and buffer is, and where its numbers lie."""
    return {name: (id(one), one.data_ptr()) for name, one in tensors_of(model).items()}


def _same_constants(one: torch.fx.GraphModule, other: torch.fx.GraphModule) -> bool:
    """Whether two traces took the same tensors for constants, as those that came out of NumPy."""
    held = [_constants(each) for each in (one, other)]
    return held[0].keys() == held[1].keys() and all(
        value is held[1][name] or (value.shape == held[1][name].shape and bool((value == held[1][name]).all()))
        for name, value in held[0].items()
    )


def _refuse_others(graph: torch.fx.GraphModule, call: Callable[[], Any]) -> None:
    """A trace takes tensors that it was not handed for constants, where they may learn or be written to."""
    others = _constants(graph).values()
    if any(one.requires_grad for one in others):
        raise NoProgramError("the loss reads a parameter by itself, which a program would take for a constant")
    before = [one._version for one in others]
    call()
    if any(one._version != version for one, version in zip(others, before, strict=True)):
        raise NoProgramError("forward or the loss writes to a tensor that is no buffer of the module")


def _constants(graph: torch.fx.GraphModule) -> dict[str, Tensor]:
    held = {name: value for name, value in vars(graph).items() if isinstance(value, Tensor)}
    return held | dict(graph.named_parameters()) | dict(graph.named_buffers())


def _refuse_sizes(graph: torch.fx.GraphModule) -> None:
    """A trace holds the sizes of its own batch, where another batch's values would give others."""
    for node in graph.graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        varies = torch.Tag.dynamic_output_shape in node.target.tags
        if node.target is torch.ops.aten.index.Tensor:
            chosen = [one.meta.get("val") for one in node.args[1] if one is not None]
            varies = any(one is None or one.dtype in (torch.bool, torch.uint8) for one in chosen)
        if varies or "_pack_padded_sequence" in str(node.target):
            raise NoProgramError(f"{node.target} gives sizes that depend on what is in a batch")


def _refuse_draws(before: dict[str, Any], after: dict[str, Any]) -> None:
    """A program draws from torch's generators alone; what Python and NumPy gave would be the same in each update."""
    if before["python"] != after["python"]:
        raise NoProgramError("forward draws from Python's random")
    if any(
        (one != other if not hasattr(one, "shape") else (one != other).any())
        for one, other in zip(before["numpy"], after["numpy"], strict=True)
    ):
        raise NoProgramError("forward draws from NumPy's random")


def layout_of(state: TrainState, batch: Batch) -> Layout:
    """Which tensors an update of a state has, whose optimizer has done one.

    Raises:
        NoProgramError: Parameters or the optimizer's state are not as a program wants them.
    """
    names = {id(value): name for name, value in state.model.named_parameters()}
    trained: list[tuple[str, int]] = []
    slots: list[tuple[str, ...]] = []
    for number, group in enumerate(state.optimizer.param_groups):
        for parameter in group["params"]:
            if id(parameter) not in names:
                raise NoProgramError("the optimizer holds a parameter that is not the module's")
            if parameter.grad is None:
                continue
            held = state.optimizer.state.get(parameter, {})
            trained.append((names[id(parameter)], number))
            slots.append(tuple(name for name, value in held.items() if isinstance(value, Tensor)))
            if any(value is not None and not isinstance(value, Tensor) for value in held.values()):
                raise NoProgramError("the optimizer's state is not made of tensors")
    if not trained:
        raise NoProgramError("no parameter has a gradient yet")
    counts: dict[int, set[float]] = {}
    parameters = dict(state.model.named_parameters())
    for name, number in trained:
        step = state.optimizer.state.get(parameters[name], {}).get("step")
        counts.setdefault(number, set()).add(0.0 if step is None else float(step))
    if any(len(one) > 1 for one in counts.values()):
        raise NoProgramError("parameters have had different numbers of updates")
    return Layout(
        weights=tuple(tensors_of(state.model)),
        trained=tuple(trained),
        slots=tuple(slots),
        metrics=tuple(state.sums.metrics),
        fields=tuple(batch.inputs),
        answers=tuple(batch.targets) if isinstance(batch.targets, dict) else None,
        groups=len(state.optimizer.param_groups),
    )


def _update_of(state: TrainState, layout: Layout, rule: Rule, *, at_once: bool) -> Any:
    """A function of all arguments that changes them as an update does; it gives the loss and whether all is finite."""
    whole = Whole(state).train()
    groups = [{k: v for k, v in group.items() if k != "params"} for group in state.optimizer.param_groups]
    recipe, sums = state.recipe, 3 + 2 * len(layout.metrics)

    def update(*given: Tensor) -> tuple[Tensor, Tensor]:
        rates, total, count = given[:3]
        weights = dict(zip(layout.weights, given[sums:], strict=False))
        at = sums + len(layout.weights)
        states = []
        for slots in layout.slots:
            states.append(dict(zip(slots, given[at:], strict=False)))
            at += len(slots)
        batch = batch_of(layout, given[at:])
        leaves = {name: weights[name].detach().requires_grad_() for name, _ in layout.trained}
        named = {f"model.{name}": leaves.get(name, value) for name, value in weights.items()}
        loss, weighed, metrics = torch.func.functional_call(whole, named, (batch,))
        gradients = list(torch.autograd.grad(loss, list(leaves.values()), allow_unused=True))
        if any(one is None for one in gradients):
            raise NoProgramError("a parameter has a gradient in some updates and none in others")
        gradients, finite = _clipped(recipe, loss.detach(), gradients)
        moved = [
            (weights[name], gradient, held)
            for (name, _), gradient, held in zip(layout.trained, gradients, states, strict=True)
        ]
        pairs: Pairs = []
        for number, group in enumerate(groups):
            own = [one for one, (_, place) in zip(moved, layout.trained, strict=True) if place == number]
            pairs += (together if at_once else one_by_one)(rule, own, rates[number], group)
        pairs += [(total, total + weighed), (count, count + metrics[""][1])]
        for place, name in enumerate(layout.metrics):
            for old, more in zip(given[3 + 2 * place : 5 + 2 * place], metrics[name], strict=True):
                pairs.append((old, old + more))
        _write(pairs, finite if recipe.check_each_loss else None, at_once=at_once)
        return loss.detach(), finite

    return update


def _clipped(recipe: Recipe, loss: Tensor, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The gradients as they are to be used, and whether all is finite; where that is not asked each time, the loss."""
    if not recipe.check_each_loss and recipe.max_grad_norm is None:
        return gradients, torch.isfinite(loss)
    # the largest, since squares of finite numbers may be infinite
    finite = torch.isfinite(loss + nn.utils.get_total_norm(gradients, math.inf))
    if recipe.max_grad_norm is None:
        return gradients, finite
    norm = nn.utils.get_total_norm(gradients)
    scale = torch.clamp(recipe.max_grad_norm / (norm + 1e-6), max=1.0)
    return [one * scale for one in gradients], finite


def _write(pairs: Pairs, only_if: Tensor | None, *, at_once: bool) -> None:
    """Give each tensor its new value."""
    if only_if is not None:
        pairs = [(old, torch.where(only_if, new, old)) for old, new in pairs]
    if at_once:
        torch._foreach_copy_([old for old, _ in pairs], [new for _, new in pairs])
        return
    for old, new in pairs:
        old.copy_(new)


def batch_of(layout: Layout, given: tuple[Tensor, ...]) -> Batch:
    """A batch of the arguments that one brings."""
    inputs = dict(zip(layout.fields, given, strict=False))
    rest = given[len(layout.fields) :]
    targets: Any = rest[0] if layout.answers is None else dict(zip(layout.answers, rest, strict=True))
    size = len(next(iter(inputs.values())))
    return Batch(inputs, targets, torch.zeros(size, dtype=torch.int64))  # ids are for people


def like(state: TrainState, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainState:
    """A state of another module and optimizer at the same place, with sums and averages of its own."""
    average = None if state.ema is None else {name: value.clone() for name, value in state.ema.items()}
    return replace(state, model=model, optimizer=optimizer, sums=state.sums.copied(), ema=average, program=None)
