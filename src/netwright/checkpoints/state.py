"""A nested state as JSON and named tensors, and back, bit for bit. Nothing in it can name or run code.

JSON stands for itself where it can (None, bool, str, finite float, int below 2**63, list); all else is an object of one
key, its tag: ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``, ``{"tensor": name}`` and so on. Knows no files.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netwright.checkpoints.weights import NATIVE, plain
from netwright.errors import CheckpointError

# A state is the caller's nested value; its kinds are checked while walking, so `Any` is what there is to say.
State = Any
Json = Any

_INT64 = 2**63  # beyond it some JSON readers round, and Python refuses to print beyond 4,300 digits
# Dtypes that not every safetensors knows, stored as bytes. A table: what a file says is never looked up in torch.
_AS_BYTES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.complex32, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64),
        *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    )
}
INT = frozenset({int})
_ARRAY_KINDS = "biufcmMSU"  # numpy kinds that are nothing but bytes: no objects, no records


def encode(state: State) -> tuple[str, dict[str, Tensor]]:
    """Split a state into its text and its tensors.

    Args:
        state: None, bool, int, float, str, bytes, tensors, numpy arrays and scalars, in any nesting of dict, list and
            tuple. Keys: None, bool, int, float, str, bytes, tuples of these. Subclasses of dict come back as dict.

    Returns:
        JSON text, and the tensors it refers to: dense, on the CPU, each dtype one that safetensors stores.

    Raises:
        CheckpointError: A value of another kind, named by its path.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, (), tensors)
    return json.dumps(tree, allow_nan=False, separators=(",", ":")), tensors


def decode(text: str, tensors: Mapping[str, Tensor]) -> State:
    """Put together what `encode` split.

    Args:
        text: JSON text from `encode`.
        tensors: The tensors it refers to, all of them and no others.

    Raises:
        ValueError: Not a text from `encode`, or other tensors than it names.
    """
    left = dict(tensors)
    try:
        state = _decode(json.loads(text), left)
    except (KeyError, TypeError, IndexError, RuntimeError, struct.error, RecursionError) as error:
        raise ValueError(f"not a stored state: {type(error).__name__}: {error}") from error
    if left:
        raise ValueError(f"tensors that the state does not name: {', '.join(sorted(left))}")
    return state


def _encode(value: State, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Json:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind in (int, float, str, bytes):
        return _encode_scalar(value)
    if kind is list:
        if INT.issuperset(map(type, value)) and min(value, default=0) >= -_INT64 and max(value, default=0) < _INT64:
            return list(value)  # as the hundreds of a random generator: each by itself takes as long as all else
        return [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
    if kind is tuple:
        return {"tuple": [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": [[_encode_key(key, path), _encode(v, (*path, str(key)), tensors)] for key, v in value.items()]}
    if isinstance(value, Tensor):
        return _encode_tensor(value, path, tensors)
    # Masked arrays and other subclasses hold more than their values.
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in _ARRAY_KINDS:
        name = _store(_bytes_as_tensor(value.tobytes()), path, tensors)
        tag = "array" if kind is np.ndarray else "scalar"
        return {tag: [name, value.dtype.str, list(value.shape)]}
    raise _refused(value, path)


def _encode_scalar(value: Any) -> Json:  # Any: one of the four kinds named below
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else {"int": hex(value)}
    if isinstance(value, float):
        # Finite: Python prints the shortest text that reads back to the same bits. Else: the bits (NaN has a payload).
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, as in file names that are no UTF-8: JSON would join two of them
        return {"str": value.encode("utf-8", "surrogatepass").hex()}
    return value


def _encode_key(key: Any, path: tuple[str, ...]) -> Json:  # Any: refused below where it is none of the plain kinds
    if key is None or type(key) in (bool, int, float, str, bytes):
        return _encode(key, path, {})
    if type(key) is tuple:
        return {"tuple": [_encode_key(item, path) for item in key]}
    raise _refused(key, (*path, "(key)"))


def _encode_tensor(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Json:
    dense = plain(tensor, where=f"`{'/'.join(path)}` in the state")
    if dense.dtype in NATIVE:
        return {"tensor": _store(dense, path, tensors)}
    dtype = str(dense.dtype).removeprefix("torch.")
    if dtype not in _AS_BYTES:
        raise _refused(tensor, path)
    return {"tensor_bytes": [_store(dense.reshape(-1).view(torch.uint8), path, tensors), dtype, list(dense.shape)]}


def _store(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> str:
    base = "/".join(path).encode("utf-8", "backslashreplace").decode("utf-8")
    name, count = base, 1
    while name in tensors or name in ("", "__metadata__"):  # {"a/b": …} beside {"a": {"b": …}}; safetensors' own key
        count += 1
        name = f"{base}#{count}"
    tensors[name] = tensor
    return name


def _bytes_as_tensor(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.uint8))


def _refused(value: object, path: tuple[str, ...]) -> CheckpointError:
    dtype = f" of {value.dtype}" if isinstance(value, Tensor | np.ndarray | np.generic) else ""
    return CheckpointError(
        where=f"`{'/'.join(path)}` in the state",
        expected="None, bool, int, float, str, bytes, a tensor, an array of numbers, or a dict, list or tuple of these",
        got=f"{type(value).__module__}.{type(value).__qualname__}{dtype}",
        cure="Store its parts as plain values, and make the object anew when loading.",
    )


def _decode(tree: Json, tensors: dict[str, Tensor]) -> State:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise ValueError(f"an object of {len(tree)} keys in the state, expected one tag")
    ((tag, body),) = tree.items()
    if tag == "tuple":
        return tuple(_decode(item, tensors) for item in body)
    if tag == "dict":
        return {_decode(key, {}): _decode(value, tensors) for key, value in body}
    if tag in ("tensor", "tensor_bytes", "array", "scalar"):
        return _decode_tensor(tag, body, tensors)
    return _decode_scalar(tag, body)


def _decode_tensor(tag: str, body: Json, tensors: dict[str, Tensor]) -> State:
    if tag == "tensor":
        return tensors.pop(body)
    name, dtype, shape = body
    stored = tensors.pop(name)
    if tag == "tensor_bytes":
        return stored.view(_AS_BYTES[dtype]).reshape(shape)
    array = np.frombuffer(bytearray(stored.numpy().tobytes()), dtype=np.dtype(dtype)).reshape(shape)
    return array if tag == "array" else array[()]


def _decode_scalar(tag: str, body: str) -> State:
    if tag == "int":
        return int(body, 16)
    if tag == "float":
        return struct.unpack(">d", bytes.fromhex(body))[0]
    if tag == "bytes":
        return bytes.fromhex(body)
    if tag == "str":
        return bytes.fromhex(body).decode("utf-8", "surrogatepass")
    raise ValueError(f'unknown tag "{tag}" in the state')
