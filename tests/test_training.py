"""What training does with what is asked of it."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import netwright as nw
from netwright.checkpoints import digest_of, read_weights
from netwright.errors import DataError, LossError, ModelError, NonFiniteError, UsageError
from netwright.optim import find_optimizer, make_schedule, optimizer_names
from netwright.progress import Silent
from netwright.tasks import loss_names


def net(outputs: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs))


@pytest.fixture(scope="module")
def digits() -> object:
    return nw.load("digits")


QUIET = {"progress": Silent(), "report": False}


def losses(model: nn.Module, data: object, **options: object) -> list[float]:
    """The loss of each update of a short run."""
    return [float(step.loss) for step in nw.training_steps(model, data, **({"epochs": 2} | options))]


@pytest.mark.parametrize("name", sorted(set(optimizer_names()) - {"SparseAdam", "Muon"}))
def test_every_optimizer_of_torch_lowers_the_loss(name: str, digits: object) -> None:
    """By name alone, with its usual rate; LBFGS gets its closure."""
    found = losses(net(), digits, optimizer=name, batch_size=128, epochs=3)
    assert np.mean(found[-5:]) < found[0]


def test_muon_takes_a_network_of_matrices(digits: object) -> None:
    """An optimizer that refuses biases says so in the house's words; without biases it trains."""
    if "Muon" not in optimizer_names():
        pytest.skip("this torch has no Muon")
    with pytest.raises(UsageError) as caught:
        losses(net(), digits, optimizer="Muon")
    assert "2D" in caught.value.got or "2-D" in caught.value.got
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    found = losses(plain, digits, optimizer="Muon", lr=0.01)
    assert np.mean(found[-5:]) < found[0]


@pytest.mark.parametrize(
    "loss",
    ["CrossEntropyLoss", "mse", "L1Loss", "smooth_l1", "HuberLoss", "BCEWithLogitsLoss", "MultiMarginLoss",
     "MultiLabelSoftMarginLoss", "SoftMarginLoss"],
)  # fmt: skip
def test_losses_by_name(loss: str, digits: object) -> None:
    """Those on classes get classes, those on values get them one-hot."""
    found = losses(net(), digits, loss=loss, epochs=3)
    assert np.mean(found[-5:]) < found[0]


def test_a_loss_as_any_callable_is_called_as_it_is(digits: object) -> None:
    """A plain function of outputs and targets."""

    def smoothed(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=0.1)

    assert losses(net(), digits, loss=smoothed)[0] == pytest.approx(
        losses(net(), digits, loss=nn.CrossEntropyLoss(label_smoothing=0.1))[0]
    )


def test_all_losses_of_torch_are_known() -> None:
    """The list is torch's own."""
    assert {"CrossEntropyLoss", "MSELoss", "CTCLoss", "NLLLoss"} <= set(loss_names())


def test_an_optimizer_as_class_function_or_object_is_the_same(digits: object) -> None:
    """SGD given four ways gives the same losses."""

    def make(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    model = net()
    ways = [
        losses(model, digits, optimizer=make(model.parameters())),
        losses(net(), digits, optimizer=make),
        losses(net(), digits, optimizer=torch.optim.SGD, lr=0.1, optimizer_args={"momentum": 0.9}),
        losses(net(), digits, optimizer="sgd", lr=0.1, optimizer_args={"momentum": 0.9}),
    ]
    assert ways[0] == ways[1] == ways[2] == ways[3]


def test_an_optimizer_of_another_model_is_refused(digits: object) -> None:
    """It would train something else."""
    with pytest.raises(UsageError):
        losses(net(), digits, optimizer=torch.optim.SGD(net().parameters(), lr=0.1))


def test_a_schedule_is_a_function_of_the_step(digits: object) -> None:
    """The rate of each update is the factor times the rate asked for."""
    rates = [
        step.lr
        for step in nw.training_steps(net(), digits, epochs=1, optimizer="SGD", lr=0.5, schedule=lambda i: 1 / (i + 1))
    ]
    assert rates == [0.5 / (i + 1) for i in range(len(rates))]


def test_named_schedules_end_where_they_should() -> None:
    """cosine and one_cycle end near zero, constant stays, warm-up rises in a straight line."""
    total = 1000
    for name, last in (("cosine", 0.0), ("one_cycle", 0.0), ("linear", 0.0), ("constant", 1.0)):
        schedule = make_schedule(name, total_steps=total)
        assert schedule(total - 1) == pytest.approx(last, abs=2e-3)
    assert max(make_schedule("one_cycle", total_steps=total)(i) for i in range(total)) == pytest.approx(1.0)
    warm = make_schedule("constant", total_steps=total, warmup_steps=10)
    assert [warm(i) for i in range(12)] == pytest.approx([*((i + 1) / 10 for i in range(10)), 1, 1])


def test_optimizer_names_are_found_in_any_case() -> None:
    """`adamw` is AdamW."""
    assert find_optimizer("adamw") is torch.optim.AdamW


def test_a_step_function_of_ones_own(digits: object) -> None:
    """`(model, batch) -> loss`, for what fits no loss."""

    def step(model: nn.Module, batch: nw.Batch) -> torch.Tensor:
        outputs = model(batch.inputs["image"])
        return functional.cross_entropy(outputs, batch.targets) + 1e-4 * outputs.square().mean()

    found = losses(net(), digits, step=step)
    assert found[-1] < found[0]


def test_gradients_are_clipped(digits: object) -> None:
    """After each update the norm that was used is at most what was asked."""
    model = net()
    for _ in nw.training_steps(model, digits, epochs=1, optimizer="SGD", lr=0.01, max_grad_norm=0.01):
        norm = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in model.parameters()))
        assert norm <= 0.01 * 1.0001


def test_averaged_weights_are_those_of_the_formula(tmp_path: Path, digits: object) -> None:
    """The run's weights are the running average; the last checkpoint holds the model's own as well."""
    model = net()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    for count, _ in enumerate(nw.training_steps(model, digits, epochs=1), start=0):
        decay = min(0.9, (1 + count) / (10 + count))
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - decay)
    run = nw.train(net(), digits, run=tmp_path / "run", epochs=1, ema_decay=0.9, **QUIET)
    for name, value in read_weights(run.weights_file).items():
        torch.testing.assert_close(value, average[name])


def test_training_stops_when_nothing_gets_better(tmp_path: Path, digits: object) -> None:
    """With a rate of almost zero nothing changes, so patience runs out; the best weights are kept."""
    run = nw.train(
        net(),
        digits,
        run=tmp_path / "run",
        epochs=50,
        optimizer="SGD",
        lr=1e-12,
        patience=2,
        monitor="val/accuracy",
        **QUIET,
    )
    assert max(row["epoch"] for row in run.read_metrics()) == 3


def test_best_weights_are_kept_and_last_on_request(tmp_path: Path, digits: object) -> None:
    """A schedule that destroys the network at the end leaves the best weights, unless the last are asked for."""

    def wreck(step: int) -> float:
        return 1.0 if step < 80 else 3000.0

    options = {"epochs": 3, "batch_size": 32, "optimizer": "SGD", "lr": 0.1, "schedule": wreck, "max_grad_norm": 5.0}
    best, last = net(), net()
    nw.train(best, digits, run=tmp_path / "best", **options, **QUIET)
    nw.train(last, digits, run=tmp_path / "last", keep="last", **options, **QUIET)
    scores = [
        nw.evaluate(model, digits, split="val", with_baselines=False).score("accuracy").value for model in (best, last)
    ]
    assert scores[0] > 0.8 > scores[1]


def test_class_weights_raise_the_recall_of_a_rare_class() -> None:
    """A class of one in thirty is found more often when classes are balanced."""
    generator = np.random.default_rng(0)
    labels = (np.arange(3000) % 30 == 0).astype(np.int64)
    inputs = generator.normal(size=(3000, 2)).astype("float32") + labels[:, None] * 1.5
    data = nw.load((inputs, labels))
    recalls = []
    for weights in ("none", "balanced"):
        torch.manual_seed(0)
        model = nn.Linear(2, 2)
        for _ in nw.training_steps(model, data, epochs=6, lr=0.1, class_weights=weights):
            pass
        recalls.append(nw.evaluate(model, data, with_baselines=False).per_class[1].recall.value)
    assert recalls[1] > recalls[0] + 0.2


def test_regression_on_real_numbers(tmp_path: Path) -> None:
    """Real targets are regressed on; (N,) against (N, 1) does not broadcast."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(600, 3)).astype("float32")
    targets = inputs @ np.array([1.0, -2.0, 0.5], dtype="float32") + 3
    model = nn.Linear(3, 1)
    run = nw.train(model, (inputs, targets), run=tmp_path / "run", epochs=30, lr=0.1, **QUIET)
    assert run.read_evaluation().score("r2").value > 0.99


def test_one_column_for_two_classes() -> None:
    """A single logit gets binary cross entropy, and its accuracy is not that of argmax over one column."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 2)).astype("float32")
    labels = (inputs.sum(1) > 0).astype(np.int64)
    model = nn.Linear(2, 1)
    for _ in nw.training_steps(model, (inputs, labels), epochs=20, lr=0.1):
        pass
    assert nw.evaluate(model, (inputs, labels), with_baselines=False).score("accuracy").value > 0.95


def test_real_targets_with_cross_entropy_are_refused_before_the_first_step() -> None:
    """The contradiction is named."""
    inputs, targets = np.zeros((20, 3), dtype="float32"), np.linspace(0, 1, 20, dtype="float32")
    with pytest.raises(LossError) as caught:
        losses(nn.Linear(3, 1), (inputs, targets), loss="cross_entropy")
    assert "float32" in caught.value.got


class Explodes(nn.Module):
    """Divides by zero at its fifth call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 10)
        self.calls = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        outputs = self.body(image.flatten(1))
        return outputs / 0 if self.calls == 5 else outputs


def test_a_loss_that_is_not_finite_changes_no_weight(digits: object) -> None:
    """Training stops before the update; with `skip` it goes on and the weights stay finite."""
    model = Explodes()
    before = None
    with pytest.raises(NonFiniteError) as caught:
        for _ in nw.training_steps(model, digits, epochs=1):
            before = digest_of(model.state_dict())
    assert digest_of(model.state_dict()) == before
    assert "update 5" in caught.value.where
    model = Explodes()
    for _ in nw.training_steps(model, digits, epochs=1, on_nonfinite="skip"):
        pass
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


def test_weights_load_into_the_plain_class(tmp_path: Path, digits: object) -> None:
    """safetensors alone reads them, under the module's own names."""
    from safetensors.torch import load_file

    model = net()
    run = nw.train(model, digits, run=tmp_path / "run", epochs=1, **QUIET)
    fresh = net()
    fresh.load_state_dict(load_file(run.weights_file))
    assert digest_of(fresh.state_dict()) == digest_of(model.state_dict())


def test_a_run_leaves_the_files_it_promises(tmp_path: Path, digits: object) -> None:
    """And TensorBoard reads its file back."""
    run = nw.train(net(), digits, run=tmp_path / "run", epochs=2, progress=Silent())
    names = {path.name for path in run.path.iterdir()}
    assert names >= {
        "settings.yaml", "plan.json", "environment.json", "data.json", "findings.json", "metrics.jsonl", "checkpoints",
        "weights.safetensors", "evaluation.json", "predictions.safetensors", "report.html",
    }  # fmt: skip
    assert not [path for path in run.path.rglob("*") if path.suffix in {".pt", ".pth", ".pkl"}]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run.path))
    board.Reload()
    rows = [row for row in run.read_metrics() if row["split"] == "val"]
    assert [event.value for event in board.Scalars("val/accuracy")] == pytest.approx([row["accuracy"] for row in rows])


def test_a_second_run_never_overwrites_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: object
) -> None:
    """Runs of one day with one name are numbered."""
    monkeypatch.chdir(tmp_path)
    folders = [nw.train(net(), digits, epochs=1, **QUIET).path.name for _ in range(2)]
    assert folders[1] == folders[0] + "-2"


def test_predict_answers_arrays_and_reports_bad_inputs(tmp_path: Path, digits: object) -> None:
    """One bad input does not cost the others their answers."""
    model = net()
    run = nw.train(model, digits, run=tmp_path / "run", epochs=8, lr=0.02, **QUIET)
    images = digits.test.inputs["image"].numpy()
    text = tmp_path / "no.png"
    text.write_text("text")
    answers = nw.predict(run, [images[0], text, *images[1:40]], model=model)
    assert answers[1].error
    labels = [int(answer.label) for i, answer in enumerate(answers) if i != 1]
    assert np.mean(np.array(labels) == digits.test.targets[:40]) > 0.85
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_progress_of_pipes_is_one_line_an_epoch(
    tmp_path: Path, digits: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores, samples a second and the time left."""
    nw.train(net(), digits, run=tmp_path / "run", epochs=3, report=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert all(word in lines[0] for word in ("train/loss", "val/accuracy", "samples/s", "left"))


def test_a_notebook_shows_one_display_that_is_updated(tmp_path: Path) -> None:
    """In a real kernel: no stream of lines, one output."""
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    code = (
        "import netwright as nw\nfrom torch import nn\n"
        "run = nw.train(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 'digits', epochs=2, report=False,"
        f" run={str(tmp_path / 'run')!r})"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert len(shown) == 1
    assert shown[0].data["text/plain"].count("epoch ") == 2


def test_json_output_is_one_object(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: nothing else on standard output."""
    from netwright.cli import main

    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    code = main(
        ["train", f"{tmp_path / 'net.py'}:net", "--data", "digits", "--epochs", "1", "--run", str(tmp_path / "run"),
         "--json", "--no-report"]
    )  # fmt: skip
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["run"] == str(tmp_path / "run")
    assert printed["evaluation"]["headline"] == "accuracy"


def test_ignored_targets_count_neither_in_the_loss_nor_in_the_accuracy() -> None:
    """Samples marked -100 change no running number."""
    from netwright.sums import Sums
    from netwright.tasks.classification import Classification

    batch = nw.Batch({}, torch.tensor([0, 1, -100, -100]), torch.arange(4))
    task = Classification(("a", "b", "c", "d"), "logits", "")
    sums = Sums.zero(torch.device("cpu"))
    sums.update(torch.tensor(0.0), 2, task.running(torch.eye(4), batch))
    assert sums.means()[1] == {"accuracy": 1.0}


def normalised() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def test_one_sample_left_over_is_told_before_it_stops_a_batch_normalised_network() -> None:
    """Asked for, it is an error at once; chosen by us, the batch size leaves no sample alone."""
    inputs, labels = np.random.default_rng(0).normal(size=(65, 4)).astype("float32"), np.arange(65) % 2
    data = nw.load((inputs, labels), options=nw.LoadOptions(val_fraction=0, test_fraction=0))
    with pytest.raises(UsageError) as caught:
        losses(normalised(), data, batch_size=16)
    assert "--batch-size 17" in caught.value.cure
    assert len(losses(normalised(), data, epochs=1)) > 1


def test_a_column_of_classes_is_one_class_a_sample() -> None:
    """Targets (N, 1) are taken as (N,); one-hot ones are refused with the way out."""
    inputs, labels = np.zeros((20, 3), dtype="float32"), np.arange(20) % 2
    assert nw.load((inputs, labels[:, None])).train.targets.ndim == 1
    with pytest.raises(DataError) as caught:
        nw.load((inputs, np.eye(2, dtype=int)[labels]))
    assert "argmax" in caught.value.cure


class Breaks(nn.Module):
    """Fails in training only, as a missing key would."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise KeyError("colour")
        return self.body(image.flatten(1))


def test_what_a_module_raises_in_training_is_told_with_its_own_line(digits: object) -> None:
    """An error of the person's code names their file, and is no bare traceback."""
    with pytest.raises(ModelError) as caught:
        losses(Breaks(), digits)
    assert "test_training.py" in caught.value.message
    assert "colour" in caught.value.message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_keeps_float32_weights(dtype: str, digits: object) -> None:
    """The forward pass runs in the precision asked for; weights and updates stay float32."""
    seen = []
    model = net()
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    found = losses(model, digits, dtype=dtype, epochs=1)
    assert found[-1] < found[0]
    assert getattr(torch, dtype) in seen
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


class Chosen(nn.Module):
    """A constructor argument that changes the function and no shape."""

    def __init__(self, act: str = "relu") -> None:
        super().__init__()
        self.body, self.act = nn.Linear(64, 10), act

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return getattr(torch, self.act)(self.body(image.flatten(1)))


def test_an_instance_with_arguments_is_not_made_again_without_them(tmp_path: Path, digits: object) -> None:
    """Its run is opened with the module given, and refuses to guess."""
    model = Chosen("tanh")
    run = nw.train(model, digits, run=tmp_path / "run", epochs=1, **QUIET)
    with pytest.raises(ModelError) as caught:
        nw.evaluate(run)
    assert "model=net" in caught.value.cure
    assert nw.evaluate(run, model=Chosen("tanh"), with_baselines=False).count == 359


def test_a_run_made_with_an_own_loss_does_not_go_on_without_it(tmp_path: Path, digits: object) -> None:
    """The missing object is named; given again, the run goes on."""

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets)

    run = nw.train(net(), digits, run=tmp_path / "run", epochs=1, loss=loss, **QUIET)
    with pytest.raises(UsageError) as caught:
        nw.resume(run, model=net(), data=digits, **QUIET)
    assert "loss" in caught.value.got
    nw.resume(run, model=net(), data=digits, loss=loss, **QUIET)


def test_a_sigmoid_behind_a_reshape_is_seen() -> None:
    """Probabilities are not put through a sigmoid again: both classes are predicted."""

    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.fc(inputs)).squeeze(1)

    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 2)).astype("float32")
    labels = (inputs.sum(1) > 0).astype(np.int64)
    model = Squeezed()
    for _ in nw.training_steps(model, (inputs, labels), epochs=20, lr=0.1):
        pass
    assert nw.evaluate(model, (inputs, labels), with_baselines=False).score("accuracy").value > 0.95


def test_the_running_mean_absolute_error_is_that_of_the_evaluation(tmp_path: Path) -> None:
    """On the validation split, whatever the batch size."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(300, 3)).astype("float32")
    data = nw.load((inputs, inputs.sum(1)))
    model = nn.Linear(3, 1)
    run = nw.train(model, data, run=tmp_path / "run", epochs=1, keep="last", **QUIET)
    logged = [row["mae"] for row in run.read_metrics() if row["split"] == "val"][-1]
    exact = nw.evaluate(model, data, split="val", with_baselines=False).score("mae").value
    assert logged == pytest.approx(exact, rel=1e-5)


class NanGradient(nn.Module):
    """A finite loss whose gradient is not a number: the root of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        outputs = self.body(image.flatten(1))
        return outputs + (outputs - outputs.detach()).sqrt().mean() * 0 if self.training else outputs


@pytest.mark.parametrize("optimizer", ["AdamW", "LBFGS"])
def test_a_gradient_that_is_not_finite_changes_no_weight(optimizer: str, digits: object) -> None:
    """Looked at before the update, also where the optimizer asks for the loss itself."""
    model = NanGradient()
    before = digest_of(model.state_dict())
    with pytest.raises(NonFiniteError):
        losses(model, digits, optimizer=optimizer, epochs=1)
    assert digest_of(model.state_dict()) == before


class Logarithm(nn.Module):
    """Weights that are finite where training begins, and have no logarithm once they have gone far."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight.log() + 0 * image.flatten(1).mean(1, keepdim=True)


def test_weights_of_an_optimizer_that_goes_too_far_are_put_back(digits: object) -> None:
    """LBFGS asks for the loss again after each move; the first answer alone is finite."""
    model, options = Logarithm(), {"optimizer": "LBFGS", "lr": 1e3, "epochs": 1}
    with pytest.raises(NonFiniteError):
        losses(model, digits, **options)
    assert bool((model.weight == 1).all())
    losses(model, digits, on_nonfinite="skip", **options)
    assert bool((model.weight == 1).all())


def test_minus_infinity_in_a_buffer_is_no_fault(tmp_path: Path, digits: object) -> None:
    """Masks of attention hold it."""
    model = net()
    model.register_buffer("mask", torch.full((2, 2), float("-inf")))
    nw.train(model, digits, run=tmp_path / "run", epochs=1, **QUIET)


def test_a_monitor_of_a_split_that_is_not_there_is_refused_at_once() -> None:
    """Without a validation split only training can be monitored."""
    inputs, labels = np.zeros((40, 3), dtype="float32"), np.arange(40) % 2
    data = nw.load((inputs, labels), options=nw.LoadOptions(val_fraction=0))
    with pytest.raises(UsageError):
        losses(nn.Linear(3, 2), data, monitor="val/loss")


def test_a_loader_without_a_batch_is_refused() -> None:
    """It would never end an epoch."""
    dataset = torch.utils.data.TensorDataset(torch.zeros(5, 3), torch.tensor([0, 1, 0, 1, 0]))
    with pytest.raises(DataError):
        losses(nn.Linear(3, 2), torch.utils.data.DataLoader(dataset, batch_size=8, drop_last=True))


def test_a_kernel_that_was_only_imported_is_no_notebook() -> None:
    """Test tools import it too; there is nothing to draw on."""
    import ipykernel.kernelapp

    from netwright.progress import Lines, choose_progress

    assert not ipykernel.kernelapp.IPKernelApp.initialized()
    assert isinstance(choose_progress(io.StringIO()), Lines)
