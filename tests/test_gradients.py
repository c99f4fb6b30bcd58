"""Gradients that are not finite are found, and looking for them changes none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.gradients import SMALL, Gradients

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
