"""Words of sentences: how they are read from files, looked up, and cut out of a string."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright import preprocess
from netwright.data.batches import eval_batches
from netwright.data.collate import collate
from netwright.data.conll import holds_tags, read_sentences, tagged_files
from netwright.data.ragged import Ragged, RaggedSource
from netwright.errors import DataError, UnknownNameError, UsageError
from netwright.records import DataSpec
from netwright.words import Words, fit_words, look_up, plain, sentence, shape

TWO = "I\tPRON\nsee\tVERB\nRome\tPROPN\n\nYou\tPRON\ndo\tAUX\nn't\tPART\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def words_of(path: Path, **columns: str) -> list[list[tuple[str, str]]]:
    found, broken, _ = read_sentences(path, **columns)
    assert not broken
    return [list(zip(one.words, one.tags, strict=True)) for one in found]


@pytest.mark.parametrize(
    "text",
    [
        TWO,
        TWO.replace("\t", " "),
        TWO.replace("\n", "\r\n"),
        "\ufeff" + TWO,
        TWO.replace("\n\n", "\n \t \n\n\n") + "\n\n",
        "\n\n" + TWO.rstrip("\n"),
        "-DOCSTART-\t-X-\n\n" + TWO.replace("\n\n", "\n-DOCSTART-\tO\n"),
        "token\ttag\n" + TWO,
        "# newdoc\n# sent_id = 1\n" + TWO,
        "".join(f"{line.split()[0]}\tx\ty\t{line.split()[1]}\n" if line else "\n" for line in TWO.splitlines()),
    ],
    ids=["tabs", "spaces", "crlf", "bom", "blank lines", "leading", "documents", "header", "comments", "four columns"],
)
def test_every_form_holds_the_same_sentences(tmp_path: Path, text: str) -> None:
    """Word first, tag last; whatever ends a sentence."""
    first = [("I", "PRON"), ("see", "VERB"), ("Rome", "PROPN")]
    assert words_of(write(tmp_path / "a.conll", text)) == [
        first, [("You", "PRON"), ("do", "AUX"), ("n't", "PART")]
    ]  # fmt: skip


def test_universal_dependencies_give_forms_and_parts_of_speech(tmp_path: Path) -> None:
    """Ranges and empty nodes are no words; other columns can be asked for."""
    rows = ["# text = vámonos al mar", "1-2 vámonos _ _ _ _ _ _ _ _", "1 vamos ir VERB V _ 0 root _ _",
            "2 nos nosotros PRON P _ 1 obj _ _", "2.1 x _ ADV _ _ _ _ _ _", "3 mar mar NOUN N _ 1 obl _ _"]  # fmt: skip
    text = "\n".join(row if row.startswith("#") else row.replace(" ", "\t") for row in rows) + "\n"
    path = write(tmp_path / "es-ud-train.conllu", text)
    assert words_of(path) == [[("vamos", "VERB"), ("nos", "PRON"), ("mar", "NOUN")]]
    assert words_of(path, word="lemma", tag="deprel") == [[("ir", "root"), ("nosotros", "obj"), ("mar", "obl")]]
    with pytest.raises(UnknownNameError, match="upos"):
        read_sentences(path, tag="uppos")
    assert tagged_files(tmp_path) == {"train": path}


def test_hashes_are_words_where_they_have_a_tag(tmp_path: Path) -> None:
    """#topic in a tweet is no comment, nor is a # alone."""
    assert words_of(write(tmp_path / "a.bio", "#topic\tO\n#\tO\n# x y\n\nRome\tB-LOC\n")) == [
        [("#topic", "O"), ("#", "O")],
        [("Rome", "B-LOC")],
    ]
    assert words_of(write(tmp_path / "b.bio", "# O\n# id = 7 O\nRome B-LOC\n")) == [[("#", "O"), ("Rome", "B-LOC")]]


def test_words_with_tabs_between_may_hold_spaces_and_signs_of_no_width(tmp_path: Path) -> None:
    """A word of the file stays one word, whatever is in it."""
    text = "New York\tB\n\u200b\tO\n\tO\n1 000\tO\na\u2028b\tO\n"
    assert words_of(write(tmp_path / "a.conll", text))[0] == [
        ("New York", "B"), ("\u200b", "O"), ("", "O"), ("1 000", "O"), ("a\u2028b", "O")
    ]  # fmt: skip


def test_a_sentence_without_a_tag_is_named_and_left_out(tmp_path: Path) -> None:
    """Up to the stated share; beyond it is an error that says which line."""
    path = write(tmp_path / "a.conll", (TWO + "\n") * 60 + "Rome\n")
    data = nw.load(str(path), test_fraction=0.2, val_fraction=0.1)
    assert [one.reason for one in data.spec.unreadable] == ["line 481 has no tag: 'Rome'"]
    broken = write(tmp_path / "b.conll", TWO + "\nRome\n")
    with pytest.raises(DataError, match="line 9 has no tag"):
        nw.load(str(broken))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no line of words"), ("one\ntwo\n\nthree\n", "lines of 1 column"), ("\n\n\n", "no line of words")],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Expected, got and cure."""
    with pytest.raises(DataError, match=said):
        nw.load(str(write(tmp_path / "a.conll", text)))


def test_other_bytes_are_named_with_a_cure(tmp_path: Path) -> None:
    """As for all texts."""
    (tmp_path / "a.conll").write_bytes("北\tB\n京\tI\n".encode("gb18030"))
    with pytest.raises(DataError, match="iconv"):
        nw.load(str(tmp_path / "a.conll"))


def test_a_table_or_a_poem_is_not_taken_for_sentences(tmp_path: Path) -> None:
    """Only lines of as many columns with few different tags are."""
    poem = "roses red\nviolets blue\n\nsugar sweet\nhoney too\n\nnight falls\nday breaks\n\nbirds sing\nwolves howl\n"
    table = "text\tlabel\n" + "".join(f"a text {index}\tgood\n" for index in range(400)) + "\n" + "a text\tbad\n"
    assert not holds_tags(write(tmp_path / "poem.txt", poem))
    assert not holds_tags(write(tmp_path / "table.tsv", table))
    assert not holds_tags(write(tmp_path / "short.tsv", "a text\tgood\n\n" * 9))
    assert not holds_tags(write(tmp_path / "other.md", TWO))
    assert holds_tags(write(tmp_path / "tags.tsv", (TWO + "\n") * 4))
    assert holds_tags(write(tmp_path / "tags.txt", (TWO + "\n").replace("\t", " ") * 4))
    (tmp_path / "picture.txt").write_bytes(bytes(range(256)))
    assert not holds_tags(tmp_path / "picture.txt")


def test_a_folder_of_splits_keeps_them(tmp_path: Path) -> None:
    """dev is val; nothing is split off but what is missing."""
    for name, count in (("train", 40), ("dev", 5), ("test", 7)):
        write(tmp_path / f"{name}.conll", (TWO + "\n") * count)
    spec = nw.load(str(tmp_path)).spec
    assert {name: split.count for name, split in spec.splits.items()} == {"train": 80, "val": 10, "test": 14}
    assert spec.task == "tagging"
    assert spec.classes == ("AUX", "PART", "PRON", "PROPN", "VERB")
    assert spec.splits["test"].class_counts == (7, 7, 14, 7, 7)
    assert spec == DataSpec.model_validate_json(spec.model_dump_json())


def test_long_sentences_are_cut_in_pieces_and_no_tag_is_lost(tmp_path: Path) -> None:
    """A file without empty lines is one sentence to its end."""
    write(tmp_path / "train.conll", "a\tX\nb\tY\n\n" * 10)
    write(tmp_path / "test.conll", "a\tX\nb\tY\n" * 3_000)
    data = nw.load(str(tmp_path))
    assert data.test is not None
    assert len(data.test) == 6
    assert len(data.test.targets) == 6_000
    assert "cut in pieces" in {choice.name for choice in data.spec.choices}


def test_options_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    """A tokenizer would cut words; other tasks need other data."""
    path = str(write(tmp_path / "a.conll", TWO * 20))
    with pytest.raises(UsageError, match="--tokenizer"):
        nw.load(path, tokenizer="bpe")
    with pytest.raises(UnknownNameError, match="tagging"):
        nw.load(path, task="classification")
    with pytest.raises(UsageError, match="two columns"):
        nw.load(path, target="column_0")


def test_words_are_looked_up_whole_without_case_and_digits_as_one(tmp_path: Path) -> None:
    """Characters keep what was written; of a long word both ends stay."""
    fitted = fit_words([["Rome", "rome", "1984", "Ａ"]], vocab_size=10, max_length=5, rarest=1)
    assert fitted.words == ("rome", "0000", "a")
    assert plain("ＲＯＭＥ-27") == "rome-00"
    held = look_up(fitted, ["ROME", "2026", "New York", "", "x" * 100_000])
    assert held["tokens"].tolist() == [2, 3, 1, 1, 1]
    assert held["characters"].shape == (5, 16)
    letters = fitted.characters
    assert held["characters"][0, :4].tolist() == [2 + letters.index("R"), 1, 1, 1]  # "O", "M", "E" were not seen
    long = look_up(fitted, ["abcdefghijklmnopqrstuvwxyz"])["characters"]
    assert (long != 0).all()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('He said: "No!"', ["He", "said", ":", '"', "No", "!", '"']),
        ("the U.S. (again)…", ["the", "U.S.", "(", "again", ")", "…"]),
        ("@bob #now a-b's 3.5%", ["@bob", "#now", "a-b's", "3.5", "%"]),
        ("  \t\n", []),
        ("😀 你好", ["😀", "你好"]),
        ("...", [".", ".", "."]),
    ],
)
def test_a_string_is_cut_as_documented(text: str, wanted: list[str]) -> None:
    """At white space; then punctuation off both ends, unless the piece is a known word."""
    fitted = fit_words([["U.S.", "no", "says"]], vocab_size=10, max_length=50, rarest=1)
    assert sentence(fitted, text) == wanted
    assert sentence(fitted, wanted) == wanted


def test_signs_without_spaces_are_words_where_training_had_them_so() -> None:
    """Chinese tagged by character, alone or among words with spaces."""
    pure = fit_words([list("北京很好iPhone5")], vocab_size=99, max_length=50, rarest=1)
    assert sentence(pure, "上海 iOS!") == ["上", "海", "i", "O", "S", "!"]
    mixed = fit_words([list("北京很好"), ["the", "new", "lamp"]], vocab_size=99, max_length=50, rarest=1)
    assert sentence(mixed, "打开 the lamp在上海!") == ["打", "开", "the", "lamp", "在", "上", "海", "!"]
    cut = fit_words([["北京", "很", "好的"]], vocab_size=99, max_length=50, rarest=1)
    assert sentence(cut, "北京 很 好的") == ["北京", "很", "好的"]


@pytest.mark.parametrize("raw", [3, None, ["a", 3], b"bytes", {"tokens": ["a"]}])
def test_what_is_no_sentence_is_refused(raw: object) -> None:
    """With what would be one."""
    fitted = fit_words([["a"]], vocab_size=10, max_length=5, rarest=1)
    with pytest.raises(DataError, match="He lives in Rome"):
        sentence(fitted, raw)
    with pytest.raises(DataError, match="at most 5 words"):
        sentence(fitted, "a b c d e f")


def made_sentences(count: int) -> list[list[str]]:
    """Words of many kinds: Latin, Chinese, emoji, empty, surrogates, long ones."""
    generator = random.Random(0)
    letters = ["abcXYZ019.-'", "你好世界北京", "😀👩‍👩‍👧🏽", "éßΩж", "\u200b\u3000\u2028\ud800", "ﬁＡ①"]

    def word() -> str:
        signs = generator.choice(letters)
        return "".join(generator.choice(signs) for _ in range(generator.choice((0, 1, 2, 3, 5, 8, 20))))

    made = [[word() for _ in range(generator.randrange(12))] for _ in range(count)]
    return [*made, [], ["x" * 100_000], ["北" * 100_000, "a"], [""]]


def test_serving_looks_up_as_training_does() -> None:
    """Thousands of sentences, alone and in batches: the same ids, lengths, masks and characters."""
    made = made_sentences(3_000)
    fitted = fit_words(made[:1_500], vocab_size=200, max_length=50, rarest=2)
    from netwright.words import look_up_all

    held = look_up_all(fitted, made)
    chain = preprocess.Preprocess(operations=(fitted,))
    chain = preprocess.Preprocess.model_validate_json(chain.model_dump_json())
    for words, stored in zip(made, held, strict=True):
        alone = preprocess.sample(chain, words)
        assert alone.keys() == stored.keys()
        assert all(np.array_equal(alone[name], stored[name]) for name in alone)
    source = RaggedSource(
        {name: Ragged.of([one[name] for one in held], np.int32) for name in ("tokens", "characters", "shapes")},
        Ragged.of([np.zeros(len(words), dtype=np.int64) for words in made], np.int64),
        [""] * len(made),
    )
    from netwright.records import FieldSpec

    fields = (FieldSpec(name="tokens", shape=(-1,), dtype="int64"),
              FieldSpec(name="shapes", shape=(-1,), dtype="int64"),
              FieldSpec(name="characters", shape=(-1, 16), dtype="int64"))  # fmt: skip
    for start in range(0, len(made), 64):
        rows = np.arange(start, min(start + 64, len(made)))
        gathered, _ = source.gather(rows)
        served = collate([preprocess.sample(chain, made[row]) for row in rows], fields)
        assert gathered.keys() == served.keys() == {"tokens", "characters", "shapes", "lengths", "mask"}
        assert all(gathered[name].equal(served[name]) for name in gathered)


def test_tags_are_padded_with_the_ignored_index(tmp_path: Path) -> None:
    """And only there."""
    path = write(tmp_path / "a.conll", "a\tX\n\nb\tX\nc\tY\nd\tY\n\n" * 20)
    data = nw.load(str(path))
    for batch in eval_batches(data, "train", batch_size=8, workers=0):
        assert batch.target.shape == batch.inputs["mask"].shape
        assert ((batch.target == -100) == ~batch.inputs["mask"]).all()


def test_a_vocabulary_is_the_same_from_any_order() -> None:
    """Equally frequent words are in the order of their letters."""
    made = made_sentences(200)
    one, other = (fit_words(part, vocab_size=60, max_length=9, rarest=1) for part in (made, made[::-1]))
    assert one == other
    assert isinstance(one, Words)
    assert one.vocab_size == 60


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("rome", "lower"), ("Rome", "Title"), ("ROME", "UPPER"), ("I", "U"), ("iPhone", "MiXed"), ("3,5", "123"),
     ("b2b", "a1"), ("…!", "signs"), ("@bob", "@name"), ("#now", "#topic"), ("@", "signs"), ("www.a.b", "link"),
     ("北京", "other"), ("😀", "signs"), ("", "empty"), ("ＲＯＭＥ", "UPPER"), ("McDonald", "MiXed"),
     ("\ud800", "signs")],
)  # fmt: skip
def test_a_shape_says_how_a_word_is_written(word: str, wanted: str) -> None:
    """In capitals, with digits, as a sign: what tells a name that was never seen."""
    assert shape(word) == wanted


def test_sentences_come_from_python_as_from_a_file(tmp_path: Path) -> None:
    """The same ids, tags and classes; what does not fit together is named."""
    held = [(["I", "see", "Rome"], ["PRON", "VERB", "PROPN"]), (["You", "do", "n't"], ["PRON", "AUX", "PART"])] * 30
    words, tags = (list(part) for part in zip(*held, strict=True))
    mine = nw.load((words, tags), task="tagging")
    file = nw.load(str(write(tmp_path / "a.conll", (TWO + "\n") * 30)))
    assert (mine.spec.classes, mine.spec.preprocess, mine.spec.splits, mine.spec.digest) == (
        file.spec.classes, file.spec.preprocess, file.spec.splits, file.spec.digest
    )  # fmt: skip
    assert (mine.spec.name, mine.spec.source) == ("sentences", "python:sentences")
    for wrong in (([["a"]], [["X", "Y"]]), (["a b"], [["X", "Y", "X"]]), ([[1]], [["X"]]), ([["a"]], [[0]])):
        with pytest.raises(DataError, match="train: sentence 0"):
            nw.load(wrong, task="tagging")
    with pytest.raises(DataError, match="1 sentences and 2 lists"):
        nw.load(([["a"]], [["X"], ["Y"]]), task="tagging")


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_serving_sees_many_sentences_as_training_does(tmp_path: Path, count: int) -> None:
    """Chinese, emoji and unseen words among them, from the record on disk: every field, to the last bit."""
    generator = random.Random(0)
    letters = "abcdeXYZ019.-@#ａ小猫漢é😀"
    made = {}
    for split, part in (("train", count * 9 // 10), ("test", count // 10)):
        sentences = [
            ["".join(generator.choices(letters, k=generator.randint(1, 9))) for _ in range(generator.randint(1, 6))]
            for _ in range(part)
        ]
        made[split] = sentences
        text = "\n".join("".join(f"{word}\tX{len(word) % 3}\n" for word in one) for one in sentences)
        write(tmp_path / f"{split}.conll", text)
    data = nw.load(str(tmp_path), val_fraction=0.1)
    served = DataSpec.model_validate_json(data.spec.model_dump_json()).preprocess
    seen = 0
    for split in data.spec.splits:
        source = data.split(split)
        assert isinstance(source, RaggedSource) and source.words is not None
        inputs, _ = source.gather(np.arange(len(source)))
        for at, words in enumerate(source.words):
            for name, again in preprocess.sample(served, list(words)).items():
                assert np.array_equal(inputs[name][at, : len(words)].numpy(), again), (name, words)
            seen += 1
    assert seen == count
    assert [list(words) for words in data.split("test").words] == made["test"]
