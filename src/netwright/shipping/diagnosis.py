"""Why a graph does not answer as the module does: the module is asked in ways that are known to go wrong.

Each way is one that an export, or a person who writes one by hand, gets wrong; where the graph's answers are those of a
wrong way, that is the reason. Else the weights in the file are compared; last, the first layer that differs is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.data import tensors
from netwright.preprocess import Preprocess

Arrays = Mapping[str, NDArray[Any]]
# From stored inputs to answers in numbers, as the graph should give them.
Asked = Callable[[dict[str, Tensor]], dict[str, NDArray[Any]]]
CLOSE = 2e-3  # as near as answers of a wrong way must be to the graph's
APART = 1e-2  # how far a wrong way must be from the right one to be told from it


def explain(
    model: nn.Module,
    ask: Asked,
    raw_ask: Asked,
    inputs: dict[str, Tensor],
    got: Arrays,
    preprocess: Preprocess,
) -> str | None:
    """The reason, as a clause behind "the graph answers as if"; None where none of them fits.

    Args:
        model: The trained module.
        ask: The right way, from stored inputs.
        raw_ask: The same without what is done to batches of tensors.
        inputs: Stored ones, on which graph and module differ.
        got: The graph's answers to them.
        preprocess: What the run does.
    """
    right = ask(inputs)
    if any(not np.isfinite(value).all() for value in got.values() if value.dtype.kind == "f"):
        return "a number was too large for its type (float16 ends at 65,504): some answers are no finite numbers"
    for reason, wrong in _ways(model, ask, raw_ask, inputs, preprocess):
        try:
            found = wrong()
        except Exception:
            continue
        if _alike(found, got) and _far(found, right):
            return reason
    return _of_numbers(right, got)


def _alike(one: Arrays, other: Arrays) -> bool:
    return all(
        one[name].shape == other[name].shape and bool(np.abs(_scaled(one[name]) - _scaled(other[name])).max() < CLOSE)
        for name in one
        if name in other and one[name].size
    )


def _far(one: Arrays, other: Arrays) -> bool:
    return any(
        one[name].shape == other[name].shape and bool(np.abs(_scaled(one[name]) - _scaled(other[name])).max() > APART)
        for name in one
        if name in other and one[name].size
    )


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values of any unit, so that one tolerance does: as shares of their largest."""
    wide = values.astype(np.float64)
    return wide / max(1.0, float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0)))


def _ways(
    model: nn.Module, ask: Asked, raw_ask: Asked, inputs: dict[str, Tensor], preprocess: Preprocess
) -> Iterator[tuple[str, Callable[[], Arrays]]]:
    def trained() -> Arrays:
        with _statistics_of_the_batch(model):
            return ask(inputs)

    if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()):
        yield "batch normalisation took each batch's own statistics: it was left in train mode", trained
    floats = {name: value.float() if value.dtype == torch.uint8 else value for name, value in inputs.items()}
    if preprocess.tensor:
        yield "what is done to pixels (scale and normalise) was left out", lambda: raw_ask(floats)
        shares = {n: v / 255 if inputs[n].dtype == torch.uint8 else v for n, v in floats.items()}
        yield "pixels were divided by 255 and not normalised", lambda: raw_ask(shares)
    ready = tensors.apply_to(preprocess, inputs)
    for name, value in inputs.items():
        if value.ndim == 4 and value.shape[1] > 1:
            for asked, given in ((ask, inputs), (raw_ask, ready)):
                wrong = _changed(asked, given, {name: given[name].flip(1)})
                yield f"the channels of {name} came in reverse order", wrong
        if value.ndim == 4 and value.shape[2] == value.shape[3]:
            turned = value.transpose(2, 3)
            yield f"height and width of {name} were exchanged", _changed(ask, inputs, {name: turned})
    if "tokens" in inputs:
        tokens, padding = inputs["tokens"], inputs["tokens"] == 0
        for step in (1, -1):
            moved = (tokens + step).clamp_min(0).masked_fill(padding, 0)
            yield f"tokens were {step:+d} off: another vocabulary", _changed(ask, inputs, {"tokens": moved})
    yield from _lengths(ask, inputs)


def _changed(ask: Asked, inputs: dict[str, Tensor], changes: dict[str, Tensor]) -> Callable[[], Arrays]:
    return lambda: ask(inputs | changes)


def _lengths(ask: Asked, inputs: dict[str, Tensor]) -> Iterator[tuple[str, Callable[[], Arrays]]]:
    wrong: dict[str, Tensor] = {}
    if "lengths" in inputs and len(longest := inputs["lengths"]):
        wrong["lengths"] = torch.full_like(longest, int(longest.max()))
    if "mask" in inputs:
        wrong["mask"] = torch.ones_like(inputs["mask"])
    if wrong:
        yield "padding were data: lengths and masks were passed over", _changed(ask, inputs, wrong)


@contextlib.contextmanager
def _statistics_of_the_batch(model: nn.Module) -> Iterator[None]:
    """Batch normalisation without the statistics it has kept: in eval mode too it then takes the batch's own."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    kept = [(layer, layer.running_mean, layer.running_var) for layer in layers]
    try:
        for layer in layers:
            layer.running_mean = layer.running_var = None
        yield
    finally:
        for layer, mean, variance in kept:
            layer.running_mean, layer.running_var = mean, variance


def _of_numbers(right: Arrays, got: Arrays) -> str | None:
    """What can be told from the answers alone."""
    for name, true in right.items():
        other = got.get(name)
        if other is None or other.shape != true.shape or true.ndim != 2:
            continue
        if np.abs(_softmax(true) - other).max() < CLOSE:
            return "a softmax was taken twice"
        if name.endswith("probabilities") and np.abs(_softmax(other) - true).max() < CLOSE:
            return "no softmax was taken: its answers are logits"
        if name.endswith("probabilities") and (moved := _order(true, other)):
            return f"classes were in another order: {moved}"
    return None


def _softmax(values: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _order(true: NDArray[Any], other: NDArray[Any]) -> str | None:
    """Which column stands where another should."""
    if true.shape[1] < 2 or len(true) < 3:
        return None
    gaps = np.abs(true[:, :, None] - other[:, None, :]).max(0)
    nearest = gaps.argmin(1)
    moved = [(place, int(there)) for place, there in enumerate(nearest) if place != there]
    if not moved or len(set(nearest)) < len(nearest) or gaps[np.arange(len(nearest)), nearest].max() > CLOSE:
        return None
    return ", ".join(f"{place} stands at {there}" for place, there in moved[:4])


def other_weights(model: bytes, fresh: bytes) -> str | None:
    """Which tensor of a file differs from that of the same name and shape in a file made anew; None where none does."""
    import onnx
    from onnx import numpy_helper

    known = {one.name: one for one in onnx.load_model_from_string(fresh).graph.initializer}
    for one in onnx.load_model_from_string(model).graph.initializer:
        if one.name not in known or list(one.dims) != list(known[one.name].dims):
            continue
        held, true = numpy_helper.to_array(one), numpy_helper.to_array(known[one.name])
        if held.dtype == true.dtype and held.tobytes() != true.tobytes():
            where = np.unravel_index(int(np.argmax(held != true)), held.shape) if held.shape else ()
            place = f"[{', '.join(map(str, where))}]"
            return f"{one.name}{place} is {held[where]:.6g} in the file and {true[where]:.6g} in one made anew"
    return None
