"""How many threads an update takes is measured where it is short, told, and kept for a resumed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.given import Given
from netwright.plans.adopting import some_batches, with_threads
from netwright.plans.threads import chosen_threads, time_threads
from netwright.records import Choice, Plan, Settings
from netwright.session import Session, prepare


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """As torch has them on two cores; before and after whatever the suite runs with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def session_of(**options: Any) -> Session:
    inputs = np.random.default_rng(0).normal(size=(160, 8)).astype(np.float32)
    data = nw.load((inputs, inputs[:, :3].argmax(1)), val_fraction=0, test_fraction=0)
    session = prepare(nn.Linear(8, 3), data, Settings(device="cpu", batch_size=16, **options), Given())
    session.model.train()
    return session


def told(session: Session) -> Choice:
    return next(one for one in session.plan.choices if one.name == "threads")


@pytest.mark.parametrize(("one", "two", "value"), [(2e-4, 3e-4, 1), (3e-4, 2.9e-4, 1), (3e-4, 2e-4, 2)])
def test_one_thread_is_taken_unless_several_are_faster(one: float, two: float, value: int) -> None:
    """By a twentieth: other plans gain more by one. The reason has both times; the clock is one that knows them."""
    session = session_of()
    chosen = chosen_threads(session.state, some_batches(session), steps=10**6, clock=lambda *given: [one, two])
    assert chosen is not None
    assert chosen.value == value
    assert "µs an update by" in chosen.reason
    assert torch.get_num_threads() == 2


def test_looking_changes_nothing() -> None:
    """Neither weights, random generators nor the number of threads; it takes a moment."""
    session = session_of()
    before = [one.clone() for one in session.model.parameters()], torch.get_rng_state()
    chosen = chosen_threads(session.state, some_batches(session), steps=10**6, clock=time_threads)
    assert chosen is not None
    assert chosen.value in (1, 2)
    assert all(map(torch.equal, before[0], session.model.parameters()))
    assert torch.equal(before[1], torch.get_rng_state())
    assert torch.get_num_threads() == 2


def test_short_runs_own_numbers_and_asked_plans_are_left_alone() -> None:
    """As is one thread, which cannot be fewer."""
    for options in ({"epochs": 1}, {"epochs": 10**6, "threads": 2}, {"epochs": 10**6, "plan": "eager"}):
        session = session_of(**options)
        assert with_threads(session, some_batches(session)) is session
    torch.set_num_threads(1)
    session = session_of(epochs=10**6)
    assert with_threads(session, some_batches(session)) is session


def test_a_resumed_run_takes_the_number_it_was_begun_with(tmp_path: Path) -> None:
    """And tells it by the same reason; afterwards there are as many as before."""
    session = session_of()
    begun = Plan(
        choices=(Choice(name="threads", value=1, reason="it was faster"), Choice(name="plan", value="eager", reason=""))
    )
    found = with_threads(session, [], begun)
    assert torch.get_num_threads() == 1
    assert told(found).reason == "it was faster"
    torch.set_num_threads(2)
    run = nw.train(session.model, session.data, run=tmp_path / "run", epochs=1, report=False, skip="all")
    assert run.read_plan()["threads"] == 2
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("way", ["train", "loop"])
def test_threads_that_were_asked_for_are_the_runs_alone(way: str, tmp_path: Path) -> None:
    """The caller has as many as before, also of a loop of their own that has ended."""
    session = session_of()
    torch.set_num_threads(2)
    asked = {"epochs": 1, "threads": 1, "batch_size": 16}
    if way == "train":
        nw.train(session.model, session.data, run=tmp_path / "run", report=False, skip="all", **asked)
    else:
        assert {torch.get_num_threads() for _ in nw.training_steps(session.model, session.data, **asked)} == {1}
    assert torch.get_num_threads() == 2


def test_a_loop_of_ones_own_takes_the_plan_that_is_asked_for() -> None:
    """Here one whose optimizer is a single kernel; by itself it keeps the plain one."""
    found, asked = {}, {"epochs": 1, "optimizer": "AdamW", "device": "cpu"}
    for plan in ("auto", "fused"):
        session = session_of()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            for _ in nw.training_steps(session.model, session.data, **asked, plan=plan):
                pass
        found[plan] = any("_fused_adamw" in one.name for one in seen.events())
    assert found == {"auto": False, "fused": True}
