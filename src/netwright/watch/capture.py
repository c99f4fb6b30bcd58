"""Make of what was seen of one model a subject for the checks: its pristine copy, its batches, its loss, its data."""

from __future__ import annotations

import bisect
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import RandomSampler, TensorDataset

from netwright.binding import answer as answer_in
from netwright.checks.facts import Samples, optimizer_facts
from netwright.checks.roles import add_roles
from netwright.checks.subject import Budget, Inputs, NotCheckedError, Subject, copy_module
from netwright.watch.learned import is_fed, training_of
from netwright.watch.looks import plain
from netwright.watch.reading import add_splits
from netwright.watch.reading import dataset_of as dataset_of
from netwright.watch.trace import BatchSeen, LossSeen, ModelSeen, OptimizerSeen, Trace

MOST_POOL = 512
MOST_SAMPLES = 4_000
CLASS_LOSSES = frozenset({"CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss", "MultiMarginLoss"})
REAL_LOSSES = frozenset(
    {"MSELoss", "mse_loss", "L1Loss", "l1_loss", "SmoothL1Loss", "smooth_l1_loss", "HuberLoss", "huber_loss"}
)  # fmt: skip


def subject_of(trace: Trace, model: ModelSeen, budget: Budget) -> Subject:
    """The subject for one model that was trained.

    Raises:
        NotCheckedError: No batch was kept, or the module cannot be copied.
    """
    batches = model.learned_from()
    if not batches:
        raise NotCheckedError("no training batch of it was kept")
    first = batches[0]
    names = names_of(model.module, first)
    tensors = tensor_arguments(first, names)
    if not tensors:
        raise NotCheckedError("it was called with no tensor of a batch")
    pristine = model.pristine
    if pristine is None:
        pristine = copy_module(model.module)
    pristine = pristine.to("cpu")
    loss = next((one for one in first.losses if one.model == model.number), None)
    pool, targets = pooled(batches, names, loss)
    subject = Subject(
        model=pristine,
        pool=pool,
        pool_targets=targets,
        caller=caller_for(first, names),
        find=lambda returned: answer_in(returned),
        budget=budget,
        original=model.module,
        name=model.name,
        sources=trace.sources,
    )
    subject.sources.add_classes_of(model.module)
    subject.cache["rows"] = first.rows
    subject.cache["beside_another"] = _beside_another(trace, model)
    subject.cache["fed"] = any(is_fed(trace, model, one) for one in batches[:8])
    subject.cache["loss_seen"] = None if loss is None else (tensor_arguments(first, names), first.output, loss)
    subject.cache["rows_are_samples"] = _rows_are_samples(trace, first, pool)
    sampler = getattr(trace.loaders[first.loader].loader, "sampler", None) if first.loader >= 0 else None
    subject.cache["shuffled"] = isinstance(sampler, RandomSampler)
    try:
        subject.trained = copy_module(model.module).to("cpu")
    except NotCheckedError:
        subject.trained = None
    subject.cache["training"] = training_of(trace, model)
    subject.cache["loss_ops_seen"] = tuple(first.ops)
    total = next((one.loss for one in trace.backwards if one.event > first.event), None)
    if not _add_function(subject, first, total):
        _add_loss(subject, first, loss, total)
    _add_optimizer(subject, trace, model)
    add_roles(subject, tensors)
    _add_splits(subject, trace, model, names)
    return subject


def _rows_are_samples(trace: Trace, seen: BatchSeen, pool: Inputs) -> bool | None:
    """Whether the first axis of the inputs counts what the loader puts together; None where that cannot be told."""
    size = getattr(trace.loaders[seen.loader].loader, "batch_size", None) if seen.loader >= 0 else None
    second = any(value.ndim > 1 and value.shape[1] == size for value in pool.values())
    if not isinstance(size, int) or size == 1 == seen.rows or (size == seen.rows and second):
        return None
    if size == seen.rows:
        return True
    return False if size == 1 or second else None


def _beside_another(trace: Trace, model: ModelSeen) -> bool:
    """Whether another model is trained on the very same batches of the loader."""
    own = {one.turn for one in model.batches if one.loader >= 0}
    others = (one for one in trace.trained() if one is not model)
    return any(len(own & {one.turn for one in other.batches}) > len(own) / 2 for other in others) if own else False


def names_of(module: nn.Module, seen: BatchSeen) -> list[str]:
    """A name for each positional argument: its parameter's."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return [names[at] if at < len(names) else f"input{at}" for at in range(len(seen.args))]


def tensor_arguments(seen: BatchSeen, names: list[str]) -> Inputs:
    """The tensors of a call that have the batch's rows, by name."""
    pairs = [*zip(names, seen.args, strict=False), *seen.kwargs.items()]
    return {
        name: value.cpu()
        for name, value in pairs
        if isinstance(value, Tensor) and plain(value) and value.ndim and len(value) == seen.rows
    }


def caller_for(seen: BatchSeen, names: list[str]) -> Callable[[nn.Module, Inputs], Any]:
    """Call as the script did, with other tensors in the place of those of the batch."""
    args, kwargs = seen.args, seen.kwargs

    def call(module: nn.Module, inputs: Inputs) -> Any:
        given = [inputs.get(name, _on_cpu(value)) for name, value in zip(names, args, strict=False)]
        return module(*given, **{name: inputs.get(name, _on_cpu(value)) for name, value in kwargs.items()})

    return call


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def pooled(batches: list[BatchSeen], names: list[str], loss: LossSeen | None) -> tuple[Inputs, Any]:
    """Inputs and targets of the first batches that have the same shapes, end to end."""
    kept: list[Inputs] = []
    wanted: list[Any] = []
    count = 0
    for one in batches:
        inputs = tensor_arguments(one, names)
        shapes = {name: value.shape[1:] for name, value in inputs.items()}
        if kept and shapes != {name: value.shape[1:] for name, value in kept[0].items()}:
            continue
        targets = targets_of(one, loss)
        if kept and (targets is None) != (wanted[0] is None):
            continue
        kept.append(inputs)
        wanted.append(targets)
        count += one.rows
        if count >= MOST_POOL:
            break
    pool = {name: torch.cat([one[name] for one in kept]) for name in kept[0]}
    try:
        targets = torch.cat(wanted) if wanted and isinstance(wanted[0], Tensor) else None
    except RuntimeError:
        targets = None
    if targets is not None and len(targets) != len(next(iter(pool.values()))):
        targets = None
    return pool, targets


def targets_of(seen: BatchSeen, loss: LossSeen | None) -> Any:
    """The targets of a batch, with as many rows as it has: those given to the loss, else what the loader gave."""
    own = next((one for one in seen.losses if loss is None or one.name == loss.name), None)
    if own is not None and isinstance(own.target, Tensor) and not own.swapped:
        target = own.target.cpu()
        if target.ndim and len(target) == seen.rows:
            return target
        if target.ndim and seen.rows and len(target) % seen.rows == 0:  # positions laid end to end
            return target.reshape(seen.rows, -1, *target.shape[1:])
    if own is not None and own.swapped and own.input.ndim and len(own.input) == seen.rows:
        return own.input.cpu()
    return None if seen.targets is None else seen.targets.cpu()


def _add_function(subject: Subject, seen: BatchSeen, total: float | None) -> bool:
    """Take the person's own function for the loss, where calling it again gives the loss that was gone back from."""
    held = seen.function
    if held is None or total is None:
        return False
    try:
        again = held.function(*held.args)
        value = float(again) if isinstance(again, Tensor) and again.numel() == 1 else math.nan
    except Exception:
        return False
    if not math.isclose(value, total, rel_tol=1e-3, abs_tol=1e-6):
        return False

    def objective(found: Any, inputs: Inputs, targets: Any) -> Tensor:
        del inputs
        args = list(held.args)
        args[held.output], args[held.target] = found, targets
        loss: Tensor = held.function(*args)
        return loss

    target = held.args[held.target]
    if subject.pool_targets is None or subject.pool_targets.shape[1:] != target.shape[1:]:
        return False
    subject.cache["loss_place"] = held.place
    subject.objective, subject.loss_fn, subject.loss_name, subject.exact = objective, held.function, held.name, True
    inner = next((one for one in seen.losses if not one.inside), None)
    if inner is not None:
        _set_task(subject, inner, seen.rows)
    return True


def _add_loss(subject: Subject, seen: BatchSeen, loss: LossSeen | None, total: float | None) -> None:
    if loss is None:
        return
    subject.loss_name = loss.name
    subject.cache["loss_place"] = loss.place
    subject.loss_fn = loss.module if loss.module is not None else loss.function
    others = [one for one in seen.losses if one is not loss and not one.inside]
    same = total is None or loss.value is None or math.isclose(loss.value, total, rel_tol=1e-3, abs_tol=1e-6)
    subject.exact = not others and loss.direct and same
    given, rows = loss.input, seen.rows
    if loss.inside or not isinstance(given, Tensor) or not isinstance(loss.target, Tensor):
        return
    output_shape = tuple(seen.output.shape) if isinstance(seen.output, Tensor) else None
    target_shape = tuple(loss.target.shape)

    # What a script divides its loss by, as the steps of an accumulation, belongs to what is trained on.
    scale = total / loss.value if not others and total and loss.value and 1e-4 < total / loss.value < 0.999 else 1.0

    def objective(found: Any, inputs: Inputs, targets: Any) -> Tensor:
        del inputs
        outputs = found
        if output_shape is not None and tuple(given.shape) != output_shape and not loss.swapped:
            outputs = _reshaped(found, given, rows)
        wanted = targets
        if target_shape[:1] != (rows,) and isinstance(targets, Tensor) and targets.ndim > 1:
            wanted = targets.reshape(-1, *target_shape[1:])
        pair = (wanted, outputs) if loss.swapped else (outputs, wanted)
        value: Tensor = loss.function(*pair)
        return (value if value.ndim == 0 else value.mean()) * scale

    subject.objective = objective
    _set_task(subject, loss, rows)


def _set_task(subject: Subject, loss: LossSeen, rows: int) -> None:
    """What kind of answer a loss of torch is for."""
    given = loss.input
    if not isinstance(loss.target, Tensor):
        return
    if loss.name in CLASS_LOSSES and not loss.target.is_floating_point():
        subject.task = "classification" if given.ndim == 2 and len(given) == rows else "tagging"
        subject.num_classes = given.shape[1] if given.ndim > 1 else None
    elif loss.name in REAL_LOSSES:
        subject.task = "regression"
    elif "binary" in loss.name or loss.name.startswith("BCE"):
        subject.task = "classification" if given.ndim == 1 or given.shape[-1] == 1 else "multi_label"
        subject.num_classes = 2 if subject.task == "classification" else given.shape[-1]


def _reshaped(found: Tensor, given: Tensor, rows: int) -> Tensor:
    """The answer as it was brought before the loss: squeezed, flattened, transposed or cut, as its shape tells."""
    if found.ndim == given.ndim + 1 and found.shape[-1] == 1 and len(given) == rows:
        return found.squeeze(-1)
    if given.ndim == found.ndim - 1 and given.shape[-1] == found.shape[-1] and len(given) != rows:
        return found.reshape(-1, found.shape[-1])
    if given.ndim == found.ndim == 3 and given.shape[1] == found.shape[2]:
        return found.transpose(1, 2)
    if given.ndim == 1 and len(given) == rows and found.ndim == 2:
        return found[:, 0]
    return found.reshape(len(found) * given.numel() // max(1, rows * given[0].numel()), *given.shape[1:])


def _add_optimizer(subject: Subject, trace: Trace, model: ModelSeen) -> None:
    own = {id(parameter) for parameter in model.module.parameters()}
    held: OptimizerSeen | None = None
    for one in trace.optimizers:
        if any(id(parameter) in own for group in one.optimizer.param_groups for parameter in group["params"]):
            held = one
            break
    if held is None:
        return
    optimizer, groups = held.optimizer, held.groups
    subject.optimizer = optimizer_facts(optimizer, model.module)
    subject.total_steps = held.steps
    name_of = {id(parameter): name for name, parameter in model.module.named_parameters()}
    layout = [[name_of.get(id(one)) for one in group["params"]] for group in optimizer.param_groups]
    kind = type(optimizer)

    def make(copy: nn.Module, factor: float) -> torch.optim.Optimizer:
        own_parameters = dict(copy.named_parameters())
        made = []
        for at, names in enumerate(layout):
            options = dict(groups[at]) if at < len(groups) else dict(optimizer.param_groups[at])
            options = {key: value for key, value in options.items() if key not in ("initial_lr", "params")}
            options["lr"] = float(options.get("lr", 1e-3)) * factor
            made.append({"params": [own_parameters[name] for name in names if name in own_parameters], **options})
        made = [group for group in made if group["params"]]
        if not made:
            raise NotCheckedError("the optimizer holds none of the module's parameters")
        try:
            return kind(made, lr=made[0]["lr"])  # type: ignore[call-arg]
        except Exception as error:
            raise NotCheckedError(f"an optimizer like {kind.__name__} cannot be made: {error}") from error

    subject.make_optimizer = make
    subject.schedule = _schedule_seen(held)
    loader = next((one for one in trace.loaders if one.used), None)
    if loader is not None and loader.batches:
        subject.steps_per_epoch = max(loader.batches)
        subject.batch_size = loader.sizes[0] if loader.sizes else 0


def _schedule_seen(held: OptimizerSeen) -> Callable[[int], float] | None:
    """The factor of the rate at each step, as it was; None where it never changed."""
    if len(held.rates) < 2 or not held.rates[0][1]:
        return None
    steps, first = [step for step, _ in held.rates], held.rates[0][1]

    def factor(step: int) -> float:
        return held.rates[max(0, bisect.bisect_right(steps, step) - 1)][1] / first

    return factor


def _add_splits(subject: Subject, trace: Trace, model: ModelSeen, names: list[str]) -> None:
    add_splits(
        subject.splits,
        subject.cache,
        trace,
        model,
        lambda batches: samples_of(batches, names),
        lambda batch: tensor_arguments(batch, names),
        lambda batch: targets_of(batch, None),
    )
    loader = next((one for one in trace.loaders if one.used), None)
    if loader is not None:
        subject.cache["sampler"] = type(getattr(loader.loader, "sampler", None)).__name__
        if loader.labels and "train" in subject.splits:
            subject.splits["train"] = _with_order(subject.splits["train"], np.asarray(loader.labels))


def _with_order(samples: Samples, order: NDArray[Any]) -> Samples:
    from dataclasses import replace

    return replace(samples, order=order)


def samples_of(batches: list[BatchSeen], names: list[str]) -> Samples | None:
    """Samples as the module got them, from batches of one shape."""
    kept: list[Inputs] = []
    targets: list[Any] = []
    count = 0
    for one in batches:
        inputs = tensor_arguments(one, names)
        if not inputs or (kept and any(kept[0].get(n, v[:0]).shape[1:] != v.shape[1:] for n, v in inputs.items())):
            continue
        kept.append(inputs)
        targets.append(targets_of(one, None))
        count += one.rows
        if count >= MOST_SAMPLES:
            break
    if not kept:
        return None
    arrays = {name: torch.cat([one[name] for one in kept]).numpy() for name in kept[0]}
    wanted = None
    if all(isinstance(one, Tensor) for one in targets):
        try:
            wanted = torch.cat(targets).numpy()
        except RuntimeError:
            wanted = None
    size = len(next(iter(arrays.values())))
    return Samples(
        inputs=arrays,
        targets=wanted if wanted is None or len(wanted) == size else None,
        count=size,
        ids=np.arange(size),
    )


def is_in_memory(dataset: Any) -> bool:
    """Whether reading an item costs nothing and has no side effect."""
    return isinstance(dataset, TensorDataset)
