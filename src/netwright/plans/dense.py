"""A whole update of a network of dense layers by kernels of our own: no operation of torch's is called.

Of a table's small network the arithmetic is a fraction of the update; the rest is what torch does around each of some
fifty operations. Here the recorded operations become a list that one call of C++ goes through, the optimizer's step at
its end. Dropout draws from torch's generator as it did.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netwright.batch import Batch, Strip
from netwright.outcome import Outcome
from netwright.plans.compiled import DENSE, library
from netwright.plans.dense_code import ALIGNED, NOWHERE, Code, Given, Operation
from netwright.plans.dense_operations import translate
from netwright.plans.operations import NoProgramError
from netwright.plans.program import fit, shapes_of
from netwright.plans.recording import arguments, backward_graph
from netwright.plans.tracing import Layout, layout_of, refuse, tensors_of
from netwright.step import Program, Rates, StepResult, TrainState, add_to_sums
from netwright.sums import Sums

KINDS = {torch.optim.SGD: 0, torch.optim.Adam: 1, torch.optim.AdamW: 2}
OF_ADAM = ("step", "exp_avg", "exp_avg_sq")
# What of an optimizer's state lies where a ``Moved`` names it.
HOLDS = {"step": "step", "exp_avg": "first", "exp_avg_sq": "second", "momentum_buffer": "first"}
MOST_ROOMS, ROOM_BYTES = 32, 1 << 17  # updates for which memory is made at once
HELD = 2  # things that are held for ever


class Group(ctypes.Structure):
    """As in dense.cpp; so are the others."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("rate", "decay", "beta1", "beta2", "epsilon", "momentum", "dampening")),
        *((name, ctypes.c_long) for name in ("kind", "nesterov")),
    )


class Moved(ctypes.Structure):
    """A parameter with its gradient and its state."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("size", "group", "weight", "gradient", "step", "first", "second")
    )


class Stride(ctypes.Structure):
    """How far a place moves from one update to the next."""

    _fields_ = (("place", ctypes.c_long), ("bytes", ctypes.c_long))


class Update(ctypes.Structure):
    """What an update is given."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("operations", "moved", "groups", "at", "panel")),
        *((name, ctypes.c_long) for name in ("many", "parameters", "loss", "check")),
        ("most", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("strides", "rates")),
        *((name, ctypes.c_long) for name in ("updates", "moving", "kinds", "done", "finite", "bad")),
    )


@functools.cache
def _kernels() -> tuple[Callable[[Any], None], int]:
    """What does updates, and the columns of a panel.

    Raises:
        NoProgramError: It cannot be compiled here.
    """
    held = library(DENSE)
    held.dense_updates.argtypes, held.dense_updates.restype = [ctypes.POINTER(Update)], None
    held.dense_wide.argtypes, held.dense_wide.restype = [], ctypes.c_long
    return held.dense_updates, held.dense_wide()


def dense(state: TrainState, batch: Batch) -> Callable[[], Dense]:
    """What makes the plan for a state like this one, by batches like this one.

    Raises:
        NoProgramError: It cannot be recorded, holds operations that the kernels do not know, or these cannot be
            compiled.
    """
    refuse(state)
    layout = layout_of(state, batch)
    brought = layout.of_batch(batch)
    kinds = _kind(state, layout)
    known = all(one.dtype in (torch.float32, torch.int64) and one.is_contiguous() for one in brought)
    if not known or state.recipe.amp_dtype is not None or state.device.type != "cpu":
        raise NoProgramError("the kernels for dense layers know float32 on a processor alone, and batches without gaps")
    _kernels()
    code = translate(backward_graph(state, layout, arguments(state, layout, batch)), layout)
    fixed = [tuple(one.shape) for one in tensors_of(state.model).values()]
    return partial(Dense, code, layout, shapes_of(brought), fixed, kinds)


def _kind(state: TrainState, layout: Layout) -> list[int]:
    """What each group of the optimizer is to the kernels.

    Raises:
        NoProgramError: They do not know it, or it has not the state that they want.
    """
    optimizer, found = state.optimizer, []
    for options in optimizer.param_groups:
        kind = KINDS.get(type(optimizer))
        if kind is None:
            raise NoProgramError(f"the kernels for dense layers do not know {type(optimizer).__name__}")
        for name in ("amsgrad", "maximize", "capturable"):
            if options.get(name):
                raise NoProgramError(f"the kernels for dense layers do not know {name}")
        found.append(KINDS[torch.optim.AdamW] if kind and options.get("decoupled_weight_decay") else kind)
    for (_, group), slots in zip(layout.trained, layout.slots, strict=True):
        momentum = ("momentum_buffer",) if optimizer.param_groups[group].get("momentum") else ()
        if set(slots) != set(momentum if found[group] == KINDS[torch.optim.SGD] else OF_ADAM):
            raise NoProgramError("the optimizer has not moved a parameter yet")  # as where the loss was no number
    return found


def _fill(group: Group, options: dict[str, Any]) -> None:
    """Put an optimizer's options where the kernels read them; whoever loops may change them from update to update."""
    group.decay, group.epsilon = options["weight_decay"], options.get("eps", 0.0)
    group.beta1, group.beta2 = options.get("betas", (0.0, 0.0))
    group.momentum, group.dampening = options.get("momentum", 0.0), options.get("dampening", 0.0)
    group.nesterov = bool(options.get("nesterov"))


@dataclass(slots=True)
class Dense(Program):
    """Does whole updates of batches as the one it was made for.

    Attributes:
        shapes: Of what a batch brings.
        fixed: Shapes of parameters and buffers.
        kinds: Of the optimizer's groups.
        sums: Of the pass for which addresses were looked up.
        weights: Those that were found, with their ``addresses``.
        held: What lies at these, so that it stays there.
    """

    code: Code
    layout: Layout
    shapes: tuple[Any, ...]
    fixed: list[tuple[int, ...]]
    kinds: list[int]
    sums: Sums | None = None
    weights: list[Tensor] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)
    update: Update = field(init=False)
    at: Any = field(init=False)
    rates: Any = field(init=False)
    groups: Any = field(init=False)
    moved: Any = field(init=False)
    memory: Tensor = field(init=False)
    kernel: Callable[[Any], None] = field(init=False)
    masks: list[tuple[int, Tensor, float]] = field(init=False)
    rooms: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        code = self.code
        self.kernel, wide = _kernels()
        self.memory = torch.zeros(code.floats + ALIGNED, dtype=torch.float32, device="cpu")
        first = -(-self.memory.data_ptr() // (4 * ALIGNED)) * 4 * ALIGNED
        self.at = (ctypes.c_void_p * len(code.begins))()
        for place, begin in enumerate(code.begins):
            if begin is not None:
                self.at[place] = first + 4 * begin
        for place, (value, size) in code.constants.items():
            (ctypes.c_float * size).from_address(self.at[place])[:] = [value] * size
        self.masks = [(place, self.memory.new_empty(shape), keep) for place, shape, keep in code.drawn]
        self.rates = (ctypes.c_double * len(self.kinds))()
        self.groups = (Group * len(self.kinds))(*(Group(kind=kind) for kind in self.kinds))
        self.moved = (Moved * len(self.layout.trained))()
        panel = torch.empty(code.deepest * wide + ALIGNED, dtype=torch.float32, device="cpu")
        operations = (Operation * len(code.operations))(*code.operations)
        self.held = [panel, operations]
        self.update = Update(
            ctypes.addressof(operations), ctypes.addressof(self.moved), ctypes.addressof(self.groups),
            ctypes.addressof(self.at), -(-panel.data_ptr() // (4 * ALIGNED)) * 4 * ALIGNED,
            len(code.operations), len(self.layout.trained), code.loss, kinds=len(self.kinds),
        )  # fmt: skip

    def attempt(self, state: TrainState, batch: Batch) -> StepResult | None:
        """Do one update; None where a batch is not like the one it was made for, or a target none of the classes."""
        if not self._fits(state, batch):
            return None
        made = self._room()
        self._give(made)
        for place, mask, keep in self.masks:
            self.at[place] = mask.bernoulli_(keep).data_ptr()
        update = self.update
        update.updates, update.moving = 1, 0
        for place, group in enumerate(state.optimizer.param_groups):
            self.rates[place] = group["lr"]
        update.rates = ctypes.addressof(self.rates)
        self.kernel(update)
        if update.done:
            metrics = {name: (_number(one, made), _number(two, made)) for name, (one, two) in self.code.metrics.items()}
            outcome = Outcome(made[0], self.code.count, metrics, made[1] if self.code.outputs else None)
            add_to_sums(state, batch, outcome)
        elif update.bad:
            return None  # the plain update says what is wrong with it
        return StepResult(made[0], bool(update.done))

    @property
    def at_once(self) -> bool:  # type: ignore[override]
        """Not where each draws: the last ones might have to be undone."""
        return not self.code.drawn and self.layout.answers is None

    def several(self, state: TrainState, strip: Strip, place: int, rates: Rates) -> StepResult | None:
        """Do the updates in one call."""
        code, size, count = self.code, len(strip.parts[place]), len(rates)
        batch = strip.batch(place)
        if isinstance(strip.targets, dict) or not self._fits(state, batch):
            return None
        made = [self.memory.new_empty(count, *shape) for _, shape in code.given]
        brought = self.layout.of_batch(batch)
        strides = [
            *(
                Stride(at, strip.step * value.stride(0) * value.element_size())
                for at, value in zip(code.brought, brought, strict=True)
            ),
            *(Stride(at, value[0].nbytes) for (at, _), value in zip(code.given, made, strict=True)),
        ]
        self._give(made)
        moving, update = (Stride * len(strides))(*strides), self.update
        flat = (ctypes.c_double * (count * len(self.rates)))(*(rate for each in rates for rate in each))
        update.updates, update.moving = count, len(strides)
        update.strides, update.rates = ctypes.addressof(moving), ctypes.addressof(flat)
        self.kernel(update)
        done = update.done
        if not done:
            return None
        made = [one[:done] for one in made]
        losses = state.recipe.objective.mean(made[0], code.count)
        metrics = {name: (_numbers(one, made), _numbers(two, made)) for name, (one, two) in code.metrics.items()}
        state.sums.update_each(losses.tolist(), code.count, metrics)
        if code.outputs and state.recipe.tally is not None:
            rows = strip.targets[place * strip.step : (place + done) * strip.step]
            targets = torch.from_numpy(rows).view(done, strip.step, *batch.target.shape[1:])[:, :size]
            state.sums.later(made[1].flatten(0, 1), targets.flatten(0, 1), state.recipe.tally)
        state.step += done
        state.batch += done
        return StepResult(made[0][-1], finite=True)

    def _fits(self, state: TrainState, batch: Batch) -> bool:
        """Whether a batch is as the one this was made for, and where it lies noted; and so of the state."""
        brought = self.layout.of_batch(batch)
        if not fit(brought, self.shapes):
            return False
        known = state.sums is self.sums and [one.data_ptr() for one in self.weights] == self.addresses
        if not known and not self._look_up(state):
            return False
        for group, options in zip(self.groups, state.optimizer.param_groups, strict=True):
            _fill(group, options)
        for place, value in zip(self.code.brought, brought, strict=True):
            self.at[place] = value.data_ptr()
        return True

    def _give(self, made: list[Tensor]) -> None:
        """Note where that lies which an update gives."""
        for (place, _), value in zip(self.code.given, made, strict=True):
            self.at[place] = value.data_ptr()

    def _room(self) -> list[Tensor]:
        """New memory for what the next update gives, which others may keep; made for several updates at once."""
        if not self.rooms:
            sizes = [4 * math.prod(shape) for _, shape in self.code.given]
            count = max(1, min(MOST_ROOMS, ROOM_BYTES // max(1, sum(sizes))))
            each = [self.memory.new_empty(count, *shape).unbind() for _, shape in self.code.given]
            self.rooms = [list(one) for one in zip(*each, strict=True)]
        return self.rooms.pop()

    def _look_up(self, state: TrainState) -> bool:
        """Find where weights and the optimizer's state lie; whether all is there, and as the kernels want it."""
        self.sums = None
        found, parameters = tensors_of(state.model), dict(state.model.named_parameters())
        if not self.layout.ready(state) or [tuple(one.shape) for one in found.values()] != self.fixed:
            return False
        places = dict(zip(found, self.code.weights, strict=True))
        read = {place for one in self.code.operations for place in (one.a, one.b, one.d)}
        tensors = {places[name]: one for name, one in found.items() if places[name] in read}
        place = self.code.states
        for moved, gradient, (name, group), slots in zip(
            self.moved, self.code.gradients, self.layout.trained, self.layout.slots, strict=True
        ):
            weight, own = found[name], state.optimizer.state[parameters[name]] if slots else {}
            moved.size, moved.group, moved.gradient, moved.weight = weight.numel(), group, gradient, places[name]
            moved.step = moved.first = moved.second = NOWHERE
            tensors[moved.weight] = weight
            for slot in slots:
                if slot != "step" and own[slot].shape != weight.shape:
                    return False
                setattr(moved, HOLDS[slot], place)
                tensors[place] = own[slot]
                place += 1
        if not all(_plain(one) for one in tensors.values()):
            return False
        for where, tensor in tensors.items():
            self.at[where] = tensor.data_ptr()
        recipe = state.recipe
        self.update.check, self.update.most = recipe.check_each_loss, recipe.max_grad_norm or 0.0
        self.held[HELD:] = [one.detach() for one in tensors.values()]  # so that no memory goes that is written to
        self.weights, self.sums = list(found.values()), state.sums
        self.addresses = [one.data_ptr() for one in self.weights]
        return True


def _number(one: float | Given, made: list[Tensor]) -> float:
    """A number as it is, or as it was given."""
    return float(made[one.index]) if isinstance(one, Given) else one


def _numbers(one: float | Given, made: list[Tensor]) -> list[float]:
    """As ``_number``, of each update."""
    return made[one.index].tolist() if isinstance(one, Given) else [one] * len(made[0])


def _plain(tensor: Tensor) -> bool:
    """Whether the kernels may go through a tensor from end to end."""
    return tensor.is_contiguous() and tensor.dtype is torch.float32 and tensor.device.type == "cpu"
