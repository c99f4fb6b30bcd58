"""One running text to predict each token of from those before it: .txt files, split by position alone.

``N`` tokens of a split, ``L`` the length of a window, ``B`` windows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.dataset import Data
from netwright.data.facts import digest
from netwright.data.images import SPLITS, check_unreadable
from netwright.data.order import keyed_uniform
from netwright.data.tokenisers import fit_running, pieces
from netwright.errors import DataError, MissingFileError
from netwright.preprocess import Preprocess, Tokenise, tokenise
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, SplitSpec, Unreadable

IGNORE_INDEX = -100  # torch.nn.CrossEntropyLoss leaves such targets out
START = 0  # what stands before the first token of a text: the token of padding
OFFSETS = 7  # the stream of random numbers that offsets of windows are drawn from
# Tokens of a window where none is asked for: two or three lines of characters. The steps of an LSTM follow each other,
# so that longer windows with fewer beside each other keep a processor less busy.
USUAL_LENGTH = 128
FEWEST = 64  # tokens below which nothing is learned
# A training text gives at least so many windows, where no length is asked for.
FEWEST_WINDOWS = 32
TEST_SHARE = 0.1  # of a text without a test of its own
# What picks the best epoch can be short, since the same passages are compared; and what lies next to the test teaches
# most of it: of Shakespeare's last tenth n-grams counted on all before it need 2.20 bits a character, on all but
# the last 1 % of that 2.22, on all but the last 5 % 2.43, since a new play begins there.
VAL_SHARE, LEAST_VAL, MOST_VAL = 0.01, 10_000, 0.05
WHOLE = "input.txt"  # a folder's one text, as char-rnn has it


@dataclass(frozen=True, slots=True)
class StreamSource:
    """Windows of one running text.

    Attributes:
        stream: ``START`` and then the split's tokens, int32 (N + 1,).
        length: Tokens of each window, L; each is answered by the token after it.
        scored: New targets of each window but the first, when each is to be asked for once: L / 2, so that the others
            are context. None in training: windows then lie end to end.
        offset: By how much the windows of training are moved, in [0, L).
        unit: What a token is, for names.
    """

    stream: NDArray[np.int32]
    length: int
    split: str
    scored: int | None = None
    offset: int = 0
    unit: str = "character"

    def __len__(self) -> int:
        count = len(self.stream) - 1
        if self.scored is not None:
            return 1 + -(-(count - self.length) // self.scored)
        return 1 + -(-(count - 1) // self.length)

    def at_epoch(self, seed: int, epoch: int) -> StreamSource:
        """The windows of one pass: moved by what (seed, epoch) gives, so that tokens are met in other contexts."""
        drawn = keyed_uniform(np.zeros(1, dtype=np.int64), 1, seed=seed, epoch=epoch, stream=OFFSETS)
        return replace(self, offset=int(drawn[0, 0] * self.length))

    def once(self) -> StreamSource:
        """The windows by which each token is asked for once, also of the training split."""
        return self if self.scored is not None else replace(self, scored=max(1, self.length // 2), offset=0)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Tokens int64 (B, L) and those that follow, int64 (B, L): ``IGNORE_INDEX`` where another window has them."""
        starts, fresh = self.places(indices)
        steps = np.arange(self.length)
        places = starts[:, None] + steps
        targets = self.stream[places + 1].astype(np.int64)
        targets[steps < fresh[:, None]] = IGNORE_INDEX
        return {"tokens": torch.from_numpy(self.stream[places].astype(np.int64))}, torch.from_numpy(targets)

    def places(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each window begins in ``stream``, and at which of its positions the targets that count begin.

        In training the windows lie end to end; the first and the last are pushed back inside, so that every token is
        in one. Otherwise each target counts in exactly one window.
        """
        count = len(self.stream) - 1
        if self.scored is None:
            starts = np.clip(indices * self.length - self.offset, 0, count - self.length)
            return starts, np.zeros_like(starts)
        ends = np.minimum(self.length + indices * self.scored, count)
        done = np.where(indices == 0, 0, self.length + (indices - 1) * self.scored)
        starts = ends - self.length
        return starts, done - starts

    def name(self, index: int) -> str:
        """Which of the split's tokens it asks for."""
        (start,), (first,) = self.places(np.array([index]))
        return f"{self.split}, {self.unit}s {start + first + 1:,} to {start + self.length:,}"

    @property
    def lengths(self) -> None:
        """All windows are alike."""
        return None

    @property
    def targets(self) -> NDArray[np.int32]:
        """All tokens of the split, (N,): each is a target once."""
        return self.stream[1:]


def stream_files(path: Path) -> dict[str, list[Path]]:
    """The .txt files of a source by split; all of them train where none is named after a split. Empty without any."""
    if path.is_file():
        return {"train": [path]} if path.suffix.casefold() == ".txt" else {}
    files = sorted(file for file in path.iterdir() if file.suffix.casefold() == ".txt" and file.is_file())
    named = {split: [file for file in files if file.stem.casefold() in names][:1] for split, names in SPLITS.items()}
    found = {split: held for split, held in named.items() if held}
    if "train" in found:
        return found
    whole = [file for file in files if file.name.casefold() == WHOLE]
    return {"train": whole or files} if files else {}


def load_stream(path: Path, options: LoadOptions, *, reason: str) -> Data:
    """Data of which each token is predicted from those before it.

    Args:
        path: A .txt file, or a folder of such.
        reason: Why the text is taken as a running one.

    Raises:
        MissingFileError: There is no .txt file.
        DataError: A file is empty or no text, or there is too little of it.
    """
    files = stream_files(path)
    if not files:
        raise MissingFileError(
            where=f"{path}",
            expected="a .txt file, or a folder with input.txt, train.txt and test.txt, or any .txt files",
            got="none",
            cure="Write the texts of a table to one .txt file, a line each, to learn to continue them.",
        )
    texts, unreadable = _read(files, options)
    texts, choices = _split(texts, options)
    operation, token_choices = fit_running(texts["train"], options)
    tokens = {split: np.concatenate([np.zeros(0, np.int32), *tokenise(operation, list(pieces(text)))])
              for split, text in texts.items()}  # fmt: skip
    length, length_choice = _length(tokens["train"], options, path)
    sources = _windows(tokens, length, operation)
    files_choice = Choice(
        name="text",
        value=f"{sum(map(len, texts.values())):,} characters of {sum(map(len, files.values())):,} file(s)",
        reason="in order of their names, a line between two" if max(map(len, files.values())) > 1 else "as it stands",
    )
    spec = DataSpec(
        name=path.stem,
        source=str(path),
        kind="text",
        task="next_token",
        inputs=(FieldSpec(name="tokens", shape=(length,), dtype="int64"),),
        target=FieldSpec(name="next_tokens", shape=(length,), dtype="int64"),
        classes=None,
        splits={
            split: SplitSpec(
                count=len(sources[split]),
                tokens=len(tokens[split]),
                characters=len(text),
                unknown=int((tokens[split] == 1).sum()) if operation.kind != "file" else 0,
            )
            for split, text in texts.items()
        },
        preprocess=Preprocess(operations=(operation.model_copy(update={"max_length": length}),)),
        options=options,
        choices=(
            Choice(name="task", value="next_token", reason=reason, asked=options.task is not None),
            files_choice, *choices, *token_choices, length_choice, _counted(sources),
        ),
        unreadable=unreadable,
        digest=digest((split, np.frombuffer(text.encode(), dtype=np.uint8)) for split, text in texts.items()),
    )  # fmt: skip
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _read(files: dict[str, list[Path]], options: LoadOptions) -> tuple[dict[str, str], tuple[Unreadable, ...]]:
    """The text of each split, its files a line apart."""
    texts, unreadable = {}, []
    for split, paths in files.items():
        parts = []
        for path in paths:
            try:
                parts.append(_text(path))
            except DataError as error:
                if len(paths) == 1:
                    raise
                unreadable.append(Unreadable(name=str(path), reason=error.got))
        texts[split] = "\n".join(parts)
    check_unreadable(tuple(unreadable), sum(map(len, files.values())), options)
    return texts, tuple(unreadable)


def _text(path: Path) -> str:
    """One file's text; the ends of its lines as Python has them.

    Raises:
        DataError: It is empty, no UTF-8, or holds bytes that no text has.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            where=f"{path}, byte {error.start:,}",
            expected="text in UTF-8",
            got=f"a byte 0x{error.object[error.start]:02x} that is none",
            cure=f"Give a text. One in another encoding: iconv -f GB18030 -t UTF-8 {path.name} > new.txt",
        ) from error
    if not text.strip():
        raise DataError(where=str(path), expected="a text", got="an empty file", cure="Give one with some lines.")
    if "\0" in text:
        raise DataError(
            where=f"{path}, character {text.index(chr(0)):,}",
            expected="text",
            got="a zero byte: a binary file",
            cure="Give a text file.",
        )
    return text


def _split(texts: dict[str, str], options: LoadOptions) -> tuple[dict[str, str], list[Choice]]:
    """Splits that are not given are cut from the end of the first text: nothing of it may be learned by heart before.

    Test lies at the very end, val before it.
    """
    whole = texts["train"]
    asked = {"test": options.test_fraction, "val": options.val_fraction}
    usual = {"test": TEST_SHARE, "val": min(MOST_VAL, max(VAL_SHARE, LEAST_VAL / len(whole)))}
    end, choices, found = len(whole), [], dict(texts)
    for split in ("test", "val"):
        share = asked[split]
        size = 0 if split in texts else round((usual[split] if share is None else share) * len(whole))
        if not size:
            continue
        found[split] = whole[end - size : end]
        end -= size
        choices.append(
            Choice(
                name=f"{split} split",
                value=f"characters {end + 1:,} to {end + size:,}",
                reason=(f"no {split} split was given" if share is None else "asked for")
                + ": cut by position, so that no passage is in two",
                asked=share is not None,
            )
        )
    found["train"] = whole[:end]
    return {split: found[split] for split in ("train", "val", "test") if split in found}, choices


def _length(train: NDArray[np.int32], options: LoadOptions, path: Path) -> tuple[int, Choice]:
    """Tokens of a window."""
    count, asked = len(train), options.max_length
    if count < max(FEWEST, asked or 0):
        raise DataError(
            where=f"the training part of {path}",
            expected=f"at least {max(FEWEST, asked or 0):,} tokens"
            + (f", one window of --max-length {asked}" if asked and asked > FEWEST else ""),
            got=f"{count:,}",
            cure="Give a longer text" + (", or a smaller --max-length." if asked and asked > FEWEST else "."),
        )
    if asked is not None:
        return asked, Choice(name="max_length", value=asked, reason="asked for", asked=True)
    length = min(USUAL_LENGTH, max(8, count // FEWEST_WINDOWS))
    why = "tokens a model sees before it answers: two or three lines of characters"
    if length < USUAL_LENGTH:
        why = f"short, so that the {count:,} training tokens make {FEWEST_WINDOWS} windows"
    return length, Choice(name="max_length", value=length, reason=why)


def _counted(sources: dict[str, StreamSource]) -> Choice:
    """What evaluation counts."""
    scored = {split: source.scored for split, source in sources.items() if source.scored is not None}
    if not scored:
        return Choice(name="counted", value="nothing", reason="there is no val or test split")
    return Choice(
        name="counted",
        value="each token of val and test once",
        reason=f"windows overlap by half: each but the first counts its last {max(scored.values())} tokens, and those "
        "before them are context",
    )


def _windows(tokens: dict[str, NDArray[np.int32]], length: int, operation: Tokenise) -> dict[str, StreamSource]:
    sources = {}
    for split, held in tokens.items():
        size = min(length, len(held))
        sources[split] = StreamSource(
            np.concatenate((np.full(1, START, np.int32), held.astype(np.int32))),
            size,
            split,
            scored=None if split == "train" else max(1, size // 2),  # as ``once`` has it
            unit={"character": "character", "word": "word"}.get(operation.kind, "token"),
        )
    return sources
