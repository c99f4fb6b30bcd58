"""Data from arrays or tensors in memory."""

from __future__ import annotations

from collections.abc import Mapping
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
from netwright.data.labels import as_flags, label_specs
from netwright.data.sources import TensorSource
from netwright.errors import DataError
from netwright.preprocess import DecodeImage, Normalise, Operation, Preprocess, Scale
from netwright.records import AnswerSpec, Choice, DataSpec, FieldSpec, LoadOptions, SplitSpec

# Inputs and targets by name; where there was one unnamed array it is called "".
Arrays = dict[str, NDArray[Any]]
Pair = tuple[Arrays, Arrays]


def load_arrays(source: Any, options: LoadOptions, *, val: Any = None, test: Any = None) -> Data:
    """Data from ``(inputs, targets)``, with more such pairs for val and test.

    Each may be a mapping of names to arrays: several inputs are bound by their names, several targets are answers with
    a loss each. Whole-number or text targets are classes, real numbers are values to regress on.

    Raises:
        DataError: Lengths differ, a number is not finite, or a target is no class.
    """
    pairs = {
        name: _pair(pair, name) for name, pair in (("train", source), ("val", val), ("test", test)) if pair is not None
    }
    _check_names(pairs)
    choices: list[Choice] = []
    inputs = {
        split: {name: _pixels(value, choices if split == "train" else []) for name, value in pair[0].items()}
        for split, pair in pairs.items()
    }
    targets = {split: dict(pair[1]) for split, pair in pairs.items()}
    answers = tuple(_answer(name, targets, options, choices) for name in pairs["train"][1])
    first = answers[0]
    parts, split_choices = choose_splits(
        targets["train"][first.name],
        options,
        classes=first.classes if first.task == "classification" else None,
        has_val=val is not None,
        has_test=test is not None,
    )
    choices += split_choices
    whole_inputs, whole_targets = inputs["train"], targets["train"]
    for split, where in parts.items():
        inputs[split] = {name: value[where] for name, value in whole_inputs.items()}
        targets[split] = {name: value[where] for name, value in whole_targets.items()}
    preprocess = {name: _preprocess(value, name, choices) for name, value in inputs["train"].items()}
    fields = {name: name or _usual_name(value) for name, value in whole_inputs.items()}
    several = len(answers) > 1
    spec = DataSpec(
        name="arrays",
        source="python:arrays",
        kind="image" if list(fields.values()) == ["image"] else "tensor",
        task="several" if several else first.task,
        inputs=tuple(
            FieldSpec(name=fields[name], shape=value.shape[1:], dtype=_dtype(value, preprocess[name]))
            for name, value in whole_inputs.items()
        ),
        target=first.target,
        classes=None if several else first.classes,
        answers=answers if several else (),
        splits=_split_specs(first, {split: held[first.name] for split, held in targets.items()}, several=several),
        preprocess=_whole(preprocess, fields),
        options=options,
        choices=tuple(choices),
        digest=digest(
            (f"{split}/{kind}{name}", value)
            for kind, values in (("x", inputs), ("y", targets))
            for split, held in values.items()
            for name, value in held.items()
        ),
    )
    sources = {}
    for split, held in inputs.items():
        tensors = {fields[name]: torch.from_numpy(value) for name, value in held.items()}
        wanted = {name: torch.from_numpy(value) for name, value in targets[split].items()}
        sources[split] = TensorSource(tensors, wanted if several else wanted[first.name], None, split)
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _pair(pair: Any, split: str) -> Pair:
    inputs, targets = (_by_name(one) for one in pair)
    lengths = {
        (kind, name): len(value)
        for kind, held in (("inputs", inputs), ("targets", targets))
        for name, value in held.items()
    }
    counts = set(lengths.values())
    if len(counts) != 1 or not counts.pop():
        raise DataError(
            where=f"{split}: inputs and targets",
            expected="as many targets as inputs, and at least one",
            got=" and ".join(f"{count} {kind} {name}".strip() for (kind, name), count in lengths.items()),
            cure="Give one target for each input.",
        )
    return {name: _checked(value, f"inputs {name}".strip(), split, numbers=True) for name, value in inputs.items()}, {
        name: _checked(value, f"targets {name}".strip(), split, numbers=False) for name, value in targets.items()
    }


def _by_name(arrays: Any) -> Arrays:
    named = arrays if isinstance(arrays, Mapping) else {"": arrays}
    return {
        str(name): np.array(one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one)
        for name, one in named.items()
    }


def _checked(values: NDArray[Any], what: str, split: str, *, numbers: bool) -> NDArray[Any]:
    if numbers and (values.dtype == object or values.dtype.kind in "US"):
        raise DataError(
            where=f"{split}: {what}",
            expected="numbers in one array",
            got=f"dtype {values.dtype}",
            cure="Give samples of one shape, as float32, or uint8 for pixels.",
        )
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    check_finite(values, what, split)
    return values


def _check_names(pairs: Mapping[str, Pair]) -> None:
    for kind, index in (("inputs", 0), ("targets", 1)):
        names = {split: list(pair[index]) for split, pair in pairs.items()}
        for split, held in names.items():
            if held != names["train"]:
                raise DataError(
                    where=f"{split}: {kind}", expected=f"{', '.join(names['train'])}, as train has them",
                    got=", ".join(held), cure="Give all splits the same names, in the same order.",
                )  # fmt: skip


def _answer(name: str, targets: dict[str, Arrays], options: LoadOptions, choices: list[Choice]) -> AnswerSpec:
    """What one target is; its values are put in the form that losses want."""
    asked = asked_task(options, ("classification", "multi_label", "regression"), data="arrays")
    every = [held[name] for held in targets.values()]
    if asked is None and (found := _only_flags(every)) is not None:
        asked, why = found
        choices.append(why)
        for held in targets.values():  # float 0 and 1, as binary losses want them, are no numbers to regress on
            one = held[name].astype(np.int64)
            held[name] = one if asked == "multi_label" else one.argmax(1) if one.shape[1:] > (1,) else one.reshape(-1)
        every = [held[name] for held in targets.values()]
    if asked == "regression" or (asked is None and every[0].dtype.kind == "f"):
        for held in targets.values():
            held[name] = _as_values(held[name])
        target = FieldSpec(name=name or "target", shape=every[0].shape[1:], dtype="float32")
        return AnswerSpec(name=name, task="regression", target=target)
    if asked == "multi_label":
        for split, held in targets.items():
            held[name] = as_flags(held[name], split)
        labels = every[0].shape[1]
        target = FieldSpec(name=name or "labels", shape=(labels,), dtype="float32")
        return AnswerSpec(name=name, task="multi_label", target=target, classes=tuple(map(str, range(labels))))
    codes, classes, choice = find_classes(np.concatenate(every))
    choices += [choice] if choice is not None else []
    ends = np.cumsum([len(one) for one in every])[:-1]
    for held, own in zip(targets.values(), np.split(codes, ends), strict=True):
        held[name] = own
    target = FieldSpec(name=name or "label", shape=(), dtype="int64")
    return AnswerSpec(name=name, task="classification", target=target, classes=classes)


def _only_flags(every: list[NDArray[Any]]) -> tuple[str, Choice] | None:
    """The task of real numbers that are all 0 or 1, both among them, and why; None of others."""
    train = every[0]
    if (
        train.dtype.kind != "f"
        or train.ndim > 2
        or train.size == 0
        or any(one.shape[1:] != train.shape[1:] for one in every)
    ):
        return None
    if not all(((one == 0) | (one == 1)).all() for one in every) or train.min() == train.max():
        return None
    if train.ndim == 1 or train.shape[1] == 1:
        task, reason = "classification", "all targets are 0 or 1"
    elif all((one.sum(1) == 1).all() for one in every):
        task, reason = "classification", "in each row of the targets one is 1, and the others are 0"
    else:
        task, reason = "multi_label", "all targets are 0 or 1, several in a row"
    return task, Choice(name="task", value=task, reason=f"{reason}; with task='regression' they are numbers")


def _split_specs(answer: AnswerSpec, targets: Arrays, *, several: bool) -> dict[str, SplitSpec]:
    if answer.task == "multi_label":
        return label_specs(targets)
    return split_specs(targets, None if several else answer.classes)


def _as_values(targets: NDArray[Any]) -> NDArray[np.float32]:
    if targets.dtype.kind not in "biuf":
        raise DataError(
            where="targets", expected="numbers to regress on", got=f"dtype {targets.dtype}", cure="Leave out the task."
        )
    return targets.astype(np.float32)


def _is_image(values: NDArray[Any]) -> bool:
    return values.ndim == 4 and values.shape[1] in (1, 3, 4)


def _usual_name(values: NDArray[Any]) -> str:
    return "image" if _is_image(values) else "inputs"


def _dtype(values: NDArray[Any], preprocess: Preprocess) -> str:
    return "float32" if preprocess.operations or values.dtype.kind == "f" else str(values.dtype)


def _preprocess(train: NDArray[Any], name: str, choices: list[Choice]) -> Preprocess:
    operations, fitted = _operations(train, image=_is_image(train))
    choices += [one.model_copy(update={"name": f"{one.name} {name}".strip()}) for one in fitted]
    return Preprocess(operations=operations)


def _whole(by_name: Mapping[str, Preprocess], fields: Mapping[str, str]) -> Preprocess:
    """One field's operations are those of all; several have their own."""
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    return Preprocess(fields={fields[name]: one for name, one in by_name.items()})


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
