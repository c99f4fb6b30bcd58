"""Data of tagged sentences: splits, words looked up, tags as classes, and the record that describes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.conll import Columns, Sentence, read_sentences
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest
from netwright.data.images import check_unreadable
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.tokenisers import MANY_TEXTS
from netwright.errors import DataError, UsageError
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, SplitSpec, Unreadable
from netwright.words import Words, clean, fit_words, look_up_all

LONGEST = 1_024  # words of a sentence, where no length is asked for


def load_tagged(paths: dict[str, Path], options: LoadOptions, *, source: Path) -> Data:
    """Data from files of words and tags, one a split.

    Raises:
        DataError: A file is not of that form, or too many of its sentences lack a tag.
        UnknownNameError: There is no such column, or task.
        UsageError: A tokenizer is asked for.
    """
    asked_task(options, ("tagging",), data="words with tags")
    if options.tokenizer is not None:
        raise UsageError(
            where="--tokenizer",
            expected="nothing: each word of the file keeps its tag, and is not cut",
            got=options.tokenizer,
            cure="Leave it out.",
        )
    parts: dict[str, list[Sentence]] = {}
    unreadable: list[Unreadable] = []
    columns: Columns | None = None
    for split, path in paths.items():
        parts[split], broken, found = read_sentences(path, word=options.input, tag=options.target)
        columns = found if columns is None or split == "train" else columns
        unreadable += broken
        if not parts[split] and not broken:
            raise DataError(where=str(path), expected="sentences", got="none", cure="Give a file with words and tags.")
    check_unreadable(tuple(unreadable), sum(map(len, parts.values())) + len(unreadable), options)
    if columns is None:
        raise DataError(where=str(source), expected="a file to train on", got="none", cure="Name one train.conll.")
    choices = _about_columns(columns, options)
    return _assemble(parts, options, source=str(source), choices=choices, unreadable=tuple(unreadable))


def load_sentences(source: Any, options: LoadOptions, *, val: Any = None, test: Any = None) -> Data:
    """Data from ``(sentences, tags)``: lists of words and as long lists of tags; more such pairs for val and test.

    Raises:
        DataError: Words and tags of a sentence are not as many, or they are no text.
    """
    given = {name: pair for name, pair in (("train", source), ("val", val), ("test", test)) if pair is not None}
    parts = {split: _sentences(pair, split) for split, pair in given.items()}
    return _assemble(parts, options, source="python:sentences", choices=(), unreadable=())


def _sentences(pair: Any, split: str) -> list[Sentence]:
    words, tags = pair
    if len(words) != len(tags) or not len(words):
        raise DataError(
            where=f"{split}: sentences and tags",
            expected="as many lists of tags as sentences, and at least one",
            got=f"{len(words)} sentences and {len(tags)} lists of tags",
            cure="Give a list of tags for each sentence.",
        )
    found = []
    for index, (own, theirs) in enumerate(zip(words, tags, strict=True)):
        texts = not isinstance(own, str) and all(isinstance(one, str) for one in (*own, *theirs))
        if not texts or len(own) != len(theirs):
            raise DataError(
                where=f"{split}: sentence {index}",
                expected="a list of words and as long a list of tags, all of them text",
                got=f"{type(own).__name__} of {len(own)} and {type(theirs).__name__} of {len(theirs)}",
                cure='As ["He", "lives", "in", "Rome"] with ["O", "O", "O", "B-place"].',
            )
        if len(own):
            found.append(Sentence(tuple(map(clean, own)), tuple(map(clean, theirs)), f"{split}[{index}]"))
    return found


def _assemble(
    parts: dict[str, list[Sentence]],
    options: LoadOptions,
    *,
    source: str,
    choices: tuple[Choice, ...],
    unreadable: tuple[Unreadable, ...],
) -> Data:
    """Splits, words, tags and the record."""
    where, split_choices = choose_splits(
        np.zeros(len(parts["train"])), options, classes=None, has_val="val" in parts, has_test="test" in parts
    )
    whole = parts["train"]
    for split, rows in where.items():
        parts[split] = [whole[row] for row in rows]
    parts, cut = _in_pieces(parts, options)
    operation, word_choices = _fit(parts["train"], options)
    classes = tuple(sorted({tag for one in parts.values() for each in one for tag in each.tags}))
    sources = {split: _source(operation, classes, one) for split, one in parts.items()}
    order = [split for split in ("train", "val", "test") if split in sources]
    spec = DataSpec(
        name=Path(source).stem.removeprefix("python:"),
        source=source,
        kind="text",
        task="tagging",
        inputs=(
            FieldSpec(name="tokens", shape=(-1,), dtype="int64"),
            FieldSpec(name="lengths", shape=(), dtype="int64"),
            FieldSpec(name="mask", shape=(-1,), dtype="bool"),
            FieldSpec(name="characters", shape=(-1, operation.spelling), dtype="int64"),
            FieldSpec(name="shapes", shape=(-1,), dtype="int64"),
        ),
        target=FieldSpec(name="tags", shape=(-1,), dtype="int64"),
        classes=classes,
        splits={split: _split_spec(sources[split], len(classes)) for split in order},
        preprocess=Preprocess(operations=(operation,)),
        options=options,
        choices=(*choices, *split_choices, *cut, *word_choices),
        unreadable=unreadable,
        digest=digest(
            (f"{split}/{name}", values)
            for split in order
            for name, values in (("x", _bytes(parts[split])), ("y", sources[split].targets))
        ),
    )
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _about_columns(columns: Columns, options: LoadOptions) -> tuple[Choice, ...]:
    """Which columns are used, and why."""
    usual = "as CoNLL-U has it" if columns.universal else None
    choices = [
        Choice(
            name="input",
            value=columns.name(columns.word),
            reason="asked for" if options.input else usual or "the first column",
            asked=options.input is not None,
        ),
        Choice(
            name="target",
            value=columns.name(columns.tag),
            reason="asked for" if options.target else usual or "the last column",
            asked=options.target is not None,
        ),
    ]
    if columns.others > 0:
        choices.append(Choice(name="not used", value=f"{columns.others} other columns", reason="name one by --target"))
    return tuple(choices)


def _in_pieces(
    parts: dict[str, list[Sentence]], options: LoadOptions
) -> tuple[dict[str, list[Sentence]], tuple[Choice, ...]]:
    """Sentences of more words than a sentence may have, in several: no tag is lost."""
    limit = options.max_length or LONGEST
    longer = sum(len(one.words) > limit for part in parts.values() for one in part)
    if not longer:
        return parts, ()
    cut = {split: [piece for one in part for piece in _pieces(one, limit)] for split, part in parts.items()}
    value = f"{longer:,} sentences of more than {limit:,} words"
    return cut, (Choice(name="cut in pieces", value=value, reason="each piece is a sample; all tags are kept"),)


def _pieces(one: Sentence, limit: int) -> list[Sentence]:
    starts = range(0, len(one.words), limit)
    if len(starts) == 1:
        return [one]
    return [
        replace(one, words=one.words[at : at + limit], tags=one.tags[at : at + limit], name=f"{one.name}+{at}")
        for at in starts
    ]


def _fit(train: list[Sentence], options: LoadOptions) -> tuple[Words, tuple[Choice, ...]]:
    rarest = 2 if len(train) >= MANY_TEXTS else 1
    limit = options.max_length or LONGEST
    operation = fit_words([one.words for one in train], vocab_size=options.vocab_size, max_length=limit, rarest=rarest)
    rare = "; words seen once are left unknown, so that the unknown one is learned too" if rarest > 1 else ""
    return operation, (
        Choice(
            name="words",
            value=f"{operation.vocab_size:,} known",
            reason=f"of the training split, in lower case, digits as 0{rare}",
        ),
        Choice(
            name="characters",
            value=f"{operation.num_characters:,} known, {operation.spelling} a word",
            reason="as written; how a word is spelt tells much of one that is unknown",
        ),
        Choice(
            name="max_length",
            value=limit,
            reason="asked for" if options.max_length else "words of a sentence, the usual limit",
            asked=options.max_length is not None,
        ),
    )


def _source(operation: Words, classes: tuple[str, ...], sentences: list[Sentence]) -> RaggedSource:
    fields = look_up_all(operation, [one.words for one in sentences])
    codes = {name: index for index, name in enumerate(classes)}
    tags = [np.asarray([codes[tag] for tag in one.tags], dtype=np.int64) for one in sentences]
    return RaggedSource(
        {name: Ragged.of([one[name] for one in fields], np.int32) for name in ("tokens", "characters", "shapes")},
        Ragged.of(tags, np.int64),
        tuple(one.name for one in sentences),
        tuple(" ".join(one.words) for one in sentences),
        words=tuple(one.words for one in sentences),
    )


def _split_spec(source: RaggedSource, num_classes: int) -> SplitSpec:
    """Sentences in all; words by tag."""
    counts = np.bincount(source.targets, minlength=num_classes)
    return SplitSpec(count=len(source), class_counts=tuple(int(count) for count in counts))


def _bytes(sentences: list[Sentence]) -> NDArray[Any]:
    """All words, and where sentences end."""
    text = "\0\0".join("\0".join(one.words) for one in sentences)
    return np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
