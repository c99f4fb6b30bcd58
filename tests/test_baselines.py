"""Baselines, worst samples, and how an evaluation looks on a terminal."""

import base64
import importlib
import io
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader, TensorDataset

from evaluation_fixture import blobs, classified, data_of, probabilities
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.errors import DataError
from netwright.evaluation import Predictions, baselines, beside_baselines, score, worst_samples
from netwright.evaluation.worst import thumbnail
from netwright.results import Baseline, Evaluation, Score
from netwright.tables import render_evaluation

fitting: Any = importlib.import_module("netwright.evaluation.baselines")  # the package has a function of that name


def test_baselines_of_a_classification() -> None:
    """The most frequent class is at chance, a line and the nearest neighbour find what there is to find."""
    data = blobs(2_000)
    found = {one.name: one for one in baselines(data, "test", "classification", seed=0)}
    assert list(found) == ["most_frequent", "logistic_regression", "nearest_neighbour"]
    assert 0.45 < found["most_frequent"].score.value < 0.55
    assert found["logistic_regression"].score.value > 0.9
    assert found["nearest_neighbour"].score.value > 0.82
    for one in found.values():
        assert one.score.name == "accuracy"
        assert one.score.low < one.score.value < one.score.high  # type: ignore[operator]
        assert "scored on all 1,000 samples" in one.detail
    assert baselines(data, "test", "classification", seed=0) == tuple(found.values())


@pytest.mark.parametrize("classes", [2, 4])
def test_the_simplest_answers_are_those_of_scikit_learn(classes: int) -> None:
    """Which takes two seconds to import; also of samples that lie close beside each other, far from others."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(1_500, 2)).astype(np.float32)
    inputs[:, 0] = np.linspace(0, 1, 1_500)
    inputs[0] = 50.0
    scores = inputs @ generator.normal(size=(2, classes)) + 0.3 * generator.normal(size=(1_500, classes))
    targets = scores.argmax(1)
    train, other = (fitting._Samples(inputs[part], targets[part]) for part in (slice(0, 1_000), slice(500, 1_500)))
    ours = fitting._logistic(train, other, "classification"), fitting._nearest(train, other, "classification")
    inverse_penalty = fitting.INVERSE_PENALTY * fitting.MAX_TRAIN / 1_000
    theirs = LogisticRegression(C=inverse_penalty), KNeighborsClassifier(1, algorithm="brute")
    for answers, model in zip(ours, theirs, strict=True):
        assert (answers == model.fit(inputs[:1_000], targets[:1_000]).predict(other.features)).mean() >= 0.998
    assert (ours[1][:500] == targets[500:1_000]).all()  # each finds itself


def test_baselines_on_training_data_have_no_neighbour() -> None:
    """Each sample would be its own."""
    names = [one.name for one in baselines(blobs(200), "train", "classification", seed=0)]
    assert names == ["most_frequent", "logistic_regression"]


def test_baselines_of_a_regression() -> None:
    """Mean and median stand for no knowledge; a line finds a line, for one output and for two."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(600, 5)).astype(np.float32)
    weights = generator.normal(size=(5, 2)).astype(np.float32)
    for targets in (inputs @ weights[:, 0], inputs @ weights):
        data = data_of(torch.from_numpy(inputs), torch.from_numpy(targets), train=400)
        found = {one.name: one.score for one in baselines(data, "test", "regression", seed=0)}
        assert list(found) == ["mean", "median", "ridge", "nearest_neighbour"]
        assert found["ridge"].value < 0.05 * found["mean"].value
        assert found["nearest_neighbour"].value < found["median"].value
        assert not found["mean"].higher_is_better


def test_baselines_of_mnist_size_take_six_seconds() -> None:
    """60,000 and 10,000 images of 28 x 28: a part is picked, in proportion to the classes, and said."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 10, 70_000)
    means = generator.integers(0, 255, (10, 1, 28, 28))
    images = (means[targets] * 0.3 + generator.integers(0, 178, (70_000, 1, 28, 28), dtype=np.uint8)).astype(np.uint8)
    data = data_of(torch.from_numpy(images), torch.from_numpy(targets), train=60_000)
    started = time.process_time()
    found = baselines(data, "test", "classification", seed=0)
    assert time.process_time() - started < 6
    assert "fitted on 5,000 training samples, scored on all 10,000 samples" in found[1].detail
    assert found[1].score.value > 0.9


def test_real_digits_have_strong_baselines(store: Any) -> None:
    """On MNIST a linear model reaches 89 % and the nearest neighbour 92 %."""
    from netwright.data import load

    del store
    found = {one.name: one.score.value for one in baselines(load("mnist"), "test", "classification", seed=0)}
    assert 0.10 < found["most_frequent"] < 0.13
    assert found["logistic_regression"] > 0.89
    assert found["nearest_neighbour"] > 0.92


def test_baselines_disturb_no_random_numbers() -> None:
    """The generators of a training that goes on are as before."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    baselines(blobs(200), "test", "classification", seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_large_images_are_averaged_down_and_wide_rows_thinned_out() -> None:
    """Inputs of more than 4,096 numbers; ignored targets and one-class training do no harm either."""
    targets = torch.arange(60) % 2
    images = torch.zeros(60, 3, 80, 80, dtype=torch.uint8)
    images[targets == 1, :, 20:60] = 200
    for inputs in (images, images.reshape(60, -1).float()):
        found = baselines(data_of(inputs, targets, train=40), "test", "classification", seed=0)
        assert found[1].score.value == 1.0
    ignored = targets.clone()
    ignored[::3] = -100
    few = baselines(data_of(images, ignored, train=40), "test", "classification", seed=0)
    assert "scored on all 14 samples" in few[0].detail
    alike = data_of(images, torch.zeros(60, dtype=torch.int64), train=40)
    assert [one.name for one in baselines(alike, "test", "classification", seed=0)] == ["most_frequent"]
    nowhere = data_of(images, torch.full((60,), -100), train=40)
    assert baselines(nowhere, "test", "classification", seed=0) == ()
    holes = images.reshape(60, -1).float()
    holes[:5] = math.nan
    assert len(baselines(data_of(holes, targets, train=40), "test", "classification", seed=0)) == 3


@dataclass(frozen=True)
class Ragged:
    """Samples of different lengths, which cannot be stacked. Suffices: baselines only gather and read targets."""

    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def gather(self, indices: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        raise DataError(where="a batch", expected="samples of one shape", got=f"{len(indices)}", cure="Pad them.")

    def name(self, index: int) -> str:
        return f"ragged[{index}]"


def test_samples_of_several_shapes_leave_the_constant() -> None:
    """What looks at no input can always be scored; worst samples have no picture then."""
    source = Ragged(np.array([0, 1] * 20))
    data = Data(blobs(10).spec, source, test=source)
    assert [one.name for one in baselines(data, "test", "classification", seed=0)] == ["most_frequent"]
    wrong = Predictions(np.arange(2), np.array([0, 1]), np.array([[0.2, 0.8], [0.1, 0.9]]))
    assert [(one.name, one.picture) for one in worst_samples(data, "test", wrong)] == [("ragged[0]", None)]


def simple(name: str, value: float, low: float | None, high: float | None, *, higher: bool = True) -> Score:
    return Score(name=name, value=value, low=low, high=high, higher_is_better=higher)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ((0.3, 0.28, 0.32), None),
        ((0.88, 0.8, 0.95), "within chance"),
        ((0.99, 0.98, 1.0), "does not beat"),
        ((0.5, None, None), None),
    ],
)
def test_a_headline_that_does_not_clear_its_baseline_is_doubted(theirs: tuple[Any, Any, Any], said: str | None) -> None:
    """Where the intervals touch, or the baseline is better."""
    evaluation = Evaluation(
        task="classification",
        split="test",
        count=90,
        headline="accuracy",
        scores=(simple("accuracy", 0.9, 0.85, 0.94),),
    )
    rival = Baseline(name="nearest_neighbour", detail="", score=simple("accuracy", *theirs))
    other = Baseline(name="odd", detail="", score=simple("loss", 0.1, None, None, higher=False))
    noted = beside_baselines(evaluation, (rival, other))
    assert noted.baselines == (rival, other)
    assert ([said in note for note in noted.notes] == [True]) if said else noted.notes == ()


def test_a_regression_that_does_not_clear_its_baseline_is_doubted() -> None:
    """Lower is better there."""
    mine = simple("mae", 2.0, 1.8, 2.2, higher=False)
    evaluation = Evaluation(task="regression", split="test", count=90, headline="mae", scores=(mine,))
    better, worse = (
        Baseline(name="ridge", detail="", score=simple("mae", v, v - 0.1, v + 0.1, higher=False)) for v in (1.0, 9.0)
    )
    assert "does not beat" in beside_baselines(evaluation, (better, worse)).notes[0]
    assert beside_baselines(evaluation, (worse,)).notes == ()


def picture_of(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/png;base64,"))))


def test_worst_samples_are_the_surest_mistakes() -> None:
    """Wrong answers only, surest first, with names, classes and the raw picture."""
    images = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1).expand(6, 1, 8, 8) * 40
    data = data_of(images.contiguous(), torch.tensor([0, 0, 0, 1, 1, 0]), train=2, classes=("cat", "dog"))
    probs = np.array([[0.4, 0.6], [0.8, 0.2], [0.1, 0.9], [0.05, 0.95]])
    found = worst_samples(data, "test", Predictions(np.arange(4), np.array([0, 1, 1, 0]), probs))
    assert [one.sample_id for one in found] == [3, 1, 0]
    assert (found[0].name, found[0].target, found[0].prediction) == ("test[3]", "cat", "dog")
    assert found[0].confidence == 0.95
    picture = picture_of(found[0].picture or "")
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("L", (8, 8), 200)
    assert len(worst_samples(data, "test", Predictions(np.arange(4), np.array([0, 1, 1, 0]), probs), count=1)) == 1


def test_worst_samples_of_a_regression_have_the_largest_error() -> None:
    """With the sign of the error; several outputs are averaged."""
    inputs = torch.zeros(3, 2)
    data = data_of(inputs, torch.tensor([0.0, 1.0, 2.0]), train=1)
    found = worst_samples(data, "test", Predictions(np.arange(2), np.array([1.0, 2.0]), np.array([1.25, -1.0])))
    shown = [(one.sample_id, one.error, one.target, one.prediction) for one in found]
    assert shown == [(1, -3.0, "2", "-1"), (0, 0.25, "1", "1.25")]
    assert found[0].picture is None
    wide = torch.zeros(3, 6)
    found = worst_samples(
        data_of(inputs, wide, train=1), "test", Predictions(np.arange(2), wide[:2].numpy(), np.ones((2, 6)))
    )
    assert (found[0].error, found[0].target) == (1.0, "0, 0, 0, 0, …")


def test_a_shuffling_loader_gives_no_wrong_pictures() -> None:
    """Its ids do not find a sample again: no picture, and a name by place. In fixed order there is one."""
    images, targets = torch.rand(8, 3, 10, 10), torch.zeros(8, dtype=torch.int64)
    wrong = Predictions(np.arange(8), targets.numpy(), np.tile([0.2, 0.8], (8, 1)))
    for shuffle in (True, False):
        loader = DataLoader(TensorDataset(images, targets), batch_size=4, shuffle=shuffle)
        source = LoaderSource(loader, targets.numpy(), ("image",), "test")
        found = worst_samples(Data(blobs(10).spec, source, test=source), "test", wrong)
        assert [one.picture is None for one in found] == [shuffle] * 8
    other = data_of(images, targets + 1, train=1)  # data that changed since
    assert (
        worst_samples(other, "test", Predictions(np.arange(7), targets[1:].numpy(), wrong.probs[1:]))[0].picture is None
    )


def test_thumbnails_are_small_pngs_of_images_only() -> None:
    """Real numbers are stretched to black and white; large images shrink; what is no image has no picture."""
    stretched = picture_of(thumbnail(np.array([[[-1.0, 0.0, 3.0]]])) or "")
    assert [stretched.getpixel((x, 0)) for x in range(3)] == [0, 64, 255]
    large = picture_of(thumbnail(np.zeros((3, 300, 600), np.uint8)) or "")
    assert (large.mode, large.size) == ("RGB", (96, 48))
    assert thumbnail(np.full((1, 2, 2), np.nan)) is not None
    assert thumbnail(np.zeros((2, 4, 4))) is None
    assert thumbnail(np.zeros(4)) is None


def rendered(evaluation: Evaluation, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    render_evaluation(evaluation, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_table_shows_headline_baseline_scores_and_doubts() -> None:
    """The headline with its interval first, the best baseline beside it."""
    data = blobs(400)
    targets = np.asarray(data.split("test").targets)
    evaluation = score(
        Predictions(np.arange(200), targets, probabilities(targets, 2)), task="classification", split="test"
    )
    text = rendered(beside_baselines(evaluation, baselines(data, "test", "classification", seed=0)))
    lines = text.splitlines()
    assert lines[0].startswith("accuracy ")
    assert "95 % interval" in lines[0]
    assert lines[1].startswith("best baseline logistic regression ")
    for word in ("macro F1", "DeLong", "true ↓", "most frequent", "note"):
        assert word in text


def test_table_obeys_no_name() -> None:
    """Markup and control characters in class names are shown, not obeyed."""
    text = rendered(classified(60, 2, classes=("[bold]x[/bold][/]", "\x1b[31my\u202e")), width=160)
    assert "[bold]x" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_table_of_many_classes_shows_the_worst() -> None:
    """Twenty rows, and no confusion table that would not fit."""
    text = rendered(classified(2_000, 30, classes=tuple(f"class {i:02d}" for i in range(30))))
    assert "The 20 classes of lowest F1, of 30" in text
    assert text.count(" class ") + text.count("\nclass ") == 20 + 1  # the heading of the column too
    assert "true ↓" not in text
    assert "mean absolute error" in rendered(
        score(Predictions(np.arange(9), np.arange(9.0), np.arange(9.0) + 1), task="regression", split="test")
    )
