"""Tensors as bytes, their digest, and `weights.safetensors`: parameters alone, as the module names them.

The digest stands in the metadata of the safetensors header, so that the file alone can be copied anywhere, loaded by
plain ``safetensors.torch.load_file``, and still be checked. Knows nothing of steps or runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from netwright.disk import DISK, Disk, atomic_write_bytes
from netwright.errors import CheckpointError, MissingFileError

_DIGEST_KEY = "netwright.sha256"
# What every safetensors since 0.4.3 (our lower bound) stores under its own name.
NATIVE = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8}
    | {torch.uint8, torch.bool}
)


def plain(tensor: Tensor, *, where: str) -> Tensor:
    """The values of a tensor, dense, contiguous and on the CPU; its own memory where it is so already.

    Args:
        tensor: Any strided tensor.
        where: Name for the error.

    Raises:
        CheckpointError: Sparse, quantised, or without values (meta).
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "quantised" if tensor.is_quantized else "meta" if tensor.is_meta else str(tensor.layout)
        raise CheckpointError(
            where=where,
            expected="a dense tensor with values",
            got=f"a {kind} tensor of shape {tuple(tensor.shape)}",
            cure="Store it dense: `tensor.to_dense()` or `tensor.dequantize()`, or leave it out of the state.",
        )
    return tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def digest_of(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes; the same for any order of the names, device or memory layout.

    Args:
        state_dict: Tensors by name.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = plain(state_dict[name], where=f"tensor `{name}`")
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii")
        # Lengths first, so that no two different sets of tensors give the same stream of bytes.
        digest.update(len(head).to_bytes(8, "little") + head)
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, each tensor in memory of its own: safetensors refuses tied ones."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


def write_weights(path: Path, state_dict: Mapping[str, Tensor], *, disk: Disk = DISK) -> None:
    """Write parameters and buffers so that ``Net().load_state_dict(safetensors.torch.load_file(path))`` takes them.

    Args:
        path: File to write, whole or not at all; its folder exists.
        state_dict: As the plain module names them. Tied tensors are written under each of their names.
        disk: Where to.

    Raises:
        CheckpointError: An entry that is no dense tensor.
        RunError: The disk refused; the file before is whole.
    """
    tensors = {}
    for name, tensor in state_dict.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in NATIVE:
            raise CheckpointError(
                where=f"`{name}` in the weights",
                expected="a tensor of a dtype that safetensors stores",
                got=str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__,
                cure="Keep it out of the state dict: register it as a buffer with `persistent=False`, or drop "
                "`get_extra_state` from the module.",
            )
        tensors[name] = plain(tensor, where=f"`{name}` in the weights")
    metadata = {"format": "pt", _DIGEST_KEY: digest_of(tensors)}
    atomic_write_bytes(path, safetensors.torch.save(unshared(tensors), metadata), disk)


def read_weights(path: Path, *, disk: Disk = DISK) -> dict[str, Tensor]:
    """Read what `write_weights` wrote, after its digest was found right.

    Args:
        path: A file from `write_weights`.
        disk: Where from.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        MissingFileError: No such file.
        CheckpointError: Damaged, or written by something else (without a digest).
    """
    try:
        raw = disk.read_file(path)
    except FileNotFoundError as error:
        raise MissingFileError(
            where=str(path),
            expected="a file of weights",
            got="nothing",
            cure="Train first, or pass the folder of a run that has finished.",
        ) from error
    except OSError as error:
        raise _damaged(path, f"bytes that cannot be read ({error.strerror})") from error
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(raw)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"{len(raw):,} bytes that are no such file ({error})") from error
    # The parser above has found the header well formed; it does not hand out the metadata of bytes in memory.
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata = header.get("__metadata__", {})
    found = digest_of(tensors)
    if metadata != {"format": "pt", _DIGEST_KEY: found}:
        raise _damaged(path, f"{found}, and the file says {metadata.get(_DIGEST_KEY, 'nothing')}")
    return tensors


def _damaged(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        where=str(path),
        expected="weights with the SHA-256 that was stored with them",
        got=got,
        cure="The file is damaged or of another origin: resume the run to write it again, or copy it anew.",
    )
