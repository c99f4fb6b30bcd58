"""The plan whose optimizer moves all parameters by one kernel, and when it is taken."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import netwright as nw
from netwright.batch import Batch
from netwright.data.batches import train_batches
from netwright.given import Given
from netwright.plans.choosing import LEAST_GAIN, LEAST_GAIN_FUSED, Trials, choose
from netwright.plans.comparing import Measured, copied
from netwright.plans.fusing import Fused, fused
from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import like
from netwright.records import Settings
from netwright.session import prepare
from netwright.step import TrainState, train_step

CASES: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True}),
    (torch.optim.SGD, {"momentum": 0.8, "dampening": 0.3}),
    (torch.optim.Adam, {"weight_decay": 0.1, "amsgrad": True, "betas": (0.7, 0.9), "eps": 1e-3}),
    (torch.optim.AdamW, {"weight_decay": 0.3}),
    (torch.optim.AdamW, {"maximize": True}),
]


class Pictures(nn.Module):
    """A convolution whose kernels may lie channels last, and a parameter that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to logits (B, 2)."""
        return self.out(self.conv(x).relu().mean((2, 3)))


def made(optimizer: Any = None, **options: Any) -> tuple[TrainState, list[Batch]]:
    """A state on the CPU, and batches of 16 small pictures."""
    torch.manual_seed(0)
    pictures = torch.randn(96, 3, 6, 6)
    data = nw.load((pictures, (pictures.mean((1, 2, 3)) > 0).long()), val_fraction=0, test_fraction=0)
    options = {"device": "cpu", "batch_size": 16} | options
    session = prepare(Pictures(), data, Settings(**options), Given(optimizer=optimizer))
    session.model.train()
    return session.state, list(train_batches(data, batch_size=16, seed=0, epoch=0, augment=(), workers=0))


def test_all_parameters_are_moved_as_the_optimizer_moves_them() -> None:
    """Of each kind and option; also where a checkpoint brought the optimizer's state in another layout."""
    made_once, batches = made(torch.optim.SGD)
    for kind, options in CASES:
        model = copy.deepcopy(made_once.model)
        state = like(made_once, model, kind(model.parameters(), lr=0.01, **options))
        train_step(state, batches[0])
        other = copied(state)
        for held in other.optimizer.state.values():
            held |= {key: one.contiguous() for key, one in held.items() if isinstance(one, Tensor)}
        other.program = fused(other)()
        assert not other.model.conv.weight.is_contiguous()
        for batch in batches:
            train_step(state, batch)
            train_step(other, batch)
        for one, its in zip(state.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(its, one, atol=3e-6, rtol=3e-6)
            for name, value in state.optimizer.state[one].items():
                torch.testing.assert_close(other.optimizer.state[its][name], value, atol=3e-6, rtol=3e-6)


def test_checkpoints_are_those_of_the_plain_update() -> None:
    """The same options and names of state, so that either goes on with the other's."""
    state, batches = made()
    plain = copy.deepcopy(state)
    state.program = fused(state)()
    for batch in batches[:2]:
        train_step(state, batch)
        train_step(plain, batch)
    one, other = state.optimizer.state_dict(), plain.optimizer.state_dict()
    assert one["param_groups"] == other["param_groups"]
    assert {key: held.keys() for key, held in one["state"].items()} == {
        key: held.keys() for key, held in other["state"].items()
    }


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (torch.optim.RMSprop, "no fused kernel for RMSprop"),
        (lambda all: torch.optim.AdamW(all, fused=True), "already"),
    ],
)
def test_what_cannot_be_fused_is_said(optimizer: Any, words: str) -> None:
    """And the run goes on with the plain update."""
    state, batches = made(optimizer)
    with pytest.raises(NoProgramError, match=words):
        fused(state)
    chosen = choose(state, batches, steps=100, asked="fused")
    assert (chosen.program, chosen.choice.value) == (None, "eager")
    assert words in chosen.choice.reason


def test_parameters_with_gaps_are_left_to_the_optimizer() -> None:
    """The kernel would take what lies in the gaps for theirs."""
    state, batches = made()
    state.model.unused = nn.Parameter(torch.ones(3, 2)[:, 0])  # type: ignore[assignment]
    state.optimizer.add_param_group({"params": [state.model.unused]})
    with pytest.raises(NoProgramError, match="gaps"):
        fused(state)


@pytest.mark.parametrize(
    ("fused_ms", "compiled_ms", "taken"),
    [
        (1 - LEAST_GAIN_FUSED + 0.01, 1.2, "eager"),
        (1 - LEAST_GAIN_FUSED - 0.01, 1.2, "fused"),
        (0.8, 0.8 * (1 - LEAST_GAIN) + 0.01, "fused"),
        (0.8, 0.8 * (1 - LEAST_GAIN) - 0.01, "compiled"),
    ],
)
def test_the_faster_plan_is_taken_where_it_is_faster_by_its_margin(
    fused_ms: float, compiled_ms: float, taken: str
) -> None:
    """Over what was found before, so that no clock is asked; the reason tells both times."""
    state, batches = made()
    new = fused(state)
    trials = Trials(plain=1e-3, done={"recorded": NoProgramError("not here")})
    for name, found in (("fused", fused_ms), ("compiled", compiled_ms)):
        trials.done[name] = new, Measured(found * 1e-3, 1e-3), 1.0
    chosen = choose(state, batches, steps=10**9, asked="auto", trials=trials)
    assert chosen.choice.value == taken
    assert " an update instead of 1 ms" in chosen.choice.reason
    assert not chosen.choice.asked
    assert choose(state, batches, steps=10**9, asked="eager", trials=trials).program is None


def of_changing_size(optimizer: Any = None) -> tuple[TrainState, list[Batch]]:
    """As ``made``, with pictures of another size in each batch."""
    state, batches = made(optimizer)
    for place, batch in enumerate(batches):
        (name,) = batch.inputs
        batch.inputs[name] = nn.functional.interpolate(batch.inputs[name], size=6 + place)
    return state, batches


def test_batches_that_differ_in_shape_leave_the_plan_that_calls_the_module() -> None:
    """It does the plain update of each, all but its kernel's roundings; others are refused with the reason."""
    state, batches = of_changing_size()
    chosen = choose(state, batches, steps=100, asked="fused")
    assert chosen.choice.value == "fused"
    plain, other = copied(state), copied(state)
    other.program = chosen.program
    for batch in batches:
        for one in (plain, other):
            train_step(one, batch)
    for one, two in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    refused = choose(state, batches, steps=100, asked="recorded").choice
    assert (refused.value, "batches differ in shape" in refused.reason) == ("eager", True)
    trials = Trials(plain=1e-3, done={"fused": (fused(state), Measured(5e-4, 1e-3), 1.0)})
    found = choose(state, batches, steps=10**9, asked="auto", trials=trials).choice
    assert found.value == "fused"
    assert found.reason.endswith("no other plan: batches differ in shape")
    assert choose(*of_changing_size(torch.optim.RMSprop), steps=10**9, asked="auto").choice.value == "eager"


def test_hooks_are_called_as_before_and_never_to_try_a_plan() -> None:
    """Of the module and of a gradient, once an update: they may reach what is no part of a copy."""
    state, batches = made()
    called: list[str] = []
    state.model.conv.register_forward_hook(lambda *given: called.append("forward"))  # type: ignore[operator]
    state.model.out.register_full_backward_hook(lambda *given: called.append("backward"))  # type: ignore[operator]
    state.model.out.weight.register_hook(lambda gradient: called.append("gradient"))  # type: ignore[operator]
    refused = choose(state, batches, steps=100, asked="recorded").choice
    assert (refused.value, "the module has hooks" in refused.reason) == ("eager", True)
    few = choose(state, batches, steps=100, asked="auto").choice
    assert (few.value, few.reason.startswith("the module has hooks; 100 updates")) == ("eager", True)
    chosen = choose(state, batches, steps=10**9, asked="auto")
    assert chosen.choice.value == "fused"
    assert chosen.choice.reason.startswith("the optimizer's step takes ")
    assert chosen.choice.reason.endswith("no other plan: the module has hooks")
    assert called == []
    state.program = chosen.program
    train_step(state, batches[0])
    assert isinstance(state.program, Fused)
    assert sorted(called) == ["backward", "forward", "gradient"]


def test_hooks_of_the_step_are_called_also_where_they_come_late() -> None:
    """Those that are there before leave the optimizer's own step."""
    state, batches = made()
    state.program = fused(state)()
    train_step(state, batches[0])
    called: list[str] = []
    handle = register_optimizer_step_post_hook(lambda *given: called.append("step"))
    try:
        train_step(state, batches[1])
        assert called == ["step"]
        with pytest.raises(NoProgramError, match="step has hooks"):
            fused(state)
    finally:
        handle.remove()
    state.optimizer.step = types.MethodType(type(state.optimizer).step, state.optimizer)  # type: ignore[method-assign]
    fused(state)  # which is the same one
    state.optimizer.step = lambda closure=None: None  # type: ignore[assignment, method-assign]
    with pytest.raises(NoProgramError, match="one of your own"):
        fused(state)


def test_a_kernel_that_does_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a torch whose fused kernel went wrong."""
    state, batches = made(torch.optim.SGD)
    monkeypatch.setattr(torch, "_fused_sgd_", lambda parameters, *given, **options: parameters[0].add_(1.0))
    chosen = choose(state, batches, steps=10**9, asked="fused")
    assert (chosen.program, "parameters part by" in chosen.choice.reason) == (None, True)
