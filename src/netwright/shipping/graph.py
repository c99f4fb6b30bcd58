"""A trained module as one function, from a batch as it is stored to the answer in numbers.

Inside are the tensor operations (scaling, normalising), the module asked as in training, and the last step of its task.
``B`` samples, ``T`` positions, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, ask, call, found_in, plain_module
from netwright.data import tensors
from netwright.inference import Trained, answering, fit_task
from netwright.preprocess import Preprocess
from netwright.records import DataSpec
from netwright.tasks import Task

# Fields that the last step of a task needs beside the answer itself, where the data have them.
NEEDED = {"forecasting": ("loc", "scale"), "transcription": ("lengths",)}
# Names of the sizes of an answer behind its first one, the batch; numbers are filled in.
SIZES = {"log_probs of transcription": {1: "frames"}, "probabilities of tagging": {1: "length"}}
# Samples that the graph is made with: no size of a network is 0 or 1 by chance then, and few are 3.
EXAMPLES = 3


class GraphInput(NamedTuple):
    """One input of the graph.

    Attributes:
        name: The field's own name.
        dtype: As NumPy names it, as ``uint8``.
        axes: Names of the sizes that vary, by axis: ``{0: "batch", 1: "length"}``.
        shape: All sizes, with those names where they vary.
    """

    name: str
    dtype: str
    axes: dict[int, str]
    shape: tuple[int | str, ...]


class Exported(nn.Module):
    """What is exported: fields of a stored batch in, answers in numbers out, in eval mode.

    Attributes:
        inputs: In the order of ``forward``'s arguments.
        outputs: Records of name, dtype, shape, answer and what it is, in the order of what ``forward`` returns.
        model: The trained module itself.
    """

    def __init__(
        self, model: nn.Module, binding: Binding, task: Task, preprocess: Preprocess, inputs: tuple[GraphInput, ...]
    ) -> None:
        super().__init__()
        self.model = model
        self.binding, self.task, self.preprocess = binding, task, preprocess
        self.inputs = inputs
        self.outputs: list[dict[str, Any]] = []
        self.eval()

    def forward(self, *fields: Tensor) -> tuple[Tensor, ...]:
        """Fields as they are stored, each (B, ...), to the answers, each (B, ...)."""
        stored = {one.name: value for one, value in zip(self.inputs, fields, strict=True)}
        return tuple(self._answers(stored).values())

    def _answers(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = tensors.apply_to(self.preprocess, dict(stored))
        outputs = self._asked(inputs)
        answers = self.task.served(outputs, inputs)
        return {name: value.float() if value.is_floating_point() else value for name, value in answers.items()}

    def _asked(self, inputs: dict[str, Tensor]) -> Any:
        if isinstance(next(iter(inputs.values())).shape[0], int):
            return ask(self.binding, self.model, inputs)
        # While it is traced the batch is of no size, least of all of one: no dimension is given back to a lone sample.
        returned = call(self.binding, self.model, inputs)
        outputs = found_in(self.binding, returned)
        if self.binding.frames is None:
            return outputs
        return {"logits": outputs, "lengths": self.binding.frames(returned, inputs)}

    def feed(self, batch: Batch) -> dict[str, Tensor]:
        """The graph's inputs out of a stored batch, each (B, ...)."""
        return {one.name: batch.inputs[one.name] for one in self.inputs}

    def answer(self, batch: Batch) -> dict[str, Tensor]:
        """The answers to a stored batch by name, each (B, ...); the module and the generators are left as they were."""
        with answering(self, torch.device("cpu")):
            found = self(*_whole(self.feed(batch)).values())
        return {one["name"]: value for one, value in zip(self.outputs, found, strict=True)}


def exported(trained: Trained, batch: Batch) -> Exported:
    """Make what is to be exported.

    Args:
        trained: Moves to the CPU.
        batch: A few samples as they are stored, without the tensor operations.

    Raises:
        ModelError: The module cannot be asked.
    """
    spec, model = trained.data_spec, plain_module(trained.model)
    few = Batch(dict(batch.inputs), None, batch.sample_ids)
    tensored = replace(few, inputs=tensors.apply_to(spec.preprocess, few.inputs))
    task, binding = fit_task(model, spec, tensored, torch.device("cpu"))
    found = Exported(model, binding, task, spec.preprocess, _inputs(spec, binding, batch))
    example = example_of(found, few)
    with answering(found, torch.device("cpu")):
        stored = {one.name: value for one, value in zip(found.inputs, example, strict=True)}
        answers = found._answers(stored)
    found.outputs = [_output(name, value, spec, example) for name, value in answers.items()]
    return found


def _inputs(spec: DataSpec, binding: Binding, batch: Batch) -> tuple[GraphInput, ...]:
    used = [*binding.positional, *(field for _, field in binding.keywords)]
    used += [name for name in NEEDED.get(spec.task, ()) if name in batch.inputs]
    return tuple(_input(name, batch.inputs[name], spec) for name in dict.fromkeys(used))


def _input(name: str, value: Tensor, spec: DataSpec) -> GraphInput:
    axes = {0: "batch"}
    varying = {field.name for field in spec.inputs if field.shape[:1] == (-1,)}
    if name in varying or (spec.task == "next_token" and name == "tokens"):
        own = name.removesuffix("_mask")
        several = f"{own}_mask" in {field.name for field in spec.inputs}
        axes[1] = f"{own}_length" if several else "length"
    shape = tuple(axes.get(axis, size) for axis, size in enumerate(value.shape))
    return GraphInput(name, str(value.dtype).removeprefix("torch."), axes, shape)


def _output(name: str, value: Tensor, spec: DataSpec, example: tuple[Tensor, ...]) -> dict[str, Any]:
    answer, _, what = name.rpartition(".")
    sizes = SIZES.get(f"{what} of {spec.task}", {})
    shape = [sizes.get(axis, size) for axis, size in enumerate(value.shape)]
    if len(value) == len(example[0]):
        shape[0] = "batch"
    return {
        "name": name,
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": shape,
        "answer": answer or None,
        "is": what,
    }


def example_of(graph: Exported, batch: Batch) -> tuple[Tensor, ...]:
    """Fields that the graph is made with: three samples, and at least four positions where they vary."""
    rows = torch.arange(EXAMPLES) % len(batch)
    found = []
    for one, value in zip(graph.inputs, _whole(graph.feed(batch)).values(), strict=True):
        picked = value.index_select(0, rows)
        short = EXAMPLES + 1 - picked.shape[1] if 1 in one.axes else 0
        if short > 0:
            picked = torch.cat((picked, picked.new_zeros((EXAMPLES, short, *picked.shape[2:]))), dim=1)
        found.append(picked.contiguous().clone())
    return tuple(found)


def _whole(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in fields.items()}


def first_difference(trained: Trained, model: bytes | Path, batch: Batch) -> tuple[str, float] | None:
    """The first layer of an ONNX file whose output differs from the module's own: see ``layers.first_layer``."""
    from netwright.shipping.layers import first_layer

    return first_layer(trained, model, batch)
