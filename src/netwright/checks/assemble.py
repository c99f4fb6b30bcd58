"""Make of a module, its data and its recipe a subject for the checks; and check it.

report = check(Net(), load("mnist"), settings=Settings(lr=0.001))
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, call, found_in
from netwright.checks.asked import SECONDS
from netwright.checks.catalogue import CODES, finding, in_order
from netwright.checks.every import CHECKS
from netwright.checks.facts import Samples, optimizer_facts
from netwright.checks.overridden import replaced_in
from netwright.checks.refused import code_of, fits_plainly
from netwright.checks.roles import add_roles
from netwright.checks.runner import Check, TimeUpError, run_checks, silence, time_limit, untouched
from netwright.checks.sourcecode import Sources, class_place
from netwright.checks.subject import Budget, Inputs, NotCheckedError, Subject, copy_module
from netwright.data.batches import train_batches
from netwright.data.dataset import Data
from netwright.data.order import permutation
from netwright.data.sources import LoaderSource, TensorSource
from netwright.errors import NetwrightError
from netwright.given import Given
from netwright.layout import plain_layout
from netwright.models import load_model
from netwright.optim import COMPILER, compiler_spared
from netwright.records import CheckReport, Settings
from netwright.session import Session, prepare
from netwright.tasks.objective import LogOfProbabilities

LOADING_S = 10.0  # which torch may take to load its compiler, where a module needs it
FEW = 7
MOST_POOL = 256
MOST_SAMPLES = 2_000
MOST_SAMPLE_BYTES = 256_000_000


def check(
    model: nn.Module,
    data: Data,
    *,
    given: Given | None = None,
    settings: Settings | None = None,
    skip: frozenset[str] = frozenset(),
    seconds: float = SECONDS,
    name: str | None = None,
    checks: tuple[Check, ...] = CHECKS,
) -> CheckReport:
    """Find the silent faults of a module with its data and its recipe; nothing of the person's is changed.

    Args:
        model: Any ``nn.Module``; copied, and never called itself.
        data: From ``load``.
        given: Python objects for loss, optimizer, schedule or step.
        skip: Codes that are not told.
        seconds: For all checks together; what is not reached is said.
        name: What to call it.
        checks: To run, in this order.

    Returns:
        The findings, what to mend first ahead, and what could not be looked for.
    """
    settings, given = settings or Settings(), given or Given()
    budget = Budget(seconds)
    name = name or f"{type(model).__name__} on {data.spec.name}"
    sources = Sources()
    sources.add_classes_of(model)
    with untouched(model), compiler_spared():
        loaded = COMPILER in sys.modules
        try:
            with time_limit(seconds if loaded else seconds + LOADING_S):
                copied, own = copied_with(model, given)
                session = prepare(copied, data, settings, own)
            if not loaded and COMPILER in sys.modules:  # a forward had it, as one with checkpoints of its activations
                budget = Budget(seconds)
        except NotCheckedError as reason:
            return CheckReport(subject=name, not_checked=(f"everything: {reason}",))
        except NetwrightError as error:
            if fits_plainly(model, data.spec, _pool(data, FEW), given.loss):
                why = f"everything: netwright cannot train this itself ({error.where}: {error.got}); "
                what = "a script of your own that can is checked by `netwright watch`"
                return CheckReport(subject=name, not_checked=(why + what,))
            return _refused(model, error, name, sources, skip, budget)
        except TypeError:
            told = list(replaced_in(model))  # a method as `eval(self, x, y)`, which cannot be called as torch calls it
            if not told:
                raise
            kept, silenced = silence(told, sources, skip)
            missed = ("the other checks: the module cannot be put in eval mode", *sources.misread(CODES))
            return CheckReport(subject=name, findings=tuple(in_order(kept)), not_checked=missed, skipped=silenced)
        except TimeUpError:
            late = f"everything: one look at the module took longer than {seconds:.0f} s"
            return CheckReport(subject=name, not_checked=(late,), seconds=seconds)
        subject = subject_of(session, given=given, budget=budget, original=model, name=name)
        return run_checks(subject, checks, skip=skip)


def copied_with(model: nn.Module, given: Given) -> tuple[nn.Module, Given]:
    """A copy of the module, with its optimizer, which holds parameters of it, copied along.

    Raises:
        NotCheckedError: The module cannot be copied.
    """
    if given.optimizer is None and given.loss is None:
        return copy_module(model), given
    try:
        together = copy.deepcopy(
            (model, given.optimizer if isinstance(given.optimizer, torch.optim.Optimizer) else None)
        )
    except Exception:
        return copy_module(model), given
    return together[0], replace(given, optimizer=together[1] if together[1] is not None else given.optimizer)


def _refused(
    model: nn.Module, error: NetwrightError, name: str, sources: Sources, skip: frozenset[str], budget: Budget
) -> CheckReport:
    """What keeps a module from being trained at all is a finding as well."""
    told = finding(
        code_of(model, error),
        severity="error",
        evidence=f"expected {error.expected}, got {error.got}",
        cure=error.cure,
        where=error.where,
        place=class_place(type(model)),
    )
    kept, silenced = silence([told], sources, skip)
    return CheckReport(
        subject=name,
        findings=tuple(in_order(kept)),
        not_checked=("the other checks: the module cannot be trained as it is", *sources.misread(CODES)),
        skipped=silenced,
        seconds=round(budget.seconds - budget.left(), 3),
    )


def subject_of(session: Session, *, given: Given, budget: Budget, original: nn.Module, name: str) -> Subject:
    """The subject for a run that was made ready; the session's module is copied."""
    state, data, spec = session.state, session.data, session.data.spec
    device = torch.device("cpu")
    model = copy_module(session.model).to(device)
    plain_layout(model)  # as the person calls it
    batch = _pool(data)
    if spec.task == "forecasting":
        batch = _scaled(batch)
    recipe = state.recipe
    binding, objective = session.binding, recipe.objective
    fields = (*binding.positional, *(field for _, field in binding.keywords))
    lost = {name: value for name, value in batch.inputs.items() if name in fields or not fields}

    def caller(module: nn.Module, inputs: Inputs) -> Any:
        return call(binding, module, {**batch.inputs, **inputs} if len(inputs) < len(batch.inputs) else inputs)

    def loss_of(found: Any, inputs: Inputs, targets: Any) -> Tensor:
        ids = torch.arange(len(next(iter(inputs.values()))))
        if spec.task == "forecasting":
            inputs = inputs | {name: batch.inputs[name][: len(ids)] for name in ("loc", "scale")}  # all alike
        return objective(_whole(found, binding, inputs), Batch(inputs, targets, ids))

    subject = Subject(
        model=model,
        pool=lost or batch.inputs,
        pool_targets=batch.targets,
        caller=caller,
        find=lambda returned: found_in(binding, returned),
        budget=budget,
        original=original,
        name=name,
        kind=spec.kind,
        task=spec.task if ":" not in spec.task else None,
        class_names=spec.classes,
        num_classes=None if spec.classes is None else len(spec.classes),
    )
    subject.sources.add_classes_of(session.model)
    if given.step is None and binding.frames is None:
        subject.objective = loss_of
        subject.loss_fn, subject.loss_name = objective.loss_fn, objective.name
        if isinstance(objective.loss_fn, LogOfProbabilities):
            subject.loss_name = "NLLLoss of log(output)"
    subject.optimizer = optimizer_facts(state.optimizer, session.model)
    subject.make_optimizer = _maker(state.optimizer, session.model)
    subject.max_grad_norm = recipe.max_grad_norm
    subject.total_steps, subject.steps_per_epoch = session.total_steps, session.steps_per_epoch
    subject.batch_size, subject.schedule = session.batch_size, recipe.schedule
    subject.cache["asked"] = session.settings.asked() | given.names()
    subject.cache["plan"] = session.plan
    subject.cache["spec"] = spec
    if spec.preprocess.text is not None or spec.preprocess.words is not None:
        subject.pad_id = 0
    add_roles(subject, subject.pool)
    subject.splits = {split: samples_of(data, split) for split in spec.splits}
    subject.cache["whole"] = {split for split, samples in subject.splits.items() if len(samples) == samples.count}
    sources = {split: data.split(split) for split in spec.splits}
    subject.cache["datasets"] = {name: one.dataset for name, one in sources.items() if hasattr(one, "dataset")}
    subject.cache["data"] = data
    return subject


def _scaled(batch: Batch) -> Batch:
    """Windows with their targets as the loss sees them, so that each sample is whole without its scale.

    Of windows whose future is known in full, where there are enough.
    """
    loc, scale = batch.inputs["loc"], batch.inputs["scale"]
    targets = batch.target
    shape = targets.shape
    targets = ((targets.reshape(len(targets), -1, loc.shape[1]) - loc[:, None]) / scale[:, None]).reshape(shape)
    known = ~targets.isnan().flatten(1).any(1)
    kept = known if int(known.sum()) >= min(8, len(known)) else torch.ones_like(known)
    inputs = batch.inputs | {"loc": torch.zeros_like(loc), "scale": torch.ones_like(scale)}
    return Batch({name: value[kept] for name, value in inputs.items()}, targets[kept], batch.sample_ids[kept])


def _whole(found: Any, binding: Binding, inputs: Inputs) -> Any:
    del binding
    rows = len(next(iter(inputs.values())))
    if isinstance(found, Tensor) and rows == 1 and found.shape[:1] != (1,):
        return found.unsqueeze(0)
    return found


def _pool(data: Data, most: int = MOST_POOL) -> Batch:
    """Up to some hundred training samples in random order; of a person's own loader its first ones."""
    size = max(2, min(most, len(data.train)))
    if isinstance(data.train, LoaderSource):
        inputs, targets = next(iter(data.train.in_order()))
        from netwright.data.batches import _typed

        return Batch(inputs, _typed(targets, data), torch.arange(len(next(iter(inputs.values())))))
    largest = max((int(np.prod([abs(one) for one in field.shape] or [1])) for field in data.spec.inputs), default=1)
    size = max(2, min(size, 32_000_000 // max(1, largest)))
    return next(iter(train_batches(data, batch_size=size, seed=0, epoch=0, augment=(), workers=0)))


def _maker(optimizer: torch.optim.Optimizer, model: nn.Module) -> Callable[[nn.Module, float], torch.optim.Optimizer]:
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    layout = [
        ([name_of.get(id(one)) for one in group["params"]], {k: v for k, v in group.items() if k != "params"})
        for group in optimizer.param_groups
    ]
    kind = type(optimizer)

    def make(copied: nn.Module, factor: float) -> torch.optim.Optimizer:
        own = dict(copied.named_parameters())
        groups = [
            {"params": [own[name] for name in names if name in own], **options, "lr": float(options["lr"]) * factor}
            for names, options in layout
        ]
        groups = [group for group in groups if group["params"]]
        if not groups:
            raise NotCheckedError("the optimizer holds none of the module's parameters")
        try:
            return kind(groups, lr=groups[0]["lr"])  # type: ignore[call-arg]
        except Exception as error:
            raise NotCheckedError(f"an optimizer like {kind.__name__} cannot be made: {error}") from error

    return make


def samples_of(data: Data, split: str) -> Samples:
    """Up to some thousand samples of a split, drawn at random where there are more."""
    source = data.split(split)
    count = len(source)
    field_bytes = sum(4 * int(np.prod([abs(one) for one in field.shape] or [1])) for field in data.spec.inputs)
    most = max(2, min(MOST_SAMPLES, MOST_SAMPLE_BYTES // max(1, field_bytes)))
    if isinstance(source, LoaderSource) or not isinstance(source, TensorSource):
        most = min(most, 500)
    ids = np.arange(count) if count <= most else np.sort(permutation(count, seed=0, epoch=0)[:most])
    from netwright.data.batches import undisturbed
    from netwright.data.streams import StreamSource

    if isinstance(source, StreamSource):
        source = source.once()
        ids = ids[ids < len(source)]
    inputs, targets = undisturbed(lambda: source.gather(ids))
    arrays = {name: value.numpy() for name, value in inputs.items()}
    first = next(iter(targets.values())) if isinstance(targets, Mapping) else targets
    lengths = arrays.get("lengths")
    return Samples(
        inputs=arrays,
        targets=first.numpy(),
        count=count,
        ids=ids,
        names=tuple(source.name(int(index)) for index in ids),
        lengths=lengths,
        texts=_texts(source, ids),
    )


def _texts(source: Any, ids: NDArray[Any]) -> tuple[str, ...] | None:
    """The samples as they were written; of pairs both, one behind the other."""
    texts, seconds = getattr(source, "texts", None), getattr(source, "seconds", None)
    if texts is None:
        return None
    if seconds is None:
        return tuple(str(texts[int(index)]) for index in ids)
    return tuple(f"{texts[int(index)]}\n{seconds[int(index)]}" for index in ids)


def check_reference(reference: str, arguments: Mapping[str, Any], data: Data, **options: Any) -> CheckReport:
    """Check a module that is named, as ``net.py:Net``."""
    return check(load_model(reference, arguments), data, name=f"{reference} on {data.spec.name}", **options)
