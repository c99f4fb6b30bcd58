"""A frozen part still changes (T09): its normalisation's statistics, or its weights by the optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import made_at
from netwright.checks.subject import NotCheckedError, Subject, copy_module, set_mode
from netwright.records import Finding
from netwright.watch.frozen import NormSeen, summed
from netwright.watch.rules.story import Story, called, story_of
from netwright.watch.trace import Trace

MOVED = 0.01  # of the statistics' own size: less is rounding


def statistics_drift(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T09: batch normalisations of a frozen part in train mode, whose statistics moved while others learned."""
    story = story_of(trace)
    parts: dict[tuple[int, str], list[NormSeen]] = defaultdict(list)
    for seen in trace.frozen.norms.values():
        if _drifted(seen) and _still_frozen(seen) and _others_learned(trace, story, seen):
            parts[seen.model, seen.part].append(seen)
    for (number, part), norms in parts.items():
        yield _drift(trace, subjects, number, part, norms)


def _shift(seen: NormSeen) -> float:
    """How far the mean moved, in standard deviations, and the variance, as a share of itself; the larger of both."""
    mean, var = seen.module.running_mean, seen.module.running_var
    if not isinstance(mean, Tensor) or not isinstance(var, Tensor) or mean.shape != seen.mean.shape:
        return 0.0
    scale = torch.sqrt(seen.var.clamp_min(1e-12))
    moved = float(((mean.detach() - seen.mean).abs() / scale).mean())
    return max(moved, float(((var.detach() - seen.var).abs() / seen.var.clamp_min(1e-12)).mean()))


def _drifted(seen: NormSeen) -> bool:
    return _shift(seen) > MOVED


def _still_frozen(seen: NormSeen) -> bool:
    """Whether the part's weights are what they were: a copy that follows another by hand is no frozen part."""
    return all(abs(summed(one) - before) <= 1e-6 * max(1.0, abs(before)) for one, before in seen.sums)


def _others_learned(trace: Trace, story: Story, seen: NormSeen) -> bool:
    """Whether the model was called for training steps of other weights since then."""
    turns = {event.facts["turn"] for number, event in story.backwards.items() if number in story.used}
    later = [event for event in trace.of("forward") if event.who == seen.model and event.step >= seen.step]
    if seen.grad:
        learning = (event for number, event in story.backwards.items() if number in story.used)
        passes = [trace.events[at] for event in learning for at in event.facts["forwards"]]
        return any(one.who == seen.model and one.step >= seen.step for one in passes)
    # under no_grad: in the same turns as training, and never trained itself
    return sum(event.facts.get("turn") in turns and not event.facts["grad"] for event in later) >= 3


def _drift(trace: Trace, subjects: dict[int, Subject], number: int, part: str, norms: list[NormSeen]) -> Finding:
    model = trace.models[number]
    worst = max(norms, key=_shift)
    steps = trace.steps - min(one.step for one in norms)
    name = f"`{part}`" if part else model.name
    frozen = "frozen" if worst.grad else "only used under no_grad"
    owner = f"model.{part}" if part else "model"
    return finding(
        "T09",
        layer=worst.layer or part or None,
        place=made_at(model.module, worst.layer) or worst.place,
        evidence=(
            f"{name} is {frozen}, but in train mode: the running statistics of {len(norms)} batch "
            f"normalisation{'s' if len(norms) > 1 else ''} moved in {steps} steps, those of `{worst.layer}` by "
            f"{_shift(worst):.0%} of their size.{_effect(model.module, subjects.get(number), norms)}"
        ),
        cure=f"{owner}.eval()  # after each model.train()",
    )


def _effect(module: nn.Module, subject: Subject | None, norms: list[NormSeen]) -> str:
    """How far the answers in eval mode are apart with the statistics of then and of now."""
    if subject is None:
        return ""
    try:
        inputs, _ = subject.rows()
        now = set_mode(copy_module(module).to("cpu"), train=False)
        then = copy_module(now)
        for seen in norms:
            one = then.get_submodule(seen.layer)
            one.running_mean.copy_(seen.mean)  # type: ignore[operator, union-attr]
            one.running_var.copy_(seen.var)  # type: ignore[operator, union-attr]
        first, second = subject.answer(then, inputs), subject.answer(now, inputs)
        apart = float(torch.linalg.vector_norm(second - first) / torch.linalg.vector_norm(first).clamp_min(1e-30))
    except (NotCheckedError, RuntimeError, AttributeError):
        return ""
    return f" With the old statistics the answers in eval mode are {apart:.0%} away from those now."


def weights_written(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T09: frozen parameters that an optimizer goes on changing, by momentum or weight decay."""
    found: dict[int, list[tuple[str, float, int]]] = defaultdict(list)
    names = {id(one): (model.module, name) for model in trace.models for name, one in model.module.named_parameters()}
    for seen in trace.frozen.written.values():
        if seen.steps < 2:
            continue
        size = torch.linalg.vector_norm(seen.value).clamp_min(1e-30)
        moved = float(torch.linalg.vector_norm(seen.parameter.detach() - seen.value) / size)
        if moved > 0:
            name = names.get(id(seen.parameter), (None, "a parameter"))[1]
            found[seen.optimizer].append((name, moved, seen.steps))
    for number, written in found.items():
        name, moved, steps = max(written, key=lambda one: one[1])
        optimizer = trace.optimizers[number]
        decay = max((float(group.get("weight_decay", 0) or 0) for group in optimizer.groups), default=0.0)
        why = "momentum" + (f" and weight decay {decay:g}" if decay else "")
        places = [seen.place for seen in trace.frozen.written.values() if seen.optimizer == number]
        yield finding(
            "T09",
            place=places[0],
            evidence=(
                f"{len(written)} parameter{'s' if len(written) > 1 else ''} without requires_grad still changed in "
                f"{steps} or more steps of {called(trace, optimizer)}: its {why} go on where a gradient of zeros is "
                f"left. `{name}` moved by {moved:.2%}."
            ),
            cure="Give the optimizer only what requires a gradient, and use zero_grad(set_to_none=True).",
        )


RULES = (statistics_drift, weights_written)
