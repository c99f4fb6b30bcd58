"""The update rules that stand in programs are those of torch's optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from netwright.plans.updates import Rule, rule_of, together

CASES: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    (torch.optim.SGD, {"momentum": 0.8, "dampening": 0.3}),
    (torch.optim.Adam, {}),
    (torch.optim.Adam, {"weight_decay": 0.1, "amsgrad": True, "betas": (0.7, 0.9), "eps": 1e-3}),
    (torch.optim.Adam, {"maximize": True}),
    (torch.optim.AdamW, {}),
    (torch.optim.AdamW, {"weight_decay": 0.3, "amsgrad": True}),
    (torch.optim.RMSprop, {}),
    (torch.optim.RMSprop, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_rule_is_the_optimizers(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    """Twelve updates with a rate that changes: parameters and state alike to a few roundings."""
    torch.manual_seed(0)
    theirs = nn.Parameter(torch.randn(50))
    optimizer = kind([theirs], lr=0.1, **options)
    theirs.grad = torch.randn(50)
    optimizer.step()  # the first update makes the state
    rule = rule_of(optimizer)
    assert isinstance(rule, Rule)
    group = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    mine = theirs.detach().clone()
    state = {k: v.clone() for k, v in optimizer.state[theirs].items() if v is not None}
    for step in range(12):
        gradient = torch.randn(50)
        lr = 0.1 / (1 + step)
        optimizer.param_groups[0]["lr"] = lr
        theirs.grad = gradient.clone()
        optimizer.step()
        mine, kept = rule.update(mine, gradient, state, torch.tensor(lr, dtype=torch.float64), group)
        state |= kept
        torch.testing.assert_close(mine, theirs.detach(), atol=2e-6, rtol=2e-6)
        for name, value in state.items():
            torch.testing.assert_close(value, optimizer.state[theirs][name], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_many_are_updated_together_as_each_alone(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    """Parameters of two dtypes and four shapes, with one kernel for all of a dtype."""
    torch.manual_seed(0)
    shapes = ((5, 4), (7,), ())
    theirs = [
        nn.Parameter(torch.randn(shape, dtype=dtype)) for dtype in (torch.float32, torch.float64) for shape in shapes
    ]
    optimizer = kind(theirs, lr=0.1, **options)
    for _ in range(2):  # the first update makes the state
        for one in theirs:
            one.grad = torch.randn_like(one)
        before = [one.detach().clone() for one in theirs]
        states = [{k: v.clone() for k, v in optimizer.state[one].items() if v is not None} for one in theirs]
        optimizer.step()
    rule, group = rule_of(optimizer), {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    assert isinstance(rule, Rule)
    moved = [(one, their.grad, state) for one, their, state in zip(before, theirs, states, strict=True)]
    pairs = together(rule, moved, torch.tensor(0.1, dtype=torch.float64), group)  # type: ignore[arg-type]
    assert len(pairs) == sum(1 + len(state) for state in states)
    for old, new in pairs:
        old.copy_(new)
    for one, their, state in zip(before, theirs, states, strict=True):
        torch.testing.assert_close(one, their.detach(), atol=2e-6, rtol=2e-6)
        for name, value in state.items():
            torch.testing.assert_close(value, optimizer.state[their][name], atol=2e-6, rtol=2e-6)


def test_what_no_rule_knows_is_said() -> None:
    """Another optimizer, one of a person's own that is derived from a known one, and hooks."""
    weights = [nn.Parameter(torch.ones(2))]

    class Own(torch.optim.SGD):
        pass

    hooked = torch.optim.SGD(weights, lr=0.1)
    hooked.register_step_pre_hook(lambda *given: None)
    for optimizer, words in (
        (torch.optim.Adagrad(weights), "Adagrad"),
        (Own(weights, lr=0.1), "Own"),
        (hooked, "hooks"),
        (torch.optim.Adam(weights, lr=torch.tensor(0.1)), "tensor"),
    ):
        reason = rule_of(optimizer)
        assert isinstance(reason, str)
        assert words in reason
