"""From a run to a bundle, or to one page, with its certificate; nothing is left behind where it is refused."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from netwright.answering.bundle import open_bundle
from netwright.answering.model import Model, load_runtime
from netwright.answering.standalone import runtime_files
from netwright.data.dataset import Data
from netwright.errors import UsageError, require
from netwright.inference import Trained, data_of, open_trained
from netwright.run import Run
from netwright.shipping.asked import never_empty
from netwright.shipping.bundle import (
    Say,
    as_text,
    card,
    classes_of,
    digests,
    first_batch,
    scored,
    spec_of,
    write_parts,
)
from netwright.shipping.certificate import TOGETHER, certify
from netwright.shipping.graph import exported
from netwright.shipping.lighter import ALLOWED, Kind, gate, lighten, price, refuse_unscored
from netwright.shipping.onnx import OPSET, to_onnx, to_pt2
from netwright.shipping.placing import CERTIFICATE, check_free, put_in_place, unwritable
from netwright.shipping.refusals import refuse_own_padding
from netwright.shipping.subject import Subject

LOOKED_AT = 8  # samples that the graph is traced with, and that padding is tried on


def export(  # noqa: PLR0913 - where from, where to, and what is asked of it
    run: Run | Path | str,
    out: Path | None = None,
    *,
    to: Literal["bundle", "html"] = "bundle",
    as_zip: bool = False,
    lighter: Kind | None = None,
    allow_drop: float = ALLOWED,
    model: nn.Module | None = None,
    data: Data | None = None,
    say: Say = lambda text: None,
) -> Path:
    """Write a run as what answers anywhere.

    Args:
        run: The run or its folder.
        out: Where to; None for ``bundle``, ``bundle.zip`` or ``page.html`` in the run's folder. A bundle that is there
            is replaced in one step.
        to: A bundle, or one HTML file that answers in a browser.
        as_zip: One file in place of a folder.
        lighter: int8 or fp16, where that loses at most ``allow_drop`` of the score.
        allow_drop: Of a score between 0 and 1; of an error as a share of it.
        model: The module of a run that was made from an instance in Python.
        data: Those of a run whose data were handed over in Python.
        say: Told how far it is.

    Raises:
        ExportRefusedError: The module holds what cannot be exported; its line is named.
        CertificateError: What was made does not answer as the module does, or loses too much.
        UsageError: What was asked for does not go together, as ``lighter`` for a task of the person's own.
        MissingExtraError: The ``export`` extra is not installed.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export")
    load_runtime()
    if to == "html" and as_zip:
        raise UsageError(where="--zip", expected="a bundle to put into one file", got="--to html", cure="Leave it out.")
    trained = open_trained(run, model)
    if lighter is not None:
        refuse_unscored(trained.data_spec.task, lighter)
    kind: Literal["bundle", "bundle.zip", "page.html"] = (
        "page.html" if to == "html" else "bundle.zip" if as_zip else "bundle"
    )
    target = Path(out) if out is not None else trained.run.exported(kind)
    check_free(target, "html" if to == "html" else "zip" if as_zip else "bundle")  # before the work, and again after it
    trained.model.cpu()
    held = data_of(trained.run, trained.spec, data)
    with _draft(target) as folder:
        _fill(folder, trained, held, lighter=lighter, allow_drop=allow_drop, say=say)
        if to == "html":
            from netwright.shipping.html import to_html

            check_free(target, "html")
            to_html(open_bundle(folder), target)
            return target
        return put_in_place(folder, target, as_zip=as_zip)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A folder beside the target, gone after unless it was given the target's name."""
    folder = target.parent / f".{target.name}.draft-{os.getpid()}"
    made = [one for one in folder.parents if not one.exists()]  # the innermost first
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(target, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # the target lies in them
            for one in made:
                one.rmdir()


def _fill(
    folder: Path, trained: Trained, data: Data, *, lighter: Kind | None, allow_drop: float, say: Say
) -> dict[str, Any]:
    """Make all files of a bundle, and its certificate."""
    refuse_own_padding(data.split(scored(data)), trained.data_spec.inputs)
    say("export: tracing the module")
    batch = first_batch(data, scored(data), LOOKED_AT)
    graph = exported(trained, batch)
    plain = to_onnx(graph, batch)
    files = {"model.onnx": plain, "model.pt2": to_pt2(graph, batch)}
    files["weights.safetensors"] = trained.run.weights_file.read_bytes()
    files["classes.json"] = as_text(classes_of(trained)).encode()
    files |= runtime_files(trained.data_spec.kind)
    write_parts(folder, files)
    subject = Subject.of(trained, data)
    spec = spec_of(trained, data, graph, opset=OPSET, together=False)
    _write_spec(folder, spec)
    spec["together"] = bears_padding(Model(open_bundle(folder)), subject)
    if refused := never_empty(subject):
        spec["limits"]["never_empty"] = refused
    _write_spec(folder, spec)
    variants: dict[str, Any] = {}
    if lighter is not None:
        certify(folder, subject, variants={}, say=say)  # the plain one first: its own answers tell what is lost
        say(f"export: {lighter}, and what it loses")
        light = lighten(plain, lighter, subject)
        before = Model(open_bundle(folder))
        write_parts(folder, {"model.onnx": light})
        (folder / "model.pt2").unlink()
        _write_spec(folder, spec)
        found = price(before.run, Model(open_bundle(folder)).run, list(before.input_names), subject)
        gate(found, lighter, allow_drop)
        variants = {lighter: found.record(allow_drop)}
        say(_told(found.record(allow_drop), lighter))
    certificate = certify(folder, subject, variants=variants, say=say)
    (folder / "card.md").write_text(card(trained, certificate), encoding="utf-8")
    certificate["files"] = digests(folder)
    (folder / CERTIFICATE).write_text(as_text(certificate), encoding="utf-8")
    return certificate


def _told(record: dict[str, Any], kind: str) -> str:
    low, high = record["interval"]
    unsure = "; the split is too small to be sure of that" if high > record["allowed"] else ""
    return (
        f"{kind}: {record['score']} {record['value']:.4f} instead of {record['before']:.4f}, a loss of "
        f"{record['loss']:.4f} (95 % interval {low:.4f} to {high:.4f}; {record['allowed']:g} allowed){unsure}"
    )


def _write_spec(folder: Path, spec: dict[str, Any]) -> None:
    """The spec, and a certificate that as yet says only which files there are."""
    (folder / "preprocess.json").write_text(as_text(spec), encoding="utf-8")
    (folder / "card.md").write_text("", encoding="utf-8")
    held = {"format": 1, "files": digests(folder)}
    (folder / CERTIFICATE).write_text(as_text(held), encoding="utf-8")


def bears_padding(model: Model, subject: Subject) -> bool:
    """Whether samples of different length may share a batch: padding moves no answer of the graph."""
    spec = subject.trained.data_spec
    varying = [field.name for field in spec.inputs if field.shape[:1] == (-1,)]
    if not varying or spec.task == "next_token":
        return spec.task != "next_token"
    rows = _of_many_lengths(subject.data)
    whole = model.run(_stored_fields(subject, rows, model))
    for row in range(len(rows)):
        one = model.run(_stored_fields(subject, rows[row : row + 1], model))
        for name, value in one.items():
            beside = whole[name][row : row + 1]
            if value.ndim > 1 and value.shape != beside.shape:
                beside = beside[:, : value.shape[1]]
            if name.endswith("log_probs"):
                value, beside = np.exp(value), np.exp(beside)
            if not np.allclose(value, beside, atol=TOGETHER, rtol=TOGETHER):
                return False
    return True


def _of_many_lengths(data: Data) -> NDArray[np.int64]:
    """Indices of some samples of the compared split, from the shortest to the longest."""
    source = data.split(scored(data))
    lengths = source.lengths
    order = np.arange(len(source)) if lengths is None else np.argsort(lengths, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, LOOKED_AT).astype(np.int64))
    return order[places].astype(np.int64)


def _stored_fields(subject: Subject, rows: NDArray[np.int64], model: Model) -> dict[str, NDArray[Any]]:
    """Stored samples, padded as far as they need it among themselves."""
    inputs, _ = subject.data.split(scored(subject.data)).gather(rows)
    return {name: inputs[name].numpy() for name in model.inputs}
