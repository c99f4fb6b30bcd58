"""Torch's own transformer encoder while a module is traced: as it answers in eval mode, without its fused operators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.shipping import patched

_original = nn.TransformerEncoder.forward


def _forward(
    encoder: nn.TransformerEncoder,
    src: Tensor,
    mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None,
    is_causal: bool | None = None,
) -> Tensor:
    """As torch's, with zeros at padding where it would lay sequences end to end, which leaves nothing there."""
    padding = src_key_padding_mask
    if padding is None or mask is not None or src.ndim != 3 or not getattr(encoder, "use_nested_tensor", False):
        return _original(encoder, src, mask, src_key_padding_mask, is_causal)
    norm = encoder.norm
    encoder._modules["norm"] = None
    try:
        found = _original(encoder, src, mask, src_key_padding_mask, is_causal)
    finally:
        encoder._modules["norm"] = norm
    hidden = padding if padding.dtype == torch.bool else padding < 0
    found = found.masked_fill(hidden[..., None], 0.0)
    return found if norm is None else norm(found)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """No fused encoder layers, which no other program has."""
    before: Any = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with patched.attribute(nn.TransformerEncoder, "forward", _forward):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
