"""The Open Inference Protocol, version 2, in JSON: tensors of a graph by name, checked before one is made.

https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.serving.inputs import shape_of
from netwright.serving.refusals import Refused, no_answer

# Types of the protocol by NumPy's names; a graph has no others.
TYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
LARGEST = 3.4028234663852886e38  # of float32
MOST_ELEMENTS = 4_000_000  # of a tensor, as its shape promises


def metadata(name: str, version: int, spec: Mapping[str, Any], versions: list[str]) -> dict[str, Any]:
    """What the protocol tells of a model."""
    del version
    return {
        "name": name,
        "versions": versions,
        "platform": "onnx_onnxruntime",
        "inputs": [_tensor(one) for one in spec["model"]["inputs"]],
        "outputs": [_tensor(one) for one in spec["model"]["outputs"]],
    }


def _tensor(one: Mapping[str, Any]) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in one["shape"]]
    return {"name": one["name"], "datatype": TYPES[one["dtype"].removeprefix("torch.")], "shape": shape}


def tensors(request: Any, spec: Mapping[str, Any], most: int) -> tuple[dict[str, NDArray[Any]], list[str], str | None]:
    """The inputs of a request by name, the outputs that it asks for, and its own id.

    Args:
        request: Its JSON.
        spec: The bundle's ``preprocess.json``.
        most: Samples that a batch may have.

    Raises:
        Refused: A name, type, shape or value is not the graph's.
    """
    if not isinstance(request, dict):
        raise _wrong("The body must be an object.")
    unknown = set(request) - {"id", "inputs", "outputs", "parameters"}
    if unknown:
        raise _wrong(f"`{_shown(min(unknown))}` is not part of a request.")
    own_id = request.get("id")
    if own_id is not None and not (isinstance(own_id, str) and len(own_id) <= 200):
        raise _wrong("`id` must be a text of at most 200 characters.")
    if not isinstance(request.get("parameters", {}), dict):
        raise _wrong("`parameters` must be an object.")
    wanted = {one["name"]: one for one in spec["model"]["inputs"]}
    given = request.get("inputs")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise _wrong("`inputs` must be a list of tensors.")
    names = [one.get("name") for one in given]
    if sorted(map(str, names)) != sorted(wanted):
        raise _wrong(f"`inputs` must be the tensors {', '.join(wanted)}, each once.")
    longest = (spec.get("limits") or {}).get("max_length")
    checked = {one["name"]: _checked(one, wanted[one["name"]], most, longest) for one in given}
    _same_sizes(checked, wanted)
    made = {name: _made(one, shape, wanted[name]) for name, (one, shape) in checked.items()}
    return made, _outputs(request, spec), own_id


def _wrong(message: str) -> Refused:
    return Refused(400, "bad_tensor", message)


def _shown(text: object) -> str:
    plain = str(text)[:80]
    return plain if plain.isprintable() else "…"


def _checked(
    one: Mapping[str, Any], wanted: Mapping[str, Any], most: int, longest: int | None
) -> tuple[list[Any], tuple[int, ...]]:
    """The data of a tensor and its shape, which is allowed; nothing is made yet."""
    name = wanted["name"]
    unknown = set(one) - {"name", "shape", "datatype", "data", "parameters"}
    if unknown or not isinstance(one.get("parameters", {}), dict):
        raise _wrong(f"`{name}` must have name, shape, datatype and data, and no more.")
    if "binary_data_size" in one.get("parameters", {}):
        raise _wrong("The binary extension is not supported; send `data`.")
    datatype = TYPES[wanted["dtype"].removeprefix("torch.")]
    if one.get("datatype") != datatype:
        raise _wrong(f"`{name}` must have the datatype {datatype}.")
    shape, count = _shape(one.get("shape"), wanted, most, longest)
    data = one.get("data")
    if not isinstance(data, list):
        raise _wrong(f"`{name}` must have `data`, a list.")
    found = shape_of(data, name)
    if found not in ((count,), shape):
        raise _wrong(f"`{name}` must have {count:,} values for its shape, in one list or nested as the shape says.")
    return data, shape


def _shape(shape: Any, wanted: Mapping[str, Any], most: int, longest: int | None) -> tuple[tuple[int, ...], int]:
    """A shape that is allowed, and how many elements it has."""
    name, own_sizes = wanted["name"], wanted["shape"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise _wrong(f"`{name}` must have a shape of whole numbers.")
    fits = len(shape) == len(own_sizes) and all(
        not isinstance(own, int) or own == size for size, own in zip(shape, own_sizes, strict=True)
    )
    if not fits or 0 in shape:
        raise _wrong(f"`{name}` must have the shape ({', '.join(map(str, own_sizes))}), each at least 1.")
    if shape[0] > most and not isinstance(own_sizes[0], int):
        raise Refused(413, "too_many_inputs", f"`{name}` has {shape[0]:,} samples, more than {most:,}.")
    for size, own in zip(shape[1:], own_sizes[1:], strict=True):
        if longest is not None and not isinstance(own, int) and size > longest:
            raise Refused(413, "too_long", f"`{name}` has a length of {size:,}, more than {longest:,}.")
    count = math.prod(shape)
    if count > MOST_ELEMENTS:
        raise Refused(413, "too_large", f"`{name}` has more than {MOST_ELEMENTS:,} elements.")
    return tuple(shape), count


def _same_sizes(checked: Mapping[str, tuple[list[Any], tuple[int, ...]]], wanted: Mapping[str, Any]) -> None:
    """Sizes with one name are one size."""
    sizes: dict[str, int] = {}
    for name, (_, shape) in checked.items():
        for own, size in zip(wanted[name]["shape"], shape, strict=True):
            if isinstance(own, str) and sizes.setdefault(own, size) != size:
                raise _wrong(f"`{name}` must have as many of {own} as the other tensors.")


def _made(data: list[Any], shape: tuple[int, ...], wanted: Mapping[str, Any]) -> NDArray[Any]:
    name, dtype = wanted["name"], np.dtype(wanted["dtype"].removeprefix("torch."))
    flat: Any = data
    while isinstance(flat[0], list):
        flat = [inner for one in flat for inner in one]
    if dtype.kind == "b":
        good = all(type(value) is bool or value in (0, 1) for value in flat)
    elif dtype.kind in "iu":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        good = all(type(value) is int and least <= value <= most for value in flat)
    else:
        good = all(type(value) is not bool and abs(value) <= LARGEST for value in flat)
    if not good:
        raise _wrong(f"`{name}` holds a value that {TYPES[dtype.name]} cannot have.")
    return np.asarray(flat, dtype=dtype).reshape(shape)


def _outputs(request: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    names = [one["name"] for one in spec["model"]["outputs"]]
    asked = request.get("outputs")
    if asked is None:
        return names
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise _wrong("`outputs` must be a list of objects with a name.")
    found = [one.get("name") for one in asked]
    if not found or not set(map(str, found)) <= set(names):
        raise _wrong(f"`outputs` must name some of {', '.join(names)}.")
    return [str(name) for name in found]


def response(
    label: tuple[str, int], own_id: str, outputs: Mapping[str, NDArray[Any]], names: list[str]
) -> dict[str, Any]:
    """The reply to ``infer``.

    Raises:
        Refused: An output holds NaN or infinity.
    """
    told = []
    for name in names:
        value = outputs[name]
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise no_answer()
        data = value.ravel().tolist()
        told.append({"name": name, "datatype": TYPES[value.dtype.name], "shape": list(value.shape), "data": data})
    return {"model_name": label[0], "model_version": str(label[1]), "id": own_id, "outputs": told}
