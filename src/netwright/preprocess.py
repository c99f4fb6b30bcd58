"""Preprocessing as data: a closed set of operations, written once, run alike in training and in serving.

No torch here; ``data/tensors.py`` holds the twin of what runs on batches. Shapes: ``C`` channels, ``H`` height, ``W``
width, ``B`` batch, ``T`` tokens. Operations come in two phases: some take a raw sample to uint8 (C, H, W), or to
tokens, once; ``tensor`` ones take a batch (B, C, H, W) to float32, each time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError, require
from netwright.log_mel import LogMelSpectrum, log_mel
from netwright.recordings import ReadRecording, one_recording
from netwright.rows import EncodeRows, ScaleTarget, one_row, slug
from netwright.sounds import DecodeSound, as_waves, decode_sound
from netwright.windows import WindowSeries, one_history
from netwright.words import Words, look_up, sentence

if TYPE_CHECKING:
    from PIL import Image

AT_ONCE = 4096  # texts
# What may resize in Pillow's place, to the same pixels: an image to (height, width), as uint8 (C, H, W), or None.
Resizing: TypeAlias = "Callable[[Image.Image, int, int], NDArray[np.uint8] | None]"
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
PAIR_FIELDS = ("first", "second", "tokens", "segments")


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodeImage(_Operation):
    """File, bytes or array to uint8 (C, H, W): turned as its EXIF tag says, transparent parts on black."""

    op: Literal["decode_image"] = "decode_image"
    mode: Literal["L", "RGB"] = "RGB"


class Resize(_Operation):
    """Resize to (height, width), bilinear with antialiasing; an image of that size stays as it is."""

    op: Literal["resize"] = "resize"
    height: int = Field(gt=0)
    width: int = Field(gt=0)


class Scale(_Operation):
    """Multiply by a factor."""

    op: Literal["scale"] = "scale"
    factor: float


class Normalise(_Operation):
    """Subtract the mean and divide by the standard deviation of each channel (of axis 1)."""

    op: Literal["normalise"] = "normalise"
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Tokenise(_Operation):
    """Text to token ids, int32 (T,): 0 is padding, 1 what training had not; cut to ``max_length`` tokens."""

    op: Literal["tokenise"] = "tokenise"
    kind: Literal["word", "character", "bpe", "file"]
    vocab_size: int = Field(gt=0)
    max_length: int = Field(gt=0)
    keep: Literal["first", "last"] = Field(default="first", description="Which end of a longer text is kept.")
    tokenizer: str = Field(repr=False, description="The tokenizer, in the JSON of Hugging Face's tokenizers.")


class Pair(_Operation):
    """Two texts, each tokenised; as ``first`` and ``second``, and one behind the other as ``tokens``."""

    op: Literal["pair"] = "pair"
    columns: tuple[str, str] = Field(description="What the two are called, as premise and hypothesis.")
    separator: int | None = Field(default=None, ge=0, description="Token between the two; None for none.")


Operation = Annotated[
    DecodeImage
    | Resize
    | Scale
    | Normalise
    | Tokenise
    | Pair
    | Words
    | EncodeRows
    | ScaleTarget
    | WindowSeries
    | ReadRecording
    | DecodeSound
    | LogMelSpectrum,
    Field(discriminator="op"),
]


class Preprocess(_Operation):
    """All operations, in order: those that decode, then those on tensors."""

    operations: tuple[Operation, ...] = ()
    fields: dict[str, Preprocess] = Field(
        default_factory=dict, description="What is done to single fields, of several."
    )

    def of(self, name: str) -> Preprocess:
        """What is done to one field."""
        return self.fields.get(name, self)

    @functools.cached_property  # asked for each picture that a server reads
    def decode(self) -> tuple[DecodeImage | Resize, ...]:
        """Operations run once a sample."""
        return tuple(one for one in self.operations if isinstance(one, DecodeImage | Resize))

    @property
    def text(self) -> Tokenise | None:
        """The operation that makes tokens of text; None for other data."""
        return next((one for one in self.operations if isinstance(one, Tokenise)), None)

    @property
    def rows(self) -> EncodeRows | None:
        """The operation that makes numbers of rows; None for other data."""
        return next((one for one in self.operations if isinstance(one, EncodeRows)), None)

    @property
    def windows(self) -> WindowSeries | None:
        """The operation that cuts histories; None for other data."""
        return next((one for one in self.operations if isinstance(one, WindowSeries)), None)

    @property
    def recording(self) -> ReadRecording | None:
        """The operation that reads whole series; None for other data."""
        return next((one for one in self.operations if isinstance(one, ReadRecording)), None)

    @property
    def sound(self) -> DecodeSound | None:
        """The operation that reads sound; None for other data."""
        return next((one for one in self.operations if isinstance(one, DecodeSound)), None)

    @property
    def log_mel(self) -> LogMelSpectrum | None:
        """The operation that makes spectra of a sound; None where its samples are taken."""
        return next((one for one in self.operations if isinstance(one, LogMelSpectrum)), None)

    @property
    def target(self) -> ScaleTarget | None:
        """How targets are scaled for the loss; None where they are as given."""
        return next((one for one in self.operations if isinstance(one, ScaleTarget)), None)

    @property
    def pair(self) -> Pair | None:
        """The operation that takes two texts; None where there is one, or none."""
        return next((one for one in self.operations if isinstance(one, Pair)), None)

    @property
    def words(self) -> Words | None:
        """The operation that takes a sentence word by word; None for other data."""
        return next((one for one in self.operations if isinstance(one, Words)), None)

    @property
    def tensor(self) -> tuple[Scale | Normalise, ...]:
        """Operations run on each batch."""
        return tuple(one for one in self.operations if isinstance(one, Scale | Normalise))


def sample(preprocess: Preprocess, raw: Any) -> dict[str, NDArray[Any]]:
    """Take one raw input to the fields that training keeps of it, without a batch dimension.

    Args:
        raw: A text; two of them; a sentence or its words; a row as a mapping of columns, or a history or recording as
            one of sequences; a path or bytes of an image or a sound, pixels, or samples.

    Raises:
        DataError: It cannot be read.
    """
    if preprocess.words is not None:
        return dict(look_up(preprocess.words, sentence(preprocess.words, raw)))
    if preprocess.text is not None and preprocess.pair is not None:
        return pair_fields(preprocess.text, preprocess.pair, [two_texts(preprocess.pair, raw)])[0]
    if preprocess.text is not None:
        return {"tokens": tokenise(preprocess.text, [raw])[0]}
    if preprocess.windows is not None:
        return one_history(preprocess.windows, raw)
    if preprocess.recording is not None:
        return dict(one_recording(preprocess.recording, raw))
    if preprocess.rows is not None:
        return one_row(preprocess.rows, raw) | _shown(preprocess, raw)
    if preprocess.sound is not None:
        waves = as_waves(decode_sound(preprocess.sound, raw))
        return {"sound": waves} if preprocess.log_mel is None else {"log_mel": log_mel(preprocess.log_mel, waves)}
    return {"image": decode(preprocess, raw)}


def _shown(preprocess: Preprocess, row: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The pictures that a row names."""
    found: dict[str, NDArray[Any]] = {}
    for field, own in preprocess.fields.items():
        cell = next((value for name, value in row.items() if slug(str(name)) == field), None)
        if cell is None or cell == "":
            raise DataError(where="input", expected=f"a picture in {field}", got="none", cure="Give its path.")
        found[field] = decode(own, Path(cell) if isinstance(cell, str) else cell)
    return found


def decode(
    preprocess: Preprocess, raw: bytes | Path | NDArray[Any], resizing: Resizing | None = None
) -> NDArray[np.uint8]:
    """Take one raw sample to uint8 (C, H, W).

    Args:
        raw: An image file's path or bytes, or an array (H, W), (H, W, C) or (C, H, W).
        resizing: What resizes in Pillow's place where resizing comes last; where it gives None, Pillow does it.

    Raises:
        DataError: It cannot be read, or its header promises more than ``MAX_PIXELS`` pixels.
    """
    from netwright.pixels import read_image, resized  # late, as texts are answered where Pillow is not

    mode: Literal["L", "RGB"] = "RGB"
    image: Image.Image | None = None
    for operation in preprocess.decode:
        if isinstance(operation, DecodeImage):
            mode = operation.mode
            image = read_image(raw, mode)
        else:
            image = image if image is not None else read_image(raw, mode)
            if image.size != (operation.width, operation.height):
                if resizing is not None and operation is preprocess.decode[-1]:
                    made = resizing(image, operation.height, operation.width)
                    if made is not None:
                        return made
                image = resized(image, operation.width, operation.height)
    image = image if image is not None else read_image(raw, mode)
    bands = "L" if image.mode == "L" else "RGB"
    pixels = np.empty((len(bands), image.height, image.width), dtype=np.uint8)
    for plane, band in zip(pixels, bands, strict=True):  # half the time of the pixels at once, put in another order
        plane[:] = np.frombuffer(image.tobytes("raw", band), dtype=np.uint8).reshape(plane.shape)
    return pixels


def tokenise(operation: Tokenise, texts: Sequence[str]) -> list[NDArray[np.int32]]:
    """Token ids of each text, int32 (T,), T from 0 to ``max_length``.

    Raises:
        MissingExtraError: The ``text`` extra is not installed.
        DataError: What was given is no text.
    """
    for text in texts:
        if not isinstance(text, str):
            raise DataError(where="input", expected="text", got=type(text).__name__, cure="Give a str.")
    # A lone surrogate, as broken JSON has it, is no Unicode text: the tokenizer would refuse the whole batch.
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    tokenizer = _tokenizer(operation.tokenizer)
    found: list[NDArray[np.int32]] = []
    for start in range(0, len(clean), AT_ONCE):  # what it gives for a text is far larger than the ids alone
        encoded = tokenizer.encode_batch(clean[start : start + AT_ONCE], add_special_tokens=False)
        found += [np.asarray(_cut(one.ids, operation), dtype=np.int32) for one in encoded]
    return found


def _cut(ids: list[int], operation: Tokenise) -> list[int]:
    return ids[: operation.max_length] if operation.keep == "first" else ids[-operation.max_length :]


def detokenise(operation: Tokenise, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
    """The text of token ids. What has no text of its own, as an unknown token, is written as U+FFFD; padding is not.

    Characters and byte pairs give back what was tokenised; words have one space between them.
    """
    tokenizer = _tokenizer(operation.tokenizer)
    if operation.kind in ("bpe", "file"):  # bytes of one character may be spread over tokens: they are read together
        special = () if operation.kind == "file" else (0, 1)
        text = ""
        known: list[int] = []
        for token in map(int, ids):
            if token in special:
                text += tokenizer.decode(known) + (UNREADABLE if token else "")
                known = []
            else:
                known.append(token)
        return text + str(tokenizer.decode(known))
    words = ["" if token == 0 else UNREADABLE if token == 1 else tokenizer.id_to_token(int(token)) for token in ids]
    return "".join(words) if operation.kind == "character" else re.sub(" ?\n ?", "\n", " ".join(words))


def two_texts(pair: Pair, raw: Any) -> tuple[str, str]:
    """The two texts of one raw input: a tuple or list, a mapping by the columns' names, or a string with a tab between.

    Raises:
        DataError: It is none of these.
    """
    given = raw
    if isinstance(raw, Mapping):
        names = next((two for two in (pair.columns, ("first", "second")) if set(two) <= set(raw)), ())
        given = [raw[name] for name in names]
    elif isinstance(raw, str):
        given = raw.split("\t")
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(text, str) for text in given):
        return given[0], given[1]
    first, second = pair.columns
    kind = f"a mapping of {', '.join(map(str, raw))}" if isinstance(raw, Mapping) else type(raw).__name__
    raise DataError(
        where="input",
        expected=f"two texts, {first} and {second}",
        got=f"{len(given)} in {kind}" if isinstance(given, tuple | list) and not isinstance(raw, Mapping) else kind,
        cure=f'As ("…", "…"), {{"{first}": "…", "{second}": "…"}}, or on the command line with a tab between.',
    )


def pair_fields(operation: Tokenise, pair: Pair, pairs: Sequence[tuple[str, str]]) -> list[dict[str, NDArray[Any]]]:
    """Token ids of pairs of texts.

    Returns:
        For each ``first`` (T1,) and ``second`` (T2,); ``tokens`` (T,), both with the separator between, and
        ``segments`` (T,), 0 for the first and the separator, 1 for the second; all int32.
    """
    firsts = tokenise(operation, [first for first, _ in pairs])
    seconds = tokenise(operation, [second for _, second in pairs])
    between = np.asarray([] if pair.separator is None else [pair.separator], dtype=np.int32)
    found: list[dict[str, NDArray[Any]]] = []
    for first, second in zip(firsts, seconds, strict=True):
        tokens = np.concatenate((first, between, second))
        segments = (np.arange(len(tokens)) >= len(first) + len(between)).astype(np.int32)
        found.append({"first": first, "second": second, "tokens": tokens, "segments": segments})
    return found


@functools.lru_cache(maxsize=4)
def _tokenizer(definition: str) -> Any:  # tokenizers.Tokenizer, imported late
    return require("tokenizers", "text").Tokenizer.from_str(definition)


def apply(preprocess: Preprocess, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Run the tensor operations on a batch (B, C, ...), giving float32."""
    factor, offset = affine(preprocess, batch.ndim)
    values = batch.astype(np.float32)
    if factor is not None:
        values *= factor
    if offset is not None:
        values += offset
    return values


def affine(preprocess: Preprocess, ndim: int) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """All tensor operations as one product and one sum, float32, shaped to broadcast over (B, C, ...)."""
    factor: NDArray[np.float64] | None = None
    offset: NDArray[np.float64] | None = None
    for operation in preprocess.tensor:
        if isinstance(operation, Scale):
            factor = (np.ones(1) if factor is None else factor) * operation.factor
            offset = None if offset is None else offset * operation.factor
        else:
            mean, std = np.asarray(operation.mean), np.asarray(operation.std)
            factor = (np.ones(1) if factor is None else factor) / std
            offset = ((np.zeros(1) if offset is None else offset) - mean) / std

    def shaped(values: NDArray[np.float64] | None) -> NDArray[np.float32] | None:
        return None if values is None else values.astype(np.float32).reshape(1, -1, *(1,) * (ndim - 2))

    return shaped(factor), shaped(offset)
