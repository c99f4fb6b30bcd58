"""Put a plan in force for a session: found by measuring, or the one that a run was begun with."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import torch

from netwright.batch import Batch
from netwright.data.batches import train_batches, undisturbed
from netwright.data.sources import LoaderSource
from netwright.plans import ahead
from netwright.plans.choosing import Chosen, Trials, choose
from netwright.plans.threads import chosen_threads
from netwright.records import Choice, Plan
from netwright.session import Session

LOOKED_AT = 8  # batches
OWN_LOADER = "a loader of your own is not read ahead"


def adopt(session: Session, begun: Plan | None = None, *, trials: Trials | None = None) -> Session:
    """The session with its way of doing updates chosen, and told in its plan.

    Args:
        begun: The plan of the run that is resumed, which is done as it was begun.
        trials: What was tried already, by as many threads as are set.
    """
    asked = session.settings.plan if begun is None else begun["plan"]
    batches: list[Batch] = []
    if session.state.device.type == "cpu":
        ahead.wait(session.model)
    if asked != "eager" and not isinstance(session.data.train, LoaderSource):
        session.model.train()
        batches = some_batches(session)
    if trials is None:
        session = with_threads(session, batches, begun)
    before = None if begun is None else next(one for one in begun.choices if one.name == "plan")
    chosen = _chosen(session, asked, batches, trials, before)
    session.state.program = chosen.program
    others = [one for one in session.plan.choices if one.name != "plan"]
    return replace(session, plan=Plan(choices=(*others, chosen.choice)))


def with_threads(session: Session, batches: list[Batch], begun: Plan | None = None) -> Session:
    """The session with the number of threads set and told: that of the resumed run, or the faster one.

    Where one was asked for, or a plan, it stays as it is.
    """
    settings, state, found = session.settings, session.state, None
    if state.device.type != "cpu":
        return session
    if begun is not None:
        found = next((one for one in begun.choices if one.name == "threads"), None)
    elif settings.plan == "auto" and settings.threads is None:
        found = chosen_threads(state, batches, steps=session.total_steps - state.step)
    if found is None:
        return session
    torch.set_num_threads(found.value)
    choices = tuple(found if one.name == found.name else one for one in session.plan.choices)
    return replace(session, plan=Plan(choices=choices))


def _chosen(session: Session, asked: str, batches: list[Batch], trials: Trials | None, begun: Choice | None) -> Chosen:
    if isinstance(session.data.train, LoaderSource) and asked != "eager":
        return Chosen(None, Choice(name="plan", value="eager", reason=OWN_LOADER))
    left = session.total_steps - session.state.step
    return choose(session.state, batches, steps=left, asked=asked, trials=trials, begun=begun)


def some_batches(session: Session) -> list[Batch]:
    """The next batches of training, on its device; random generators are as before after."""
    batches: list[Batch] = undisturbed(lambda: _some(session))
    return batches


def _some(session: Session) -> list[Batch]:
    found = train_batches(
        session.data,
        batch_size=session.batch_size,
        seed=session.settings.seed,
        epoch=0,  # also of a run that is resumed, so that the same batches choose the same shape
        augment=tuple(session.plan["augment"]),
        workers=0,
        device=session.state.device,
    )
    with contextlib.closing(found) as batches:
        return [batch.to(session.state.device) for batch in itertools.islice(batches, LOOKED_AT)]
