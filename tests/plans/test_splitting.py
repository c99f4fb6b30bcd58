"""The plan that does a batch in parts, one a thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.given import Given
from netwright.plans.choosing import choose
from netwright.plans.comparing import copied, threads_as_before, try_plan
from netwright.plans.operations import NoProgramError
from netwright.plans.splitting import split
from netwright.progress import Silent
from netwright.randomness import random_state, set_random_state
from netwright.records import Settings
from netwright.step import train_step
from netwright.training import train
from plans.states import of_pictures


class Pictures(nn.Module):
    """Dropout of maps and of numbers, of pictures channels last, and once written over what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop, self.out = nn.Conv2d(3, 8, 3), nn.Dropout2d(0.3), nn.Linear(72, 3)
        self.numbers = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        x = self.drop(F.max_pool2d(self.numbers(self.conv(x)).relu(), 2))
        return self.out(F.dropout(x.flatten(1), 0.4, self.training, inplace=True))


class Steps(nn.Module):
    """A recurrent layer over rows as steps, with dropout where the batch comes second, and where it does in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(24, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        states = F.dropout(self.rnn(x.transpose(1, 2).flatten(2).transpose(0, 1))[0], 0.2, self.training)
        return self.out(F.dropout(states.transpose(0, 1), 0.2, self.training)[:, -1])


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    with threads_as_before():
        torch.set_num_threads(2)
        yield


made = partial(of_pictures, size=15)


@pytest.mark.parametrize("make", [Pictures, Steps])
@pytest.mark.parametrize(
    "options",
    [{"max_grad_norm": 0.05}, {"dtype": "bfloat16", "ema_decay": 0.9, "optimizer": "AdamW"}],
)
def test_parts_add_up_to_the_plain_update(make: type[nn.Module], options: dict[str, Any]) -> None:
    """Weights, losses and sums, to a rounding, and random numbers to the bit; a batch too small, a loss of NaN."""
    torch.manual_seed(0)
    plain, batches = made(make(), on_nonfinite="skip", **options)
    other = copied(plain)
    other.program = split(plain, batches[0])()
    batches[2].inputs[next(iter(batches[2].inputs))][0] = float("nan")
    drawn, results, after = random_state(plain.device), [], []
    for state in (plain, other):
        set_random_state(drawn, state.device)
        results.append([train_step(state, batch) for batch in batches])
        after.append(torch.get_rng_state())
    other.program.rest()
    rough = {"rtol": 0.02, "atol": 2e-3} if "dtype" in options else {"rtol": 1e-4, "atol": 1e-6}
    assert torch.equal(*after)
    assert [one.finite for one in results[1]] == [True, True, False, True, True]
    for one, two in zip(*results, strict=True):
        assert not one.finite or float(two.loss) == pytest.approx(float(one.loss), rel=rough["rtol"])
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, **rough)
    (loss, scores), (split_loss, split_scores) = plain.sums.means(), other.sums.means()
    assert split_loss == pytest.approx(loss, rel=0.05 if "dtype" in options else 1e-5)
    assert split_scores == pytest.approx(scores, abs=0.05 if "dtype" in options else 0)
    assert other.program.twins


def test_parts_are_done_by_threads_of_their_own_and_torch_has_one_meanwhile() -> None:
    """And all of them again where other work comes; the threads end with the plan."""
    seen: set[tuple[str, int]] = set()

    class Looks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            seen.add((threading.current_thread().name[:14], torch.get_num_threads()))
            return gradient

    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            """Pictures (B, 3, 8, 8) to logits (B, 3)."""
            return Looks.apply(super().forward(x.flatten(1)))  # type: ignore[no-any-return]

    state, batches = made(Net(192, 3))
    state.program = split(state, batches[0])()
    seen.clear()
    train_step(state, batches[0])
    assert seen == {("MainThread", 1), ("netwright-part", 1)}
    state.program.rest()
    assert torch.get_num_threads() == 2


def test_targets_that_do_not_count_weigh_nothing() -> None:
    """Halves with other numbers of counted targets; one that has none is no half."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    plain, batches = made(net, Given(loss=nn.CrossEntropyLoss(ignore_index=1)))
    batches[2].target[:7] = 1  # type: ignore[index]
    batches[3].target[:9] = 1  # type: ignore[index]
    other = copied(plain)
    other.program = split(plain, batches[0])()
    for state in (plain, other):
        for batch in batches:
            train_step(state, batch)
    for one, two in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-7)


def test_weights_put_in_the_place_of_others_are_seen_by_all_parts() -> None:
    """As when a checkpoint is read into other tensors, between two passes."""
    plain, batches = made(Pictures())
    other = copied(plain)
    other.program = split(plain, batches[0])()
    train_step(other, batches[0])
    for state in (plain, other):
        for one in state.model.parameters():
            one.data = torch.full_like(one, 0.01)
        state.optimizer.state.clear()
        state.sums = state.sums.copied()
        torch.manual_seed(1)
        train_step(state, batches[1])
    for one, two in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net.drop, "p", 0.05),
        lambda net: net.conv.weight.requires_grad_(False),
        lambda net: net.numbers.eval(),
    ],
    ids=["another share", "a frozen weight", "a dropout in eval mode"],
)
def test_what_a_loop_of_ones_own_changes_is_seen(change: Callable[[Any], object]) -> None:
    """Between two updates of a pass."""
    plain, batches = made(Pictures())
    other = copied(plain)
    other.program = split(plain, batches[0])()
    drawn = random_state(plain.device)
    for state in (plain, other):
        set_random_state(drawn, state.device)
        train_step(state, batches[0])
        change(state.model)
        for batch in batches[:3]:
            train_step(state, batch)
    for one, two in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


class Odd(nn.Linear):
    """Fails in any thread but the main one, as the second part is done."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        if threading.current_thread() is not threading.main_thread():
            raise ValueError
        return super().forward(x.flatten(1))


def test_a_trial_that_fails_gives_all_threads_back() -> None:
    """The plain update is taken, by as many as before."""
    state, batches = made(Odd(192, 3))
    chosen = choose(state, batches[:4], steps=100, asked="split")
    assert chosen.program is None
    assert "ValueError" in chosen.choice.reason
    assert torch.get_num_threads() == 2


def test_a_trial_leaves_no_copy_of_the_module() -> None:
    """Not even until a collector comes by: modules may be large."""
    net = Pictures()
    state, batches = made(net)
    gc.collect()
    gc.disable()
    try:
        try_plan(state, batches[:4], split)
        assert [one for one in gc.get_objects() if type(one) is Pictures] == [net]
    finally:
        gc.enable()


class Mixes(nn.Module):
    """A sample's answer depends on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 8, 8) to logits (B, 3)."""
        return self.out(x.flatten(1) - x.flatten(1).mean(0))


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(192, 3))


@pytest.mark.parametrize(
    ("net", "threads", "why"),
    [
        (Mixes(), 2, "its loss is"),
        (flat(nn.BatchNorm1d(192)), 2, r"forward changes 1\."),
        (flat(nn.RReLU()), 2, "draws random numbers beside"),
        (flat(), 1, "one thread"),
        (flat(), 4, "too small for 4"),
    ],
    ids=["a mean over the batch", "batch statistics", "other draws", "one thread", "a small batch"],
)
def test_what_cannot_be_split_is_refused(net: nn.Module, threads: int, why: str) -> None:
    """With the reason."""
    state, batches = made(net)
    torch.set_num_threads(threads)
    with pytest.raises(NoProgramError, match=why):
        try_plan(state, batches, split)


def test_a_run_in_parts_resumes_to_the_bit(tmp_path: Path) -> None:
    """Stopped within its second pass, with all threads in between for its evaluations."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(90, 3, 8, 8, generator=generator)
    targets = pictures.mean((2, 3)).argmax(1)
    data = nw.load((pictures, targets), val=(pictures[:20], targets[:20]), test_fraction=0)
    threads = []

    class Stop(Silent):
        def row(self, row: Any) -> None:
            threads.append(torch.get_num_threads())
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    def begun(name: str, progress: Silent) -> nw.Run:
        torch.manual_seed(0)
        settings = Settings(epochs=2, batch_size=15, plan="split", skip=("all",), log_every_steps=2, device="cpu")
        return train(Pictures(), data, run=tmp_path / name, settings=settings, progress=progress)

    whole = begun("whole", Silent())
    with pytest.raises(KeyboardInterrupt):
        begun("broken", Stop())
    resumed = nw.resume(tmp_path / "broken", model=Pictures(), data=data, report=False)
    assert resumed.read_plan()["plan"] == "split"
    expected, found = load_file(whole.weights_file), load_file(resumed.weights_file)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert set(threads) == {1, 2}
    assert torch.get_num_threads() == 2


def of_some(output: Tensor, target: Tensor) -> Tensor:
    """The mean over those that count, which only later batches show."""
    counts = (target != 9).float()
    return (F.cross_entropy(output, target.clamp(max=2), reduction="none") * counts).sum() / counts.sum()


def test_a_loss_of_ones_own_is_not_split() -> None:
    """What its mean is divided by is not known."""
    state, batches = made(flat(), Given(loss=of_some))
    with pytest.raises(NoProgramError, match="a loss of your own"):
        try_plan(state, batches, split)
