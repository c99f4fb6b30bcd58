"""Tokenizers fitted on the training texts, as the JSON of Hugging Face's tokenizers, which serving reads alone."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from netwright.errors import DataError, MissingFileError, require, unknown_name
from netwright.preprocess import Tokenise, tokenise
from netwright.records import Choice, LoadOptions

Kind = Literal["word", "character", "bpe"]
KINDS: tuple[Kind, ...] = ("word", "character", "bpe")
SPECIAL = ["[PAD]", "[UNK]"]  # ids 0 and 1
SEPARATOR = "[SEP]"  # between two texts; also what tokenizers of pre-trained models call it
# Share of letters from scripts that are written without spaces above which characters are taken and not words.
UNSPACED = 0.3
# Above so many texts a token seen once is left unknown, so that the unknown one is trained too.
MANY_TEXTS = 1_000
LONGEST = 1_024  # tokens that are kept where no length is asked for
# Different characters up to which a running text is read character by character: any alphabet, and no mixture of all.
FEW_CHARACTERS = 512
# Training characters for each byte pair, where no count is asked for: each is then seen often enough to be learned.
CHARACTERS_PER_PAIR = 500
# Characters of a piece of a running text: a tokenizer needs far more memory than what it is given.
PIECE = 50_000
# Between two lines: there the pre-tokenizer of byte pairs cuts too, so that the pieces' tokens are those of the whole.
BETWEEN_LINES = re.compile(r"(?<=\S)\n(?=\S)")


def fit_tokenizer(
    texts: Sequence[str], options: LoadOptions, *, separator: bool = False
) -> tuple[Tokenise, tuple[Choice, ...]]:
    """Learn the tokens of the training texts.

    Words are cut at spaces and punctuation, Chinese characters apart, in lower case; characters and byte pairs keep
    what is written. All are put to Unicode's compatible form first, so that full-width letters are letters.

    Args:
        texts: To learn from.
        options: Kind of tokenizer, most tokens, longest text.
        separator: Whether one more token, ``SEPARATOR``, is made, to stand between two texts.

    Raises:
        UnknownNameError: There is no such kind of tokenizer.
        MissingFileError: The ``tokenizer.json`` is not there.
        MissingExtraError: The ``text`` extra is not installed.
    """
    library = require("tokenizers", "text")
    asked = options.tokenizer
    if asked is not None and asked not in KINDS:
        return _from_file(library, asked, options)
    kind, reason = _kind(texts) if asked is None else (next(one for one in KINDS if one == asked), "asked for")
    rarest = 2 if len(texts) >= MANY_TEXTS else 1
    tokenizer = _untrained(library, kind)
    trainers = library.trainers
    common: dict[str, Any] = {
        "vocab_size": options.vocab_size,
        "special_tokens": [*SPECIAL, SEPARATOR] if separator else SPECIAL,
        "show_progress": False,
        "min_frequency": rarest,
    }
    if kind == "bpe":
        trainer = trainers.BpeTrainer(initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(), **common)
    else:
        trainer = trainers.WordLevelTrainer(**common)
    tokenizer.train_from_iterator(texts, trainer)
    return _operation(tokenizer, kind, texts, options, Choice(name="tokenizer", value=kind, reason=reason))


def separator_of(operation: Tokenise) -> int | None:
    """The id of ``SEPARATOR``; None where the tokenizer has none."""
    found: int | None = require("tokenizers", "text").Tokenizer.from_str(operation.tokenizer).token_to_id(SEPARATOR)
    return found


def _kind(texts: Sequence[str]) -> tuple[Kind, str]:
    letters = [letter for text in texts[:2_000] for letter in text if letter.isalpha()]
    unspaced = sum(_is_unspaced(letter) for letter in letters)
    share = unspaced / max(1, len(letters))
    if share > UNSPACED:
        return "character", f"{share:.0%} of the letters are of scripts without spaces"
    return "word", "the texts have spaces between their words"


def _is_unspaced(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))


def _untrained(library: Any, kind: Kind) -> Any:
    """A tokenizer without a vocabulary."""
    models, normalizers, pre = library.models, library.normalizers, library.pre_tokenizers
    if kind == "bpe":
        tokenizer = library.Tokenizer(models.BPE(unk_token=SPECIAL[1]))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        return tokenizer
    tokenizer = library.Tokenizer(models.WordLevel(unk_token=SPECIAL[1]))
    if kind == "word":
        plain = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), plain])
        tokenizer.pre_tokenizer = pre.BertPreTokenizer()
    else:
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre.Split(library.Regex(r"[\s\S]"), "isolated")
    return tokenizer


def fit_running(text: str, options: LoadOptions) -> tuple[Tokenise, tuple[Choice, ...]]:
    """Learn the tokens of one running text, to predict each from those before it.

    Characters and byte pairs keep case, spaces and lines as they are written, so that what is predicted can be put
    together again; words keep case and lines. Nothing is put to another form.

    Raises:
        As ``fit_tokenizer``.
    """
    library = require("tokenizers", "text")
    asked = options.tokenizer
    if asked is not None and asked not in KINDS:
        operation, (choice, vocabulary, _) = _from_file(library, asked, options)
        return operation.model_copy(update={"max_length": sys.maxsize}), (choice, vocabulary)
    kind, reason = _running_kind(text) if asked is None else (next(one for one in KINDS if one == asked), "asked for")
    models, pre = library.models, library.pre_tokenizers
    common: dict[str, Any] = {"special_tokens": SPECIAL, "show_progress": False}
    size, limit = options.vocab_size, f"at most {options.vocab_size:,}, fitted on the training split"
    if kind == "bpe":
        if size == LoadOptions().vocab_size:
            size = min(size, max(512, len(text) // CHARACTERS_PER_PAIR))
            limit = f"one for each {CHARACTERS_PER_PAIR} characters of training, so that each is seen often"
        tokenizer = library.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(initial_alphabet=pre.ByteLevel.alphabet(), vocab_size=size, **common)
    else:
        tokenizer = library.Tokenizer(models.WordLevel(unk_token=SPECIAL[1]))
        pattern = r"[\s\S]" if kind == "character" else r"\n|[^\W_]+|_|[^\w\s]"
        tokenizer.pre_tokenizer = pre.Split(library.Regex(pattern), "removed", invert=True)
        trainer = library.trainers.WordLevelTrainer(vocab_size=size, **common)
    tokenizer.train_from_iterator(pieces(text), trainer)
    size = tokenizer.get_vocab_size()
    operation = Tokenise(kind=kind, vocab_size=size, max_length=sys.maxsize, keep="last", tokenizer=tokenizer.to_str())
    return operation, (
        Choice(name="tokenizer", value=kind, reason=reason, asked=asked is not None),
        Choice(name="vocabulary", value=f"{size:,} tokens", reason=limit),
    )


def _running_kind(text: str) -> tuple[Kind, str]:
    different = len(set(text))
    letters = [letter for letter in text[:100_000] if letter.isalpha()]
    share = sum(map(_is_unspaced, letters)) / max(1, len(letters))
    if share > UNSPACED:
        return "character", f"{share:.0%} of the letters are of scripts without spaces"
    if different <= FEW_CHARACTERS:
        return "character", f"the text has {different} different characters; each can be learned well"
    return "bpe", f"the text has {different:,} different characters, more than {FEW_CHARACTERS}"


def pieces(text: str) -> Iterator[str]:
    """A running text in pieces that are tokenized apart as they would be together."""
    start = 0
    while start < len(text):
        found = BETWEEN_LINES.search(text, min(len(text), start + PIECE))
        end = len(text) if found is None else found.end()
        yield text[start:end]
        start = end


def _from_file(library: Any, name: str, options: LoadOptions) -> tuple[Tokenise, tuple[Choice, ...]]:
    path = Path(name)
    if path.suffix != ".json":
        raise unknown_name("tokenizer, or a tokenizer.json", name, KINDS, where="--tokenizer")
    if not path.is_file():
        raise MissingFileError(
            where=f"--tokenizer {name}",
            expected="a tokenizer.json of Hugging Face's tokenizers",
            got="no such file",
            cure=f"Check the path, or name one of {', '.join(KINDS)}.",
        )
    try:
        tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DataError(
            where=str(path),
            expected="a tokenizer.json of Hugging Face's tokenizers",
            got=str(error).splitlines()[0],
            cure=f"Save it with tokenizer.save(path), or name one of {', '.join(KINDS)}.",
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _operation(
        tokenizer, "file", (), options, Choice(name="tokenizer", value=name, reason="asked for", asked=True)
    )


def _operation(
    tokenizer: Any, kind: Literal["word", "character", "bpe", "file"], texts: Sequence[str], options: LoadOptions,
    choice: Choice,
) -> tuple[Tokenise, tuple[Choice, ...]]:  # fmt: skip
    size = tokenizer.get_vocab_size()
    if options.max_length is not None:
        length, why = options.max_length, "asked for"
    elif kind == "file" or not texts:
        length, why = LONGEST, "the usual limit"
    else:
        whole = Tokenise(kind=kind, vocab_size=size, max_length=sys.maxsize, tokenizer=tokenizer.to_str())
        lengths = [len(one) for one in tokenise(whole, texts)]
        longest = max(lengths)
        length = max(1, min(longest, LONGEST))
        cut = sum(one > length for one in lengths)
        why = f"the longest training text has {longest:,} tokens" + (f"; {cut:,} texts are cut" if cut else "")
    operation = Tokenise(kind=kind, vocab_size=size, max_length=length, tokenizer=tokenizer.to_str())
    limit = (
        f"at most {options.vocab_size:,}, fitted on the training split" if kind != "file" else "as the file has them"
    )
    return operation, (
        choice,
        Choice(name="vocabulary", value=f"{size:,} tokens", reason=limit),
        Choice(name="max_length", value=length, reason=why, asked=options.max_length is not None),
    )
