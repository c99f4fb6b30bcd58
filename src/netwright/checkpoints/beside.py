"""Write beside the training: a thread of its own waits for the disk, while updates go on.

with Beside() as beside:
    beside.do("checkpoint of update 100", lambda: save(folder, copied(state), step=100))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor

from netwright.errors import RunError


class Beside:
    """One thread, and one piece of work at a time: a second one waits for the first. A context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="netwright-disk")
        self._doing: Future[Any] | None = None
        self._what = ""

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def do(self, what: str, work: Callable[[], Any]) -> str | None:
        """Begin a piece of work when the one before has ended.

        Returns:
            Why the one before failed, as the disk may refuse; None where it did not.

        Raises:
            Exception: The one before failed for another reason than the disk's.
        """
        failed = self.wait()
        self._doing, self._what = self._pool.submit(work), what
        return failed

    def wait(self) -> str | None:
        """Until all is written; as ``do``."""
        doing, self._doing = self._doing, None
        if doing is None:
            return None
        try:
            doing.result()
        except RunError as error:
            return f"{self._what} not saved: {error}"
        return None


# What a tree of plain values holds is of any type.
def copied(tree: Any) -> Any:
    """A nested state whose tensors are copies, so that training may go on while it is written."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(copied(value) for value in tree)
    return tree
