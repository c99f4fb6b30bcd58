"""Data from arrays or tensors in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.dataset import Data
from netwright.data.facts import (
    asked_task,
    channel_statistics,
    check_finite,
    choose_splits,
    digest,
    find_classes,
    split_specs,
)
from netwright.data.sources import TensorSource
from netwright.errors import DataError
from netwright.preprocess import DecodeImage, Normalise, Operation, Preprocess, Scale
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions

Pair = tuple[NDArray[Any], NDArray[Any]]


def load_arrays(source: Any, options: LoadOptions, *, val: Any = None, test: Any = None) -> Data:
    """Data from ``(inputs, targets)``, with more such pairs for val and test.

    Whole-number or text targets are classes, real numbers are values to regress on.

    Raises:
        DataError: Lengths differ, a number is not finite, or a target is no class.
    """
    pairs = {
        name: _pair(pair, name) for name, pair in (("train", source), ("val", val), ("test", test)) if pair is not None
    }
    choices: list[Choice] = []
    inputs = {name: _pixels(pair[0], choices if name == "train" else []) for name, pair in pairs.items()}
    targets = {name: pair[1] for name, pair in pairs.items()}
    asked = asked_task(options, ("classification", "regression"), data="arrays")
    real = targets["train"].dtype.kind == "f"
    task = asked or ("regression" if real else "classification")
    classes: tuple[str, ...] | None = None
    if task == "regression":
        targets = {name: _as_values(value) for name, value in targets.items()}
    else:
        lengths = [len(value) for value in targets.values()]
        codes, classes, choice = find_classes(np.concatenate(list(targets.values())))
        choices += [choice] if choice is not None else []
        targets = dict(zip(targets, np.split(codes, np.cumsum(lengths)[:-1]), strict=True))
    parts, split_choices = choose_splits(
        targets["train"], options, classes=classes, has_val=val is not None, has_test=test is not None
    )
    choices += split_choices
    whole_inputs, whole_targets = inputs["train"], targets["train"]
    for name, where in parts.items():
        inputs[name], targets[name] = whole_inputs[where], whole_targets[where]
    image = whole_inputs.ndim == 4 and whole_inputs.shape[1] in (1, 3, 4)
    operations, fitted = _operations(inputs["train"], image=image)
    choices += fitted
    field = "image" if image else "inputs"
    dtype = "float32" if operations or whole_inputs.dtype.kind == "f" else str(whole_inputs.dtype)
    spec = DataSpec(
        name="arrays",
        source="python:arrays",
        kind="image" if image else "tensor",
        task=task,
        inputs=(FieldSpec(name=field, shape=whole_inputs.shape[1:], dtype=dtype),),
        target=FieldSpec(
            name="target" if task == "regression" else "label",
            shape=whole_targets.shape[1:],
            dtype="float32" if task == "regression" else "int64",
        ),
        classes=classes,
        splits=split_specs(targets, classes),
        preprocess=Preprocess(operations=operations),
        options=options,
        choices=tuple(choices),
        digest=digest(
            (f"{name}/{kind}", values[name]) for kind, values in (("x", inputs), ("y", targets)) for name in values
        ),
    )
    sources = {
        name: TensorSource({field: torch.from_numpy(inputs[name])}, torch.from_numpy(targets[name]), None, name)
        for name in inputs
    }
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _as_values(targets: NDArray[Any]) -> NDArray[np.float32]:
    if targets.dtype.kind not in "biuf":
        raise DataError(
            where="targets", expected="numbers to regress on", got=f"dtype {targets.dtype}", cure="Leave out the task."
        )
    return targets.astype(np.float32)


def _pair(pair: Any, split: str) -> Pair:
    inputs, targets = (np.array(one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one) for one in pair)
    if len(inputs) != len(targets) or not len(inputs):
        raise DataError(
            where=f"{split}: inputs and targets",
            expected="as many targets as inputs, and at least one",
            got=f"{len(inputs)} inputs and {len(targets)} targets",
            cure="Give one target for each input.",
        )
    if inputs.dtype == object or inputs.dtype.kind in "US":
        raise DataError(
            where=f"{split}: inputs",
            expected="numbers in one array",
            got=f"dtype {inputs.dtype}",
            cure="Give samples of one shape, as float32, or uint8 for pixels.",
        )
    inputs = inputs.astype(np.float32) if inputs.dtype.kind == "f" else inputs
    targets = targets.astype(np.float32) if targets.dtype.kind == "f" else targets
    check_finite(inputs, "inputs", split)
    check_finite(targets, "targets", split)
    return inputs, targets


def _pixels(inputs: NDArray[Any], choices: list[Choice]) -> NDArray[Any]:
    """Images with their channels first."""
    colours = [inputs.ndim == 4 and inputs.shape[axis] in (1, 3, 4) for axis in (1, 3)]
    if inputs.ndim == 4 and colours[0] == colours[1]:
        value = "first" if colours[0] else "none found, left as they are"
        reason = f"{'both' if colours[0] else 'neither'} of axes 1 and 3 of {inputs.shape} could be 1, 3 or 4 colours"
        choices.append(Choice(name="channels", value=value, reason=reason))
    if colours == [False, True]:
        choices.append(
            Choice(name="channels", value="last, moved first", reason=f"the arrays have shape (N, {inputs.shape[1:]})")
        )
        return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    if inputs.ndim == 3 and inputs.dtype == np.uint8:
        choices.append(Choice(name="channels", value=1, reason="uint8 arrays (N, H, W) are grey pictures"))
        return inputs[:, None]
    return inputs


def _operations(train: NDArray[Any], *, image: bool) -> tuple[tuple[Operation, ...], list[Choice]]:
    """What is done to each batch, fitted on the training split alone."""
    if train.dtype == np.uint8 and image:
        mean, std = channel_statistics(train)
        decoding: list[Operation] = []
        if train.shape[1] in (1, 3):
            decoding.append(DecodeImage(mode="L" if train.shape[1] == 1 else "RGB"))
        scaled = Normalise(mean=tuple(v / 255 for v in mean), std=tuple(v / 255 for v in std))
        choice = Choice(name="normalise", value="pixels to mean 0, deviation 1", reason="fitted on the training split")
        return (*decoding, Scale(factor=1 / 255), scaled), [choice]
    if train.dtype.kind == "f" and (image or train.ndim == 2):
        mean, std = channel_statistics(train)
        value = "channels" if image else "columns"
        choice = Choice(
            name="normalise", value=f"{value} to mean 0, deviation 1", reason="fitted on the training split"
        )
        return (Normalise(mean=mean, std=std),), [choice]
    return (), [
        Choice(name="normalise", value="no", reason=f"{train.dtype} arrays of shape {train.shape[1:]} as they are")
    ]
