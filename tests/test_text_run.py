"""Texts from a file to a report, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright.cli import main
from netwright.progress import Silent
from netwright.starters import write_starter

pytest.importorskip("tokenizers", reason="needs the text extra")
pytest.importorskip("pandas", reason="needs the text extra")

SUBJECTS = {"space": ["rocket", "orbit", "moon"], "food": ["bread", "soup", "rice"], "sport": ["goal", "match", "team"]}
CHINESE = {"太空": ["火箭", "轨道", "月亮"], "食物": ["面包", "汤", "米饭"], "体育": ["进球", "比赛", "球队"]}


def write_table(path: Path, words: dict[str, list[str]], *, joint: str) -> Path:
    """Texts of which one word tells the subject."""
    generator = np.random.default_rng(0)
    filler = ["the", "a", "old", "new", "on", "under"] if joint == " " else ["这", "那", "新", "旧", "上", "下"]
    rows = ["text,label"]
    for index in range(600):
        label = list(words)[index % 3]
        others = generator.choice(filler, size=generator.integers(1, 12)).tolist()
        others.insert(int(generator.integers(0, len(others))), str(generator.choice(words[label])))
        rows.append(f"{joint.join(others)},{label}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("words", "joint", "lang"), [(SUBJECTS, " ", "en"), (CHINESE, "", "zh")], ids=["en", "zh"])
def test_a_starter_learns_texts_and_the_report_shows_them(
    tmp_path: Path, words: dict, joint: str, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, evaluate, predict and report, in English and in Chinese."""
    table = write_table(tmp_path / "texts.csv", words, joint=joint)
    write_starter("text", tmp_path / "mine")
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path}/mine/net.py:Net", "--data", str(table), "--epochs", "4", "--run", run]
    assert main([*command, "--lang", lang, "--arg", "features=32"]) == 0
    shown = capsys.readouterr()
    assert "vocab_size=" in shown.err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["scores"][0]["value"] > 0.9
    assert "tfidf_logistic_regression" in {one["name"] for one in evaluation["baselines"]}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "TF-IDF" in page
    assert '"version": "1.0"' not in page  # the tokenizer's JSON
    label, (word, *_) = next(iter(words.items()))
    assert main(["predict", run, f"{joint}{word}", "--json"]) == 0
    (answer,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answer["label"] == label
    (tmp_path / "lines.txt").write_text(f"{word}\n\n{word}\n", encoding="utf-8")
    assert main(["predict", run, f"@{tmp_path}/lines.txt", "--json"]) == 0
    answers = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 3
    assert answers[0] == answers[2] == label


def test_the_worst_texts_are_kept_and_shown(tmp_path: Path) -> None:
    """As they were written; what could be HTML is none."""
    path = tmp_path / "texts.csv"
    rows = [f"<b>word{index % 7}</b>,{'ab'[(index * 7919 % 100) < 50]}" for index in range(200)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    write_starter("text", tmp_path / "mine")
    from netwright.models import load_model

    model = load_model(f"{tmp_path}/mine/net.py:Net", {"vocab_size": 40, "features": 16})
    run = nw.train(model, str(path), run=tmp_path / "run", epochs=1, progress=Silent())
    worst = run.read_evaluation().worst
    assert worst
    assert all(one.text is not None and one.text.startswith("<b>word") for one in worst)
    page = run.report_file.read_text(encoding="utf-8")
    assert "&lt;b&gt;word" in page
    assert "<b>word" not in page


def test_a_resumed_run_on_texts_equals_the_unbroken_one(tmp_path: Path) -> None:
    """Batches of similar length come again where they were."""
    from netwright.checkpoints import digest_of
    from netwright.models import load_model

    table = str(write_table(tmp_path / "texts.csv", SUBJECTS, joint=" "))
    write_starter("rnn", tmp_path / "mine")

    def model() -> object:
        import torch

        torch.manual_seed(0)
        return load_model(f"{tmp_path}/mine/net.py:Net", {"vocab_size": 60, "num_classes": 3, "features": 16})

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done == 17:
                raise KeyboardInterrupt

    options = {"epochs": 2, "report": False, "checkpoint_every_steps": 5}
    whole = model()
    nw.train(whole, table, run=tmp_path / "whole", progress=Silent(), **options)
    with pytest.raises(KeyboardInterrupt):
        nw.train(model(), table, run=tmp_path / "part", progress=Stop(), **options)
    part = model()
    nw.resume(tmp_path / "part", model=part, progress=Silent(), report=False)
    assert digest_of(part.state_dict()) == digest_of(whole.state_dict())


def test_a_run_is_not_scored_with_another_tokenizer(tmp_path: Path) -> None:
    """The texts are the same, the ids are not: every answer would be nonsense."""
    from netwright.data.tokenisers import fit_tokenizer
    from netwright.errors import DataError
    from netwright.models import load_model

    table = str(write_table(tmp_path / "texts.csv", SUBJECTS, joint=" "))
    file = tmp_path / "tokenizer.json"
    options = nw.LoadOptions(tokenizer=str(file))
    file.write_text(fit_tokenizer(["the rocket", "a goal"], nw.LoadOptions())[0].tokenizer)
    write_starter("rnn", tmp_path / "mine")
    model = load_model(f"{tmp_path}/mine/net.py:Net", {"vocab_size": 60, "num_classes": 3, "features": 8})
    data = nw.load(table, options=options)
    run = nw.train(model, data, run=tmp_path / "run", epochs=1, progress=Silent(), report=False)
    nw.evaluate(run, model=model, with_baselines=False)
    file.write_text(fit_tokenizer(["a goal", "goal rocket"], nw.LoadOptions())[0].tokenizer)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        nw.evaluate(run, model=model, with_baselines=False)
