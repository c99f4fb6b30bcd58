"""An ONNX model as it is shipped: sizes by the names of what varies, and nothing of where it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # in which submodules a node stands: by it the first layer that differs is found


def name_sizes(model: Any, inputs: Mapping[str, Mapping[int, str]], outputs: Sequence[dict[str, Any]]) -> None:
    """Call the sizes that vary as the inputs' axes are called, in place; outputs' records get them as ``shape``.

    Args:
        model: An ``onnx.ModelProto``.
        inputs: Names of axes by input.
    """
    known: dict[str, str] = {}
    for value in model.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            name = inputs.get(value.name, {}).get(axis)
            if name is not None:
                known.setdefault(size.dim_param, name)
                size.dim_param = name
    records = {one["name"]: one for one in outputs}
    for value in model.graph.output:
        record, sizes = records[value.name], value.type.tensor_type.shape.dim
        for axis, size in enumerate(sizes):
            if size.dim_param:
                asked = record["shape"][axis] if axis < len(record["shape"]) else None
                size.dim_param = known.get(size.dim_param) or (
                    asked if isinstance(asked, str) else f"{value.name}_{axis}"
                )
        record["shape"] = [size.dim_param or size.dim_value for size in sizes]


def strip(model: Any) -> None:
    """Take out paths and traces of the machine it was made on; names of submodules stay."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        kept = [(one.key, one.value) for one in node.metadata_props if one.key == SCOPES]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
    for part in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
