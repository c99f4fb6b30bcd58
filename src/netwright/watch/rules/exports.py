"""Exports that answer otherwise than the model (P02): made in train mode, or frozen to one example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.looks import outputs_in
from netwright.watch.rules.replays import differ, on_cpu, private
from netwright.watch.trace import Event, Trace

SAME = 1e-3  # outputs that differ by less than this share of their spread differ by rounding


def frozen_exports(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """P02: an export that answers otherwise than the model, in eval mode, on one, three or all samples."""
    for event in trace.of("export"):
        module, made = event.facts.get("module"), event.facts.get("made")
        if not isinstance(module, nn.Module) or event.step != trace.steps:
            continue
        if not isinstance(made, nn.Module):
            continue
        try:
            found = _compare(trace, event, module, made)
        except NotCheckedError:
            continue
        if found is not None:
            yield found


def _compare(trace: Trace, event: Event, module: nn.Module, made: nn.Module) -> Finding | None:
    function = str(event.facts.get("function", "")).rpartition(".")[2] or "export"
    scripted = function == "script"
    if scripted and (not made.training or not event.facts.get("active")):
        return None  # what was scripted can still be put into eval mode
    copy = private(module)
    for inputs, what in _tries(trace, event, module):
        try:
            with torch.no_grad():
                right, again = _call(copy, inputs), _call(copy, inputs)
        except Exception:
            continue  # the model itself cannot take these
        if differ(again, right) > SAME:
            return None  # its answers are random anyhow
        try:
            with torch.no_grad():
                exported = _call(made, inputs)
        except Exception as error:
            return _exported(
                event,
                f"{what}: the model answers, what {function} made of it raises {type(error).__name__}",
                shape=True,
            )
        apart = differ(exported, right)
        if apart > SAME:
            return _told(event, function, inputs, what, exported, right)
    return None


def _told(event: Event, function: str, inputs: tuple[Any, ...], what: str, exported: Tensor, right: Tensor) -> Finding:
    active = [name for name in event.facts.get("active") or () if name]
    gap = "answers of another shape" if exported.shape != right.shape else (
        f"answers that differ by up to {float((exported - right).abs().max()):.3g} (they spread by "
        f"{float(right.float().std()) if right.numel() > 1 else 0:.3g})"
    )  # fmt: skip
    text = f"{what}: what {function} made gives {gap} from the model in eval mode"
    if active and event.facts.get("train"):
        text += f"; {', '.join(f'`{name}`' for name in active[:3])} were in train mode when it was made"
        return _exported(event, text, shape=False)
    shapes = [tuple(one.shape) for one in event.facts.get("inputs") or () if isinstance(one, Tensor)]
    return _exported(event, f"{text}; it was made with an example of shape {shapes[0] if shapes else '?'}", shape=True)


def _exported(event: Event, evidence: str, *, shape: bool) -> Finding:
    cure = (
        "torch.jit.script(model), or an export with dynamic shapes, for loops and sizes that depend on the input"
        if shape
        else "model.eval() before the export"
    )
    return finding("P02", evidence=evidence, cure=cure, place=event.place, where=None if event.place else "the export")


def _tries(trace: Trace, event: Event, module: nn.Module) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Inputs as the export's own, with 1 and 3 samples, and some that the model was really given."""
    given = tuple(on_cpu(one) for one in event.facts.get("inputs") or ())
    if given and all(isinstance(one, Tensor) and one.ndim for one in given):
        yield given, f"{len(given[0])} samples, the export's own example"
        for count in (1, 3):
            rows = [torch.cat([one] * count)[:count] if len(one) < count else one[:count] for one in given]
            if all(len(one) == len(given[0]) for one in given):
                yield tuple(rows), f"{count} sample{'s' if count > 1 else ''}"
    seen = next((one for one in trace.models if one.module is module), None)
    batches = [] if seen is None else [*seen.eval_batches[-1:], *seen.batches[:1]]
    for batch in batches:
        if batch.args and not batch.kwargs and all(isinstance(one, Tensor) for one in batch.args):
            yield (
                on_cpu(batch.args),
                f"{batch.rows} samples of the script's own data, of shape {tuple(batch.args[0].shape)}",
            )


def _call(module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    found = outputs_in(module(*(one.clone() if isinstance(one, Tensor) else one for one in inputs)))
    return found[0].detach()


RULES = (frozen_exports,)
