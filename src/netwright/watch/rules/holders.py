"""Which optimizer holds what: parameters that none holds, tensors that nobody uses (O03, O04, O05, M14).

A parameter counts as left out where a backward pass reached it, no optimizer that ever stepped holds it, and its values
are the same at the end as at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.fresh import looks_fresh
from netwright.checks.gradients import group_names, part_of
from netwright.checks.leaves import holdings
from netwright.checks.ownership import twice
from netwright.checks.sourcecode import Place, made_at
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.learned import loaded_ids, moved_names, reached_ids
from netwright.watch.trace import ModelSeen, OptimizerSeen, Trace


@dataclass(frozen=True, slots=True)
class Missing:
    """Parameters of one model that no optimizer moved. ``whole``: all that it has."""

    model: ModelSeen
    names: tuple[str, ...]
    whole: bool


def held_by_none(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """O03 and O04: what gets a gradient and is held by no optimizer that steps."""
    stepped = [one for one in trace.optimizers if one.steps]
    if not stepped:
        return
    for one in stepped:
        doubled = _doubled(one, trace)
        if doubled:
            yield twice(doubled, type(one.optimizer).__name__, one.place)
    missing = list(_missing(trace, stepped))
    if not missing:
        return
    dead = [(one, count) for one in stepped if (count := _dead(one, trace))]
    shared = _held_by_two(stepped)
    for each in missing:
        if dead:
            yield _stale(each, dead[0][0], dead[0][1])
        elif each.whole and shared is not None:
            yield _wrong_model(each, trace, *shared)
        elif not (each.whole and _is_tool(each, trace, stepped)):
            yield _left_out(each, trace, stepped)


def _doubled(seen: OptimizerSeen, trace: Trace) -> tuple[str, ...]:
    counts: dict[int, int] = {}
    for one in _tensors(seen):
        counts[id(one)] = counts.get(id(one), 0) + 1
    twice_in = {key for key, count in counts.items() if count > 1}
    names = {id(one): name for model in trace.models for name, one in model.module.named_parameters()}
    return tuple(names.get(key, "a tensor of no module") for key in twice_in)


def _tensors(seen: OptimizerSeen) -> list[Tensor]:
    return [one for group in seen.optimizer.param_groups for one in group["params"]]


def _missing(trace: Trace, stepped: list[OptimizerSeen]) -> Iterator[Missing]:
    """By model what a backward pass reached and nobody moved; parts of a model are told with the whole."""
    reached = reached_ids(trace)
    owned = {id(one) for seen in stepped for one in _tensors(seen)}
    told: set[int] = set()
    for model in sorted(trace.trained(), key=lambda one: -sum(1 for _ in one.module.parameters())):
        if model.pristine is None:
            continue  # whether its values changed is not known
        moved = moved_names(model) - _made_later(model)
        names = [
            name
            for name, one in model.module.named_parameters()
            if one.requires_grad and id(one) not in owned | told and name not in moved
            and (id(one) in reached or (one.grad is not None and bool(one.grad.any())))
        ]  # fmt: skip
        own = dict(model.module.named_parameters())
        told |= {id(own[name]) for name in names}
        if names:
            trainable = sum(one.requires_grad for one in own.values())
            yield Missing(model, tuple(names), len(names) == trainable)


def _made_later(model: ModelSeen) -> frozenset[str]:
    """Names of parameters that the first forward pass made, and that still are as torch draws them."""
    if model.pristine is None:
        return frozenset()
    before = dict(model.pristine.named_parameters())
    later = {name.rpartition(".")[0] for name, _ in model.module.named_parameters() if name not in before}
    fresh = {owner for owner in later if owner and looks_fresh(model.module.get_submodule(owner))}
    return frozenset(name for name, _ in model.module.named_parameters() if name.rpartition(".")[0] in fresh)


def _dead(seen: OptimizerSeen, trace: Trace) -> int:
    """How many tensors an optimizer holds that no seen model has and that never got a gradient."""
    reached = reached_ids(trace)
    used = {id(one) for model in trace.models for one in model.module.parameters()}
    used |= {key for model in trace.models for key in holdings(model.module)}
    idle = [one for one in _tensors(seen) if one.requires_grad and one.grad is None]
    return sum(id(one) not in used and id(one) not in reached for one in idle)


def _held_by_two(stepped: list[OptimizerSeen]) -> tuple[OptimizerSeen, OptimizerSeen] | None:
    """Two optimizers that hold exactly the same tensors: one was meant for others."""
    for at, one in enumerate(stepped):
        for other in stepped[at + 1 :]:
            first, second = {id(x) for x in _tensors(one)}, {id(x) for x in _tensors(other)}
            if first and first == second:
                return one, other
    return None


def _size(model: ModelSeen, names: Iterable[str]) -> tuple[int, int]:
    own = dict(model.module.named_parameters())
    return sum(own[name].numel() for name in names), sum(one.numel() for one in own.values())


def _stale(each: Missing, optimizer: OptimizerSeen, count: int) -> Finding:
    """The optimizer was made before a layer, or the whole model, was replaced."""
    size, total = _size(each.model, each.names)
    first = next(iter(group_names(each.model.module, list(each.names))))
    what = "all" if each.whole else f"`{first}`"
    return finding(
        "O04",
        evidence=(
            f"the {type(optimizer.optimizer).__name__} did {optimizer.steps} steps with {count} tensors that are in "
            "no module "
            f"that was called and never got a gradient; meanwhile {what} of {each.model.name} ({size:,} of {total:,} "
            "values) got "
            "gradients, stands in no optimizer and did not change by one bit"
        ),
        cure="Make the optimizer after the last layer was put in place, of the model that is trained.",
        place=optimizer.place,
        where=None if optimizer.place else "the optimizer",
        layer=None if each.whole else first,
    )


def _wrong_model(each: Missing, trace: Trace, one: OptimizerSeen, other: OptimizerSeen) -> Finding:
    size, _ = _size(each.model, each.names)
    ids = {id(tensor) for tensor in _tensors(other)}
    owners = (seen.name for seen in trace.models if ids & {id(x) for x in seen.module.parameters()})
    owner = next(owners, "another model")
    return finding(
        "O04",
        evidence=(
            f"two optimizers hold the same {len(ids)} tensors, those of {owner} (the other is made at {one.place}), "
            "while all "
            f"{size:,} values of {each.model.name} (called at {each.model.place}) got gradients, stand in no "
            "optimizer and did not "
            "change by one bit"
        ),
        cure="Give this optimizer the parameters of the model that it is for.",
        place=other.place,
        where=None if other.place else "the optimizer",
    )


def _is_tool(each: Missing, trace: Trace, stepped: list[OptimizerSeen]) -> bool:
    """Whether a model that no optimizer holds only helps: loaded or in eval mode, or its input is what is learnt."""
    loaded = loaded_ids(trace)
    if any(id(one) in loaded for one in each.model.module.parameters()):
        return True
    calls = (event for event in trace.of("forward") if event.who == each.model.number)
    modes = [one.train for one in each.model.batches if one.used] or [bool(event.facts.get("train")) for event in calls]
    if not any(modes):
        return True
    modules = {id(one) for model in trace.models for one in model.module.parameters()}
    reached = reached_ids(trace)
    return any(id(one) not in modules and id(one) in reached for seen in stepped for one in _tensors(seen))


def _left_out(each: Missing, trace: Trace, stepped: list[OptimizerSeen]) -> Finding:
    model = each.model
    size, total = _size(model, each.names)
    groups = group_names(model.module, list(each.names))
    loaded = loaded_ids(trace)
    own = dict(model.module.named_parameters())
    was_loaded = all(id(own[name]) in loaded for name in each.names)
    unfrozen = model.pristine is not None and any(
        not one.requires_grad for name, one in model.pristine.named_parameters() if name in each.names
    )
    parts = [part_of(model.module, name) for name in groups]
    fresh = any(isinstance(part, Tensor) or looks_fresh(part) for part in parts)
    severity = "error" if unfrozen or (fresh and not was_loaded) else "note" if was_loaded else "warning"
    listed = f"all of {model.name}" if each.whole else ", ".join(f"`{name}`" for name in list(groups)[:4])
    tail = "they were unfrozen, but after the optimizer was made" if unfrozen else "they did not change by one bit"
    if set(each.names) <= _made_later(model):
        tail = "the first forward pass made them, after the optimizer, and they are still as torch drew them"
    first = next(iter(groups))
    place: Place | None = stepped[0].place
    return finding(
        "O03",
        severity=severity,  # type: ignore[arg-type]
        evidence=(
            f"{listed} ({size:,} of {total:,} values) got gradients in {model.backwards} backward passes, but no "
            "optimizer holds "
            f"them: {tail} in {trace.steps} steps"
        ),
        cure=(
            f"Add them: Adam([*a.parameters(), *b.parameters()]), with those of {model.name}"
            if each.whole
            else "Add them to a group, or freeze them where that is meant: layer.requires_grad_(False)"
        ),
        place=place or made_at(model.module, first),
        layer=None if each.whole else first,
    )


def nothing_reached(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """M14: backward passes that reach no parameter of any model, though models were called with the graph on."""
    looked = [seen for seen in trace.backwards if _models_of(trace, seen.event)]
    if not looked or any(_trainable(trace) & seen.reached for seen in looked):
        return
    models = [trace.models[number] for number in _models_of(trace, looked[0].event)]
    own = [one for model in models for one in model.module.parameters() if one.requires_grad]
    if not own or any(one.grad is not None for one in own) or any(moved_names(model) for model in models):
        return
    yield finding(
        "M14",
        title="The loss is cut off from the model",
        evidence=(
            f"{len(looked)} backward passes ran on a loss of {looked[0].loss:.3g} whose graph reaches none of the "
            f"{sum(one.numel() for one in own):,} trainable values of {', '.join(model.name for model in models)}; "
            "none of them "
            "has a gradient or changed"
        ),
        cure=(
            "Compute the loss with torch of the outputs themselves; no .item(), .data, new torch.tensor(...) "
            "or Variable(...)."
        ),
        place=looked[0].place,
        where=None if looked[0].place else "the loss",
    )


def _models_of(trace: Trace, event: int) -> list[int]:
    forwards = trace.events[event].facts.get("forwards", ()) if event < len(trace.events) else ()
    return sorted({trace.events[one].who for one in forwards if one < len(trace.events) and trace.events[one].who >= 0})


def _trainable(trace: Trace) -> frozenset[int]:
    found = {id(one) for model in trace.models for one in model.module.parameters()}
    return frozenset(found | {key for model in trace.models for key in holdings(model.module)})


def only_frozen(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """O05: an optimizer steps that holds nothing which can be trained."""
    moved = {
        id(one) for model in trace.models for name, one in model.module.named_parameters() if name in moved_names(model)
    }
    for seen in trace.optimizers:
        tensors = _tensors(seen)
        if not seen.steps or not tensors:
            continue
        if any(one.requires_grad or one.grad is not None or id(one) in moved for one in tensors):
            continue
        yield finding(
            "O05",
            evidence=(
                f"the {type(seen.optimizer).__name__} did {seen.steps} steps with {len(tensors)} tensors "
                f"({sum(one.numel() for one in tensors):,} values) that all have requires_grad=False: none got a "
                "gradient, none moved"
            ),
            cure="model.requires_grad_(True) for what is to be trained, before training begins",
            place=seen.place,
            where=None if seen.place else "the optimizer",
        )


RULES = (held_by_none, nothing_reached, only_frozen)
