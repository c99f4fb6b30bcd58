"""Run folders made from records, without training: what a report has to be able to show.

PYTHONPATH=src:tests python tests/reporting_fixture.py FOLDER   writes one of each kind, with its report
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import numpy as np

from netwright.intervals import wilson
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, SplitSpec
from netwright.results import Baseline, CalibrationBin, ClassRow, Evaluation, Score, WorstSample
from netwright.run import Run
from reporting_records import common_files, image_spec, run_spec

DIGITS = tuple("0123456789")
CHINESE = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")
# Names that would break a page that trusts them: markup, turned text, a terminal's escape, length.
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eevil\u202c",
    "\x1b[31mred\x1b[0m",
    "{{ 7 * 7 }}",
    "a" * 300,
    "עברית",
    "&amp;",
    "--first: red;",
    "  ",
)


def digits_run(
    folder: Path, classes: tuple[str, ...] = DIGITS, *, evaluated: bool = True, pictures: bool = True, seed: int = 0
) -> Run:
    """A finished classification run on the embedded digits, judged on 360 test samples."""
    from sklearn.datasets import load_digits

    images = load_digits().images[-360:]
    targets = load_digits().target[-360:].astype(int)
    generator = np.random.default_rng(seed)
    probs = _answers(targets, generator)
    run = common_files(folder, image_spec(classes), "accuracy", generator)
    if evaluated:
        shown = images if pictures else None
        run.write(classification(targets, probs, classes, images=shown))
    return run


def regression_run(folder: Path) -> Run:
    """A finished regression run on a table of ten columns."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(1)
    targets = generator.normal(150, 75, 89)
    values = targets * 0.6 + 60 + generator.normal(0, 45, 89)
    spec = DataSpec(
        name="diabetes",
        source="arrays from Python",
        kind="tensor",
        task="regression",
        inputs=(FieldSpec(name="inputs", shape=(10,), dtype="float32"),),
        target=FieldSpec(name="target", shape=(), dtype="float32"),
        classes=None,
        splits={"train": SplitSpec(count=309), "val": SplitSpec(count=44), "test": SplitSpec(count=89)},
        preprocess=Preprocess(),
        options=LoadOptions(),
        choices=(Choice(name="task", value="regression", reason="the targets are float64"),),
        digest="9c" * 32,
    )
    run = common_files(folder, spec, "mae", generator)
    run.write(_regression(targets, values))
    save_file(
        {"sample_ids": np.arange(89), "targets": targets.astype(np.float32), "values": values.astype(np.float32)},
        run.predictions_file,
    )
    return run


def many_classes_run(folder: Path, num_classes: int = 100) -> Run:
    """A run whose confusion table would not fit a page."""
    generator = np.random.default_rng(2)
    names = tuple(f"class {index:03d}" for index in range(num_classes))
    targets = generator.integers(0, num_classes, 6000)
    probs = _answers(targets, generator, num_classes=num_classes, miss=0.2)
    run = common_files(folder, image_spec(names), "accuracy", generator)
    run.write(classification(targets, probs, names, images=None))
    return run


def bare_run(folder: Path) -> Run:
    """Only what is written first: settings, and no row of metrics."""
    folder.mkdir(parents=True)
    run = Run(folder)
    run.write_spec(run_spec())
    return run


def classification(
    targets: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], *, images: np.ndarray | None
) -> Evaluation:
    """Score answers the plain way."""
    preds, total, num_classes = probs.argmax(1), len(targets), probs.shape[1]
    table = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(table, (targets, preds), 1)
    confidence, right = probs.max(1), preds == targets
    accuracy = float(right.mean())
    rows = tuple(_class_row(classes[index], table, index) for index in range(num_classes))
    bins = _bins(confidence, right)
    ece = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total
    macro = float(np.mean([row.f1.value for row in rows]))
    log_loss = float(-np.log(probs[np.arange(total), targets]).mean())
    worst = [index for index in np.argsort(-confidence) if not right[index]][:24]
    return Evaluation(
        task="classification",
        split="test",
        count=total,
        headline="accuracy",
        scores=(
            _share("accuracy", accuracy, total),
            Score(name="macro_f1", value=macro, low=macro - 0.026, high=min(1.0, macro + 0.022), method="bootstrap"),
            Score(
                name="log_loss",
                value=log_loss,
                low=log_loss * 0.7,
                high=log_loss * 1.4,
                method="bootstrap",
                higher_is_better=False,
            ),
            Score(name="ece", value=ece, higher_is_better=False),
        ),
        classes=classes,
        per_class=rows,
        confusion=tuple(tuple(row) for row in table.tolist()),
        calibration=bins,
        baselines=(
            Baseline(
                name="majority",
                detail=f"always {classes[1]}, the most frequent class of training",
                score=_share("accuracy", 37 / 360, total),
            ),
            Baseline(
                name="logistic_regression",
                detail="scikit-learn LogisticRegression on the flattened inputs, 1,257 samples",
                score=_share("accuracy", 325 / 360, total),
            ),
        ),
        worst=tuple(_worst(index, targets, preds, confidence, classes, images) for index in worst),
        notes=("360 samples: an accuracy can be off by 2 points by chance alone.",),
    )


def _answers(
    targets: np.ndarray, generator: np.random.Generator, *, num_classes: int = 10, miss: float = 0.07
) -> np.ndarray:
    """Probabilities (N, C) that are mostly right, and wrong more often between some classes."""
    logits = generator.normal(0, 1, (len(targets), num_classes))
    logits[np.arange(len(targets)), targets] += generator.normal(9, 2.2, len(targets))
    missed = generator.random(len(targets)) < miss
    mixed = np.where(generator.random(len(targets)) < 0.6, (targets * 7 + 3) % num_classes, (targets + 1) % num_classes)
    logits[missed, mixed[missed]] += generator.normal(8, 1.5, missed.sum())
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exp / exp.sum(1, keepdims=True))


def _share(name: str, value: float, count: int) -> Score:
    low, high = wilson(value * count, count) if count else (None, None)
    return Score(name=name, value=value, low=low, high=high, method="wilson")


def _class_row(name: str, table: np.ndarray, index: int) -> ClassRow:
    hit, support, predicted = int(table[index, index]), int(table[index].sum()), int(table[:, index].sum())
    precision, recall = hit / predicted if predicted else 0.0, hit / support if support else 0.0
    f1 = 2 * hit / (support + predicted) if support + predicted else 0.0
    return ClassRow(
        name=name,
        support=support,
        predicted=predicted,
        precision=_share("precision", precision, predicted),
        recall=_share("recall", recall, support),
        f1=_share("f1", f1, support).model_copy(update={"method": "bootstrap"}),
    )


def _bins(confidence: np.ndarray, right: np.ndarray) -> tuple[CalibrationBin, ...]:
    edges = np.linspace(0, 1, 11)
    bins = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        count = int(inside.sum())
        mean, share = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (0.0, 0.0)
        bins.append(CalibrationBin(low=low, high=high, count=count, confidence=mean, accuracy=share))
    return tuple(bins)


def _worst(
    index: int,
    targets: np.ndarray,
    preds: np.ndarray,
    confidence: np.ndarray,
    classes: tuple[str, ...],
    images: np.ndarray | None,
) -> WorstSample:
    return WorstSample(
        sample_id=int(index),
        name=f"test[{index}]",
        target=classes[targets[index]],
        prediction=classes[preds[index]],
        confidence=float(confidence[index]),
        picture=None if images is None else _picture(images[index]),
    )


def _picture(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((image * 255 / 16).astype(np.uint8)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _regression(targets: np.ndarray, values: np.ndarray) -> Evaluation:
    rmse = float(np.sqrt(np.mean((values - targets) ** 2)))
    mae = float(np.mean(abs(values - targets)))
    r2 = 1 - rmse**2 / float(np.var(targets))
    order = np.argsort(-abs(values - targets))[:8]
    return Evaluation(
        task="regression",
        split="test",
        count=len(targets),
        headline="rmse",
        scores=(
            Score(
                name="rmse", value=rmse, low=rmse * 0.88, high=rmse * 1.13, method="bootstrap", higher_is_better=False
            ),
            Score(name="mae", value=mae, low=mae * 0.86, high=mae * 1.15, method="bootstrap", higher_is_better=False),
            Score(name="r2", value=r2, low=r2 - 0.12, high=r2 + 0.09, method="bootstrap"),
        ),
        baselines=(
            Baseline(
                name="mean",
                detail="always the mean of training",
                score=Score(name="rmse", value=75.6, low=67.0, high=83.9, method="bootstrap", higher_is_better=False),
            ),
        ),
        worst=tuple(
            WorstSample(
                sample_id=int(index),
                name=f"test[{index}]",
                target=f"{targets[index]:.1f}",
                prediction=f"{values[index]:.1f}",
                error=float(values[index] - targets[index]),
            )
            for index in order
        ),
    )


def main(folder: Path) -> None:
    """Write one run of each kind, with its report in both languages."""
    from netwright.reporting import report

    runs = (
        digits_run(folder / "2026-11-23-digits-net"),
        digits_run(folder / "chinese", CHINESE),
        digits_run(folder / "hostile", HOSTILE),
        digits_run(folder / "not-evaluated", evaluated=False),
        regression_run(folder / "regression"),
        many_classes_run(folder / "many-classes"),
        bare_run(folder / "bare"),
    )
    for run in runs:
        report(run.path)
        report(run.path, lang="zh", out=run.path / "report.zh.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
