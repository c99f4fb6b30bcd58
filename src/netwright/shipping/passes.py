"""What is changed of a traced program before it is saved or translated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

aten = torch.ops.aten
SQUEEZES = (aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)

DIVISIONS = (aten.div.Tensor_mode, aten.div.Scalar_mode)

ALL = 2**63 - 1  # where a slice ends that has no end
# What changes each position of (B, T, D) by itself.
BY_POSITION = (
    aten.linear.default, aten.dropout.default, aten.relu.default, aten.gelu.default, aten.tanh.default,
    aten.sigmoid.default, aten.silu.default,
)  # fmt: skip


def keep_open_sizes(program: ExportedProgram) -> None:
    """Let ``squeeze`` take away what is 1 for every batch, and never a batch or a length that happens to be 1."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in SQUEEZES:
            continue
        dims = _lasting(node)
        if dims:
            node.target, node.args = aten.squeeze.dims, (node.args[0], dims)
        else:
            node.target, node.args = aten.alias.default, (node.args[0],)
    program.graph_module.recompile()


def whole_divisions(program: ExportedProgram) -> None:
    """Let whole numbers be divided as whole numbers: by way of float32 they would be wrong from 2**24 on."""
    for node in program.graph_module.graph.nodes:
        if node.op != "call_function" or node.target not in DIVISIONS or node.kwargs.get("rounding_mode") != "floor":
            continue
        values = [one.meta["val"] if isinstance(one, Node) else one for one in node.args[:2]]
        if any(isinstance(one, float) or (isinstance(one, Tensor) and one.is_floating_point()) for one in values):
            continue
        node.target = aten.floor_divide.default
        node.kwargs = {}
    program.graph_module.recompile()


def nothing_seen(program: ExportedProgram) -> None:
    """Let attention that may look at nothing, as in an empty text, find zeros, as torch's does; ONNX's finds a mean."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not aten.scaled_dot_product_attention.default:
            continue
        mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
        if not isinstance(mask, Node) or mask.meta["val"].dtype != torch.bool or _sees_itself(mask):
            continue
        with graph.inserting_after(node):
            found = graph.call_function(aten.masked_fill.Scalar, (node, mask, 0.0))
        with graph.inserting_before(found):
            seen = graph.call_function(aten.any.dim, (mask, -1, True))
            none = graph.call_function(aten.logical_not.default, (seen,))
        node.replace_all_uses_with(found, delete_user_cb=lambda user, own=found: user is not own)
        found.args = (node, none, 0.0)
        value = mask.meta["val"]
        with value.fake_mode:
            seen.meta["val"] = value.any(-1, True)
            none.meta["val"] = seen.meta["val"].logical_not()
        found.meta["val"] = node.meta["val"]
        for one in (seen, none, found):
            one.meta |= {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
    program.graph_module.recompile()


def last_alone(program: ExportedProgram) -> None:
    """Work out answers at the last position alone, where no other is asked for: slices move up past dense layers."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):  # `x[:, -1:]` first takes all samples
        if node.op == "call_function" and node.target is aten.slice.Tensor and tuple(node.args[2:]) == (0, ALL):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not aten.slice.Tensor or tuple(node.args[1:3]) != (1, -1):
            continue
        above = node.args[0]
        while isinstance(above, Node) and above.target in BY_POSITION and len(above.users) == 1:
            given = above.args[0]
            if not isinstance(given, Node) or given.meta["val"].ndim != 3 or above.meta["val"].ndim != 3:
                break
            node.replace_all_uses_with(above)
            above.args = (node, *above.args[1:])
            node.args = (given, *node.args[1:])
            above.meta["val"], node.meta["val"] = _cut(above.meta["val"]), _cut(given.meta["val"])
            above.prepend(node)
            above = given
    graph.lint()
    program.graph_module.recompile()


def _cut(value: Any) -> Any:
    with value.fake_mode:
        return value[:, -1:]


def _sees_itself(mask: Node) -> bool:
    """Whether a mask was made so that each position may look at itself: by an `or` with the diagonal."""
    made = [one for one in mask.args if isinstance(one, Node)]
    return "or" in str(mask.target).split(".")[-2] and any("eye" in str(one.target) for one in made)


def _lasting(node: Node) -> list[int]:
    """Of the dimensions that are to be squeezed, those that are 1 whatever the batch."""
    given = node.args[0]
    value: Tensor = given.meta["val"] if isinstance(given, Node) else torch.empty(())
    asked = node.args[1] if len(node.args) > 1 else range(value.ndim)
    wanted = [asked] if isinstance(asked, int) else list(asked)  # type: ignore[arg-type]
    places = {int(one) % max(1, value.ndim) for one in wanted}
    return sorted(place for place in places if type(value.shape[place]) is int and value.shape[place] == 1)
