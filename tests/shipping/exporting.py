"""Modules with random weights are exported and asked beside themselves, without training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.inference import Trained
from netwright.models import arguments_from, load_model
from netwright.shipping.graph import Exported, exported
from netwright.shipping.onnx import to_onnx, to_pt2

ROOT = Path(__file__).resolve().parents[2]
TEXTS = str(ROOT / "examples/texts/requests.csv")
CLOSE = 1e-5


def opened(model: nn.Module, data: Any) -> Trained:
    """A module as if a run had been opened."""
    run: Any = SimpleNamespace(path=Path("nowhere"))
    spec: Any = None
    return Trained(run, spec, data.spec, model.eval())


def starter(name: str, source: str, **options: Any) -> tuple[nn.Module, Any]:
    """A starter as it fits data, with no weight at 0."""
    data = nw.load(source, **options)
    torch.manual_seed(0)
    reference = str(ROOT / f"src/netwright/templates/starters/{name}/net.py:Net")
    return disturbed(load_model(reference, arguments_from(reference, data.spec))), data


def disturbed(model: nn.Module) -> nn.Module:
    """Weights at 0 and running statistics that were never updated would hide a mistake."""
    for value in model.parameters():
        if not value.detach().any():
            nn.init.normal_(value, std=0.1)
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return model


def some(data: Any, rows: Any) -> Batch:
    """Stored samples of training."""
    inputs, _ = data.train.gather(np.asarray(rows, dtype=np.int64))
    return Batch(inputs, None, torch.arange(len(rows)))


def batches(data: Any) -> Iterator[Batch]:
    """One, two, three and seven samples, the shortest and the longest by themselves."""
    count, lengths = len(data.train), data.train.lengths
    order = np.arange(count) if lengths is None else np.argsort(lengths, kind="stable")
    for rows in (order[:1], order[-1:], order[:2], order[[0, count // 3, -1]], np.arange(7)):
        yield some(data, rows)


def made(model: nn.Module, data: Any) -> tuple[Exported, bytes]:
    """A module's graph and its ONNX file."""
    graph = exported(opened(model, data), some(data, np.arange(5)))
    return graph, to_onnx(graph, some(data, np.arange(5)))


def session(file: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def agree(model: nn.Module, data: Any, *, asked: list[Batch] | None = None, torch_too: bool = True) -> Exported:
    """Fail unless file, program and module give the same answers, whatever the batch."""
    graph, file = made(model, data)
    runs = session(file)
    program = None
    if torch_too:
        program = torch.export.load(io.BytesIO(to_pt2(graph, some(data, np.arange(5))))).module()
    for batch in asked or batches(data):
        wanted = graph.answer(batch)
        feed = graph.feed(batch)
        given = runs.run(list(wanted), {name: value.numpy() for name, value in feed.items()})
        for (name, value), found in zip(wanted.items(), given, strict=True):
            scale = max(1.0, float(value.abs().max())) if value.is_floating_point() else 1.0
            np.testing.assert_allclose(found, value.numpy(), rtol=0, atol=CLOSE * scale, err_msg=name)
        if program is not None:
            with torch.no_grad():
                again = program(*feed.values())
            for (name, value), one in zip(wanted.items(), again, strict=True):
                np.testing.assert_allclose(one.numpy(), value.numpy(), rtol=0, atol=CLOSE, err_msg=name)
    return graph
