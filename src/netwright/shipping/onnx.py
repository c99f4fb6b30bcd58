"""A module to ONNX and to PyTorch's own exported programs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from netwright.batch import Batch
from netwright.errors import ExportRefusedError
from netwright.shipping.attention import plain_attention
from netwright.shipping.finish import name_sizes, strip
from netwright.shipping.graph import Exported, example_of
from netwright.shipping.passes import keep_open_sizes, last_alone, nothing_seen, whole_divisions
from netwright.shipping.patched import open_lengths
from netwright.shipping.recurrent import Form, as_torch_has_it, whole_layers
from netwright.shipping.refusals import WANTED, refusal, refuse_chance, untranslated
from netwright.shipping.sizes import own_ways, refuse_ways
from netwright.shipping.spectra import as_products
from netwright.shipping.steady import as_before, refuse_memory
from netwright.shipping.watching import Assumed, assumptions

OPSET = 20


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    talkers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in talkers]
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        for one in talkers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(talkers, levels, strict=True):
                one.setLevel(level)


def to_program(graph: Exported, batch: Batch, form: Form) -> ExportedProgram:
    """Trace it, with the batch and the lengths left open, for ONNX or for torch.

    Raises:
        ExportRefusedError: It cannot be traced, or not for all sizes; the operation and its line are named.
    """
    _refuse_scripted(graph.model)
    example = example_of(graph, batch)
    with _quiet():
        by_chance = refuse_memory(graph, example)
        program, assumed = _traced(graph, example, form)
    refuse_chance(program, graph.model)
    if by_chance:
        raise ExportRefusedError(
            where=f"{type(graph.model).__name__}.forward",
            expected=WANTED,
            got="answers that depend on chance",
            cure="Draw random numbers in training alone: `if self.training:`.",
        )
    if own_ways(assumed):
        with _quiet():
            runs = program if form == "torch" else _traced(graph, example, "torch")[0]
            refuse_ways(graph, runs, assumed, example)
    return program


def _traced(graph: Exported, example: tuple[Tensor, ...], form: Form) -> tuple[ExportedProgram, list[Assumed]]:
    shapes = (tuple(dict.fromkeys(one.axes, Dim.DYNAMIC) for one in graph.inputs),)
    assumed: list[Assumed] = []
    try:
        with contextlib.ExitStack() as stack:
            for one in (
                torch.no_grad(),
                torch.fx.experimental._config.patch(backed_size_oblivious=True),  # type: ignore[attr-defined]
                torch.compiler.set_stance("force_eager"),
                as_before(graph),
                whole_layers(graph, form),
                plain_attention(),
                as_products() if form == "onnx" else contextlib.nullcontext(),
                open_lengths(),
            ):
                stack.enter_context(one)
            assumed = stack.enter_context(assumptions())
            graph.eval()
            program = torch.export.export(graph, example, dynamic_shapes=shapes)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise refusal(error, assumed, graph.model) from error
    keep_open_sizes(program)
    whole_divisions(program)
    if form == "torch":
        as_torch_has_it(program.graph_module)
    else:
        nothing_seen(program)
        last_alone(program)
    return program, assumed


def _refuse_scripted(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise ExportRefusedError(
                where=f"self.{name}" if name else type(model).__name__,
                expected=WANTED,
                got="a part that is compiled by torch.jit",
                cure="Leave out torch.jit.script and torch.jit.trace; what is exported is compiled anyway.",
            )


def to_onnx(graph: Exported, batch: Batch) -> bytes:
    """The graph as an ONNX model, weights inside.

    Args:
        batch: A few stored samples.

    Raises:
        ExportRefusedError: It cannot be made; the operation and its line are named.
    """
    program = to_program(graph, batch, "onnx")
    try:
        with _quiet():
            made: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                input_names=[one.name for one in graph.inputs],
                output_names=[one["name"] for one in graph.outputs],
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise untranslated(error, program, graph.model) from error
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
    program = to_program(graph, batch, "torch")
    program._guards_code = []  # they forbid a batch of one, which the graph answers
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
