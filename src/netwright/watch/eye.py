"""What all patched functions share: the trace, numbers of things, where the script is, and the recorder of operations.

Nothing is drawn from a random generator and no tensor of the script is written to. Costly looks are taken at the first
passes and then ever more rarely.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active, _len_torch_dispatch_stack
from torch.compiler import is_dynamo_compiling

from netwright.checks.sourcecode import caller
from netwright.checks.subject import first_line
from netwright.watch.graphs import Graphs
from netwright.watch.guard import guarded
from netwright.watch.holds import Hold
from netwright.watch.ledger import Ledger
from netwright.watch.recording import Recording
from netwright.watch.scene import Scene
from netwright.watch.trace import BatchSeen, Event, LoaderSeen, ModelSeen, OptimizerSeen, Trace

MOST_EVENTS = 50_000
FULL_TURNS = 256  # backward passes, and passes over a loader, till which all turns are looked at
FULL_PASSES = 3
EVERY, IN_A_ROW = 128, 4  # later some of so many: several in a row, so that one can be told from the next
STARTS = 64  # batches of a pass between the turns where such a row may start, the pass's first among them
CLOSE_LOOKS = 4  # of the first backward passes; then at powers of two
SHARE = 0.06  # of the script's time that close looks may take, after the first ones
MOST_TRAINED = 8  # models, and optimizers, that are looked at; once there are more, training is only counted
MOST_KNOWN = 256  # of each kind that are numbered at all
MOST_LOADERS = 4  # that are held, with their data; later ones only as long as the script holds them
MOST_HELD = 192_000_000  # bytes of batches, outputs, targets and what losses are given, all together
MOST_OF_TRAINING = 128_000_000  # of these, so that some are left for what is evaluated at the end
MOST_ASIDE = 96_000_000  # bytes of recorded operations and of what graphs had saved
MOST_ROUTES = 1_000
OFF = 1_000_000_000


class Eye:
    """The state of watching.

    Attributes:
        depth: Above 0 inside a module's call.
        quiet: Above 0 inside something whose inner calls are not the person's own.
        open: Forward passes since the last backward pass.
        loader, item, items: Number and pass of the loader that gave the last batch, that batch, how many were given.
        outputs: The last outputs of models, with what they were made of.
        full: Whether so many models or optimizers were trained that further training is only counted.
        held, aside: Bytes that are kept of the script's: batches, and operations with graphs.
    """

    def __init__(self) -> None:
        self.trace = Trace()
        self.thread = threading.get_ident()
        self.depth = 0
        self.quiet = 0
        self.in_loss = False
        self.numbers: dict[int, tuple[str, int]] = {}
        self.alive: list[Any] = []  # so that no id is given twice
        self.full = False
        self.held = self.aside = 0
        self.copied = 0  # bytes of copies of models
        self.more: dict[int, weakref.ref[Any]] = {}  # models that are only counted
        self.skimmed: set[int] = set()  # models that were called since the last backward pass that was only counted
        self.began = time.perf_counter()
        self.open: list[BatchSeen] = []
        self.loader: tuple[int, int] = (-1, -1)
        self.item: Any = None
        self.items = 0
        self.row = -EVERY  # the turn at which the last row of turns that are looked at began
        self.recording = Recording(self._outputs_of, self.fail)
        self.pause = self.recording.pause  # asked several times a step
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
        self.owners: tuple[Any, dict[int, frozenset[int]]] = (None, {})  # models by the optimizer that holds them
        self.fresh: dict[int, list[BatchSeen]] = {}  # batches by backward pass
        self.scene = Scene()
        self.states: dict[int, list[Tensor]] = {}  # what the last forward of a model returned besides its answer

    def mine(self) -> bool:
        """Whether this is the thread of the script."""
        return threading.get_ident() == self.thread

    def asleep(self) -> bool:
        """Whether nothing is looked at: inside what is not the person's own, or where tensors are no real ones."""
        return (
            self.quiet > 0
            or threading.get_ident() != self.thread
            or _are_functorch_transforms_active()
            or _len_torch_dispatch_stack() > 0
        )

    def fail(self, error: Exception) -> None:
        """A look has failed: remember where, once, and watch no more."""
        if self.trace.failed:
            return
        place = caller(skip=2)
        at = "an unknown line" if place is None else str(place)
        self.trace.failed = f"watching stopped at {at}: {type(error).__name__}: {first_line(error)}"
        self.quiet += OFF
        with contextlib.suppress(Exception):
            self.recording.stop()

    def take(self, size: int, *, training: bool) -> bool:
        """Whether so many bytes more of batches may be kept; they are counted then."""
        if self.held + size > (MOST_OF_TRAINING if training else MOST_HELD):
            return False
        self.held += size
        return True

    def take_aside(self, size: int) -> bool:
        """Whether so many bytes more of graphs and the like may be kept; they are counted then."""
        if self.aside + size > MOST_ASIDE:
            return False
        self.aside += size
        return True

    def number(self, thing: Any, kind: str, make: Callable[[int], Any], seen: list[Any]) -> int:
        """The number of a thing, the same each time; -1 where there are too many, or training is only counted."""
        found = self.numbers.get(id(thing))
        if found is not None and found[0] == kind:
            return found[1]
        if self.full or len(seen) >= MOST_KNOWN:
            return -1
        number = len(seen)
        self.numbers[id(thing)] = (kind, number)
        seen.append(make(number))
        return number

    def _hold(self, thing: Any, number: int, most: int) -> Hold:
        """Hold a thing; of many only as long as the script does."""
        return Hold(thing, held=number < most, ended=partial(self._ended, id(thing)))

    def _ended(self, key: int) -> None:
        """A thing that only the script held is gone: its id may be given anew."""
        kind, number = self.numbers.pop(key, ("", -1))
        if kind == "optimizer":
            self.ledger.slots[number] = []
        elif kind == "model":
            model = self.trace.models[number]
            self.held -= sum({id(one): one.size for one in (*model.batches, *model.eval_batches)}.values())
            model.batches, model.eval_batches, model.first_eval, model.recorded = [], [], [], []
            model.pristine, model.why_not = None, "it was gone before the end"
            for one, numbers in list(self.weights.items()):
                if number in numbers:
                    self.weights[one] = tuple(other for other in numbers if other != number)

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
            if is_dynamo_compiling() or self.depth or self.asleep():
                return original(*args, **kwargs)
            _note_call(self, kind, name, args, kwargs)
            return original(*args, **kwargs)

        return noted

    def has_weights(self, module: nn.Module) -> bool:
        """Whether a module has parameters: some get them in their first call."""
        if id(module) in self.numbers:
            return True
        if not module._parameters and not module._modules:  # as most losses
            return False
        return next(iter(module.parameters()), None) is not None

    def model(self, module: nn.Module) -> int:
        """The number of a model; -1 where it is only counted."""
        if id(module) not in self.numbers and not self.full:
            self._fill(sum(one.backwards > 0 for one in self.trace.models))
        number = self.number(
            module,
            "model",
            lambda number: ModelSeen(number, self._hold(module, number, MOST_TRAINED), caller(skip=4)),
            self.trace.models,
        )
        if number < 0:
            self.count_more(module)
        return number

    def _fill(self, trained: int) -> None:
        """So many are trained, and another comes: from now on training is only counted."""
        if trained >= MOST_TRAINED:
            self.recording.stop()
            self.full = self.skim = True
            self.keeping = False
            self.open.clear()
            self.fresh.clear()

    def count_more(self, module: nn.Module) -> None:
        """Count a model that is not looked at, or remember that one of the others was called."""
        found = self.numbers.get(id(module))
        if found is not None and found[0] == "model":
            self.skimmed.add(found[1])
        elif id(module) not in self.more and self.has_weights(module):
            key = id(module)
            self.more[key] = weakref.ref(module, lambda _: vars(self)["more"].pop(key, None))
            self.trace.more_models += 1

    def optimizer(self, optimizer: torch.optim.Optimizer) -> int:
        """The number of an optimizer; a wrapper around one has its number; -1 where it is only counted."""
        found = self.numbers.get(id(optimizer))
        if found is not None and found[0] == "optimizer":
            return found[1]
        groups = getattr(optimizer, "param_groups", None)
        for seen in self.trace.optimizers:
            if groups is not None and getattr(seen.optimizer, "param_groups", None) is groups:
                self.numbers[id(optimizer)] = ("optimizer", seen.number)
                self.alive.append(optimizer)
                return seen.number
        if not self.full:
            self._fill(sum(one.steps > 0 for one in self.trace.optimizers))
        number = self.number(
            optimizer,
            "optimizer",
            lambda number: OptimizerSeen(number, self._hold(optimizer, number, MOST_TRAINED), caller(skip=4)),
            self.trace.optimizers,
        )
        if groups is not None and number >= 0:
            self.ledger.follow(number, optimizer)
        return number

    def loader_number(self, loader: Any) -> int:
        """The number of a loader; -1 where there are too many."""
        return self.number(
            loader,
            "loader",
            lambda number: LoaderSeen(number, self._hold(loader, number, MOST_LOADERS), caller(skip=4)),
            self.trace.loaders,
        )

    def models_by_parameter(self) -> dict[int, tuple[int, ...]]:
        """The models that hold each parameter, by its id."""
        for model in self.trace.models[self.indexed :]:
            for one in model.module.parameters():
                self.weights[id(one)] = (*self.weights.get(id(one), ()), model.number)
        self.indexed = len(self.trace.models)
        return self.weights

    def followed(self) -> frozenset[int]:
        """The models of which an optimizer holds a parameter that is followed."""
        state = (len(self.trace.models), self.ledger.grown)
        if state != self.following[0]:
            models = self.models_by_parameter()
            slots = (slot for slots in self.ledger.slots.values() for slot in slots)
            self.following = state, frozenset(one for slot in slots for one in models.get(id(slot.parameter), ()))
        return self.following[1]

    def models_of(self, optimizer: int) -> frozenset[int]:
        """The models of which an optimizer holds a parameter."""
        state = (len(self.trace.models), self.ledger.grown)
        if state != self.owners[0]:
            self.owners = state, {}
        found = self.owners[1].get(optimizer)
        if found is None:
            models, groups = self.models_by_parameter(), self.trace.optimizers[optimizer].optimizer.param_groups
            found = frozenset(
                number for group in groups for one in group["params"] for number in models.get(id(one), ())
            )
            self.owners[1][optimizer] = found
        return found

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
        if batch % STARTS == 0 and self.items - self.row >= EVERY:
            self.row = self.items
        late = passes > FULL_PASSES and self.trace.num_backwards > FULL_TURNS
        skim = self.full or (trains and late and self.items - self.row >= IN_A_ROW)
        if self.skim and not skim:
            self.ledger.resume()
        elif skim and not self.skim:
            self.stop_recording()
        self.skim = skim
        self.keeping = self.keeping and not skim

    def count_backward(self) -> None:
        """Count a backward pass of a turn that is not looked at."""
        self.trace.num_backwards += 1
        for model in self.trace.models:
            model.backwards += model.backwards > 0 and (not self.full or model.number in self.skimmed)
        if self.loader[0] >= 0 and (self.skimmed or not self.full):
            self.trace.loaders[self.loader[0]].used += 1
        self.skimmed.clear()

    def start_recording(self, seen: BatchSeen) -> None:
        """Record operations from now on, of this batch."""
        if self.aside < MOST_ASIDE:
            self.recording.start(seen)

    def _outputs_of(self, seen: BatchSeen) -> list[Tensor]:
        return [one for reference, _, batch in self.outputs if batch is seen and (one := reference()) is not None]

    def stop_recording(self) -> None:
        """Keep what was recorded with its batch."""
        self.aside += self.recording.stop()

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


@guarded
def _note_call(eye: Eye, kind: Any, name: str, args: Any, kwargs: Any) -> None:
    values = [value for value in (*args, *kwargs.values()) if isinstance(value, (int, float))]
    eye.event(kind, value=values[0] if values else None, function=name, turn=eye.items)
