"""Convolutions of 3x3 by Winograd's algorithm, and the plan that has them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.native import COMPILERS, MADE
from netwright.plans import comparing
from netwright.plans.choosing import choose
from netwright.plans.comparing import copied, try_plan
from netwright.plans.kernels import kernels
from netwright.plans.operations import NoProgramError
from netwright.plans.winograd import ROUNDS, convolve, gradients
from netwright.records import Choice
from netwright.step import train_step
from plans.states import of_pictures

compiled_here = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler is here")
backward = torch.ops.aten.convolution_backward.default
made = partial(of_pictures, size=64)


class Pictures(nn.Module):
    """A convolution that reads three channels, one that gains, and one of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.third, self.out = nn.Conv2d(16, 8, 3, stride=2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        return self.out(self.third(self.second(self.first(x).relu()).relu()).amax((2, 3)))


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def far(one: Tensor, exact: Tensor) -> float:
    """Root of the mean square of the error, as a share of that of the exact numbers."""
    return float((one.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@compiled_here
@pytest.mark.parametrize(
    ("pictures", "channels", "outputs", "height", "width", "padding"),
    [
        (5, 16, 32, 13, 13, 0),
        (1, 8, 8, 3, 3, 0),  # a single output
        (2, 24, 40, 6, 11, 1),  # multiples of 8, not of 16; tiles that stand out
        (3, 32, 16, 4, 5, 2),
        (40, 64, 48, 8, 8, 1),
    ],
)
def test_results_and_gradients_are_those_of_the_definition(
    threads: int, pictures: int, channels: int, outputs: int, height: int, width: int, padding: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    x, bias = draw(pictures, channels, height, width).relu(), draw(outputs)
    weight = draw(outputs, channels, 3, 3) / (9 * channels) ** 0.5
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=padding)
    gradient = draw(*exact.shape)
    rest = [outputs], [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [True] * 3
    own = F.conv2d(x, weight, bias, padding=padding), *backward(gradient, x, weight, *rest)
    right = exact, *backward(gradient.double(), x.double(), weight.double(), *rest)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, weight, gradient = (one.contiguous(memory_format=layout) for one in (x, weight, gradient))
        found = convolve(x, weight, bias, padding), *gradients(gradient, x, weight, padding, (True, True, True))
        assert found[2].is_contiguous(memory_format=layout)
        for one, torchs, true in zip(found, own, right, strict=True):
            assert one.shape == true.shape
            assert far(one, true) <= 1.25 * ROUNDS * max(far(torchs, true), 2e-7)
    torch.testing.assert_close(convolve(x, weight, None, padding) + bias[:, None, None], found[0])
    assert gradients(gradient, x, weight, padding, (False, False, False)) == (None, None, None)


@compiled_here
def test_what_is_no_number_comes_out_where_torch_has_it() -> None:
    x, weight = torch.ones(2, 8, 9, 9), torch.ones(8, 8, 3, 3)
    x[1, 3, 4, 4] = float("nan")
    found, torchs = convolve(x, weight, None, 1), F.conv2d(x, weight, padding=1)
    assert bool(found.isnan()[torchs.isnan()].all())
    assert bool(found[0].isfinite().all())  # other pictures are left alone


@compiled_here
def test_a_training_is_the_plain_one_within_its_tolerance() -> None:
    """The middle convolution is done so, forward and backward; the others stay torch's."""
    torch.manual_seed(0)
    plain, batches = made(Pictures())
    assert next(plain.model.parameters()).is_contiguous(memory_format=torch.channels_last)
    new, measured, _ = try_plan(plain, batches[:4], kernels)
    program = new()
    targets = [one.target for one in program.graph.graph.nodes]
    assert (targets.count(convolve), targets.count(gradients)) == (1, 1)
    assert sum("convolution" in str(one) for one in targets) == 4
    assert 0 < measured.apart < 1e-3
    other = copied(plain)
    other.program = program
    for batch in batches:  # the last is of another size
        losses = [float(train_step(state, batch).loss) for state in (plain, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    with torch.no_grad():  # a loop of one's own loads other weights
        halved = {name: value * 0.5 for name, value in plain.model.state_dict().items()}
        for state in (plain, other):
            state.model.load_state_dict(halved)
    losses = [float(train_step(state, batches[0]).loss) for state in (plain, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("net", "options", "why"),
    [
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, 3)), {}, "no convolution of 3x3, no LSTM"),
        (Pictures(), {"dtype": "bfloat16"}, "is in float32"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 3)), {}, "no convolution of 3x3, no LSTM"),
        (Pictures(), {"size": 16}, "large enough"),
    ],
)
def test_what_would_not_gain_is_refused(net: nn.Module, options: dict[str, Any], why: str) -> None:
    state, batches = made(net, **options)
    with pytest.raises(NoProgramError, match=why):
        kernels(state, batches[0])


@compiled_here
def test_a_plan_that_a_run_was_begun_with_is_not_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a resumed run might go on by another one, and not be the unbroken one to the bit."""
    state, batches = made(Pictures())
    for name in ("TOLERANCE", "LOSS_TOLERANCE", "NUDGED"):
        monkeypatch.setattr(comparing, name, 0.0)
    assert choose(state, batches, steps=1_000, asked="kernels").program is None
    begun = Choice(name="plan", value="kernels", reason="as it was chosen")
    chosen = choose(state, batches, steps=1_000, asked="kernels", begun=begun)
    assert chosen.program is not None
    assert chosen.choice == begun


def test_without_a_compiler_the_plain_update_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said why; and nothing was left that a later call would take for kernels."""
    from netwright.plans import winograd as module

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    MADE.clear()
    module._compiled.cache_clear()
    state, batches = made(Pictures())
    chosen = choose(state, batches, steps=1_000_000, asked="kernels")
    MADE.clear()
    assert chosen.program is None
    assert "no C++ compiler" in chosen.choice.reason
