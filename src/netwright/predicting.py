"""Answers of a trained module to raw inputs: read as in training, asked in batches, told with their names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright import preprocess
from netwright.batch import Batch
from netwright.binding import ask, in_full
from netwright.data import tensors
from netwright.data.collate import collate
from netwright.data.tables import as_fields
from netwright.errors import DataError, NetwrightError, UsageError
from netwright.evaluation import Predictions
from netwright.inference import Trained, answering, fit_task
from netwright.records import DataSpec, FieldSpec
from netwright.results import Prediction
from netwright.session import unchanged_random
from netwright.tasks import Calibrated
from netwright.words import Words, sentence

# Kinds of data whose fields are all made of one raw input.
OWN_FIELDS = ("text", "sound", "table", "series")


def as_list(inputs: Sequence[Any]) -> Sequence[Any]:
    """What is to be answered, as it is.

    Raises:
        UsageError: It is one input by itself.
    """
    if isinstance(inputs, str | bytes | Path | Mapping):  # each of its letters or keys would be taken for an input
        kind = type(inputs).__name__
        raise UsageError(where="inputs", expected="a list of inputs", got=f"one {kind}", cure="Give [input].")
    return inputs


def predict(trained: Trained, inputs: Sequence[Any], *, batch_size: int = 64) -> list[Prediction]:
    """Answer raw inputs: texts, paths of images, bytes, or arrays as the training data were.

    An input that cannot be read gets a ``Prediction`` whose ``error`` says why; the others are answered.
    """
    spec = trained.data_spec
    if spec.preprocess.rows is not None and not isinstance(inputs, list | tuple):
        frame: Any = inputs
        inputs = frame.to_dict("records")  # as pandas' frames have it
    answers: list[Prediction] = []
    for start in range(0, len(inputs), batch_size):
        chunk = inputs[start : start + batch_size]
        decoded: list[tuple[int, dict[str, NDArray[Any]]]] = []
        found: dict[int, Prediction] = {}
        for index, raw in enumerate(chunk):
            name = _input_name(raw, start + index)
            try:
                decoded.append((index, _decode(raw, spec)))
            except (NetwrightError, OSError, ValueError, TypeError, SyntaxError) as error:
                found[index] = Prediction(name=name, error=str(error).splitlines()[0])
        if decoded:
            names = [_input_name(chunk[index], start + index) for index, _ in decoded]
            good = _answer(trained, [sample for _, sample in decoded], names)
            if spec.preprocess.words is not None:
                good = [
                    _with_words(spec.preprocess.words, chunk[index], answer)
                    for (index, _), answer in zip(decoded, good, strict=True)
                ]
            found |= {index: answer for (index, _), answer in zip(decoded, good, strict=True)}
        answers += [found[index] for index in range(len(chunk))]
    return answers


def _with_words(operation: Words, raw: Any, answer: Prediction) -> Prediction:
    """The answer beside the words that its tags are of."""
    return answer.model_copy(update={"words": tuple(sentence(operation, raw))})


def _input_name(raw: Any, index: int) -> str:
    if isinstance(raw, list | tuple) and raw and all(isinstance(one, str) for one in raw):
        return " ".join(raw)
    return str(raw) if isinstance(raw, str | Path) else f"input {index}"


def _decode(raw: Any, spec: DataSpec) -> dict[str, NDArray[Any]]:
    """One input by field, as the training data were stored."""
    if spec.kind in OWN_FIELDS:
        return preprocess.sample(spec.preprocess, raw)
    if isinstance(raw, str | Path) and not spec.preprocess.decode and not spec.preprocess.fields:
        raise UsageError(where=str(raw), expected="an array, as in training", got="a path", cure="Read the file first.")
    names = [field.name for field in spec.inputs]
    several = len(names) > 1
    values = list(raw) if several and isinstance(raw, tuple | list) else [raw]
    parts = raw if isinstance(raw, Mapping) else dict(zip(names, values, strict=False))
    if set(parts) != set(names) or (not isinstance(raw, Mapping) and len(values) != len(names)):
        found = f"{len(values)} values" if isinstance(raw, tuple | list) else type(raw).__name__
        raise DataError(
            where="input",
            expected=f"the fields {', '.join(names)}, as a mapping or in this order",
            got=", ".join(map(str, parts)) if isinstance(raw, Mapping) else found,
            cure=f"Give {{{', '.join(f'{name!r}: …' for name in names)}}}.",
        )
    stored = {}
    for field in spec.inputs:
        own = spec.preprocess.of(field.name)
        if own.decode:
            stored[field.name] = preprocess.decode(own, _as_picture(parts[field.name]))
        else:
            stored[field.name] = _as_stored(parts[field.name], field)
    return stored


def _as_picture(value: Any) -> Any:
    """A path, or pixels as uint8 where that changes no number; the rest is for ``decode`` to refuse."""
    if not isinstance(value, list | tuple | np.ndarray | Tensor):
        return Path(value) if isinstance(value, str) else value
    array = _array(value)
    # Real numbers up to 1 may be shares of 255, and not pixels that are almost black.
    if array.size and (array.dtype.kind in "iu" or (array.dtype.kind == "f" and array.max() > 1)):
        with np.errstate(invalid="ignore"):
            pixels = array.astype(np.uint8)
        return pixels if np.array_equal(pixels, array) else array
    return array


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)


def _as_stored(value: Any, field: FieldSpec) -> NDArray[Any]:
    array, wanted = _array(value), np.dtype(field.dtype)
    with np.errstate(all="ignore"):
        cast = array.astype(wanted) if array.dtype.kind in "biuf" else None
    if cast is None or (wanted.kind != "f" and not np.array_equal(cast, array)):
        raise DataError(
            where=f"input `{field.name}`",
            expected=f"{field.dtype} numbers",
            got=f"{array.dtype}" + ("" if cast is None else " that it cannot hold"),
            cure="Convert them.",
        )
    array = cast
    if field.name == "image" and array.ndim == 3 and array.shape != field.shape == array.transpose(2, 0, 1).shape:
        array = array.transpose(2, 0, 1)  # channels last, as loading moves them too
    if array.shape != field.shape:
        raise DataError(
            where=f"input `{field.name}`",
            expected=f"shape {field.shape}",
            got=f"{array.shape}",
            cure="Shape it as in training, without the batch.",
        )
    return array


def _answer(trained: Trained, samples: list[dict[str, NDArray[Any]]], names: list[str]) -> list[Prediction]:
    """Answers to stored samples, as a batch."""
    spec = trained.data_spec
    device = next(trained.model.parameters()).device
    inputs = _fields(samples, spec)
    batch = Batch(tensors.apply_to(spec.preprocess, inputs), None, torch.arange(len(samples)))
    with unchanged_random(device):
        task, binding = fit_task(trained.model, spec, batch, device, beam=trained.beam)
    with answering(trained.model, device):
        here = batch.to(device)
        predictions = task.predictions(in_full(ask(binding, trained.model, here.inputs)), here)
    if isinstance(task, Calibrated) and trained.run.evaluation_file.is_file():
        task = task.remembered(trained.run.read_evaluation())
    finite = _finite(predictions)
    return [
        task.answer(predictions, index, name)
        if finite[index]
        else Prediction(name=name, error=f"{name}: expected an answer in finite numbers, got NaN or infinity.")
        for index, name in enumerate(names)
    ]


def _fields(samples: list[dict[str, NDArray[Any]]], spec: DataSpec) -> dict[str, Tensor]:
    """A batch of stored samples, with the fields that training had."""
    batch = collate(samples, spec.inputs)
    if spec.preprocess.rows is not None and spec.preprocess.rows.columns:
        made = as_fields(spec.preprocess.rows, batch["numbers"].numpy(), batch["categories"].numpy())
        return made | {name: batch[name] for name in spec.preprocess.fields}
    return batch


def _finite(predictions: Predictions) -> NDArray[np.bool_]:
    """Which of the served answers are numbers."""
    starts = predictions.starts if predictions.answer_starts is None else predictions.answer_starts
    if predictions.parts is not None:
        return np.asarray(np.all([_finite(part) for part in predictions.parts.values()], axis=0))
    good = np.isfinite(predictions.probs).reshape(len(predictions.probs), -1).all(1)
    if starts is None:
        return np.asarray(good)
    return np.asarray([bool(good[begin:end].all()) for begin, end in itertools.pairwise(starts)])
