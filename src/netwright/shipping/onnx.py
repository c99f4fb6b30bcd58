"""A module to ONNX and to PyTorch's own exported programs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from netwright.batch import Batch
from netwright.shipping.attention import plain_attention
from netwright.shipping.finish import name_sizes, strip
from netwright.shipping.graph import Exported, example_of
from netwright.shipping.passes import keep_open_sizes, whole_divisions
from netwright.shipping.patched import open_lengths
from netwright.shipping.recurrent import Form, as_torch_has_it, whole_layers

OPSET = 20


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    talkers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [one.level for one in talkers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in talkers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(talkers, levels, strict=True):
                one.setLevel(level)


def to_program(graph: Exported, batch: Batch, form: Form) -> ExportedProgram:
    """Trace it, with the batch and the lengths left open, for ONNX or for torch."""
    example = example_of(graph, batch)
    shapes = (tuple(dict.fromkeys(one.axes, Dim.DYNAMIC) for one in graph.inputs),)
    oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with _quiet(), torch.no_grad(), oblivious, whole_layers(graph, form), plain_attention(), open_lengths():
        program = torch.export.export(graph, example, dynamic_shapes=shapes)
    keep_open_sizes(program)
    whole_divisions(program)
    return program


def to_onnx(graph: Exported, batch: Batch) -> bytes:
    """The graph as an ONNX model, weights inside.

    Args:
        batch: A few stored samples.

    Raises:
        ExportRefusedError: It cannot be made; the operation and its line are named.
    """
    program = to_program(graph, batch, "onnx")
    with _quiet():
        made: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=[one.name for one in graph.inputs],
            output_names=[one["name"] for one in graph.outputs],
        )
    model = made.model_proto
    name_sizes(model, {one.name: one.axes for one in graph.inputs}, graph.outputs)
    strip(model)
    found: bytes = model.SerializeToString()
    return found


def to_pt2(graph: Exported, batch: Batch) -> bytes:
    """The graph as ``torch.export`` saves it: ``torch.export.load(file).module()`` answers, without netwright.

    Raises:
        ExportRefusedError: It cannot be made.
    """
    buffer = io.BytesIO()
    program = to_program(graph, batch, "torch")
    as_torch_has_it(program.graph_module)
    program._guards_code = []  # they forbid a batch of one, which the graph answers
    torch.export.save(program, buffer)
    return buffer.getvalue()
