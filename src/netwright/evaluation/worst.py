"""The samples a model got most wrong, with their pictures. ``N`` samples, ``C`` channels, ``H`` height, ``W`` width."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netwright.errors import NetwrightError
from netwright.evaluation.predictions import Predictions
from netwright.evaluation.worst_sounds import heard
from netwright.results import WorstSample

if TYPE_CHECKING:
    from netwright.data.dataset import Data
    from netwright.data.sources import Source

# Pixels of a thumbnail's longer side: 24 of them are about 150 kB in a report.
THUMBNAIL = 96
MAX_NUMBERS = 4
MAX_LETTERS = 2_000


def worst_samples(data: Data, split: str, predictions: Predictions, *, count: int = 24) -> tuple[WorstSample, ...]:
    """Find what the model got wrong most confidently; in regression, with the largest error.

    Args:
        data: To name and show the samples.
        split: Where the predictions are from.
        predictions: All of it.
        count: At most so many; in classification only wrong answers count.

    Returns:
        Worst first; of equals the one that comes first. Pictures are PNG of at most 96 x 96 pixels, where the input is
        a grey or colour image (C, H, W) and the source keeps its samples in a known order.
    """
    source = data.split(split)
    classification = data.spec.task == "classification"
    if classification:
        preds, confidence = predictions.probs.argmax(1), predictions.probs.max(1)
        badness = np.where(preds == predictions.targets, -1.0, confidence.astype(np.float64))
    else:
        targets = predictions.targets.reshape(len(predictions), -1).astype(np.float64)
        error = predictions.values.reshape(targets.shape) - targets
        badness = np.abs(error).mean(1)
    order = [int(i) for i in np.argsort(-badness, kind="stable")[:count] if badness[i] >= 0]
    ids = predictions.sample_ids[order].astype(np.int64)
    known = _in_known_order(source)
    cells = _cells(source, ids.tolist())
    pictures = _pictures(source, ids, predictions.targets[order]) if known and len(ids) else [None] * len(ids)
    found = []
    for place, sample_id, picture, row in zip(order, ids.tolist(), pictures, cells, strict=True):
        name = source.name(sample_id) if known else f"{split}[{sample_id}]"
        if classification:
            wanted, given = int(predictions.targets[place]), int(preds[place])
            answer: dict[str, Any] = {"confidence": float(confidence[place])}
            texts = _class_name(data, wanted), _class_name(data, given)
        else:
            own = error[place]
            answer = {"error": float(own[0] if len(own) == 1 else badness[place])}
            texts = _numbers(targets[place]), _numbers(targets[place] + own)
        target, prediction = texts
        found.append(
            WorstSample(
                sample_id=sample_id,
                name=name,
                target=target,
                prediction=prediction,
                text=_text(source, sample_id),
                row=row,
                **({"picture": picture} | heard(source, sample_id) | answer),
            )
        )
    return tuple(found)


def _cells(source: Source, ids: Sequence[int]) -> list[tuple[tuple[str, str], ...] | None]:
    """The rows of a table as they stand in its file; None for other data, or where the file has gone."""
    from netwright.data.tables import TableSource

    if not isinstance(source, TableSource) or not ids:
        return [None] * len(ids)
    try:
        return [tuple(row.items()) for row in source.cells(ids)]
    except (NetwrightError, OSError):
        return [None] * len(ids)


def worst_label_sets(data: Data, split: str, predictions: Predictions, *, count: int = 24) -> tuple[WorstSample, ...]:
    """Find the samples with the most, and the surest, wrong labels: the largest sum of what was off by more than half.

    Args:
        data: To name and show the samples.
        split: Where the predictions are from.
        predictions: Probabilities and targets, both (N, C).
        count: At most so many; only samples with a wrong label count.
    """
    source = data.split(split)
    off = np.abs(predictions.probs.astype(np.float64) - predictions.targets)
    wrong = (predictions.probs > 0.5) != (predictions.targets > 0.5)
    badness = np.where(wrong, off, 0.0).sum(1)
    order = [int(i) for i in np.argsort(-badness, kind="stable")[:count] if wrong[i].any()]
    ids = predictions.sample_ids[order].astype(np.int64)
    known = _in_known_order(source)
    pictures = _pictures(source, ids, predictions.targets[order]) if known and len(ids) else [None] * len(ids)

    def named(flags: NDArray[np.bool_]) -> str:
        return ", ".join(_class_name(data, int(at)) for at in np.flatnonzero(flags)) or "–"

    return tuple(
        WorstSample(
            sample_id=sample_id,
            name=source.name(sample_id) if known else f"{split}[{sample_id}]",
            target=named(predictions.targets[place] > 0.5),
            prediction=named(predictions.probs[place] > 0.5),
            confidence=float(off[place][wrong[place]].max()),
            picture=picture,
            text=_text(source, sample_id),
        )
        for place, sample_id, picture in zip(order, ids.tolist(), pictures, strict=True)
    )


def _text(source: Source, index: int) -> str | None:
    from netwright.data.ragged import RaggedSource

    if not isinstance(source, RaggedSource) or source.texts is None:
        return None
    if source.seconds is None:
        return source.texts[index][:MAX_LETTERS]
    half = MAX_LETTERS // 2
    return f"{source.texts[index][:half]} ‖ {source.seconds[index][:half]}"


def thumbnail(image: NDArray[Any], *, size: int = THUMBNAIL) -> str | None:
    """Make a PNG data URI of an image.

    Args:
        image: (C, H, W) with 1 or 3 channels, uint8, or other numbers, which are stretched to black and white.
        size: Largest height and width; smaller images stay as they are.

    Returns:
        None where it is no such image.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.size or image.dtype.kind not in "buif":
        return None
    pixels = image
    if image.dtype != np.uint8:
        values = np.nan_to_num(image.astype(np.float64), posinf=0.0, neginf=0.0)
        low, span = values.min(), np.ptp(values)
        pixels = np.round((values - low) / (span or 1.0) * 255).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
    picture.thumbnail((size, size), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _in_known_order(source: Source) -> bool:
    """Whether a sample's id finds it again: a loader that shuffles hands out samples in another order each time."""
    from torch.utils.data import SequentialSampler

    from netwright.data.sources import LoaderSource

    return not isinstance(source, LoaderSource) or isinstance(source.loader.sampler, SequentialSampler)


def _pictures(source: Source, ids: NDArray[np.int64], targets: NDArray[Any]) -> list[str | None]:
    """A picture for each sample; None for all where the inputs are no images, or are not those that were predicted."""
    from netwright.data.batches import undisturbed

    try:
        inputs, found = undisturbed(lambda: source.gather(ids))
    except (NetwrightError, RuntimeError):  # images of several sizes, or a file that has gone since
        return [None] * len(ids)
    if not np.array_equal(found.numpy().reshape(len(ids), -1), targets.reshape(len(ids), -1)):
        return [None] * len(ids)
    images = next((value for value in inputs.values() if value.ndim == 4 and value.shape[1] in (1, 3)), None)
    return [None] * len(ids) if images is None else [thumbnail(image.numpy()) for image in images]


def _class_name(data: Data, index: int) -> str:
    names = data.spec.classes
    return names[index] if names is not None and index < len(names) else str(index)


def _numbers(values: NDArray[Any]) -> str:
    text = ", ".join(f"{value:.6g}" for value in values[:MAX_NUMBERS])
    return text if len(values) <= MAX_NUMBERS else f"{text}, …"
