"""What torch's optimizers do to parameters, written without reading a number, so that it can stand in a program.

Each takes one parameter, or ``Many``, with its gradient and its state, and gives the new values. Formulas and their
order are those of ``torch.optim``'s single-tensor code; a plan is compared with the optimizer itself before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netwright.optim import is_watched

Options = Mapping[str, Any]
# New parameter and state, of the parameter, its gradient, its state, the rate (float64, 0-d) and the group's options.
Update = Callable[[Tensor, Tensor, dict[str, Tensor], Tensor, Options], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """How an optimizer updates, and which options of a group it does not know here.

    Attributes:
        refused: Options that must be false.
    """

    update: Update
    refused: tuple[str, ...] = ("differentiable",)


class Many:
    """Tensors of one group that a rule updates as if they were one: a kernel for all, not one for each.

    Knows what the rules below ask for: arithmetic with as many others, with a number, or with a tensor of one number.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self.values = list(values)

    @property
    def dtype(self) -> torch.dtype:
        """That of the first."""
        return self.values[0].dtype

    def __neg__(self) -> Many:
        return Many(torch._foreach_neg(self.values))

    def __add__(self, other: Any) -> Many:
        return Many(torch._foreach_add(self.values, _values(other)))

    def __sub__(self, other: Many) -> Many:
        return Many(torch._foreach_sub(self.values, other.values))

    def __mul__(self, other: Any) -> Many:
        return Many(torch._foreach_mul(self.values, _values(other)))

    def __truediv__(self, other: Any) -> Many:
        return Many(torch._foreach_div(self.values, _values(other)))

    __radd__, __rmul__ = __add__, __mul__

    def sqrt(self) -> Many:
        """Of each number."""
        return Many(torch._foreach_sqrt(self.values))

    def maximum(self, other: Many) -> Many:
        """Of each number and its counterpart."""
        return Many(torch._foreach_maximum(self.values, other.values))


def _values(other: Any) -> Any:
    return other.values if isinstance(other, Many) else other


def rule_of(optimizer: torch.optim.Optimizer) -> Rule | str:
    """The rule of an optimizer, or why there is none."""
    kind = type(optimizer)
    rule = RULES.get(kind)
    if rule is None:
        return f"the update of {kind.__name__} is not one that can be put into a program"
    if is_watched(optimizer):
        return "the optimizer's step has hooks, or is one of your own"
    for group in optimizer.param_groups:
        for name in rule.refused:
            if group.get(name):
                return f"{kind.__name__} with {name}"
        if any(isinstance(group.get(name), Tensor) for name in ("lr", "betas", "weight_decay")):
            return "an option of the optimizer is a tensor"
    return rule


def _sgd(
    param: Tensor, grad: Tensor, state: dict[str, Tensor], lr: Tensor, options: Options
) -> tuple[Tensor, dict[str, Tensor]]:
    if options["maximize"]:
        grad = -grad
    if options["weight_decay"]:
        grad = grad + options["weight_decay"] * param
    momentum, kept = options["momentum"], {}
    if momentum:
        kept["momentum_buffer"] = buffer = momentum * state["momentum_buffer"] + (1 - options["dampening"]) * grad
        grad = grad + momentum * buffer if options["nesterov"] else buffer
    return param - lr.to(param.dtype) * grad, kept


def _adam(
    param: Tensor, grad: Tensor, state: dict[str, Tensor], lr: Tensor, options: Options
) -> tuple[Tensor, dict[str, Tensor]]:
    first, second = options["betas"]
    decay = options["weight_decay"]
    if options["maximize"]:
        grad = -grad
    step = state["step"] + 1
    if decay and options.get("decoupled_weight_decay"):
        param = param * (1 - lr * decay).to(param.dtype)
    elif decay:
        grad = grad + decay * param
    exp_avg = state["exp_avg"] + (grad - state["exp_avg"]) * (1 - first)
    exp_avg_sq = state["exp_avg_sq"] * second + grad * grad * (1 - second)
    kept = {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    largest = exp_avg_sq
    if options["amsgrad"]:
        kept["max_exp_avg_sq"] = largest = state["max_exp_avg_sq"].maximum(exp_avg_sq)
    wide = step.double()
    size = lr / (1 - _power(first, wide))
    root = (1 - _power(second, wide)).sqrt()
    spread = largest.sqrt() / root.to(param.dtype) + options["eps"]
    return param - size.to(param.dtype) * (exp_avg / spread), kept


def _power(base: float, exponent: Tensor) -> Tensor:
    """A beta to the count of steps. An exponential inductor takes once, a power once for each weight."""
    return torch.exp(exponent * (math.log(base) if base else -math.inf))


def _rmsprop(
    param: Tensor, grad: Tensor, state: dict[str, Tensor], lr: Tensor, options: Options
) -> tuple[Tensor, dict[str, Tensor]]:
    alpha = options["alpha"]
    if options["maximize"]:
        grad = -grad
    if options["weight_decay"]:
        grad = grad + options["weight_decay"] * param
    square = state["square_avg"] * alpha + grad * grad * (1 - alpha)
    kept = {"step": state["step"] + 1, "square_avg": square}
    spread = square
    if options["centered"]:
        kept["grad_avg"] = mean = state["grad_avg"] + (grad - state["grad_avg"]) * (1 - alpha)
        spread = square - mean * mean
    change = grad / (spread.sqrt() + options["eps"])
    if options["momentum"]:
        kept["momentum_buffer"] = change = options["momentum"] * state["momentum_buffer"] + change
    return param - lr.to(param.dtype) * change, kept


RULES: dict[type, Rule] = {
    torch.optim.SGD: Rule(_sgd),
    torch.optim.Adam: Rule(_adam),
    torch.optim.AdamW: Rule(_adam),
    torch.optim.RMSprop: Rule(_rmsprop),
}


# A parameter with its gradient and its state.
Moved = tuple[Tensor, Tensor, dict[str, Tensor]]
Pairs = list[tuple[Tensor, Tensor]]


def one_by_one(rule: Rule, moved: Sequence[Moved], lr: Tensor, options: Options) -> Pairs:
    """All tensors that an update of a group changes, each with its new value."""
    pairs: Pairs = []
    for param, grad, held in moved:
        # one count of steps a group: its powers are then computed once
        own = held | ({"step": moved[0][2]["step"]} if "step" in held else {})
        new, kept = rule.update(param, grad, own, lr, options)
        pairs += [(param, new), *((held[slot], value) for slot, value in kept.items())]
    return pairs


def together(rule: Rule, moved: Sequence[Moved], lr: Tensor, options: Options) -> Pairs:
    """As ``one_by_one``, with one kernel for all tensors of a dtype, as a GPU wants it that is given small ones."""
    pairs: Pairs = []
    for dtype in dict.fromkeys(param.dtype for param, _, _ in moved):
        own = [one for one in moved if one[0].dtype is dtype]
        slots = own[0][2]
        held: dict[str, Any] = {name: Many([state[name] for _, _, state in own]) for name in slots if name != "step"}
        if "step" in slots:
            held["step"] = slots["step"]
        params: Any = Many([param for param, _, _ in own])
        grads: Any = Many([grad for _, grad, _ in own])
        changed: Any
        changed, kept = rule.update(params, grads, held, lr, options)
        pairs += zip(params.values, changed.values, strict=True)
        for slot, value in kept.items():
            new: Any = value
            values = new.values if isinstance(new, Many) else [new] * len(own)
            pairs += zip((state[slot] for _, _, state in own), values, strict=True)
    return pairs
