"""When a run that trains is saved, and what is held until then. How a disk is written to is in ``checkpoints``.

with Saver(session, run, say) as saver:
    saver.epoch(weights=True, due=False)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from torch import Tensor

from netwright import checkpoints
from netwright.errors import RunError
from netwright.loop import loader_random
from netwright.packing import pack_state
from netwright.run import Run
from netwright.session import Session

# Between two ends of epochs that are saved, in seconds: as many as keep writing below this share of a processor's time,
# for which the threads of an update that share its work all wait. A small network takes 5 ms of it, a fifth of an epoch
# on a small table; 13 MB take 80. Epochs longer than the most are each saved.
LEAST_S, MOST_S, SHARE = 1.0, 60.0, 0.002
LARGE_S = 0.05  # of writing: of what takes longer no second copy is held beside the first


class Saver:
    """Saves a session in its run's folder while training goes on. A context manager.

    The end of an epoch is saved where the epoch saved before lies far enough back, one second to a minute by what
    writing takes, and the end of the last one always. Other ends are held, and written when the block ends by an error,
    so that none is lost but to a process that is killed.

    Args:
        say: Told where the disk refuses a checkpoint: the one before is whole, and the next may do.
    """

    def __init__(self, session: Session, run: Run, say: Callable[[str], None]) -> None:
        self._session, self._run, self._say = session, run, say
        self._beside = checkpoints.Beside(session.state.device)
        self._begun, self._took = time.monotonic(), 0.0
        self._state: dict[str, Any] | None = None  # held, as are the weights: copies
        self._weights: dict[str, Tensor] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._beside:
            try:
                if self._state is not None or self._weights is not None:
                    self._write()
                self.wait()
            except Exception as failed:  # also what a GPU says that has failed for good
                if error is None:
                    raise
                self._say(f"not saved: {failed}")

    def epoch(self, *, weights: bool, due: bool) -> None:
        """An epoch has ended: copy all that is needed to go on, and write it where it is due.

        Args:
            weights: Also keep the weights that are judged; a disk that refuses these ends the training.
            due: Whether it is to be written now: the training ends with it, or it was asked for.
        """
        self._hold()
        if weights and self._state is not None:
            held = self._state["train"]
            self._weights = held["model"] if held["ema"] is None else held["ema"]
        if due or time.monotonic() - self._begun >= min(MOST_S, max(LEAST_S, self._took / SHARE)):
            self._write()

    def beside(self) -> None:
        """Save now, while training goes on."""
        self._hold()
        self._write()

    def now(self) -> None:
        """Save before anything else is done; nothing where that was done already.

        Raises:
            RunError: The disk refused.
        """
        self._state = None  # what is written now is further
        if self._weights is not None:
            self._write()
        self.wait()
        place = self._place()
        if self._session.state.saved != place:
            with self._timed():
                checkpoints.save(self._run.checkpoints, self._all(), step=place[0])
            self._session.state.saved = place

    def wait(self) -> None:
        """Until all that was begun is written.

        Raises:
            RunError: The disk refused the weights.
        """
        self._tell(self._beside.wait())

    def _hold(self) -> None:
        if self._took >= LARGE_S:
            self._state = None
        self._state = checkpoints.copied(self._all())

    def _all(self) -> dict[str, Any]:
        state = self._session.state
        return {"train": pack_state(state), "loader": loader_random(self._session.data.train, state.device)}

    def _place(self) -> tuple[int, int, int]:
        state = self._session.state
        return state.step, state.epoch, state.batch

    def _write(self) -> None:
        """Write what is held, the weights first: none is lost of which a checkpoint says that it was the best."""
        held, weights, state, run = self._state, self._weights, self._session.state, self._run
        self._state = self._weights = None
        self._begun = time.monotonic()

        def work() -> str | None:
            with self._timed():
                if weights is not None:
                    checkpoints.write_weights(run.weights_file, weights)
                if held is None:
                    return None
                at = held["train"]["position"]
                try:
                    checkpoints.save(run.checkpoints, held, step=at["step"])
                except RunError as error:
                    return f"checkpoint of update {at['step']:,} not saved: {error}"
                state.saved = (at["step"], at["epoch"], at["batch"])
                return None

        self._tell(self._beside.do(work))

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """What is written inside says how far two ends are to lie apart."""
        before = time.thread_time()
        yield
        self._took = time.thread_time() - before

    def _tell(self, failed: str | None) -> None:
        if failed is not None:
            self._say(failed)
