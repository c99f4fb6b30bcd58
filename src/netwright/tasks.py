"""What kind of answer a model gives: which loss fits, how outputs become predictions.

Looks at a probe batch – what the module really emits, and the targets – and says why it chose. Knows nothing of
the loop or of files. ``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.errors import LossError, ModelError, UsageError, unknown_name
from netwright.records import DataSpec

OutputKind = Literal["logits", "log_probs", "probs", "sigmoids", "value"]
TargetForm = Literal["as_given", "one_hot", "like_outputs", "signs"]
LossFunction = Callable[[Tensor, Tensor], Tensor]

# How far a row of float32 probabilities may be from summing to 1 and still be one: rounding of C terms.
SUM_TOLERANCE = 1e-4
# Operations of the graph that move values about and change none.
RESHAPES = (
    "Squeeze", "Unsqueeze", "View", "UnsafeView", "Reshape", "Select", "Slice", "Clone", "ToCopy", "Alias", "Permute",
    "Transpose", "TBackward", "Expand", "Contiguous",
)  # fmt: skip
IGNORE_INDEX = -100  # torch.nn.CrossEntropyLoss's default


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss, and how targets are handed to it.

    Attributes:
        loss_fn: Called as ``loss_fn(outputs, targets)`` on the whole batch, as the person made it.
        form: What is done with the targets before: nothing, one-hot, given the outputs' shape and dtype, or
            one of these with -1 in the place of 0.
        name: For people.
        reason: Why this loss, and why this form.
    """

    loss_fn: LossFunction
    form: TargetForm
    name: str
    reason: str

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss, as the person's object gives it: usually a mean, float (0-d)."""
        columns = outputs.shape[1] if outputs.ndim > 1 else 1
        if self.form == "one_hot" or (self.form == "signs" and columns > 1):
            targets = functional.one_hot(targets, columns).to(outputs.dtype)
        elif self.form in ("like_outputs", "signs"):
            targets = targets.reshape(outputs.shape).to(outputs.dtype)
        if self.form == "signs":
            targets = 2 * targets - 1
        return self.loss_fn(outputs, targets)

    def count(self, targets: Tensor) -> Tensor | int:
        """By what the loss's mean was divided: targets not ignored, or the sum of their class weights.

        A sum or a loss of unknown reduction has no divisor that we know; then it is the number of samples.
        """
        loss_fn = self.loss_fn
        if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) and not targets.is_floating_point():
            valid = targets != loss_fn.ignore_index
            if loss_fn.weight is None:
                return valid.sum()
            return loss_fn.weight[targets[valid]].sum()
        return len(targets)

    def mean(self, loss: Tensor, count: Tensor | int) -> Tensor:
        """The loss by target, where it is a sum; itself where it is a mean already."""
        return loss / count if self.sums else loss

    @property
    def sums(self) -> bool:
        """Whether the loss is a sum over samples, so that micro-batches just add up."""
        return getattr(self.loss_fn, "reduction", None) == "sum"


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


def output_kind(outputs: Tensor) -> tuple[OutputKind, str]:
    """Tell what a module emits from the values of a probe batch.

    Args:
        outputs: float (B, C), or (B,) / (B, 1) for one value a sample.

    Returns:
        The kind, and the evidence in words.
    """
    values = outputs.detach().float()
    if values.ndim < 2 or values.shape[1] == 1:
        if last_operation(outputs).startswith("Sigmoid"):
            return "probs", "one value a sample, and it comes out of a sigmoid"
        return "value", "one value a sample"
    ones = torch.ones(())
    if bool((values >= 0).all()) and torch.allclose(values.sum(1), ones, atol=SUM_TOLERANCE):
        return "probs", f"{len(values)} of {len(values)} probe rows are non-negative and sum to 1"
    if torch.allclose(values.exp().sum(1), ones, atol=SUM_TOLERANCE):
        return "log_probs", f"in {len(values)} of {len(values)} probe rows exp(output) sums to 1: log-probabilities"
    if last_operation(outputs).startswith("Sigmoid"):
        return "sigmoids", "each column comes out of a sigmoid, and rows do not sum to 1"
    return "logits", "rows are unnormalised: logits"


def last_operation(outputs: Tensor) -> str:
    """Name of the last operation of the graph that changed values, past those that only change shapes."""
    node = outputs.grad_fn
    while node is not None and type(node).__name__.startswith(RESHAPES) and node.next_functions:
        node = node.next_functions[0][0]
    return "" if node is None else type(node).__name__


class LogOfProbabilities(nn.NLLLoss):
    """Cross entropy of probabilities (B, C), with their logarithm kept above the smallest float32."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over targets that are not ignored."""
        return super().forward(outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log(), targets)


@dataclass(frozen=True, slots=True)
class Task:
    """Classification or regression of one target, with what the module emits for it."""

    name: Literal["classification", "regression"]
    num_classes: int
    kind: OutputKind
    evidence: str

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Outputs as probabilities, float32 (B, C); for regression the values themselves, float32 (B, ...)."""
        outputs = outputs.float()
        if self.name == "regression":
            return outputs
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            positive = outputs.reshape(-1)
            positive = positive if self.kind == "probs" else positive.sigmoid()
            return torch.stack((1 - positive, positive), dim=1)
        if self.kind == "sigmoids":
            return outputs / outputs.sum(1, keepdim=True).clamp_min(torch.finfo(outputs.dtype).tiny)
        return outputs if self.kind == "probs" else outputs.softmax(1)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum that the running metric is made of, 0-d: right answers, or absolute errors in regression."""
        if self.name == "regression":
            return (outputs.reshape(targets.shape) - targets).abs().reshape(len(targets), -1).mean(1).sum()
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            threshold = 0.5 if self.kind == "probs" else 0.0
            return ((outputs.reshape(-1) > threshold) == targets).sum()
        return (outputs.argmax(1) == targets).sum()

    def answers(self, targets: Tensor) -> Tensor | int:
        """By what ``right`` is divided: samples, less those whose class is to be ignored."""
        return len(targets) if self.name == "regression" else (targets >= 0).sum()

    @property
    def metric(self) -> str:
        """Name of the running metric."""
        return "accuracy" if self.name == "classification" else "mae"


def make_task(spec: DataSpec, outputs: Tensor) -> Task:
    """Fit the data's task to what the module emits.

    Raises:
        ModelError: The outputs' shape does not answer the task, as 8 columns for 10 classes.
    """
    kind, evidence = output_kind(outputs)
    if spec.task == "regression":
        wanted = spec.target.shape
        if outputs.shape[1:].numel() != torch.Size(wanted).numel():
            raise ModelError(
                where="the module's output",
                expected=f"{torch.Size(wanted).numel()} value(s) a sample, as the targets have",
                got=f"shape (B, {', '.join(map(str, outputs.shape[1:]))})",
                cure="Change the size of the last layer.",
            )
        return Task("regression", 0, "value", evidence)
    classes = len(spec.classes or ())
    columns = 1 if outputs.ndim == 1 else outputs.shape[1]
    if outputs.ndim > 2 or not (columns == classes or (columns == 1 and classes == 2)):
        shape = f"(B, {', '.join(map(str, outputs.shape[1:]))})" if outputs.ndim > 1 else "(B,)"
        raise ModelError(
            where="the module's output",
            expected=f"{classes} columns, one for each class of {spec.name} ({_some(spec.classes or ())})",
            got=f"{columns} column(s): shape {shape}",
            cure=f"Give the last layer {classes} outputs, as nn.Linear(…, {classes}).",
        )
    return Task("classification", classes, kind, evidence)


def propose_loss(task: Task, weight: Tensor | None = None) -> Objective:
    """Choose the loss from the task and from what the module emits.

    Args:
        task: From ``make_task``.
        weight: Class weights, float32 (C,), where classes are to be balanced.
    """
    if task.name == "regression":
        return Objective(nn.MSELoss(), "like_outputs", "MSELoss", f"the targets are real numbers; {task.evidence}")
    if task.kind in ("value",):
        pos_weight = None if weight is None else weight[1] / weight[0]
        loss = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
        return Objective(loss, "like_outputs", "BCEWithLogitsLoss", f"two classes, {task.evidence}")
    if task.kind == "log_probs":
        return Objective(nn.NLLLoss(weight), "as_given", "NLLLoss", task.evidence)
    if task.kind == "probs":
        if task.evidence.startswith("one value"):
            _no_weights(weight, "BCELoss")
            return Objective(nn.BCELoss(), "like_outputs", "BCELoss", f"two classes, {task.evidence}")
        reason = f"{task.evidence}: probabilities, so their logarithm is taken (logits would train better)"
        return Objective(LogOfProbabilities(weight), "as_given", "NLLLoss of log(output)", reason)
    if task.kind == "sigmoids":
        _no_weights(weight, "BCELoss")
        return Objective(nn.BCELoss(), "one_hot", "BCELoss", task.evidence)
    return Objective(nn.CrossEntropyLoss(weight), "as_given", "CrossEntropyLoss", task.evidence)


def use_loss(task: Task, loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> Objective:
    """Fit a person's loss to the targets; it is called as it is.

    Raises:
        LossError: Loss, outputs and targets contradict each other.
    """
    name = type(loss_fn).__name__ if isinstance(loss_fn, nn.Module) else getattr(loss_fn, "__name__", "loss")
    form: TargetForm = "as_given"
    reason = "asked for"
    if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) and task.name == "regression":
        raise LossError(
            where=f"--loss {name}",
            expected="targets that are classes, int64",
            got=f"{str(targets.dtype).removeprefix('torch.')} targets",
            cure="Use a regression loss, as --loss mse, or give the targets as whole numbers from 0.",
        )
    if isinstance(loss_fn, nn.BCELoss | nn.BCEWithLogitsLoss) and task.name == "regression":
        raise LossError(
            where=f"--loss {name}",
            expected="targets that are classes 0 and 1, whole numbers",
            got=f"{str(targets.dtype).removeprefix('torch.')} targets, which are regressed on",
            cure="Give the targets as int64: targets.astype('int64'). They are handed to the loss as it wants them.",
        )
    if not isinstance(loss_fn, nn.Module) and task.name == "regression" and outputs.shape != targets.shape:
        form, reason = "like_outputs", "asked for; targets take the shape of the outputs, so nothing broadcasts"
    if isinstance(loss_fn, nn.HingeEmbeddingLoss):
        raise LossError(
            where=f"--loss {name}",
            expected="a loss of answers",
            got="one of distances between pairs",
            cure="Compute it in a step of your own: nw.train(net, data, step=…).",
        )
    if isinstance(loss_fn, nn.SoftMarginLoss) and task.name == "classification":
        form, reason = "signs", "asked for; it wants -1 and 1, so that is what it is handed, column by column"
    elif isinstance(loss_fn, nn.Module) and type(loss_fn).__name__ in ELEMENTWISE:
        if task.name == "classification" and outputs.ndim == 2 and outputs.shape[1] > 1:
            form, reason = "one_hot", "asked for; it compares values one by one, so classes are handed to it one-hot"
        else:
            form, reason = "like_outputs", "asked for; targets take the shape of the outputs, so nothing broadcasts"
    return Objective(loss_fn, form, name, reason)


# Losses of torch.nn that compare outputs and targets value by value, in the same shape.
ELEMENTWISE = frozenset(
    {"MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss", "PoissonNLLLoss", "KLDivLoss",
     "MultiLabelSoftMarginLoss"}
)  # fmt: skip


def check_loss(objective: Objective, outputs: Tensor, targets: Tensor) -> None:
    """Call the loss once on a probe batch, before any update.

    Raises:
        LossError: It fails, or it is not one number with a gradient.
    """
    try:
        loss = objective(outputs, targets)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise LossError(
            where=f"{objective.name}",
            expected="outputs and targets that fit each other",
            got=f"outputs {tuple(outputs.shape)} {str(outputs.dtype).removeprefix('torch.')}, targets "
            f"{tuple(targets.shape)} {str(targets.dtype).removeprefix('torch.')}: {str(error).splitlines()[0]}",
            cure="Leave out the loss to have one chosen, or change the module's output.",
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim != 0 or (outputs.requires_grad and not loss.requires_grad):
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        if isinstance(loss, Tensor) and loss.ndim == 0:
            found = "a number without a gradient: it was detached, or made by item() or numpy()"
        raise LossError(
            where=objective.name,
            expected="one number (0-d tensor) with a gradient",
            got=found,
            cure='Take the mean of it, as reduction="mean", in torch alone.',
        )


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
        _no_weights(weight, kind.__name__)
    arguments: dict[str, Any] = {"weight": weight}
    return kind(**arguments)


def _no_weights(weight: Tensor | None, loss: str) -> None:
    if weight is not None:
        raise UsageError(
            where="--class-weights balanced",
            expected="a loss that takes class weights, as CrossEntropyLoss or NLLLoss",
            got=loss,
            cure="Leave out --class-weights, or change the loss.",
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
