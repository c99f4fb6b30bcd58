"""Graphs that are kept alive (T10), and what comes back that should be new: random numbers and states (T13)."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject, copy_module, set_mode
from netwright.records import Finding
from netwright.watch.rules.story import Story, ancestors, commonest, story_of
from netwright.watch.trace import BackwardSeen, Event, GraphsKept, LoaderSeen, ModelSeen, Trace

AGAIN = 3
DRAWS = frozenset({"permutation", "shuffle", "choice", "choices", "randint", "randperm", "sample", "integers"})
GROWN = 1.5  # times as many nodes at the last look as at the first


def graphs_kept(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T10: graphs of earlier batches that still live, and graphs that reach back into earlier batches and grow."""
    for kept in trace.kept:
        yield _kept(trace, kept)
    lines: dict[Place | None, list[BackwardSeen]] = defaultdict(list)
    for seen in trace.backwards:
        lines[seen.place].append(seen)
    for place, looks in lines.items():
        older = [seen for seen in looks if seen.older]
        sizes = [seen.num_nodes for seen in looks]
        if len(older) >= AGAIN and sizes[-1] > GROWN * sizes[0] and all(a < b for a, b in pairwise(sizes)):
            yield _growing(trace, place, looks)


def _kept(trace: Trace, kept: GraphsKept) -> Finding:
    what = "training" if kept.trained else "evaluation"
    held = f"`{kept.name}` in {kept.function}() holds" if kept.name else "Something holds"
    if kept.name and kept.function == "<module>":
        held = f"`{kept.name}` holds"
    cure = "Add up loss.item(), and keep outputs as output.detach()."
    if not kept.trained:
        cure = "with torch.no_grad():  # around the evaluation; and add up loss.item()"
    return finding(
        "T10",
        place=_gathering_line(trace, kept) or kept.place,
        evidence=(
            f"{kept.alive} of the graphs of the last {kept.of} {what} batches were still in memory: {held} what was "
            "computed of them together with its graph, so memory grows with each batch."
        ),
        cure=cure,
    )


def _gathering_line(trace: Trace, kept: GraphsKept) -> Place | None:
    """The line that adds to the variable: ``total += loss``, ``total = total + loss``, ``losses.append(loss)``."""
    tree = trace.sources.tree(kept.place.file) if kept.place is not None and kept.name else None
    if tree is None or kept.place is None:
        return None
    for node in ast.walk(tree):
        line = 0
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == kept.name:
            line = node.lineno
        elif isinstance(node, ast.Assign) and any(ast.unparse(one) == kept.name for one in node.targets):
            again = any(isinstance(one, (ast.Name, ast.Attribute)) and ast.unparse(one) == kept.name
                        for one in ast.walk(node.value))  # fmt: skip
            line = node.lineno if again else 0
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (f"{kept.name}.append", f"{kept.name}.extend"):
            line = node.lineno
        inside = [one.name for one in ancestors(node) if isinstance(one, ast.FunctionDef)] or ["<module>"]
        if line and kept.function in inside:
            return Place(kept.place.file, line)
    return None


def _growing(trace: Trace, place: Place | None, looks: list[BackwardSeen]) -> Finding:
    first, last = looks[0], looks[-1]
    numbers = [trace.events[one.event].facts.get("number", 0) for one in (first, last)]
    each = (last.num_nodes - first.num_nodes) / max(1, numbers[1] - numbers[0])
    return finding(
        "T10",
        place=place,
        evidence=(
            f"The graph of the loss had {first.num_nodes} nodes at the first backward pass and {last.num_nodes} at "
            f"number {numbers[1] + 1}, {each:.0f} more each time: {last.older} of them are of earlier batches, which "
            "each backward pass goes through again."
        ),
        cure="state = state.detach()  # what is carried from one batch to the next",
    )


def state_of_strangers(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T13: the state after one batch is handed to the next, although their samples are unrelated."""
    for model in trace.trained():
        passes = [event for event in trace.of("forward") if event.who == model.number and event.facts["grad"]]
        carried = [event for event in passes if event.facts.get("carried")]
        if len(carried) < AGAIN or len(carried) < 0.5 * len(passes):
            continue
        loader = trace.loaders[carried[0].facts["loader"]] if carried[0].facts["loader"] >= 0 else None
        mixed = _shuffles(loader) if loader is not None else _recombined(model)
        if not mixed or _several_a_turn(carried):
            continue
        name = carried[0].facts["carried"][0]
        yield finding(
            "T13",
            title="A state is carried across unrelated samples",
            place=commonest(event.place for event in carried),
            evidence=(
                f"In {len(carried)} of {len(passes)} training passes the state that {model.name} had returned for the "
                f"batch before was handed in again, but the batches are shuffled: row 1 does not go on where row 1 "
                f"ended.{_effect(model, subjects.get(model.number), name)}"
            ),
            cure="Hand in no state: hidden = None for each batch.",
        )


def _several_a_turn(carried: list[Event]) -> bool:
    """Whether the state is handed on within one batch, as from step to step of a sequence."""
    turns = [event.facts.get("turn") for event in carried]
    return carried[0].facts["loader"] >= 0 and len(set(turns)) < 0.6 * len(turns)


def _recombined(model: ModelSeen) -> bool:
    """Whether rows of one batch come back in others, in other company: the samples are drawn anew each time."""
    where: dict[bytes, set[int]] = defaultdict(set)
    batches = [one for one in model.batches if one.args][:256]
    for at, batch in enumerate(batches):
        rows = batch.args[0]
        if not isinstance(rows, Tensor) or rows.ndim < 2:
            return False
        for row in rows[:8].detach().cpu().contiguous():
            where[row.numpy().tobytes()].add(at)
    again = [places for places in where.values() if len(places) > 1]
    if len(again) < 8:
        return False
    first = {bytes(batch.args[0][0].detach().cpu().contiguous().numpy().tobytes()) for batch in batches}
    together: dict[tuple[bytes, bytes], int] = defaultdict(int)
    for batch in batches:
        rows = batch.args[0].detach().cpu().contiguous()
        if len(rows) > 1:
            together[rows[0].numpy().tobytes(), rows[1].numpy().tobytes()] += 1
    return len(together) > 1.5 * len(first) or max(together.values(), default=0) == 1


def _effect(model: ModelSeen, subject: Subject | None, name: str) -> str:
    """How far the trained module's answers move when the state is of zeros instead of a stranger's."""
    batch = next((one for one in reversed(model.batches) if len(one.args) > 1), None)
    if subject is None or subject.trained is None or batch is None or not name.isdigit() or int(name) == 0:
        return ""
    try:
        module = set_mode(copy_module(subject.trained), train=False)
        with torch.no_grad():
            args: list[Any] = list(batch.args)
            one = subject.found(module(*args, **batch.kwargs))
            args[int(name)] = _zeros(args[int(name)])
            other = subject.found(module(*args, **batch.kwargs))
        apart = float(torch.linalg.vector_norm(other - one) / torch.linalg.vector_norm(one).clamp_min(1e-30))
    except (NotCheckedError, RuntimeError, TypeError, AttributeError, ValueError):
        return ""
    return f" With a state of zeros instead, the trained module's answers move by {apart:.0%}."


def _zeros(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    return type(value)(_zeros(one) for one in value) if isinstance(value, (tuple, list)) else value


def _shuffles(loader: LoaderSeen) -> bool:
    """Whether a loader draws a new order in each pass."""
    sampler = getattr(loader.loader, "batch_sampler", None)
    while isinstance(sampler, BatchSampler):
        sampler = sampler.sampler
    if sampler is None:
        sampler = getattr(loader.loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        return bool(sampler.shuffle)
    if isinstance(sampler, RandomSampler):
        return len(sampler) > 1
    return isinstance(sampler, (SubsetRandomSampler, WeightedRandomSampler))


def same_numbers_again(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T13: passes over a shuffling loader that all have the same order, within the training of one model."""
    story = story_of(trace)
    alike: dict[Place | int, list[LoaderSeen]] = defaultdict(list)
    for loader in trace.loaders:
        if loader.used and _shuffles(loader):
            alike[loader.place or loader.number].append(loader)  # made anew at one line: the same loader
    for loaders in alike.values():
        passes = [one for loader in loaders for one in _passes(trace, story, loader)]
        own = _most_of_one_model(passes)
        heads = [head for _, _, head in own]
        same = sum(one == other for one, other in pairwise(heads)) + 1
        if len(own) < (2 if own and _seeds(trace, own[0][0], own[-1][0]) else 3) or same < 2 or same < 0.6 * len(own):
            continue
        if any(event.kind == "load" for event in trace.events[own[0][0] : own[-1][0]]):
            continue  # one trial after another, each from the same start
        yield _same_order(trace, loaders[0], (own[0][0], own[-1][0]), same, len(own))
        return
    yield from _same_draws(trace, story)


def _passes(trace: Trace, story: Story, loader: LoaderSeen) -> list[tuple[int, tuple[int, ...], str]]:
    """The passes over a loader: where they begin in the list of events, the models trained, and their heads."""
    found: list[tuple[int, tuple[int, ...], str]] = []
    began: int | None = None
    models: set[int] = set()
    heads = iter(loader.heads)
    for at, event in enumerate(trace.events):
        if event.kind == "pass_begin" and event.who == loader.number:
            if began is not None:
                found.append((began, tuple(sorted(models)), next(heads, "")))
            began, models = at, set()
        elif event.kind == "backward" and event.facts.get("number") in story.used:
            models.update(event.facts.get("models", ()))
    if began is not None:
        found.append((began, tuple(sorted(models)), next(heads, "")))
    return found


def _most_of_one_model(passes: list[tuple[int, tuple[int, ...], str]]) -> list[tuple[int, tuple[int, ...], str]]:
    groups: dict[tuple[int, ...], list[tuple[int, tuple[int, ...], str]]] = defaultdict(list)
    for one in passes:
        if one[1] and one[2]:
            groups[one[1]].append(one)
    return max(groups.values(), key=len, default=[])


def _seeds(trace: Trace, first: int, last: int) -> list[Event]:
    return [event for event in trace.events[first:last] if event.kind == "seed"]


def _same_order(trace: Trace, loader: LoaderSeen, span: tuple[int, int], same: int, of: int) -> Finding:
    seeds = _seeds(trace, *span)
    place = commonest(event.place for event in seeds) or loader.place
    sampler = getattr(loader.loader, "sampler", None)
    if seeds:
        why = f"the seed is set again between them, {len(seeds)} times, to {seeds[0].facts['value']}"
        cure = "Set the seed once, before the loop."
    elif isinstance(sampler, DistributedSampler):
        why, cure = "the DistributedSampler was not told the epoch", "sampler.set_epoch(epoch)  # before each epoch"
    else:
        why = "its generator is set back between them"
        cure = "Make and seed the generator once, before the loop."
    return finding(
        "T13",
        place=place,
        evidence=(
            f"{same} of {of} passes over the shuffled loader began with the very same batches: {why}. Each epoch sees "
            "the same order, dropout masks and augmentations."
        ),
        cure=cure,
    )


def _same_draws(trace: Trace, story: Story) -> Iterator[Finding]:
    """T13: the same seed again and again between the steps of one model, and the same drawn after it."""
    seeds: dict[tuple[Place | None, Any, str], list[int]] = defaultdict(list)
    for at, event in enumerate(trace.events):
        if event.kind == "seed" and event.facts["value"] is not None:
            seeds[event.place, event.facts["value"], event.facts["function"]].append(at)
    for (place, value, function), places in seeds.items():
        following = [(at, one) for at in places if (one := _training_after(trace, story, at)) is not None]
        models = {one.facts["models"] for _, one in following}
        if len(following) < AGAIN or len(models) != 1:
            continue
        masks = "torch" in function and any(_is_random(trace.models[one]) for one in next(iter(models)))
        batches = _same_batches(trace, following) and _draws(trace)
        if masks or batches:
            what = "the training batch that follows is the very same" if batches else "random layers draw the same"
            yield finding(
                "T13",
                place=place,
                evidence=(
                    f"The seed was set to {value} {len(places)} times between the steps of one training: each time "
                    f"{what}."
                ),
                cure="Set the seed once, before the loop.",
            )
            return


def _training_after(trace: Trace, story: Story, at: int) -> Event | None:
    """The first backward pass after a seed, where no evaluation comes before it and a step used it."""
    for event in trace.events[at + 1 : at + 400]:
        if event.kind == "forward" and not event.facts["grad"]:
            return None
        if event.kind == "backward":
            return event if event.facts.get("number") in story.used else None
    return None


def _same_batches(trace: Trace, following: list[tuple[int, Event]]) -> bool:
    """Whether the first training batch after each seed holds the same samples in the same order."""
    kept = {one.event: one for model in trace.models for one in model.batches if one.args}
    firsts = [kept[event.facts["forwards"][0]] for _, event in following if event.facts["forwards"][:1] and
              event.facts["forwards"][0] in kept]  # fmt: skip
    tensors = [one.args[0] for one in firsts if isinstance(one.args[0], Tensor)]
    return len(tensors) >= AGAIN and all(
        one.shape == tensors[0].shape and bool(torch.equal(one, tensors[0])) for one in tensors[1:]
    )


def _draws(trace: Trace) -> bool:
    """Whether the person's source draws an order or a choice at random."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in DRAWS
        for _, tree in trace.sources.trees()
        for node in ast.walk(tree)
    )


def _is_random(model: ModelSeen) -> bool:
    return any(isinstance(one, torch.nn.modules.dropout._DropoutNd) and one.p > 0 for one in model.module.modules())


RULES = (graphs_kept, state_of_strangers, same_numbers_again)
