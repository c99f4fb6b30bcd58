"""Work ahead of the one who asks: in order, not too far, and ended with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from netwright.data.threads import AHEAD, TRIED, cores, in_threads, in_threads_if_slow, lists_ahead


def slow(number: int) -> int:
    time.sleep(0.001 * (7 - number % 7))
    return number * number


def test_results_come_in_order() -> None:
    """Whichever was ready first; lists may be empty or long, and there may be none."""
    lists = [[1, 2, 3], [], [4], list(range(5, 40)), [40]]
    assert list(lists_ahead(slow, lists)) == [[one * one for one in items] for items in lists]
    assert list(lists_ahead(slow, [])) == []


def test_only_some_lists_are_made_ahead() -> None:
    """So that memory stays flat: those of the next few."""
    taken = []

    def lists() -> object:
        for number in range(50):
            taken.append(number)
            yield [number]

    results = lists_ahead(slow, lists())  # type: ignore[arg-type]
    for place in range(50):
        assert next(results) == [place * place]
        assert len(taken) == min(50, place + 1 + AHEAD)


def test_an_error_is_raised_where_its_list_is_asked_for() -> None:
    """The lists before it are whole."""

    def call(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    results = lists_ahead(call, [[0, 1], [2, 3], [4, 5], [6, 7]])
    assert [next(results), next(results)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="five"):
        next(results)


def test_who_stops_early_leaves_no_thread() -> None:
    """Nor is the rest computed."""
    before = threading.active_count()
    done = []
    results = lists_ahead(done.append, ([number] * 10 for number in range(1000)))
    next(results)
    results.close()
    assert threading.active_count() == before
    assert len(done) <= 10 * (AHEAD + 1)


@pytest.mark.parametrize("pause", [0.0, 0.001])
@pytest.mark.parametrize("count", [0, 5, TRIED, 3 * TRIED])
def test_quick_items_stay_on_one_thread(pause: float, count: int) -> None:
    """Slow ones are spread; the results are the same, in order."""
    threads = set()

    def call(number: int) -> int:
        threads.add(threading.get_ident())
        time.sleep(pause)
        return number * number

    assert list(in_threads_if_slow(call, range(count))) == [one * one for one in range(count)]
    if count <= TRIED:
        assert threads <= {threading.get_ident()}
    elif pause:
        assert len(threads) > 1


@pytest.mark.parametrize("count", [0, 3, 8, 9, 40])
def test_results_are_in_order(count: int) -> None:
    assert list(in_threads(str, range(count))) == [str(one) for one in range(count)]


def test_what_waits_is_done_by_more_threads() -> None:
    """As what reads from a disk does."""
    assert cores() + 1 < threads_for(lambda: time.sleep(0.002)) <= cores() + 4


def test_what_works_all_the_time_is_done_by_one_thread_more_than_there_are_cores() -> None:
    """More gain nothing. Where others have the processor work looks like waiting, so one of some tries tells."""
    assert any(threads_for(lambda: sum(range(20_000))) <= cores() + 1 for _ in range(50))


def threads_for(work: Callable[[], object]) -> int:
    """How many do three hundred pieces of work, beside the one that asks."""
    seen = set()

    def call(item: int) -> int:
        seen.add(threading.get_ident())
        work()
        return item

    assert list(in_threads(call, range(300))) == list(range(300))
    return len(seen - {threading.get_ident()})
