"""Prove that a bundle answers as the trained module does, or say where it does not, and why.

What is examined are the files themselves: the graph by onnxruntime, the exported program by torch, run.py in a process
of its own. What they are compared with is the run: its module, its preprocessing, its own way to answer.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright import __version__
from netwright.answering.bundle import Bundle, open_bundle
from netwright.answering.model import Model
from netwright.answering.predictor import Predictor
from netwright.batch import Batch
from netwright.checkpoints import digest_of, read_weights
from netwright.errors import CertificateError
from netwright.inference import eval_batch
from netwright.shipping.asked import examples, known_inputs, through_both, through_run_py
from netwright.shipping.bundle import Say, digests, first_batch, scored
from netwright.shipping.diagnosis import explain, other_weights
from netwright.shipping.graph import exported, first_difference
from netwright.shipping.onnx import to_onnx
from netwright.shipping.subject import MOST, NUDGED, TOLERANCE, Subject, gap, refuse

TOGETHER = 1e-5  # that padding may move an answer, where samples of different lengths are to share a batch
TIED = 1e-6
LIGHT = "Its numbers are too large for so few bits: export without --int8 and --fp16."
THRESHOLD = 0.5  # of labels
SIZES = (1, 2, 3, 7)
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "netwright")


def certify(folder: Path, subject: Subject, *, variants: dict[str, Any], say: Say) -> dict[str, Any]:
    """Examine a draft of a bundle.

    Args:
        folder: Of its files, with their digests in certificate.json already.
        variants: What is known of a lighter graph, whose answers were compared by their score; empty for the plain one.
        say: Told how far it is.

    Returns:
        The certificate.

    Raises:
        CertificateError: It answers otherwise, with the reason, the sample and the first layer that differs.
    """
    bundle = open_bundle(folder)
    _same_files(bundle, subject)
    model = Model(bundle)
    say("certificate: batch sizes and lengths")
    _open_sizes(bundle)
    _steady(model, subject)
    validation = _validation(bundle, model, subject, exact=not variants, say=say)
    if not variants:
        _exported_program(bundle, subject)
    say("certificate: raw inputs, from files to answers")
    known = known_inputs(subject)
    predictor = Predictor.open(folder)
    edges = through_both(predictor, subject, known, exact=not variants)
    through = through_run_py(folder, predictor, subject, known, exact=not variants)
    return {
        "format": 1,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {name: _version(name) for name in PACKAGES},
        "source": {
            "run": subject.trained.run.path.resolve().name,
            "weights": digest_of(read_weights(subject.trained.run.weights_file)),
            "data_digest": subject.trained.data_spec.digest,
        },
        "files": digests(folder),
        "tolerance": {"probabilities": TOLERANCE, "decisions": 1.0},
        "validation": validation,
        "edges": edges,
        "programs": {
            "onnx": "compared",
            "pt2": "compared" if not variants else "not of these numbers",
            "run.py": through,
        },
        "together": bundle.spec["together"],
        "variants": variants,
        "examples": examples(predictor, subject, known),
    }


def _version(name: str) -> str:
    return __version__ if name == "netwright" else metadata.version(name)


def _same_files(bundle: Bundle, subject: Subject) -> None:
    """What can be compared without asking: preprocessing, names, weights."""
    spec = subject.trained.data_spec
    for where, true, other in _differences(spec.preprocess.model_dump(mode="json"), bundle.spec["preprocess"], ""):
        raise refuse("preprocess.json", f"{where} {_short(other)} instead of {_short(true)}")
    fields = [field.model_dump(mode="json") for field in spec.inputs]
    for where, true, other in _differences(fields, bundle.spec["fields"], "fields"):
        raise refuse("preprocess.json", f"{where} {_short(other)} instead of {_short(true)}")
    names = {"classes": spec.classes, "letters": spec.letters}
    for key, true in names.items():
        other = bundle.classes.get(key)
        if (list(true) if true is not None else None) != other:
            what = "in another order" if true and other and sorted(true) == sorted(other) else "other names"
            raise refuse("classes.json", f"{key} {what}: {_short(other)} instead of {_short(true)}")
    for one in spec.answers:
        if one.classes is not None and list(one.classes) != bundle.classes.get("answers", {}).get(one.name):
            raise refuse("classes.json", f"other classes of {one.name}")
    from safetensors.torch import load

    if digest_of(load(bundle.read("weights.safetensors"))) != digest_of(read_weights(subject.trained.run.weights_file)):
        raise refuse("weights.safetensors", "other weights than the run's best")


def _differences(true: Any, other: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Places where two JSON values differ."""
    if isinstance(true, dict) and isinstance(other, dict):
        for key in [*true, *(key for key in other if key not in true)]:
            name = true.get("op") or true.get("column") or where
            yield from _differences(true.get(key), other.get(key), f"{name}.{key}".lstrip("."))
    elif isinstance(true, list) and isinstance(other, list) and len(true) == len(other):
        for place, (one, another) in enumerate(zip(true, other, strict=True)):
            yield from _differences(one, another, f"{where}[{place}]")
    elif true != other:
        yield where, true, other


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:100]} …"


def _feed(model: Model, batch: Batch) -> dict[str, NDArray[Any]]:
    return {name: batch.inputs[name].numpy() for name in model.inputs}


def _open_sizes(bundle: Bundle) -> None:
    """Sizes that vary are open in the graph."""
    import onnx

    told = {one["name"]: one["shape"] for one in bundle.spec["model"]["inputs"]}
    for one in onnx.load_model_from_string(bundle.read("model.onnx")).graph.input:
        for size, dimension in zip(told.get(one.name, ()), one.type.tensor_type.shape.dim, strict=False):
            if isinstance(size, str) and dimension.HasField("dim_value"):
                raise refuse("model.onnx", f"the {size} of {one.name} is frozen at {dimension.dim_value}")


def _steady(model: Model, subject: Subject) -> None:
    """The graph answers alike each time, and takes batches of any size and length."""
    for size in SIZES:
        batch = next(subject.batches(size))
        try:
            first = model.run(_feed(model, batch))
        except Exception as error:
            shapes = {name: tuple(value.shape) for name, value in batch.inputs.items()}
            what = "batch" if size == SIZES[0] or not _varies(subject) else "batch or length"
            raise refuse(
                "model.onnx",
                f"none for {len(batch)} samples of shapes {shapes}: its {what} is frozen ({_line(error)})",
            ) from error
        again = model.run(_feed(model, batch))
        for name, value in first.items():
            if len(value) != len(batch):
                raise refuse("model.onnx", f"{len(value)} rows of {name} for {len(batch)} samples: its batch is frozen")
            if not np.array_equal(value, again[name], equal_nan=True):
                raise refuse("model.onnx", "another answer each time: dropout or noise was left in train mode")


def _varies(subject: Subject) -> bool:
    return any(-1 in field.shape for field in subject.trained.data_spec.inputs)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]


def _validation(bundle: Bundle, model: Model, subject: Subject, *, exact: bool, say: Say) -> dict[str, Any]:
    """All of the compared split, as it is stored, graph beside module."""
    size = min(64, eval_batch(subject.trained.model, subject.data, scored(subject.data)))
    largest, rounding, equal, count, decided = 0.0, 0.0, 0, 0, 0
    total = len(subject.data.split(scored(subject.data)))
    for batch in subject.batches(size):
        true = subject.answers(batch.inputs)
        try:
            got = model.run(_feed(model, batch))
        except Exception as error:
            shapes = {name: tuple(value.shape) for name, value in batch.inputs.items()}
            raise refuse("model.onnx", f"none for shapes {shapes}: its length is frozen ({_line(error)})") from error
        for name, value in true.items():
            found = gap(value, got.get(name), name, subject.scales)
            same, all_of = _decisions(value, got.get(name), name, TIED, labels=subject.has_labels(name))
            if exact and (not found <= TOLERANCE or same < all_of):
                moved = subject.rounding(batch.inputs)
                allowed = min(MOST, NUDGED * moved)
                same, all_of = _decisions(
                    value, got.get(name), name, max(TIED, allowed), labels=subject.has_labels(name)
                )
                if not found <= max(TOLERANCE, allowed) or same < all_of:
                    raise _otherwise(bundle, subject, batch, true, got, name, found)
                rounding = max(rounding, moved)
            if not np.isfinite(found):  # a lighter graph, of which no more than its score is asked
                raise refuse("model.onnx", f"{name} that are no finite numbers, where the module has such", LIGHT)
            largest = max(largest, found)
            equal, decided = equal + same, decided + all_of
        count += len(batch)
        if count % (64 * size) == 0:
            say(f"certificate: {count:,} of {total:,} samples")
    return {
        "split": scored(subject.data), "count": count, "largest_difference": largest,
        "decisions_equal": equal, "decisions": decided,
    } | ({"rounding": rounding} if rounding else {})  # fmt: skip


def _decisions(
    true: NDArray[Any], got: NDArray[Any] | None, name: str, tie: float, *, labels: bool = False
) -> tuple[int, int]:
    """How many decisions are equal, and of how many; 0 of 0 for numbers, which decide nothing.

    Args:
        labels: Whether each column is a decision by itself, above the threshold or not.
    """
    if got is None or got.shape != true.shape or not name.endswith(("probabilities", "log_probs", "frames")):
        return 0, 0
    if name.endswith("frames"):
        return int((true == got).sum()), true.size
    if labels:
        near = np.abs(true - THRESHOLD) < tie
        return int((((true > THRESHOLD) == (got > THRESHOLD)) | near).sum()), true.size
    one, other = true.argmax(-1), got.argmax(-1)
    # Two columns that are as near as rounding puts them decide nothing.
    tied = np.take_along_axis(true, other[..., None], -1)[..., 0] > true.max(-1) - tie
    return int(((one == other) | tied).sum()), one.size


def _otherwise(
    bundle: Bundle,
    subject: Subject,
    batch: Batch,
    true: dict[str, NDArray[Any]],
    got: dict[str, NDArray[Any]],
    name: str,
    found: float,
) -> CertificateError:
    """The error for a graph that answers otherwise: the sample, the reason and the layer."""
    trained = subject.trained
    source = subject.data.split(scored(subject.data))
    row = 0
    if name in got and got[name].shape == true[name].shape:
        gaps = np.nan_to_num(np.abs(true[name].astype(np.float64) - got[name]), nan=np.inf).reshape(len(batch), -1)
        row = int(gaps.max(1).argmax())
    sample = source.name(int(batch.sample_ids[row]))
    told = f"{name} of {sample} {found:.1e} apart"
    if name in got and got[name].shape != true[name].shape:
        told = f"{name} of shape {got[name].shape} instead of {true[name].shape}"
    reason = explain(
        trained.model, subject.answers, subject.answers_to, batch.inputs, got, trained.data_spec.preprocess
    )
    weights = None
    with contextlib.suppress(Exception):  # a spoiled file need not bear to be taken apart
        few = first_batch(subject.data, scored(subject.data), 8)
        weights = other_weights(bundle.read("model.onnx"), to_onnx(exported(trained, few), few))
    if reason is None and weights is not None:
        reason = f"it had other weights: {weights}"
    layer = None
    with contextlib.suppress(Exception):  # a spoiled file need not bear to be taken apart
        layer = first_difference(trained, bundle.read("model.onnx"), batch)
    parts = [told]
    if reason is not None:
        parts.append(f"as if {reason}" if weights is None or "weights" not in reason else reason)
    if layer is not None:
        parts.append(f"the first layer that differs is {layer[0]}, by {layer[1]:.1e}")
    return refuse("model.onnx", "; ".join(parts))


def _exported_program(bundle: Bundle, subject: Subject) -> None:
    """The same of model.pt2, on a few batches."""
    program = torch.export.load(io.BytesIO(bundle.read("model.pt2"))).module()
    names = [one["name"] for one in bundle.spec["model"]["inputs"]]
    for size in (2, 5):
        batch = next(subject.batches(size))
        true = subject.answers(batch.inputs)
        with torch.no_grad():
            given = program(*[batch.inputs[name] for name in names])
        given = given if isinstance(given, tuple | list) else (given,)
        for (name, value), other in zip(true.items(), given, strict=True):
            found = gap(value, other.numpy(), name, subject.scales)
            if not found <= TOLERANCE:
                raise refuse("model.pt2", f"{name} {found:.1e} apart")
