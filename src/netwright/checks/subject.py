"""What is checked: a private copy of a module with a batch, targets, a loss and an optimizer, ready to be tried out.

The same for a module with its data (``check``) and for what a training script was seen to do (``watch``). Checks work
on copies and may seed, train and break them; the person's own objects are never called from here.

``B`` is the number of samples.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.facts import OptimizerFacts, Samples
from netwright.checks.sourcecode import Sources

Inputs = dict[str, Tensor]
# A prime number of rows: an axis of the batch is then told from every other by its length alone.
PRIMES = (7, 11, 5, 13, 3)


class NotCheckedError(Exception):
    """Why a check could not be done, as a sentence for the person."""


def has_timer() -> bool:
    """Whether signals can be had that end what takes too long: in the main thread, not on Windows."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


@dataclass(slots=True)
class Budget:
    """Time that all checks share."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)

    def left(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.seconds - (time.perf_counter() - self.started))

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Import a large library inside: a limit waits meanwhile, and the time that it takes is none of the checks'."""
        began = time.perf_counter()
        left, again = signal.setitimer(signal.ITIMER_REAL, 0) if has_timer() else (0.0, 0.0)
        try:
            yield
        finally:
            self.started += time.perf_counter() - began
            if left:
                signal.setitimer(signal.ITIMER_REAL, left, again)


@dataclass(slots=True)
class Subject:
    """One module as it is trained, on a batch of its own.

    Attributes:
        model: A pristine private copy, on the CPU, with the weights it starts from. Copy it again to change it.
        trained: A private copy with the weights at the end of training; None where there was none.
        pool: Inputs of up to some hundred training samples by the names of forward's parameters, each (N, ...).
        pool_targets: Their targets, (N, ...); of several answers a dict; None where they are not known.
        caller: Of a module and inputs, what it returns, as it is.
        find: Of what it returned the answer: a tensor, or a dict of such.
        objective: Of what ``find`` gave, inputs and targets the loss, 0-d; None where it is not known.
        loss_fn: The person's loss object or function, where there is one; ``loss_name`` what to call it.
        exact: Whether ``objective`` is the whole loss that is trained on.
        task: Name of the kind of answer, as classification; None where it is not known.
        num_classes: Where targets are classes.
        class_names: Their names, where known.
        optimizer: What is known of the optimizer; None where there is none.
        make_optimizer: Of a copy of the module and a factor of the rate, a like optimizer.
        total_steps, steps_per_epoch, batch_size: Of the planned run, 0 where unknown.
        schedule: Factor of the rate at a step.
        splits: Samples as the module gets them, by split: train, val, test.
        sources: The person's source code.
        original: The person's own module, only to be looked at (names, ids), never called.
        name: What to call it.
        lengths, mask, tokens: Names of the inputs that hold lengths, the mask of real positions, token ids.
    """

    model: nn.Module
    pool: Inputs
    pool_targets: Any
    caller: Callable[[nn.Module, Inputs], Any]
    find: Callable[[Any], Any]
    budget: Budget
    objective: Callable[[Any, Inputs, Any], Tensor] | None = None
    loss_fn: Any = None
    loss_name: str = ""
    exact: bool = True
    task: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    optimizer: OptimizerFacts | None = None
    make_optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] | None = None
    max_grad_norm: float | None = None
    total_steps: int = 0
    steps_per_epoch: int = 0
    batch_size: int = 0
    schedule: Callable[[int], float] | None = None
    splits: dict[str, Samples] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources)
    original: nn.Module | None = None
    trained: nn.Module | None = None
    name: str = "the module"
    kind: str | None = None
    pad_id: int | None = None
    lengths: str | None = None
    mask: str | None = None
    tokens: str | None = None
    forward_s: float = 0.0
    cache: dict[str, Any] = field(default_factory=dict)  # what one check found and another may use

    def fresh(self, *, train: bool = False, dtype: torch.dtype | None = None) -> nn.Module:
        """A new copy of the module, to be changed at will, in train or eval mode."""
        model = copy_module(self.model)
        if dtype is not None:
            model.to(dtype)
        return set_mode(model, train=train)

    def rows(self, count: int | None = None) -> tuple[Inputs, Any]:
        """Inputs and targets of the first samples of the pool, as copies.

        Args:
            count: None: a prime number of samples that no other axis of the inputs has.

        Raises:
            NotCheckedError: The pool holds fewer than 2.
        """
        have = self.pool_size
        if count is None:
            others = {size for value in self.pool.values() for size in value.shape[1:]}
            fitting = [prime for prime in PRIMES if prime <= have]
            free = [prime for prime in fitting if prime not in others]
            count = (free or fitting or [have])[0]
        count = min(count, have)
        if count < 2:
            raise NotCheckedError("there is only one sample to try the module on")
        inputs = {name: value[:count].clone() for name, value in self.pool.items()}
        return inputs, pick(self.pool_targets, slice(0, count))

    @property
    def pool_size(self) -> int:
        """Samples in the pool."""
        return len(next(iter(self.pool.values())))

    def call(self, model: nn.Module, inputs: Inputs, *, seed: int = 0, grad: bool = False) -> Any:
        """What the module returns for inputs, its draws seeded.

        Raises:
            NotCheckedError: The module raised.
        """
        _seed(seed)
        try:
            with torch.set_grad_enabled(grad), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.caller(model, inputs)
        except Exception as error:
            mode = "train" if model.training else "eval"
            raise NotCheckedError(
                f"the module raised in {mode} mode: {type(error).__name__}: {first_line(error)}"
            ) from error

    def answer(self, model: nn.Module, inputs: Inputs, *, seed: int = 0, grad: bool = False) -> Tensor:
        """The one answer of the module, (B, ...).

        Raises:
            NotCheckedError: The module raised, or gave no tensor, or several answers.
        """
        found = self.found(self.call(model, inputs, seed=seed, grad=grad))
        if isinstance(found, Mapping):
            tensors = [value for value in found.values() if isinstance(value, Tensor)]
            if not tensors:
                raise NotCheckedError("the module gave no tensor")
            found = found.get("logits", tensors[0])
        answer: Tensor = found
        return answer

    def found(self, returned: Any) -> Any:
        """The answer in what was returned.

        Raises:
            NotCheckedError: There is none.
        """
        try:
            return self.find(returned)
        except Exception as error:
            raise NotCheckedError(f"no answer was found in what the module returned: {first_line(error)}") from error

    def loss(self, model: nn.Module, inputs: Inputs, targets: Any, *, seed: int = 0, grad: bool = True) -> Tensor:
        """The loss of a module on a batch, 0-d.

        Raises:
            NotCheckedError: There is no loss, or the module or the loss raised.
        """
        found = self.found(self.call(model, inputs, seed=seed, grad=grad))
        return self.loss_of(found, inputs, targets, grad=grad)

    def loss_of(self, found: Any, inputs: Inputs, targets: Any, *, grad: bool = True) -> Tensor:
        """The loss of an answer, 0-d.

        Raises:
            NotCheckedError: There is no loss, or it raised, or is not one number.
        """
        if self.objective is None or targets is None:
            raise NotCheckedError("the loss is not known")
        try:
            with torch.set_grad_enabled(grad), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss = self.objective(found, inputs, targets)
        except Exception as error:
            raise NotCheckedError(f"the loss raised: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise NotCheckedError("the loss is not one number")
        return loss.reshape(())

    def optimizer_for(self, model: nn.Module, factor: float = 1.0) -> torch.optim.Optimizer:
        """An optimizer like the person's for a copy of the module, its rates times ``factor``.

        Raises:
            NotCheckedError: It cannot be made.
        """
        if self.make_optimizer is None:
            raise NotCheckedError("the optimizer is not known")
        return self.make_optimizer(model, factor)

    def need(self, seconds: float, what: str) -> None:
        """Go on only where so much time is left.

        Raises:
            NotCheckedError: It is not.
        """
        if self.budget.left() < seconds:
            raise NotCheckedError(f"{what} would take about {seconds:.1f} s and {self.budget.left():.1f} s are left")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def pick(values: Any, where: Any) -> Any:
    """Some rows of a tensor, or of each tensor of a dict, list or tuple, as copies; None stays None."""
    if isinstance(values, Tensor):
        return values[where].clone() if values.ndim else values
    if isinstance(values, Mapping):
        return {name: pick(value, where) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(pick(value, where) for value in values)
    return values


def copy_module(model: nn.Module) -> nn.Module:
    """A deep copy; tensors with a graph that the module keeps, as a hidden state, are copied without it.

    Raises:
        NotCheckedError: It cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, Tensor) and not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:
        raise NotCheckedError(f"the module cannot be copied: {type(error).__name__}: {first_line(error)}") from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied


def set_mode(model: nn.Module, *, train: bool) -> nn.Module:
    """Set train or eval mode; of a module whose own ``train`` or ``eval`` does something else, flag by flag."""
    try:
        (model.train if train else model.eval)()
    except Exception:
        for module in model.modules():
            module.training = train
    return model


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    """Remove hooks afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seed(seed: int) -> None:
    """As ``torch.manual_seed``, which for devices that nothing was done on yet notes three stacks in words: 0.2 ms."""
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
