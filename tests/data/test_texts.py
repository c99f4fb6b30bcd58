"""Texts from files: what is read, how it becomes tokens, how tokens become batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import netwright.data as nd
from netwright.data.batches import eval_batches, train_batches
from netwright.data.ragged import Ragged, RaggedSource, by_length
from netwright.data.tokenisers import fit_tokenizer
from netwright.errors import DataError, MissingFileError, UnknownNameError
from netwright.preprocess import Preprocess, tokenise
from netwright.records import DataSpec, LoadOptions

pytest.importorskip("tokenizers", reason="needs the text extra")
pd = pytest.importorskip("pandas", reason="needs the text extra")

ANIMALS = ["the cat sleeps", "a dog barks", "my cat purrs", "that dog runs", "one cat eats", "some dog digs"]


def rows(count: int = 60) -> list[tuple[str, str]]:
    return [(f"{ANIMALS[index % 6]} {index}", "cat" if index % 2 == 0 else "dog") for index in range(count)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "animals.csv", ["text,label", *(f"{text},{label}" for text, label in rows())])


def by_kind(folder: Path, kind: str) -> Path:
    """The same texts and labels in every form."""
    pairs = rows()
    if kind == "csv":
        return write(folder / "a.csv", ["id,text,label", *(f'{i},"{t}",{c}' for i, (t, c) in enumerate(pairs))])
    if kind == "csv without a header":
        return write(folder / "a.csv", [f"{text},{label}" for text, label in pairs])
    if kind == "tsv":
        return write(folder / "a.tsv", [f"{text}\t{label}" for text, label in pairs])
    if kind == "jsonl":
        return write(folder / "a.jsonl", [json.dumps({"label": c, "sentence": t}) for t, c in pairs])
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow")
        pd.DataFrame({"title": [t for t, _ in pairs], "category": [c for _, c in pairs]}).to_parquet(
            folder / "a.parquet"
        )
        return folder / "a.parquet"
    if kind == "split files":
        (folder / "set").mkdir()
        write(folder / "set" / "train.csv", ["text,label", *(f"{t},{c}" for t, c in pairs[:40])])
        write(folder / "set" / "dev.csv", ["text,label", *(f"{t},{c}" for t, c in pairs[40:50])])
        write(folder / "set" / "test.csv", ["text,label", *(f"{t},{c}" for t, c in pairs[50:])])
        return folder / "set"
    for index, (text, label) in enumerate(pairs):
        (folder / "set" / label).mkdir(parents=True, exist_ok=True)
        write(folder / "set" / label / f"{index:03}.txt", [text])
    return folder / "set"


KINDS = ["csv", "csv without a header", "tsv", "jsonl", "parquet", "split files", "folder of .txt files"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_read_in_every_form(tmp_path: Path, kind: str) -> None:
    """Two classes, all sixty texts, tokens with lengths and mask."""
    data = nd.load(by_kind(tmp_path, kind))
    assert data.spec.kind == "text"
    assert data.spec.classes == ("cat", "dog")
    assert sum(split.count for split in data.spec.splits.values()) == 60
    assert [field.name for field in data.spec.inputs] == ["tokens", "lengths", "mask"]
    texts = [text.strip() for name in data.spec.splits for text in data.split(name).texts]
    assert sorted(texts) == sorted(text for text, _ in rows())
    for name in data.spec.splits:
        source = data.split(name)
        assert all(("cat" in text) == (target == 0) for text, target in zip(source.texts, source.targets, strict=True))


def test_a_record_of_texts_goes_to_json_and_back(table: Path) -> None:
    """With the tokenizer in it: serving needs nothing else."""
    spec = nd.load(table).spec
    again = DataSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert (
        tokenise(again.preprocess.text, ["the cat"])[0].tolist()
        == tokenise(spec.preprocess.text, ["the cat"])[0].tolist()
    )


def test_whole_numbers_are_classes_and_others_are_values(tmp_path: Path) -> None:
    """Names of classes lie beside the data, as in class.txt."""
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.tsv", [f"{text}\t{index % 2}" for index, (text, _) in enumerate(rows())])
    assert nd.load(folder).spec.classes == ("0", "1")
    write(folder / "class.txt", ["猫", "狗"])
    assert nd.load(folder).spec.classes == ("猫", "狗")
    write(folder / "train.tsv", [f"{text}\t{index / 7}" for index, (text, _) in enumerate(rows())])
    assert nd.load(folder).spec.task == "regression"


def test_a_tab_separated_file_knows_no_quotes(tmp_path: Path) -> None:
    """A title may begin with one."""
    path = write(tmp_path / "a.tsv", [f'"{label}" is {text}\t{label}' for text, label in rows()])
    data = nd.load(path)
    assert all(text.startswith('"') for text in data.train.texts)


def spoil(path: Path, how: str) -> LoadOptions:
    lines = path.read_text(encoding="utf-8").splitlines()
    if how == "an empty file":
        path.write_text("")
    elif how == "a header alone":
        write(path, lines[:1])
    elif how == "another encoding":
        path.write_bytes(b"text,label\n" + "".join(f"猫{i},甲\n" for i in range(20)).encode("gb18030"))
    elif how == "a missing label":
        write(path, [*lines[:5], "a cat without,", *lines[5:]])
    elif how == "a row too long":
        write(path, [*lines[:5], "a,b,c,d", *lines[5:]])
    elif how == "numbers alone":
        write(path, ["a,b", *(f"{i},{i}" for i in range(30))])
    elif how == "no such column":
        return LoadOptions(input="txet")
    elif how == "no such tokenizer":
        return LoadOptions(tokenizer="words")
    elif how == "no such tokenizer file":
        return LoadOptions(tokenizer="tokenizer.json")
    return LoadOptions()


@pytest.mark.parametrize(
    ("how", "kind", "word"),
    [
        ("an empty file", DataError, "at least one row"),
        ("a header alone", DataError, "at least one row"),
        ("another encoding", DataError, "GB18030"),
        ("a missing label", DataError, "row 5"),
        ("a row too long", DataError, "line 6"),
        ("numbers alone", DataError, "--target"),
        ("no such column", UnknownNameError, '"text"'),
        ("no such tokenizer", UnknownNameError, '"word"'),
        ("no such tokenizer file", MissingFileError, "no such file"),
    ],
)
def test_spoilt_files_are_refused(table: Path, how: str, kind: type, word: str) -> None:
    """With the place and the cure."""
    options = spoil(table, how)
    with pytest.raises(kind) as caught:
        nd.load(table, options=options)
    assert word in caught.value.message
    assert caught.value.cure


def test_too_many_files_in_another_encoding_are_refused(tmp_path: Path) -> None:
    """A few are left out and named."""
    folder = by_kind(tmp_path, "folder of .txt files")
    (folder / "cat" / "bad.txt").write_bytes(b"\xff\xfe\x00")
    data = nd.load(folder, options=LoadOptions(max_unreadable=0.05))
    assert len(data.spec.unreadable) == 1
    with pytest.raises(DataError, match=r"bad\.txt"):
        nd.load(folder)


# Tokens


def tokens(texts: list[str], asked: str | None = None, **options: object) -> tuple[object, list[list[int]]]:
    operation, _ = fit_tokenizer(texts, LoadOptions(tokenizer=asked, **options))
    return operation, [one.tolist() for one in tokenise(operation, texts)]


def test_words_are_cut_at_spaces_and_punctuation() -> None:
    """In lower case; full-width letters are letters; Chinese characters stand apart."""
    _, (first, second, third) = tokens(["The CAT, the cat!", "ｔｈｅ ｃａｔ", "the 猫咪"])
    the, cat = first[0], first[1]
    assert first[3:5] == [the, cat]
    assert second == [the, cat]
    assert len(third) == 3


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    """By default; words are on request."""
    operation, found = tokens(["小猫睡觉", "小狗叫"])
    assert operation.kind == "character"
    assert [len(one) for one in found] == [4, 3]
    assert found[0][0] == found[1][0]
    assert tokens(["小猫睡觉", "小狗叫"], "word")[0].kind == "word"


def test_byte_pairs_lose_nothing() -> None:
    """What is written comes back out of the ids, emoji too."""
    from tokenizers import Tokenizer

    texts = ["Hello, World", "naïve 猫 🙂"] * 3
    operation, found = tokens(texts, "bpe", vocab_size=400)
    tokenizer = Tokenizer.from_str(operation.tokenizer)
    assert [tokenizer.decode(one, skip_special_tokens=False) for one in found] == texts


def test_a_tokenizer_of_ones_own_is_taken(tmp_path: Path) -> None:
    """As its file has it."""
    operation, found = tokens(ANIMALS, "word")
    path = tmp_path / "tokenizer.json"
    path.write_text(operation.tokenizer, encoding="utf-8")
    mine, again = tokens(ANIMALS, str(path))
    assert again == found
    assert mine.kind == "file"
    path.write_text("{}")
    with pytest.raises(DataError, match="tokenizer.json"):
        tokens(ANIMALS, str(path))


STRANGE = [
    "",
    " ",
    "\n\t",
    "🙂🙂",
    "漢字と仮名",
    "繁體中文",
    "ＦＵＬＬ",
    "a\0b",
    "e\u0301",
    "\ud800",
    "مرحبا",
    "ไทย",
    "\u200b",
]


@pytest.mark.parametrize("kind", ["word", "character", "bpe"])
def test_strange_texts_pass(kind: str) -> None:
    """Empty, of other scripts, broken, or 100,000 characters long: ids in range, never more than the limit."""
    operation, _ = fit_tokenizer(ANIMALS, LoadOptions(tokenizer=kind, max_length=50))
    found = tokenise(operation, [*STRANGE, "a cat " * 20_000])
    assert len(found[0]) == 0
    assert len(found[-1]) == 50
    assert all(((one >= 1) & (one < operation.vocab_size)).all() for one in found)


def test_what_training_had_not_is_unknown(table: Path) -> None:
    """Only the training split is learned from: a word of the test alone is token 1."""
    data = nd.load(table)
    texts = {name: data.split(name).texts for name in data.spec.splits}
    known = {word for text in texts["train"] for word in text.split()}
    only = next(word for text in texts["test"] for word in text.split() if word not in known)
    assert tokenise(data.spec.preprocess.text, [only])[0].tolist() == [1]


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_training_and_serving_agree_on_many_texts(tmp_path: Path, count: int) -> None:
    """Tokens as batches hold them, against those made anew from the record on disk."""
    generator = np.random.default_rng(0)
    letters = [*"abcdefgh   ,.!", *"小猫狗漢字", "🙂", "ｆ", "é"]
    texts = ["".join(generator.choice(letters, size=generator.integers(0, 40))) for _ in range(count)]
    path = tmp_path / "t.jsonl"
    write(path, [json.dumps({"text": text, "label": str(i % 3)}) for i, text in enumerate(texts)])
    for kind in ("word", "character", "bpe"):
        data = nd.load(path, options=LoadOptions(tokenizer=kind, vocab_size=500))
        served = DataSpec.model_validate_json(data.spec.model_dump_json()).preprocess.text
        for name in data.spec.splits:
            source = data.split(name)
            inputs, _ = source.gather(np.arange(len(source)))
            for row, length, again in zip(
                inputs["tokens"], inputs["lengths"], tokenise(served, source.texts), strict=True
            ):
                assert row[:length].tolist() == again.tolist()


# Batches


def test_batches_are_padded_and_told(table: Path) -> None:
    """Zeros behind each end; lengths and mask say the same."""
    data = nd.load(table)
    seen = 0
    for batch in eval_batches(data, "train", batch_size=7, workers=0):
        tokens, lengths, mask = (batch.inputs[name] for name in ("tokens", "lengths", "mask"))
        assert tokens.dtype == lengths.dtype == torch.int64
        assert torch.equal(mask.sum(1), lengths)
        assert tokens.shape[1] == lengths.max()
        assert (tokens[~mask] == 0).all()
        assert (tokens[mask] > 0).all()
        seen += len(batch)
    assert seen == len(data.train)


def test_batches_hold_similar_lengths_and_each_sample_once() -> None:
    """From (seed, epoch) alone."""
    lengths = np.random.default_rng(0).integers(1, 200, size=5_000)
    order = np.random.default_rng(1).permutation(5_000)
    parts = by_length(lengths, order, 32, seed=3, epoch=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(5_000))
    assert max(map(len, parts)) == 32
    assert len(parts) == -(-5_000 // 32)
    cells = sum(len(part) * lengths[part].max() for part in parts)
    assert cells < 1.1 * lengths.sum()  # random batches need twice the sum
    again = by_length(lengths, order, 32, seed=3, epoch=1)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))
    other = by_length(lengths, order, 32, seed=3, epoch=2)
    assert not all(np.array_equal(one, two) for one, two in zip(parts, other, strict=True))


def test_skipping_batches_goes_on_where_it_was(table: Path) -> None:
    """What a resumed run sees is what the unbroken one saw."""
    data = nd.load(table)
    options = {"batch_size": 8, "seed": 0, "epoch": 2, "augment": (), "workers": 0}
    whole = [batch.sample_ids.tolist() for batch in train_batches(data, **options)]
    rest = [batch.sample_ids.tolist() for batch in train_batches(data, **options, skip=2)]
    assert rest == whole[2:]


def test_a_batch_of_empty_texts_has_one_position() -> None:
    """Most layers refuse nothing."""
    operation, _ = fit_tokenizer(ANIMALS, LoadOptions())

    tokens = Ragged.of(tokenise(operation, ["", ""]), np.int32)
    source = RaggedSource({"tokens": tokens}, torch.zeros(2, dtype=torch.int64), ["a", "b"], ["", ""])
    inputs, _ = source.gather(np.arange(2))
    assert inputs["tokens"].shape == (2, 1)
    assert not inputs["mask"].any()


def test_preprocess_of_texts_is_told_short() -> None:
    """The tokenizer's JSON is not printed."""
    operation, _ = fit_tokenizer(ANIMALS, LoadOptions())
    assert len(repr(Preprocess(operations=(operation,)))) < 300


@pytest.mark.parametrize(("line", "word"), [('{"text": "a", "label"', "line 3"), ("[1, 2]", "line 3"), ("3", "int")])
def test_a_broken_line_of_json_is_named(tmp_path: Path, line: str, word: str) -> None:
    """With its number; other line ends may stand inside a text."""
    good = [json.dumps({"text": f"a\u2028b {i}", "label": str(i % 2)}, ensure_ascii=False) for i in range(30)]
    path = write(tmp_path / "a.jsonl", good)
    assert sum(split.count for split in nd.load(path).spec.splits.values()) == 30
    write(path, [*good[:2], line, *good[2:]])
    with pytest.raises(DataError, match=word):
        nd.load(path)
