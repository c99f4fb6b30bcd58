"""How many threads do an operation of an update: one, where it is so short that several wait for each other longest.

The number decides in which order sums are added, and so about roundings: a resumed run takes the one it was begun with.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from netwright.batch import Batch
from netwright.plans.comparing import copied, in_units, threads_as_before, time_steps
from netwright.plans.tracing import refuse
from netwright.randomness import random_state, set_random_state
from netwright.records import Choice
from netwright.step import TrainState, train_step

SHORT_S = 5e-3  # by one thread; of a longer update most is arithmetic, which several threads share
LEAST_S = 3.0  # of updates in a run, below which looking takes longer than what it could save
MOST_S = 0.2  # to look
TURN = 10  # updates by so many threads, then by the others
LEAST_GAIN = 0.05  # share of an update that several must save: where they do not, another plan gains more by one

# Median seconds of an update of a state by each of some numbers of threads.
Clock = Callable[[TrainState, list[Batch], tuple[int, ...]], list[float]]


def time_threads(state: TrainState, batches: list[Batch], numbers: tuple[int, ...]) -> list[float]:
    """In turns, so that what else the machine does befalls all numbers alike; the state goes on."""
    taken: list[list[float]] = [[] for _ in numbers]
    began = time.perf_counter()
    with threads_as_before():
        while not taken[0] or time.perf_counter() - began < MOST_S:
            for number, found in zip(numbers, taken, strict=True):
                torch.set_num_threads(number)
                for place in range(TURN):
                    start = time.perf_counter()
                    train_step(state, batches[place % len(batches)])
                    found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in taken]


def chosen_threads(
    state: TrainState, batches: list[Batch], *, steps: int, clock: Clock = time_threads
) -> Choice | None:
    """How many threads are faster, with both times; None where that is not worth a look. The state is left as it is.

    Args:
        state: At the start of the run.
        steps: Updates to come.
        clock: What times them.
    """
    every = torch.get_num_threads()
    if state.device.type != "cpu" or every == 1 or not batches:
        return None
    drawn = random_state(state.device)
    try:
        refuse(state)
        trial = copied(state)
        with threads_as_before():
            torch.set_num_threads(1)  # several take milliseconds for what one does in a tenth, where a core is busy
            began = time.perf_counter()
            train_step(trial, batches[0])
            first = time.perf_counter() - began  # longer than the others
            if first > 20 * SHORT_S or first * steps < LEAST_S:
                return None
            (seconds,) = time_steps([trial], batches, most=0.0)
        if seconds > SHORT_S or seconds * steps < LEAST_S:
            return None
        one, several = clock(trial, batches, (1, every))
    except Exception:  # it cannot be tried; what the module itself raises, training will tell
        return None
    finally:
        set_random_state(drawn, state.device)
    if several > (1 - LEAST_GAIN) * one:
        return Choice(
            name="threads", value=1, reason=f"{in_units(one)} an update by one thread, {in_units(several)} by {every}"
        )
    reason = f"{in_units(several)} an update by {every} threads, {in_units(one)} by one"
    return Choice(name="threads", value=every, reason=reason)
