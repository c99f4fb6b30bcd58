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

from netwright.batch import Batch
from netwright.binding import ask, in_full
from netwright.data import tensors
from netwright.data.collate import collate
from netwright.data.padding import alike
from netwright.data.raw import UNREADABLE, first_line, input_name, read_input
from netwright.data.tables import as_fields
from netwright.errors import UsageError
from netwright.evaluation import Predictions
from netwright.inference import Trained, answering, fit_task
from netwright.randomness import unchanged_random
from netwright.records import DataSpec
from netwright.results import Prediction
from netwright.tasks import Calibrated
from netwright.words import Words, sentence


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
            name = input_name(raw, start + index)
            try:
                decoded.append((index, read_input(raw, spec.kind, spec.inputs, spec.preprocess)))
            except UNREADABLE as error:
                found[index] = Prediction(name=name, error=first_line(error))
        if decoded:
            names = [input_name(chunk[index], start + index) for index, _ in decoded]
            good = answer_samples(trained, [sample for _, sample in decoded], names)
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


def answer_samples(trained: Trained, samples: list[dict[str, NDArray[Any]]], names: list[str]) -> list[Prediction]:
    """Answers to stored samples; those of one shape as a batch, since padding would change what some modules answer."""
    found: dict[int, Prediction] = {}
    for group in alike(samples):
        own = _answer_batch(trained, [samples[index] for index in group], [names[index] for index in group])
        found |= dict(zip(group, own, strict=True))
    return [found[index] for index in range(len(samples))]


def _answer_batch(trained: Trained, samples: list[dict[str, NDArray[Any]]], names: list[str]) -> list[Prediction]:
    """Answers to stored samples of one shape."""
    spec = trained.data_spec
    device = next(trained.model.parameters()).device
    inputs = fields_of(samples, spec)
    batch = Batch(tensors.apply_to(spec.preprocess, inputs), None, torch.arange(len(samples)))
    with unchanged_random(device):
        task, binding = fit_task(trained.model, spec, batch, device, beam=trained.beam)
    with answering(trained.model, device):
        here = batch.to(device)
        predictions = task.predictions(in_full(ask(binding, trained.model, here.inputs)), here)
    if isinstance(task, Calibrated) and trained.run.evaluation_file.is_file():
        task = task.remembered(trained.run.read_evaluation())
    finite = all_finite(predictions)
    return [
        task.answer(predictions, index, name)
        if finite[index]
        else Prediction(name=name, error=f"{name}: expected an answer in finite numbers, got NaN or infinity.")
        for index, name in enumerate(names)
    ]


def fields_of(samples: list[dict[str, NDArray[Any]]], spec: DataSpec) -> dict[str, Tensor]:
    """A batch of stored samples, with the fields that training had."""
    batch = collate(samples, spec.inputs)
    if spec.preprocess.rows is not None and spec.preprocess.rows.columns:
        made = as_fields(spec.preprocess.rows, batch["numbers"].numpy(), batch["categories"].numpy())
        return made | {name: batch[name] for name in spec.preprocess.fields}
    return batch


def all_finite(predictions: Predictions) -> NDArray[np.bool_]:
    """Which of the served answers are numbers."""
    starts = predictions.starts if predictions.answer_starts is None else predictions.answer_starts
    if predictions.parts is not None:
        return np.asarray(np.all([all_finite(part) for part in predictions.parts.values()], axis=0))
    good = np.isfinite(predictions.probs)
    good = good.all(axis=tuple(range(1, good.ndim)))  # a transcript without a letter has no number at all
    if starts is None:
        return np.asarray(good)
    return np.asarray([bool(good[begin:end].all()) for begin, end in itertools.pairwise(starts)])
