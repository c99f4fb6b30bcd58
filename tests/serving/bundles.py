"""Bundles made by hand, one of each kind, small and with answers that differ: what `netwright export` would write.

The server knows a bundle only by its files, so graphs of a few operations are enough to ask it everything.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

CLASSES = [str(digit) for digit in range(10)]
OPSET = 20
ONNX_TYPES = {
    "uint8": TensorProto.UINT8,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "bool": TensorProto.BOOL,
}
LETTERS = " abcdefghijklmnopqrstuvwxyz好坏"
RATE = 8_000


def write(
    folder: Path,
    spec: Mapping[str, Any],
    graph: bytes,
    classes: Mapping[str, Any],
    *,
    made: str = "2026-11-26T00:00:00Z",
    examples: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write a bundle, its certificate last."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "model.onnx": graph,
        "preprocess.json": json.dumps(spec, ensure_ascii=False).encode(),
        "classes.json": json.dumps(classes, ensure_ascii=False).encode(),
    }
    digests = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    certificate = {"format": 1, "made": made, "files": digests, "examples": list(examples)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "certificate.json").write_text(json.dumps(certificate), encoding="utf-8")
    return folder


def _spec(name: str, kind: str, task: str, **more: Any) -> dict[str, Any]:
    base = {"format": 1, "netwright": "0.1.0", "name": name, "title": f"Net on {name}", "kind": kind, "task": task}
    return base | {"parts": {}, "answer": {}, "limits": {}, "samples": []} | more


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Mapping[str, np.ndarray]) -> bytes:
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "net", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape)


def _port(name: str, dtype: str, shape: Sequence[int | str], **more: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)} | more


def digits(
    folder: Path, *, seed: int = 0, made: str = "2026-11-26T00:00:00Z", size: int = 28, hidden: int = 32, slow: int = 0
) -> Path:
    """Pictures of one channel to ten classes, by two layers of random weights; ``slow`` multiplies matrices in vain."""

    def flat(turn: int) -> str:
        return "flat" if turn == slow else f"flat{turn}"

    random = np.random.default_rng(seed)
    weights = {
        **({"same": np.eye(size * size, dtype=np.float32)} if slow else {}),
        "scale": np.float32([1 / 255]),
        "first": random.normal(0, 0.2, (size * size, hidden)).astype(np.float32),
        "second": random.normal(0, 0.5, (hidden, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], [flat(0)]),
        *(helper.make_node("MatMul", [flat(turn), "same"], [flat(turn + 1)]) for turn in range(slow)),
        helper.make_node("MatMul", ["flat", "first"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    shape = ["batch", 1, size, size]
    outputs = ["batch", 10]
    graph = _graph(nodes, [_value("image", "uint8", shape)], [_value("probabilities", "float32", outputs)], weights)
    operations = [{"op": "decode_image", "mode": "L"}, {"op": "resize", "height": size, "width": size}]
    spec = _spec(
        "digits", "image", "classification",
        fields=[{"name": "image", "shape": [1, size, size], "dtype": "uint8"}],
        preprocess={"operations": operations, "fields": {}},
        model={
            "opset": OPSET,
            "inputs": [_port("image", "uint8", shape)],
            "outputs": [_port("probabilities", "float32", outputs, answer=None, **{"is": "probabilities"})],
        },
        together=True,
        samples=[base64.b64encode(png(one)).decode() for one in range(3)],
    )  # fmt: skip
    return write(folder, spec, graph, {"classes": CLASSES}, made=made)


def texts(folder: Path, *, together: bool = True) -> Path:
    """Texts by letters to good and bad: the mean of an embedding under the mask."""
    vocabulary = {"<pad>": 0, "<unk>": 1} | {letter: at for at, letter in enumerate(LETTERS, start=2)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    random = np.random.default_rng(1)
    weights = {
        "table": random.normal(0, 2, (len(vocabulary), 8)).astype(np.float32),
        "head": random.normal(0, 2, (8, 2)).astype(np.float32),
        "last": np.int64([-1]),
        "time": np.int64([1]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["each"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept3"]),
        helper.make_node("Mul", ["each", "kept3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "time"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["kept", "time"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    shape = ["batch", "length"]
    inputs = [_value("tokens", "int64", shape), _value("mask", "bool", shape)]
    graph = _graph(nodes, inputs, [_value("probabilities", "float32", ["batch", 2])], weights)
    operation = {
        "op": "tokenise", "kind": "character", "vocab_size": len(vocabulary), "max_length": 200, "keep": "first",
        "tokenizer": tokenizer.to_str(),
    }  # fmt: skip
    spec = _spec(
        "texts", "text", "classification",
        fields=[{"name": "tokens", "shape": [-1], "dtype": "int32"}],
        preprocess={"operations": [operation], "fields": {}},
        model={
            "opset": OPSET,
            "inputs": [_port("tokens", "int64", shape), _port("mask", "bool", shape)],
            "outputs": [_port("probabilities", "float32", ["batch", 2], answer=None, **{"is": "probabilities"})],
        },
        together=together,
        limits={"max_length": 200},
        samples=["a good day", "好坏"],
    )  # fmt: skip
    return write(folder, spec, graph, {"classes": ["bad", "good"]})


def rows(folder: Path) -> Path:
    """Rows of a number and a category to a number."""
    columns = [
        {"column": "age", "kind": "number", "fill": 30.0, "mean": 30.0, "std": 10.0, "missing": True},
        {"column": "town", "kind": "category", "values": ["Rome", "Oslo"]},
    ]
    weights = {"head": np.float32([[2.0], [0.5], [1.0], [-1.0]])}
    nodes = [helper.make_node("MatMul", ["features", "head"], ["values"])]
    inputs, outputs = ["batch", 4], ["batch", 1]
    graph = _graph(nodes, [_value("features", "float32", inputs)], [_value("values", "float32", outputs)], weights)
    fields = [
        {"name": "numbers", "shape": [2], "dtype": "float32"},
        {"name": "categories", "shape": [1], "dtype": "int32"},
    ]
    spec = _spec(
        "rows", "table", "regression",
        fields=fields,
        preprocess={"operations": [{"op": "encode_rows", "columns": columns, "unused": []}], "fields": {}},
        model={
            "opset": OPSET,
            "inputs": [_port("features", "float32", inputs)],
            "outputs": [_port("values", "float32", outputs, answer=None, **{"is": "values"})],
        },
        together=False,
        samples=[{"age": 31, "town": "Rome"}],
    )  # fmt: skip
    return write(folder, spec, graph, {"classes": None})


def sounds(folder: Path) -> Path:
    """Sounds to loud and quiet, by their mean energy."""
    weights = {"time": np.int64([1]), "head": np.float32([[40.0, -40.0]]), "bias": np.float32([[-1.0, 1.0]])}
    nodes = [
        helper.make_node("Mul", ["sound", "sound"], ["energy"]),
        helper.make_node("ReduceMean", ["energy", "time"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "head"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    shape = ["batch", "length"]
    graph = _graph(
        nodes, [_value("sound", "float32", shape)], [_value("probabilities", "float32", ["batch", 2])], weights
    )
    operation = {"op": "decode_sound", "sample_rate": RATE, "max_seconds": 10.0}
    spec = _spec(
        "sounds", "sound", "classification",
        fields=[{"name": "sound", "shape": [-1], "dtype": "float32"}],
        preprocess={"operations": [operation], "fields": {}},
        model={
            "opset": OPSET,
            "inputs": [_port("sound", "float32", shape)],
            "outputs": [_port("probabilities", "float32", ["batch", 2], answer=None, **{"is": "probabilities"})],
        },
        together=False,
        limits={"max_seconds": 10.0},
        samples=[base64.b64encode(wav(400)).decode()],
    )  # fmt: skip
    return write(folder, spec, graph, {"classes": ["loud", "quiet"]})


def png(seed: int, size: int = 28, mode: str = "L", kind: str = "PNG") -> bytes:
    """A picture of random pixels."""
    channels = () if mode == "L" else (len(mode),)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, *channels), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(out, kind)
    return out.getvalue()


def wav(tone: int, seconds: float = 0.5, loud: float = 0.5) -> bytes:
    """A tone of 16 bits."""
    times = np.arange(int(seconds * RATE)) / RATE
    samples = (np.sin(2 * np.pi * tone * times) * loud * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()
