"""Several labels a sample: scores as scikit-learn has them, the loss that fits, runs from a file to a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.cli import main
from netwright.errors import DataError, LossError, ModelError, NonFiniteError, UsageError
from netwright.evaluation import Predictions
from netwright.evaluation.multi_label import score_multi_label
from netwright.progress import Silent
from netwright.records import DataSpec
from netwright.starters import write_starter
from netwright.tasks.multi_label import MultiLabel

NAMES = ("a", "b", "c", "d", "e")


def made(count: int = 300, *, seed: int = 0, labels: int = 5, sure: float = 1.5) -> Predictions:
    """Labels of rising frequency; the last one is never there."""
    generator = np.random.default_rng(seed)
    wanted = generator.random((count, labels)) < np.linspace(0.05, 0.6, labels)
    wanted[:, -1] = False
    logits = generator.normal(size=wanted.shape) + sure * (2 * wanted - 1)
    probs = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return Predictions(np.arange(count), wanted.astype(np.float32), probs)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    """Micro, macro, exact sets, Hamming, average precision; means over the labels that are there."""
    predictions = made(seed=seed)
    evaluation = score_multi_label(predictions, split="test", classes=NAMES)
    wanted, given = predictions.targets > 0.5, predictions.probs > 0.5
    held = wanted.any(0)
    both = {"y_true": wanted, "y_pred": given, "zero_division": 0}
    some = {"y_true": wanted[:, held], "y_pred": given[:, held], "zero_division": 0}
    expected = {
        "micro_f1": metrics.f1_score(average="micro", **both),
        "micro_precision": metrics.precision_score(average="micro", **both),
        "micro_recall": metrics.recall_score(average="micro", **both),
        "macro_f1": metrics.f1_score(average="macro", **some),
        "macro_precision": metrics.precision_score(average="macro", **some),
        "macro_recall": metrics.recall_score(average="macro", **some),
        "subset_accuracy": metrics.accuracy_score(wanted, given),
        "hamming_loss": metrics.hamming_loss(wanted, given),
        "mean_average_precision": metrics.average_precision_score(wanted[:, held], predictions.probs[:, held]),
    }
    assert evaluation.headline == "micro_f1"
    assert {score.name for score in evaluation.scores} == expected.keys()
    for score in evaluation.scores:
        assert score.value == pytest.approx(expected[score.name]), score.name
        assert score.low is not None and score.high is not None
        assert score.low <= score.value <= score.high
    for at, row in enumerate(evaluation.per_class):
        column = {"y_true": wanted[:, at], "y_pred": given[:, at], "zero_division": 0}
        assert row.precision.value == pytest.approx(metrics.precision_score(**column))
        assert row.recall.value == pytest.approx(metrics.recall_score(**column))
        assert row.f1.value == pytest.approx(metrics.f1_score(**column))
        assert (row.average_precision is None) == (not wanted[:, at].any())


def test_a_label_never_answered_counts_as_0_in_the_means() -> None:
    """As scikit-learn's zero_division=0."""
    wanted = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.float32)
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.4]], dtype=np.float32)
    evaluation = score_multi_label(Predictions(np.arange(3), wanted, probs), split="test", classes=("x", "y"))
    assert evaluation.score("macro_precision").value == pytest.approx(0.5)
    assert any('never answers "y"' in note for note in evaluation.notes)


def test_intervals_hold_the_truth() -> None:
    """Of 300 samples of 150 each, 91 % and more; micro F1 over labels that come together."""
    truth = {"micro_f1": 0.0, "hamming_loss": 0.0, "macro_f1": 0.0}
    large = score_multi_label(made(60_000, sure=1.0), split="test", classes=NAMES)
    truth = {name: large.score(name).value for name in truth}
    held = dict.fromkeys(truth, 0)
    for seed in range(1, 301):
        evaluation = score_multi_label(made(150, seed=seed, sure=1.0), split="test", classes=NAMES)
        for name in truth:
            score = evaluation.score(name)
            assert score.low is not None and score.high is not None
            held[name] += score.low <= truth[name] <= score.high
    assert min(held.values()) / 300 >= 0.91


def test_what_cannot_be_scored_is_refused() -> None:
    """Nothing, and answers that are no numbers."""
    one = made(3)
    with pytest.raises(DataError, match="at least one sample"):
        score_multi_label(Predictions(*(value[:0] for value in (one.sample_ids, one.targets, one.probs))),
                          split="test", classes=NAMES)  # fmt: skip
    broken = one.probs.copy()
    broken[1, 2] = np.nan
    with pytest.raises(NonFiniteError, match="1 of 3 samples"):
        score_multi_label(Predictions(one.sample_ids, one.targets, broken), split="test", classes=NAMES)


def spec() -> DataSpec:
    targets = (np.random.default_rng(0).random((40, 5)) < 0.3).astype(np.int64)
    return nw.load((np.zeros((40, 3), dtype=np.float32), targets), task="multi_label").spec


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(7, 5, generator=generator) < 0.4).float()
    return Batch({"inputs": torch.zeros(7, 3)}, targets, torch.arange(7))


def test_the_loss_fits_what_is_emitted() -> None:
    """Logits and sigmoids give the same loss, probabilities and running F1."""
    here = batch()
    torch.manual_seed(0)
    raw = torch.randn(7, 5, requires_grad=True)
    tasks = [MultiLabel.fit(spec(), outputs, here) for outputs in (raw, raw.sigmoid())]
    losses = [task.propose_loss(None) for task in tasks]
    assert [loss.name for loss in losses] == ["BCEWithLogitsLoss", "BCELoss"]
    torch.testing.assert_close(losses[0](raw, here), losses[1](raw.sigmoid(), here))
    np.testing.assert_allclose(
        tasks[0].predictions(raw, here).probs, tasks[1].predictions(raw.sigmoid(), here).probs, atol=1e-6
    )
    top, bottom = tasks[0].running(raw, here)["micro_f1"]
    wanted = metrics.f1_score(here.target.numpy(), raw.detach().numpy() > 0, average="micro")
    assert float(top / bottom) == pytest.approx(wanted)
    with pytest.raises(UsageError, match="class-weights"):
        tasks[0].propose_loss(torch.ones(5))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (torch.randn(7, 4, requires_grad=True), "5 columns, one for each label"),
        (torch.randn(7, requires_grad=True), "5 columns"),
        (torch.randn(7, 5, 2, requires_grad=True), "5 columns"),
        (torch.randn(7, 5, requires_grad=True).softmax(1), "a softmax, in which labels share one probability"),
        (torch.randn(7, 5, requires_grad=True).log_softmax(1), "Leave the softmax out"),
    ],
)
def test_outputs_that_cannot_answer_are_refused(outputs: torch.Tensor, said: str) -> None:
    """Another number of columns, or one probability for all."""
    with pytest.raises(ModelError, match=said):
        MultiLabel.fit(spec(), outputs, batch())


def test_a_loss_of_one_class_is_refused_and_others_are_called() -> None:
    """Cross entropy takes one class a sample."""
    here, raw = batch(), torch.randn(7, 5, requires_grad=True)
    task = MultiLabel.fit(spec(), raw, here)
    with pytest.raises(LossError, match="labels that are there or not"):
        task.use_loss(nn.CrossEntropyLoss(), raw, here)
    for loss in (nn.MultiLabelSoftMarginLoss(), nn.MSELoss(), lambda given, wanted: (given - wanted).abs().mean()):
        assert torch.isfinite(task.use_loss(loss, raw, here)(raw, here))


def test_a_run_on_arrays_stands_beside_its_baselines(tmp_path: Path) -> None:
    """From Python, with task="multi_label"; a linear rule is learned, and labels come back."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(600, 6)).astype(np.float32)
    targets = (inputs @ generator.normal(size=(6, 3)) > 0.7).astype(np.int64)
    torch.manual_seed(0)
    net = nn.Linear(6, 3)
    data = nw.load((inputs, targets), task="multi_label")
    run = nw.train(net, data, run=tmp_path / "run", epochs=20, lr=0.05, progress=Silent())
    evaluation = run.read_evaluation()
    assert evaluation.score("micro_f1").value > 0.9
    by_name = {one.name: one.score.value for one in evaluation.baselines}
    assert by_name["most_frequent_labels"] < 0.5 < by_name["logistic_regression"]
    (answer,) = nw.predict(run, [inputs[0]], model=net)
    assert answer.labels is not None and answer.probabilities is not None
    assert set(answer.labels) == {name for name, value in answer.probabilities.items() if value > 0.5}
    assert nw.evaluate(run, data, model=net).score("micro_f1").value == evaluation.score("micro_f1").value
    page = run.report_file.read_text(encoding="utf-8")
    assert 'id="classes"' in page
    assert 'id="mistakes"' not in page


def test_a_run_on_texts_goes_from_a_file_to_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels in one column, on the command line, in both languages of the report."""
    pytest.importorskip("tokenizers", reason="needs the text extra")
    pytest.importorskip("pandas", reason="needs the text extra")
    generator = np.random.default_rng(0)
    lines = ["text,labels"]
    for _ in range(500):
        there = [name for name in ("red", "round", "大") if generator.random() < 0.4]
        words = [*there, *generator.choice(["it", "is", "so", "very"], 4)]
        generator.shuffle(words)
        lines.append(f"{' '.join(words)},{'|'.join(there)}")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_starter("rnn", tmp_path / "mine")
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path}/mine/net.py:Net", "--data", str(tmp_path / "a.csv"), "--run", run]
    assert main([*command, "--epochs", "8", "--arg", "features=32", "--lang", "zh"]) == 0
    assert "val/micro_f1" in capsys.readouterr().err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["scores"][0]["value"] > 0.8
    assert {one["name"] for one in evaluation["baselines"]} == {"most_frequent_labels", "tfidf_logistic_regression"}
    assert main(["predict", run, "so red and 大", "it is"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "red 0." in first and "大 0." in first
    assert second.endswith("–")
