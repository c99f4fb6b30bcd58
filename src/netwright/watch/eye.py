"""What all patched functions share: the trace, numbers of things, where the script is, and the recorder of operations.

Nothing is drawn from a random generator and no tensor of the script is written to. Costly looks are taken at the first
passes and then ever more rarely.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.optrace import Recorder
from netwright.checks.sourcecode import caller
from netwright.watch.functions import find_function
from netwright.watch.graphs import Graphs
from netwright.watch.ledger import Ledger
from netwright.watch.scene import Scene
from netwright.watch.trace import BatchSeen, Event, LoaderSeen, ModelSeen, OptimizerSeen, Trace

MOST_EVENTS = 50_000
FULL_TURNS = 512  # backward passes, and passes over a loader, till which all turns are looked at
FULL_PASSES = 3
EVERY, IN_A_ROW = 64, 4  # later the first turns of so many: several in a row, so that one can be told from the next
CLOSE_LOOKS = 4  # of the first backward passes; then at powers of two
SHARE = 0.06  # of the script's time that close looks may take, after the first ones


class Eye:
    """The state of watching.

    Attributes:
        depth: Above 0 inside a module's call.
        quiet: Above 0 inside something whose inner calls are not the person's own.
        open: Forward passes since the last backward pass.
        loader, item, items: Number and pass of the loader that gave the last batch, that batch, how many were given.
        outputs: The last outputs of models, with what they were made of.
    """

    def __init__(self) -> None:
        self.trace = Trace()
        self.thread = threading.get_ident()
        self.depth = 0
        self.quiet = 0
        self.in_loss = False
        self.numbers: dict[int, tuple[str, int]] = {}
        self.alive: list[Any] = []  # so that no id is given twice
        self.began = time.perf_counter()
        self.open: list[BatchSeen] = []
        self.loader: tuple[int, int] = (-1, -1)
        self.item: Any = None
        self.items = 0
        self.recorder: Recorder | None = None
        self.recorded: BatchSeen | None = None
        self.eval_pass: dict[int, int] = {}
        self.outputs: list[tuple[weakref.ref[Tensor], int, BatchSeen]] = []
        self.ledger = Ledger()
        self.trace.erased = self.ledger.erased
        self.looked: dict[Any, int] = {}  # close looks by the line of the backward pass
        self.weights: dict[int, tuple[int, ...]] = {}  # models by the id of a parameter
        self.indexed = 0  # models that were there when it was made
        self.routes: dict[Any, tuple[tuple[int, ...], frozenset[int]]] = {}  # what a line's backward pass reached
        self.following: tuple[Any, frozenset[int]] = (None, frozenset())
        self.frozen: list[tuple[Tensor, int]] = []
        self.last_step: Event | None = None
        self.graphs = Graphs()
        self.skim = False  # whether this turn of a long training is only counted
        self.keeping = False  # whether the last forward pass was kept: then losses made of it are kept too
        self.weighted: dict[int, bool] = {}  # ids of modules, whether they have parameters
        self.scene = Scene()
        self.states: dict[int, list[Tensor]] = {}  # what the last forward of a model returned besides its answer

    def mine(self) -> bool:
        """Whether this is the thread of the script."""
        return threading.get_ident() == self.thread

    def number(self, thing: Any, kind: str, make: Callable[[int], Any], seen: list[Any]) -> int:
        """The number of a thing, the same each time."""
        found = self.numbers.get(id(thing))
        if found is not None and found[0] == kind:
            return found[1]
        number = len(seen)
        self.numbers[id(thing)] = (kind, number)
        self.alive.append(thing)
        seen.append(make(number))
        return number

    def event(self, kind: Any, who: int = -1, **facts: Any) -> int:
        """Note that something happened; its place in the list."""
        self.note(kind, who, facts)
        return len(self.trace.events) - 1

    def note(self, kind: Any, who: int, facts: dict[str, Any]) -> Event:
        """Note that something happened; the event, which is not kept where there are too many already."""
        events = self.trace.events
        place = caller(skip=3)
        if place is not None and place.file not in self.trace.sources.files:
            self.trace.sources.add(place.file)
        event = Event(kind, who, place, self.trace.steps, facts)
        if len(events) < MOST_EVENTS:
            events.append(event)
        else:
            self.trace.dropped_events += 1
        return event

    def noting(self, original: Callable[..., Any], kind: Any) -> Callable[..., Any]:
        """A function around another that notes its calls."""
        name = f"{getattr(original, '__module__', '') or ''}.{getattr(original, '__name__', '')}"

        def noted(*args: Any, **kwargs: Any) -> Any:
            if self.mine() and not self.depth and not self.quiet:
                values = [value for value in (*args, *kwargs.values()) if isinstance(value, (int, float))]
                self.event(kind, value=values[0] if values else None, function=name, turn=self.items)
            return original(*args, **kwargs)

        return noted

    def has_weights(self, module: nn.Module) -> bool:
        """Whether a module has parameters; remembered, as it is asked at each call."""
        found = self.weighted.get(id(module))
        if found is None:
            found = next(iter(module.parameters()), None) is not None
            self.weighted[id(module)] = found
            self.alive.append(module)
        return found

    def model(self, module: nn.Module) -> int:
        """The number of a model."""
        return self.number(module, "model", lambda number: ModelSeen(number, module, caller(skip=4)), self.trace.models)

    def optimizer(self, optimizer: torch.optim.Optimizer) -> int:
        """The number of an optimizer; a wrapper around one has its number."""
        found = self.numbers.get(id(optimizer))
        if found is not None and found[0] == "optimizer":
            return found[1]
        groups = getattr(optimizer, "param_groups", None)
        for seen in self.trace.optimizers:
            if groups is not None and getattr(seen.optimizer, "param_groups", None) is groups:
                self.numbers[id(optimizer)] = ("optimizer", seen.number)
                self.alive.append(optimizer)
                return seen.number
        number = self.number(
            optimizer,
            "optimizer",
            lambda number: OptimizerSeen(number, optimizer, caller(skip=4)),
            self.trace.optimizers,
        )
        if groups is not None:
            self.ledger.follow(number, optimizer)
        return number

    def loader_number(self, loader: Any) -> int:
        """The number of a loader."""
        return self.number(
            loader, "loader", lambda number: LoaderSeen(number, loader, caller(skip=4)), self.trace.loaders
        )

    def spend(self, began: float) -> None:
        """Count the time since then as ours."""
        self.trace.overhead_s += time.perf_counter() - began

    def models_by_parameter(self) -> dict[int, tuple[int, ...]]:
        """The models that hold each parameter, by its id."""
        if self.indexed != len(self.trace.models):
            self.indexed = len(self.trace.models)
            found: dict[int, list[int]] = {}
            for model in self.trace.models:
                for one in model.module.parameters():
                    found.setdefault(id(one), []).append(model.number)
            self.weights = {key: tuple(numbers) for key, numbers in found.items()}
        return self.weights

    def followed(self) -> frozenset[int]:
        """The models of which an optimizer holds a parameter that is followed."""
        state = (len(self.trace.models), self.ledger.grown)
        if state != self.following[0]:
            models = self.models_by_parameter()
            slots = (slot for slots in self.ledger.slots.values() for slot in slots)
            self.following = state, frozenset(one for slot in slots for one in models.get(id(slot.parameter), ()))
        return self.following[1]

    def may_look(self, line: Any = None) -> bool:
        """Whether a costly look is within its share of the time: each line has its own first ones."""
        done = self.trace.num_backwards
        self.looked[line] = self.looked.get(line, 0) + 1
        if done < CLOSE_LOOKS or (self.looked[line] <= CLOSE_LOOKS and len(self.looked) <= 8):
            return True
        rare = done & (done - 1) == 0
        return rare and self.trace.overhead_s < SHARE * (time.perf_counter() - self.began)

    def turn(self, batch: int, passes: int, *, trains: bool) -> None:
        """A new batch has come: of a long training only some turns are looked at, since a loop repeats itself.

        Args:
            batch: Its place in the pass.
            passes: Over this loader, with this one.
            trains: Whether the loader has been trained on; evaluation is always looked at.
        """
        skim = trains and passes > FULL_PASSES and self.trace.num_backwards > FULL_TURNS and batch % EVERY >= IN_A_ROW
        if self.skim and not skim:
            self.ledger.resume()
        self.skim = skim
        self.keeping = self.keeping and not skim

    def count_backward(self) -> None:
        """Count a backward pass of a turn that is not looked at."""
        self.trace.num_backwards += 1
        for model in self.trace.models:
            model.backwards += model.backwards > 0
        if self.loader[0] >= 0:
            self.trace.loaders[self.loader[0]].used += 1

    def start_recording(self, seen: BatchSeen) -> None:
        """Record operations from now on, of this batch."""
        if self.recorder is None:
            recorder = Recorder(most=400)
            if seen.grad and seen.function is None:
                recorder.on_frame = partial(self._look_for_function, recorder, seen)
            recorder.__enter__()  # type: ignore[no-untyped-call]
            self.recorder, self.recorded = recorder, seen

    def _look_for_function(self, recorder: Recorder, seen: BatchSeen, frame: FrameType) -> None:
        """Whether this operation is done by a loss function of the person's; asked until it is found."""
        outputs = [one for reference, _, batch in self.outputs if batch is seen and (one := reference()) is not None]
        seen.function = find_function(frame, outputs, seen.rows)
        if seen.function is not None:
            recorder.on_frame = None

    def pause(self, paused: bool) -> bool:
        """Stop or go on recording for a while; whether it was stopped before."""
        if self.recorder is None:
            return False
        before = self.recorder.paused
        self.recorder.paused = paused
        return before

    def stop_recording(self) -> None:
        """Keep what was recorded with its batch."""
        recorder, seen = self.recorder, self.recorded
        if recorder is None or seen is None:
            return
        seen.ops = [*seen.ops, *recorder.ops]
        self.recorder = self.recorded = None
        stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        if stack and stack[-1] is recorder:
            recorder.__exit__(None, None, None)
        else:  # the script has entered a mode of its own meanwhile: ours stays beneath it and does nothing
            recorder.paused = True

    def source_of(self, tensor: Any) -> tuple[int, BatchSeen | None]:
        """The model whose output a tensor is, and the batch it was made of."""
        for reference, model, seen in reversed(self.outputs):
            if reference() is tensor:
                return model, seen
        return -1, None

    def close_turn(self) -> None:
        """A new batch has come: forward passes on the one before that no backward pass followed were evaluation."""
        for one in self.open:
            if one.loader >= 0:
                self.trace.loaders[one.loader].evaluated += 1
        self.open = [one for one in self.open if one.loader < 0]
