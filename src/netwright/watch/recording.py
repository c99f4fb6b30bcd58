"""Record operations between forward passes, without ever standing in the way of modes that the script enters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch.overrides import _pop_mode, _push_mode

from netwright.checks.optrace import Recorder
from netwright.watch.functions import find_function
from netwright.watch.trace import BatchSeen

MOST_OPS = 400
MOST_BYTES = 32_000_000  # of tensors that the operations of one batch keep in memory

_STACK = torch.overrides._get_current_function_mode_stack  # as it is while nobody watches


def around_stack(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave our mode out of what a script reads of its modes."""

    def stack() -> Any:
        return [one for one in original() if not isinstance(one, Recorder)]

    return stack


class Recording:
    """The recorder that runs, if any.

    Attributes:
        off: Nothing is recorded any more: a compiled function of the script's would be compiled with our mode.
    """

    def __init__(self, outputs: Callable[[BatchSeen], list[Any]], fail: Callable[[Exception], None]) -> None:
        self._recorder: Recorder | None = None
        self._seen: BatchSeen | None = None
        self._outputs = outputs
        self._fail = fail
        self.off = False

    def start(self, seen: BatchSeen) -> None:
        """Record operations from now on, of this batch; not inside a mode of the script's, which ends before ours."""
        if self._recorder is not None or self.off or not _is_free():
            return
        recorder = Recorder(most=MOST_OPS, most_bytes=MOST_BYTES, on_error=self._fail)
        if seen.grad and seen.function is None:
            recorder.on_frame = partial(self._look_for_function, recorder, seen)
        _push_mode(recorder)  # type: ignore[no-untyped-call]
        self._recorder, self._seen = recorder, seen

    def _look_for_function(self, recorder: Recorder, seen: BatchSeen, frame: FrameType) -> None:
        """Whether this operation is done by a loss function of the person's; asked until it is found."""
        seen.function = find_function(frame, self._outputs(seen), seen.rows)
        if seen.function is not None:
            recorder.on_frame = None

    def pause(self, paused: bool) -> bool:
        """Stop or go on recording for a while; whether it was stopped before."""
        if self._recorder is None:
            return False
        before = self._recorder.paused
        self._recorder.paused = paused
        return before

    def stop(self) -> int:
        """Keep what was recorded with its batch; the bytes that it holds."""
        recorder, seen = self._recorder, self._seen
        if recorder is None or seen is None:
            return 0
        self._recorder = self._seen = None
        recorder.paused = True
        _take_out(recorder)
        seen.ops = [*seen.ops, *recorder.ops]
        return recorder.bytes


def _is_free() -> bool:
    """Whether no mode was entered by the script, beside the one of ``torch.set_default_device``."""
    stack = _STACK()  # type: ignore[no-untyped-call]
    if not stack:
        return True
    # it stays at the bottom, whatever is entered or left above it
    default = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return len(stack) == 1 and stack[0] is default


def _take_out(recorder: Recorder) -> None:
    """Take our mode off the stack, wherever it stands; the others keep their order."""
    stack = _STACK()  # type: ignore[no-untyped-call]
    if not any(one is recorder for one in stack):
        return
    above: list[Any] = []
    while (top := _pop_mode()) is not recorder:  # type: ignore[no-untyped-call]
        above.append(top)
    for one in reversed(above):
        _push_mode(one)  # type: ignore[no-untyped-call]
