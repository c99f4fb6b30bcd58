"""Whole updates of networks of dense layers by kernels of our own, one and several at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.batch import Batch
from netwright.data.batches import train_batches
from netwright.errors import NonFiniteError
from netwright.given import Given
from netwright.loop import run_steps
from netwright.native import COMPILERS
from netwright.plans import compiled
from netwright.plans import dense as plan
from netwright.plans.choosing import choose
from netwright.plans.comparing import try_plan
from netwright.plans.dense_code import KINDS
from netwright.plans.kernels import kernels
from netwright.plans.operations import NoProgramError
from netwright.progress import Silent
from netwright.records import Settings
from netwright.session import Session, prepare
from netwright.step import train_step

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler is here")
ROWS, WIDTH = 331, 11  # the last batch is smaller, whatever its size


def table(targets: str = "classes", *, far: int | None = None) -> nw.Data:
    """Rows of 11 numbers, with classes or numbers; one of these so far off that its square is no number."""
    x = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    y = x[:, :3].argmax(1) if targets == "classes" else x[:, 0] * 2 + x[:, 1] ** 2
    if far is not None:
        y[far] = 1e30
    return nw.load((x, y), val_fraction=0, test=(x[:50], y[:50]))


def mlp(*widths: int, between: Callable[[], nn.Module] = nn.ReLU, out: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((WIDTH, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), between()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out))


class Branches(nn.Module):
    """Two ways from the inputs, that are added and multiplied; a layer used twice; a weight that lies turned."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.same = nn.Linear(WIDTH, 9), nn.Linear(WIDTH, 9), nn.Linear(9, 9)
        self.turned, self.out = nn.Parameter(torch.randn(9, 9) / 3), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (B, 11) to logits (B, 3)."""
        first, second = F.relu(self.one(x)), torch.sigmoid(self.two(x))
        hidden = self.same(torch.tanh(self.same(first * second + first)))
        return self.out((hidden - 2 * first) @ self.turned)


def session_of(net: nn.Module, data: nw.Data | None = None, given: Given | None = None, **options: Any) -> Session:
    options = {"batch_size": 32, "epochs": 3, "device": "cpu"} | options
    session = prepare(net, data or table(), Settings(**options), given or Given())
    session.model.train()
    return session


def batches_of(session: Session) -> list[Batch]:
    size = session.batch_size
    return list(train_batches(session.data, batch_size=size, seed=0, epoch=0, augment=(), workers=0))[:6]


def compared(net: nn.Module, data: nw.Data | None = None, given: Given | None = None, **options: Any) -> float:
    """How far the plan and the plain update part, of the way that parameters go."""
    session = session_of(net, data, given, **options)
    made, measured, _ = try_plan(session.state, batches_of(session), kernels)
    assert isinstance(made(), plan.Dense)
    return measured.apart


@pytest.mark.parametrize("size", [1, 5, 32])
@pytest.mark.parametrize("widths", [(1,), (7, 33), (16, 64, 20)])
def test_products_of_any_size(widths: tuple[int, ...], size: int) -> None:
    assert compared(mlp(*widths, between=nn.Tanh), batch_size=size, optimizer="SGD", lr=0.1) < 1e-5


@pytest.mark.parametrize(
    "between",
    [
        nn.ReLU, lambda: nn.ReLU(inplace=True), nn.LeakyReLU, lambda: nn.LeakyReLU(0.3), nn.Tanh, nn.Sigmoid, nn.SiLU,
        nn.GELU, nn.Identity, lambda: nn.Dropout(0.4), lambda: nn.Sequential(nn.GELU(), nn.Dropout(0.1)),
    ],
)  # fmt: skip
def test_activations_and_dropout_with_the_same_draws(between: Callable[[], nn.Module]) -> None:
    assert compared(mlp(24, 17, between=between)) < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "SGD", "lr": 0.1},
        {"optimizer": "SGD", "lr": 0.1, "optimizer_args": {"momentum": 0.9, "weight_decay": 0.1}},
        {"optimizer": "SGD", "lr": 0.1, "optimizer_args": {"momentum": 0.9, "nesterov": True}},
        {"optimizer": "SGD", "lr": 0.1, "optimizer_args": {"momentum": 0.9, "dampening": 0.3}},
        {"optimizer": "Adam", "lr": 0.01, "optimizer_args": {"weight_decay": 0.1, "betas": (0.5, 0.9)}},
        {"optimizer": "AdamW", "lr": 0.01, "weight_decay": 0.3},
        {"optimizer": "AdamW", "lr": 0.01, "max_grad_norm": 0.05},
        {"optimizer": "SGD", "lr": 0.1, "schedule": "one_cycle"},
    ],
)
def test_optimizers(options: dict[str, Any]) -> None:
    assert compared(mlp(24, 17), **options) < 1e-4


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.MSELoss])
def test_losses(kind: type[nn.Module], reduction: str) -> None:
    numbers = kind is nn.MSELoss
    net = mlp(24, out=1 if numbers else 3)
    data = table("numbers" if numbers else "classes")
    assert compared(net, data, Given(loss=kind(reduction=reduction)), lr=1e-3, optimizer="SGD") < 1e-4


@pytest.mark.parametrize("classes", [2, 8, 9, 40])
def test_few_and_many_classes(classes: int) -> None:
    """Few are worked on by rows side by side. Outputs of any size, also such as only a rounding keeps apart."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(ROWS, WIDTH)).astype(np.float32)
    y = np.concatenate([np.arange(classes), generator.integers(0, classes, ROWS - classes)])
    net = mlp(24, out=classes)
    with torch.no_grad():
        net[-1].weight.mul_(20)  # type: ignore[union-attr,operator]
    assert compared(net, nw.load((x, y), val_fraction=0, test_fraction=0), optimizer="SGD", lr=0.01) < 1e-4


def test_logarithms_out_of_the_module() -> None:
    net = nn.Sequential(mlp(24), nn.LogSoftmax(1))
    assert compared(net, given=Given(loss=nn.NLLLoss())) < 1e-4


def test_layers_that_are_joined_and_used_twice() -> None:
    assert compared(Branches()) < 1e-4


@pytest.mark.parametrize(
    ("net", "given", "options", "words"),
    [
        (lambda: mlp(24), Given(loss=nn.CrossEntropyLoss(weight=torch.ones(3))), {}, "constant"),
        (lambda: mlp(24), Given(loss=nn.CrossEntropyLoss(label_smoothing=0.1)), {}, "sum over rows alone"),
        (lambda: mlp(24), None, {"optimizer": "RMSprop"}, "RMSprop"),
        (lambda: mlp(24), None, {"optimizer": "Adam", "optimizer_args": {"amsgrad": True}}, "amsgrad"),
        (lambda: mlp(24, between=lambda: nn.GELU("tanh")), None, {}, "GELU"),
        (lambda: mlp(24, between=lambda: nn.BatchNorm1d(24)), None, {}, "not all dense layers"),
        (lambda: mlp(24).double().float().requires_grad_(False).append(nn.Linear(3, 3)), None, {}, ""),
    ],
)
def test_what_the_kernels_do_not_know_is_said(
    net: Callable[[], nn.Module], given: Given | None, options: dict[str, Any], words: str
) -> None:
    session = session_of(net(), given=given, **options)
    batches = batches_of(session)
    if not words:  # weights that stand still are only read
        assert isinstance(try_plan(session.state, batches, kernels)[0](), plan.Dense)
        return
    with pytest.raises(NoProgramError, match=words):
        try_plan(session.state, batches, kernels)


def begun(net: nn.Module, data: nw.Data, *, without: int = -1, **options: Any) -> Session:
    """A session that has the plan, chosen by batches without a sample."""
    torch.manual_seed(0)
    session = session_of(net, data, **options)
    size = session.batch_size
    found = train_batches(session.data, batch_size=size, seed=0, epoch=0, augment=(), workers=0)
    batches = [batch for batch in found if without not in batch.sample_ids][:6]
    chosen = choose(session.state, batches, steps=10**6, asked="kernels")
    assert chosen.choice.value == "kernels", chosen.choice.reason
    session.state.program = chosen.program
    return session


def never(step: int) -> int:
    """Nobody looks."""
    return 1000


@pytest.mark.parametrize("targets", ["classes", "numbers"])
@pytest.mark.parametrize("size", [10, 32])
def test_several_updates_in_one_call_are_those_one_by_one(
    targets: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimizer, losses and metrics to the bit, wherever somebody looks; batches of 10 rows lie with gaps."""
    calls: list[int] = []
    several = plan.Dense.several

    def counted(self: plan.Dense, state: Any, *given: Any) -> Any:
        before = state.step
        found = several(self, state, *given)
        calls.append(state.step - before)
        return found

    monkeypatch.setattr(plan.Dense, "several", counted)
    found = []
    for ahead, most in ((None, 0), (lambda step: 4 - step % 4, 4), (never, ROWS // size - 1)):
        calls.clear()
        seen: list[Any] = []
        session = begun(mlp(24, 17, out=1 if targets == "numbers" else 3), table(targets), batch_size=size)
        for step in run_steps(session, ahead=ahead):
            assert step.index == session.state.step
            if step.epoch_end:
                assert step.loss is not None
                seen.append((step.index, step.lr, float(step.loss), session.state.sums.means()))
        states = [value for held in session.state.optimizer.state.values() for value in held.values()]
        found.append((seen, [*session.model.state_dict().values(), *states]))
        assert max(calls, default=0) == most
    for seen, tensors in found[1:]:
        assert seen == found[0][0]
        assert all(map(torch.equal, tensors, found[0][1]))


def test_an_update_that_is_not_finite_moves_nothing_nor_ends_the_others() -> None:
    sessions = []
    for ahead in (None, never):
        session = begun(mlp(24, 17, out=1), table("numbers", far=200), without=200, on_nonfinite="skip")
        for _ in run_steps(session, ahead=ahead):
            pass
        sessions.append(session)
    first, second = sessions
    assert first.state.skipped == second.state.skipped == 3  # once an epoch
    assert first.state.step == second.state.step == first.total_steps
    assert all(map(torch.equal, first.model.state_dict().values(), second.model.state_dict().values()))
    assert all(bool(one.isfinite().all()) for one in first.model.parameters())
    session = begun(mlp(24, 17, out=1), table("numbers", far=200), without=200)
    with pytest.raises(NonFiniteError):
        list(run_steps(session, ahead=never))


def test_a_target_that_is_no_class_is_left_to_the_plain_update() -> None:
    session = begun(mlp(24), table())
    (batch, *_) = batches_of(session)
    train_step(session.state, batch)
    before = [one.detach().clone() for one in session.model.parameters()]
    bad = Batch(batch.inputs, torch.full_like(batch.target, 3), batch.sample_ids)
    assert session.state.program is not None
    assert session.state.program.attempt(session.state, bad) is None
    with pytest.raises(IndexError):
        train_step(session.state, bad)
    assert all(map(torch.equal, before, session.model.parameters()))


def test_other_shapes_and_weights_are_left_to_the_plain_update() -> None:
    """Three rows where 32 were traced; weights in another dtype, or that lie otherwise."""
    session = begun(mlp(24), table())
    state, (batch, *_) = session.state, batches_of(session)
    assert state.program is not None
    assert state.program.attempt(state, batch.split(8)[0]) is None
    train_step(state, batch)
    assert state.program.attempt(state, batch) is not None
    first = next(session.model.parameters())
    first.data = first.data.t().contiguous().t()
    state.sums = state.sums.copied()  # as a new pass has it
    assert state.program.attempt(state, batch) is None


def test_a_first_batch_that_is_not_finite_is_told(tmp_path: Path) -> None:
    """The optimizer has no state then: kernels that took it for granted ended the process."""
    data = table("numbers", far=int(first_samples()[0]))
    for optimizer in ("AdamW", "SGD"):
        session = session_of(mlp(24, out=1), data, optimizer=optimizer)
        with pytest.raises(NoProgramError):
            try_plan(session.state, batches_of(session), kernels)
        options = {"optimizer": optimizer, "batch_size": 32, "epochs": 1, "plan": "kernels", "device": "cpu"}
        with pytest.raises(NonFiniteError):
            list(nw.training_steps(mlp(24, out=1), data, **options))


def first_samples() -> np.ndarray[Any, Any]:
    return batches_of(session_of(mlp(24)))[0].sample_ids.numpy()


def test_weights_that_are_replaced_are_found_again() -> None:
    """Within a pass too, and memory that went with them is not written to."""
    ends = []
    for name in ("eager", "kernels"):
        net = mlp(24, 17)
        for step in nw.training_steps(net, table(), batch_size=32, epochs=2, plan=name, optimizer="SGD", lr=0.1):
            if step.index % 4 == 0:
                for one in net.parameters():
                    one.data = one.data * 0.5
        ends.append(list(net.state_dict().values()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_weights_of_another_size_are_left_to_the_plain_update() -> None:
    session = begun(mlp(24), table(), optimizer="SGD")
    state, (batch, *_) = session.state, batches_of(session)
    assert state.program is not None
    train_step(state, batch)
    assert isinstance(net := session.model, nn.Sequential)
    net[0].weight.data, net[0].bias.data = torch.zeros(400, WIDTH), torch.zeros(400)  # type: ignore[union-attr]
    net[2].weight.data = torch.zeros(3, 400)  # type: ignore[union-attr]
    assert state.program.attempt(state, batch) is None
    assert train_step(state, batch).finite


class Odd(nn.Module):
    """Adds what nobody has written; holds numbers that nobody reads."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__()
        self.inner, self.reads = mlp(24), reads
        self.register_buffer("ids", torch.arange(3))

    def forward(self, x: Tensor) -> Tensor:
        """Rows (B, 11) to logits (B, 3)."""
        y = self.inner(x)
        return y + torch.empty_like(y) * 0 if self.reads else y


def test_what_nobody_has_written_is_not_read() -> None:
    model = Odd(reads=False)
    session = session_of(model)
    state = session_after_one(session)
    model.reads = True  # from here on, since the plain update would take whatever lies there, NaN too
    with pytest.raises(NoProgramError, match="nothing was written to"):
        kernels(state, batches_of(session)[0])
    session = begun(Odd(reads=False), table())
    train_step(session.state, batches_of(session)[0])
    assert session.state.program is not None
    assert session.state.program.attempt(session.state, batches_of(session)[1]) is not None


def session_after_one(session: Session) -> Any:
    train_step(session.state, batches_of(session)[0])
    return session.state


def test_options_that_are_changed_on_the_way_count() -> None:
    ends = []
    for name in ("eager", "kernels"):
        net = mlp(24, 17)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for step in nw.training_steps(net, table(), batch_size=32, epochs=2, plan=name, optimizer=optimizer):
            if step.index == 13:
                optimizer.param_groups[0].update(weight_decay=0.5, dampening=0.2)
        ends.append(list(net.state_dict().values()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_clipping_that_counts_other_gradients_is_left_to_the_plain_update() -> None:
    net = mlp(24, 17)
    assert isinstance(net, nn.Sequential)
    given = Given(optimizer=torch.optim.SGD(net[-1].parameters(), lr=0.1))
    session = session_of(net, given=given, max_grad_norm=1.6)
    with pytest.raises(NoProgramError, match="clipping counts"):
        kernels(session_after_one(session), batches_of(session)[0])


@pytest.mark.parametrize("name", ["kernels", "recorded"])
def test_a_schedule_is_asked_for_each_update_once(name: str, tmp_path: Path) -> None:
    """In order; by plans that do one after the other for none that is not done yet."""
    asked: list[int] = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 1.0

    options = {"batch_size": 32, "epochs": 2, "plan": name, "skip": "all", "report": False}
    nw.train(mlp(24), table(), run=tmp_path / "run", schedule=schedule, **options)
    assert asked[-22:] == list(range(22))  # trials asked before


def test_what_an_update_gives_stays_as_it_was_given() -> None:
    """Losses may be kept by whoever loops; outputs wait for their metrics."""
    session = begun(mlp(24), table())
    losses = [step.loss for step in run_steps(session)]
    again = begun(mlp(24), table())
    assert [float(one) for one in losses if one is not None] == [
        float(step.loss) for step in run_steps(again) if step.loss is not None
    ]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_resumes_to_the_bit(tmp_path: Path, dropout: float) -> None:
    """Stopped in the midst of its second pass, several updates at once or drawn one by one."""

    class Stop(Silent):
        def row(self, row: Any) -> None:
            if row["step"] >= 16:
                raise KeyboardInterrupt

    def train(name: str, progress: Any) -> nw.Run:
        from netwright.training import train

        net = mlp(24, between=lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout)))
        settings = Settings(
            epochs=3, batch_size=32, plan="kernels", skip=("all",), checkpoint_every_steps=7, log_every_steps=4,
            device="cpu",
        )  # fmt: skip
        return train(net, table(), run=tmp_path / name, settings=settings, progress=progress)

    whole = train("whole", Silent())
    with pytest.raises(KeyboardInterrupt):
        train("broken", Stop())
    again = mlp(24, between=lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout)))
    resumed = nw.resume(tmp_path / "broken", model=again, data=table(), report=False)
    assert resumed.read_plan()["plan"] == "kernels"
    rows = [[row for row in run.read_metrics() if row["split"] == "train"] for run in (whole, resumed)]
    assert [row["step"] for row in rows[0]] == [4, 8, 11, 12, 16, 20, 22, 24, 32, 33]  # a checkpoint is due at 28
    assert [(row["step"], row["loss"]) for row in rows[0]] == [(row["step"], row["loss"]) for row in rows[1]]
    expected, found = load_file(whole.weights_file), load_file(resumed.weights_file)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_the_kinds_of_operations_are_those_of_the_kernels() -> None:
    source = compiled.DENSE.read_text(encoding="utf-8")
    names = re.search(r"enum Kind \{(.*?)\}", source, re.DOTALL)
    assert names is not None
    assert tuple(name.strip().lower() for name in names[1].split(",")) == KINDS
