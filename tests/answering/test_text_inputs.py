"""Texts as people name them on the command line: files of lines, and pairs as JSON."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import netwright as nw
from netwright.answering.inputs import Asked, find_inputs
from netwright.errors import UsageError

PAIR = {"first": "a cat", "second": "a dog"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """What is asked of data whose samples are two texts."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [f"a cat {index},a dog {index % 7},{'yn'[index % 2]}" for index in range(40)]
    path.write_text("first,second,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    spec = nw.load(str(path), input="first,second").spec
    return Asked(spec.kind, spec.task, spec.preprocess, tuple(field.name for field in spec.inputs))


def asked(of: Asked, *given: str, stdin: str = "") -> list[object]:
    return [raw for _, raw in find_inputs(of, given, io.StringIO(stdin))]


def test_a_pair_is_given_as_json(pairs: Asked) -> None:
    """An object or a list, as an argument and on standard input."""
    assert asked(pairs, '{"first": "a cat", "second": "a dog"}', '["a cat", "a dog"]') == [PAIR, ["a cat", "a dog"]]
    assert asked(pairs, "-", stdin='{"first": "a cat", "second": "a dog"}\n["a", "b"]\n') == [PAIR, ["a", "b"]]
    assert asked(pairs, "[sic] a cat") == ["[sic] a cat"]


@pytest.mark.parametrize(("content", "told"), [(b"a\n\xff\n", "UTF-8"), (None, "No such file")])
def test_a_file_of_texts_that_cannot_be_read_is_told(
    pairs: Asked, tmp_path: Path, content: bytes | None, told: str
) -> None:
    """Wrong usage, with the file's name."""
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as error:
        asked(pairs, f"@{path}")
    assert str(path) in str(error.value)


def test_a_byte_order_mark_is_no_letter(pairs: Asked, tmp_path: Path) -> None:
    """As some editors write it."""
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbfa cat\n")
    assert asked(pairs, f"@{tmp_path / 'texts.txt'}") == ["a cat"]
