"""Say who is to blame for an update that failed: the module, the operation, the samples.

Runs the same batch once more, slowly, with hooks. Called only when training cannot go on.
"""

from __future__ import annotations

import traceback

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import ask, call
from netwright.errors import ModelError, NetwrightError, NonFiniteError
from netwright.misfit import explain_failure
from netwright.session import Session
from netwright.step import backward, update
from netwright.tasks import Objective
from netwright.traces import own_line, own_trace

PHASES = ((Objective.__call__, "the loss"), (backward, "the backward pass"), (update, "the optimizer's step"))


def blame(session: Session, batch: Batch, error: Exception | None) -> NetwrightError:
    """Make the error for a failed update.

    Args:
        error: What the module raised; None where the loss was not finite.
    """
    if isinstance(error, NetwrightError):
        return error
    phase = "" if error is None else _phase(error)
    if error is not None and phase:
        line, message = own_line(error), str(error).strip().split("\n")[0].rstrip(".")
        return ModelError(
            where=f"{phase} of update {session.state.step}" + (f" at {line}" if line else ""),
            expected=f"{phase} without errors",
            got=f"{type(error).__name__}: {message}",
            cure=f"{own_trace(error)}\nThe forward pass went well; correct what comes after it.".lstrip("\n"),
        )
    if error is not None:
        with torch.no_grad():
            return explain_failure(
                error, session.model, batch.inputs, lambda inputs: call(session.binding, session.model, inputs)
            )
    return _not_finite(session, batch)


def _phase(error: Exception) -> str:
    """What was running when an update failed; empty for the forward pass."""
    running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    for function, phase in PHASES:
        if function.__code__ in running:
            return phase
    return ""


def _not_finite(session: Session, batch: Batch) -> NonFiniteError:
    step = session.state.step
    for field, value in batch.inputs.items():
        rows = _bad_rows(value)
        if len(rows):
            ids = batch.sample_ids[rows.cpu()].tolist()
            names = [session.data.train.name(index) for index in ids[:3]]
            return NonFiniteError(
                where=f"update {step}, input `{field}` of sample {', '.join(map(str, ids[:8]))} ({', '.join(names)})",
                expected="finite numbers",
                got=f"NaN or infinity in {len(ids)} of {len(batch)} samples",
                cure="Mend or leave out these samples, or skip such batches with --on-nonfinite skip.",
            )
    layer, rows = _first_bad_layer(session, batch)
    ids = batch.sample_ids[rows.cpu()].tolist() if len(rows) else []
    at = f"the output of {layer}" if layer else "the loss itself; all layers' outputs are finite"
    return NonFiniteError(
        where=f"update {step}",
        expected="a finite loss",
        got=f"NaN or infinity, first in {at}" + (f", for samples {', '.join(map(str, ids[:8]))}" if ids else ""),
        cure="Lower --lr, or clip with --max-grad-norm 1, or go on past it with --on-nonfinite skip.",
    )


def _bad_rows(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return torch.empty(0, dtype=torch.int64)
    return (~torch.isfinite(value.reshape(len(value), -1))).any(1).nonzero().reshape(-1)


def _first_bad_layer(session: Session, batch: Batch) -> tuple[str, Tensor]:
    found: list[tuple[str, Tensor]] = []
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            del inputs
            if not found and isinstance(output, Tensor) and output.ndim and len(output) == len(batch):
                rows = _bad_rows(output)
                if len(rows):
                    found.append((f"{name} ({type(module).__name__})", rows))

        handles.append(module.register_forward_hook(hook))

    for name, module in session.model.named_modules():
        if name:
            watch(name, module)
    try:
        with torch.no_grad():
            outputs = ask(session.binding, session.model, batch.inputs)
    except (RuntimeError, ModelError):
        return "", torch.empty(0, dtype=torch.int64)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    several = outputs.values() if isinstance(outputs, dict) else (outputs,)
    rows = torch.cat([_bad_rows(one) for one in several])
    return (type(session.model).__name__, rows) if len(rows) else ("", rows)
