"""What lies around loaders and models while a script runs: counters of its loops, names of variables, maps of words.

A loop's counters are read each time that it asks its loader for the next batch; names are read once a pass.
"""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import Place, place_of_frame
from netwright.watch.looks import nbytes, plain
from netwright.watch.scopes import Numbers, frames, innermost, maps, names_of, numbers, sizes

MOST_BATCHES = 512  # of a pass whose counters are read after each batch
FIRST_PASSES = 3  # of which names are read
TRAINED_PASSES = 2  # of training whose counters are read: at each batch of a long one it costs too much
MOST_NAMES = 32
MOST_MAPS = 32
TRANSFORM = re.compile(r"transform|augment|is_train|^train$|^training$|^mode$")
MOST_WAITING = 64_000_000  # bytes of what waits
MOST_LOOKS = 200  # turns from training to evaluation or back, then at powers of two


@dataclass(slots=True)
class LoopSeen:
    """One pass of a loop over a loader, with the numbers that its function held.

    Attributes:
        epoch: The loader's pass, from 0.
        function: The person's code object's name; ``<genexpr>`` in a comprehension.
        start: Numbers before the first batch; ``values`` after each; ``end`` after the last, all that there are.
        rows: Samples of each batch.
        sizes: Lengths of what it held at the end, as ``len(loader.dataset)``.
        whole: Whether the pass came to its end, and all its batches were read.
        step: Optimizer steps done before it.
    """

    loader: int
    epoch: int
    place: Place | None
    function: str
    step: int
    start: Numbers = field(default_factory=dict)
    values: list[Numbers] = field(default_factory=list)
    end: Numbers = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    sizes: Numbers = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class MapSeen:
    """A dict from words or class names to numbers that a running function held, as it was then.

    Attributes:
        training: Whether the model was called with the graph on and in train mode meanwhile.
    """

    name: str
    function: str
    entries: dict[str, int]
    training: bool
    model: int
    identity: int


@dataclass(slots=True)
class Scene:
    """What of it was read so far.

    Attributes:
        open: Loops that run, by loader.
        sites: Forward passes in evaluation by model and place, since the last backward pass, and of which operations
            were recorded.
        last_eval: The last forward pass in evaluation that was kept.
        waiting: The last forward passes that could be training or evaluation, with what they were given.
        looked: By model, whether its last call was training, and at which pass of which loader.
    """

    open: dict[int, LoopSeen] = field(default_factory=dict)
    sites: dict[Any, int] = field(default_factory=dict)
    recorded: dict[Any, int] = field(default_factory=dict)
    last_eval: Any = None
    waiting: list[Any] = field(default_factory=list)
    looked: dict[int, Any] = field(default_factory=dict)
    looks: int = 0


def loop_turns(trace: Any, scene: Scene, seen: Any, item: Any, *, first: bool) -> None:
    """A loop asks for a batch and gets one: read its counters as they are after the batch before.

    Called from a function that the person's loop calls.
    """
    if seen.used and seen.passes > TRAINED_PASSES:
        return
    held = innermost(sys._getframe(2))
    if held is None:
        return
    if first:
        _begin(trace, scene, seen, held)
    loop = scene.open.get(seen.number)
    if loop is None:
        return
    if first:
        loop.start = numbers(held)
    elif len(loop.values) < MOST_BATCHES:
        loop.values.append(numbers(held))
    tensors = tensors_in(item)
    loop.rows.append(tensors[0].shape[0] if tensors and plain(tensors[0]) and tensors[0].ndim else 1)


def _begin(trace: Any, scene: Scene, seen: Any, held: FrameType) -> None:
    place = place_of_frame(held)
    scene.open[seen.number] = LoopSeen(seen.number, seen.passes - 1, place, held.f_code.co_name, trace.steps)
    if seen.passes > FIRST_PASSES:
        return
    wanted = {id(seen.loader): 0, id(getattr(seen.loader, "dataset", seen.loader)): 1}
    for at, name in names_of(wanted, held):
        known = seen.dataset_names if at and id(seen.loader) not in (id(seen.loader.dataset),) else seen.names
        if name not in known and len(known) < MOST_NAMES:
            known.append(name)
    seen.transforms.append(transforms_of(getattr(seen.loader, "dataset", None)))


def transforms_of(dataset: Any) -> dict[str, Any]:
    """What the innermost data set makes of its samples: its attributes of such names."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    own = getattr(dataset, "__dict__", {})
    return {name: value for name, value in own.items() if TRANSFORM.search(name) and not isinstance(value, Tensor)}


def loop_ends(trace: Any, scene: Scene, seen: Any) -> None:
    """A loop has had its last batch: read its counters, and keep the first two and the last two passes of each loop."""
    loop = scene.open.pop(seen.number, None)
    held = frames(sys._getframe(2))
    if loop is None or not held:
        return
    loop.end = numbers(held[0])
    loop.values.append(loop.end)
    loop.whole = len(loop.values) == len(loop.rows)
    for frame in held[:2] if loop.function.startswith("<") and loop.function != "<module>" else held[:1]:
        loop.sizes |= sizes(frame)
    moved = {name for name, value in loop.end.items() if loop.start.get(name) != value}
    loop.values = [{name: one[name] for name in moved if name in one} for one in loop.values]
    same = [one for one in trace.loops if (one.loader, one.place) == (loop.loader, loop.place)]
    if len(same) >= 4:
        trace.loops.remove(same[2])
    trace.loops.append(loop)


def look_around(eye: Any, module: nn.Module, number: int, *, training: bool) -> None:
    """Read names of a model and maps of words, where training turns to evaluation or back, or a loader begins anew."""
    now = (training, eye.loader)
    if eye.scene.looked.get(number) == now:
        return
    eye.scene.looked[number] = now
    eye.scene.looks += 1
    if eye.scene.looks > MOST_LOOKS and eye.scene.looks & (eye.scene.looks - 1):
        return
    frame = sys._getframe(3)
    model, trace = eye.trace.models[number], eye.trace
    for _, name in names_of({id(module): 0}, frame):
        if name in model.names or len(model.names) < MOST_NAMES:
            first = model.names.get(name, (model.backwards, 0))[0]
            model.names[name] = (first, model.backwards)
    with contextlib.suppress(RuntimeError):  # a dict that another thread changes
        for name, one in maps(frame):
            known = any(map_.identity == id(one) and len(map_.entries) == len(one) for map_ in trace.maps)
            if not known and len(trace.maps) < MOST_MAPS:
                eye.alive.append(one)  # so that its id stays its own
                function = next((held.f_code.co_name for held in frames(frame)), "")
                trace.maps.append(MapSeen(name, function, dict(one), training, number, id(one)))


def may_record(eye: Any, seen: Any, given: tuple[Any, ...], *, evaluating: bool) -> bool:
    """Whether operations after this forward pass are worth recording: the first two at each line of evaluation.

    Args:
        given: Its arguments, as they are.
    """
    model = eye.trace.models[seen.model]
    if not evaluating:
        return bool(model.backwards < 3)
    site = (seen.model, place_of(eye.trace, seen))
    done = eye.scene.recorded.get(site, 0)
    if done >= 2 or len(eye.scene.recorded) >= 12:
        return False
    eye.scene.recorded[site] = done + 1
    model.recorded.append(seen)
    tensors = [one for one in given if isinstance(one, Tensor)][:1]
    seen.names = tuple(dict.fromkeys(name for _, name in names_of({id(one): 0 for one in tensors}, sys._getframe(3))))
    return True


def place_of(trace: Any, seen: Any) -> Place | None:
    """The line of a forward pass; None where its event was not kept."""
    events = trace.events
    fits = seen.event < len(events) and events[seen.event].kind == "forward" and events[seen.event].who == seen.model
    return events[seen.event].place if fits else None


def modes(module: nn.Module) -> tuple[str, ...] | None:
    """Names of the submodules in train mode, the root's is empty; None where none is."""
    found = tuple(name for name, one in module.named_modules() if one.training)
    return found or None


def sources(given: list[tuple[Any, Any]], item: Any) -> tuple[tuple[Any, int, bool], ...]:
    """Which arguments are tensors of the loader's batch, or parts of one: (argument, number of the tensor, whole)."""
    held = tensors_in(item)
    found = []
    for name, value in given:
        for one in tensors_in(value):
            for at, tensor in enumerate(held):
                if one is tensor or _shares(one, tensor):
                    found.append((name, at, one.numel() == tensor.numel()))
                    break
    return tuple(found)


def _shares(one: Tensor, other: Tensor) -> bool:
    with contextlib.suppress(RuntimeError, NotImplementedError):
        return bool(one.numel()) and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
    return False


def keep_waiting(scene: Scene, seen: Any, args: Any, kwargs: Any, answer: Tensor | None) -> None:
    """Hold what a forward pass was given until it is known whether a backward pass follows; no copies."""
    scene.waiting.append((seen, args, kwargs, None if answer is None else answer.detach()))
    del scene.waiting[:-8]
    while len(scene.waiting) > 1 and nbytes([one[1:] for one in scene.waiting]) > MOST_WAITING:
        del scene.waiting[0]


def end_waiting(trace: Any, scene: Scene, copied: Any) -> None:
    """The script has ended: forward passes that no backward pass followed were evaluation."""
    for seen, args, kwargs, answer in scene.waiting:
        if seen.used or seen.args or seen.kwargs:
            continue
        seen.args, seen.kwargs, seen.output = copied(args), copied(kwargs), answer
        if answer is not None and isinstance(answer, torch.Tensor):
            seen.output = answer.clone()
        trace.models[seen.model].eval_batches.append(seen)
    scene.waiting.clear()
