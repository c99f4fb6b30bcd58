"""Watch a training script from outside: what torch is asked to do, by whom, in which order.

Each patched function returns what the original returned; afterwards all is as it was.
"""

from __future__ import annotations

import inspect
import random
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loaders_of_torch

from netwright.checks.optrace import names_of_functions
from netwright.watch import batches, clipping, forwards, schedules, updates, weights
from netwright.watch.eye import Eye
from netwright.watch.guard import guarded
from netwright.watch.looks import copied
from netwright.watch.patches import Patches
from netwright.watch.recording import around_stack
from netwright.watch.scene import end_waiting
from netwright.watch.trace import Trace

LOSSES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "ctc_loss", "multi_margin_loss",
    "multilabel_soft_margin_loss", "soft_margin_loss", "gaussian_nll_loss",
)  # fmt: skip
SEEDS = ((torch, "manual_seed"), (torch.random, "manual_seed"), (np.random, "seed"), (random, "seed"))


class Observer:
    """Watches while it is entered; ``trace`` holds what was seen."""

    def __init__(self) -> None:
        self._eye = Eye()
        self._patches = Patches()
        self._hooks: list[Any] = []

    @property
    def trace(self) -> Trace:
        """What was seen so far."""
        return self._eye.trace

    def __enter__(self) -> Observer:
        """Begin to watch."""
        eye, around = self._eye, self._patches.around
        names_of_functions()
        eye.began = time.perf_counter()
        around(nn.Module, "__call__", partial(forwards.around_call, eye))
        around(nn.Module, "train", partial(weights.around_mode, eye))
        around(nn.Module, "zero_grad", partial(updates.around_zero, eye))
        around(nn.Module, "state_dict", partial(weights.around_state_dict, eye))
        around(nn.Module, "load_state_dict", partial(weights.around_load, eye))
        around(torch.autograd, "backward", partial(updates.around_backward, eye))
        around(torch.autograd, "grad", partial(eye.noting, kind="autograd_grad"))
        around(torch.optim.Optimizer, "__init__", partial(updates.around_optimizer, eye))
        around(torch.optim.Optimizer, "zero_grad", partial(updates.around_zero, eye))
        for name in LOSSES:
            around(functional, name, partial(forwards.around_loss, eye, name=name))
        for owner in (nn.utils, nn.utils.clip_grad):
            for name in ("clip_grad_norm_", "clip_grad_value_"):
                around(owner, name, partial(clipping.around_clip, eye, name=name))
        of_torch = torch.optim.lr_scheduler
        for kind in {kind for kind in vars(of_torch).values() if inspect.isclass(kind) and "step" in vars(kind)}:
            if hasattr(kind, "get_last_lr") or kind is of_torch.ReduceLROnPlateau:
                around(kind, "step", partial(schedules.around_schedule, eye))
        around(of_torch.LRScheduler, "__init__", partial(schedules.around_schedule_made, eye))
        around(DataLoader, "__init__", partial(batches.around_loader, eye))
        around(loaders_of_torch._BaseDataLoaderIter, "__init__", partial(batches.around_iterator, eye))
        around(loaders_of_torch._BaseDataLoaderIter, "__next__", partial(batches.around_next, eye))
        around(torch.utils.data, "random_split", partial(batches.around_split, eye))
        around(torch.utils.data.dataset, "random_split", partial(batches.around_split, eye))
        for owner, name in SEEDS:
            around(owner, name, partial(eye.noting, kind="seed"))
        around(torch.overrides, "_get_current_function_mode_stack", around_stack)
        around(torch, "compile", partial(weights.around_compile, eye))
        around(torch, "save", partial(weights.around_save, eye))
        for owner, name in (
            (torch.jit, "trace"),
            (torch.jit, "script"),
            (torch.export, "export"),
            (torch.onnx, "export"),
        ):
            around(owner, name, partial(weights.around_export, eye, patches=self._patches))
        scaler = torch.amp.GradScaler
        around(scaler, "scale", partial(clipping.around_scale, eye))
        for name, event in (("unscale_", "unscale"), ("step", "scaler_step"), ("update", "scaler_update")):
            around(scaler, name, partial(clipping.around_scaler, eye, kind=event))
        self._hooks = [
            register_optimizer_step_pre_hook(partial(updates.before_step, eye)),
            register_optimizer_step_post_hook(partial(updates.after_step, eye)),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        """All as before."""
        _end(self._eye)
        for hook in self._hooks:
            hook.remove()
        self._patches.undo()
        self._eye.quiet += 1  # what a script has kept of ours, as `from ... import cross_entropy`, sees no more
        self.trace.seconds = time.perf_counter() - self._eye.began


@guarded
def _end(eye: Eye) -> None:
    eye.stop_recording()
    end_waiting(eye.trace, eye.scene, copied)
