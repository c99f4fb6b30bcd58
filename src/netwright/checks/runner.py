"""Run checks one after another within a time, and leave everything as it was.

A check is a function of a ``Subject`` that yields findings; it raises ``NotCheckedError`` with a sentence where it
cannot be done. What a person's module raises inside a check becomes such a sentence too, never a traceback.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn

from netwright.checks.catalogue import CODES, fold, in_order
from netwright.checks.held import held_output
from netwright.checks.sourcecode import Sources
from netwright.checks.subject import NotCheckedError, Subject, first_line, has_timer
from netwright.randomness import random_state, set_random_state
from netwright.records import CheckReport, Finding

IMPORTING = "<frozen importlib._bootstrap>"  # where the frames of an import are from
USUAL_S = 10.0  # of all checks together, for which each one's ``most_s`` is meant
AGAIN_S = 0.1  # until it is asked again whether an import is over
MOST_IMPORTS_S = 5.0  # after these an import is stopped too


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        what: What it looks for, as words after "not checked: ".
        codes: That it may give.
        run: Yields findings.
        most_s: After so many seconds it is stopped.
    """

    what: str
    codes: tuple[str, ...]
    run: Callable[[Subject], Iterable[Finding]]
    most_s: float = 3.0


class TimeUpError(BaseException):
    """A check took longer than it may; no Exception, so that no module catches it."""


def run_checks(subject: Subject, checks: Iterable[Check], *, skip: frozenset[str] = frozenset()) -> CheckReport:
    """Run checks in order until the time is over; fold and order what they find.

    Args:
        skip: Codes that are not told.
    """
    found: list[Finding] = []
    missed: dict[str, list[str]] = {}
    spent: dict[str, float] = {}
    for check in checks:
        if set(check.codes) <= skip:
            continue
        left = subject.budget.left()
        if left < 0.05:
            missed.setdefault("the time was over", []).append(check.what)
            continue
        began, started = time.perf_counter(), subject.budget.started
        most = min(left, check.most_s * max(1.0, subject.budget.seconds / USUAL_S))  # more where more was asked for
        try:
            with time_limit(most), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for one in check.run(subject):
                    found.append(one)
        except NotCheckedError as reason:
            missed.setdefault(str(reason), []).append(check.what)
        except TimeUpError:
            missed.setdefault(f"it took longer than {most:.1f} s", []).append(check.what)
        except MemoryError:
            missed.setdefault("it needs more memory than there is", []).append(check.what)
        except Exception as error:
            missed.setdefault(f"it failed with {type(error).__name__}: {first_line(error)}", []).append(check.what)
        spent[check.what] = time.perf_counter() - began - (subject.budget.started - started)
    subject.cache["spent"] = spent
    kept, silenced = silence(found, subject.sources, skip)
    return CheckReport(
        subject=subject.name,
        findings=tuple(in_order(fold(kept))),
        not_checked=(
            *(f"{', '.join(whats)}: {reason}" for reason, whats in missed.items()),
            *subject.sources.misread(CODES),
        ),
        skipped=silenced,
        seconds=round(subject.budget.seconds - subject.budget.left(), 3),
    )


def silence(found: Iterable[Finding], sources: Sources, skip: frozenset[str]) -> tuple[list[Finding], tuple[str, ...]]:
    """Take out what is skipped by its code or by a comment in the source."""
    kept, silenced = [], []
    for one in found:
        if one.code in skip or sources.ignored(one.file, one.line, one.code):
            silenced.append(f"{one.code} {one.where}")
        else:
            kept.append(one)
    return kept, tuple(dict.fromkeys(silenced))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs inside after so long, where there is a timer."""
    if not has_timer():
        yield
        return

    over, struck = False, 0.0

    # A timer of the person's, as a watchdog, or of a limit around this one waits meanwhile and then goes on.
    left, again = signal.setitimer(signal.ITIMER_REAL, 0)
    began, around = time.monotonic(), _imports(sys._getframe())

    def stop(number: int, frame: Any) -> None:
        nonlocal struck
        if over:
            return
        struck = struck or time.monotonic()
        # A library that is left half loaded stays broken, often for as long as the process lives.
        if time.monotonic() - struck > MOST_IMPORTS_S or _imports(frame) <= around:
            raise TimeUpError
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S, 1.0)

    before = signal.signal(signal.SIGALRM, stop)
    told = sys.unraisablehook
    sys.unraisablehook = lambda caught: None if isinstance(caught.exc_value, TimeUpError) else told(caught)
    try:
        # Again after a second: where it strikes in a finaliser, Python swallows what is raised.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 1.0)
        try:
            yield
        finally:
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = told
        if before is not None:  # None where it was not set from Python, which cannot set it back
            signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), again)


def _imports(frame: FrameType | None) -> int:
    """How many imports are under way where this frame runs."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename == IMPORTING
        frame = frame.f_back
    return found


@contextmanager
def untouched(*models: nn.Module) -> Iterator[None]:
    """Check as torch is when it starts, whatever a script has left set, print nothing, and leave all as it was.

    That is: the random generators, threads, default dtype and device, grad mode, anomaly detection, deterministic
    algorithms, standard output and standard error.

    Args:
        models: A default dtype that one of them has is theirs and stays set.
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    device = torch.device("cuda" if on_gpu else "cpu")
    before, grad = random_state(device), torch.is_grad_enabled()
    threads, dtype, anomaly = torch.get_num_threads(), torch.get_default_dtype(), torch.is_anomaly_enabled()
    exact = _determinism()
    try:
        with ExitStack() as around:
            around.enter_context(held_output())
            if torch.is_inference_mode_enabled():
                around.enter_context(torch.inference_mode(False))
            if torch.get_default_device().type != "cpu":  # entered only then, since it slows each call down
                around.enter_context(torch.device("cpu"))
            torch.set_grad_enabled(True)
            torch.autograd.set_detect_anomaly(False)
            if not any(one.dtype == dtype for model in models for one in model.parameters()):
                torch.set_default_dtype(torch.float32)
            yield
    finally:
        set_random_state(before, device)
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly)
        if _determinism() != exact:  # to set it costs an import of a second
            torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def digest(model: nn.Module) -> str:
    """SHA-256 over all that checking may not change: parameters, buffers, gradients, modes and requires_grad."""
    whole = hashlib.sha256()
    for name, module in model.named_modules():
        whole.update(f"{name} {module.training}".encode())
    for kind, tensors in (("p", model.named_parameters()), ("b", model.named_buffers())):
        for name, tensor in tensors:
            whole.update(f"{kind} {name} {tensor.requires_grad} {tensor.device} {tensor.dtype}".encode())
            for value in (tensor, tensor.grad):
                if value is not None and not nn.parameter.is_lazy(value):
                    whole.update(_bytes(value))
    return whole.hexdigest()


def _bytes(value: torch.Tensor) -> bytes:
    flat = value.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""
