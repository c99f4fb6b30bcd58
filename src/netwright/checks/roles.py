"""Which inputs are lengths, masks and token ids, by their names and dtypes."""

from __future__ import annotations

import torch

from netwright.checks.subject import Inputs, Subject

LENGTHS = frozenset({"lengths", "length", "lens", "seq_lengths", "sequence_lengths", "input_lengths"})
MASKS = frozenset({"mask", "masks", "attention_mask", "padding_mask", "key_padding_mask", "src_key_padding_mask"})


def add_roles(subject: Subject, tensors: Inputs) -> None:
    """Set the names of the inputs that hold lengths, the mask and token ids."""
    for name, value in tensors.items():
        if name in LENGTHS and not value.is_floating_point() and value.ndim == 1:
            subject.lengths = name
        elif name in MASKS and value.ndim >= 2:
            subject.mask = name
        elif value.dtype in (torch.int64, torch.int32) and value.ndim == 2 and subject.tokens is None:
            subject.tokens = name
