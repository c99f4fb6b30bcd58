"""Training in the wrong mode (T07).

Only forward passes whose gradients a step used count as training: an attack or a saliency map in eval mode is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import NotCheckedError, Subject, copy_module, set_mode
from netwright.records import Finding
from netwright.watch.looks import active
from netwright.watch.rules.evaluation import train_mode
from netwright.watch.rules.story import Story, commonest, models_of, story_of, variable
from netwright.watch.trace import Event, ModelSeen, Trace

AGAIN = 3
PART = 0.05  # share of the training passes


def trained_in_eval_mode(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T07: steps made in eval mode, after an evaluation that had switched to it."""
    story = story_of(trace)
    learning = {model.number for number in story.steps for model in models_of(trace, number)}
    for model in trace.trained():
        if model.number not in learning:  # frozen, so that its mode is a choice
            continue
        layers = _mode_layers(model.module)
        if not layers:
            continue
        passes = _training_passes(trace, story, model)
        asleep = [(at, event) for at, event in passes if not event.facts["train"] and not event.facts["active"]]
        if len(asleep) < AGAIN or len(asleep) < PART * len(passes):
            continue
        after = [(at, event) for at, event in asleep if _evaluated_before(trace, model, at)]
        if len(after) >= AGAIN and len(after) >= 0.5 * len(asleep):
            yield _not_restored(trace, subjects, model, layers, (len(asleep), len(passes)), after)
        elif len(asleep) == len(passes):
            yield _never_trained(model, layers, passes, subjects)


def _mode_layers(module: nn.Module) -> list[str]:
    """Names of the layers that do something else in train mode."""
    try:
        return list(active(set_mode(copy_module(module), train=True)))
    except NotCheckedError:
        return []


def _training_passes(trace: Trace, story: Story, model: ModelSeen) -> list[tuple[int, Event]]:
    """Forward passes of a model whose gradients a step used, with their places in the list of events."""
    found: dict[int, Event] = {}
    for number, event in story.backwards.items():
        if number in story.used and model.number in event.facts.get("models", ()):
            for at in event.facts["forwards"]:
                each = trace.events[at] if at < len(trace.events) else event
                if each.kind == "forward" and each.who == model.number:
                    found[at] = each
    return sorted(found.items())


def _evaluated_before(trace: Trace, model: ModelSeen, at: int) -> bool:
    """Whether the last ``eval()`` before a training pass was for an evaluation: passes without a graph followed it."""
    for event in reversed(trace.events[:at]):
        if event.kind == "mode" and not event.facts["train"]:
            return False
        if event.kind == "forward" and event.who == model.number and not event.facts["train"]:
            if not event.facts["grad"]:
                return True
        elif event.kind == "forward" and event.who == model.number:
            return False
    return False


def _eval_line(trace: Trace, at: int) -> Place | None:
    for event in reversed(trace.events[:at]):
        if event.kind == "mode" and not event.facts["train"]:
            return event.place
    return None


def _not_restored(
    trace: Trace,
    subjects: dict[int, Subject],
    model: ModelSeen,
    layers: list[str],
    counts: tuple[int, int],
    asleep: list[tuple[int, Event]],
) -> Finding:
    line = commonest(_eval_line(trace, at) for at, _ in asleep)
    first = asleep[0][1]
    place = commonest(event.place for _, event in asleep)
    switched = f", since eval() at line {line.line}" if line is not None else ""
    name = _model_name(line, place)
    return finding(
        "T07",
        place=place,
        evidence=(
            f"{counts[0]} of {counts[1]} training batches, the first at step {first.step + 1}, went through "
            f"{model.name} in eval mode{switched}: {_what(model.module, layers)}. {_in_numbers(model, subjects)}"
        ).strip(),
        cure=f"{name}.train()  # at the top of the training loop, after each evaluation",
    )


def _model_name(line: Place | None, place: Place | None) -> str:
    name = variable(line, "eval", "")
    if name:
        return name
    head = source_line(place).partition("(")[0]
    return "model" if "=" in head or " " in head else head or "model"


def _what(module: nn.Module, layers: list[str]) -> str:
    modules = dict(module.named_modules())
    norms = [name for name in layers if isinstance(modules.get(name), nn.modules.batchnorm._NormBase)]
    drops = len(layers) - len(norms)
    parts = []
    if drops:
        parts.append(f"{drops} dropout layer{'s' if drops > 1 else ''} did nothing")
    if norms:
        parts.append(f"{len(norms)} batch normalisation{'s' if len(norms) > 1 else ''} did not follow the batches")
    return " and ".join(parts)


def _in_numbers(model: ModelSeen, subjects: dict[int, Subject]) -> str:
    """How far the module's answers are apart in the two modes, on a copy."""
    subject = subjects.get(model.number)
    if subject is None:
        return ""
    try:
        inputs, _ = subject.rows()
        start = subject.trained if subject.trained is not None else subject.model
        one = subject.answer(set_mode(copy_module(start), train=False), inputs)
        other = subject.answer(set_mode(copy_module(start), train=True), inputs)
    except NotCheckedError:
        return ""
    if not isinstance(one, Tensor) or one.shape != other.shape or not one.is_floating_point():
        return ""
    apart = float(torch.linalg.vector_norm(other - one) / torch.linalg.vector_norm(one).clamp_min(1e-30))
    return f"On {len(one)} samples its answers in train mode are {apart:.0%} away from those in eval mode."


def _never_trained(
    model: ModelSeen, layers: list[str], passes: list[tuple[int, Event]], subjects: dict[int, Subject]
) -> Finding:
    """All training in eval mode, without an evaluation before: on purpose, unless a normalisation never saw a batch."""
    blank = [
        name
        for name, one in model.module.named_modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm)
        and one.running_mean is not None
        and one.running_var is not None
        and not bool(one.running_mean.any())
        and bool((one.running_var == 1).all())
    ]
    place = commonest(event.place for _, event in passes)
    more = f" Their statistics are still those they were made with: {len(blank)} normalise nothing." if blank else ""
    return finding(
        "T07",
        place=place,
        severity="error" if blank else "note",
        evidence=(
            f"All {len(passes)} training batches went through {model.name} in eval mode: {_what(model.module, layers)}."
            f"{more} {_in_numbers(model, subjects)}"
        ).strip(),
        cure="model.train()  # at the top of the training loop, unless it is meant so",
    )


def train_called_to_evaluate(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T07: an evaluation that calls ``train()`` first; E01 tells of one that only forgets ``eval()``."""
    ons = [(at, event) for at, event in enumerate(trace.events) if event.kind == "mode" and event.facts["train"]]
    if not ons:
        return
    lines = {event.place for _, event in ons if _leads_to_evaluation(trace, event.place)}
    scored = any(
        one.train and not one.grad and (one.losses or one.targets is not None)
        for model in trace.trained()
        for one in (*model.eval_batches, *model.first_eval)
    )
    if not lines or not scored:  # without targets it is no evaluation: statistics are adapted like this
        return
    for found in train_mode(trace, subjects):
        line = next((one for one in lines if one is not None), None)
        yield finding(
            "T07",
            place=line,
            evidence=f"train() at line {line.line if line else '?'} is called for the evaluation. {found.evidence}",
            cure=f"{variable(line, 'train', 'model')}.eval()  # there",
            layer=found.layer,
        )
        return


def _leads_to_evaluation(trace: Trace, place: Place | None) -> bool:
    """Whether each call of ``train()`` at a line is followed by passes without a graph before any backward pass."""
    if place is None:
        return False
    for at, event in enumerate(trace.events):
        if event.kind != "mode" or event.place != place:
            continue
        following = next(
            (one for one in trace.events[at + 1 :] if one.kind in ("forward", "backward", "pass_end")
             and not (one.kind == "forward" and not one.facts["train"])),
            None,
        )  # fmt: skip
        if following is None or following.kind != "forward" or following.facts["grad"]:
            return False
    return True


RULES = (trained_in_eval_mode, train_called_to_evaluate)
