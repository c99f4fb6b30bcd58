"""Texts as they are shown on a terminal: each with its class, its tags, its labels or its number."""

from __future__ import annotations

import numpy as np

from netwright.data.dataset import Data
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.streams import StreamSource
from netwright.preprocess import detokenise

QUOTED = 200  # tokens of a running text


def quotations(data: Data, count: int = 10) -> list[str]:
    """A text of each of the first classes; sentences with tags; texts with labels or numbers; the start of a text."""
    source = data.train
    if isinstance(source, StreamSource) and data.spec.preprocess.text is not None:
        return [detokenise(data.spec.preprocess.text, source.targets[:QUOTED])]
    if not isinstance(source, RaggedSource) or source.texts is None:
        return []
    texts, classes = source.texts, data.spec.classes or ()
    if source.seconds is not None:
        texts = [f"{one} ‖ {other}" for one, other in zip(texts, source.seconds, strict=True)]
    first = range(min(count, len(source)))
    if isinstance(source.all_targets, Ragged):
        return [_tagged(source, source.all_targets, classes, index) for index in first]
    if not classes:
        return [f"{source.targets[index]:.4g}: {texts[index]}" for index in first]
    if source.targets.ndim == 2:  # several labels a text
        held = [[classes[label] for label in np.flatnonzero(source.targets[index])] for index in first]
        return [f"{', '.join(labels) or '–'}: {texts[index]}" for index, labels in zip(first, held, strict=True)]
    where = [np.flatnonzero(source.targets == index) for index in range(len(classes[:count]))]
    return [f"{name}: {texts[found[0]]}" for name, found in zip(classes, where, strict=False) if len(found)]


def _tagged(source: RaggedSource, tags: Ragged, classes: tuple[str, ...], index: int) -> str:
    """A sentence with a tag behind each word that is not O."""
    words = (source.words or ())[index]
    names = [classes[tag] if tag >= 0 else "" for tag in tags[index].tolist()]
    return " ".join(word if name in ("O", "") else f"{word}/{name}" for word, name in zip(words, names, strict=True))
