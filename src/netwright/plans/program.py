"""An update as one program: compiled for the processor or the GPU, or captured as a CUDA graph."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from netwright.batch import Batch
from netwright.native import CACHE, cache_folder
from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import Layout, Traced, put_steps_on_device, trace
from netwright.step import Program, StepResult, TrainState
from netwright.sums import Sums

Run = Callable[[list[Tensor]], Any]
NORMS, NORM = torch.ops.aten._foreach_norm.Scalar, torch.ops.aten.linalg_vector_norm.default
WARM_UP = 3  # updates on a side stream before a CUDA graph is captured, as torch's documentation asks


@dataclass(slots=True)
class Compiled(Program):
    """Stands in for an update's operations where a batch is as the one that it was made for.

    Attributes:
        run: Takes all arguments in the layout's order, changes them in place, gives the loss and whether all is finite.
        shapes: Of all arguments, each with its strides and dtype; a batch's are the last ones.
    """

    run: Run
    layout: Layout
    rates: Tensor
    shapes: tuple[Any, ...]
    fixed: list[Tensor] = field(default_factory=list)
    sums: Sums | None = None

    def attempt(self, state: TrainState, batch: Batch) -> StepResult | None:
        """Do one update, whose rates the optimizer holds; None where a batch is not like the one it was made for.

        Nor is it done before the optimizer has its state, which it has after a first update.
        """
        brought = self.layout.of_batch(batch)
        if not fit(brought, self.shapes[-len(brought) :]):
            return None
        if self.sums is None and not self.layout.ready(state):
            return None
        return self._do(state, brought)

    def _do(self, state: TrainState, brought: list[Tensor]) -> StepResult | None:
        if state.sums is not self.sums:  # a new pass has new sums
            fixed = self.layout.fixed(state, self.rates)
            if not fit(fixed, self.shapes[: len(fixed)]):  # as of weights that were loaded with other strides
                return None
            self.fixed, self.sums = fixed, state.sums
        state.sums.settle()
        rates = self.rates.numpy()
        for place, group in enumerate(state.optimizer.param_groups):
            rates[place] = group["lr"]
        loss, finite = self.run(self.fixed + brought)
        return StepResult(loss, not state.recipe.check_each_loss or bool(finite))


@dataclass(slots=True)
class Captured(Compiled):
    """A program whose kernels are recorded once as a CUDA graph, and then started all together.

    Attributes:
        held: The arguments that a batch is copied into.
        set_to: The rates that the device has.
    """

    held: list[Tensor] = field(default_factory=list)
    set_to: list[float] = field(default_factory=list)
    graph: Any = None
    found: tuple[Tensor, Tensor] | None = None

    def _do(self, state: TrainState, brought: list[Tensor]) -> StepResult | None:
        rates = [float(group["lr"]) for group in state.optimizer.param_groups]
        if self.graph is None:
            self._record(state, brought)
        elif state.sums is not self.sums and self.sums is not None:
            self.sums.take(state.sums)  # a new pass: its sums go on in the recorded tensors
            state.sums = self.sums
        if rates != self.set_to:
            for number, rate in enumerate(rates):
                self.rates[number].fill_(rate)  # a copy of a tensor of rates would wait for the device
            self.set_to = rates
        for place, value in zip(self.held, brought, strict=True):
            place.copy_(value, non_blocking=True)
        self.graph.replay()
        loss, finite = self.found or (self.rates, self.rates)
        return StepResult(loss.clone(), not state.recipe.check_each_loss or bool(finite))

    def _record(self, state: TrainState, brought: list[Tensor]) -> None:
        put_steps_on_device(state)
        self.fixed, self.sums = self.layout.fixed(state, self.rates), state.sums
        self.held = [one.clone() for one in brought]
        drawn = torch.cuda.get_rng_state(state.device)
        aside = torch.cuda.Stream(state.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(aside):
            spare = [one.clone() for one in (*self.fixed, *self.held)]
            for _ in range(WARM_UP):
                self.run(spare)
        torch.cuda.current_stream(state.device).wait_stream(aside)
        del spare
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # a checkpoint may be written meanwhile
            self.found = self.run([*self.fixed, *self.held])
        torch.cuda.set_rng_state(drawn, state.device)


def shapes_of(values: list[Tensor]) -> tuple[Any, ...]:
    """Shapes, strides and dtypes, which are the same for all batches that a program takes."""
    return tuple((one.shape, one.stride(), one.dtype) for one in values)


def fit(values: list[Tensor], shapes: tuple[Any, ...]) -> bool:
    """Whether tensors have these shapes, strides and dtypes."""
    for value, (shape, stride, dtype) in zip(values, shapes, strict=True):  # a generator takes twice as long
        if value.shape != shape or value.dtype is not dtype or value.stride() != stride:
            return False
    return True


def compiled(state: TrainState, batch: Batch) -> Callable[[], Compiled]:
    """What makes programs of the update of a state, compiled for its device.

    Raises:
        NoProgramError: It cannot be traced, or not be compiled here, as without a C++ compiler.
    """
    traced = trace(state, batch)
    return partial(program_of, traced, _compiled(traced))


def captured(state: TrainState, batch: Batch) -> Callable[[], Compiled]:
    """What makes programs of the update of a state on a GPU: torch's own kernels, recorded and started together.

    Raises:
        NoProgramError: It cannot be traced.
    """
    traced = trace(state, batch, at_once=True)
    return partial(program_of, traced, plainly(traced))


def _compiled(traced: Traced) -> Run:
    """A traced update, compiled by torch's inductor; what was compiled before is taken from the user's cache."""
    import torch._inductor.config as config
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    on_cpu = traced.example[0].device.type == "cpu"
    # What calls the kernels is C++ too. Shapes and strides are compared here, once a pass, and not at every call.
    options: dict[str, Any] = {"cpp_wrapper": True, "size_asserts": False, "alignment_asserts": False} if on_cpu else {}
    _by_themselves(traced.graph)
    graph: Any = traced.graph
    inner: list[tuple[Any, list[Any]]] = []

    def kept(module: Any, inputs: Any, **more: Any) -> Any:
        inner.append((compile_fx_inner(module, inputs, **more), [getattr(one, "shape", None) for one in inputs]))
        return inner[-1][0]

    try:
        with (
            warnings.catch_warnings(),
            _users_cache(),
            config.patch(fallback_random=True, fx_graph_cache=True, **options),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            made: Any = compile_fx(graph, list(traced.example), inner_compile=kept)
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NoProgramError(f"it cannot be compiled: {text[:160]}") from error

    call: Any = torch.no_grad()(made)
    if on_cpu and len(inner) == 1:
        entry, shapes = inner[0]
        # Constants are handed over too: called without them kernels would read past what they are given.
        if shapes == [one.shape for one in traced.example] and _same(traced, call, entry.current_callable):
            return entry.current_callable  # type: ignore[no-any-return]
    return lambda given: call(*given)


@contextlib.contextmanager
def _users_cache() -> Iterator[None]:
    """torch's compiler keeps what it makes in the user's cache, and not among temporary files."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = str(cache_folder())
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before


def _same(traced: Traced, call: Callable[..., Any], inner: Any) -> bool:
    """Whether the compiled kernels' own entry does what torch's wrappers around it do, which take 15 µs a call."""
    given = [[one.clone() for one in traced.example] for _ in range(2)]
    drawn = torch.get_rng_state()
    try:
        found: list[Tensor] = list(call(*given[0]))
        torch.set_rng_state(drawn)
        other: list[Tensor] = list(inner(list(given[1])))
    except Exception:  # torch calls it otherwise
        return False
    finally:
        torch.set_rng_state(drawn)
    pairs = zip([*found, *given[0]], [*other, *given[1]], strict=False)
    return len(found) == len(other) and all(torch.equal(one, two) for one, two in pairs)


def _by_themselves(graph: GraphModule) -> None:
    """Take norms of many tensors one by one: inductor makes kernels of those, and calls torch for the others."""
    for node in list(graph.graph.nodes):
        node.meta = {}  # what tracing found out belongs to its own tensors: inductor finds it out again
        if node.target is not NORMS or node.kwargs or node.args[1:] not in ((), (2,), (math.inf,)):
            continue
        with graph.graph.inserting_before(node):
            each = [graph.graph.call_function(NORM, (one, *node.args[1:])) for one in node.args[0]]
        for user in list(node.users):
            user.replace_all_uses_with(each[user.args[1]])
            graph.graph.erase_node(user)
        graph.graph.erase_node(node)
    graph.recompile()


def plainly(traced: Traced) -> Run:
    """A traced update, one operation after the other."""

    def run(given: list[Tensor]) -> Any:
        with torch.no_grad():
            return traced.graph(*given)

    return run


def program_of(traced: Traced, run: Run) -> Compiled:
    """A program for the state that a trace was made of, or for a copy of it; on a GPU it will be recorded."""
    places, device = traced.layout.groups, traced.example[0].device
    rates = torch.zeros(places, dtype=torch.float64, device=device)
    kind = Captured if device.type == "cuda" else Compiled
    return kind(run, traced.layout, rates, shapes_of(list(traced.example)))
