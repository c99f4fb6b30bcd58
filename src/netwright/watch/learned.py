"""What a watched training did with the parameters of a model: which got gradients, were changed, loaded, called."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.checks.leaves import Training
from netwright.watch.trace import BatchSeen, ModelSeen, Trace


def training_of(trace: Trace, model: ModelSeen) -> Training:
    """What became of the parameters of one model in the whole run, by their names in it."""
    reached = reached_ids(trace)
    stepped = [seen.optimizer for seen in trace.optimizers if seen.steps]
    owned = frozenset(id(one) for optimizer in stepped for group in optimizer.param_groups for one in group["params"])
    loaded = loaded_ids(trace)
    names = [(name, one) for name, one in model.module.named_parameters() if not nn.parameter.is_lazy(one)]
    moved = moved_names(model)
    modules = {id(other.module) for other in trace.models if other is not model}
    return Training(
        learned=frozenset(name for name, one in names if id(one) in reached or one.grad is not None) | moved,
        moved=moved,
        loaded=frozenset(name for name, one in names if id(one) in loaded),
        owned=owned,
        called=frozenset(name for name, module in model.module.named_modules() if name and id(module) in modules),
        fed=is_fed(trace, model),
        second=next(trace.of("autograd_grad"), None) is not None,
    )


def is_fed(trace: Trace, model: ModelSeen, batch: BatchSeen | None = None) -> bool:
    """Whether a batch of a model, its first one where none is given, is what another model had just returned."""
    batch = batch or next((one for one in model.batches if one.args), None)
    if batch is None or not batch.args or not isinstance(batch.args[0], Tensor):
        return False
    outputs = [
        other.output for each in trace.models if each is not model for other in each.batches if other.turn == batch.turn
    ]
    given = batch.args[0]
    return any(isinstance(one, Tensor) and one.shape == given.shape and torch.equal(one, given) for one in outputs)


def reached_ids(trace: Trace) -> frozenset[int]:
    """Ids of the leaves that the backward passes reached that were looked at."""
    return frozenset().union(*(seen.reached for seen in trace.backwards))


def loaded_ids(trace: Trace) -> frozenset[int]:
    """Ids of the parameters of modules that ``load_state_dict`` was called of."""
    return frozenset().union(*(event.facts.get("ids", frozenset()) for event in trace.of("load")))


def moved_names(model: ModelSeen) -> frozenset[str]:
    """Names of the parameters whose values are others than before the first training pass; all, where that is lost."""
    now = dict(model.module.named_parameters())
    if model.pristine is None:
        return frozenset(now)
    before = dict(model.pristine.named_parameters())
    moved = set()
    for name, one in now.items():
        old = before.get(name)
        if nn.parameter.is_lazy(one) or (old is not None and nn.parameter.is_lazy(old)):
            continue
        if old is None or old.shape != one.shape or not torch.equal(old.detach(), one.detach().to(old.device)):
            moved.add(name)
    return frozenset(moved)
