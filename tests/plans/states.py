"""States and batches that plans are tried on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.data.batches import train_batches
from netwright.given import Given
from netwright.records import Settings
from netwright.session import prepare
from netwright.step import TrainState, train_step


def of_pictures(
    net: nn.Module, given: Given | None = None, *, size: int, **options: Any
) -> tuple[TrainState, list[Batch]]:
    """A state on the CPU after its first update of pictures (B, 3, 8, 8), and four batches of a size, and one of 5."""
    count = 4 * size + 5
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(count, 3, 8, 8, generator=generator)
    data = nw.load((pictures, pictures.mean((2, 3)).argmax(1)), val_fraction=0, test_fraction=0)
    # of RMSprop there is no fused kernel, so all that differs is how forward and backward are done
    options = {"device": "cpu", "batch_size": size, "optimizer": "RMSprop"} | options
    session = prepare(net, data, Settings(**options), given or Given())
    session.model.train()
    batches = list(train_batches(data, batch_size=size, seed=0, epoch=0, augment=(), workers=0))
    try:
        train_step(session.state, batches[0])
    except RuntimeError as error:
        if "create a primitive" not in str(error):
            raise
        pytest.skip(f"torch cannot do the plain update on this processor: {error}"[:120])
    return session.state, batches
