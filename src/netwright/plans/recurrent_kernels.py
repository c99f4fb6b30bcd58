"""Kernels of recurrent layers, whose source is ``recurrent.cpp``: called without a copy."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netwright.plans import compiled

SOURCE = Path(__file__).with_name("recurrent.cpp")
GATES = 4
LEAST_ROWS = 4  # sequences of a part
LEAST_WORK = 1e7  # operations of all parts: a tenth of a millisecond


class Layer(ctypes.Structure):
    """As in ``recurrent.cpp``."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("steps", "rows", "inputs", "units", "gru", "reverse", "parts")),
        *((name, ctypes.c_void_p) for name in ("x", "h0", "c0", "bias", "of_x", "of_h", "h", "c", "gates", "dh")),
        *((name, ctypes.c_long) for name in ("dh_step", "dh_row")),
        *((name, ctypes.c_void_p) for name in ("dgates", "dbias", "dh0", "carry")),
        ("next", ctypes.c_long),
    )


def forward(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, h0: Tensor, c0: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All steps of one direction of one layer, an LSTM's or, without ``c0``, a GRU's.

    Args:
        x: Inputs (T, B, I), float32 as all else.
        w_ih: Weights (G H, I), gates in torch's order.
        w_hh: Weights (G H, H).
        bias: Of four gates (4 H): of an LSTM in torch's order; of a GRU that of n, by its inputs, of r, of z, and of n
            by its state.
        h0: First state (B, H).
        c0: First cell (B, H).
        reverse: From the last step to the first.

    Returns:
        States (T, B, H), the last cell (B, H), cells (T, B, H) and gates (T, B, 4 H), the latter two for ``backward``.
        Of a GRU there are no cells.

    Raises:
        ValueError: Sizes or dtypes do not belong together.
    """
    built, gru = library(), c0 is None
    (steps, rows, inputs), units = x.shape, h0.shape[-1]
    kinds = 3 if gru else 4
    _expect(x, (steps, rows, inputs))
    _expect(w_ih, (kinds * units, inputs))
    _expect(w_hh, (kinds * units, units))
    _expect(bias, (GATES * units,))
    _expect(h0, (rows, units))
    if c0 is not None:
        _expect(c0, (rows, units))
        c0 = c0.contiguous()
    x, w_ih, w_hh, bias, h0 = (one.contiguous() for one in (x, w_ih, w_hh, bias, h0))
    states, gates = x.new_empty(steps, rows, units), x.new_empty(steps, rows, GATES * units)
    cells = x.new_empty(0) if gru else torch.empty_like(states)
    width = -(-units // built.lanes) * built.lanes * kinds
    of_x, of_h = x.new_empty(width * inputs), x.new_empty(width * units)
    built.pack_forward(w_ih, of_x, units, inputs, (2, 0, 1) if gru else (0, 1, 2, 3))
    built.pack_forward(w_hh, of_h, units, units, tuple(range(kinds)))
    layer = Layer(
        steps, rows, inputs, units, gru, reverse, _parts(rows, 2.0 * rows * width * (inputs + units) * steps),
        x=x.data_ptr(), h0=h0.data_ptr(), c0=None if c0 is None else c0.data_ptr(), bias=bias.data_ptr(),
        of_x=of_x.data_ptr(), of_h=of_h.data_ptr(), h=states.data_ptr(), c=cells.data_ptr(), gates=gates.data_ptr(),
    )  # fmt: skip
    built.forward(layer)
    return states, x.new_empty(0) if gru else cells[0 if reverse else -1].clone(), cells, gates


def backward(  # noqa: PLR0913  those of an operator of torch's
    dh: Tensor,
    dc: Tensor,
    w_hh: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    states: Tensor,
    cells: Tensor,
    gates: Tensor,
    reverse: bool,
    over: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the sums that a layer's gates are made of, by those of its states and of its last cell.

    Args:
        dh: Of ``states`` (T, B, H).
        dc: Of the last cell (B, H).
        over: Put them in the place of ``gates``, which then are gone.

    Returns:
        Those of the gates (T, B, 4 H), in the order of ``bias``; of ``bias``, ``h0`` and ``c0``.

    Raises:
        ValueError: Sizes or dtypes do not belong together.
    """
    built, gru = library(), c0 is None
    steps, rows, units = states.shape
    depth = (3 if gru else 4) * units
    _expect(dh, states.shape)
    _expect(w_hh, (depth, units))
    _expect(gates, (steps, rows, GATES * units))
    w_hh, h0, states, cells, gates = (one.contiguous() for one in (w_hh, h0, states, cells, gates))
    if dh.stride(2) != 1 and units > 1:
        dh = dh.contiguous()
    c0 = None if c0 is None else c0.contiguous()
    carry = torch.zeros_like(h0) if c0 is None else dc.clone(memory_format=torch.contiguous_format)
    width = -(-units // built.lanes) * built.lanes
    of_h = h0.new_empty(width * depth)
    built.pack_backward(w_hh, of_h, units, depth)
    parts = _parts(rows, 2.0 * rows * width * depth * steps)
    dgates = gates if over else torch.empty_like(gates)
    dbias, dh0 = h0.new_empty(parts, GATES * units), torch.empty_like(h0)
    layer = Layer(
        steps, rows, 0, units, gru, reverse, parts,
        h0=h0.data_ptr(), c0=None if c0 is None else c0.data_ptr(), of_h=of_h.data_ptr(), h=states.data_ptr(),
        c=cells.data_ptr(), gates=gates.data_ptr(), dh=dh.data_ptr(), dh_step=dh.stride(0), dh_row=dh.stride(1),
        dgates=dgates.data_ptr(), dbias=dbias.data_ptr(), dh0=dh0.data_ptr(), carry=carry.data_ptr(),
    )  # fmt: skip
    built.backward(layer)
    return dgates, dbias.sum(0), dh0, h0.new_empty(0) if gru else carry


def _expect(value: Tensor, shape: tuple[int, ...]) -> None:
    """The kernels look at no size: what does not fit would be read from beyond its end."""
    if value.shape != shape or value.dtype is not torch.float32 or value.device.type != "cpu":
        raise ValueError(f"a recurrent layer takes float32 {tuple(shape)} here, got {value.dtype} {tuple(value.shape)}")


def _parts(rows: int, work: float) -> int:
    threads = torch.get_num_threads()
    return 1 if work < LEAST_WORK else max(1, min(threads, rows // LEAST_ROWS))


class Library:
    """The compiled functions, with torch's own OpenMP, whose threads do the parts where it is GNU's."""

    def __init__(self, held: ctypes.CDLL) -> None:
        self._held: Any = held
        self.lanes: int = self._held.lanes()
        self._parallel = compiled.parallel()

    def forward(self, layer: Layer) -> None:
        """Of all parts."""
        self._held.forward(ctypes.byref(layer), self._parallel)

    def backward(self, layer: Layer) -> None:
        """Of all parts."""
        self._held.backward(ctypes.byref(layer), self._parallel)

    def pack_forward(self, weights: Tensor, packed: Tensor, units: int, count: int, order: tuple[int, ...]) -> None:
        """Lay weights as the forward pass reads them."""
        gates = (ctypes.c_long * len(order))(*order)
        pointers = ctypes.c_void_p(weights.data_ptr()), ctypes.c_void_p(packed.data_ptr())
        self._held.pack_forward(*pointers, *(ctypes.c_long(one) for one in (units, count, len(order))), gates)

    def pack_backward(self, weights: Tensor, packed: Tensor, units: int, depth: int) -> None:
        """Lay weights as the backward pass reads them."""
        pointers = ctypes.c_void_p(weights.data_ptr()), ctypes.c_void_p(packed.data_ptr())
        self._held.pack_backward(*pointers, ctypes.c_long(units), ctypes.c_long(depth))


@functools.cache
def library() -> Library:
    """The kernels, compiled now where they were not before.

    Raises:
        NoProgramError: There is no compiler, or it does not compile them, and what it says.
    """
    return Library(compiled.library(SOURCE))
