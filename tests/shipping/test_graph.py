"""A graph answers as its module does: every starter, and modules as people write them, at any batch and length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.data.collate import collate
from netwright.shipping.graph import first_difference
from shipping.exporting import ROOT, TEXTS, agree, disturbed, made, opened, some, starter
from shipping.persons import (
    Attention,
    Encoder,
    Framed,
    Functions,
    Inside,
    LastPlace,
    MultiHead,
    Packed,
    Pooled,
    Repacked,
    Spectra,
)

STARTERS = {
    "mlp": "digits",
    "cnn": "digits",
    "rnn": TEXTS,
    "text": TEXTS,
    "table": str(ROOT / "examples/tables/deliveries.csv"),
    "series": str(ROOT / "examples/series/visitors.csv"),
    "lm": str(ROOT / "examples/texts/plays.txt"),
    "tagger": str(ROOT / "examples/texts/tags.conll"),
    "speech": str(ROOT / "examples/sounds"),
}
slow = pytest.mark.soak


@pytest.mark.parametrize("name", ["tagger", *(pytest.param(name, marks=slow) for name in STARTERS if name != "tagger")])
def test_starters_answer_alike(name: str) -> None:
    """In ONNX and as a program of torch's, one sample or seven, the shortest and the longest."""
    agree(*starter(name, STARTERS[name]))


@slow
def test_a_transcriber_gives_its_frames(store: Any) -> None:
    """Log-probabilities, and as many frames as the module emits."""
    graph = agree(*starter("transcriber", "fsdd", task="transcription"))
    assert [one["name"] for one in graph.outputs] == ["log_probs", "frames"]


PACKED = {
    "LSTM both ways": lambda: Packed(nn.LSTM, both=True, state=True, first=False),
    "LSTM": lambda: Packed(nn.LSTM, both=False),
    "GRU both ways": lambda: Packed(nn.GRU, both=True, state=True, bias=False),
    "GRU": lambda: Packed(nn.GRU, both=False),
    "RNN both ways": lambda: Packed(nn.RNN, both=True),
    "RNN of ReLU": lambda: Packed(nn.RNN, both=False, nonlinearity="relu"),
    "packed again": Repacked,
    "last place": LastPlace,
}


@pytest.mark.parametrize("name", ["LSTM both ways", *(pytest.param(name, marks=slow) for name in list(PACKED)[1:])])
def test_packed_recurrences_answer_alike(name: str) -> None:
    """Outputs and last states, in texts of different length, from zeros and from states that are given."""
    torch.manual_seed(0)
    agree(PACKED[name](), nw.load(TEXTS))


@pytest.mark.filterwarnings("ignore")
def test_torchs_encoder_leaves_zeros_at_padding() -> None:
    """As its fused operators do in eval mode, on which a mean over all places depends."""
    torch.manual_seed(0)
    agree(Encoder(), nw.load(TEXTS), torch_too=False)


@slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [lambda: Encoder(norm_first=True), MultiHead], ids=["norm first", "multi-head"])
def test_attention_answers_alike(make: Any) -> None:
    """With masks of padding."""
    torch.manual_seed(0)
    agree(make(), nw.load(TEXTS))


def test_an_empty_text_is_answered_alike() -> None:
    """Attention finds zeros where there is nothing to look at."""
    torch.manual_seed(0)
    data = nw.load(TEXTS)
    asked = []
    for sizes in ([0], [0, 3], [5, 0, 1]):
        samples = [{"tokens": np.arange(2, 2 + size).astype(np.int32)} for size in sizes]
        asked.append(Batch(collate(samples, data.spec.inputs), None, torch.arange(len(sizes))))
    agree(Attention(), data, asked=asked, torch_too=False)


@pytest.mark.parametrize("make", [Functions, pytest.param(Pooled, marks=slow), pytest.param(Inside, marks=slow)])
def test_odd_modules_answer_alike(make: Any) -> None:
    """Own functions in both styles, squeezes, changes in place; what the module keeps is as before."""
    torch.manual_seed(0)
    model = disturbed(make())
    agree(model, nw.load("digits"))
    kept = getattr(model, "kept", None)
    assert kept is None or type(kept) is torch.Tensor
    assert all(type(value) is torch.Tensor for _, value in model.named_buffers())


@pytest.mark.parametrize(
    "make",
    [Spectra, *(pytest.param(one, marks=slow) for one in (lambda: Spectra(win_length=320, normalized=True), Framed))],
)
def test_spectra_answer_alike_and_are_convolutions(make: Any) -> None:
    """No Fourier operator is left, which onnxruntime runs many times slower."""
    torch.manual_seed(0)
    data = nw.load(str(ROOT / "examples/sounds"))
    model = make()
    agree(model, data, torch_too=False)
    kinds = {node.op_type for node in onnx.load_from_string(made(model, data)[1]).graph.node}
    assert not kinds & {"STFT", "DFT"}


def test_answers_have_their_names_and_units(tmp_path: Path) -> None:
    """Several answers each under its name; one value becomes two classes; a number is in the target's unit."""
    rows = np.random.default_rng(0).normal(size=(80, 2))
    lines = [f"{a:.4f},{b:.4f},{'no' if a > 0 else 'yes'},{5000 + 100 * (a + b):.2f}" for a, b in rows]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,kind,price", *lines]))
    data = nw.load(str(tmp_path / "rows.csv"), target="kind,price")

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind, self.price = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"kind": self.kind(features).squeeze(), "price": self.price(features)}

    graph = agree(Both(), data, torch_too=False)
    assert [(one["name"], one["shape"], one["answer"], one["is"]) for one in graph.outputs] == [
        ("kind.probabilities", ["batch", 2], "kind", "probabilities"),
        ("price.values", ["batch", 1], "price", "values"),
    ]
    assert 4000 < float(graph.answer(some(data, np.arange(9)))["price.values"].mean()) < 6000


def test_the_file_names_its_sizes_and_holds_no_paths() -> None:
    """Batch and length by name; nothing of the machine it was made on."""
    model, data = starter("rnn", TEXTS)
    _, file = made(model, data)
    proto = onnx.load_from_string(file)
    sizes = {one.name: [d.dim_param for d in one.type.tensor_type.shape.dim] for one in proto.graph.input}
    assert sizes == {"tokens": ["batch", "length"], "lengths": ["batch"], "mask": ["batch", "length"]}
    assert [one.dim_param for one in proto.graph.output[0].type.tensor_type.shape.dim][0] == "batch"
    assert proto.opset_import[0].version == 20
    assert str(ROOT).encode() not in file
    assert not any(one.external_data for one in proto.graph.initializer)


def test_the_first_layer_that_differs_is_named() -> None:
    """None in the file as it was made; the very layer whose weights were changed in another."""
    model, data = starter("tagger", STARTERS["tagger"])
    _, file = made(model, data)
    proto = onnx.load_from_string(file)
    (weight,) = [one for one in proto.graph.initializer if one.name == "model.spelling.weight"]
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    trained, batch = opened(model, data), some(data, np.arange(4))
    assert first_difference(trained, file, batch) is None
    found = first_difference(trained, proto.SerializeToString(), batch)
    assert found is not None
    assert found[0] == "spelling (Conv1d)"
    assert found[1] > 0.01
