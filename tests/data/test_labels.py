"""Several labels a text, and pairs of texts: how they are read and what a batch holds of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright import preprocess
from netwright.cli import main
from netwright.data.batches import eval_batches
from netwright.data.collate import collate
from netwright.data.labels import holds_sets, read_set
from netwright.data.quotes import quotations
from netwright.errors import DataError, NetwrightError, UnknownNameError
from netwright.progress import Silent
from netwright.records import DataSpec
from netwright.starters import write_starter

pytest.importorskip("tokenizers", reason="needs the text extra")
pd = pytest.importorskip("pandas", reason="needs the text extra")

SETS = [("red",), ("red", "round"), (), ("round",), ("red", "round", "big one"), ("big one",)]


def rows(count: int = 60) -> list[tuple[str, tuple[str, ...]]]:
    return [(f"it is {' and '.join(SETS[at % 6]) or 'nothing'} {at}", SETS[at % 6]) for at in range(count)]


def labelled(folder: Path, form: str) -> tuple[Path, dict[str, str]]:
    """The same texts and labels in every form, and the options they need."""
    pairs = rows()
    if form in "|;":
        path = folder / "a.csv"
        pd.DataFrame({"text": [t for t, _ in pairs], "labels": [form.join(s) for _, s in pairs]}).to_csv(
            path, index=False
        )
        return path, {}
    if form == "json list":
        path = folder / "a.jsonl"
        path.write_text("\n".join(json.dumps({"text": t, "labels": list(s)}) for t, s in pairs), encoding="utf-8")
        return path, {}
    if form == "list in a cell":
        path = folder / "a.csv"
        pd.DataFrame({"text": [t for t, _ in pairs], "tags": [json.dumps(s) for _, s in pairs]}).to_csv(
            path, index=False
        )
        return path, {}
    if form == "parquet":
        path = folder / "a.parquet"
        pd.DataFrame({"text": [t for t, _ in pairs], "labels": [list(s) for _, s in pairs]}).to_parquet(path)
        return path, {}
    path = folder / "a.csv"
    frame = pd.DataFrame({"id": range(len(pairs)), "text": [t for t, _ in pairs]})
    for name in ("big one", "red", "round"):
        said = ("yes", "no") if form == "words" else (1, 0)
        frame[name] = [said[name not in s] for _, s in pairs]
    frame.to_csv(path, index=False)
    return path, {"target": "big one,red, round"}


@pytest.mark.parametrize("form", ["|", ";", "json list", "list in a cell", "parquet", "columns", "words"])
def test_every_form_holds_the_same_labels(tmp_path: Path, form: str) -> None:
    """A cell with several, a list, or columns of 0 and 1."""
    path, options = labelled(tmp_path, form)
    data = nw.load(str(path), **options)
    assert data.spec.task == "multi_label"
    assert data.spec.classes == ("big one", "red", "round")
    assert data.spec.target.shape == (3,)
    assert data.spec == DataSpec.model_validate_json(data.spec.model_dump_json())
    for split in ("train", "val", "test"):
        source = data.split(split)
        for at in range(len(source)):
            number = int(source.name(at).split("[")[1][:-1])
            held = {data.spec.classes[place] for place in np.flatnonzero(source.targets[at])}
            assert held == set(SETS[number % 6])
    counts = sum(np.asarray(split.class_counts) for split in data.spec.splits.values())
    assert counts.tolist() == [20, 30, 30]
    batch = next(iter(eval_batches(data, "train", batch_size=5, workers=0)))
    assert batch.target.dtype == torch.float32
    assert batch.target.shape == (5, 3)
    assert any("red, round" in line for line in quotations(data))


def test_a_sign_in_a_name_makes_no_sets() -> None:
    """Classes such as "a|b" stay classes, unless their parts come alone and together."""
    assert holds_sets(["sci|fi", "art", "sci|fi", "law"] * 10) is None
    assert holds_sets(["sci|fi", "sci|fi|law", "law|art"]) is None  # as many parts as cells
    assert holds_sets(["a", "b", "a|b", "b|c", "a|c", "c", "a|b|c"] * 10) == "|"
    assert holds_sets(["1", "2", ""]) is None
    assert holds_sets([["a"], [], None]) == "list"
    assert holds_sets([]) is None
    assert read_set(" a | |b|a ", "|", where="row") == ("a", "b")
    with pytest.raises(DataError, match="list of labels"):
        read_set([["a"]], "list", where="row 7")


def test_the_task_can_be_asked_for_either_way(tmp_path: Path) -> None:
    """One label each, taken as sets; sets taken as one class each."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {at},{'ab'[at % 2]}\n" for at in range(40)), encoding="utf-8")
    assert nw.load(str(path), task="multi_label").spec.task == "multi_label"
    assert nw.load(str(path)).spec.task == "classification"
    sets, _ = labelled(tmp_path, "|")
    with pytest.raises(DataError, match="a value in the column labels"):  # one row has no label
        nw.load(str(sets), task="classification")
    with pytest.raises(UnknownNameError, match="multi_label"):
        nw.load(str(sets), task="regresion")


def test_columns_that_are_no_labels_are_named(tmp_path: Path) -> None:
    """With the row, the column and what stands there."""
    path = tmp_path / "a.csv"
    path.write_text(
        "text,a,b\n" + "".join(f"a text {at},1,{0 if at != 1 else 2.5}\n" for at in range(40)), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r'row 2, column b.*"2\.5"'):
        nw.load(str(path), target="a,b")
    with pytest.raises(UnknownNameError, match="--target"):
        nw.load(str(path), target="a,bb")


def test_arrays_of_0_and_1_are_labels_where_that_is_asked_for() -> None:
    """Other numbers and shapes are refused, and without the task its name is told."""
    inputs, targets = np.random.default_rng(0).normal(size=(60, 4)), np.tile([[0, 1, 1], [1, 0, 0]], (30, 1))
    spec = nw.load((inputs, targets), task="multi_label").spec
    assert (spec.task, spec.classes, spec.target.dtype) == ("multi_label", ("0", "1", "2"), "float32")
    assert nw.load((inputs, targets.astype(bool)), task="multi_label").spec.digest == spec.digest
    with pytest.raises(DataError, match="multi_label"):
        nw.load((inputs, targets))
    with pytest.raises(DataError, match="0 or 1 for each label"):
        nw.load((inputs, targets * 2), task="multi_label")
    with pytest.raises(DataError, match=r"int64 \(60,\)"):
        nw.load((inputs, targets[:, 0]), task="multi_label")


def pairs_table(path: Path, *, names: tuple[str, str] = ("premise", "hypothesis"), score: bool = False) -> Path:
    words = ["a cat sleeps", "a dog barks", "你好", "", "😀 smile"]
    frame = pd.DataFrame(
        {
            names[0]: [f"{words[at % 5]} {at}" for at in range(80)],
            names[1]: [words[at % 3] for at in range(80)],
            "label": [at % 5 / 4 if score else ("same" if at % 5 == at % 3 else "other") for at in range(80)],
        }
    )
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("names", "options"),
    [(("premise", "hypothesis"), {}), (("sentence1", "sentence2"), {}), (("question1", "question2"), {}),
     (("text_a", "text_b"), {}), (("left", "right"), {"input": "left, right"})],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_two_columns_of_texts_are_a_pair(tmp_path: Path, names: tuple[str, str], options: dict[str, str]) -> None:
    """By their names or asked for; each by itself and both as one sequence with segments."""
    data = nw.load(str(pairs_table(tmp_path / "a.csv", names=names)), **options)
    pair = data.spec.preprocess.pair
    assert pair is not None and pair.columns == names and pair.separator == 2
    batch = next(iter(eval_batches(data, "train", batch_size=9, workers=0)))
    assert set(batch.inputs) == {
        "first", "first_lengths", "first_mask", "second", "second_lengths", "second_mask",
        "tokens", "lengths", "mask", "segments",
    }  # fmt: skip
    assert {field.name for field in data.spec.inputs} == set(batch.inputs)
    held = batch.inputs
    for at in range(9):
        one, two = (held[name][at, : held[f"{name}_lengths"][at]].tolist() for name in ("first", "second"))
        assert held["tokens"][at, : held["lengths"][at]].tolist() == [*one, 2, *two]
        assert held["segments"][at, : held["lengths"][at]].tolist() == [0] * (len(one) + 1) + [1] * len(two)
        assert not held["segments"][at, held["lengths"][at] :].any()


def test_serving_takes_pairs_as_training_does(tmp_path: Path) -> None:
    """Tuples, mappings and a text with a tab: the same ids; what is none of these is refused."""
    data = nw.load(str(pairs_table(tmp_path / "a.csv")))
    chain = preprocess.Preprocess.model_validate_json(data.spec.preprocess.model_dump_json())
    generator = np.random.default_rng(0)
    signs = ["cat", "dog", " ", "你好", "😀", "\ud800", "\u3000", "x" * 50, "."]
    for at in range(300):
        one, two = ("".join(generator.choice(signs, generator.integers(0, 30))) for _ in range(2))
        forms = [(one, two), [one, two], {"premise": one, "hypothesis": two}, {"first": one, "second": two}]
        made = [preprocess.sample(chain, form) for form in forms]
        assert all(np.array_equal(each[name], made[0][name]) for each in made for name in made[0])
        if at < 5:
            tab = preprocess.sample(chain, f"{one}\t{two}")
            assert all(np.array_equal(tab[name], made[0][name]) for name in tab)
    source = data.train
    gathered, _ = source.gather(np.arange(20))
    raws = list(zip(source.texts, source.seconds, strict=True))[:20]
    served = collate([preprocess.sample(chain, raw) for raw in raws], data.spec.inputs)
    assert gathered.keys() == served.keys()
    assert all(gathered[name].equal(served[name]) for name in gathered)
    for raw in ("one text", ("a",), ("a", "b", "c"), {"premise": "a"}, 3, ("a", None)):
        with pytest.raises(DataError, match="two texts, premise and hypothesis"):
            preprocess.sample(chain, raw)


class Apart(nn.Module):
    """Asks for the two texts; a mean of each."""

    def __init__(self, vocab_size: int = 150, outputs: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16, padding_idx=0)
        self.out = nn.Linear(32, outputs)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.embed(one).sum(1) for one in (first, second)], dim=1))


class Together(Apart):
    """Asks for both as one sequence."""

    def forward(self, tokens: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) * mask[..., None]
        return self.out(torch.cat((x.sum(1), (x * segments[..., None]).sum(1)), dim=1))


@pytest.mark.parametrize("kind", [Apart, Together])
@pytest.mark.parametrize("score", [False, True], ids=["classes", "numbers"])
def test_a_module_gets_the_fields_it_asks_for(tmp_path: Path, kind: type[Apart], *, score: bool) -> None:
    """Classification and regression of pairs, from a file to answers, beside TF-IDF on both texts."""
    path = pairs_table(tmp_path / "a.csv", score=score)
    torch.manual_seed(0)
    net = kind(outputs=1 if score else 2)
    run = nw.train(net, str(path), run=tmp_path / "run", epochs=3, progress=Silent(), report=False)
    evaluation = run.read_evaluation()
    assert evaluation.task == ("regression" if score else "classification")
    rival = next(one for one in evaluation.baselines if one.name.startswith("tfidf"))
    assert "of both texts" in rival.detail
    good, bad = nw.predict(run, [("a cat sleeps", "a cat sleeps"), "alone"], model=net)
    assert good.error is None
    assert bad.error is not None and "two texts" in bad.error
    if not score:
        assert any("‖" in (one.text or "") for one in evaluation.worst) or not evaluation.worst


def test_three_columns_are_a_table(tmp_path: Path) -> None:
    """One text, or two; more are columns like any other."""
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,label\n" + "".join(f"some words {at},y,z,{at % 2}\n" for at in range(60)), encoding="utf-8")
    assert nw.load(str(path), input="a,b,c").spec.kind == "table"
    assert nw.load(str(path), input="a,b").spec.preprocess.pair is not None
    with pytest.raises(NetwrightError):
        nw.load(str(path), input="a,label", target="label")


def test_a_starter_answers_pairs_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both texts as one sequence; a tab stands between them, also in a file of lines."""
    table = pairs_table(tmp_path / "a.csv")
    write_starter("text", tmp_path / "mine")
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path}/mine/net.py:Net", "--data", str(table), "--epochs", "1", "--arg", "features=16"]
    assert main([*command, "--run", run, "--arg", "num_pairs=101"]) == 0
    capsys.readouterr()
    (tmp_path / "lines.txt").write_text("one\tother\n你好\t😀\n", encoding="utf-8")
    assert main(["predict", run, "a cat\ta dog", f"@{tmp_path}/lines.txt"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["predict", run, "alone"]) == 1
    assert "two texts, premise and hypothesis" in capsys.readouterr().err
