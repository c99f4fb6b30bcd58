"""Whatever the module does to a probe, ``check`` ends in time with a sentence, never with a traceback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.checks.runner import TimeUpError, time_limit
from netwright.records import CheckReport

# Beside the seconds that checks are given: making the module ready, and the check that is running when they are over.
GRACE_S = 20.0


def classes(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 6, generator=generator) + targets[:, None], targets


def whole_numbers(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 9, (count, 5), generator=generator), torch.randint(0, 3, (count,), generator=generator)


class NoGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class WholeNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.embedding(tokens)).mean(1))


class Huge(nn.Module):
    """A hundred million parameters, of which a pass touches few."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(1_000_000, 100), nn.Linear(100, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.table(tokens)).mean(1))


class RaisesInEval(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if not self.training and self.calls > 2:
            raise RuntimeError("no answers in eval mode")
        return self.layer(x)


class RaisesSometimes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) not in (5, 7, 11, 13, 64):
            raise ValueError("an odd number of rows")
        return self.layer(x)


class Sleeps(nn.Module):
    def __init__(self, seconds: float = 0.7) -> None:
        super().__init__()
        self.layer, self.seconds = nn.Linear(6, 3), seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return self.layer(x)


class SleepsForever(Sleeps):
    def __init__(self) -> None:
        super().__init__(600.0)


class CannotBeCopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lock = nn.Linear(6, 3), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            return self.layer(x)


class SwallowsAll(nn.Module):
    """A bare except around the pass, which must not swallow the end of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.layer(x)
        except Exception:
            return x.new_zeros(len(x), 3)


CASES: list[tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, torch.Tensor]]]] = [
    (NoGradients, classes),
    (WholeNumbers, whole_numbers),
    (RaisesInEval, classes),
    (RaisesSometimes, classes),
    (Sleeps, classes),
    (SleepsForever, classes),
    (CannotBeCopied, classes),
    (SwallowsAll, classes),
]


def in_time(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], seconds: float) -> CheckReport:
    loaded = nw.load(data, test=data)
    began = time.perf_counter()
    report = nw.check(model, loaded, seconds=seconds)
    assert time.perf_counter() - began < seconds + GRACE_S
    return report


@pytest.mark.parametrize(("make", "data"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_a_check_ends_with_sentences(
    make: Callable[[], nn.Module], data: Callable[[], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Each thing that could not be looked for is said, and no exception's name stands for a reason of ours."""
    report = in_time(make(), data(), 3.0)
    for sentence in report.not_checked:
        assert ": " in sentence
        assert "Traceback" not in sentence
        assert not any(name in sentence for name in ("AttributeError", "KeyError", "IndexError", "AssertionError"))


def test_a_module_that_sleeps_is_told_by_its_time() -> None:
    """A pass of minutes is ended where signals can be had, and the sentence names the seconds."""
    report = in_time(SleepsForever(), classes(), 2.0)
    assert any("longer than" in sentence for sentence in report.not_checked)


@pytest.mark.soak
def test_a_hundred_million_parameters_are_checked_in_time() -> None:
    """What takes a copy of the weights too many is left out, with a sentence."""
    report = in_time(Huge(), whole_numbers(), 10.0)
    assert not report.errors


def test_a_limit_that_strikes_in_a_finaliser_strikes_again(capfd: pytest.CaptureFixture[str]) -> None:
    """Python swallows what is raised there; neither is it told, nor does the work go on for ever."""

    class Slow:
        def __del__(self) -> None:
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                pass

    began = time.monotonic()
    with pytest.raises(TimeUpError), time_limit(0.1):
        Slow()
        while time.monotonic() - began < 20:
            pass
    assert time.monotonic() - began < 10
    assert "TimeUpError" not in capfd.readouterr().err
