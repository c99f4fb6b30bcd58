"""Running sums: what waits is there for whoever reads them, and comes out to the bit as if nothing had waited."""

from __future__ import annotations

import torch
from torch import Tensor

from netwright.sums import WAITING, Sums
from netwright.tasks import Running

CPU = torch.device("cpu")


def tally(outputs: Tensor, targets: Tensor) -> Running:
    """Right answers."""
    return {"accuracy": ((outputs.argmax(1) == targets).sum(), len(targets))}


def batches(count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Losses, outputs and targets, the last batch smaller."""
    generator = torch.Generator().manual_seed(0)
    sizes = [8] * (count - 1) + [5]
    return [
        (torch.rand((), generator=generator), torch.randn(n, 3, generator=generator), torch.arange(n) % 3)
        for n in sizes
    ]


def test_what_waits_is_read_as_if_it_had_not_waited() -> None:
    """Read after any number of batches, also within those that wait; each reading goes on from there."""
    late, plain = Sums.zero(CPU), Sums.zero(CPU)
    for place, (loss, outputs, targets) in enumerate(batches(2 * WAITING + 3)):
        late.update(loss, len(targets), {})
        late.later(outputs, targets, tally)
        plain.loss.add_(float(loss) * len(targets))
        plain.count.add_(len(targets))
        for mine, more in zip(plain.held("accuracy"), tally(outputs, targets)["accuracy"], strict=True):
            mine.add_(more)
        if place in (0, 7, WAITING, WAITING + 1):
            assert late.copied().means() == plain.means()
    assert torch.equal(late.loss, plain.loss)
    assert torch.equal(late.count, plain.count)
    assert late.means() == plain.means()
    assert late.metrics.keys() == {"accuracy"}


def test_others_may_write_into_the_tensors_once_it_is_settled() -> None:
    """As a compiled update does between two plain ones."""
    sums = Sums.zero(CPU)
    loss, total = sums.loss, sums.held("accuracy")[0]
    sums.update(torch.tensor(0.5), 4, {})
    sums.later(torch.eye(3), torch.arange(3), tally)
    sums.settle()
    loss += 1.0
    total += 2.0
    sums.update(torch.tensor(0.25), 4, {"accuracy": (torch.tensor(1), 4)})
    assert sums.loss is loss
    assert loss.item() == 0.5 * 4 + 1.0 + 0.25 * 4
    assert sums.held("accuracy")[0] is total
    assert total.item() == 3 + 2 + 1


def test_sums_that_are_taken_over() -> None:
    """In the same tensors, with what waited on either side."""
    sums, other = Sums.zero(CPU), Sums.zero(CPU)
    sums.later(torch.eye(3), torch.arange(3), tally)
    other.update(torch.tensor(2.0), 3, {})
    other.later(torch.eye(3), torch.zeros(3, dtype=torch.int64), tally)
    held = sums.held("accuracy")
    sums.take(other)
    assert sums.held("accuracy")[0] is held[0]
    assert sums.means() == other.means() == (2.0, {"accuracy": 1 / 3})
