"""Work done by several threads, in order: what decodes leaves Python's lock to others meanwhile."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
# Lists of results that are made before they are asked for: one may take longer than the step beside it.
AHEAD = 3
# Items that tell whether reading waits: for a disk or a network threads may wait together, but of what works all the
# time six on two cores took a tenth longer than three.
LOOKED_AT, WAITS = 8, 1.5
# A WAV of 16,000 Hz takes 0.1 ms alone and 0.25 ms by two threads, which wait for Python's lock; a resampled one 1 ms.
TRIED, WORTH_S = 32, 0.0005


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def in_threads(call: Callable[[Item], T], items: Sequence[Item], max_workers: int | None = None) -> Iterator[T]:
    """Results in order; a piece at a time, since the pool holds a result and a kilobyte for each item it was given.

    Args:
        max_workers: None for one more than there are cores, and more of them where the first items spend a third of
            their time waiting.
    """
    first = 0
    if max_workers is None:
        began, worked, first = time.perf_counter(), time.thread_time(), LOOKED_AT
        found = [call(item) for item in items[:first]]
        waits = time.perf_counter() - began > WAITS * (time.thread_time() - worked)
        max_workers = cores() + (4 if waits else 1)
        yield from found
    with ThreadPoolExecutor(max_workers) as pool:
        for start in range(first, len(items), 4096):
            yield from pool.map(call, items[start : start + 4096])


def in_threads_if_slow(call: Callable[[Item], T], items: Sequence[Item]) -> Iterator[T]:
    """As ``in_threads``; by this thread alone where the first items say that handing them over would cost more."""
    begin = time.perf_counter()
    for item in items[:TRIED]:
        yield call(item)
    if time.perf_counter() - begin < TRIED * WORTH_S:
        yield from map(call, items[TRIED:])
    else:
        yield from in_threads(call, items[TRIED:])


def lists_ahead(call: Callable[[Item], T], lists: Iterable[Sequence[Item]]) -> Generator[list[T], None, None]:
    """The results of each list of items, in order; those of the next lists are made while one is used.

    What a call raises is raised where its list is asked for.
    """
    pool = ThreadPoolExecutor(cores())
    waiting: deque[list[Future[T]]] = deque()
    try:
        for items in lists:
            waiting.append([pool.submit(call, item) for item in items])
            if len(waiting) > AHEAD:
                yield [one.result() for one in waiting.popleft()]
        while waiting:
            yield [one.result() for one in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def watched(results: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Pass results on; show a bar where it takes long and somebody looks."""
    if total < 2000 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, doing, total=total, console=Console(stderr=True), transient=True)
