"""Which layer of an ONNX file is the first that does not give what the module's own gives.

The exporter writes on each node in which submodules it stands. So what leaves a submodule in the file can be laid
beside what leaves it in torch, in the order in which submodules are done.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.answering.model import load_runtime
from netwright.batch import Batch
from netwright.data import tensors
from netwright.errors import require
from netwright.inference import Trained
from netwright.shipping.finish import SCOPES
from netwright.shipping.graph import Exported, exported
from netwright.shipping.onnx import to_onnx

TOLERANCE = 1e-4  # of the largest number of a layer's output, or of 1 where that is larger
ROOT = "model"  # the module's name in the graph
BEFORE = "what is done before the module (scale and normalise)"
AFTER = "the last step, behind the module"
Values = dict[str, NDArray[Any]]


def first_layer(
    trained: Trained, model: bytes | Path, batch: Batch, *, tolerance: float = TOLERANCE
) -> tuple[str, float] | None:
    """The first layer whose output in the file differs.

    Args:
        model: The ONNX file in question, or its content.
        batch: Stored samples.
        tolerance: As a share of a layer's largest number, or of 1.

    Returns:
        Its name and class, as ``blocks.0 (Conv2d)``, or what comes before or behind the module; and the largest
        difference. None where all that can be compared is alike.
    """
    graph = exported(trained, batch)
    found = list(_differences(graph, model if isinstance(model, bytes) else model.read_bytes(), batch, tolerance))
    if not found:
        return None
    # Where the exporter has drawn layers together, a layer's name stands on another value: so it does in a good file.
    drawn_together = {name for name, _ in _differences(graph, to_onnx(graph, batch), batch, tolerance)}
    before = ""
    for name, largest in found:
        if name not in drawn_together:
            return f"{before} with {name}" if _beside(before, name) else name, largest
        before = name
    return None


def _beside(one: str, other: str) -> bool:
    """Whether two layers stand in one submodule, as a convolution and the normalisation that is drawn into it."""
    return bool(one) and one.partition(" ")[0].rpartition(".")[0] == other.partition(" ")[0].rpartition(".")[0]


def _differences(graph: Exported, model: bytes, batch: Batch, tolerance: float) -> Iterator[tuple[str, float]]:
    proto = require("onnx", "export").load_model_from_string(model)
    scopes = [_scopes(node) for node in proto.graph.node]
    own, answers = _own_values(graph, batch)
    inputs = tensors.apply_to(graph.preprocess, graph.feed(batch))
    changed = {name: value for name, value in inputs.items() if value.dtype != batch.inputs[name].dtype}
    names = {name: _leaving(proto.graph, scopes, f"{ROOT}.{name}" if name else ROOT) for name in own}
    entering = _entering(proto.graph, scopes)
    wanted = {value for several in names.values() for value in several} | set(entering)
    held = _run(proto, graph.feed(batch), wanted)
    classes = {name: type(layer).__name__ for name, layer in graph.model.named_modules()}
    for value in changed.values():
        yield from _compared(BEFORE, [value], [held[name] for name in entering if name in held], tolerance)
    for name, several in own.items():
        shown = f"{name} ({classes[name]})" if name else classes[name]
        yield from _compared(shown, several, [held[one] for one in names[name] if one in held], tolerance)
    for name, value in answers.items():
        if name in held:
            yield from _compared(AFTER, [value], [held[name]], tolerance)


def _compared(shown: str, own: list[Tensor], held: list[NDArray[Any]], tolerance: float) -> Iterator[tuple[str, float]]:
    for value in own:
        wide = value.detach().double().numpy()
        near = [
            float(np.abs(np.nan_to_num(wide) - np.nan_to_num(one.astype(np.float64))).max(initial=0.0))
            for one in held
            if one.shape == wide.shape
        ]
        if near and min(near) > tolerance * max(1.0, float(np.abs(np.nan_to_num(wide)).max(initial=0.0))):
            yield shown, min(near)
            return


def _own_values(graph: Exported, batch: Batch) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """What leaves each submodule, in the order in which they are done, and the answers."""
    names = {id(layer): name for name, layer in graph.model.named_modules()}
    found: dict[str, list[Tensor]] = {}

    def look(layer: nn.Module, _: Any, output: Any) -> None:
        name = names.get(id(layer))
        if name is not None and name not in found:
            found[name] = list(_tensors(output))

    handle = nn.modules.module.register_module_forward_hook(look)  # on none itself: torch's encoder looks for hooks
    try:
        answers = graph.answer(batch)
    finally:
        handle.remove()
    return found, answers


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if not output.is_nested and not output.is_complex():
            yield output.detach().clone()  # a later layer may change it in place
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list) and not isinstance(output, nn.utils.rnn.PackedSequence):
        for value in output:
            yield from _tensors(value)


def _scopes(node: Any) -> frozenset[str]:
    """The submodules that a node stands in, by name."""
    for one in node.metadata_props:
        if one.key == SCOPES:
            return frozenset(ast.literal_eval(one.value)[:-1])
    return frozenset()


def _leaving(graph: Any, scopes: list[frozenset[str]], scope: str) -> list[str]:
    """Values that are made in a submodule and used outside."""
    made = {value for node, own in zip(graph.node, scopes, strict=True) if scope in own for value in node.output}
    used = {value for node, own in zip(graph.node, scopes, strict=True) if scope not in own for value in node.input}
    return sorted(made & (used | {one.name for one in graph.output}))


def _entering(graph: Any, scopes: list[frozenset[str]]) -> list[str]:
    """Values that are made before the module, or given, and used in it."""
    pairs = list(zip(graph.node, scopes, strict=True))
    outside = {value for node, own in pairs if ROOT not in own for value in node.output}
    used = {value for node, own in pairs if ROOT in own for value in node.input}
    return sorted(used & (outside | {one.name for one in graph.input}))


def _run(proto: Any, inputs: Mapping[str, Tensor], wanted: set[str]) -> Values:
    """What the file gives, values inside among them."""
    onnx, onnxruntime = require("onnx", "export"), load_runtime()
    known = {one.name for one in proto.graph.output}
    given = {one.name for one in proto.graph.input}
    for name in sorted(wanted - known - given - {""}):
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    feed = {name: value.numpy() for name, value in inputs.items() if name in given}
    return dict(zip(names, session.run(names, feed), strict=True)) | {n: v for n, v in feed.items() if n in wanted}
