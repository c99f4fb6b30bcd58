"""Running texts: split by position, cut into windows, each token asked for once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netwright.data.streams import IGNORE_INDEX, START, StreamSource, load_stream, stream_files
from netwright.errors import DataError, MissingFileError, UnknownNameError
from netwright.preprocess import detokenise, tokenise
from netwright.records import LoadOptions

pytest.importorskip("tokenizers", reason="needs the text extra")

ENGLISH = "It was a bright cold day in April,\nand the clocks were striking thirteen.\n\n  Winston slipped in. " * 60
CHINESE = "四月间，天气寒冷晴朗，钟敲了十三下。\n温斯顿·史密斯为了要躲寒风，紧缩着脖子。　ＡＢ\n" * 60


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path, **options: object) -> object:
    return load_stream(path, LoadOptions(**options), reason="asked for")


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("tokenizer", ["character", "bpe"])
def test_the_splits_put_together_are_the_text(tmp_path: Path, text: str, tokenizer: str) -> None:
    """Character for character, in its order: nothing is lost, nothing is in two, nothing is put to another form."""
    data = load(write(tmp_path / "a.txt", text), tokenizer=tokenizer)
    (operation,) = data.spec.preprocess.operations
    found = "".join(detokenise(operation, data.split(split).targets) for split in ("train", "val", "test"))
    assert found == text
    test = data.spec.splits["test"]
    assert test.characters == round(0.1 * len(text))
    assert test.tokens == len(data.test.targets)
    assert test.unknown == 0


def test_the_share_of_the_test_can_be_asked_for(tmp_path: Path) -> None:
    """And none at all can."""
    path = write(tmp_path / "a.txt", ENGLISH)
    assert load(path, test_fraction=0.25).spec.splits["test"].characters == round(0.25 * len(ENGLISH))
    assert set(load(path, test_fraction=0.0, val_fraction=0.0).spec.splits) == {"train"}


@pytest.mark.parametrize("count", [65, 100, 128, 129, 500, 1013])
@pytest.mark.parametrize("length", [8, 64])
def test_evaluation_asks_for_each_token_once_with_half_a_window_before_it(count: int, length: int) -> None:
    """Whatever is left at the end."""
    stream = np.concatenate(([START], 100 + np.arange(count))).astype(np.int32)
    source = StreamSource(stream, length, "test", scored=length // 2)
    inputs, targets = source.gather(np.arange(len(source)))
    wanted = targets != IGNORE_INDEX
    assert sorted(targets[wanted].tolist()) == list(range(100, 100 + count))
    before = wanted.numpy().argmax(1)
    assert (before[1:] >= length // 2).all()
    follows = inputs["tokens"][:, 1:] == targets[:, :-1]
    assert follows[wanted[:, :-1]].all()
    assert wanted.any(1).all()


@pytest.mark.parametrize("count", [64, 65, 127, 500])
def test_training_windows_move_with_the_epoch_and_leave_no_token_out(count: int) -> None:
    """By (seed, epoch) alone; the number of windows stays."""
    stream = np.concatenate(([START], 100 + np.arange(count))).astype(np.int32)
    source = StreamSource(stream, 64, "train")
    starts = set()
    for epoch in range(12):
        moved = source.at_epoch(5, epoch)
        assert len(moved) == len(source)
        inputs, targets = moved.gather(np.arange(len(moved)))
        assert set(targets.flatten().tolist()) == set(range(100, 100 + count))
        assert (inputs["tokens"][:, 1:] == targets[:, :-1]).all()
        assert moved.offset == source.at_epoch(5, epoch).offset
        starts.add(moved.offset)
    assert len(starts) > 6
    assert source.at_epoch(6, 0).offset != source.at_epoch(5, 0).offset or source.at_epoch(6, 1) != source.at_epoch(
        5, 1
    )


def test_names_say_which_tokens_are_asked_for(tmp_path: Path) -> None:
    """From 1, as people count."""
    data = load(write(tmp_path / "a.txt", ENGLISH), max_length=64)
    assert data.test.name(0) == "test, characters 1 to 64"
    assert data.test.name(1) == "test, characters 65 to 96"


def test_files_named_after_splits_are_taken_as_such(tmp_path: Path) -> None:
    """What is given is not cut; val comes off the end of train."""
    write(tmp_path / "train.txt", ENGLISH)
    write(tmp_path / "test.txt", "Winston slipped in.")
    data = load(tmp_path)
    assert data.spec.splits["test"].characters == 19
    assert data.spec.splits["train"].characters + data.spec.splits["val"].characters == len(ENGLISH)


def test_a_folder_is_its_input_or_all_its_texts_in_order(tmp_path: Path) -> None:
    """A note beside input.txt is not learned from."""
    write(tmp_path / "b.txt", "b" * 900)
    write(tmp_path / "a.txt", "a" * 900)
    assert [file.name for file in stream_files(tmp_path)["train"]] == ["a.txt", "b.txt"]
    data = load(tmp_path, test_fraction=0.0, val_fraction=0.0)
    (operation,) = data.spec.preprocess.operations
    assert detokenise(operation, data.train.targets) == "a" * 900 + "\n" + "b" * 900
    write(tmp_path / "input.txt", ENGLISH)
    assert [file.name for file in stream_files(tmp_path)["train"]] == ["input.txt"]


def test_what_training_had_not_is_counted(tmp_path: Path) -> None:
    """And read as the unknown token."""
    write(tmp_path / "train.txt", ENGLISH)
    write(tmp_path / "test.txt", "Winston 龘 slipped 龘 in.")
    data = load(tmp_path)
    assert data.spec.splits["test"].unknown == 2
    (operation,) = data.spec.preprocess.operations
    assert detokenise(operation, data.test.targets) == "Winston \ufffd slipped \ufffd in."


def test_a_prompt_keeps_its_end(tmp_path: Path) -> None:
    """What a model continues is what stands last."""
    data = load(write(tmp_path / "a.txt", ENGLISH), max_length=8)
    (operation,) = data.spec.preprocess.operations
    assert detokenise(operation, tokenise(operation, [ENGLISH])[0]) == ENGLISH[-8:]


@pytest.mark.parametrize("kind", ["character", "bpe", "word"])
def test_tokens_of_pieces_are_those_of_the_whole(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text is tokenized in pieces, which changes none of its tokens."""
    path = write(tmp_path / "a.txt", ENGLISH + CHINESE)
    whole = load(path, tokenizer=kind)
    monkeypatch.setattr("netwright.data.tokenisers.PIECE", 40)
    parts = load(path, tokenizer=kind)
    assert parts.spec.preprocess == whole.spec.preprocess
    np.testing.assert_array_equal(parts.train.targets, whole.train.targets)


def test_words_keep_case_and_lines(tmp_path: Path) -> None:
    """One space between two; a line stays a line."""
    data = load(write(tmp_path / "a.txt", ENGLISH), tokenizer="word")
    (operation,) = data.spec.preprocess.operations
    found = detokenise(operation, data.train.targets)
    assert found.startswith("It was a bright cold day in April ,\nand the clocks were striking thirteen .\n\nWinston")


def test_tokens_are_chosen_by_the_text(tmp_path: Path) -> None:
    """Characters for an alphabet and for Chinese; byte pairs for a mixture of everything."""
    many = "".join(chr(0x400 + i % 200) + chr(0x1200 + i % 300) + chr(0x1400 + i % 500) + " \n" for i in range(2_000))
    kinds = [
        load(write(tmp_path / f"{i}.txt", text)).spec.preprocess.text.kind
        for i, text in enumerate((ENGLISH, CHINESE, many))
    ]
    assert kinds == ["character", "character", "bpe"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"  \n\t\n", "empty"),
        ("天气".encode("gb18030") * 90, "iconv"),
        (b"text\x00" * 90, "binary"),
        (bytes(range(256)) * 4, "UTF-8"),
        (b"too short", "at least 64 tokens"),
    ],
    ids=["empty", "blank", "gb18030", "zero bytes", "binary", "short"],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With the file and the cure."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "a.txt" in str(caught.value)


def test_a_window_longer_than_the_text_is_refused(tmp_path: Path) -> None:
    """A short text has short windows where none are asked for."""
    path = write(tmp_path / "a.txt", ENGLISH[:300])
    with pytest.raises(DataError, match="--max-length 500"):
        load(path, max_length=500)
    assert load(path).spec.inputs[0].shape == (8,)


def test_a_folder_without_a_text_is_refused(tmp_path: Path) -> None:
    """And what could be there is said."""
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(MissingFileError, match=r"input\.txt"):
        load(tmp_path)


def test_one_unreadable_file_of_many_is_named(tmp_path: Path) -> None:
    """Up to the share that may be."""
    for i in range(3):
        write(tmp_path / f"{i}.txt", ENGLISH)
    (tmp_path / "9.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"9\.txt"):
        load(tmp_path)
    assert [one.name for one in load(tmp_path, max_unreadable=0.5).spec.unreadable] == [str(tmp_path / "9.txt")]


def test_a_text_by_itself_is_a_running_one(tmp_path: Path) -> None:
    """A .txt file, a folder of nothing else, and one with input.txt; a note beside class folders makes none."""
    import netwright as nw

    file = write(tmp_path / "a" / "a.txt", ENGLISH)
    assert nw.load(file).spec.task == "next_token"
    data = nw.load(tmp_path / "a")
    assert data.spec.task == "next_token"
    assert next(choice for choice in data.spec.choices if choice.name == "task").reason.startswith("texts alone")
    with pytest.raises(UnknownNameError, match='"next_token"'):
        nw.load(file, task="nexttoken")
    write(tmp_path / "b" / "input.txt", ENGLISH)
    (tmp_path / "b" / "README.md").write_text("where it is from")
    assert "input.txt" in nw.load(tmp_path / "b").spec.choices[0].reason
    for name in ("good", "bad"):
        for index in range(6):
            write(tmp_path / "c" / name / f"{index}.txt", f"{name} {index} news")
    write(tmp_path / "c" / "input.txt", ENGLISH)
    assert nw.load(tmp_path / "c").spec.task == "classification"
    assert nw.load(tmp_path / "c", task="next_token").spec.task == "next_token"


def test_epochs_and_batches_are_chosen_by_tokens(tmp_path: Path) -> None:
    """Windows are no samples as others are: a long text would get one pass, a short one twenty."""
    from torch import nn

    from netwright.planning import plan
    from netwright.records import Settings, SplitSpec

    spec = load(write(tmp_path / "a.txt", ENGLISH)).spec
    found = {}
    for tokens in (20_000, 1_000_000, 100_000_000):
        train = SplitSpec(count=tokens // 128, tokens=tokens, characters=tokens)
        sized = spec.model_copy(update={"splits": {**spec.splits, "train": train}})
        decided = plan(nn.Linear(2, 2), sized, Settings(device="cpu"))
        found[tokens] = (decided["epochs"], decided["batch_size"])
    assert found == {20_000: (20, 4), 1_000_000: (8, 32), 100_000_000: (1, 32)}
