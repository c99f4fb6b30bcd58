"""A sample answers alone as it does among others, and as padded to four times its length; and teaches the same.

Each starter goes the way a run goes: data from a file, the module built for them, the loss that the task proposes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import netwright as nw
from netwright.batch import Batch
from netwright.binding import ask, in_full
from netwright.data import tensors
from netwright.data.dataset import Data
from netwright.given import Given
from netwright.models import arguments_from, load_model
from netwright.records import Settings
from netwright.session import Session, prepare
from netwright.starters import STARTERS, write_starter
from netwright.tasks import IGNORE_INDEX

SHORT, LONG = "a good day", "this was not what we had hoped for when we came here on a wet and windy evening in may"


def texts(folder: Path) -> Data:
    """Two classes of texts, short and long."""
    return nw.load(str(_rows(folder, ("text", "label"), [(f"{SHORT if at % 3 else LONG} {at % 7}", "ab"[at % 2])
                                                         for at in range(40)])))  # fmt: skip


def values_of_texts(folder: Path) -> Data:
    """A number for each text."""
    rows = [(f"{SHORT if at % 3 else LONG} {at % 7}", at % 4 / 3 + 0.1) for at in range(40)]
    return nw.load(str(_rows(folder, ("text", "score"), rows)), target="score", task="regression")


def labels_of_texts(folder: Path) -> Data:
    """Several labels for each text."""
    rows = [(f"{SHORT if at % 3 else LONG} {at % 7}", ("a|b", "b", "c|a")[at % 3]) for at in range(40)]
    return nw.load(str(_rows(folder, ("text", "labels"), rows)), task="multi_label")


def pairs_of_texts(folder: Path) -> Data:
    """Whether two texts go together, one behind the other."""
    rows = [
        (f"day {at}", f"a day {at}", "yes") if at % 3 else (f"{LONG} {at}", f"{LONG} not", "no") for at in range(40)
    ]
    return nw.load(str(_rows(folder, ("premise", "hypothesis", "label"), rows)))


def tags(folder: Path) -> Data:
    """A tag for each word of short and long sentences."""
    sentences = [SHORT if at % 3 else LONG for at in range(40)]
    lines = ["\n".join(f"{word} {'SHORT' if len(word) < 3 else 'LONG'}" for word in one.split()) for one in sentences]
    (folder / "words.conll").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return nw.load(str(folder / "words.conll"))


def running(folder: Path) -> Data:
    """One running text, in windows of 16 characters."""
    (folder / "plays.txt").write_text(f"{LONG}\n{SHORT}\n" * 60, encoding="utf-8")
    return nw.load(str(folder / "plays.txt"), task="next_token", max_length=16)


def sounds(folder: Path) -> Data:
    """Low and high tones, of 0.1 s and of 0.5 s."""
    for at in range(40):
        _tone(folder / "tones" / ("low", "high")[at % 2] / f"{at}.wav", 200 + 400 * (at % 2), 0.1 if at % 3 else 0.5)
    return nw.load(str(folder / "tones"))


def transcripts(folder: Path) -> Data:
    """Tones, and what is said to be spoken in them."""
    rows = []
    for at in range(40):
        _tone(folder / f"{at}.wav", 200 + 10 * at, 0.1 if at % 3 else 0.5)
        rows.append((f"{at}.wav", "no" if at % 3 else "nooo on"))
    return nw.load(str(_rows(folder, ("audio_filepath", "text"), rows)), task="transcription")


def table(folder: Path) -> Data:
    """Numbers and categories, some missing, and a class."""
    rows = [(at % 9 or "", "xyz"[at % 3], ["no", "yes"][at % 2]) for at in range(60)]
    return nw.load(str(_rows(folder, ("size", "kind", "late"), rows)), target="late")


def series(folder: Path) -> Data:
    """Visitors a day."""
    days = np.arange("2024-01-01", "2025-06-01", dtype="datetime64[D]")
    rows = [(str(day), float(10 + at % 7 + at % 5)) for at, day in enumerate(days)]
    return nw.load(str(_rows(folder, ("date", "visitors"), rows)))


def pictures(folder: Path) -> Data:
    """Handwritten digits."""
    del folder
    return nw.load("digits")


@dataclass(frozen=True)
class Case:
    """A starter, and data that it is for."""

    starter: str
    data: Callable[[Path], Data]


CASES = [
    Case("mlp", pictures), Case("cnn", pictures),
    Case("text", texts), Case("text", values_of_texts), Case("text", labels_of_texts),
    Case("text", pairs_of_texts), Case("rnn", texts),
    Case("tagger", tags), Case("lm", running), Case("speech", sounds),
    Case("transcriber", transcripts), Case("table", table), Case("series", series),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: f"{case.starter}-{case.data.__name__}")
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    """A starter made ready on its data, in eval mode."""
    case: Case = request.param
    net = f"{write_starter(case.starter, tmp_path / 'net')[0]}:Net"
    data = case.data(tmp_path)
    torch.manual_seed(0)
    model = load_model(net, arguments_from(net, data.spec))
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at 0 would hide what follows it
            parameter.add_(torch.randn_like(parameter) * 0.05)
    ready = prepare(model, data, Settings(device="cpu"), Given())
    ready.model.eval()
    yield ready


def test_every_starter_is_among_the_cases() -> None:
    """Also one that is added tomorrow."""
    assert {case.starter for case in CASES} == set(STARTERS)


def test_a_sample_answers_alone_as_among_longer_ones(session: Session) -> None:
    """To 1e-5; and what it adds to the gradient of a batch is the gradient of its own loss."""
    short, long = ends(session.data)
    alone, others, both = (batch_of(session.data, at) for at in ([short], [long], [short, long]))
    (answer, own), (_, rest), (answers, whole) = (answer_and_gradient(session, one) for one in (alone, others, both))
    torch.testing.assert_close(common(answers, answer), answer, atol=1e-5, rtol=1e-5)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, own[name] + rest[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: n + m)


def test_padding_to_four_times_the_length_changes_nothing(session: Session) -> None:
    """Neither the answer, to 1e-5, nor the gradient of the loss."""
    short, _ = ends(session.data)
    alone = batch_of(session.data, [short])
    padded = stretched(session, alone)
    if padded is None:
        pytest.skip("samples of these data are all of one size")
    (answer, own), (answers, other) = (answer_and_gradient(session, one) for one in (alone, padded))
    torch.testing.assert_close(common(answers, answer), answer, atol=1e-5, rtol=1e-5)
    for name, gradient in other.items():
        torch.testing.assert_close(gradient, own[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: n + m)


def ends(data: Data) -> tuple[int, int]:
    """The shortest and the longest sample; of those of one size the first two."""
    lengths = data.train.lengths
    if lengths is None:
        return 0, 1
    short, long = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[long] >= 4 * lengths[short]
    return short, long


def batch_of(data: Data, indices: list[int]) -> Batch:
    """These samples, padded as training does."""
    fields, targets = data.train.gather(np.array(indices))
    return Batch(tensors.apply_to(data.spec.preprocess, fields), targets, torch.tensor(indices))


def stretched(session: Session, batch: Batch) -> Batch | None:
    """The batch with its padding made longer, to four times; None where nothing of it varies."""
    varying = {field.name for field in session.data.spec.inputs if field.shape[:1] == (-1,)}
    if session.data.spec.task == "next_token":  # windows are alike, but a longer one may be asked for
        varying = {"tokens"}
    if not varying:
        return None
    inputs = {
        name: longer(value, 0) if value.ndim > 1 and (name in varying or value.dtype == torch.bool) else value
        for name, value in batch.inputs.items()
    }
    per_position = batch.target.ndim == 2 and any(batch.target.shape == value.shape for value in batch.inputs.values())
    return replace(batch, inputs=inputs, targets=longer(batch.target, IGNORE_INDEX) if per_position else batch.target)


def longer(value: Tensor, fill: int) -> Tensor:
    """(B, T, ...) to (B, 4 T, ...)."""
    more = value.new_full((len(value), 3 * value.shape[1], *value.shape[2:]), fill)
    return torch.cat((value, more), dim=1)


# Outputs are tensors, one or by name.
def answer_and_gradient(session: Session, batch: Batch) -> tuple[Any, dict[str, Tensor]]:
    """The first sample's answer, and by parameter the gradient of the loss summed over what counts."""
    objective = session.state.recipe.objective
    outputs = in_full(ask(session.binding, session.model, batch.inputs))
    count = objective.count(batch)
    loss = objective.mean(objective(outputs, batch), count) * count
    parameters = dict(session.model.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = {name: torch.zeros_like(parameters[name]) if one is None else one
                 for name, one in zip(parameters, found, strict=True)}  # fmt: skip
    if isinstance(outputs, dict):  # of a transcript the frames that are real
        return outputs["logits"][0, : outputs["lengths"][0]].detach(), gradients
    return outputs[0].detach(), gradients


def common(answer: Tensor, wanted: Tensor) -> Tensor:
    """The part of an answer that is no padding: as many positions as the other has."""
    return answer[: len(wanted)] if answer.ndim > 1 else answer


def _tone(path: Path, hertz: float, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.arange(int(8_000 * seconds)) / 8_000
    noise = np.random.default_rng(int(hertz)).normal(scale=0.05, size=len(steps))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * steps) + noise, 8_000)


def _rows(folder: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "rows.csv"
