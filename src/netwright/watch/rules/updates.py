"""Training that changes nothing (T05), or ends while it still learns fast (T12)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject, copy_module, set_mode
from netwright.records import Finding
from netwright.watch.learned import moved_names
from netwright.watch.rules.story import Story, called, commonest, models_of, reads_gradients, story_of, variable
from netwright.watch.trace import Event, ModelSeen, OptimizerSeen, Trace

AGAIN = 3
FEW_STEPS = 50  # steps below which training may be called short: usual is hundreds at least
STILL_FALLS = 0.97  # the last third's mean loss as a share of the middle third's
GAINS = 0.75  # the held-out loss after as many steps again, as a share of that before
AS_MUCH = 0.5  # or its fall in these steps, as a share of its fall till then
MOST_MORE = 100  # steps that are tried on a copy


def no_step(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T05: backward passes, but no step ever."""
    story = story_of(trace)
    for model in trace.models:
        reached = [event for event in story.backwards.values() if model.number in event.facts.get("models", ())]
        own = [one for one in trace.optimizers if any(each is model for each in models_of(trace, one.number))]
        if len(reached) < AGAIN or any(one.steps for one in own) or not _untouched(model):
            continue
        if all(event.facts["inputs"] for event in reached) or _for_inputs(trace, reached):
            continue
        skipped = [event for event in trace.of("scaler_step") if event.who in {one.number for one in own}]
        if skipped:
            yield _skipped(model, skipped, len(reached))
        elif own:
            yield _never_stepped(trace, model, own[0], reached)
        elif not trace.optimizers and _epochs(trace) >= 2 and not reads_gradients(trace):
            yield finding(
                "T05",
                place=commonest(event.place for event in reached),
                evidence=f"{len(reached)} backward passes and no optimizer: the weights of {model.name} are bit for "
                "bit those it was made with.",
                cure="optimizer = torch.optim.Adam(model.parameters()), and optimizer.step() after each backward().",
            )


def _untouched(model: ModelSeen) -> bool:
    """Whether all weights are bit for bit what they were before the first training pass."""
    return model.pristine is not None and not moved_names(model)


def _for_inputs(trace: Trace, reached: list[Event]) -> bool:
    """Whether the backward passes reach a tensor that is no weight, as an input whose gradient is wanted."""
    lines = {event.place for event in reached}
    return any(seen.unregistered for seen in trace.backwards if seen.place in lines)


def _epochs(trace: Trace) -> int:
    return max((one.passes for one in trace.loaders if one.used), default=0)


def _skipped(model: ModelSeen, skipped: list[Event], count: int) -> Finding:
    scales = [event.facts["scale"] for event in skipped if "scale" in event.facts]
    went = f" Its scale went from {scales[0]:.3g} to {scales[-1]:.3g}." if scales else ""
    return finding(
        "T05",
        place=commonest(event.place for event in skipped),
        evidence=(
            f"{len(skipped)} calls of scaler.step() after {count} backward passes made no step: a gradient was "
            f"infinite or NaN each time.{went} The weights of {model.name} have not changed."
        ),
        cure="Look for the layer that overflows float16 or gives NaN, or use bfloat16.",
    )


def _never_stepped(trace: Trace, model: ModelSeen, optimizer: OptimizerSeen, reached: list[Event]) -> Finding:
    place = commonest(event.place for event in reached)
    bare = _bare(trace, "step")
    name = _name_of(trace, optimizer) or "optimizer"
    said = f" Line {bare.line} names step without calling it." if bare is not None else ""
    return finding(
        "T05",
        place=bare or place,
        evidence=(
            f"{len(reached)} backward passes and not one step of the {type(optimizer.optimizer).__name__}: all weights "
            f"of {model.name} are bit for bit those it began with.{_losses(reached)}{said}"
        ),
        cure=f"{name}.step()  # after loss.backward()",
    )


def _name_of(trace: Trace, optimizer: OptimizerSeen) -> str:
    places = [event.place for event in trace.of("zero") if event.who == optimizer.number]
    return variable(commonest(places), "zero_grad", "")


def _losses(reached: list[Event]) -> str:
    values = [loss for event in reached if (loss := loss_in(event)) is not None]
    if len(values) < 2:
        return ""
    part = max(1, len(values) // 5)
    first, last = sum(values[:part]) / part, sum(values[-part:]) / part
    return f" The loss was {first:.4g} in the first batches and {last:.4g} in the last."


def loss_in(event: Event) -> float | None:
    """The loss of a backward pass."""
    value = event.facts.get("loss")
    return float(value) if isinstance(value, (int, float, Tensor)) else None


def _bare(trace: Trace, method: str) -> Place | None:
    """A statement that names a method and does not call it: ``optimizer.step``."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Attribute) and node.value.attr == method:
                return Place(file, node.lineno)
    return None


def steps_change_nothing(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T05: steps that find no gradient since there is no backward pass, or that are of length 0."""
    story = story_of(trace)
    for number, steps in story.steps.items():
        optimizer = trace.optimizers[number]
        models = models_of(trace, number)
        if len(steps) < AGAIN or not models or not all(_untouched(model) for model in models):
            continue
        if any(event.kind == "load" and event.step > 0 for event in trace.events):
            continue  # the first weights may have been put back
        held = [one for group in optimizer.optimizer.param_groups for one in group["params"]]
        if not any(one.requires_grad for one in held):
            continue  # O05 tells of it
        with_gradient = sum(bool(event.facts["held"]) for _, event in steps)
        if not with_gradient and not any(number in one.facts.get("optimizers", ()) for one in story.backwards.values()):
            yield _no_gradient(trace, story, optimizer, models, len(steps))
        elif with_gradient > 0.5 * len(steps):
            yield from _no_length(trace, optimizer, models, steps, held)


def _no_gradient(trace: Trace, story: Story, optimizer: OptimizerSeen, models: list[ModelSeen], steps: int) -> Finding:
    bare = _bare(trace, "backward")
    name = " and ".join(dict.fromkeys(model.name for model in models))
    if trace.num_backwards:
        lines = commonest(event.place for event in story.backwards.values())
        why = f"{trace.num_backwards} backward passes reached none of its weights: the graph of the loss is cut"
        cure = "Keep the loss as it is computed: no .item(), .detach(), .data or torch.tensor(loss) before backward()."
    else:
        lines, why, cure = bare, "backward() was never called", "loss.backward()  # before optimizer.step()"
    said = f" Line {bare.line} names backward without calling it." if bare is not None else ""
    return finding(
        "T05",
        place=lines or commonest(event.place for event in trace.of("step") if event.who == optimizer.number),
        evidence=(
            f"{steps} steps of {called(trace, optimizer)} found no gradient: {why}. All weights of {name} are bit for "
            f"bit those it began with.{said}"
        ),
        cure=cure,
    )


def _no_length(
    trace: Trace,
    optimizer: OptimizerSeen,
    models: list[ModelSeen],
    steps: list[tuple[int, Event]],
    held: list[Tensor],
) -> Iterator[Finding]:
    norms = [event.facts["norm"] for _, event in steps if event.facts.get("norm")]
    if not norms:
        return
    rates = [rate for _, rate in optimizer.rates]
    low = {one.dtype for one in held} & {torch.bfloat16, torch.float16}
    name = " and ".join(dict.fromkeys(model.name for model in models))
    if max(rates, default=0.0) == 0.0:
        why, cure = "the learning rate is 0", "Give the optimizer a learning rate above 0."
    elif low:
        why = f"at a learning rate of {max(rates):.3g} an update is below the precision of {low.pop()}"
        cure = "Keep the weights in float32 and use autocast for the forward pass."
    else:
        return
    yield finding(
        "T05",
        place=optimizer.place,
        evidence=(
            f"{len(steps)} steps of {called(trace, optimizer)} with gradients of norm up to {max(norms):.3g} changed "
            f"no weight of {name}: {why}."
        ),
        cure=cure,
    )


def copy_was_trained(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T05: a copy was trained and not looked at again; what is evaluated is the original, as it was."""
    forwards = list(enumerate(trace.events))
    for trained in trace.trained():
        last = max((at for at, event in forwards if event.kind == "backward" and trained.number in
                    event.facts.get("models", ())), default=-1)  # fmt: skip
        later = {event.who for _, event in forwards[last + 1 :] if event.kind == "forward"}
        if last < 0 or trained.number in later or trained.pristine is None or _untouched(trained):
            continue
        if any(event.kind in ("save", "state_dict", "export") and event.who in (trained.number, -1)
               for _, event in forwards[last:]):  # fmt: skip
            continue
        for other in trace.models:
            if other is trained or other.number not in later or other.backwards or not _same(other, trained.pristine):
                continue
            yield finding(
                "T05",
                place=other.place,
                where=None if other.place else "the evaluation",
                evidence=(
                    f"The {trained.name} that {trained.backwards} backward passes trained is never called again; after "
                    f"the training another {other.name} is evaluated, whose weights are bit for bit those that the "
                    "trained one began with: it was trained as a copy."
                ),
                cure="Return the trained model and evaluate that: model = train(model, …).",
            )
            return


def _same(model: ModelSeen, pristine: nn.Module) -> bool:
    """Whether a module's weights are those of another."""
    own, others = list(model.module.named_parameters()), dict(pristine.named_parameters())
    return (
        bool(own)
        and len(own) == len(others)
        and all(
            name in others and others[name].shape == one.shape and torch.equal(one.detach().cpu(), others[name].cpu())
            for name, one in own
        )
    )


@dataclass(frozen=True, slots=True)
class More:
    """A held-out loss at the start, at the end, and after further steps on a copy."""

    start: float
    before: float
    after: float
    steps: int
    on: str


def too_short(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T12: few steps, a loss that still falls, and a copy that learns much more in as many steps again."""
    story = story_of(trace)
    for number, steps in story.steps.items():
        models = models_of(trace, number)
        if len(steps) >= FEW_STEPS or len(steps) < AGAIN or len(models) != 1 or models[0].number not in subjects:
            continue
        used = sorted(one for one, by in story.used.items() if any(who == number for _, who in by))
        seen = [loss_in(story.backwards[one]) for one in used if one in story.backwards]
        losses = [loss for loss in seen if loss is not None]
        third = len(losses) // 3
        if len(used) > 2 * len(steps) or third < 1:  # a closure that is called many times a step
            continue
        middle, end = sum(losses[third : 2 * third]) / third, sum(losses[-third:]) / third
        if not end < STILL_FALLS * middle:
            continue
        try:
            more = _go_on(subjects[models[0].number], len(steps))
        except (NotCheckedError, RuntimeError):
            continue
        gain, fell = more.before - more.after, more.start - more.before
        if more.after < GAINS * more.before or gain > max(AS_MUCH * fell, 0.05 * more.before):
            yield finding(
                "T12",
                where="the whole training",
                evidence=(
                    f"{len(steps)} steps in all, and the loss still fell from {middle:.3g} to {end:.3g} in the last "
                    f"third. With {more.steps} more on a copy the loss on {more.on} went from {more.before:.3g} to "
                    f"{more.after:.3g}."
                ),
                cure="Train longer: more epochs, or smaller batches.",
            )


def _go_on(subject: Subject, steps: int) -> More:
    """Train the trained copy on, on batches of the pool.

    Raises:
        NotCheckedError: It cannot be done.
    """
    if subject.trained is None or subject.pool_targets is None:
        raise NotCheckedError("the loss is not known")
    subject.need(1.0, "to train on")
    model = copy_module(subject.trained)
    inputs, targets, on = _held_out(subject)
    start = float(subject.loss(subject.fresh(), inputs, targets, grad=False))
    before = float(subject.loss(set_mode(model, train=False), inputs, targets, grad=False))
    optimizer = subject.optimizer_for(model)
    size = min(subject.batch_size or 32, subject.pool_size)
    generator = torch.Generator().manual_seed(0)
    set_mode(model, train=True)
    done = 0
    for _ in range(min(steps, MOST_MORE)):
        rows = torch.randperm(subject.pool_size, generator=generator)[:size]
        batch = {name: value[rows] for name, value in subject.pool.items()}
        loss = subject.loss(model, batch, subject.pool_targets[rows], seed=done)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += 1
        if subject.budget.left() < 2:
            break
    after = float(subject.loss(set_mode(model, train=False), inputs, targets, grad=False))
    return More(start, before, after, done, on)


def _held_out(subject: Subject) -> tuple[dict[str, Tensor], Tensor, str]:
    test = subject.splits.get("test")
    if test is not None and test.targets is not None and set(test.inputs) == set(subject.pool):
        inputs = {name: torch.as_tensor(value[:256]) for name, value in test.inputs.items()}
        return inputs, torch.as_tensor(test.targets[:256]), f"{min(256, len(test))} samples of the evaluation"
    inputs, targets = subject.rows(min(256, subject.pool_size))
    if not isinstance(targets, Tensor):
        raise NotCheckedError("the loss is not known")
    return inputs, targets, f"{min(256, subject.pool_size)} training samples"


RULES = (no_step, steps_change_nothing, copy_was_trained, too_short)
