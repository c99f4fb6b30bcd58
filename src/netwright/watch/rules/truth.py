"""Whether the truth reaches the model in evaluation (E07): other labels are given to a copy, and its answers compared.

``N`` is the number of samples, ``T`` of steps.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.looks import outputs_in
from netwright.watch.rules.flows import COMPARES, others, short, steps
from netwright.watch.rules.replays import by_site, differ, on_cpu, private, replay
from netwright.watch.scene import place_of
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

SAME = 1e-3  # outputs that differ by less than this share of their spread differ by rounding
FORCING = re.compile(r"teach|forc", re.IGNORECASE)
FEWEST = 3  # calls on one batch that make a forecast step by step


def truth_given(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E07: labels among the arguments of an evaluation, or the true past in a forecast of many steps."""
    for model in trace.trained():
        for seen in model.recorded:
            try:
                found = _answers_follow(trace, model, seen)
            except NotCheckedError:
                continue
            if found is not None:
                yield found
                return
        found = _fed_step_by_step(trace, model)
        if found is not None:
            yield found
            return


def _answers_follow(trace: Trace, model: ModelSeen, seen: BatchSeen) -> Finding | None:
    for truth in _truths(seen):
        for name, given in [*enumerate(seen.args), *seen.kwargs.items()]:
            if not isinstance(given, Tensor) or not given.ndim or len(given) != seen.rows or _is_the_input(seen, name):
                continue
            if _holds(given, truth):
                found = _changed(trace, model, seen, name, given, truth)
                if found is not None:
                    return found
    return None


def _is_the_input(seen: BatchSeen, name: Any) -> bool:
    """Whether an argument is what the model is for: the loader's first tensor, or the first argument."""
    own = [at for argument, at, _ in seen.sources if argument == name]
    return 0 in own if own else name == 0


def _truths(seen: BatchSeen) -> list[Tensor]:
    """What the answers were compared with: in the metric, or by the loss."""
    found = [one.target.detach().cpu() for one in seen.losses if isinstance(one.target, Tensor) and not one.inside]
    output = seen.output if isinstance(seen.output, Tensor) else None
    for step in steps(seen.ops, output):
        if short(step.op) in COMPARES:
            found += [one.detach().cpu() for one in others(step) if one.numel() > 1]
    return found


def _holds(given: Tensor, truth: Tensor) -> bool:
    """Whether an argument is the truth, or the truth with a token of the start before it."""
    one, other = given.detach().cpu(), truth.reshape(-1)
    parts = [one] if one.ndim < 2 else [one, one[:, 1:], one[1:]]
    return any(
        part.numel() == other.numel() and bool(torch.equal(part.reshape(-1).to(other.dtype), other)) for part in parts
    )


def _seeded(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _changed(
    trace: Trace, model: ModelSeen, seen: BatchSeen, name: Any, given: Tensor, truth: Tensor
) -> Finding | None:
    """Give the labels of other samples, all else as it was."""
    copy = private(model.module)
    rolled = given.detach().cpu().roll(1, 0)
    if torch.equal(rolled, given.cpu()):
        return None
    _seeded(0)
    right = replay(copy, seen)
    _seeded(0)
    other = replay(copy, _with(seen, name, rolled))
    apart = differ(other, right)
    if apart <= SAME or apart == float("inf"):
        return None
    _seeded(1)
    drawn = differ(replay(copy, seen), right) > SAME
    forced = next((one for one in _parameters(model.module) if FORCING.search(one)), None)
    if given.ndim > 1 and not drawn and forced is None and _of_the_past_only(copy, seen, name, given, right):
        return None  # the likelihood of each token given those before it is meant
    was, should = _share(right, truth), _share(other, truth)
    text = (
        f"; {was:.3f} of the answers are right with the true labels and {should:.3f} with those of the sample before"
        if was is not None and should is not None
        else ""
    )
    moved = float((other != right).reshape(seen.rows, -1).any(1).float().mean())
    free = _free(copy, seen, forced, truth)
    cure = f"model(..., {forced}=0) in evaluation" if forced else "Give no labels in evaluation: model(inputs)"
    argument = (
        f"`{name}`"
        if isinstance(name, str)
        else f"`{_parameters(model.module)[name]}`"
        if name < len(_parameters(model.module))
        else f"argument {name + 1}"
    )
    place = place_of(trace, seen)
    return finding(
        "E07",
        evidence=(
            f"{argument} of {model.name} holds the labels that its answers are then compared with: given those of "
            "other samples, and "
            f"all else alike, the outputs of {moved:.0%} of {seen.rows} samples change{text}{free}"
        ),
        cure=cure,
        place=place,
        where=None if place else "the evaluation",
    )


def _with(seen: BatchSeen, name: Any, value: Tensor) -> BatchSeen:
    from dataclasses import replace

    if isinstance(name, str):
        return replace(seen, kwargs={**seen.kwargs, name: value})
    return replace(seen, args=tuple(value if at == name else one for at, one in enumerate(seen.args)))


def _parameters(module: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return []


def _of_the_past_only(copy: nn.Module, seen: BatchSeen, name: Any, given: Tensor, right: Tensor) -> bool:
    """Whether the answer at each step depends on labels of earlier steps only."""
    if right.ndim < 2 or right.shape[:2] != given.shape[:2]:
        return False
    for at in (given.shape[1] // 2, given.shape[1] - 1):
        changed = given.detach().cpu().clone()
        changed[:, at] = changed[:, at].roll(1, 0)
        _seeded(0)
        other = replay(copy, _with(seen, name, changed))
        if differ(other[:, : at + 1], right[:, : at + 1]) > SAME:
            return False
    return True


def _share(output: Tensor, truth: Tensor) -> float | None:
    """The share of answers that are right."""
    for along in (output.ndim - 1, 1):
        if output.ndim > 1 and output.numel() // output.shape[along] == truth.numel():
            return float((output.argmax(dim=along).reshape(-1) == truth.reshape(-1)).float().mean())
    return None


def _free(copy: nn.Module, seen: BatchSeen, forced: str | None, truth: Tensor) -> str:
    """How right the model is when its own answers are fed back."""
    if forced is None:
        return ""
    position = _parameters(copy).index(forced)
    try:
        alone = _with(seen, position, 0.0) if position < len(seen.args) else _with(seen, forced, 0.0)  # type: ignore[arg-type]
        share = _share(replay(copy, alone), truth)
    except NotCheckedError:
        return ""
    return "" if share is None else f"; with {forced}=0, on its own, {share:.3f} are right"


# ------------------------------------------------------------------------------------------------- step by step


def _fed_step_by_step(trace: Trace, model: ModelSeen) -> Finding | None:
    """Calls that each get the next part of what is to be foretold."""
    turns: dict[int, list[BatchSeen]] = {}
    for seen in model.eval_batches:
        if seen.loader >= 0 and seen.args:
            turns.setdefault(seen.turn, []).append(seen)
    for batches in turns.values():
        for place, calls in by_site(trace, batches).items():
            parts = [_part(one) for one in calls]
            sources = {one for one in parts if one is not None}
            if (
                len(calls) < FEWEST
                or len(sources) != 1
                or None in parts
                or not all(_carries(trace, one) for one in calls[1:])
            ):
                continue
            if any(
                _part(one) in sources or any(at in sources for _, at, _ in one.sources)
                for one in batches
                if one not in calls
            ):
                continue
            return _one_step(model, calls, place, batches[0])
    return None


def _part(seen: BatchSeen) -> int | None:
    """The number of the loader's tensor that the first argument is a part of; None for the first, or a whole one."""
    found = [(at, whole) for name, at, whole in seen.sources if name == 0]
    return found[0][0] if found and not found[0][1] and found[0][0] > 0 else None


def _carries(trace: Trace, seen: BatchSeen) -> bool:
    return bool(trace.events[seen.event].facts.get("carried"))


def _one_step(model: ModelSeen, calls: list[BatchSeen], place: Place | None, first: BatchSeen) -> Finding:
    figures = ""
    try:
        was, free = _errors(model, first, calls)
        figures = f"; mean squared error {was:.4g} so, {free:.4g} when a copy is fed its own answers"
    except (NotCheckedError, IndexError, ValueError):
        pass
    return finding(
        "E07",
        title="A forecast is fed the truth at each step",
        evidence=(
            f"for each batch {model.name} is called {len(calls)} times in a row with a state, each time with the "
            "next part of the "
            f"loader's tensor {(_part(calls[0]) or 0) + 1}, which its answers are compared with{figures}"
        ),
        cure="Feed back the model's own last answer: output, state = model(output, state)",
        place=place,
        where=None if place else "the evaluation",
    )


def _errors(model: ModelSeen, first: BatchSeen, calls: list[BatchSeen]) -> tuple[float, float]:
    """Errors of the answers before each call, fed with the truth and fed with themselves."""
    copy = private(model.module)
    chain = [first, *[one for one in calls if one is not first]]
    given = [on_cpu(one.args[0]) for one in chain]
    was: list[Any] = []
    free: list[Any] = []
    for own, errors in ((False, was), (True, free)):
        answer, state = _advance(copy, given[0], None)
        for truth in given[1:]:
            value = answer if answer.shape == truth.shape else answer[:, -truth.shape[1] :]
            if value.shape != truth.shape:
                raise NotCheckedError("the answers are no values of the series")
            errors.append(float(((value - truth) ** 2).mean()))
            answer, state = _advance(copy, value if own else truth, state)
    return sum(was) / len(was), sum(free) / len(free)


def _advance(copy: nn.Module, value: Tensor, state: Any) -> tuple[Tensor, Any]:
    try:
        with torch.no_grad():
            returned = copy(value) if state is None else copy(value, state)
    except Exception as error:
        raise NotCheckedError("the model raised when it was called step by step") from error
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise NotCheckedError("the model returns no state")
    return outputs_in(returned[0])[0], returned[1]


RULES = (truth_given,)
