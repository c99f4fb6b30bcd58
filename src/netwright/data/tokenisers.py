"""Tokenizers fitted on the training texts, as the JSON of Hugging Face's tokenizers, which serving reads alone."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from netwright.errors import DataError, MissingFileError, require, unknown_name
from netwright.preprocess import Tokenise, tokenise
from netwright.records import Choice, LoadOptions

Kind = Literal["word", "character", "bpe"]
KINDS: tuple[Kind, ...] = ("word", "character", "bpe")
SPECIAL = ["[PAD]", "[UNK]"]  # ids 0 and 1
# Share of letters from scripts that are written without spaces above which characters are taken and not words.
UNSPACED = 0.3
# Above so many texts a token seen once is left unknown, so that the unknown one is trained too.
MANY_TEXTS = 1_000
LONGEST = 1_024  # tokens that are kept where no length is asked for


def fit_tokenizer(texts: Sequence[str], options: LoadOptions) -> tuple[Tokenise, tuple[Choice, ...]]:
    """Learn the tokens of the training texts.

    Words are cut at spaces and punctuation, Chinese characters apart, in lower case; characters and byte pairs keep
    what is written. All are put to Unicode's compatible form first, so that full-width letters are letters.

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
        "special_tokens": SPECIAL,
        "show_progress": False,
        "min_frequency": rarest,
    }
    if kind == "bpe":
        trainer = trainers.BpeTrainer(initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(), **common)
    else:
        trainer = trainers.WordLevelTrainer(**common)
    tokenizer.train_from_iterator(texts, trainer)
    return _operation(tokenizer, kind, texts, options, Choice(name="tokenizer", value=kind, reason=reason))


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
