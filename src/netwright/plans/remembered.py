"""Which programs were compiled here before, so that it is known that to compile them again takes a moment.

A mark is an empty file beside the compiler's own cache, and goes with it. Where one misleads, as after the code of a
module changed, a plan is tried that takes longer to make than was expected; nothing else depends on it.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import torch

from netwright.batch import Batch
from netwright.native import cache_folder
from netwright.step import TrainState


def made_before(name: str, state: TrainState, batch: Batch) -> bool:
    """Whether a like update was compiled on this machine before."""
    return _mark(name, state, batch).is_file()


def remember(name: str, state: TrainState, batch: Batch) -> None:
    """Note that it was; where nothing can be written it is not."""
    mark = _mark(name, state, batch)
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark(name: str, state: TrainState, batch: Batch) -> Path:
    groups = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in state.optimizer.param_groups]
    tensors = [(key, tuple(value.shape), str(value.dtype)) for key, value in state.model.state_dict().items()]
    fields = [(key, tuple(value.shape), str(value.dtype)) for key, value in batch.inputs.items()]
    recipe = state.recipe
    loss = (recipe.objective.name, recipe.max_grad_norm, str(recipe.amp_dtype), recipe.check_each_loss)
    parts = (
        name, torch.__version__, torch.get_num_threads(), str(state.device), type(state.optimizer).__name__,
        repr(state.model), tensors, groups, fields, loss,
    )  # fmt: skip
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    return cache_folder() / "made" / key
