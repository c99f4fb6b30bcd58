"""Optimizers are stepped, made and read as torch does it, without its compiler being loaded."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright import optim
from netwright.optim import bring_state, optimizer_names, take_step

OTHERS = {"LBFGS", "SparseAdam", "Muon"}  # which want a closure, sparse gradients, matrices
NOBODY = "a module that nobody has"


@pytest.mark.parametrize("name", sorted(set(optimizer_names()) - OTHERS))
def test_a_step_is_torchs_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, where torch's compiler is not there; grad mode is as before."""
    monkeypatch.setattr(optim, "COMPILER", NOBODY)
    torch.manual_seed(0)
    start, kind = torch.randn(5, 4), optimizer_names()[name]
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    one, other = kind([mine]), kind([theirs])  # type: ignore[call-arg]
    for _ in range(3):
        mine.grad = torch.randn(5, 4)
        theirs.grad = mine.grad.clone()
        take_step(one)
        other.step()
    assert torch.equal(mine, theirs)
    assert not torch.equal(mine, start)
    assert torch.is_grad_enabled()


def test_a_step_with_a_closure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "COMPILER", NOBODY)
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [torch.optim.LBFGS([one]) for one in weights]

    def loss_of(weight: nn.Parameter) -> torch.Tensor:
        weight.grad = None
        loss = ((weight - torch.arange(3.0)) ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    found = take_step(optimizers[0], lambda: loss_of(weights[0]))
    assert torch.equal(found, optimizers[1].step(lambda: loss_of(weights[1])))
    assert torch.equal(*weights)


def test_a_step_that_fails_leaves_grad_mode_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "COMPILER", NOBODY)

    def fail() -> float:
        raise ValueError("of the closure")

    with pytest.raises(ValueError, match="of the closure"):
        take_step(torch.optim.LBFGS([nn.Parameter(torch.ones(3))]), fail)
    assert torch.is_grad_enabled()


def test_an_optimizers_state_stays_where_it_is() -> None:
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.ones(3))])
    before = [one["sum"] for one in optimizer.state.values()]
    bring_state(optimizer)
    assert [one["sum"] is held for one, held in zip(optimizer.state.values(), before, strict=True)] == [True]


def test_what_an_optimizer_of_ones_own_keeps_is_left_to_it() -> None:
    class Counting(torch.optim.SGD):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, lr=0.1)
            self.state["updates"] = 0  # type: ignore[index]

        def step(self, closure: Any = None) -> Any:
            self.state["updates"] += 1  # type: ignore[index,operator]
            return super().step(closure)

    net, x = nn.Linear(4, 2), torch.randn(64, 4)
    optimizer = Counting(net.parameters())
    for _ in nw.training_steps(net, (x, (x[:, 0] > 0).long()), optimizer=optimizer, batch_size=16, epochs=1):
        pass
    assert optimizer.state["updates"] == 3  # type: ignore[index,comparison-overlap]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_an_optimizers_state_follows_its_parameters() -> None:
    """Adagrad has one from the start, made where the parameters were then."""
    net = nn.Linear(4, 2)
    x = torch.randn(64, 4)
    optimizer = torch.optim.Adagrad(net.parameters())
    for _ in nw.training_steps(net, (x, (x[:, 0] > 0).long()), optimizer=optimizer, batch_size=16, device="cuda"):
        pass
    assert {one["sum"].device.type for one in optimizer.state.values()} == {"cuda"}


def test_nothing_is_left_in_torch() -> None:
    """In a process of its own: where torch's compiler is loaded, nothing is put there at all."""
    told = run(
        """
        import torch
        from netwright import optim
        def marked():
            return [hasattr(one, optim.KEPT_AS) for one in optim._left_out()]
        print(marked())
        with optim.compiler_spared():
            with optim.compiler_spared():
                torch.optim.SGD([torch.nn.Parameter(torch.ones(3))])
            print(marked())
        print(marked())
        """
    )
    assert told.splitlines() == [str([value] * 4) for value in (False, True, False)], "or torch has others now"


def test_a_step_that_calls_another_ones_is_known() -> None:
    told = run(
        """
        import torch
        from netwright.optim import compiler_spared, needs_compiler
        class Own(torch.optim.Adam):
            def step(self, closure=None):
                return super().step(closure)
        weight = torch.nn.Parameter(torch.ones(3))
        with compiler_spared():
            print([needs_compiler(kind([weight])) for kind in (torch.optim.Adam, torch.optim.SGD, Own)])
        """
    )
    assert told.splitlines() == ["[False, False, True]"]


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def test_the_compiler_is_not_loaded_and_works_afterwards() -> None:
    told = run(
        """
        import sys, torch
        from netwright.optim import bring_state, compiler_spared, take_step
        weight = torch.nn.Parameter(torch.ones(3))
        with compiler_spared():
            optimizer = torch.optim.AdamW([weight], lr=0.1)
            weight.grad = torch.ones(3)
            take_step(optimizer)
            optimizer.load_state_dict(optimizer.state_dict())
            optimizer.zero_grad()
        print("torch._dynamo" in sys.modules, weight.grad)
        @torch.compile(backend="eager")
        def update(x):
            optimizer.zero_grad()
            (weight * x).sum().backward()
            optimizer.step()
        update(torch.ones(3))
        optimizer.zero_grad()
        other = torch.nn.Parameter(torch.ones(3))
        plain = torch.optim.AdamW([other], lr=0.1)
        for _ in range(2):
            other.grad = torch.ones(3)
            plain.step()
        print(torch.allclose(weight, other), weight.grad)
        """
    )
    assert told.splitlines() == ["False None", "True None"]


@pytest.mark.parametrize("plan", ["auto", "eager"])
def test_a_training_loads_no_compiler(plan: str, tmp_path: Path) -> None:
    """With its checks, a plan of its own, its checkpoints and its evaluation; nor does a check by itself."""
    told = run(
        f"""
        import sys, numpy as np, torch
        from torch import nn
        import netwright as nw
        x = np.random.default_rng(0).normal(size=(4000, 20)).astype("float32")
        data = nw.load((x, (x[:, 0] > 0).astype("int64")))
        net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
        nw.check(net, data)
        run = nw.train(net, data, run={str(tmp_path / "run")!r}, epochs=20, batch_size=16, plan={plan!r}, report=False,
                       device="cpu")
        print("torch._dynamo" in sys.modules, nw.evaluate(run, model=net, data=data).score("accuracy").value > 0.9)
        """
    )
    assert told.splitlines()[-1] == "False True"
