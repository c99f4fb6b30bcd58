"""LSTM, GRU and RNN while a module is traced: one operator each, over padded batches, with lengths or without.

Traced as they are, they would fall apart into a step for each position of the example. What is packed stays padded, and
its lengths go along: ONNX's own recurrent operators take them; for a program of torch's own, sequences are turned
round, and states kept at their ends, by plain operators. ``T`` positions, ``B`` samples, ``H`` hidden, ``D`` ways.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from netwright.blocks.masks import mask_of, reverse
from netwright.errors import ExportRefusedError
from netwright.shipping import patched

Form = Literal["onnx", "torch"]
VERSIONS = {"LSTM": 14, "GRU": 14, "RNN": 14}  # of ONNX's operators, as they stand in opset 20
# Torch's gates in ONNX's order: i f g o to i o f c, and r z n to z r h.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
STASH = "_netwright_recurrent"
FROZEN = 1e4  # before a sigmoid it is 1 in float32, and its negative 0

_library = torch.library.Library("netwright", "DEF")  # type: ignore[no-untyped-call]
_CELL = (
    "(Tensor input, {state} hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional, bool batch_first) -> ({outputs})"
)
KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
for _kind in KINDS:
    _lstm = _kind == "lstm"
    _library.define(  # type: ignore[no-untyped-call]
        _kind + _CELL.format(state="Tensor[]" if _lstm else "Tensor", outputs=", ".join(["Tensor"] * (2 + _lstm)))
    )


def _shapes(x: Tensor, state: Any, params: Any, *rest: Any) -> tuple[Tensor, ...]:
    """Of one layer in one direction, as it is used here."""
    states = [state] if isinstance(state, Tensor) else list(state)
    return (x.new_empty(x.shape[0], x.shape[1], states[0].shape[2]), *(torch.empty_like(one) for one in states))


for _kind in KINDS:
    _library.impl(_kind, _shapes, "Meta")  # type: ignore[no-untyped-call]


def as_torch_has_it(program: GraphModule) -> None:
    """Put torch's own operators in the place of the stand-ins of their names."""
    for node in program.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "namespace", "") == "netwright":
            node.target = getattr(torch.ops.aten, node.target._schema.name.partition("::")[2]).input
    program.recompile()


class Padded(PackedSequence):
    """What stands for a packed batch: padded values (T, B, …) as ``data``, and lengths (B,) as ``batch_sizes``."""

    def __new__(
        cls, data: Tensor, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> Padded:
        """The indices are of sorting, which does not happen."""
        del sorted_indices, unsorted_indices
        return tuple.__new__(cls, (data, batch_sizes, None, None))


def _pack(x: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool) -> Padded:
    del enforce_sorted  # nothing is sorted
    x = x.transpose(0, 1) if batch_first else x
    return Padded(x, lengths if isinstance(lengths, Tensor) else torch.as_tensor(lengths))


def _pad(packed: Padded, batch_first: bool, padding_value: float, total_length: Any) -> tuple[Tensor, Tensor]:
    x, lengths = packed.data, packed.batch_sizes
    if padding_value != 0.0:
        outside = ~mask_of(lengths.to(x.device), x.shape[0]).T
        x = x.masked_fill(outside.reshape(*outside.shape, *[1] * (x.ndim - 2)), padding_value)
    if total_length is not None and not (isinstance(total_length, int) and total_length == x.shape[0]):
        after = x.new_full((total_length - x.shape[0], *x.shape[1:]), padding_value)
        x = torch.cat((x, after))
    return (x.transpose(0, 1) if batch_first else x), lengths


def _lists(*given: Any) -> NoReturn:
    raise ExportRefusedError(
        where="pack_sequence",
        expected="a padded batch and its lengths",
        got="lists of sequences, whose number would be fixed",
        cure="Use pack_padded_sequence and pad_packed_sequence.",
    )


STAND_INS: dict[str, Callable[..., Any]] = {
    "pack_padded_sequence": _pack,
    "pad_packed_sequence": _pad,
    "pack_sequence": _lists,
    "unpack_sequence": _lists,
}


def _onnx_weights(layer: nn.RNNBase, index: int) -> tuple[Tensor, Tensor, Tensor]:
    kind = layer.mode.partition("_")[0]

    def reorder(value: Tensor) -> Tensor:
        parts = value.detach().chunk(len(GATES[kind]))
        return torch.cat([parts[place] for place in GATES[kind]])

    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    found = {
        name: [reorder(getattr(layer, f"{name}_l{index}{suffix}")) for suffix in suffixes]
        for name in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ()))
    }
    w, r = torch.stack(found["weight_ih"]), torch.stack(found["weight_hh"])
    if not layer.bias:
        return w, r, w.new_zeros(len(w), 2 * w.shape[1])
    return w, r, torch.cat((torch.stack(found["bias_ih"]), torch.stack(found["bias_hh"])), dim=1)


def _by_onnx(
    layer: nn.RNNBase, index: int, x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...] | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, (T, B, features) to (T, B, D * H) and its states, each (D, B, H)."""
    kind = layer.mode.partition("_")[0]
    directions = 2 if layer.bidirectional else 1
    size, count, hidden = x.shape[0], x.shape[1], layer.hidden_size
    weights = [getattr(layer, f"{STASH}_{index}_{place}") for place in range(3)]
    attributes: dict[str, Any] = {
        "hidden_size": hidden, "direction": "bidirectional" if layer.bidirectional else "forward"
    }  # fmt: skip
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    if layer.mode == "RNN_RELU":
        attributes["activations"] = ["Relu"] * directions
    ends = 2 if kind == "LSTM" else 1
    y, *found = torch.onnx.ops.symbolic_multi_out(
        kind,
        (x, *weights, None if lengths is None else lengths.to(torch.int32), *(states or ())),
        attributes,
        dtypes=[x.dtype] * (1 + ends),
        shapes=[(size, directions, count, hidden), *[(directions, count, hidden)] * ends],
        version=VERSIONS[kind],
    )
    y = y.squeeze(1) if directions == 1 else y.transpose(1, 2).reshape(size, count, directions * hidden)
    return y, tuple(found)


def _by_torch(
    layer: nn.RNNBase, index: int, x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...] | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same by torch's operators of one direction."""
    directions = 2 if layer.bidirectional else 1
    ends = 2 if layer.mode == "LSTM" else 1
    if states is None:
        states = tuple(x.new_zeros(directions, x.shape[1], layer.hidden_size) for _ in range(ends))
    outputs, found = [], []
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ()))
        params = [getattr(layer, f"{name}_l{index}{suffix}") for name in names]
        own = tuple(state[direction : direction + 1] for state in states)
        y, last = _one_way(layer, params, _turned(x, lengths) if direction else x, lengths, own)
        outputs.append(_turned(y, lengths) if direction else y)
        found.append(last)
    y = torch.cat(outputs, dim=2) if directions == 2 else outputs[0]
    return y, tuple(torch.cat(list(parts)) for parts in zip(*found, strict=True))


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    return reverse(x.transpose(0, 1), lengths).transpose(0, 1)


def _one_way(
    layer: nn.RNNBase, params: list[Tensor], x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    operator = getattr(torch.ops.netwright, layer.mode.lower())
    rest = (layer.bias, 1, 0.0, False, False, False)
    if lengths is None:
        y, *last = operator(x, list(states) if layer.mode == "LSTM" else states[0], params, *rest)
        return y, tuple(last)
    real = mask_of(lengths, x.shape[0]).T[..., None]
    if layer.mode == "LSTM":
        # One more feature, 1 at padding, shuts input gates and opens forget gates: the cells stay as they are.
        hidden = layer.hidden_size
        column = torch.cat([params[0].new_full((hidden, 1), value) for value in (-FROZEN, FROZEN, 0.0, 0.0)])
        params = [torch.cat((params[0], column), dim=1), *params[1:]]
        y, _, cells = operator(torch.cat((x, (~real).to(x.dtype)), dim=2), list(states), params, *rest)
    else:
        y, _ = operator(x, states[0], params, *rest)
    place = (lengths - 1).clamp_min(0)[None, :, None].expand(1, -1, y.shape[2])
    last_h = torch.where((lengths > 0)[None, :, None], y.gather(0, place), states[0])
    y = y.masked_fill(~real, 0.0)
    return y, (last_h, cells) if layer.mode == "LSTM" else (last_h,)


def _forward(form: Form) -> Any:
    """What ``nn.LSTM.forward`` and its like become."""
    one_layer = _by_onnx if form == "onnx" else _by_torch

    def forward(layer: nn.RNNBase, given: Any, hx: Any = None) -> Any:
        if getattr(layer, "proj_size", 0):
            raise ExportRefusedError(
                where=f"nn.LSTM(…, proj_size={layer.proj_size})",
                expected="an LSTM as ONNX has it",
                got="one whose states are projected",
                cure="Leave out proj_size and put nn.Linear(hidden_size, …) behind it.",
            )
        x, lengths = (given.data, given.batch_sizes) if isinstance(given, Padded) else (given, None)
        batch_first = layer.batch_first and lengths is None
        alone = x.ndim == 2
        x = x.unsqueeze(1) if alone else x.transpose(0, 1) if batch_first else x
        states = None if hx is None else tuple(hx) if layer.mode == "LSTM" else (hx,)
        if alone and states is not None:
            states = tuple(one.unsqueeze(1) for one in states)
        directions = 2 if layer.bidirectional else 1
        lengths = None if lengths is None else lengths.to(x.device)
        found: list[tuple[Tensor, ...]] = []
        for index in range(layer.num_layers):
            own = None
            if states is not None:
                own = tuple(one[index * directions : (index + 1) * directions] for one in states)
            x, last = one_layer(layer, index, x, lengths, own)
            found.append(last)
        ends = tuple(torch.cat(list(parts)) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
        if alone:
            x, ends = x.squeeze(1), tuple(one.squeeze(1) for one in ends)
        elif batch_first:
            x = x.transpose(0, 1)
        output: Any = x if lengths is None else Padded(x, lengths)
        return output, ends if layer.mode == "LSTM" else ends[0]

    return forward


@contextlib.contextmanager
def whole_layers(model: nn.Module, form: Form) -> Iterator[None]:
    """Recurrent layers as one operator each, packed sequences as padded ones, while the block runs."""
    layers = [one for one in model.modules() if isinstance(one, nn.RNNBase)]
    stashed: list[tuple[nn.Module, str]] = []
    with contextlib.ExitStack() as stack:
        for kind in (nn.LSTM, nn.GRU, nn.RNN):
            stack.enter_context(patched.attribute(kind, "forward", _forward(form)))
        made = staticmethod(lambda _, *given: Padded(*given))
        stack.enter_context(patched.attribute(PackedSequence, "__new__", made))
        for name, stand_in in STAND_INS.items():
            stack.enter_context(patched.code(getattr(rnn, name), stand_in))
        try:
            for layer in layers if form == "onnx" else ():
                for index in range(layer.num_layers):
                    for place, weight in enumerate(_onnx_weights(layer, index)):
                        name = f"{STASH}_{index}_{place}"
                        layer.__dict__[name] = weight
                        stashed.append((layer, name))
            yield
        finally:
            for owner, name in stashed:
                del owner.__dict__[name]
