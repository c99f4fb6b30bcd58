"""What cannot be exported is refused at its line, with what to write instead."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

import netwright as nw
from netwright.errors import ExportRefusedError
from netwright.progress import Silent
from netwright.shipping.graph import exported
from netwright.shipping.onnx import to_onnx
from shipping import refused
from shipping.exporting import TEXTS, agree, opened, some

REFUSED = {
    "Value": ("taken out of a tensor", "torch.where"),
    "Branch": ("`if` on the values", "torch.where"),
    "Numpy": ("NumPy", "torch.tanh"),
    "Steps": ("loop over a size", "nn.GRU"),
    "Rows": ("loop over the samples", "x.mean(1)"),
    "Lists": ("list of Python numbers", "mask"),
    "Even": ("`if` on a size", "one way for all sizes"),
    "Short": ("`if` on a size", "one way for all sizes"),
    "Plain": ("plain number", "int("),
    "Chance": ("random numbers", "self.training"),
    "Dropout": ("random numbers, dropout", "nn.Dropout"),
    "Bessel": ("bessel_j0, for which ONNX has no operation", "operations that ONNX has"),
    "Projected": ("projected", "nn.Linear"),
    "Sequences": ("lists of sequences", "pack_padded_sequence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_its_line(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The operation in words, file and line, and a cure; torch's own talk is not shown."""
    kind = getattr(refused, name)
    lines, begin = inspect.getsourcelines(kind)
    line = begin + next(place for place, text in enumerate(lines) if text.rstrip().endswith("# here"))
    data = nw.load(TEXTS)
    graph = exported(opened(kind(), data), some(data, np.arange(5)))
    with pytest.raises(ExportRefusedError) as caught:
        to_onnx(graph, some(data, np.arange(5)))
    got, cure = REFUSED[name]
    assert f"{Path(refused.__file__).name}:{line}" in caught.value.where
    assert got in caught.value.got
    assert cure in caught.value.cure
    assert capfd.readouterr() == ("", "")


def test_what_is_kept_from_batch_to_batch_is_named() -> None:
    """Answers would depend on who asked before."""
    data = nw.load(TEXTS)
    model = refused.Memory()
    with pytest.raises(ExportRefusedError, match=r"asked before, kept in self\.before"):
        to_onnx(exported(opened(model, data), some(data, np.arange(5))), some(data, np.arange(5)))
    assert model.before is None or not isinstance(model.before, torch._subclasses.FakeTensor)


def test_limits_of_its_own_are_no_reason() -> None:
    """A module may refuse what is too long, and treat a lone sample by itself, if its answer is the same."""
    agree(refused.Limit(), nw.load(TEXTS), torch_too=False)


Items = list[tuple[Tensor, int]]
ITEMS: Any = [(torch.arange(1, 3 + index % 5), index % 2) for index in range(40)]


def padded(items: Items) -> tuple[Tensor, Tensor]:
    """A collate function as people write it."""
    return pad_sequence([tokens for tokens, _ in items], batch_first=True), torch.tensor([label for _, label in items])


def counted(items: Items) -> dict[str, Tensor]:
    """One that makes fields."""
    tokens, labels = padded(items)
    return {"inputs": tokens, "sizes": (tokens > 0).sum(1), "label": labels}


class Counted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(9, 8), torch.nn.Linear(8, 2)

    def forward(self, inputs: Tensor, sizes: Tensor | None = None) -> Tensor:
        return self.out(self.embed(inputs).mean(1))


@pytest.mark.parametrize(
    ("collate", "told"),
    [
        (padded, r"inputs \(2,\) in the data set and inputs \(6,\) in a batch"),
        (counted, r"inputs \(2,\) in the data set and inputs \(6,\), sizes \(\) in a batch"),
    ],
)
def test_a_collate_function_that_changes_shapes_is_named(collate: Any, told: str, tmp_path: Path) -> None:
    """A bundle cannot pad as it does; what is told is not that a length is frozen."""
    data = nw.load(DataLoader(ITEMS, batch_size=8, collate_fn=collate))
    model = Counted()
    run = nw.train(model, data, run=tmp_path / "run", progress=Silent(), report=False, skip="all", epochs=1)
    with pytest.raises(ExportRefusedError, match=told) as caught:
        nw.export(run, model=model, data=data)
    assert caught.value.where == f"collate_fn {collate.__name__}"
    assert "__getitem__" in caught.value.cure
