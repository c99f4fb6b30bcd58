"""How the evaluation calls the model: in which mode (E01), with or without a graph (E08)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.rules.replays import (
    Score,
    by_site,
    differ,
    evaluation_of,
    loss_names,
    private,
    replay,
    score_of,
    set_flags,
    target_of,
)
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

SAME = 1e-3  # outputs that differ by less than this share of their spread differ by rounding
REPEATS = 3  # passes over the same batch from which on its answers are meant to be drawn at random
MOST_ROWS = 2_000  # samples that are tried again


def train_mode(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E01: an evaluation in train mode whose answers would be others in eval mode."""
    done: set[tuple[int, Place | None]] = set()
    for model in trace.trained():
        batches = [one for one in evaluation_of(trace, model) if one.modes or (one.modes is None and one.train)]
        last = _last_change(trace, model)
        for place, seen in by_site(trace, [one for one in batches if one.event > last]).items():
            if (model.number, place) in done or not _is_scored(trace, model, seen) or _drawn_on_purpose(seen):
                continue
            if _is_thrown_away(trace, place):
                continue
            done.add((model.number, place))
            found = _in_both_modes(trace, model, seen, place)
            if found is not None:
                yield found
                break  # the same cause at another line


def _last_change(trace: Trace, model: ModelSeen) -> int:
    """The last event that changed the weights of a model."""
    own = {id(one) for one in model.module.parameters()}
    loads = [
        at for at, event in enumerate(trace.events) if event.kind == "load" and event.facts.get("ids", set()) & own
    ]
    return max(loads, default=-1)


def _is_scored(trace: Trace, model: ModelSeen, batches: list[BatchSeen]) -> bool:
    """Whether answers are measured by targets, so that they are an evaluation and not samples to look at."""
    if any(one.loader >= 0 and trace.loaders[one.loader].used for one in batches):
        return False  # a pass over training data: statistics of layers are set anew like this
    if any(one.losses or one.targets is not None for one in batches):
        return True
    direct = any(loss.direct and loss.model == model.number for one in model.batches[:8] for loss in one.losses)
    return direct and sum(one.rows for one in batches) > 1


def _is_thrown_away(trace: Trace, place: Place | None) -> bool:
    """Whether a line calls only for what the call does, as setting the statistics of layers anew."""
    tree = trace.sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, (ast.Expr, ast.Assign)) and node.lineno <= place.line <= (node.end_lineno or 0):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                return not any(isinstance(one, ast.Call) for arg in node.value.args for one in ast.walk(arg))
            if isinstance(node, ast.Assign) and all(ast.unparse(target) == "_" for target in node.targets):
                return True
    return False


def _drawn_on_purpose(batches: list[BatchSeen]) -> bool:
    """Whether the same inputs are gone through again and again, as for the spread of the answers."""
    counts: dict[Any, int] = {}
    for one in batches:
        tensors = [value for value in (*one.args, *one.kwargs.values()) if isinstance(value, Tensor)]
        mark = tuple((tuple(value.shape), float(value.double().sum())) for value in tensors)
        counts[mark] = counts.get(mark, 0) + 1
    return max(counts.values(), default=0) >= REPEATS


def _in_both_modes(trace: Trace, model: ModelSeen, batches: list[BatchSeen], place: Place | None) -> Finding | None:
    """Do the same passes in both modes on copies, and give both scores."""
    training = batches[-1].modes or tuple(name for name, _ in model.module.named_modules())
    as_was, as_should = set_flags(private(model.module), training), private(model.module)
    pairs: list[tuple[BatchSeen, Tensor, Tensor]] = []
    rows = 0
    for seen in batches:
        try:
            torch.manual_seed(0)
            was = replay(as_was, seen)
            torch.manual_seed(0)
            pairs.append((seen, was, replay(as_should, seen)))
        except NotCheckedError:
            continue
        rows += seen.rows
        if rows >= MOST_ROWS:
            break
    apart = max((differ(was, should) for _, was, should in pairs), default=0.0)
    if apart < SAME or apart == float("inf"):
        return None
    had, wanted = _scores(trace, model, pairs)
    layers = [name for name in trace.events[batches[-1].event].facts.get("active") or () if name]
    named = ", ".join(f"`{name}`" for name in layers[:3]) or "layers that depend on the mode"
    if had is not None and wanted is not None:
        text = f"{had.name} {had.value:.4g} as it was, in train mode, and {wanted.value:.4g} in eval mode"
    else:
        text = f"its answers move by up to {apart:.2g} of their spread from train to eval mode"
    return finding(
        "E01",
        evidence=(
            f"{sum(one.rows for one, _, _ in pairs)} samples of the evaluation went through {model.name} while {named} "
            f"{'was' if len(layers) == 1 else 'were'} in train mode; done again on a copy: {text}{_hint(trace)}"
        ),
        cure="model.eval() before the evaluation, and model.train() before training goes on",
        place=place,
        layer=layers[0] if layers else None,
        where=None if place else "the evaluation",
    )


def _scores(
    trace: Trace, model: ModelSeen, pairs: list[tuple[BatchSeen, Tensor, Tensor]]
) -> tuple[Score | None, Score | None]:
    losses = loss_names(model)
    known = [(seen, was, should, target) for seen, was, should in pairs if (target := target_of(seen)) is not None]
    if not known:
        return None, None
    recorded = [
        (seen.output.cpu() if isinstance(seen.output, Tensor) else was, target) for seen, was, _, target in known
    ]
    first = score_of(recorded, losses)
    if first is not None and (first.name == "accuracy" or "mse_loss" in losses or "MSELoss" in losses):
        return first, score_of([(should, target) for _, _, should, target in known], losses)
    return _through_next(trace, known)


def _through_next(
    trace: Trace, known: list[tuple[BatchSeen, Tensor, Tensor, Tensor]]
) -> tuple[Score | None, Score | None]:
    """The scores of a model that got these answers as its input."""
    for other in trace.trained():
        losses = loss_names(other)
        chained: list[tuple[Tensor, Tensor, Tensor]] = []
        try:
            copy = private(other.module)
            for seen, _, should, target in known:
                follow = next((one for one in other.eval_batches if _takes(one, seen)), None)
                if follow is not None and isinstance(follow.output, Tensor):
                    better = replay(copy, follow, partial(_swapped_in, seen, should))
                    chained.append((follow.output.cpu(), better, _fitting(follow, target)))
        except NotCheckedError:
            continue
        if chained:
            first = score_of([(was, target) for was, _, target in chained], losses)
            return first, score_of([(should, target) for _, should, target in chained], losses)
    return None, None


def _takes(one: BatchSeen, seen: BatchSeen) -> bool:
    return any(
        isinstance(value, Tensor) and isinstance(seen.output, Tensor) and value.shape == seen.output.shape
        and bool(torch.equal(value.cpu(), seen.output.cpu()))
        for value in (*one.args, *one.kwargs.values())
    )  # fmt: skip


def _swap(value: Any, seen: BatchSeen, should: Tensor) -> Any:
    same = isinstance(value, Tensor) and value.shape == should.shape and torch.equal(value, seen.output.cpu())
    return should if same else value


def _fitting(follow: BatchSeen, target: Tensor) -> Tensor:
    own = target_of(follow)
    return target if own is None else own


def _hint(trace: Trace) -> str:
    """Where ``eval`` stands without its parentheses."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr in ("eval", "train")
            ):
                return f". At {Place(file, node.lineno)} `{ast.unparse(node.value)}` stands without () and does nothing"
    return ""


def graphs(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E08: an evaluation that builds graphs which nobody goes back through."""
    for model in trace.trained():
        batches = [one for one in evaluation_of(trace, model) if one.grad and one.loader >= 0]
        batches = [one for one in batches if not trace.loaders[one.loader].used]
        for place, seen in by_site(trace, batches).items():
            if len(seen) < 2:
                continue
            yield finding(
                "E08",
                evidence=(
                    f"{len(seen)} forward passes of {model.name} with {sum(one.rows for one in seen)} samples kept "
                    "all that "
                    "a backward pass needs, and none followed"
                ),
                cure="with torch.no_grad(): around the evaluation",
                place=place,
                where=None if place else "the evaluation",
            )
            return


def _swapped_in(seen: BatchSeen, should: Any, value: Any) -> Any:
    return _swap(value, seen, should)


RULES = (train_mode, graphs)
