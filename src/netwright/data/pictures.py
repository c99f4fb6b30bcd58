"""Make splits and preprocessing out of what a reader of images found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from netwright import preprocess
from netwright.data.dataset import Data
from netwright.data.decoded import decode_once, row_shape
from netwright.data.facts import asked_task, channel_statistics, choose_splits, digest, split_specs
from netwright.data.images import check_all, check_unreadable, decode_all
from netwright.data.picture_facts import PictureFacts
from netwright.data.sources import PathSource, RawData, RawSplit, Source, TensorSource, at
from netwright.errors import DataError
from netwright.preprocess import DecodeImage, Normalise, Operation, Preprocess, Resize, Scale
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, Unreadable

# Decoded images up to this size lie in memory; larger sets are decoded when asked for.
MEMORY_LIMIT_BYTES = 2 * 2**30
# Images looked at for mean and deviation where they are not all in memory.
SAMPLE_FOR_STATISTICS = 2048


def assemble(raw: RawData, options: LoadOptions) -> Data:
    """Splits, preprocessing and record of image data.

    Raises:
        DataError: A class cannot be split, or too many images cannot be read.
    """
    asked_task(options, ("classification",), data="pictures in class folders")
    size = options.image_size or raw.size
    mode = options.image_mode or raw.mode
    decoding: list[Operation] = [DecodeImage(mode=mode)]
    if size is not None:
        decoding.append(Resize(height=size[0], width=size[1]))
    decoder = Preprocess(operations=tuple(decoding))
    choices = [*raw.choices]
    if options.image_size is not None:
        choices.append(Choice(name="image_size", value=options.image_size, reason="asked for", asked=True))

    read: dict[str, Source] = {}
    known: dict[str, PictureFacts | None] = {}
    unreadable: list[Unreadable] = list(raw.unreadable)
    given = {"train": raw.train, "val": raw.val, "test": raw.test}
    groups: Sequence[str] | None = raw.groups
    total = sum(len(split.targets) for split in given.values() if split is not None)
    for name, split in given.items():
        if split is not None:
            read[name], kept, bad, cached, known[name] = _read(split, decoder, name, options)
            unreadable += bad
            choices += cached if name == "train" else ()
            if name == "train" and groups is not None:
                groups = [groups[index] for index in kept]
    check_unreadable(tuple(unreadable), total + len(raw.unreadable), options)
    if unreadable:
        _check_left(read["train"].targets, raw)

    parts, split_choices = choose_splits(
        read["train"].targets,
        options,
        classes=raw.classes,
        groups=groups,
        has_val="val" in read,
        has_test="test" in read,
    )
    choices += split_choices
    whole = read["train"]
    sources = {name: _take(whole, where) for name, where in parts.items()} | {
        name: source for name, source in read.items() if name != "train"
    }
    of_all = known["train"]
    known |= {name: None if of_all is None else of_all.take(where) for name, where in parts.items()}
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(_digest, sources, known)  # beside the statistics: of given pixels both read every one
        mean, std = _statistics(sources["train"], known["train"])
    operations = (*decoding, Scale(factor=1 / 255), Normalise(mean=mean, std=std))
    choices.append(
        Choice(name="normalise", value=f"mean {_short(mean)}, std {_short(std)}", reason="fitted on the training split")
    )
    shape = tuple(sources["train"].gather(np.arange(1))[0]["image"].shape[1:])
    targets = {name: source.targets for name, source in sources.items()}
    spec = DataSpec(
        name=raw.name,
        source=raw.source,
        kind="image",
        task="classification",
        inputs=(FieldSpec(name="image", shape=shape, dtype="float32"),),
        target=FieldSpec(name="label", shape=(), dtype="int64"),
        classes=raw.classes,
        splits=split_specs(targets, raw.classes),
        preprocess=Preprocess(operations=operations),
        options=options,
        choices=tuple(choices),
        unreadable=tuple(unreadable),
        digest=hashed.result(),
    )
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _read(
    split: RawSplit, decoder: Preprocess, name: str, options: LoadOptions
) -> tuple[Source, list[int], tuple[Unreadable, ...], tuple[Choice, ...], PictureFacts | None]:
    """A split as a source; which of its samples could be read, and which not; whether they are kept decoded; and what
    is known of each picture that was read from a file into memory.
    """  # noqa: D205
    if split.images is not None:
        given = split.images
        shape = row_shape(decoder)
        own = DecodeImage(mode="L" if given.shape[1] == 1 else "RGB")
        if (shape is not None and given.shape[-2:] != shape[1:]) or decoder.operations[0] != own:
            given = np.stack([preprocess.decode(decoder, image) for image in given])
        held = TensorSource({"image": torch.from_numpy(given)}, torch.from_numpy(split.targets), split.names, name)
        return held, list(range(len(held))), (), (), None
    paths, targets = split.paths or (), torch.from_numpy(split.targets)
    small = len(paths) * math.prod(row_shape(decoder) or (3, 224, 224)) <= MEMORY_LIMIT_BYTES
    decoded, choices = decode_once(paths, decoder, limit_bytes=options.cache_gb * 1e9, check_all=small)
    images: NDArray[np.uint8] | None = None
    facts: PictureFacts | None = None
    if decoded is not None:
        kept, bad = list(decoded.kept), decoded.bad
        images, facts = (decoded.pixels, decoded.facts) if small else (None, None)
    elif small:
        images, kept, bad, facts = decode_all(paths, decoder)
    else:
        kept, bad = check_all(paths, decoder)
    where = np.asarray(kept, dtype=np.int64)
    if images is None:
        files = PathSource(paths, targets, split.names, decoder).take(where)
        rows = None if decoded is None else np.arange(len(kept))
        return replace(files, decoded=decoded, rows=rows), kept, bad, choices, None
    names = tuple(split.names[index] for index in kept)
    return TensorSource({"image": torch.from_numpy(images)}, targets[where], names, name), kept, bad, choices, facts


def _check_left(targets: NDArray[np.int64], raw: RawData) -> None:
    """Refuse a class of which no image could be read."""
    counts = np.bincount(targets, minlength=len(raw.classes))
    lost = [f'"{raw.classes[index]}"' for index in np.flatnonzero(counts == 0)]
    if lost:
        raise DataError(
            where=f"class {', '.join(lost[:5])} in {raw.source}",
            expected="images of each class that can be read",
            got="none",
            cure="Mend its images, or remove the class.",
        )


def _take(source: Source, where: NDArray[np.int64]) -> Source:
    if isinstance(source, TensorSource):
        if len(where) == len(source):
            return source
        index = torch.from_numpy(where)
        names = None if source.names is None else tuple(source.names[i] for i in where)
        inputs = {name: value.index_select(0, index) for name, value in source.inputs.items()}
        return TensorSource(inputs, at(source.all_targets, index), names, source.split)
    if isinstance(source, PathSource):
        return source.take(where)
    return source


def _statistics(source: Source, known: PictureFacts | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels in [0, 1], by channel."""
    if known is not None:
        mean, std = known.statistics()
    elif isinstance(source, TensorSource):
        mean, std = channel_statistics(source.inputs["image"].numpy())
    else:
        step = max(1, len(source) // SAMPLE_FOR_STATISTICS)
        mean, std = channel_statistics(source.gather(np.arange(0, len(source), step))[0]["image"].numpy())
    return tuple(round(value / 255, 6) for value in mean), tuple(max(round(value / 255, 6), 1e-6) for value in std)


def _digest(sources: dict[str, Source], known: Mapping[str, PictureFacts | None]) -> str:
    parts: list[tuple[str, NDArray[np.generic]]] = []
    for name, source in sources.items():
        facts = known[name]
        if facts is not None:  # the pictures' own digests stand for their bytes
            parts.append((f"{name}/digests", facts.digests))
        elif isinstance(source, TensorSource):
            parts.append((f"{name}/image", source.inputs["image"].numpy()))
        elif isinstance(source, PathSource):  # too many to read now: names and sizes stand for the bytes
            sizes = np.asarray([path.stat().st_size for path in source.paths], dtype=np.int64)
            parts += [(f"{name}/sizes", sizes), (f"{name}/names", np.asarray("\n".join(source.names)).reshape(1))]
        parts.append((f"{name}/label", source.targets))
    return digest(parts)


def _short(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
