"""Write beside the training: a thread of its own waits for the disk, while updates go on.

with Beside() as beside:
    beside.do(work)  # which writes what was copied before; None, or what there is to say
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class Beside:
    """One thread, and one piece of work at a time: a second one waits for the first. A context manager.

    Args:
        device: Of the tensors that are written; reading them from a GPU does not wait for updates begun since.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="netwright-disk")
        self._doing: Future[str | None] | None = None
        on_gpu = device is not None and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def do(self, work: Callable[[], str | None]) -> str | None:
        """Begin a piece of work when the one before has ended.

        Returns:
            What the one before gave, as why a disk refused.

        Raises:
            Exception: What the one before raised.
        """
        said = self.wait()
        if self._stream is not None:
            work = partial(
                _on_stream, self._stream, torch.cuda.current_stream(self._stream.device).record_event(), work
            )
        self._doing = self._pool.submit(work)
        return said

    def wait(self) -> str | None:
        """Until all is written; as ``do``."""
        doing, self._doing = self._doing, None
        return None if doing is None else doing.result()


def _on_stream(stream: torch.cuda.Stream, begun: Any, work: Callable[[], str | None]) -> str | None:
    with torch.cuda.stream(stream):
        stream.wait_event(begun)
        return work()


NUMBERS = frozenset({int, float})


# What a tree of plain values holds is of any type.
def copied(tree: Any) -> Any:
    """A nested state whose tensors are copies, so that training may go on while it is written."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        if NUMBERS.issuperset(map(type, tree)):  # as the hundreds of a random generator
            return type(tree)(tree)
        return type(tree)(copied(value) for value in tree)
    return tree
