"""A graph in fewer bits, taken only where it costs little: weights and activations of 8 bits, or floats of 16.

The price is measured on the compared split, sample by sample beside the plain graph: what is lost of the score, and
its interval.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from netwright.answering.model import load_runtime
from netwright.batch import Batch
from netwright.ctc import greedy
from netwright.data.batches import eval_batches
from netwright.errors import CertificateError, UsageError, require
from netwright.intervals import quantile_of
from netwright.metrics.edits import edit_distance
from netwright.shipping.bundle import scored, stored
from netwright.shipping.subject import Subject
from netwright.tasks.objective import IGNORE_INDEX

Kind = Literal["int8", "fp16"]
ALLOWED = 0.005  # of a score between 0 and 1; of an error as a share of it
CALIBRATED = 256  # samples of training that ranges of activations are taken from
BATCH = 32


@dataclass(frozen=True, slots=True)
class Price:
    """What a lighter graph loses of its score.

    Attributes:
        score: What was compared.
        before, value: Of the plain graph and of the lighter one.
        loss: How much is lost: above 0 is worse.
        interval: Of the loss, 95 %.
    """

    score: str
    before: float
    value: float
    loss: float
    interval: tuple[float, float]

    def record(self, allowed: float) -> dict[str, Any]:
        """For the certificate."""
        return {
            "score": self.score, "before": self.before, "value": self.value, "loss": self.loss,
            "interval": list(self.interval), "allowed": allowed,
        }  # fmt: skip


def lighten(model: bytes, kind: Kind, subject: Subject) -> bytes:
    """The graph in fewer bits.

    Args:
        model: The plain one.
        kind: int8 with ranges from the training split (static, per channel), or fp16 with float32 in and out.
    """
    load_runtime()
    return _int8(model, subject) if kind == "int8" else _fp16(model)


def _fp16(model: bytes) -> bytes:
    import onnx

    float16 = require("onnxruntime.transformers.float16", "export")
    made = float16.convert_float_to_float16(onnx.load_model_from_string(model), keep_io_types=True)
    held: bytes = made.SerializeToString()
    return held


def _int8(model: bytes, subject: Subject) -> bytes:
    quantization = require("onnxruntime.quantization", "export")
    shapes = require("onnxruntime.quantization.shape_inference", "export")

    import onnx

    with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
        plain, ready, made = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        plain.write_bytes(model)
        shapes.quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        names = [one.name for one in onnx.load(str(ready), load_external_data=False).graph.input]
        quantization.quantize_static(
            str(ready), str(made), _Reader(subject, names), per_channel=True,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add", "Mul", "MaxPool", "AveragePool", "Relu"],
        )  # fmt: skip
        return made.read_bytes()


class _Reader:
    """What onnxruntime asks for batches; its own base class is asked for nothing else."""

    def __init__(self, subject: Subject, names: list[str]) -> None:
        self._names = names
        self._batches = _of_training(subject)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch; None behind the last."""
        batch = next(self._batches, None)
        return None if batch is None else {name: batch.inputs[name].numpy() for name in self._names}


def _of_training(subject: Subject) -> Iterator[Batch]:
    """Some of the training split, without augmentation; never of what the score is taken on."""
    taken = 0
    for batch in eval_batches(stored(subject.data), "train", batch_size=BATCH, workers=0):
        yield batch
        taken += len(batch)
        if taken >= CALIBRATED:
            return


Run = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def price(plain: Run, lighter: Run, names: list[str], subject: Subject) -> Price:
    """What the lighter graph loses on the compared split, sample by sample.

    Args:
        plain, lighter: Answers of the graphs to stored fields.
        names: Fields that they take.
    """
    before: list[float] = []
    after: list[float] = []
    for batch in eval_batches(stored(subject.data), scored(subject.data), batch_size=BATCH, workers=0):
        feed = {name: batch.inputs[name].numpy() for name in names}
        for run, held in ((plain, before), (lighter, after)):
            held += each_score(run(feed), batch, subject)
    score = SCORES[subject.trained.data_spec.task]
    return paired(np.asarray(before), np.asarray(after), score, error=_is_error(subject))


def paired(before: NDArray[Any], after: NDArray[Any], score: str, *, error: bool) -> Price:
    """The loss and its 95 % interval, from two scores of each sample.

    Args:
        before, after: (N,).
        error: Whether less is better; then the loss is a share of the error before.

    Source:
        The normal interval of a mean of paired differences. Where none differs, Laplace's rule of succession stands in
        for their variance, as if one more sample each way had differed.
    """
    gap = (after - before) if error else (before - after)
    scale = max(float(before.mean()), 1e-12) if error else 1.0
    count = len(gap)
    deviation = float(gap.std()) or math.sqrt(2 / (count + 2))
    half = quantile_of(0.95) * deviation / math.sqrt(count)
    loss = float(gap.mean())
    return Price(
        score, float(before.mean()), float(after.mean()), loss / scale, ((loss - half) / scale, (loss + half) / scale)
    )


def gate(found: Price, kind: Kind, allowed: float) -> None:
    """Refuse a graph that loses too much.

    Raises:
        CertificateError: It loses more than is allowed, or its answers are no numbers.
    """
    if not math.isfinite(found.loss):
        raise CertificateError(
            where=f"--{kind}", expected="answers in finite numbers", got=f"{found.score} {found.value}",
            cure="Its numbers are too large for so few bits: export without it.",
        )  # fmt: skip
    if found.loss > allowed:
        low, high = found.interval
        raise CertificateError(
            where=f"--{kind}",
            expected=f"a loss of at most {allowed:g} in {found.score}",
            got=f"{found.loss:.4f} (95 % interval {low:.4f} to {high:.4f}): {found.value:.4f}, not {found.before:.4f}",
            cure=f"Export without --{kind}, or allow more by --allow-drop.",
        )


SCORES = {
    "classification": "accuracy", "multi_label": "label accuracy", "regression": "mean absolute error",
    "forecasting": "mean absolute error", "tagging": "tag accuracy", "transcription": "character error rate",
    "next_token": "accuracy", "several": "mean of the answers' scores",
}  # fmt: skip


def refuse_unscored(task: str, kind: Kind) -> None:
    """Refuse fewer bits where nothing tells what they cost: only the person's own code scores their own task.

    Raises:
        UsageError: It is such a task.
    """
    if task not in SCORES:
        raise UsageError(
            where=f"--{kind}",
            expected=f"a task whose answers are scored one by one: {', '.join(SCORES)}",
            got=f"one of your own, {task}",
            cure="Leave it out.",
        )


def _is_error(subject: Subject) -> bool:
    return subject.trained.data_spec.task in ("regression", "forecasting", "transcription")


def each_score(got: dict[str, NDArray[Any]], batch: Batch, subject: Subject) -> list[float]:
    """The score of each sample, or of each position that counts."""
    task = subject.trained.data_spec.task
    if task == "several" and isinstance(batch.targets, dict):
        kinds = {one.name: one.task for one in subject.trained.data_spec.answers}
        columns = []
        for name, kind in kinds.items():
            key = f"{name}.{'values' if kind == 'regression' else 'probabilities'}"
            held = np.asarray(_each(kind, got[key], batch.targets[name].numpy()))
            columns.append(-held / subject.scales.get(name, 1.0) if kind == "regression" else held)
        return [float(value) for value in np.mean(columns, axis=0)]
    if task == "transcription":
        rows = zip(got["log_probs"], got["frames"], batch.target.numpy(), strict=True)
        return [_edits(row[:count], target) for row, count, target in rows]
    return _each(task, next(iter(got.values())), batch.target.numpy())


def _edits(log_probs: NDArray[Any], target: NDArray[Any]) -> float:
    truth = target[target != IGNORE_INDEX].tolist()
    return edit_distance(truth, greedy(log_probs).tolist()) / max(1, len(truth))


def _each(task: str, output: NDArray[Any], target: NDArray[Any]) -> list[float]:
    if task == "classification":
        kept = target != IGNORE_INDEX
        return [float(value) for value in (output.argmax(1) == target)[kept]]
    if task == "multi_label":
        return [float(value) for value in ((output > 0.5) == (target > 0.5)).mean(1)]
    if task == "tagging":
        kept = target != IGNORE_INDEX
        return [float(value) for value in (output.argmax(2) == target)[kept]]
    if task == "next_token":
        last = target[:, -1] if target.ndim == 2 else target
        return [float(value) for value in (output.argmax(1) == last)]
    error = np.abs(output.reshape(len(output), -1) - target.reshape(len(target), -1))
    return [float(value) for value in np.nanmean(error, axis=1)]
