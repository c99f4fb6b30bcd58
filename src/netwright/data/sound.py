"""Sounds with a class or a transcript each: folders of class folders, manifests, and what is made of both.

Headers are read first, to choose one rate for all; then every sound is decoded once, kept or only looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, find_classes, split_specs
from netwright.data.images import check_unreadable
from netwright.data.ragged import Ragged
from netwright.data.sound_source import MEMORY_LIMIT_BYTES, Decoded, Raw, SoundSource, decode_all, each_read
from netwright.errors import DataError, require
from netwright.log_mel import LogMelSpectrum, fixed, usual
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, Unreadable
from netwright.sounds import DecodeSound, Header, read_header
from netwright.transcripts import Alphabet, fit_alphabet, tidy

# Speech lies below 8,000 Hz, and what hears it is usually built for this rate; more only costs time.
USUAL_MOST = 16_000
TASKS = ("classification", "transcription")


@dataclass(frozen=True, slots=True)
class Listing:
    """The sounds of one split: files or bytes, what is to be answered as it was written, names, and groups."""

    raws: tuple[Raw, ...]
    targets: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def take(self, where: Sequence[int] | NDArray[np.int64]) -> Listing:
        """Some of them."""
        groups = None if self.groups is None else tuple(self.groups[index] for index in where)
        return Listing(
            tuple(self.raws[index] for index in where),
            tuple(self.targets[index] for index in where),
            tuple(self.names[index] for index in where),
            groups,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a reader found."""

    name: str
    source: str
    splits: dict[str, Listing]
    task: str
    choices: tuple[Choice, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


def assemble(listed: Listed, options: LoadOptions) -> Data:
    """Splits, preprocessing and record of sounds.

    Raises:
        DataError: Too many cannot be read, or a class cannot be split.
        UsageError: ``test_group`` names no group.
        MissingExtraError: The ``speech`` extra is not installed.
    """
    require("soundfile", "speech")  # some files are read without it, but not what is shown of them later
    task = asked_task(options, TASKS, data="sounds") or listed.task
    splits = _pooled(listed.splits) if options.test_group is not None else listed.splits
    headers = {
        name: each_read(read_header, one.raws, one.names, doing="reading headers") for name, one in splits.items()
    }
    operation, choices = _operation(headers, options)
    bad = [one for found in headers.values() for one in found if isinstance(one, Unreadable)]
    readable = {name: _readable(one, headers[name]) for name, one in splits.items()}
    spectrum = None if options.mel_bands is None else usual(operation.sample_rate, options.mel_bands)
    if spectrum is not None:
        choices = (*choices, _bands(spectrum))
    read, late = _decode(readable, headers, operation, spectrum)
    bad += late
    total = sum(len(one.raws) for one in splits.values()) + len(listed.unreadable)
    unreadable = (*listed.unreadable, *bad)
    check_unreadable(unreadable, total, options, what="sounds")
    kept = {name: readable[name].take(one.kept) for name, one in read.items()}
    if not len(kept["train"].raws):
        raise DataError(where=listed.source, expected="sounds to learn from", got="none", cure="Mend or add some.")
    targets, classes, alphabet, target_choices = _targets(kept, task)
    sources = {
        name: SoundSource(
            operation,
            one.values,
            one.begins,
            one.sizes,
            None if one.values is not None else tuple(Path(str(raw)) for raw in kept[name].raws),
            targets[name],
            kept[name].names,
            None if alphabet is None else tuple(map(tidy, kept[name].targets)),
            spectrum,
            one.spectra,
            None if one.spectra is None or spectrum is None else one.spectra_begins(spectrum),
            one.digests,
        )
        for name, one in read.items()
    }
    whole = sources["train"]
    by_class = np.zeros(len(whole), dtype=np.int64) if alphabet is not None else np.asarray(whole.targets)
    parts, split_choices = choose_splits(
        by_class,
        options,
        classes=classes,
        groups=kept["train"].groups if options.group_by or options.test_group else None,
        has_val="val" in sources,
        has_test="test" in sources,
    )
    sources |= {name: whole.take(where) for name, where in parts.items()}
    spec = _spec(listed, options, sources, operation, classes=classes, alphabet=alphabet)
    every = (*listed.choices, *choices, *target_choices, *split_choices, _extent(sources, operation))
    spec = spec.model_copy(update={"choices": every, "unreadable": unreadable})
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _spec(
    listed: Listed,
    options: LoadOptions,
    sources: Mapping[str, SoundSource],
    operation: DecodeSound,
    *,
    classes: tuple[str, ...] | None,
    alphabet: Alphabet | None,
) -> DataSpec:
    counted = {
        name: np.zeros(len(one)) if alphabet is not None else np.asarray(one.targets) for name, one in sources.items()
    }
    target = FieldSpec(name="label", shape=(), dtype="int64")
    spectrum = sources["train"].spectrum
    sound = FieldSpec(name="sound", shape=(-1,), dtype="float32")
    if spectrum is not None:
        sound = FieldSpec(name="log_mel", shape=(-1, spectrum.num_bands), dtype="float32")
    return DataSpec(
        name=listed.name,
        source=listed.source,
        kind="sound",
        task="classification" if alphabet is None else "transcription",
        inputs=(
            sound,
            FieldSpec(name="lengths", shape=(), dtype="int64"),
            FieldSpec(name="mask", shape=(-1,), dtype="bool"),
        ),
        target=target if alphabet is None else FieldSpec(name="text", shape=(-1,), dtype="int64"),
        classes=classes,
        letters=None if alphabet is None else alphabet.letters,
        splits=split_specs(counted, classes),
        preprocess=Preprocess(operations=(operation,) if spectrum is None else (operation, spectrum)),
        options=options,
        digest=_digest(sources),
    )


def _pooled(splits: Mapping[str, Listing]) -> dict[str, Listing]:
    """All splits as one, out of which a group is taken for the test."""
    every = list(splits.values())
    groups = None
    if all(one.groups is not None for one in every):
        groups = tuple(group for one in every for group in one.groups or ())
    raws = tuple(raw for one in every for raw in one.raws)
    targets = tuple(target for one in every for target in one.targets)
    return {"train": Listing(raws, targets, tuple(name for one in every for name in one.names), groups)}


def _operation(
    headers: Mapping[str, Sequence[Header | Unreadable]], options: LoadOptions
) -> tuple[DecodeSound, tuple[Choice, ...]]:
    """The rate that most training sounds have, or what was asked for."""
    found = [one for one in headers["train"] if isinstance(one, Header)]
    rates = Counter(one.sample_rate for one in found)
    if options.sample_rate is not None:
        rate, reason = options.sample_rate, "asked for"
    elif not rates:
        rate, reason = USUAL_MOST, "no header could be read"
    else:
        count = max(rates.values())
        usual = min(one for one, times in rates.items() if times == count)
        rate = min(usual, USUAL_MOST)
        reason = f"{count:,} of {len(found):,} training sounds have it"
        if rate < usual:
            reason = (
                f"{count:,} of {len(found):,} training sounds have {usual:,} Hz; speech needs no more than {rate:,}"
            )
        elif len(rates) > 1:
            reason += f"; others, {', '.join(f'{one:,}' for one in sorted(rates) if one != usual)} Hz, are resampled"
    choices = [Choice(name="sample_rate", value=rate, reason=reason, asked=options.sample_rate is not None)]
    several = sum(one.channels > 1 for one in found)
    if several:
        reason = f"{several:,} of {len(found):,} training sounds have more"
        choices.append(Choice(name="channels", value="1, the mean of all", reason=reason))
    return DecodeSound(sample_rate=rate, max_seconds=options.max_seconds), tuple(choices)


def _readable(listing: Listing, headers: Sequence[Header | Unreadable]) -> Listing:
    return listing.take([index for index, one in enumerate(headers) if isinstance(one, Header)])


def _decode(
    listings: Mapping[str, Listing],
    headers: Mapping[str, Sequence[Header | Unreadable]],
    operation: DecodeSound,
    spectrum: LogMelSpectrum | None,
) -> tuple[dict[str, Decoded], list[Unreadable]]:
    """Sounds by split, and those that could not be decoded."""
    expected = {
        name: sum(
            math.ceil(min(one.seconds, operation.max_seconds) * operation.sample_rate) + 1
            for one in found
            if isinstance(one, Header)
        )
        for name, found in headers.items()
    }
    a_sample = 2.0  # bytes
    if spectrum is not None:
        a_sample += 4 * spectrum.num_bands / spectrum.hop
    in_memory = a_sample * sum(expected.values()) <= MEMORY_LIMIT_BYTES
    in_memory |= any(isinstance(raw, bytes) for one in listings.values() for raw in one.raws[:1])
    read = {
        name: decode_all(one.raws, one.names, operation, spectrum, expected=expected[name], in_memory=in_memory)
        for name, one in listings.items()
    }
    return read, [bad for one in read.values() for bad in one.unreadable]


def _targets(
    kept: Mapping[str, Listing], task: str
) -> tuple[dict[str, torch.Tensor | Ragged], tuple[str, ...] | None, Alphabet | None, tuple[Choice, ...]]:
    """Classes, or the letters of transcripts, by split."""
    if task == "transcription":
        alphabet, choices = fit_alphabet(kept["train"].targets)
        found = {
            name: Ragged.of([alphabet.encode(text) for text in one.targets], np.int64) for name, one in kept.items()
        }
        return dict(found), None, alphabet, choices
    codes, classes, choice = find_classes(np.asarray([target for one in kept.values() for target in one.targets]))
    ends = np.cumsum([len(one.targets) for one in kept.values()])[:-1]
    split_codes = [torch.from_numpy(part) for part in np.split(codes, ends)]
    return dict(zip(kept, split_codes, strict=True)), classes, None, () if choice is None else (choice,)


def _extent(sources: Mapping[str, SoundSource], operation: DecodeSound) -> Choice:
    """How long the sounds are, and where they are kept."""
    sizes = np.concatenate([one.sizes for one in sources.values()]) / operation.sample_rate
    value = f"{sizes.sum():,.0f} s in all, {sizes.min():.2f} to {sizes.max():.2f} s each"
    kept, spectrum = sources["train"].values is not None, sources["train"].spectrum
    reason = "kept in memory with 16 bits" if kept else "decoded when asked for"
    if spectrum is not None:
        reason += f", {'with' if kept else 'and then'} log-mel spectra of {spectrum.num_bands} bands"
    return Choice(name="length", value=value, reason=reason)


def _digest(sources: Mapping[str, SoundSource]) -> str:
    parts: list[tuple[str, NDArray[np.generic]]] = []
    for name, source in sources.items():
        if source.digests is not None:
            parts.append((f"{name}/sound", source.digests))
        else:  # too many to read now: names and lengths stand for the samples
            parts.append((f"{name}/names", np.frombuffer("\n".join(source.names).encode(), dtype=np.uint8)))
        parts += [(f"{name}/sizes", source.sizes), (f"{name}/y", source.targets)]
        if isinstance(source.all_targets, Ragged):
            parts.append((f"{name}/starts", source.all_targets.starts))
    return digest(parts)


def _bands(spectrum: LogMelSpectrum) -> Choice:
    """How many bands, and how many of them no frequency of the spectrum falls into."""
    empty = int((fixed(spectrum)[1].sum(0) == 0).sum())
    reason = f"asked for; {empty} of them lie between two frequencies and hold nothing" if empty else "asked for"
    return Choice(name="mel_bands", value=spectrum.num_bands, reason=reason, asked=True)
