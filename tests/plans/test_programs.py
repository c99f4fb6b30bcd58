"""An update as one program does what the plain update does, or says why it cannot be."""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import netwright as nw
from netwright.data.batches import train_batches
from netwright.given import Given
from netwright.native import cache_folder
from netwright.plans.choosing import choose
from netwright.plans.comparing import copied, try_plan
from netwright.plans.operations import NoProgramError
from netwright.plans.program import captured, compiled, plainly, program_of
from netwright.plans.tracing import _clipped, trace
from netwright.progress import Silent
from netwright.records import Settings
from netwright.session import Session, prepare
from netwright.step import train_step

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")


def table(count: int = 330) -> nw.Data:
    """Rows of 8 numbers in 3 classes; the last batch of 32 is smaller."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(count, 8)).astype(np.float32)
    pair = (inputs, inputs[:, :3].argmax(1))
    return nw.load(pair, val=(inputs[:60], pair[1][:60]), test=(inputs[:60], pair[1][:60]))


class Net(nn.Module):
    """Normalisation with its buffers, and dropout with its draws."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.3)
        self.out = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (B, 8) to logits (B, 3)."""
        return self.out(self.drop(self.norm(self.first(x)).relu()))


def session_of(model: nn.Module, given: Given | None = None, **options: Any) -> Session:
    torch.manual_seed(0)
    options = {"batch_size": 32, "epochs": 3, "device": "cpu"} | options
    session = prepare(model, table(), Settings(**options), given or Given())
    session.model.train()
    return session


class Shifted(nn.Module):
    """A tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.out = torch.tensor([[0.5, -1.0, 0.25]]), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (B, 8) to logits (B, 3)."""
        return self.out(x) + self.shift


def test_a_constant_of_a_module_is_handed_to_compiled_kernels() -> None:
    """They read past their arguments otherwise, which ended the process."""
    session = session_of(Shifted())
    chosen = choose(session.state, batches_of(session), steps=10**6, asked="compiled")
    assert chosen.choice.value == "compiled", chosen.choice.reason


def test_what_is_compiled_is_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though torch, asked for its compiler, names a folder among temporary files; which is as it was afterwards."""
    theirs = str(Path(tempfile.gettempdir()) / "torchinductor_somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", theirs)
    session = session_of(nn.Linear(8, 3, bias=False))
    chosen = choose(session.state, batches_of(session), steps=10**6, asked="compiled")
    assert chosen.choice.value == "compiled", chosen.choice.reason
    assert list((tmp_path / "netwright" / "programs").rglob("*.so"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == theirs
    assert not Path(theirs).exists()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "asked"))
    assert cache_folder() == tmp_path / "asked"


def test_a_large_gradient_is_finite_though_its_square_is_not() -> None:
    """A program asks for the largest number, as the plain update asks again where a sum overflows."""
    recipe = session_of(Net()).state.recipe
    for number, finite in ((1e30, True), (float("inf"), False), (float("nan"), False)):
        found = _clipped(recipe, torch.tensor(1.0), [torch.tensor([1.0, number]), torch.tensor([2.0])])
        assert bool(found[1]) == finite


def batches_of(session: Session, count: int = 6) -> list[Any]:
    found = train_batches(session.data, batch_size=session.batch_size, seed=0, epoch=0, augment=(), workers=0)
    return [batch.to(session.state.device) for _, batch in zip(range(count), found, strict=False)]


@pytest.mark.parametrize("other", ["fused", "recorded", "compiled"])
def test_another_plans_run_is_the_plain_one_to_a_rounding(tmp_path: Path, other: str) -> None:
    """Rows of metrics and weights; and the plan is told with its time and what it was compared with."""
    rows, weights = {}, {}
    for plan in ("eager", other):
        torch.manual_seed(0)
        net = Net()
        options = {"epochs": 3, "batch_size": 32, "plan": plan, "skip": "all", "device": "cpu"}
        run = nw.train(net, table(), run=tmp_path / plan, report=False, **options)
        rows[plan] = [row for row in run.read_metrics() if row["split"] == "train"]
        weights[plan] = net.state_dict()
        told = next(choice for choice in run.read_plan().choices if choice.name == "plan")
        assert told.value == plan
    assert "updates parameters part by" in told.reason
    for first, second in zip(rows["eager"], rows[other], strict=True):
        assert first["step"] == second["step"]
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-3)
        assert second["accuracy"] == pytest.approx(first["accuracy"], abs=0.01)
    for name, value in weights["eager"].items():
        if name != "first.bias":  # its gradient is nothing but rounding, since a normalisation follows
            torch.testing.assert_close(weights[other][name], value, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("plan", ["fused", "recorded", pytest.param("compiled", marks=pytest.mark.soak)])
def test_another_plans_run_resumes_to_the_bit(tmp_path: Path, plan: Any) -> None:
    """Stopped after its first pass, it ends with the weights of the unbroken one, by the plan it was begun with."""

    class Stop(Silent):
        def row(self, row: Any) -> None:
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    def begun(name: str, progress: Any) -> nw.Run:
        torch.manual_seed(0)
        settings = Settings(epochs=3, batch_size=32, plan=plan, skip=("all",), device="cpu")
        from netwright.training import train

        return train(Net(), table(), run=tmp_path / name, settings=settings, progress=progress)

    whole = begun("whole", Silent())
    with pytest.raises(KeyboardInterrupt):
        begun("broken", Stop())
    again = Net()
    resumed = nw.resume(tmp_path / "broken", model=again, data=table(), report=False)
    assert resumed.read_plan()["plan"] == plan
    expected, found = load_file(whole.weights_file), load_file(resumed.weights_file)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_weights_with_other_strides_are_left_to_the_plain_update() -> None:
    """Compiled kernels look at no stride: a weight that lies otherwise would be read in a wrong order."""
    session = session_of(Net())
    batches = batches_of(session)
    new, _, _ = try_plan(session.state, batches, captured)
    state = copied(session.state)
    train_step(state, batches[0])
    weight = state.model.get_parameter("first.weight")
    laid = weight.detach().clone()
    weight.data = laid.t().contiguous().t()
    assert new().attempt(state, batches[1]) is None
    weight.data = laid
    assert new().attempt(state, batches[1]) is not None


def test_parameters_updated_at_once_are_updated_as_each_alone() -> None:
    """What a GPU records, done here operation by operation."""
    session = session_of(Net())
    batches = batches_of(session)
    train_step(session.state, batches[0])
    _, measured, _ = try_plan(session.state, batches, captured)
    assert measured.apart < 0.1  # the first bias, before a normalisation, goes anywhere; the rest to a rounding


@cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_captured_update_is_the_plain_one(dtype: str) -> None:
    """On a GPU: kernels recorded once, with the random draws of dropout and sums that go on over passes."""
    session = session_of(Net(), dtype=dtype, device="cuda")
    batches = batches_of(session)
    train_step(session.state, batches[0])
    new, measured, _ = try_plan(session.state, batches, captured)
    assert measured.apart < 0.1  # of float32 the first bias, before a normalisation, goes anywhere
    session.state.program = new()
    before = session.state.sums.means()[0]
    for batch in batches:
        train_step(session.state, batch)
    assert session.state.sums.means()[0] != before
    assert session.state.sums.count.item() == 32 * 7


class Sequences(nn.Module):
    """An LSTM over four steps of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(2, 16, num_layers=2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """One answer of each."""
        answer: Tensor = self.out(self.lstm(x.unflatten(1, (4, 2)))[0][:, -1])
        return answer


@cuda
@pytest.mark.parametrize("make", [captured, compiled], ids=["captured", "compiled"])
def test_an_lstm_on_a_gpu(make: Any) -> None:
    """cuDNN's, which lays its weights in one piece of memory."""
    session = session_of(Sequences(), device="cuda")
    batches = batches_of(session)
    train_step(session.state, batches[0])
    _, measured, _ = try_plan(session.state, batches, make)
    assert measured.apart < 0.01


class Counts(Net):
    """Remembers how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """As it is."""
        self.calls += 1
        return super().forward(x)


class Draws(Net):
    """Draws from Python's generator."""

    def forward(self, x: Tensor) -> Tensor:
        """As it is, times a number."""
        return super().forward(x) * (1 + random.random())


class NumpyDraws(Net):
    """Draws from NumPy's generator."""

    def forward(self, x: Tensor) -> Tensor:
        """As it is, times a number."""
        return super().forward(x) * (1 + np.random.rand())


class Branches(Net):
    """Looks at a number before it goes on."""

    def forward(self, x: Tensor) -> Tensor:
        """As it is, or its negative."""
        found = super().forward(x)
        return found if found.mean() > 0 else -found


def hooked() -> nn.Module:
    net = Net()
    net.out.register_forward_hook(lambda *given: None)
    return net


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (Counts, {}, "calls"),
        (Draws, {}, "Python's random"),
        (NumpyDraws, {}, "NumPy's random"),
        (Branches, {}, "takes a number out of a tensor"),
        (hooked, {}, "hooks"),
        (Net, {"optimizer": "LBFGS"}, "LBFGS"),
        (Net, {"optimizer": "Adagrad"}, "Adagrad"),
        (Net, {"gradient_accumulation_steps": 2}, "micro-batches"),
    ],
)
def test_what_cannot_be_one_program_is_said(make: Callable[[], nn.Module], options: dict[str, Any], words: str) -> None:
    """By name, and the run goes on with the plain update."""
    session = session_of(make(), **options)
    batches = batches_of(session)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_step(session.state, batches[0])
        with pytest.raises(NoProgramError, match=words):
            trace(session.state, batches[0])
        chosen = choose(session.state, batches, steps=100, asked="compiled")
    assert chosen.program is None
    assert chosen.choice.value == "eager"
    assert words in chosen.choice.reason


def test_choosing_leaves_the_state_as_it_was() -> None:
    """Weights, the optimizer's state, sums and the random generators."""
    session = session_of(Net())
    batches = batches_of(session)
    train_step(session.state, batches[0])
    before = [one.clone() for one in session.model.state_dict().values()]
    total, drawn = session.state.sums.loss.clone(), torch.get_rng_state()
    held = [value.clone() for one in session.state.optimizer.state.values() for value in one.values()]
    chosen = choose(session.state, batches, steps=20, asked="auto")
    assert "less than another plan would pay for" in chosen.choice.reason
    after = list(session.model.state_dict().values())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    now = [value for one in session.state.optimizer.state.values() for value in one.values()]
    assert all(torch.equal(one, other) for one, other in zip(held, now, strict=True))
    assert torch.equal(total, session.state.sums.loss)
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_wrong_program_is_not_taken() -> None:
    """One that does nothing, in place of a compiled one."""
    session = session_of(Net())
    batches = batches_of(session)

    def idle(state: Any, batch: Any) -> Any:
        return lambda: program_of(trace(state, batch), lambda given: (torch.tensor(1.0), torch.tensor(True)))

    with pytest.raises(NoProgramError, match=r"loss|part"):
        try_plan(session.state, batches, idle)


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    """As in the plain update: neither weights nor the optimizer's state nor the sums."""
    session = session_of(Net(), on_nonfinite="skip")
    batches = batches_of(session)
    train_step(session.state, batches[0])
    trial = copied(session.state)
    train_step(trial, batches[0])
    traced = trace(trial, batches[0])

    session.state.program = program_of(traced, plainly(traced))
    before = {name: value.clone() for name, value in session.model.named_parameters()}
    total = session.state.sums.loss.clone()
    spoilt = batches[1]
    spoilt.inputs[next(iter(spoilt.inputs))][0] = float("nan")
    assert not train_step(session.state, spoilt).finite
    assert all(torch.equal(value, before[name]) for name, value in session.model.named_parameters())
    assert torch.equal(session.state.sums.loss, total)
    assert train_step(session.state, batches[2]).finite
