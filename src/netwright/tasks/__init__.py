"""What kind of answer a model gives: which loss fits, how outputs become answers, scores and baselines.

One file a task; each fulfils ``Task``, as a person's own may.
"""

from __future__ import annotations

from netwright.errors import unknown_name
from netwright.tasks.classification import Classification
from netwright.tasks.forecasting import Forecasting
from netwright.tasks.multi_label import MultiLabel
from netwright.tasks.next_token import NextToken
from netwright.tasks.objective import (
    IGNORE_INDEX,
    Objective,
    balanced_weights,
    build_loss,
    check_loss,
    find_loss,
    loss_names,
)
from netwright.tasks.own import own_task
from netwright.tasks.protocol import Calibrated, Discerning, Running, Task
from netwright.tasks.regression import Regression
from netwright.tasks.several import Several
from netwright.tasks.tagging import Tagging
from netwright.tasks.transcription import Transcription

__all__ = [
    "IGNORE_INDEX",
    "TASKS",
    "Calibrated",
    "Discerning",
    "NextToken",
    "Objective",
    "Running",
    "Task",
    "balanced_weights",
    "build_loss",
    "check_loss",
    "find_loss",
    "find_task",
    "loss_names",
]

# What a name stands for; a person's own are named by file.py:Class.
KINDS: tuple[type[Task], ...] = (
    Classification,
    MultiLabel,
    Regression,
    Tagging,
    Forecasting,
    NextToken,
    Transcription,
    Several,
)
TASKS: dict[str, type[Task]] = {kind.name: kind for kind in KINDS}


def find_task(name: str) -> type[Task]:
    """The task of that name, or a person's own, as ``file.py:Class``.

    Raises:
        UnknownNameError: There is none; the nearest name is given.
        UsageError: The person's class misses a method.
    """
    if ":" in name:
        return own_task(name)
    if name not in TASKS:
        raise unknown_name("task", name, TASKS, where="--task")
    return TASKS[name]
