"""An update whose batch is done in parts, one a thread, each from the forward pass to its gradients.

Torch's threads share out one operation, wait for each other, and share out the next: kernels that take a tenth of a
millisecond gain little, and those that do not share their work gain nothing. Parts of a batch need not wait before
their gradients are added up. Numbers are those of the plain update but for the order of sums.

A thread of torch's that has just worked waits for more for milliseconds, and takes a core all the while. So torch has
one thread from the first such update to ``rest``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.outcome import Outcome, together
from netwright.plans.drawing import Draws, Given, Mask, OtherDrawsError, draws_of
from netwright.plans.fusing import move_of
from netwright.plans.operations import NoProgramError
from netwright.plans.recording import gradients_of
from netwright.plans.tracing import graph_of, layout_of, refuse, tensors_of
from netwright.step import Move, Program, StepResult, TrainState, backward_share, forward, gradients, stepwise

LEAST_PART = 4  # samples


@dataclass(slots=True)
class Split(Program):
    """Does updates of batches large enough to be split; of others only the optimizer's step is another.

    Attributes:
        parts: Into which a batch goes, and threads that are busy with one each.
        draws: What dropout draws for batches of one shape; others are not split where it draws.
        twins: States with modules of their own, whose parameters lie where those of the state's own module do.
        tensors: Parameters and buffers of that module, each with a twin's; ``modules`` likewise.
    """

    parts: int
    draws: Draws
    move: Move | None
    twins: list[TrainState] = field(default_factory=list)
    tensors: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    modules: list[tuple[nn.Module, nn.Module]] = field(default_factory=list)
    pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.parts - 1, "netwright-part", lambda: torch.set_num_threads(1))

    def attempt(self, state: TrainState, batch: Batch) -> StepResult:
        """Do one update."""
        if len(batch) < LEAST_PART * self.parts or not self.draws.fit(batch):
            self.rest()
            return stepwise(state, batch, move=self.move)
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        return stepwise(state, batch, find=self._find, move=self.move)

    def rest(self) -> None:
        """Give torch all its threads again."""
        if torch.get_num_threads() != self.parts:
            torch.set_num_threads(self.parts)

    def _find(self, state: TrainState, batch: Batch) -> Outcome:
        self._see_to_twins(state)
        parts, objective = batch.split(self.parts), state.recipe.objective
        counts = [objective.count(part) for part in parts]
        if not all(counts):  # a part without a target would have 0 / 0 for its mean
            self.rest()
            return gradients(state, batch)
        total = sum(counts[1:], start=counts[0])
        before = torch.get_rng_state()
        masks = self.draws.masks([len(part) for part in parts])
        shares = [None if objective.sums else count / total for count in counts]
        try:
            found = self._done(
                [partial(_part, *one) for one in zip((state, *self.twins), parts, shares, masks, strict=True)]
            )
        except OtherDrawsError:  # a loop of one's own has changed a dropout
            self.draws = replace(self.draws, shapes=())
            self.rest()
            torch.set_rng_state(before)
            for parameter in state.parameters:
                parameter.grad = None
            return gradients(state, batch)
        self._add_up(state)
        return together(found, total)

    def _done(self, work: list[Callable[[], Outcome]]) -> list[Outcome]:
        others = [self.pool.submit(one) for one in work[1:]]
        try:
            return [work[0](), *(one.result() for one in others)]
        finally:
            wait(others)  # none may go on beside what comes next

    def _see_to_twins(self, state: TrainState) -> None:
        """Make them, or have them as the module is now: a loop of one's own may have frozen or replaced what it has."""
        if not self.twins:
            for _ in range(self.parts - 1):
                model, recipe = copy.deepcopy((state.model, state.recipe))
                self.twins.append(replace(state, model=model, recipe=recipe, program=None))
                own, its = tensors_of(state.model), tensors_of(model)
                self.tensors += [(one, its[name]) for name, one in own.items()]
                self.modules += zip(state.model.modules(), model.modules(), strict=True)
        for one, other in self.tensors:
            other.data = one.data
            if one.requires_grad is not other.requires_grad:
                other.requires_grad_(one.requires_grad)
        for module, twin in self.modules:
            twin.training = module.training

    def _add_up(self, state: TrainState) -> None:
        for twin in self.twins:
            held: list[tuple[Tensor, Tensor]] = []
            for mine, its in zip(state.parameters, twin.parameters, strict=True):
                if mine.grad is None:
                    mine.grad = its.grad
                elif its.grad is not None:
                    held.append((mine.grad, its.grad))
            torch._foreach_add_([mine for mine, _ in held], [its for _, its in held])


def split(state: TrainState, batch: Batch) -> Callable[[], Split]:
    """What makes the plan for a state like this one.

    Raises:
        NoProgramError: A batch cannot be split, or its parts would not be independent, and why.
    """
    refuse(state)
    parts = torch.get_num_threads()
    if parts == 1:
        raise NoProgramError("torch has one thread")
    if len(batch) < LEAST_PART * parts:
        raise NoProgramError(f"a batch of {len(batch)} samples is too small for {parts} threads")
    if not state.recipe.objective.additive:
        raise NoProgramError("of a loss of your own it is not known how those of parts add up")
    layout, move = layout_of(state, batch), move_of(state.optimizer)
    example = [*(one.detach() for one in tensors_of(state.model).values()), *layout.of_batch(batch)]
    graph_of(state, gradients_of(state, layout), example)  # which refuses a module that does more than compute
    before = {name: one._version for name, one in state.model.named_buffers()}
    draws = draws_of(state, batch, parts)
    changed = [name for name, one in state.model.named_buffers() if one._version != before[name]]
    if changed:
        raise NoProgramError(f"forward changes {changed[0]}, and parts would each do so")
    return partial(Split, parts, draws, None if isinstance(move, str) else move)


def _part(state: TrainState, batch: Batch, share: Tensor | float | None, masks: list[Mask]) -> Outcome:
    """A part's gradients, as a share of the whole batch's, in a state of its own."""
    for parameter in state.parameters:
        parameter.grad = None
    with Given(masks):
        outcome = forward(state, batch, tally=state.recipe.tally)
    return backward_share(state, outcome, share)
