"""D19, and twins of texts: sequences that are cut, tokens that are unknown, texts that differ in little."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from netwright.checks.catalogue import finding
from netwright.checks.data_rows import share
from netwright.checks.runner import Check
from netwright.checks.subject import Subject
from netwright.records import Finding

LONG = 24  # letters; shorter texts, as "how are you", come twice by nature
SHINGLE = 5  # letters in a row; of Chinese, which says more with each, two
ALIKE = 0.8  # of the shingles of both
CUT = 0.1  # share of texts that lose their end
UNKNOWN = 0.2  # share of tokens that training had not
CHINESE = re.compile(r"[\u3400-\u9fff]")


def plain(text: str) -> str:
    """Letters and digits alone, small, blanks single."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _weight(text: str) -> int:
    """Its length in letters; a Chinese one counts for three."""
    return len(text) + 2 * len(CHINESE.findall(text))


def text_keys(texts: Sequence[str]) -> list[bytes]:
    """A key of each text, equal where texts are the same; short ones have one that no other has."""
    keys = []
    for at, text in enumerate(texts):
        own = plain(text)
        short = _weight(own) < LONG
        whole = f"{id(texts)} {at}" if short else own
        keys.append(hashlib.blake2b(whole.encode("utf-8", "replace"), digest_size=16).digest())
    return keys


def shingles(text: str) -> frozenset[int]:
    """Runs of letters of a text, as numbers."""
    own = plain(text)
    size = 2 if len(CHINESE.findall(own)) > len(own) / 2 else SHINGLE
    return frozenset(hash(own[at : at + size]) for at in range(max(1, len(own) - size + 1)))


def twins_of_texts(train: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Places (other, train) of texts of which most shingles are the same."""
    where: dict[int, list[int]] = defaultdict(list)
    known = [shingles(text) for text in train]
    for at, own in enumerate(known):
        for one in sorted(own)[:8]:  # the least eight stand for all, as in a sketch: alike texts share some of them
            where[one].append(at)
    found = []
    for at, text in enumerate(other):
        if _weight(plain(text)) < LONG:
            continue
        own = shingles(text)
        near = {twin for one in sorted(own)[:8] for twin in where.get(one, ())[:50]}
        for twin in near:
            if len(own & known[twin]) >= ALIKE * len(own | known[twin]):
                found.append((at, twin))
                break
    return found


def cut(subject: Subject) -> Iterator[Finding]:
    """D19: many texts reach the limit of length, or many tokens of a split are unknown."""
    spec = subject.cache.get("spec")
    operation = spec.preprocess.text if spec is not None else None
    for split, samples in subject.splits.items():
        if operation is None or samples.lengths is None or not len(samples.lengths):
            continue
        at_limit = int((samples.lengths >= operation.max_length).sum())
        if at_limit > CUT * len(samples.lengths):
            yield finding(
                "D19",
                where=split,
                evidence=f"{share(at_limit, len(samples.lengths))} texts of {split} reach the limit of "
                f"{operation.max_length} tokens and lose what comes after.",
                cure="Raise max_length, where what decides may stand at the end.",
            )
        ids = samples.inputs.get("tokens")
        if ids is None or operation.kind == "file":
            continue
        real = np.arange(ids.shape[1])[None] < samples.lengths[:, None]
        unknown, count = int(((ids == 1) & real).sum()), int(real.sum())
        if count and unknown > UNKNOWN * count:
            yield finding(
                "D19",
                where=split,
                evidence=f"{share(unknown, count)} tokens of {split} are unknown: the vocabulary has none of them.",
                cure="Raise vocab_size, or tokenise into parts of words or characters.",
            )


CHECKS: tuple[Check, ...] = (Check("texts that are cut or unknown", ("D19",), cut, 1.0),)
