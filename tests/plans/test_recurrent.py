"""The plan that does LSTM and GRU layers by kernels made for this processor."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright import native
from netwright.plans import recurrent_kernels
from netwright.plans.choosing import candidates, choose
from netwright.plans.comparing import copied, threads_as_before, try_plan
from netwright.plans.kernels import kernels
from netwright.plans.operations import NoProgramError
from netwright.plans.recurrent import Layers
from netwright.randomness import random_state, set_random_state
from netwright.step import train_step
from plans.states import of_pictures

compiled_here = pytest.mark.skipif(not any(map(shutil.which, native.COMPILERS)), reason="no C++ compiler is here")
Kind = type[nn.LSTM] | type[nn.GRU]
both_kinds = pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])


def results(net: nn.RNNBase, given: tuple[Tensor, ...], *, own: bool, dtype: torch.dtype) -> list[Tensor]:
    """Outputs, last states and all gradients, in float64."""
    net, leaves = net.to(dtype), [one.detach().to(dtype).requires_grad_() for one in given]
    net.zero_grad()
    layers = Layers()
    with layers if own else contextlib.nullcontext():
        first = leaves[1:] if isinstance(net, nn.LSTM) else leaves[1]
        outputs, last = net(leaves[0], tuple(first) if isinstance(first, list) else first)
    assert layers.done == own
    found = [outputs, *(last if isinstance(last, tuple) else (last,))]
    torch.manual_seed(1)
    torch.autograd.backward(found, [torch.randn(one.shape).to(dtype) for one in found])
    gradients = [one.grad for one in (*leaves, *net.parameters())]
    return [one.detach().double().clone() for one in (*found, *gradients)]


def given_to(net: nn.RNNBase, rows: int, steps: int, scale: float = 1.0) -> tuple[Tensor, ...]:
    shape = (rows, steps) if net.batch_first else (steps, rows)
    first = (net.num_layers * (2 if net.bidirectional else 1), rows, net.hidden_size)
    x = torch.randn(*shape, net.input_size) * scale
    return (x, *(torch.randn(first) for _ in range(2 if isinstance(net, nn.LSTM) else 1)))


@compiled_here
@both_kinds
@pytest.mark.parametrize(
    "sizes,rows,steps,options",
    [
        ((8, 64), 32, 20, {"batch_first": True}),
        ((5, 13), 13, 9, {"bidirectional": True, "num_layers": 2}),
        ((5, 70), 1, 1, {"batch_first": True, "bidirectional": True, "bias": False}),
        ((1, 1), 3, 4, {"num_layers": 3}),
    ],
)
def test_layers_are_torchs_to_a_rounding(
    kind: Kind, sizes: tuple[int, int], rows: int, steps: int, options: dict[str, Any]
) -> None:
    """Forward and each gradient, of first states too, are about as far from float64 as torch's own float32."""
    torch.manual_seed(0)
    net = kind(*sizes, **options)
    given = given_to(net, rows, steps)
    with threads_as_before():
        torch.set_num_threads(3)
        found = results(net, given, own=True, dtype=torch.float32)
    own = results(net, given, own=False, dtype=torch.float32)
    true = results(net, given, own=False, dtype=torch.float64)
    for value, other, exact in zip(found, own, true, strict=True):
        size = float(exact.norm()) + 1e-12
        assert float((value - exact).norm()) <= 1e-6 * size + 3 * float((other - exact).norm())


@compiled_here
@both_kinds
def test_parts_of_a_batch_are_the_whole_to_a_rounding(kind: Kind) -> None:
    """Large enough that several threads share it, in parts that differ in size."""
    torch.manual_seed(0)
    net = kind(8, 48, batch_first=True)
    given = given_to(net, 35, 30)
    found = []
    with threads_as_before():
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert recurrent_kernels._parts(35, 2.0 * 35 * 30 * 3 * 48 * 48) == threads
            found.append(results(net, given, own=True, dtype=torch.float32))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@compiled_here
@both_kinds
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 100.0, -100.0, 1e30])
def test_what_is_no_number_or_saturates_comes_out_as_torchs(kind: Kind, wrong: float) -> None:
    """NaN stays in its own sequence, and only there; gates that are full or shut have torch's values."""
    torch.manual_seed(0)
    net = kind(3, 18, batch_first=True)
    given = given_to(net, 4, 5)
    given[0][1, 2] = wrong
    found, own = (results(net, given, own=kernel, dtype=torch.float32) for kernel in (True, False))
    for value, other in zip(found[:2], own[:2], strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-6, equal_nan=True)
    for value, other in zip(found[2:], own[2:], strict=True):
        assert torch.equal(value.isfinite().all(), other.isfinite().all())
        if abs(wrong) == 100:
            torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5)


class Steps(nn.Module):
    """Layers over rows as steps, with dropout between them; the last state alone is used."""

    def __init__(self, kind: Kind, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(24, 6, batch_first=True, **options)
        self.out = nn.Linear(12 if self.rnn.bidirectional else 6, 3)
        self.mean = bool(options)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        states = self.rnn(x.transpose(1, 2).flatten(2))[0]
        return self.out(states.mean(1) if self.mean else states[:, -1])


class NoSteps(nn.Linear):
    """No recurrent layer."""

    def __init__(self) -> None:
        super().__init__(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        return super().forward(x.flatten(1))


@compiled_here
@both_kinds
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "dropout": 0.3, "bidirectional": True}])
def test_updates_are_the_plain_ones_to_a_rounding(kind: Kind, options: dict[str, Any]) -> None:
    """Weights and losses; draws to the bit; a batch of another size, one of NaN, and weights that were loaded."""
    torch.manual_seed(0)
    plain, batches = of_pictures(Steps(kind, **options), size=16, on_nonfinite="skip", max_grad_norm=0.5)
    other = copied(plain)
    other.program = kernels(plain, batches[0])()
    assert "kernels_forward" in other.program.graph.code and "netwright.recurrent" not in other.program.graph.code
    batches[2].inputs[next(iter(batches[2].inputs))][0] = float("nan")
    drawn, found, after = random_state(plain.device), [], []
    loaded = {name: value * 0.9 for name, value in plain.model.state_dict().items()}
    for state in (plain, other):
        set_random_state(drawn, state.device)
        losses = [train_step(state, batch) for batch in batches]
        state.model.load_state_dict(loaded)
        found.append([*losses, *(train_step(state, batch) for batch in batches)])
        after.append(torch.get_rng_state())
    assert torch.equal(*after)
    assert [one.finite for one in found[1]] == [True, True, False, True, True] * 2
    for one, two in zip(*found, strict=True):
        assert not one.finite or float(two.loss) == pytest.approx(float(one.loss), rel=1e-4)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


@compiled_here
def test_it_is_tried_as_other_plans_are() -> None:
    """And compared with the plain update."""
    state, batches = of_pictures(Steps(nn.GRU), size=16)
    _, measured, _ = try_plan(state, batches[:4], kernels)
    assert measured.apart < 1e-4


def test_it_is_a_plan_for_modules_that_have_such_layers() -> None:
    """Others are not told of it; of a GRU's update more is saved."""
    found = [candidates(*of_pictures(net, size=16)) for net in (Steps(nn.LSTM), Steps(nn.GRU), NoSteps())]
    assert ["kernels" in one for one in found] == [True, True, False]
    assert found[1]["kernels"].saves[2] > found[0]["kernels"].saves[2]


@compiled_here
@pytest.mark.parametrize("options", [{"proj_size": 3}, {"dtype": "bfloat16"}])
def test_what_the_kernels_cannot_do_is_left_to_torch(options: dict[str, Any]) -> None:
    """An LSTM with projections, or in another precision."""
    given = {"dtype": options.pop("dtype")} if "dtype" in options else {}
    net = Steps(nn.LSTM, **options)
    net.out = nn.Linear(net.rnn.proj_size or 6, 3)
    state, batches = of_pictures(net, size=16, **given)
    with pytest.raises(NoProgramError, match="no LSTM or GRU is called"):
        kernels(state, batches[0])


@compiled_here
def test_sizes_that_do_not_belong_together_are_refused() -> None:
    """The kernels look at no size."""
    x, h = torch.zeros(2, 3, 4), torch.zeros(3, 5)
    with pytest.raises(ValueError, match=r"float32 \(20, 4\) here, got torch.float32 \(19, 4\)"):
        recurrent_kernels.forward(x, torch.zeros(19, 4), torch.zeros(20, 5), torch.zeros(20), h, h, False)


@pytest.fixture
def _anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, and nothing loaded."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    recurrent_kernels.library.cache_clear()
    native.MADE.clear()
    yield tmp_path
    recurrent_kernels.library.cache_clear()
    native.MADE.clear()


def test_without_a_compiler_the_plain_update_goes_on(_anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the plan says why."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    state, batches = of_pictures(Steps(nn.LSTM), size=16)
    chosen = choose(state, batches[:4], steps=10**6, asked="kernels")
    assert chosen.program is None
    assert "there is no C++ compiler" in chosen.choice.reason
