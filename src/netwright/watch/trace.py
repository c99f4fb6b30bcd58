"""What was seen of a training script: models, loaders, optimizers, and what happened in which order.

Rules read it when the script has ended. Nothing here touches the script.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from netwright.checks.optrace import Op
from netwright.checks.sourcecode import Place, Sources
from netwright.watch.frozen import Frozen
from netwright.watch.functions import FunctionSeen
from netwright.watch.holds import Hold, gone_optimizer
from netwright.watch.ledger import Erased
from netwright.watch.scene import LoopSeen, MapSeen

Kind = Literal[
    "forward", "backward", "step", "zero", "clip", "schedule", "pass_begin", "pass_end", "mode", "state_dict", "load",
    "save", "seed", "export", "scale", "unscale", "scaler_step", "scaler_update", "autograd_grad",
]  # fmt: skip


@dataclass(slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What.
        who: Number of the model, optimizer, scheduler or loader; -1 where there is none.
        place: The person's line.
        step: Optimizer steps done before it, of all optimizers.
        facts: Of a forward ``train`` (the root's flag), ``grad``, ``loader``, ``rows``, ``active`` (mode-dependent
            layers in train mode), ``carried`` (arguments that are states which the forward before had returned); of a
            backward ``number``, ``models`` and ``optimizers`` (numbers of those whose gradients it changed), ``loss``,
            ``turn``, ``retain``, ``inputs`` (given), ``forwards`` (events); of a step ``rate``, ``norm``, ``without``,
            ``held`` (ledger.Holding); of a clip ``norm``, ``count``, ``with_grad``, ``limit``, ``ids``, ``followed``,
            ``fresh``, ``spent`` (gradients that no step has used, or one has), ``exhausted``;
            of the scaler's ``enabled``, ``scaler``, ``scale``; of a mode
            ``train``; of a seed ``value``, ``function``; of a load ``shares``, ``missing``, ``unexpected`` …
    """

    kind: Kind
    who: int
    place: Place | None
    step: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LossSeen:
    """One call of a loss, of torch.nn or torch.nn.functional.

    Attributes:
        name: CrossEntropyLoss, cross_entropy …
        function: Of input and target the loss; further arguments are bound.
        input, target: As they were given (detached copies); ``swapped``: the model's output came second.
        model: Number of the model whose output was given, or whose output it was made of; -1 where unknown.
        direct: Whether the input is the model's output itself.
        inside: Called in the model's own forward.
        module: The loss module, where it is one.
    """

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    input: Tensor
    target: Any
    place: Place | None
    model: int = -1
    direct: bool = False
    swapped: bool = False
    inside: bool = False
    module: nn.Module | None = None
    options: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    event: int = -1


@dataclass(slots=True)
class BatchSeen:
    """One forward pass of a model with its data (detached copies on the CPU).

    Attributes:
        args, kwargs: As called.
        targets: The tensor of what the loader gave that is no input and has as many rows; None where there is none.
        output: What came back, detached; None where it was too large.
        loader: Number of the loader; -1 without. ``epoch`` is the loader's pass, from 0.
        turn: Batches that loaders had given by then; forward passes of one turn belong together.
        used: Whether a backward pass followed in the same turn.
        trained: Whether a step of an optimizer that holds the model's parameters used its gradients.
        losses: That were computed of it.
        function: A function of the person's that was given the output and targets; None where none was seen.
        ops: Operations after the forward pass and outside of backward and step; only of the first batches.
        given: ``args`` and ``kwargs`` from before the call, of the first batches: forward may write to them.
    """

    model: int
    event: int
    train: bool
    grad: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Any
    output: Any
    loader: int
    epoch: int
    rows: int
    step: int = 0
    turn: int = 0
    used: bool = False
    trained: bool = False
    size: int = 0  # bytes that are kept of it
    losses: list[LossSeen] = field(default_factory=list)
    function: FunctionSeen | None = None
    ops: list[Op] = field(default_factory=list)
    given: Any = None
    names: tuple[str, ...] = ()  # in evaluation, of variables that hold its first argument; of recorded passes only
    modes: tuple[str, ...] | None = None  # in evaluation, names of the submodules in train mode
    sources: tuple[tuple[Any, int, bool], ...] = ()  # arguments that are tensors of the loader's batch, scene.sources


@dataclass(slots=True)
class GraphNode:
    """A node of the graph of a loss, with what it had saved (small tensors only)."""

    name: str
    shape: tuple[int, ...]
    depth: int
    saved: dict[str, Any]
    inputs: tuple[int, ...]  # places of next nodes in the list


@dataclass(slots=True)
class BackwardSeen:
    """One backward pass that was looked at closely.

    Attributes:
        loss: Its value.
        nodes: Nodes of the graph from the loss, breadth first, at most some hundred; ``num_nodes`` how many there are.
        reached: ids of the leaves that get a gradient.
        before: Norm of the gradients that lay there before, by model; ``after`` likewise after.
        new: Norm of what this pass added, by model.
        older: Nodes of an earlier turn's graph that it goes through.
        place: The person's line.
    """

    event: int
    step: int
    loss: float
    nodes: list[GraphNode]
    num_nodes: int
    reached: frozenset[int]
    unregistered: list[tuple[int, ...]]
    before: dict[int, float] = field(default_factory=dict)
    after: dict[int, float] = field(default_factory=dict)
    new: dict[int, float] = field(default_factory=dict)
    place: Place | None = None
    older: int = 0


@dataclass(slots=True)
class ModelSeen:
    """A module with parameters that was called from outside any other.

    Attributes:
        hold, module: The person's own, to be looked at only; an empty one where it is gone.
        pristine: A copy from before its first training pass; None, with the reason in ``why_not``.
        batches: Of training, the first some; ``eval_batches`` of the last evaluation pass.
        names: Parameter ids to names.
    """

    number: int
    hold: Hold
    place: Place | None
    pristine: nn.Module | None = None
    why_not: str = ""
    first_state: dict[str, Tensor] | None = None
    batches: list[BatchSeen] = field(default_factory=list)
    eval_batches: list[BatchSeen] = field(default_factory=list)
    first_eval: list[BatchSeen] = field(default_factory=list)
    forwards: int = 0
    backwards: int = 0
    steps: int = 0
    seen_bytes: int = 0
    eval_bytes: int = 0
    recorded: list[BatchSeen] = field(default_factory=list)  # of evaluation, those with operations
    names: dict[str, tuple[int, int]] = field(default_factory=dict)  # of variables; backward passes at first and last

    @property
    def name(self) -> str:
        """Its class."""
        return self.hold.kind

    @property
    def module(self) -> nn.Module:
        """The module itself."""
        module = self.hold.get()
        return nn.Identity() if module is None else module

    def learned_from(self) -> list[BatchSeen]:
        """The batches that it learned from; without any those that a backward pass followed, or all."""
        trained = [one for one in self.batches if one.trained]
        return trained or [one for one in self.batches if one.used] or self.batches


@dataclass(slots=True)
class LoaderSeen:
    """A DataLoader, or anything that was iterated like one.

    Attributes:
        passes: How often it was begun; ``batches`` how many batches it gave in each pass.
        used: Batches that a backward pass followed; ``evaluated`` those that only forward passes followed.
        heads: By pass a digest of its first batches, to tell repeated orders.
        sizes: Rows of the batches of the first pass.
        labels: Targets in the order of the first pass, int; at most some thousand.
    """

    number: int
    hold: Hold
    place: Place | None
    passes: int = 0
    batches: list[int] = field(default_factory=list)
    used: int = 0
    evaluated: int = 0
    heads: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of variables that hold it, or its data set
    dataset_names: list[str] = field(default_factory=list)
    transforms: list[Any] = field(default_factory=list)  # of the data set, at the first passes

    @property
    def loader(self) -> Any:
        """The loader itself; None where it is gone."""
        return self.hold.get()


@dataclass(frozen=True, slots=True)
class IteratorSeen:
    """An iterator of parameters that an optimizer was given, and read to its end.

    Attributes:
        kind: generator, filter, chain …
        count: Parameters that it still gave.
        names: Of variables and attributes that hold it, as ``params`` or ``self.params``.
        function: In which they do; the person's code object's name.
    """

    kind: str
    count: int
    names: tuple[str, ...]
    function: str
    place: Place | None


@dataclass(slots=True)
class OptimizerSeen:
    """An optimizer.

    Attributes:
        groups: Of each group its options at the first step, without ``params``.
        rates: (Its step, rate of group 0) where that changed.
        iterators: Iterators that it was given for its parameters.
    """

    number: int
    hold: Hold
    place: Place | None
    steps: int = 0
    groups: list[dict[str, Any]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)
    iterators: list[IteratorSeen] = field(default_factory=list)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer itself; an empty one where it is gone."""
        optimizer = self.hold.get()
        return gone_optimizer(self.hold.kind) if optimizer is None else cast(torch.optim.Optimizer, optimizer)


@dataclass(slots=True)
class SchedulerSeen:
    """A scheduler of torch.optim.

    Attributes:
        steps: For each call (optimizer steps so far, rate after).
        metrics: What it was given, where that was a number.
    """

    number: int
    scheduler: Any
    optimizer: int
    place: Place | None
    steps: list[tuple[int, float]] = field(default_factory=list)
    step_place: Place | None = None
    metrics: list[float] = field(default_factory=list)


@dataclass(slots=True)
class StateSeen:
    """What ``model.state_dict()`` returned: its model, step, place, and whether it still lives."""

    model: int
    step: int
    place: Place | None
    event: int
    state: weakref.ref[Any]
    tensors: tuple[weakref.ref[Tensor], ...] = ()


@dataclass(frozen=True, slots=True)
class GraphsKept:
    """Graphs of forward passes that were still in memory some batches later.

    Attributes:
        alive: How many, of so many looked at.
        trained: Whether a backward pass had gone through them already; else they are of an evaluation.
        name: The variable that holds them, as ``total`` or ``self.losses``; empty where it was not found.
        place: The line where the script was.
    """

    alive: int
    of: int
    trained: bool
    name: str
    function: str
    place: Place | None


@dataclass(slots=True)
class Trace:
    """All that was seen. Numbers of models, loaders … are their places in the lists.

    Attributes:
        failed: Where and why watching stopped before the end; empty where it did not.
        more_models, more_optimizers: That were only counted.
    """

    models: list[ModelSeen] = field(default_factory=list)
    loaders: list[LoaderSeen] = field(default_factory=list)
    optimizers: list[OptimizerSeen] = field(default_factory=list)
    schedulers: list[SchedulerSeen] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    backwards: list[BackwardSeen] = field(default_factory=list)
    states: list[StateSeen] = field(default_factory=list)
    splits: list[Any] = field(default_factory=list)  # (place, dataset, subsets, its transforms) of random_split
    erased: list[Erased] = field(default_factory=list)
    kept: list[GraphsKept] = field(default_factory=list)
    frozen: Frozen = field(default_factory=Frozen)
    loops: list[LoopSeen] = field(default_factory=list)
    maps: list[MapSeen] = field(default_factory=list)
    sources: Sources = field(default_factory=Sources)
    steps: int = 0
    num_backwards: int = 0
    seconds: float = 0.0
    overhead_s: float = 0.0
    dropped_events: int = 0
    failed: str = ""
    more_models: int = 0
    more_optimizers: int = 0

    def of(self, *kinds: Kind) -> Iterator[Event]:
        """The events of some kinds, in order."""
        return (event for event in self.events if event.kind in kinds)

    def trained(self) -> list[ModelSeen]:
        """The models that a backward pass reached."""
        return [model for model in self.models if model.backwards]
