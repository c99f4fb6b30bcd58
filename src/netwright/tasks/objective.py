"""A loss, and how the targets of a batch are handed to it.

Knows nothing of the loop or of files. ``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.batch import Batch, LossFunction
from netwright.errors import LossError, UsageError, unknown_name

# Of outputs (a tensor; of several answers a dict) and a batch, the arguments of a loss.
Hand = Callable[[Any, Batch], tuple[Any, ...]]
IGNORE_INDEX = -100  # torch.nn.CrossEntropyLoss's default


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss, and how outputs and targets are handed to it.

    Attributes:
        loss_fn: Called on the whole batch, as the person made it.
        hand: What it is called with, made of the module's outputs and the batch.
        name: For people.
        reason: Why this loss, and why handed over like this.
        count_of: By what its mean is divided, where that is not the number of samples, or of targets not ignored.
    """

    loss_fn: Callable[..., Any]  # usually gives a Tensor; ``check_loss`` refuses what does not
    hand: Hand
    name: str
    reason: str
    count_of: Callable[[Batch], Tensor | int] | None = None

    def __call__(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss, as the person's object gives it: usually a mean, float (0-d)."""
        loss: Tensor = self.loss_fn(*self.hand(outputs, batch))
        return loss

    def count(self, batch: Batch) -> Tensor | int:
        """By what the loss's mean was divided: targets not ignored, or the sum of their class weights.

        A sum or a loss of unknown reduction has no divisor that we know; then it is the number of samples.
        """
        if self.count_of is not None:
            return self.count_of(batch)
        loss_fn = self.loss_fn
        if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) and not batch.target.is_floating_point():
            valid = batch.target != loss_fn.ignore_index
            if loss_fn.weight is None:
                return valid.sum()
            # Chosen by no mask: what is chosen would be of a size that depends on the targets.
            weights = loss_fn.weight[batch.target.clamp(0, len(loss_fn.weight) - 1)]
            return (weights * valid).sum()
        return len(batch)

    def mean(self, loss: Tensor, count: Tensor | int) -> Tensor:
        """The loss by target, where it is a sum; itself where it is a mean already."""
        return loss / count if self.sums else loss

    @property
    def additive(self) -> bool:
        """Whether parts of a batch, weighed by their counts, are known to add up to the loss of the whole."""
        return self.sums or self.count_of is not None or type(self.loss_fn).__module__.startswith("torch.nn.")

    @property
    def sums(self) -> bool:
        """Whether the loss is a sum over samples, so that micro-batches just add up."""
        return getattr(self.loss_fn, "reduction", None) == "sum"


def as_given(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Outputs and targets as they are."""
    return outputs, batch.target


def one_hot(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Classes (B,) as rows of 0 and 1, (B, C), in the outputs' dtype."""
    return outputs, functional.one_hot(batch.target, outputs.shape[1]).to(outputs.dtype)


def like_outputs(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Targets in the shape and dtype of the outputs, so that nothing broadcasts."""
    return outputs, batch.target.reshape(outputs.shape).to(outputs.dtype)


def signs(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Targets as -1 and 1, a column for each of the outputs'."""
    hand = one_hot if outputs.ndim > 1 and outputs.shape[1] > 1 else like_outputs
    return outputs, 2 * hand(outputs, batch)[1] - 1


def by_position(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, C) and classes (B, T) with their positions laid end to end: (B * T, C) and (B * T,)."""
    return outputs.flatten(0, 1), batch.target.flatten()


def takes(loss_fn: LossFunction, *given: Any) -> bool:
    """Whether a loss can be called with these."""
    try:
        with torch.no_grad():
            return bool(torch.isfinite(loss_fn(*given)).all())
    except Exception:
        return False


def loss_name(loss_fn: LossFunction) -> str:
    """What to call a loss: its class or function."""
    return type(loss_fn).__name__ if isinstance(loss_fn, nn.Module) else getattr(loss_fn, "__name__", "loss")


def refuse_distances(loss_fn: LossFunction) -> None:
    """Refuse a loss of distances, which is given no answers.

    Raises:
        LossError: It is one.
    """
    if isinstance(loss_fn, nn.HingeEmbeddingLoss):
        raise LossError(
            where=f"--loss {loss_name(loss_fn)}",
            expected="a loss of answers",
            got="one of distances between pairs",
            cure="Compute it in a step of your own: nw.train(net, data, step=…).",
        )


def loss_names() -> dict[str, type[nn.Module]]:
    """All losses of ``torch.nn``, by class name."""
    return {
        name: kind
        for name, kind in vars(nn).items()
        if name.endswith("Loss") and inspect.isclass(kind) and issubclass(kind, nn.Module)
    }


def find_loss(name: str) -> type[nn.Module]:
    """The loss of ``torch.nn`` called ``name``: ``CrossEntropyLoss``, ``cross_entropy``, ``mse``.

    Raises:
        UnknownNameError: There is none; the nearest name is given.
    """

    def plain(text: str) -> str:
        return text.casefold().replace("_", "").removesuffix("loss")

    known = loss_names()
    for known_name, kind in known.items():
        if plain(known_name) == plain(name):
            return kind
    raise unknown_name("loss", name, known, where="--loss")


class LogOfProbabilities(nn.NLLLoss):
    """Cross entropy of probabilities (B, C), with their logarithm kept above the smallest float32."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over targets that are not ignored."""
        return super().forward(outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log(), targets)


# Losses of torch.nn that compare outputs and targets value by value, in the same shape.
ELEMENTWISE = frozenset(
    {"MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss", "PoissonNLLLoss", "KLDivLoss",
     "MultiLabelSoftMarginLoss"}
)  # fmt: skip


def check_loss(objective: Objective, outputs: Any, batch: Batch) -> None:
    """Call the loss once on a probe batch, before any update.

    Raises:
        LossError: It fails, or it is not one number with a gradient.
    """
    try:
        loss = objective(outputs, batch)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise LossError(
            where=f"{objective.name}",
            expected="outputs and targets that fit each other",
            got=f"outputs {_form(outputs)}, targets {_form(batch.targets)}: {str(error).splitlines()[0]}",
            cure="Leave out the loss to have one chosen, or change the module's output.",
        ) from error
    tensors = outputs.values() if isinstance(outputs, dict) else (outputs,)
    needs_gradient = any(one.requires_grad for one in tensors)
    if not isinstance(loss, Tensor) or loss.ndim != 0 or (needs_gradient and not loss.requires_grad):
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        if isinstance(loss, Tensor) and loss.ndim == 0:
            found = "a number without a gradient: it was detached, or made by item() or numpy()"
        raise LossError(
            where=objective.name,
            expected="one number (0-d tensor) with a gradient",
            got=found,
            cure='Take the mean of it, as reduction="mean", in torch alone.',
        )


def _form(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_form(one)}" for name, one in value.items())
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def balanced_weights(class_counts: tuple[int, ...]) -> Tensor:
    """Class weights N / (C * count), float32 (C,), as scikit-learn's ``class_weight="balanced"``."""
    counts = torch.tensor(class_counts, dtype=torch.float64)
    return (counts.sum() / (len(counts) * counts.clamp_min(1))).float()


def build_loss(kind: type[nn.Module], weight: Tensor | None) -> nn.Module:
    """Make a loss of ``torch.nn``, with class weights where it takes them.

    Raises:
        UsageError: Class weights are asked for and this loss takes none.
    """
    if weight is None:
        return kind()
    if kind is nn.BCEWithLogitsLoss and len(weight) == 2:
        return nn.BCEWithLogitsLoss(pos_weight=weight[1] / weight[0])
    if "weight" not in inspect.signature(kind).parameters or kind in (nn.BCELoss, nn.BCEWithLogitsLoss):
        no_weights(weight, kind.__name__)
    arguments: dict[str, Any] = {"weight": weight}
    return kind(**arguments)


def no_weights(weight: Tensor | None, loss: str) -> None:
    """Refuse class weights for a loss that takes none.

    Raises:
        UsageError: There are some.
    """
    if weight is not None:
        raise UsageError(
            where="--class-weights balanced",
            expected="a loss that takes class weights, as CrossEntropyLoss or NLLLoss",
            got=loss,
            cure="Leave out --class-weights, or change the loss.",
        )
