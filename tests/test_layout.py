"""Pictures lie channels last only where the module takes them so; freed memory is kept while a network runs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.allocation import VARIABLES, can_keep
from netwright.batch import Batch
from netwright.binding import bind
from netwright.data.batches import eval_batches
from netwright.given import Given
from netwright.inference import fast_layout, predict_split
from netwright.layout import channels_last, takes_channels_last
from netwright.records import Settings
from netwright.session import prepare


class Views(nn.Module):
    """Asks for a view of what a convolution gives, as many scripts do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)
        self.out = nn.Linear(8 * 4 * 4, 10)

    def behind(self, x: Tensor) -> Tensor:
        """Pictures (B, 8, 4, 4) to rows."""
        return x.view(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 1, 8, 8) to logits (B, 10)."""
        return self.out(self.behind(self.second(self.first(x).relu()).relu()))


class Flattens(Views):
    """Does not care how pictures lie."""

    def behind(self, x: Tensor) -> Tensor:
        """Pictures (B, 8, 4, 4) to rows."""
        return x.flatten(1)


class Peeks(Views):
    """Takes numbers as they lie, so that another layout gives another answer without an error."""

    def behind(self, x: Tensor) -> Tensor:
        """Pictures (B, 8, 4, 4) to rows, as they lie in memory."""
        return torch.as_strided(x, (len(x), 128), (128, 1))


@pytest.mark.parametrize(
    ("kind", "layout"), [(Flattens, "channels_last"), (Views, "contiguous"), (Peeks, "contiguous")]
)
def test_a_layout_is_used_where_the_module_takes_it(kind: type[Views], layout: str) -> None:
    """A view behind a convolution trains as by hand, and the plan says how pixels lie."""
    data = nw.load("digits")
    session = prepare(kind(), data, Settings(epochs=1), Given())
    chosen = next(one for one in session.plan.choices if one.name == "memory_format")
    assert chosen.value == layout
    assert ("x.view" in chosen.reason) == (layout == "contiguous")
    last = [step.loss for step in nw.training_steps(kind(), data, epochs=1, batch_size=256)][-1]
    assert last is not None
    assert torch.isfinite(last)


@pytest.mark.parametrize(
    ("channels", "convolution", "layout"),
    [
        (3, {"kernel_size": 8, "stride": 8}, "contiguous"),
        (3, {"kernel_size": 3, "padding": 1}, "channels_last"),
        (1, {"kernel_size": 8, "stride": 8}, "channels_last"),
    ],
)
def test_pictures_are_turned_where_enough_is_done_with_them(
    channels: int, convolution: dict[str, int], layout: str
) -> None:
    """Of several channels, and little is made of them: they stay as they come. The module keeps no hook."""
    pictures, labels = torch.randn(8, channels, 16, 16), torch.arange(8) % 2
    net = nn.Sequential(nn.Conv2d(channels, 64, **convolution), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))  # type: ignore[arg-type]
    session = prepare(net, nw.load((pictures, labels), val_fraction=0, test_fraction=0), Settings(epochs=1), Given())
    chosen = next(one for one in session.plan.choices if one.name == "memory_format")
    assert chosen.value == layout
    assert ("so little" in chosen.reason) == (layout == "contiguous")
    assert not any(one._forward_hooks for one in net.modules())
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last) == (
        layout == "channels_last" or channels == 1
    )


class Masked(nn.Conv2d):
    """A convolution that answers two things."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Pictures, and where they are."""
        return super().forward(x), x.ne(0)


class OfMasked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = Masked(3, 8, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x)[0].mean((2, 3)))


def test_a_convolution_may_answer_more_than_pictures() -> None:
    data = nw.load((torch.randn(8, 3, 16, 16), torch.arange(8) % 2), val_fraction=0, test_fraction=0)
    assert prepare(OfMasked(), data, Settings(epochs=1), Given()).plan["memory_format"] in (
        "channels_last",
        "contiguous",
    )


@pytest.mark.parametrize("kind", [Flattens, Views])
def test_evaluation_answers_as_a_loop_by_hand(kind: type[Views]) -> None:
    """To a rounding; and the module's parameters lie after as they lay before."""
    torch.manual_seed(0)
    data, net = nw.load("digits"), kind()
    before = [(one.data_ptr(), one.stride()) for one in net.parameters()]
    _, found = predict_split(net, data, "test")
    assert [(one.data_ptr(), one.stride()) for one in net.parameters()] == before
    with torch.no_grad():
        parts = [net(*batch.inputs.values()) for batch in eval_batches(data, "test", batch_size=50, workers=0)]
    torch.testing.assert_close(torch.from_numpy(found.probs), torch.cat(parts).softmax(1), rtol=1e-4, atol=1e-5)


def test_a_layout_is_inside_only_and_of_kernels_only() -> None:
    """Where it fails too."""
    net = Flattens()
    strides = [one.stride() for one in net.parameters()]
    with pytest.raises(ValueError, match="inside"), channels_last(net):
        assert net.second.weight.is_contiguous(memory_format=torch.channels_last)
        raise ValueError("inside")
    assert [one.stride() for one in net.parameters()] == strides


def test_trying_a_layout_draws_the_same_for_both() -> None:
    """A module that draws in eval mode too is compared with the same numbers, and none is drawn for the evaluation."""

    class Noisy(Flattens):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(len(x), 10)

    net, batch = Noisy().eval(), Batch({"x": torch.rand(4, 1, 8, 8)}, None, torch.arange(4))
    assert takes_channels_last(net, bind(net, ("x",)), batch)
    with fast_layout(net, bind(net, ("x",)), batch, torch.device("cpu")):
        assert net.second.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_allocator_that_is_set_is_left_alone() -> None:
    """By its variables, or by glibc's tunables."""
    for env in (*({name: "1"} for name in VARIABLES), {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"}):
        assert not can_keep(env)


@pytest.mark.skipif(not can_keep({}), reason="the allocator is not glibc's")
def test_kept_memory_is_not_fetched_anew() -> None:
    """Blocks of 8 MB that are freed and taken again: nearly no page is fetched while memory is kept."""
    code = """
import resource, torch
from netwright.allocation import memory_kept
def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [torch.ones(2**21) for _ in range(8)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with memory_kept("cpu"):
    fetched()
    print(fetched())
print(fetched())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    kept, returned = map(int, done.stdout.split())
    assert kept * 10 < returned
