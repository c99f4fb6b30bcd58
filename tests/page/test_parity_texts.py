"""Texts in the stand-alone page: the same tokens, words, tags and draws as in Python."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import numpy as np
import pytest

from chromium import Browser, find_chromium
from netwright import ctc, words
from netwright.data.order import keyed_uniform
from netwright.data.tokenisers import fit_running, fit_tokenizer
from netwright.metrics.entities import find_entities, find_scheme
from netwright.preprocess import Preprocess, detokenise, tokenise
from netwright.records import LoadOptions
from netwright.sampling import DRAWS
from page.comparing import assert_same, fields_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]

LETTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
# Differences of newer Unicode: a browser's letters that this Python does not know, and two that changed their class.
CHANGED = {"\u0295", "\u02e4"}
SENTENCES = [
    "The quick brown fox, don't!", "I'll we've 3,000 €5.50 it's", "床前明月光，疑是地上霜。", "naïve café Ǆ ﬁ １２３",
    "👩\u200d👩\u200d👧 🥰🏳️\u200d🌈 e\u0301", "कि हिन्दी ภาษาไทย", "a\tb\n\nc   d", "[UNK] [PAD] x",
    "İstanbul ΣΑΣ ὈΔΥΣΣΕΎΣ", "\u200bzero\u00adwidth\ufeff", "x_y @name #tag http://a.b/c?d=1",
    "\ud83e broken \udd70", "", " ", "㋿ ꟲ 🯰 ⹃ ²½",
]  # fmt: skip
# Steps through all letters: some of them always, each of them where time is no matter.
STEPS = [13, pytest.param(1, marks=pytest.mark.soak)]


def mixed_texts() -> list[str]:
    """Sentences put together, with letters from anywhere between."""
    random = np.random.default_rng(0)
    texts = list(SENTENCES)
    for _ in range(150):
        text = " ".join(random.choice(SENTENCES[:11], int(random.integers(1, 4))))
        for _ in range(int(random.integers(0, 5))):
            place = int(random.integers(0, len(text) + 1))
            strange = int(random.integers(0x3000) if random.random() < 0.5 else random.integers(0x1E800, 0x1F400))
            text = text[:place] + LETTERS[strange] + text[place:]
        texts.append(text)
    return texts


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["word", "character", "bpe"])
def test_tokens_are_the_same(engine: Browser, kind: str, running: bool) -> None:
    """Emoji, combining marks, Chinese, controls, special tokens, lone surrogates; and the text of tokens."""
    texts = mixed_texts()
    options = LoadOptions(tokenizer=kind, vocab_size=600)
    learned = [text.encode("utf-8", "replace").decode() for text in texts[:80]]
    fitted = fit_running("\n".join(learned), options)[0] if running else fit_tokenizer(learned, options)[0]
    operation = fitted.model_copy(update={"max_length": 40, "keep": "last" if running else "first"})
    wanted = [ids.tolist() for ids in tokenise(operation, texts)]
    engine.evaluate(f"globalThis.operation = {operation.model_dump_json()}, 1")
    assert engine.evaluate(f"{json.dumps(texts)}.map((text) => nw.tokenise(operation, text))") == wanted
    told = [detokenise(operation, ids) for ids in wanted]
    assert engine.evaluate(f"{json.dumps(wanted)}.map((ids) => nw.detokenise(operation, ids))") == told


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_every_letter_is_cut_alike(engine: Browser, kind: str, step: int) -> None:
    """All 1,112,064 of Unicode, between two others: normalised and split as the tokenizers' own tables say."""
    from tokenizers import Tokenizer

    (operation, _) = fit_tokenizer(["a b"], LoadOptions(tokenizer=kind))
    tokenizer = Tokenizer.from_str(operation.tokenizer)
    normal, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    wanted = "\n".join("\t".join(piece for piece, _ in split(normal(f"a{one}a"))) for one in LETTERS[::step])
    script = f"""
      (() => {{
        const tokenizer = new nw.Tokenizer({json.dumps(operation.tokenizer)});
        return [...nw.letters()].filter((_, at) => at % {step} === 0).map((one) =>
          tokenizer.split(tokenizer.normalise(`a${{one}}a`)).filter((piece) => piece !== "").join("\\t")).join("\\n");
      }})()
    """
    assert engine.evaluate(script) == wanted


@pytest.mark.parametrize("split", ["space", "ideographs", "character"])
def test_words_are_the_same(engine: Browser, split: Any) -> None:
    """Cut, looked up, spelt and shaped alike."""
    random = np.random.default_rng(0)
    texts = [
        "He lives in Rome, U.S. (really)!", "@anna #topic http://x.y www.foo.com iPhone X 3,500 B2B …",
        "东京タワーは333m です。",
        "ΣΑΣ ΟΔΥΣΣΕΥΣ İ ﬁne ①②", "don't \"quote\" 'x' ''", "...", "", "a\u2028b\x1cc\u00a0d", "Ǆ ǅ ǆ ﬁ Ⅷ ⅷ ªº",
        "🥰🥰 ok🥰 @ # @@x #1",
        "an-extraordinarily-long-word-of-many-letters \ud83d",
        *("".join(random.choice(list("aA.,'@#1东ー²Σσ ½İ🥰-(\u0301"), 12)) for _ in range(100)),
    ]  # fmt: skip
    known = ("he", "lives", "u.s.", "rome", "0,000", "东京", "σας")
    operation = words.Words(words=known, characters="abcdefghiALRoumσς東京", max_length=70, split=split)
    preprocess = Preprocess(operations=(operation,))
    for text, found in zip(texts, fields_of(engine, preprocess, texts), strict=True):
        assert found["words"] == words.sentence(operation, text)
        assert_same(found, preprocess, text)


@pytest.mark.parametrize("step", STEPS)
def test_every_letter_has_the_same_shape(engine: Browser, step: int) -> None:
    """All letters that this Python knows."""
    some = f"[...nw.letters()].filter((_, at) => at % {step} === 0)"
    found = engine.evaluate(f"{some}.map(nw.shape).join('\\n')").split("\n")
    wrong = [one for one, shape in zip(LETTERS[::step], found, strict=True) if shape != words.shape(one)]
    assert {one for one in wrong if unicodedata.category(one) != "Cn"} <= CHANGED


def test_entities_and_letters_are_read_alike(engine: Browser) -> None:
    """Tags of any scheme, and CTC by the likeliest path and by a beam."""
    random = np.random.default_rng(0)
    for classes in (
        ["O", "B-a", "I-a", "B-b", "I-b", "E-b", "S-a"],
        ["B", "M", "E", "S"],
        ["N", "V"],
        ["O", "B-x", "I"],
    ):
        scheme = find_scheme(classes)
        tags = random.integers(0, len(classes), 60)
        wanted = None
        if scheme is not None:
            spans = find_entities(tags, np.asarray([0, len(tags)]), scheme)
            kinds = [scheme.types[kind] or "entity" for kind in spans.types]
            wanted = [list(one) for one in zip(kinds, spans.begins.tolist(), spans.ends.tolist(), strict=True)]
        told = "nw.entitiesOf(tags, scheme).map((one) => [one.type, one.begin, one.end])"
        script = f"((tags, scheme) => scheme && {told})({tags.tolist()}, nw.schemeOf({json.dumps(classes)}))"
        assert engine.evaluate(script) == wanted
    for _ in range(10):
        log_probs = np.log(random.dirichlet(np.full(6, 0.4), 12))
        assert engine.evaluate(f"nw.greedy({log_probs.tolist()})") == ctc.greedy(log_probs).tolist()
        assert engine.evaluate(f"nw.beamSearch({log_probs.tolist()}, 8)") == ctc.beam_search(log_probs, 8)[0].tolist()


def test_texts_are_drawn_by_the_same_numbers(engine: Browser) -> None:
    """The key of the page, and the uniform numbers of it."""
    from netwright.shipping.html import _draws

    wanted = keyed_uniform(np.zeros(1, dtype=np.int64), 50, seed=0, epoch=0, stream=DRAWS)[0].tolist()
    assert engine.evaluate(f"nw.uniforms({json.dumps(_draws())}, 50)") == wanted
