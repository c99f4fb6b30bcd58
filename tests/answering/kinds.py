"""Tiny trained runs of each kind of data, and their bundles as export writes them, without the proof.

A bundle's answers are compared with those of its run, so that one epoch of a network of a few weights is enough.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.answering.bundle import CERTIFICATE
from netwright.answering.standalone import runtime_files
from netwright.inference import open_trained
from netwright.progress import Silent
from netwright.shipping.bundle import classes_of, digests, first_batch, scored, spec_of
from netwright.shipping.graph import exported
from netwright.shipping.onnx import to_onnx

QUIET = {"progress": Silent(), "report": False, "epochs": 1, "skip": ("all",)}


class Made(NamedTuple):
    """A run with its module, its bundle, and raw inputs, some of them bad."""

    run: Any
    model: nn.Module
    bundle: Path
    raws: list[Any]


class Pixels(nn.Module):
    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * size, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.conv(image).relu().flatten(1))


class Bag(nn.Module):
    """The mean of embeddings, padding left out."""

    def __init__(self, vocab_size: int, outputs: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(vocab_size, 8), nn.Linear(8, outputs)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        kept = mask[..., None].float()
        return self.out((self.words(tokens) * kept).sum(1) / kept.sum(1).clamp_min(1))


class Tagger(nn.Module):
    def __init__(self, vocab_size: int, tags: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(vocab_size, 8), nn.Linear(8, tags)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.words(tokens))


class Rows(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, outputs))

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features)


class TwoAnswers(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.kind, self.price = nn.Linear(features, 2), nn.Linear(features, 1)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"kind": self.kind(features), "price": self.price(features)}


class Ahead(nn.Module):
    def __init__(self, context: int, horizon: int) -> None:
        super().__init__()
        self.out = nn.Linear(context, horizon)

    def forward(self, past: Tensor) -> Tensor:
        return self.out(past[..., 0])


class Writer(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.words(tokens))


class Heard(nn.Module):
    """Energies of stretches of 100 samples."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, 8, 100, stride=100), nn.Linear(8, outputs)

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        frames = self.conv(sound[:, None]).relu()
        counted = (torch.arange(frames.shape[2])[None] < (lengths // 100)[:, None]).float()[:, None]
        return self.out((frames * counted).sum(2) / counted.sum(2).clamp_min(1))


class Letters(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, 8, 100, stride=100), nn.Linear(8, outputs)

    def forward(self, sound: Tensor) -> Tensor:
        return self.out(self.conv(sound[:, None]).relu().transpose(1, 2))


class Bands(nn.Module):
    """The mean of each band."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(16, outputs)

    def forward(self, log_mel: Tensor, mask: Tensor) -> Tensor:
        real = mask[..., None].float()
        return self.out((log_mel * real).sum(1) / real.sum(1) / 10)


def write_bundle(run: Any, model: nn.Module, data: Any, folder: Path, *, together: bool = True) -> Path:
    """A bundle of a run: the graph, the records and the digests."""
    trained = open_trained(run, model)
    batch = first_batch(data, scored(data), 8)
    graph = exported(trained, batch)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(to_onnx(graph, batch))
    spec = spec_of(trained, data, graph, opset=20, together=together)
    (folder / "preprocess.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    (folder / "classes.json").write_text(json.dumps(classes_of(trained), ensure_ascii=False), encoding="utf-8")
    for name, content in runtime_files(data.spec.kind).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    certify(folder)
    return folder


def certify(folder: Path) -> None:
    """Write the digests of all files."""
    (folder / CERTIFICATE).write_text(json.dumps({"format": 1, "files": digests(folder)}), encoding="utf-8")


def _made(data: Any, model: nn.Module, folder: Path, raws: list[Any]) -> Made:
    torch.manual_seed(0)
    run = nw.train(model, data, run=folder / "run", **QUIET)
    return Made(run, model, write_bundle(run, model, data, folder / "bundle"), raws)


def image(folder: Path) -> Made:
    """Digits, 8 x 8."""
    data = nw.load("digits")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    raws = [pixels, pixels.tolist(), b"no picture", np.zeros((8, 8), np.uint8)]
    return _made(data, Pixels(), folder, raws)


WORDS = ["turn", "on", "the", "light", "off", "music", "play", "明天", "下雨", "吗"]


def text(folder: Path) -> Made:
    """Short texts of three classes."""
    rng = np.random.default_rng(0)
    labels = [("light", "music", "weather")[index % 3] for index in range(90)]
    texts = [" ".join([label, *rng.choice(WORDS, int(rng.integers(1, 9)))]) for label in labels]
    path = folder / "texts.csv"
    path.write_text("text,label\n" + "".join(f"{one},{label}\n" for one, label in zip(texts, labels, strict=True)))
    data = nw.load(path)
    model = Bag(data.spec.preprocess.text.vocab_size, 3)
    raws = ["play music", "", "明天 下雨 吗", "zzz unknown", 5, "turn on the light " * 60, "\ud800 light"]
    return _made(data, model, folder, raws)


def tagging(folder: Path) -> Made:
    """Sentences whose words are tagged."""
    sentences = [
        (["He", "lives", "in", "Rome"], ["O", "O", "O", "B-place"]),
        (["Ann", "Lee", "left"], ["B-person", "I-person", "O"]),
    ] * 30
    data = nw.load(([one for one, _ in sentences], [tags for _, tags in sentences]), task="tagging")
    model = Tagger(data.spec.preprocess.words.vocab_size, len(data.spec.classes))
    return _made(data, model, folder, ["Ann lives in Rome.", ["He", "left"], "", 7, "Rome"])


def _rows(folder: Path, target: str) -> Path:
    rng = np.random.default_rng(0)
    lines = ["km,vehicle,day,kind,price"]
    for index in range(120):
        km = float(rng.exponential(5))
        vehicle = ("bike", "car", "van")[index % 3]
        cell = "" if index % 11 == 0 else f"{km:.3f}"
        lines.append(
            f"{cell},{vehicle},2026-0{1 + index % 9}-1{index % 9},{'far' if km > 4 else 'near'},{km * 2.5 + 3:.2f}"
        )
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


RAW_ROWS: list[Any] = [
    {"km": "3.2", "vehicle": "bike", "day": "2026-03-01"}, {"km": 900, "vehicle": "rocket"}, {"vehicle": "van"},
    {"km": None, "vehicle": "car", "day": "2026-12-24 18:00"}, {"km": "far"}, {"speed": 3}, 5,
]  # fmt: skip


def table(folder: Path) -> Made:
    """Rows of two classes."""
    data = nw.load(_rows(folder, "kind"), target="kind", input="km,vehicle,day")
    return _made(data, Rows(data.spec.preprocess.rows.num_features, 2), folder, RAW_ROWS)


def numbers(folder: Path) -> Made:
    """Rows with a number to regress on."""
    data = nw.load(_rows(folder, "price"), target="price", input="km,vehicle,day")
    return _made(data, Rows(data.spec.preprocess.rows.num_features, 1), folder, RAW_ROWS)


def several(folder: Path) -> Made:
    """Rows with a class and a number to answer."""
    data = nw.load(_rows(folder, "kind"), target="kind,price", input="km,vehicle,day")
    return _made(data, TwoAnswers(data.spec.preprocess.rows.num_features), folder, RAW_ROWS)


def series(folder: Path) -> Made:
    """Visitors a day, a week ahead."""
    days = np.datetime64("2024-01-01") + np.arange(220)
    values = 50 + 10 * np.sin(np.arange(220) * 2 * math.pi / 7)
    path = folder / "visitors.csv"
    path.write_text("day,visitors\n" + "".join(f"{day},{value:.2f}\n" for day, value in zip(days, values, strict=True)))
    data = nw.load(path, horizon=7, context=21)
    history = {"day": [str(day) for day in days], "visitors": values.tolist()}
    gap = {
        "day": history["day"],
        "visitors": [None if at == 200 else value for at, value in enumerate(history["visitors"])],
    }
    short = {name: cells[:4] for name, cells in history.items()}
    return _made(data, Ahead(21, 7), folder, [history, gap, short, {"day": []}, 3])


def next_token(folder: Path) -> Made:
    """A text that is continued, letter by letter."""
    path = folder / "play.txt"
    path.write_text("To be, or not to be: that is the question.\n明天下雨吗\n" * 80, encoding="utf-8")
    data = nw.load(path, tokenizer="character", max_length=16)
    return _made(data, Writer(data.spec.preprocess.text.vocab_size), folder, ["To be", "", "xyz~ 明", 4])


def _waves(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        time = np.arange(int(rng.integers(1500, 4000))) / 8000
        wave = 0.5 * np.sin(2 * np.pi * (200, 900)[index % 2] * time) + rng.normal(0, 0.01, len(time))
        paths.append(folder / f"{index:02d}.wav")
        soundfile.write(paths[-1], wave, 8000)
    return paths


def _sounds(folder: Path, paths: list[Path]) -> list[Any]:
    soundfile.write(folder / "other.flac", np.sin(np.arange(30_000) / 20) * 0.4, 44_100)
    return [
        paths[0],
        paths[1].read_bytes(),
        folder / "other.flac",
        b"no sound",
        np.zeros(900, np.float32),
        folder / "none.wav",
    ]


def sound(folder: Path) -> Made:
    """Low and high tones."""
    data, root = _tones(folder)
    return _made(data, Heard(2), folder, _sounds(folder, sorted(root.rglob("*.wav"))))


def log_mel(folder: Path) -> Made:
    """Low and high tones, as spectra."""
    data, root = _tones(folder, mel_bands=16)
    return _made(data, Bands(2), folder, _sounds(folder, sorted(root.rglob("*.wav"))))


def _tones(folder: Path, **options: Any) -> tuple[Any, Path]:
    root = folder / "tones"
    for name in ("high", "low"):
        (root / name).mkdir(parents=True)
    for index, path in enumerate(_waves(folder, 40)):
        path.replace(root / ("low", "high")[index % 2] / path.name)
    return nw.load(root, **options), root


def transcription(folder: Path) -> Made:
    """Tones that are written as a and b."""
    paths = _waves(folder, 40)
    manifest = folder / "said.csv"
    manifest.write_text(
        "path,transcript\n" + "".join(f"{one.name},{'ab' if at % 2 else 'ba a'}\n" for at, one in enumerate(paths))
    )
    data = nw.load(manifest, task="transcription")
    return _made(data, Letters(len(data.spec.letters) + 1), folder, _sounds(folder, paths))


def tensor(folder: Path) -> Made:
    """Plain numbers."""
    inputs = np.random.default_rng(0).normal(size=(120, 3)).astype("float32")
    data = nw.load((inputs, (inputs.sum(1) > 0).astype(np.int64)))
    raws = [inputs[0], inputs[1].tolist(), [np.nan, 0, 0], "text", [1, 2], [1e38, 1e38, 3e38]]
    return _made(data, nn.Linear(3, 2), folder, raws)


KINDS: dict[str, Callable[[Path], Made]] = {
    one.__name__: one
    for one in (
        image, text, tagging, table, numbers, several, series, next_token, sound, log_mel, transcription,
        tensor,
    )
}  # fmt: skip
