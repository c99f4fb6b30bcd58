"""The plan that does forward and backward again from a list of torch's operations."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.given import Given
from netwright.plans.comparing import copied, try_plan
from netwright.plans.operations import NoProgramError
from netwright.plans.recording import recorded
from netwright.randomness import random_state, set_random_state
from netwright.step import train_step
from plans.states import of_pictures


class Pictures(nn.Module):
    """Normalisation with its buffers, dropout with its draws, and a pooling whose gradient comes back flat."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        x = F.max_pool2d(self.norm(self.conv(x)).relu(), 2)
        return self.out(F.dropout(x, 0.3, self.training).flatten(1))


class Steps(nn.Module):
    """A recurrent layer, over rows as steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(24, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        return self.out(self.rnn(x.transpose(1, 2).flatten(2))[0][:, -1])


class Shares(nn.Module):
    """Parameters that have one and the same gradient, one of them spread out of a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Parameter(torch.zeros(3)) for _ in range(3))
        self.out = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        return self.out(x.flatten(1)) + (self.first + self.second) + self.third.sum()


made = partial(of_pictures, size=16)


@pytest.mark.parametrize("make", [Pictures, Steps, Shares])
@pytest.mark.parametrize("options", [{"max_grad_norm": 0.05}, {"dtype": "bfloat16", "ema_decay": 0.9}])
def test_a_recorded_update_is_the_plain_one_to_the_bit(make: type[nn.Module], options: dict[str, Any]) -> None:
    """Weights, buffers, losses and sums; a batch of another size, and one whose loss is no number."""
    torch.manual_seed(0)
    plain, batches = made(make(), on_nonfinite="skip", **options)
    other = copied(plain)
    other.program = recorded(plain, batches[0])()
    batches[2].inputs[next(iter(batches[2].inputs))][0] = float("nan")
    drawn, results = random_state(plain.device), []
    for state in (plain, other):
        set_random_state(drawn, state.device)
        results.append([train_step(state, batch) for batch in batches])
    assert [one.finite for one in results[1]] == [True, True, False, True, True]
    assert [float(one.loss) for one in results[0] if one.finite] == [
        float(one.loss) for one in results[1] if one.finite
    ]
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)
    assert plain.sums.means() == other.sums.means()


def test_gradients_come_back_in_the_layout_of_what_they_are_of() -> None:
    """A pooling that ran channels last is not given a gradient channel after channel."""
    state, batches = made(Pictures())
    program = recorded(state, batches[0])()
    (pooling,) = [one for one in program.graph.graph.nodes if "max_pool2d_with_indices_backward" in str(one.target)]
    assert pooling.args[0].kwargs == {"memory_format": torch.channels_last}


def test_what_is_read_again_is_not_written_over() -> None:
    """A sum is added to in place where nobody else reads it, and not where it is multiplied later."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(192, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            once, twice = (self.first(x.flatten(1)) * weight for weight in (2, 3))
            return self.out(once.relu() + twice.relu() * twice[:, :1])

    state, batches = made(Reads())
    targets = [str(one.target) for one in recorded(state, batches[0])().graph.graph.nodes]
    assert [targets.count(f"aten.relu{over}.default") for over in ("_", "")] == [1, 1]


def test_each_parameter_has_a_gradient_of_its_own() -> None:
    """Else one that is clipped would be clipped twice."""
    state, batches = made(Shares())
    state.program = recorded(state, batches[0])()
    train_step(state, batches[1])
    places = [one.grad.untyped_storage().data_ptr() for one in state.model.parameters() if one.grad is not None]
    assert len(set(places)) == len(places) == 5


class Counts:
    """A loss that weighs itself otherwise at each call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(output, target) * (1 + self.calls / 1e5)


class Limits(nn.Linear):
    """A layer that keeps its weight short, whenever it is asked."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 100.0)
        return super().forward(x.flatten(1))


class Centred(nn.Module):
    """A loss that follows a mean of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output - self.mean, target)
        self.mean.lerp_(output.detach().mean(0), 1e-4)
        return loss


def masked(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="none")[target != 9].mean()


@pytest.mark.parametrize(
    ("net", "loss", "why"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), Counts(), "others each time"),
        (lambda: Limits(192, 3), None, "in the place of weight"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), masked, "sizes that depend"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), Centred(), "writes to a tensor"),
    ],
    ids=["a loss that counts", "a weight that is replaced", "a loss of some samples", "a loss that follows a mean"],
)
def test_what_the_first_batches_do_not_show_is_refused(net: Any, loss: Any, why: str) -> None:
    """Over the compared updates these do the same as a recording would; later they do not."""
    state, batches = made(net(), given=Given(loss=loss) if loss else Given())
    calls = getattr(loss, "calls", None)
    with pytest.raises(NoProgramError, match=why):
        try_plan(state, batches, recorded)
    assert getattr(loss, "calls", None) == calls


def test_a_loss_that_reads_a_parameter_by_itself_is_refused() -> None:
    """A penalty on the module's weights: in a recording they would be constants, without a gradient."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

    def penalised(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) + 0.1 * net[1].weight.square().sum()

    state, batches = made(net, given=Given(loss=penalised))
    with pytest.raises(NoProgramError, match="reads a parameter by itself"):
        try_plan(state, batches, recorded)


def test_hooks_of_gradients_are_not_passed_over() -> None:
    """Those that run when a gradient has been added up too."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

    def clamp(one: Tensor) -> None:
        one.grad = one.grad.clamp(-0.1, 0.1)

    net[1].weight.register_post_accumulate_grad_hook(clamp)
    state, batches = made(net)
    with pytest.raises(NoProgramError, match="hooks"):
        recorded(state, batches[0])


def test_trials_leave_the_averaged_weights_alone() -> None:
    """Of a run that is resumed these are what is judged."""
    state, batches = made(Pictures(), ema_decay=0.9)
    assert state.ema is not None
    before = {name: value.clone() for name, value in state.ema.items()}
    try_plan(state, batches[:4], recorded)
    assert all(torch.equal(value, state.ema[name]) for name, value in before.items())
