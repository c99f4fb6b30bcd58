"""Small looks at modules and tensors that change nothing."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import persons


def active(module: nn.Module) -> tuple[str, ...]:
    """Names of the submodules in train mode whose answer depends on it: dropout, batch normalisation."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    return tuple(
        name
        for name, one in module.named_modules()
        if one.training
        and isinstance(one, kinds)
        and getattr(one, "p", 1)
        and not (isinstance(one, nn.modules.instancenorm._InstanceNorm) and not one.track_running_stats)
    )


def outputs_in(returned: Any) -> list[Tensor]:
    """The tensors that a module returned, also in an object's attributes."""
    found = tensors_in(returned)
    return found or (tensors_in(dict(vars(returned))) if hasattr(returned, "__dict__") else [])


def norm(values: list[Any]) -> float:
    """The norm of all tensors together; those that are None or sparse are left out."""
    there = [real(one.detach()) for one in values if one is not None and plain(one)]
    if not there:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.float()) for one in there])))


def plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, of one block, and has values: not sparse, nested, lazy, quantized or on meta."""
    return (
        tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_meta
        and not tensor.is_quantized
        and not nn.parameter.is_lazy(tensor)
    )


def real(tensor: Tensor) -> Tensor:
    """A complex tensor as its real and imaginary parts."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def nbytes(value: Any) -> int:
    """The bytes of all tensors in nested tuples, lists and dicts."""
    return sum(one.numel() * one.element_size() for one in tensors_in(value))


def version(tensor: Tensor) -> int:
    """How often a tensor was written to; 0 where it was made in inference mode, which does not count."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def copied(value: Any) -> Any:
    """Tensors cloned without their graph; other things as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(copied(one) for one in value)
    return value


def holders(thing: Any) -> tuple[tuple[str, ...], str]:
    """Names by which a running function holds a thing, as ``params`` or ``self.params``, and the function's name."""
    frame = sys._getframe(1)
    while frame is not None:
        if persons(frame.f_code.co_filename):
            names = [name for name, value in frame.f_locals.items() if value is thing]
            owner = frame.f_locals.get("self")
            if owner is not None:
                names += [f"self.{name}" for name, value in getattr(owner, "__dict__", {}).items() if value is thing]
            if names:
                return tuple(names), frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return (), ""
