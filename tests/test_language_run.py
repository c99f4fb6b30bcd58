"""Running texts from a file to a report and a continuation, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright.checkpoints import digest_of
from netwright.cli import main
from netwright.errors import UsageError
from netwright.models import load_model
from netwright.progress import Silent
from netwright.starters import write_starter

pytest.importorskip("tokenizers", reason="needs the text extra")

ENGLISH = ("the old man", "the sea", "a small boat", "the bright day")
CHINESE = ("老人", "大海", "一条小船", "明亮的白天")
# A transformer of a person's own, with learned positions for as many tokens as a window has; and a network that returns
# its state beside its answer.
NETS = """
import torch
from torch import nn

class Positions(nn.Module):
    def __init__(self, vocab_size=10, max_length=8):
        super().__init__()
        self.embed, self.places = nn.Embedding(vocab_size, 32), nn.Embedding(max_length, 32)
        self.layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, batch_first=True)
        self.out = nn.Linear(32, vocab_size)

    def forward(self, tokens):
        size = tokens.shape[1]
        hidden = torch.full((size, size), float("-inf")).triu(1)
        x = self.embed(tokens) + self.places(torch.arange(size))
        return self.out(self.layer(x, hidden, is_causal=True)).log_softmax(-1)

class States(nn.Module):
    def __init__(self, vocab_size=10):
        super().__init__()
        self.embed, self.read = nn.Embedding(vocab_size, 16), nn.LSTM(16, 32, batch_first=True)
        self.out = nn.Linear(32, vocab_size)

    def forward(self, tokens, state=None):
        known, state = self.read(self.embed(tokens), state)
        return self.out(known), state
"""


def write_text(path: Path, things: tuple[str, ...], *, lines: int = 400) -> Path:
    """Lines that a model of a few thousand weights can learn."""
    generator = np.random.default_rng(0)
    ends = (".", "!") if things is ENGLISH else ("。", "！")
    joint = " saw " if things is ENGLISH else "看见"
    rows = [joint.join(generator.choice(things, 2)) + str(generator.choice(ends)) for _ in range(lines)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def last_json(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(("things", "lang"), [(ENGLISH, "en"), (CHINESE, "zh")], ids=["en", "zh"])
def test_the_starter_learns_a_text_and_continues_it(
    tmp_path: Path, things: tuple[str, ...], lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, evaluate, predict and report, in English and in Chinese."""
    text = write_text(tmp_path / "text.txt", things)
    write_starter("lm", tmp_path / "mine")
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path}/mine/net.py:Net", "--data", str(text), "--epochs", "12", "--run", run]
    assert main([*command, "--lang", lang, "--arg", "hidden=64", "--max-length", "32"]) == 0
    shown = capsys.readouterr()
    assert "without a class or a number" in shown.err
    assert "vocab_size=" in shown.err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    scores = {score["name"]: score for score in evaluation["scores"]}
    rivals = {one["name"]: one["score"]["value"] for one in evaluation["baselines"]}
    assert evaluation["headline"] == "bits_per_character"
    assert evaluation["count"] == round(0.1 * len(text.read_text(encoding="utf-8")))
    assert scores["bits_per_character"]["value"] < rivals["unigram"] / 2 < rivals["uniform"] / 2
    assert scores["perplexity"]["value"] == pytest.approx(2 ** scores["bits_per_character"]["value"], rel=1e-6)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert {"en": "What it writes", "zh": "模型写出的文字"}[lang] in page
    assert {"en": "What surprised it most", "zh": "最出乎模型意料的段落"}[lang] in page
    assert evaluation["continuations"][0]["written"].split("\n")[0] in page
    assert '"version": "1.0"' not in page  # the tokenizer's JSON
    for split in ("val", "train"):
        assert main(["evaluate", run, "--split", split, "--json"]) == 0
        (found,) = last_json(capsys)
        spec = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
        assert found["split"] == split
        assert found["count"] == spec["splits"][split]["tokens"]  # each once
    ends = {"en": ".", "zh": "。"}
    prompt = f"{things[1]}{ends[lang]}\n{things[0]}"  # at the beginning of a line it is not yet what was seen
    assert main(["predict", run, prompt, "--temperature", "0", "--max-new-tokens", "30", "--json"]) == 0
    (answer,) = last_json(capsys)
    joint = " saw " if lang == "en" else "看见"
    first = answer["continuation"].split("\n")[0]
    assert first.startswith(joint)
    assert first.removeprefix(joint)[:-1] in things


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that returns its state as well."""
    folder = tmp_path_factory.mktemp("language")
    write_text(folder / "text.txt", ENGLISH)
    (folder / "nets.py").write_text(NETS)
    command = ["train", f"{folder}/nets.py:States", "--data", f"{folder}/text.txt", "--epochs", "2", "--no-report"]
    assert main([*command, "--run", str(folder / "run"), "--max-length", "32"]) == 0
    return folder / "run"


def test_a_seed_writes_the_same_text_and_another_seed_another(trained: Path) -> None:
    """Also beside other prompts."""
    options = {"max_new_tokens": 60, "temperature": 1.5}
    (once,) = nw.predict(trained, ["the"], seed=1, **options)
    _, again = nw.predict(trained, ["a small boat saw", "the"], seed=1, **options)
    (other,) = nw.predict(trained, ["the"], seed=2, **options)
    assert once.continuation == again.continuation != other.continuation
    assert len(once.continuation or "") == 60


def test_the_likeliest_continuation_is_the_modules_own(trained: Path) -> None:
    """Temperature 0 against a loop over the module itself, with the last window alone."""
    import torch

    from netwright.inference import open_trained
    from netwright.preprocess import detokenise, tokenise

    opened = open_trained(trained)
    (operation,) = opened.data_spec.preprocess.operations
    tokens = tokenise(operation, ["the old man saw"])[0].tolist()
    written = []
    opened.model.eval()
    with torch.no_grad():
        for _ in range(50):
            answer = opened.model(torch.tensor([(tokens + written)[-32:]]))[0][0, -1]
            answer[:2] = -torch.inf  # padding and the unknown one
            written.append(int(answer.argmax()))
    (found,) = nw.predict(trained, ["the old man saw"], temperature=0, max_new_tokens=50)
    assert found.continuation == detokenise(operation, written)
    (near,) = nw.predict(trained, ["the old man saw"], temperature=1e-3, max_new_tokens=50)
    assert near.continuation == found.continuation
    (narrow,) = nw.predict(trained, ["the old man saw"], temperature=5.0, top_k=1, max_new_tokens=50)
    assert narrow.continuation == found.continuation


def test_a_prompt_may_be_empty_long_unknown_or_no_text(trained: Path) -> None:
    """Each gets an answer, a note or an error of its own."""
    found = nw.predict(trained, ["", "the sea " * 500, "龘 the", 3], max_new_tokens=5)
    assert [len(one.continuation or "") for one in found] == [5, 5, 5, 0]
    assert "1 of the prompt's 5" in (found[2].note or "")
    assert found[0].note is None
    assert "text" in (found[3].error or "")


def test_prompts_come_from_a_file_and_notes_go_aside(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is one prompt, its lines and all."""
    (tmp_path / "prompt.txt").write_text("the sea 龘\nthe", encoding="utf-8")
    assert main(["predict", str(trained), f"@{tmp_path}/prompt.txt", "--max-new-tokens", "7"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("the sea 龘\nthe")
    assert len(shown.out.rstrip("\n")) <= len("the sea 龘\nthe") + 7
    assert "1 of the prompt's" in shown.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--temperature", "-1", "--temperature"), ("--top-p", "1.5", "--top-p"), ("--max-new-tokens", "0", "--max-new")],
)
def test_sampling_out_of_range_is_refused(
    trained: Path, option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2."""
    assert main(["predict", str(trained), "the", option, value]) == 2
    assert message in capsys.readouterr().err


def test_sampling_is_refused_for_other_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it is for is said."""
    generator = np.random.default_rng(0)
    data = nw.load((generator.normal(size=(60, 3)).astype(np.float32), generator.integers(0, 2, 60)))
    from torch import nn

    net = nn.Linear(3, 2)
    run = nw.train(net, data, run=tmp_path / "run", epochs=1, progress=Silent(), report=False)
    with pytest.raises(UsageError, match="--top-k") as caught:
        nw.predict(run, [np.zeros(3, np.float32)], model=net, top_k=3)
    assert "next_token" in str(caught.value)


def test_a_transformer_with_learned_positions_learns_too(tmp_path: Path) -> None:
    """Its log-probabilities are recognised, it is made for as many places as a window has, and never given more."""
    text = write_text(tmp_path / "text.txt", ENGLISH)
    (tmp_path / "nets.py").write_text(NETS)
    command = ["train", f"{tmp_path}/nets.py:Positions", "--data", str(text), "--epochs", "3", "--no-report"]
    assert main([*command, "--run", str(tmp_path / "run"), "--max-length", "32", "--tokenizer", "bpe"]) == 0
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert {c["name"]: c["value"] for c in plan["choices"]}["loss"] == "NLLLoss"
    (answer,) = nw.predict(tmp_path / "run", ["the sea saw " * 30], max_new_tokens=20)
    assert answer.continuation


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """With windows that move each epoch, and dropout, bit for bit."""
    text = str(write_text(tmp_path / "text.txt", ENGLISH, lines=150))
    write_starter("lm", tmp_path / "mine")
    data = nw.load(text, options=nw.LoadOptions(max_length=32))

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done == 47:
                raise KeyboardInterrupt

    vocab = data.spec.preprocess.text.vocab_size
    options = {"epochs": 3, "report": False, "checkpoint_every_steps": 5}

    def exact() -> object:
        from netwright.randomness import seed_all

        seed_all(0)
        return load_model(f"{tmp_path}/mine/net.py:Net", {"vocab_size": vocab, "hidden": 16})

    whole = exact()
    nw.train(whole, data, run=tmp_path / "whole", progress=Silent(), **options)
    with pytest.raises(KeyboardInterrupt):
        nw.train(exact(), data, run=tmp_path / "part", progress=Stop(), **options)
    part = exact()
    nw.resume(tmp_path / "part", model=part, progress=Silent(), report=False)
    assert digest_of(part.state_dict()) == digest_of(whole.state_dict())


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty file"), (b"\x80\x81 text", "iconv"), (b"ab", "64 tokens")]
)
def test_a_broken_text_is_told_without_a_traceback(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1, and the file's name."""
    (tmp_path / "text.txt").write_bytes(content)
    (tmp_path / "nets.py").write_text(NETS)
    assert main(["train", f"{tmp_path}/nets.py:States", "--data", f"{tmp_path}/text.txt"]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "text.txt" in shown
    assert "Traceback" not in shown


def test_data_of_a_text_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tokens by split, its first lines, and each choice."""
    text = write_text(tmp_path / "text.txt", CHINESE)
    assert main(["data", str(text)]) == 0
    shown = capsys.readouterr().out
    assert "characters" in shown
    assert text.read_text(encoding="utf-8").splitlines()[0] in shown
    assert "each token of val and test once" in shown
