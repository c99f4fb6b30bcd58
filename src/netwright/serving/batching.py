"""Many requests, one call of the model: what waits together is answered together, and nobody waits for company.

A lone request goes to the model at once. While the model is busy, requests gather; when it is free it takes them all,
up to the largest batch. It waits for more only while inputs are known to come (they are being decoded), and no longer
than the budget. One thread calls onnxruntime, which releases the interpreter while it counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from netwright.errors import NetwrightError
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused, no_answer, plain, too_many, unusable

SIMILAR = 1.25  # longest to shortest of a batch: at most a fifth of it is padding
STALLED = 4  # threads that never came back, before the server says that it is not ready

Sample = Mapping[str, Any]  # arrays by field, without the batch; names with an underscore are for the answer
Answer = dict[str, Any]  # Prediction.model_dump


class Predicts(Protocol):
    """What the batches need of ``netwright.answering.predictor.Predictor``."""

    def decode(self, raw: Any) -> Sample:
        """One raw input as arrays by field."""

    def answer(self, samples: Sequence[Sample], names: Sequence[str]) -> list[Answer]:
        """Answers to a batch."""


@dataclass(slots=True)
class Job:
    """One input on its way.

    Attributes:
        raw: As it came; not looked at where there is a sample.
        name: What the answer calls it.
        done: Gets the answer, or the refusal.
        sample: Decoded.
        since: When it was accepted.
    """

    raw: Any
    name: str
    done: asyncio.Future[Answer]
    sample: Sample | None = None
    since: float = field(default_factory=time.monotonic)


class Worker:
    """The thread that calls the models. A call that does not come back is left behind, with its thread."""

    def __init__(self) -> None:
        self.stalled = 0
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._begin()

    def _begin(self) -> None:
        threading.Thread(target=_work, args=(self._calls,), name="netwright-model", daemon=True).start()

    def put(self, call: Callable[[], None]) -> None:
        """Have something called there, after all that was put before."""
        self._calls.put(call)

    def replace(self) -> None:
        """Leave a thread behind that does not come back; what waits goes to another."""
        self.stalled += 1
        waiting, self._calls = self._calls, queue.SimpleQueue()
        while not waiting.empty():
            self._calls.put(waiting.get_nowait())
        waiting.put(None)
        self._begin()

    @property
    def healthy(self) -> bool:
        """Whether there is hope for the next call."""
        return self.stalled < STALLED


def _work(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()


class Batcher:
    """The queue of one model.

    Args:
        predictor: Decodes and answers.
        worker: The thread that calls it.
        limits: Bounds of the queue and the batches.
        varying: Fields whose first size varies.
        together: Whether samples of different lengths may share a batch.
        observe: Told of each batch's size.
    """

    def __init__(
        self,
        predictor: Predicts,
        worker: Worker,
        limits: Limits,
        *,
        varying: Sequence[str],
        together: bool,
        observe: Callable[[int], None],
    ) -> None:
        self.coming = 0  # inputs that are accepted and not decoded yet
        self._predictor = predictor
        self._worker = worker
        self._limits = limits
        self._varying = tuple(varying)
        self._together = together
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._later: deque[Job] = deque()  # explanations' own, when there is room
        self._running: list[Job] = []
        self._since = 0.0
        self._turn = 0  # of calls of the model; one that was given up is not listened to
        self._scheduled: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._later)

    def refuse_where_full(self, count: int = 1) -> None:
        """Refuse what would make the queue too long.

        Raises:
            Refused: There are too many already.
        """
        if len(self._waiting) + self.coming + count > self._limits.waiting:
            raise too_many("Too many inputs wait for the model.")

    def submit(
        self, raw: Any, name: str, *, sample: Sample | None = None, later: bool = False
    ) -> asyncio.Future[Answer]:
        """Put one input into the queue; its answer is a dict, its fault a ``Refused``."""
        job = Job(raw, name, self._loop.create_future(), sample)
        (self._later if later else self._waiting).append(job)
        self._schedule()
        return job.done

    async def call(self, ask: Callable[[], Any]) -> Any:
        """Have something called in the thread of the model; its result, or what it raises."""
        done = self._loop.create_future()

        def called() -> None:
            try:
                result, error = ask(), None
            except Exception as raised:
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                self._loop.call_soon_threadsafe(_finish, done, result, error)

        self._worker.put(called)
        try:
            return await asyncio.wait_for(done, self._limits.answer_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise self._late() from None

    def _late(self) -> Refused:
        return Refused(503, "took_too_long", f"There is no answer after {self._limits.answer_s:g} s.", retry_s=5)

    def _schedule(self) -> None:
        if self._scheduled is None and not self._running and (self._waiting or self._later):
            self._scheduled = self._loop.call_soon(self._begin)

    def came(self) -> None:
        """An input that was known to come is here, or will not come."""
        self.coming -= 1
        if self._scheduled is not None and not self.coming:
            self._scheduled.cancel()
            self._scheduled = None
            self._schedule()

    def _begin(self) -> None:
        self._scheduled = None
        most = self._limits.batch
        if self.coming and 0 < len(self._waiting) < most:
            left = self._waiting[0].since + self._limits.wait_ms / 1000 - time.monotonic()
            if left > 0:
                self._scheduled = self._loop.call_later(left, self._begin_now)
                return
        self._begin_now()

    def _begin_now(self) -> None:
        self._scheduled = None
        jobs: list[Job] = []
        for line in (self._waiting, self._later):
            while line and len(jobs) < self._limits.batch:
                job = line.popleft()
                if not job.done.done():  # else its client is gone, or its time is over
                    jobs.append(job)
        if not jobs:
            return
        self._running, self._since = jobs, time.monotonic()
        self._turn += 1
        turn = self._turn
        self._worker.put(lambda: self._run(jobs, turn))

    def _run(self, jobs: list[Job], turn: int) -> None:
        """In the worker's thread: decode what is not, and answer in groups of similar length."""
        good: list[Job] = []
        told: list[tuple[Job, Answer | Exception]] = []
        for job in jobs:
            try:
                if job.sample is None:
                    job.sample = self._predictor.decode(job.raw)
                good.append(job)
            except Exception as error:
                told.append((job, error))
        sizes = []
        for group in self._groups(good):
            sizes.append(len(group))
            told += self._answers(group)
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            self._loop.call_soon_threadsafe(self._tell, told, sizes, turn)

    def _answers(self, group: list[Job]) -> list[tuple[Job, Answer | Exception]]:
        try:
            answers = self._predictor.answer([job.sample or {} for job in group], [job.name for job in group])
        except Exception as error:
            if len(group) == 1:
                return [(group[0], error)]
            return [told for job in group for told in self._answers([job])]  # so that one fails alone
        return list(zip(group, answers, strict=True))

    def _groups(self, jobs: list[Job]) -> list[list[Job]]:
        if not self._varying or len(jobs) < 2:
            return [jobs] if jobs else []
        ratio = SIMILAR if self._together else 1.0
        groups: list[list[Job]] = []
        shortest: tuple[int, ...] = ()
        for lengths, job in sorted(((self._lengths(job), job) for job in jobs), key=lambda pair: pair[0]):
            if (
                groups
                and all(long <= ratio * short for long, short in zip(lengths, shortest, strict=True))
                and (self._together or lengths == shortest)
            ):
                groups[-1].append(job)
            else:
                groups.append([job])
                shortest = lengths
        return groups

    def _lengths(self, job: Job) -> tuple[int, ...]:
        sample = job.sample or {}
        return tuple(len(sample[name]) if name in sample else 0 for name in self._varying)

    def _tell(self, told: list[tuple[Job, Answer | Exception]], sizes: list[int], turn: int) -> None:
        if turn != self._turn:
            return
        self._running = []
        for size in sizes:
            self._observe(size)
        self._schedule()
        for job, result in told:
            if not job.done.done():
                _settle(job.done, result)

    def sweep(self, now: float) -> None:
        """Give up what took too long."""
        before = now - self._limits.answer_s
        for job in (*self._waiting, *self._later, *self._running):
            if job.since < before and not job.done.done():
                job.done.set_exception(self._late())
        if self._running and self._since < before:
            self._turn += 1
            self._running = []
            self._worker.replace()
            self._schedule()


def _finish(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():
        return
    done.set_exception(error) if error is not None else done.set_result(result)


def _settle(done: asyncio.Future[Answer], result: Answer | Exception) -> None:
    if isinstance(result, Exception):
        done.set_exception(as_refusal(result))
    elif result.get("error") and "finite numbers" not in result["error"]:
        done.set_exception(Refused(422, "unusable_input", plain(result["error"])))
    elif result.get("error"):
        done.set_exception(no_answer())
    else:
        done.set_result(result)


def as_refusal(error: Exception) -> Refused:
    """What a client is told of an exception."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, NetwrightError):
        return unusable(error)
    if isinstance(error, MemoryError):
        return Refused(413, "too_large", "The input needs more memory than there is.")
    # Decoders raise these for inputs of shapes and types that they do not know.
    if isinstance(error, ValueError | TypeError | OverflowError | SyntaxError | OSError):
        return Refused(422, "unusable_input", "The input is not what this model takes.")
    refusal = Refused(500, "internal", "Something went wrong here.")
    refusal.__cause__ = error  # for the log
    return refusal
