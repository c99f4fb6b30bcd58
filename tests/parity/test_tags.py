"""Entities and their scores against the CoNLL script's rules, written out here word by word, and scikit-learn."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from netwright.evaluation import Predictions
from netwright.evaluation.tagging import score_tagging
from netwright.metrics.entities import count_by_sentence, find_entities, find_scheme

BIO = ["O", "B-person", "I-person", "B-place", "I-place"]
ALL = ["O", *(f"{place}-{kind}" for place in "BIES" for kind in ("person", "place"))]
BARE = ["O", "B", "I", "E", "S"]


def ends(before: str, now: str, kind_before: str, kind: str) -> bool:
    """Whether an entity ends between two tags: conlleval.pl, sub endOfChunk, with E and S."""
    return (
        before in ("E", "S")
        or (before in ("B", "I") and now in ("B", "S", "O"))
        or (before != "O" and kind_before != kind)
    )


def begins(before: str, now: str, kind_before: str, kind: str) -> bool:
    """Whether an entity begins at a tag: conlleval.pl, sub startOfChunk, with E and S."""
    return (
        now in ("B", "S") or (before in ("E", "S", "O") and now in ("E", "I")) or (now != "O" and kind_before != kind)
    )


def reference(tags: list[str]) -> list[tuple[str, int, int]]:
    """Entities of one sentence as (type, first, last), one tag after another."""
    found, start, before, kind_before = [], 0, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        now, _, kind = tag.partition("-")
        if ends(before, now, kind_before, kind):
            found.append((kind_before, start, place - 1))
        if begins(before, now, kind_before, kind):
            start = place
        before, kind_before = now, kind
    return found


def ours(sentences: list[list[str]], classes: list[str]) -> list[list[tuple[str, int, int]]]:
    scheme = find_scheme(classes)
    assert scheme is not None
    starts = np.cumsum([0, *map(len, sentences)])
    flat = np.asarray([classes.index(tag) for tags in sentences for tag in tags], dtype=np.int64)
    entities = find_entities(flat, starts, scheme)
    found: list[list[tuple[str, int, int]]] = [[] for _ in sentences]
    for begin, end, kind in zip(entities.begins, entities.ends, entities.types, strict=True):
        of = int(np.searchsorted(starts[1:], begin, side="right"))
        found[of].append((scheme.types[kind], int(begin - starts[of]), int(end - starts[of] - 1)))
    assert count_by_sentence(entities, starts).tolist() == [len(one) for one in found]
    return found


@pytest.mark.parametrize("classes", [BIO, ALL, BARE], ids=["bio", "bioes", "bare"])
def test_entities_are_those_of_the_conll_script(classes: list[str]) -> None:
    """Every sentence of up to four tags, and thousands of longer ones, well formed or not."""
    generator = random.Random(0)
    short = [list(tags) for size in range(5) for tags in itertools.product(classes, repeat=size)]
    long = [[generator.choice(classes) for _ in range(generator.randrange(30))] for _ in range(3_000)]
    sentences = [*short, *long]
    generator.shuffle(sentences)
    assert ours(sentences, classes) == [reference(tags) for tags in sentences]


def test_other_letters_of_the_same_places_read_alike() -> None:
    """BILOU is BIOES, and M of word segmentation is I."""
    sentences = [["B-x", "I-x", "L-x", "O", "U-x", "L-x", "L-x"], ["U-x", "I-x", "O", "I-x"]]
    classes = ["O", "B-x", "I-x", "L-x", "U-x"]
    alike = [[tag.replace("L-", "E-").replace("U-", "S-") for tag in tags] for tags in sentences]
    assert ours(sentences, classes) == [reference(tags) for tags in alike]
    assert ours([["B", "M", "E", "S"]], ["B", "M", "E", "S"]) == [[("", 0, 2), ("", 3, 3)]]


@pytest.mark.parametrize(
    ("classes", "is_scheme"),
    [
        (["NOUN", "VERB"], False),
        (["O", "B-x", "NOUN"], False),
        (["O"], False),
        (["B", "I", "O"], True),
        (["S", "E"], False),
        (["I-x", "O"], True),
        (["B", "B-x"], False),
        (["-LRB-", "B-"], False),
        (["B-a-b", "I-a-b", "O"], True),
        (["B-地名", "O"], True),
    ],
)
def test_plain_tags_are_no_entities(classes: list[str], is_scheme: bool) -> None:
    """All tags must be O or a place with its type."""
    assert (find_scheme(classes) is not None) == is_scheme


def predicted(
    targets: list[list[int]], classes: int, *, right: float, seed: int = 0
) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Answers that are right with a chance."""
    generator = np.random.default_rng(seed)
    flat = np.asarray([tag for tags in targets for tag in tags], dtype=np.int64)
    preds = np.where(generator.random(len(flat)) < right, flat, generator.integers(0, classes, len(flat)))
    probs = generator.random((len(flat), classes)) * 0.1
    probs[np.arange(len(flat)), preds] += 1
    probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
    starts = np.cumsum([0, *map(len, targets)])
    return Predictions(np.arange(len(targets)), flat, probs, starts), flat, preds


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_counting_one_by_one(seed: int) -> None:
    """Micro precision, recall and F1 over entities, in all and by type."""
    generator = np.random.default_rng(seed)
    targets = [generator.integers(0, len(BIO), generator.integers(0, 12)).tolist() for _ in range(200)]
    predictions, _, preds = predicted(targets, len(BIO), right=0.7, seed=seed)
    evaluation = score_tagging(predictions, split="test", classes=tuple(BIO))
    true, given = set(), set()
    for index, tags in enumerate(targets):
        begin, end = predictions.starts[index : index + 2]
        true |= {(index, *one) for one in reference([BIO[tag] for tag in tags])}
        given |= {(index, *one) for one in reference([BIO[tag] for tag in preds[begin:end]])}
    hits = len(true & given)
    assert evaluation.headline == "entity_f1"
    assert evaluation.score("entity_precision").value == pytest.approx(hits / len(given))
    assert evaluation.score("entity_recall").value == pytest.approx(hits / len(true))
    assert evaluation.score("entity_f1").value == pytest.approx(2 * hits / (len(true) + len(given)))
    by_type = {}
    for row in evaluation.per_class:
        own, theirs = ({one for one in of if one[1] == row.name} for of in (true, given))
        by_type[row.name] = 2 * len(own & theirs) / (len(own) + len(theirs))
        assert (row.support, row.predicted) == (len(own), len(theirs))
        assert row.f1.value == pytest.approx(by_type[row.name])
    assert evaluation.score("macro_entity_f1").value == pytest.approx(np.mean(list(by_type.values())))


def test_plain_tags_score_as_scikit_learn_has_it() -> None:
    """Accuracy, macro F1, and precision, recall and F1 of each tag."""
    generator = np.random.default_rng(0)
    targets = [generator.integers(0, 6, generator.integers(1, 20)).tolist() for _ in range(100)]
    predictions, flat, preds = predicted(targets, 7, right=0.8)  # the seventh tag is never true
    names = tuple("abcdefg")
    evaluation = score_tagging(predictions, split="test", classes=names)
    assert evaluation.headline == "accuracy"
    assert evaluation.score("accuracy").value == pytest.approx(accuracy_score(flat, preds))
    assert evaluation.score("macro_f1").value == pytest.approx(
        f1_score(flat, preds, labels=np.unique(flat), average="macro")
    )
    for measure, of in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        wanted = of(flat, preds, labels=range(7), average=None, zero_division=0)
        assert [getattr(row, measure).value for row in evaluation.per_class] == pytest.approx(list(wanted))
    assert np.asarray(evaluation.confusion).sum() == len(flat)


def test_words_without_a_tag_count_nowhere() -> None:
    """-100 inside a sentence: neither as a word nor as part of an entity."""
    predictions, _, _ = predicted([[1, 2, 0], [3, 0]], len(BIO), right=1.0)
    some = predictions.targets.copy()
    some[1] = -100
    held = Predictions(predictions.sample_ids, some, predictions.probs, predictions.starts)
    evaluation = score_tagging(held, split="test", classes=tuple(BIO))
    assert np.asarray(evaluation.confusion).sum() == 4
    assert evaluation.score("entity_f1").value == 1.0
