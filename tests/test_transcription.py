"""Transcripts: decoding, frames, error rates, and a run from manifest to report."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.binding import bind
from netwright.blocks import LogMel
from netwright.cli import main
from netwright.ctc import beam_search, greedy
from netwright.errors import DataError, ModelError, UsageError
from netwright.evaluation import Predictions
from netwright.evaluation.transcription import score_transcripts
from netwright.frames import FrameMap, find_frames, measure
from netwright.inference import eval_batch
from netwright.metrics.edits import alignment, edit_distance
from netwright.predicting import all_finite
from netwright.progress import Silent
from netwright.run import open_run

RATE = 8_000
FIELDS = ("sound", "lengths", "mask")


# Decoding


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(letter for letter, _ in itertools.groupby(path) if letter)


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 5), outputs=st.integers(2, 4), seed=st.integers(0, 2**32 - 1))
def test_a_wide_beam_finds_the_likeliest_letters(frames: int, outputs: int, seed: int) -> None:
    """Against the sum over every path; its probability too."""
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(outputs), size=frames))
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(outputs), repeat=frames):
        totals[collapse(path)] += math.exp(sum(log_probs[frame, letter] for frame, letter in enumerate(path)))
    letters, score = beam_search(log_probs, 1_000)
    best = max(totals.values())
    assert totals[tuple(letters.tolist())] == pytest.approx(best)
    assert score == pytest.approx(math.log(best))
    likeliest = tuple(log_probs.argmax(1).tolist())
    assert tuple(greedy(log_probs).tolist()) == collapse(likeliest)


def test_a_beam_finds_what_the_likeliest_path_misses() -> None:
    """Two frames in which a blank is likeliest at each, and a letter over all paths."""
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(log_probs).tolist() == []
    assert beam_search(log_probs, 4)[0].tolist() == [1]


@given(st.text("ab ", max_size=8), st.text("abc", max_size=8))
def test_edits_lead_from_one_to_the_other(truth: str, said: str) -> None:
    """As many as the distance says; both sides can be read out of them."""
    steps = alignment(list(truth), list(said))
    assert "".join(true for _, true, _ in steps) == truth
    assert "".join(one for _, _, one in steps) == said
    assert sum(kind != "same" for kind, _, _ in steps) == edit_distance(list(truth), list(said))


def test_error_rates_are_of_words_and_of_letters() -> None:
    """By hand: 2 edits of 5 words, 5 of 21 letters with their spaces; Chinese has no words."""
    found = score_transcripts(
        ["one two three", "five six"], ["one three", "five sox"], split="test", unspaced=False, seed=0
    )
    rates = {score.name: score for score in found.scores}
    assert found.headline == "word_error_rate"
    assert rates["word_error_rate"].value == pytest.approx(2 / 5)
    assert rates["character_error_rate"].value == pytest.approx(5 / 21)
    assert rates["exact_match_accuracy"].value == 0
    assert not rates["word_error_rate"].higher_is_better
    chinese = score_transcripts(["你好吗", "再见"], ["你号吗", "再见"], split="test", unspaced=True, seed=0)
    assert chinese.headline == "character_error_rate"
    assert chinese.scores[0].value == pytest.approx(1 / 5)


# Frames


class Strided(nn.Module):
    """Convolutions with strides, and pooling, without a word on lengths."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 8, 10, stride=5), nn.ReLU(), nn.Conv1d(8, 8, 7, stride=4, padding=3), nn.MaxPool1d(2),
            nn.Conv1d(8, outputs, 3, padding=1),
        )  # fmt: skip

    def forward(self, sound: Tensor) -> Tensor:
        return self.layers(sound[:, None]).transpose(1, 2)


class Telling(Strided):
    """The same, with lengths of its own."""

    def forward(self, sound: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        first = (lengths - 10) // 5 + 1
        return super().forward(sound), ((first + 6 - 7) // 4 + 1) // 2


def batch(*sizes: int) -> dict[str, Tensor]:
    lengths = torch.tensor(sizes)
    generator = torch.Generator().manual_seed(0)
    return {
        "sound": torch.randn(len(sizes), max(sizes), generator=generator),
        "lengths": lengths,
        "mask": torch.arange(max(sizes))[None] < lengths[:, None],
    }


@pytest.mark.parametrize("kind", [Strided, Telling])
def test_frames_through_strides_are_computed(kind: type[Strided]) -> None:
    """For every length, what the network emits for that sound alone."""
    model = kind()
    inputs = batch(900, 700, 401)
    binding = bind(model, FIELDS)
    frames = find_frames(model, binding, inputs)
    assert frames.own == (kind is Telling)
    assert isinstance(frames.formula, FrameMap)
    for size in range(60, 400, 7):
        alone = batch(size)
        answer = model(alone["sound"]) if kind is Strided else model(alone["sound"], alone["lengths"])[0]
        assert frames.formula.count(size) == answer.shape[1]
    assert model.training


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(0, 5)), min_size=1, max_size=4))
def test_any_chain_of_strides_has_a_formula(layers: list[tuple[int, int, int]]) -> None:
    """Kernel, stride, padding of each: the formula that is measured is exact."""

    def emit(samples: int) -> int:
        for kernel, stride, padding in layers:
            samples = max(0, (samples + 2 * padding - kernel) // stride + 1)
        return samples

    typical = 5_000
    found = measure(emit, typical)
    assert all(found.count(size) == emit(size) for size in range(typical, 2 * typical, 13))


def test_frames_that_follow_no_formula_are_refused() -> None:
    """With what was seen, and that lengths may be returned."""
    with pytest.raises(ModelError, match="logits, lengths") as caught:
        measure(lambda samples: round(math.sqrt(samples)), 1_000)
    assert "samples" in caught.value.got


# A run


WORDS = ("no", "yes", "halloo")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Words as tones: one pitch a letter, 60 ms each, with a pause between equal letters."""
    generator = np.random.default_rng(0)
    letters = sorted(set("".join(WORDS)))
    for split, count in (("train", 120), ("test", 24)):
        rows = []
        for index in range(count):
            text = WORDS[index % 3]
            parts = []
            for letter in text:
                steps = np.arange(int(RATE * 0.06)) / RATE
                parts += [0.3 * np.sin(2 * np.pi * (300 + 250 * letters.index(letter)) * steps), np.zeros(160)]
            samples = np.concatenate(parts) + 0.01 * generator.normal(size=sum(map(len, parts)))
            (tmp_path / split).mkdir(exist_ok=True)
            soundfile.write(tmp_path / split / f"{index}.wav", samples, RATE)
            rows.append(json.dumps({"audio_filepath": f"{split}/{index}.wav", "text": text}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


NET = """
import torch
from torch import nn
from netwright.blocks import LogMel, UtteranceNorm, mask_of

class Net(nn.Module):
    def __init__(self, num_classes: int = 9, sample_rate: int = 8000, stride: int = 1):
        super().__init__()
        self.spectra, self.norm = LogMel(sample_rate, num_bands=32), UtteranceNorm()
        first = nn.Conv1d(32, 64, 9, padding=4, stride=stride)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Conv1d(64, num_classes, 3, padding=1))

    def forward(self, sound, lengths):
        x, frames = self.spectra(sound, lengths)
        return self.layers(self.norm(x, mask_of(frames, x.shape[1])).transpose(1, 2)).transpose(1, 2)
"""


def test_from_a_manifest_to_transcripts(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, scored in words and letters, answered by both ways of decoding, reported with players."""
    (manifest / "net.py").write_text(NET)
    folder = manifest / "sounds"
    folder.mkdir()
    for split in ("train", "test"):
        (manifest / split).rename(folder / split)
        (manifest / f"{split}.jsonl").rename(folder / f"{split}.jsonl")
    net, run = f"{manifest / 'net.py'}:Net", str(manifest / "run")
    options = ["--epochs", "40", "--batch-size", "16", "--lr", "0.01"]
    assert main(["train", net, "--data", str(folder), "--run", run, *options]) == 0
    assert "num_classes=9" in capsys.readouterr().err  # eight letters and the blank
    evaluation = open_run(run).read_evaluation()
    rates = {score.name: score.value for score in evaluation.scores}
    assert evaluation.headline == "word_error_rate"
    assert rates["word_error_rate"] <= 0.2
    assert {one.name for one in evaluation.baselines} == {"most_frequent_transcript", "empty_answer"}
    paths = [str(folder / "test" / f"{index}.wav") for index in range(3)]
    for beam in ("1", "8"):
        assert main(["predict", run, *paths, "--beam", beam]) == 0
        said = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
        assert sum(one == word for one, word in zip(said, WORDS, strict=True)) >= 2
    assert main(["evaluate", run, "--beam", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["headline"] == "word_error_rate"
    assert main(["predict", run, str(folder / "test" / "absent.wav"), "--json"]) == 1
    assert "absent.wav" in json.loads(capsys.readouterr().out)["error"]
    report = (Path(run) / "report.html").read_text(encoding="utf-8")
    assert 'id="transcripts"' in report
    if evaluation.worst:
        assert "<audio" in report and "data:audio/" in report


def test_a_sound_too_short_for_its_transcript_is_refused_by_name(manifest: Path) -> None:
    """Before training, whose loss would be infinite: with samples, frames and what the transcript needs."""
    (manifest / "net.py").write_text(NET)
    data = nw.load(str(manifest))
    namespace: dict[str, type[nn.Module]] = {}
    exec(compile(NET, "net.py", "exec"), namespace)
    with pytest.raises(DataError, match=r"\.wav") as caught:
        nw.train(
            namespace["Net"](num_classes=len(data.spec.letters) + 1, stride=12), data, run=manifest / "r", epochs=1
        )
    assert "needs" in caught.value.where
    assert "floor" in caught.value.got


class Whole(nn.Module):
    """One answer for a sound, and none for its frames."""

    def __init__(self) -> None:
        super().__init__()
        self.spectra, self.out = LogMel(RATE), nn.Linear(40, 8)

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        return self.out(self.spectra(sound, lengths)[0].mean(1))


def test_what_cannot_transcribe_is_told(manifest: Path) -> None:
    """A module without frames, one with other outputs, a loss of places, a beam where nothing is searched."""
    data = nw.load(str(manifest))
    outputs = len(data.spec.letters or ()) + 1
    with pytest.raises(ModelError, match="frames"):
        nw.train(Whole(), data, run=manifest / "a", epochs=1, progress=Silent())
    with pytest.raises(ModelError, match=f"{outputs} outputs"):
        nw.train(Strided(outputs + 1), data, run=manifest / "b", epochs=1, progress=Silent())
    with pytest.raises(nw.errors.LossError, match="CTCLoss"):
        nw.train(Strided(outputs), data, run=manifest / "c", epochs=1, loss="cross_entropy", progress=Silent())
    digits = nw.load("digits")
    with pytest.raises(UsageError, match="--beam"):
        nw.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits, beam=3)


@pytest.mark.parametrize(("seconds", "batch"), [(0.5, 512), (60.0, 16), (3_600.0, 1)])
def test_long_sounds_are_asked_a_few_at_a_time(tmp_path: Path, seconds: float, batch: int) -> None:
    """Also while training is validated: 512 minutes of sound would be gigabytes of spectra."""
    for index in range(12):
        (tmp_path / "s" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).normal(scale=0.1, size=800)
        soundfile.write(tmp_path / "s" / "ab"[index % 2] / f"{index}.wav", noise, RATE)
    data = nw.load(str(tmp_path / "s"))
    assert data.val is not None
    sizes = np.full(len(data.val), int(seconds * RATE))
    long = replace(data, val=replace(data.val, sizes=sizes))
    assert eval_batch(nn.Linear(1, 1), long, "val") == batch


def test_a_sound_alone_of_which_nothing_is_heard_is_answered() -> None:
    """No letter at all is an answer, and no number of it is infinite."""
    none = np.zeros(0, dtype=np.int64)
    heard = Predictions(np.arange(1), none, none, np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    assert all_finite(heard).tolist() == [True]
