"""All that changes while training, as a tree of tensors and plain values, and back: what a checkpoint holds."""

from __future__ import annotations

from typing import Any

from netwright.step import TrainState
from netwright.sums import Sums


def pack_state(state: TrainState) -> dict[str, Any]:
    """All that changes while training, as a tree of tensors and plain values."""
    return {
        "model": dict(state.model.state_dict()),
        "optimizer": state.optimizer.state_dict(),
        "ema": state.ema,
        "scaler": None if state.scaler is None else dict(state.scaler.state_dict()),
        "epoch_random": state.epoch_random,
        "position": {"step": state.step, "epoch": state.epoch, "batch": state.batch, "skipped": state.skipped},
        "sums": {
            "loss": state.sums.loss,
            "count": state.sums.count,
            "metrics": {name: list(held) for name, held in state.sums.metrics.items()},
        },
        "best": state.best,
        "base_lrs": state.base_lrs,
    }


def unpack_state(state: TrainState, packed: dict[str, Any]) -> None:
    """Put a packed state back, in place. The random generators are set apart, by who knows of the loader's own."""
    state.model.load_state_dict(packed["model"])
    state.optimizer.load_state_dict(packed["optimizer"])
    state.ema = packed["ema"] and {name: value.to(state.device) for name, value in packed["ema"].items()}
    if state.scaler is not None:
        state.scaler.load_state_dict(packed["scaler"])
    position, sums = packed["position"], packed["sums"]
    state.step, state.epoch, state.batch = position["step"], position["epoch"], position["batch"]
    state.skipped = position["skipped"]
    metrics = {name: (held[0].to(state.device), held[1].to(state.device)) for name, held in sums["metrics"].items()}
    state.sums = Sums(sums["loss"].to(state.device), sums["count"].to(state.device), metrics)
    state.best, state.base_lrs = packed["best"], packed["base_lrs"]
    state.epoch_random = packed["epoch_random"]
