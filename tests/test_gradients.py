"""Gradients that are not finite are found, and looking for them changes none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.gradients import SMALL, Gradients
from netwright.optim import take_step

SIZES = ((3,), (8, 8), (SMALL + 1,), ())


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """Small and large ones, with gradients; one without."""
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in SIZES]
    for one in made:
        one.grad = torch.randn(one.shape, generator=generator).to(dtype)
    return [*made, nn.Parameter(torch.zeros(2, dtype=dtype))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(len(SIZES)))
def test_one_number_that_is_not_finite_is_found(place: int, value: float, dtype: torch.dtype) -> None:
    """In a gradient of any size and kind; and the next look is not misled by it."""
    made = parameters(dtype)
    gradients = Gradients(made)
    assert gradients.finite()
    kept = made[place].grad
    assert kept is not None
    spoilt = kept.clone()
    spoilt.view(-1)[-1] = value
    made[place].grad = spoilt
    assert not gradients.finite()
    made[place].grad = kept
    assert gradients.finite()


def test_looking_changes_no_bit() -> None:
    """Neither negative zeros nor the smallest numbers."""
    one = nn.Parameter(torch.zeros(4))
    one.grad = torch.tensor([-0.0, 1e-45, -3e38, 1.5])
    before = one.grad.view(torch.int32).clone()
    assert Gradients([one]).finite()
    assert torch.equal(one.grad.view(torch.int32), before)


def test_infinities_that_cancel_and_sums_that_overflow() -> None:
    """A sum is only the first look: what is finite stays so, and what is not is found."""
    one = nn.Parameter(torch.zeros(SMALL * 2, dtype=torch.float16))
    one.grad = torch.full_like(one, 60.0)  # the sum is beyond float16
    assert not math.isfinite(one.grad.sum().item())
    assert Gradients([one]).finite()
    one.grad[0], one.grad[1] = math.inf, -math.inf
    assert not Gradients([one]).finite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("count", [3, SMALL * 2])
@pytest.mark.parametrize("few", [True, False])
def test_the_largest_numbers_are_finite(*, few: bool, count: int, dtype: torch.dtype) -> None:
    """Whose sum and whose norm are not; and an infinity among them is found."""
    huge = nn.Parameter(torch.zeros(count, dtype=dtype))
    others = [nn.Parameter(torch.zeros(size)) for size in ((SMALL + 1,) if few else (2,) * 9)]
    for one in others:
        one.grad = torch.zeros_like(one)
    huge.grad = torch.full_like(huge, torch.finfo(dtype).max)
    gradients = Gradients([huge, *others])
    assert not math.isfinite(huge.grad.sum().item())
    assert gradients.finite()
    huge.grad[count // 2] = -math.inf
    assert not gradients.finite()


@pytest.mark.parametrize("beside", [1, SMALL * 2])
def test_nothing_is_missed_at_any_place(beside: int) -> None:
    """Of few small gradients beside large ones, which are looked at otherwise; and what is finite passes after."""
    made = [nn.Parameter(torch.zeros(size)) for size in (5, 64, beside)]
    for one in made:
        one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    gradients = Gradients(made)
    for one in made:
        assert one.grad is not None
        for place in {*range(0, one.numel(), 97), one.numel() - 1}:
            kept = one.grad[place].item()
            for value in (math.nan, math.inf, -math.inf):
                one.grad[place] = value
                assert not gradients.finite()
            one.grad[place] = kept
    assert gradients.finite()


def test_gradients_of_other_layouts_and_kinds() -> None:
    """Channels last, with gaps, complex, empty."""
    pictures = nn.Parameter(torch.zeros(8, 32, 5, 5))
    pictures.grad = torch.zeros(8, 32, 5, 5).to(memory_format=torch.channels_last)
    gaps = nn.Parameter(torch.zeros(SMALL, 2))
    gaps.grad = torch.zeros(SMALL, 5)[:, ::3]
    waves = nn.Parameter(torch.zeros(SMALL * 2, dtype=torch.complex64))
    waves.grad = torch.zeros_like(waves)
    empty = nn.Parameter(torch.zeros(0, 3))
    empty.grad = torch.zeros(0, 3)
    made = [pictures, gaps, waves, empty]
    gradients = Gradients(made)
    assert gradients.finite()
    for one in made[:-1]:
        assert one.grad is not None
        one.grad[-1] = math.nan
        assert not gradients.finite()
        one.grad[-1] = 0
    waves.grad[7] = complex(0, math.inf)
    assert not gradients.finite()
    waves.grad[7] = 0
    assert gradients.finite()


def test_clipping_is_torchs_own_and_looks_at_the_same_norm() -> None:
    """Weights after some updates are those of ``clip_grad_norm_``; an infinite gradient changes none."""
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = nw.load((inputs, (inputs[:, 0] > 0).long()), val_fraction=0, test_fraction=0)
    model, other = nn.Linear(4, 2), nn.Linear(4, 2)
    other.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(other.parameters(), lr=1.0)
    options = {"optimizer": "SGD", "lr": 1.0, "batch_size": 8, "epochs": 1, "max_grad_norm": 0.1}
    for step in nw.training_steps(model, data, **options):
        optimizer.zero_grad()
        batch = step.batch
        nn.functional.cross_entropy(other(next(iter(batch.inputs.values()))), batch.target).backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.1)
        optimizer.step()
        assert torch.equal(model.weight, other.weight)
    before = model.weight.detach().clone()
    handle = model.weight.register_hook(lambda gradient: gradient * math.inf)
    for _ in nw.training_steps(model, data, **options, on_nonfinite="skip"):
        assert torch.equal(model.weight, before)
    handle.remove()


def test_a_step_is_taken_with_whatever_stands_around_it() -> None:
    """Hooks of an optimizer, a step of one's own, a scheduler's: each is called; weights move as by ``step``."""
    weight, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    weight.grad, other.grad = torch.ones(3), torch.ones(3)
    mine, theirs = torch.optim.AdamW([weight]), torch.optim.AdamW([other])
    take_step(mine)
    theirs.step()
    assert torch.equal(weight, other)
    assert torch.is_grad_enabled()
    told: list[str] = []
    handle = mine.register_step_pre_hook(lambda *given: told.append("before"))
    take_step(mine)
    handle.remove()
    handle = mine.register_step_post_hook(lambda *given: told.append("after"))
    take_step(mine)
    handle.remove()
    whole = mine.step
    mine.step = lambda: (told.append("own"), whole())  # type: ignore[method-assign]
    take_step(mine)
    assert told == ["before", "after", "own"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        take_step(theirs)
    assert any(event.key == "Optimizer.step#AdamW.step" for event in seen.key_averages())


def test_sparse_gradients() -> None:
    """Of a table, of which an update touches some rows."""
    table = nn.Embedding(SMALL, 4, sparse=True)
    table(torch.tensor([1, 5])).sum().backward()
    gradients = Gradients(table.parameters())
    assert gradients.finite()
    table.weight.grad = None
    (table(torch.tensor([1, 5])) * math.nan).sum().backward()
    assert not gradients.finite()


def test_no_gradient_at_all_is_finite() -> None:
    """As of a frozen module."""
    assert Gradients([nn.Parameter(torch.zeros(3))]).finite()


def test_gradients_that_no_optimizer_takes_do_not_add_up() -> None:
    """Here the optimizer has the head alone; clipping would count the body's sums, and shrink the head's updates."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = nw.load((inputs, (inputs[:, 0] > 0).long()), val_fraction=0, test_fraction=0)
    head = torch.optim.SGD(model[1].parameters(), lr=0.0)
    *_, last = nw.training_steps(model, data, optimizer=head, batch_size=8, epochs=1, max_grad_norm=1e9)
    loss = nn.functional.cross_entropy(model(next(iter(last.batch.inputs.values()))), last.batch.target)
    (wanted,) = torch.autograd.grad(loss, [model[0].weight])
    torch.testing.assert_close(model[0].weight.grad, wanted)
