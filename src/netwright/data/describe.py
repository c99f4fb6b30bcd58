"""Show what was understood of data, and what looks wrong in it."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.dataset import Data
from netwright.data.quotes import quotations
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.sources import DatasetSource, LoaderSource, TensorSource
from netwright.records import Finding

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FEW = 10  # samples of a class below which its scores tell little
STRONG_IMBALANCE = 10.0  # largest class over smallest
SHADES = " ░▒▓█"
PORTRAIT = 14  # columns of a picture on a terminal; ten of them, five a row, fit 80 columns
BAR = 20  # columns of the longest bar of counts


def describe(data: Data) -> dict[str, Any]:
    """What was understood, as plain values for JSON."""
    spec = data.spec.model_dump(mode="json")
    found = [finding.model_dump(mode="json") for finding in findings(data)]
    return spec | {"findings": found, "not_checked": list(not_checked(data))}


def findings(data: Data) -> tuple[Finding, ...]:
    """What looks wrong in data, the gravest first."""
    found = [*_unreadable(data), *_classes(data), *_constant(data), *_lengths(data), *_duplicates(data)]
    grave = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: grave[finding.severity]))


def not_checked(data: Data) -> tuple[str, ...]:
    """What was not looked for, since it takes every sample and these do not lie in memory."""
    sources = {name: data.split(name) for name in data.spec.splits}
    if data.spec.task == "next_token":  # samples are windows of one text, cut by position
        return ()
    outside = [name for name, source in sources.items() if not isinstance(source, TensorSource | RaggedSource)]
    missed = []
    if outside and data.spec.kind == "image":
        missed.append(f"images of one colour in {', '.join(outside)}")
    if outside and len(sources) > 1:
        missed.append("samples that are in two splits")
    if any(isinstance(source, DatasetSource | LoaderSource) for source in sources.values()):
        missed.append("NaN and infinity in the inputs")
    return tuple(missed)


def render(data: Data, console: Console) -> None:
    """Print what was understood: splits, shapes, classes, a sample of each, choices, and what looks wrong."""
    from rich.markup import escape

    spec = data.spec
    console.print(
        f"[bold]{escape(clean(spec.name))}[/bold]  {spec.kind} {spec.task}, from {escape(clean(spec.source))}"
    )
    for field in (*spec.inputs, spec.target):
        role = "target" if field is spec.target else "input "
        console.print(f"  {role}  {escape(clean(field.name))}: {field.dtype} {_shape(field.shape)}".rstrip())
    console.print(_table(data, bars=console.is_terminal and console.width >= 80))
    if spec.kind == "image" and spec.classes:
        drawn = portraits(data, width=console.width) if console.is_terminal else samples(data)
        console.print(drawn, markup=False, highlight=False)
    if spec.kind == "text":
        for line in quotations(data):
            console.print(f"  {escape(clean(line))}", highlight=False, overflow="ellipsis", no_wrap=True)
    for choice in spec.choices:
        console.print(
            f"  {choice.name}: {escape(clean(str(choice.value)))} – {escape(clean(choice.reason))}", highlight=False
        )
    problems, missed = findings(data), not_checked(data)
    for finding in problems:
        colour = {"error": "red", "warning": "yellow", "note": "cyan"}[finding.severity]
        console.print(
            f"[{colour}]{finding.code} {finding.severity}[/{colour}] {escape(clean(finding.title))}: "
            f"{escape(clean(finding.evidence))} {escape(clean(finding.cure))}"
        )
    if missed:
        console.print(f"not looked for: {'; '.join(missed)}", highlight=False)
    if not problems:
        console.print("nothing looks wrong" + (" in what was looked at" if missed else ""))


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape).replace("-1", "T") if shape else ""


def _table(data: Data, *, bars: bool) -> Table:
    """Counts by split and class; a bar for each class's share of train where there is room."""
    from rich.markup import escape
    from rich.table import Table

    spec = data.spec
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    tagged = spec.task == "tagging"
    table.add_column("tag, words" if tagged else "class" if spec.classes else "")
    for split in spec.splits:
        table.add_column(split, justify="right")
    table.add_row(
        "sentences" if tagged else "all", *(f"{split.count:,}" for split in spec.splits.values()), style="bold"
    )
    for name in ("tokens", "characters", "unknown"):  # of a running text, whose samples are windows
        counts_of = [getattr(split, name) for split in spec.splits.values()]
        if any(counts_of):
            table.add_row(name, *(f"{count or 0:,}" for count in counts_of))
    train = spec.splits["train"].class_counts or ()
    for index, name in enumerate((spec.classes or ())[:40]):
        counts = [f"{(split.class_counts or ())[index]:,}" for split in spec.splits.values()]
        bar = ["█" * math.ceil(BAR * train[index] / max(1, *train))] if bars else []
        table.add_row(escape(clean(name)), *counts, *bar)
    if len(spec.classes or ()) > 40:
        table.add_row(f"… {len(spec.classes or ()) - 40} more")
    return table


def samples(data: Data, count: int = 8, width: int = 10) -> str:
    """One picture of each of the first classes, side by side, in shades of text."""
    targets = data.train.targets
    blocks = []
    for index in range(min(count, len(data.spec.classes or ()))):
        where = np.flatnonzero(targets == index)
        if len(where):
            image = next(iter(data.train.gather(where[:1])[0].values()))[0].float().mean(0).numpy()
            blocks.append(_shaded(image, width))
    return "\n".join("  ".join(rows) for rows in zip(*blocks, strict=True)) if blocks else ""


def portraits(data: Data, *, width: int, count: int = 10) -> Text:
    """A picture of each of the first classes in half blocks, two pixels a letter, as many a row as fit ``width``."""
    from rich.style import Style
    from rich.text import Text

    classes, targets, blocks = data.spec.classes or (), data.train.targets, []
    for index in range(min(count, len(classes))):
        where = np.flatnonzero(targets == index)
        if len(where):
            image = next(iter(data.train.gather(where[:1])[0].values()))[0].float().numpy()
            blocks.append((clean(classes[index]), _pixels(image)))
    drawn = Text(no_wrap=True, overflow="crop", end="")
    each = max(1, (width + 2) // (PORTRAIT + 2))
    for start in range(0, len(blocks), each):
        row = blocks[start : start + each]
        titles = [Text(name, overflow="ellipsis") for name, _ in row]
        for title in titles:
            title.truncate(PORTRAIT, pad=True, overflow="ellipsis")  # wide letters count twice
        drawn.append(Text("  ").join(titles).append("\n"))
        for line in range(0, max(len(pixels) for _, pixels in row), 2):
            for _, pixels in row:
                upper, lower = (_colours(pixels, line + half) for half in (0, 1))
                for above, below in zip(upper, lower, strict=True):
                    drawn.append("▀", Style(color=above, bgcolor=below))
                drawn.append("  ")
            drawn.append("\n")
    return drawn


def _pixels(image: NDArray[np.float32]) -> NDArray[np.int64]:
    """An image (C, H, W) as 0 to 255, (an even number of rows, PORTRAIT, 3); its own range is spread over it."""
    colours = image if image.shape[0] == 3 else np.repeat(image.mean(0, keepdims=True), 3, axis=0)
    height = 2 * min(PORTRAIT, max(1, round(PORTRAIT / 2 * image.shape[1] / image.shape[2])))
    rows = np.linspace(0, image.shape[1] - 1, height).round().astype(int)
    columns = np.linspace(0, image.shape[2] - 1, PORTRAIT).round().astype(int)
    picked = np.nan_to_num(colours[:, rows][:, :, columns]).transpose(1, 2, 0)
    low, high = float(picked.min()), float(picked.max())
    spread: NDArray[np.int64] = ((picked - low) / (high - low + 1e-9) * 255).round().astype(np.int64)
    return spread


def _colours(pixels: NDArray[np.int64], row: int) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in pixels[row].tolist()]


def clean(text: str) -> str:
    """Text without control characters, which a terminal would obey, or marks that turn its direction."""
    return "".join(
        c if c.isprintable() and c not in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068" else "\ufffd" for c in text
    )


def _shaded(image: NDArray[np.float32], width: int) -> list[str]:
    height = max(1, round(width / 2 * image.shape[0] / image.shape[1]))  # a letter is twice as high as wide
    rows = np.array_split(image, min(height, image.shape[0]), axis=0)
    cells = np.asarray(
        [[part.mean() for part in np.array_split(row, min(width, image.shape[1]), axis=1)] for row in rows]
    )
    low, high = float(cells.min()), float(cells.max())
    levels = ((cells - low) / (high - low + 1e-9) * (len(SHADES) - 1)).round().astype(int)
    return ["".join(SHADES[level] for level in row) for row in levels]


def _unreadable(data: Data) -> list[Finding]:
    bad = data.spec.unreadable
    if not bad:
        return []
    listing = "; ".join(f"{one.name}: {one.reason}" for one in bad[:3])
    return [
        Finding(
            code="D101", severity="warning", title="samples that cannot be read", where=data.spec.source,
            evidence=f"{len(bad)} left out: {listing}.", cure="Mend or remove them.",
        )
    ]  # fmt: skip


def _classes(data: Data) -> list[Finding]:
    spec = data.spec
    if spec.classes is None:
        return []
    found = []
    train = spec.splits["train"].class_counts or ()
    few = [f"{name} ({count})" for name, count in zip(spec.classes, train, strict=True) if 0 < count < FEW]
    if few:
        found.append(
            Finding(
                code="D102", severity="warning", title="classes with few samples", where="train",
                evidence=f"{', '.join(few[:5])} have fewer than {FEW}.", cure="Add samples of them.",
            )
        )  # fmt: skip
    for name, split in spec.splits.items():
        absent = [spec.classes[i] for i, count in enumerate(split.class_counts or ()) if not count]
        if absent:
            found.append(
                Finding(
                    code="D103", severity="warning", title="classes missing from a split", where=name,
                    evidence=f"{name} has no sample of {', '.join(absent[:5])}.", cure="Split anew, or add samples.",
                )
            )  # fmt: skip
    least, most = min((count for count in train if count), default=0), max(train, default=0)
    # Of tags and labels the rare ones are what is looked for: other scores than accuracy stand first there.
    if least and most / least >= STRONG_IMBALANCE and spec.task == "classification":
        found.append(
            Finding(
                code="D104", severity="warning", title="classes of very different sizes", where="train",
                evidence=f"The largest has {most / least:.0f} times the samples of the smallest; answering it always "
                f"is right for {most / sum(train):.1%}.",
                cure="Look at balanced accuracy, and try --class-weights balanced.",
            )
        )  # fmt: skip
    return found


def _constant(data: Data) -> list[Finding]:
    found = []
    for name in data.spec.splits:
        source = data.split(name)
        if isinstance(source, TensorSource) and data.spec.kind == "image":
            flat = source.inputs["image"].flatten(1)
            same = (flat.amax(1) == flat.amin(1)).nonzero().reshape(-1)
            if len(same):
                examples = ", ".join(source.name(int(index)) for index in same[:3])
                found.append(
                    Finding(
                        code="D105", severity="warning" if len(same) > 0.01 * len(source) else "note",
                        title="images of one colour", where=name,
                        evidence=f"{len(same)} in {name}: {examples}.",
                        cure="Look at them; remove them if they are empty.",
                    )
                )  # fmt: skip
    return found


def _lengths(data: Data) -> list[Finding]:
    """Texts without a token, and texts that lose their end."""
    found = []
    for name in data.spec.splits:
        source, operation = data.split(name), data.spec.preprocess.text
        if not isinstance(source, RaggedSource) or operation is None:
            continue
        empty, full = (np.flatnonzero(source.lengths == size) for size in (0, operation.max_length))
        for code, where, title, cure in (
            ("D107", empty, "texts without a token", "Remove them: all of them get one and the same answer."),
            ("D108", full, "texts as long as the limit or cut there", "Raise --max-length if their ends matter."),
        ):
            if len(where) and (code == "D107" or len(where) > 0.01 * len(source)):
                examples = ", ".join(source.name(int(index)) for index in where[:3])
                found.append(
                    Finding(
                        code=code, severity="warning" if code == "D107" else "note", title=title, where=name,
                        evidence=f"{len(where)} of {len(source):,} in {name}: {examples}.", cure=cure,
                    )
                )  # fmt: skip
    return found


def _duplicates(data: Data) -> list[Finding]:
    """Samples of one split that stand in another, byte for byte."""
    sources = {name: data.split(name) for name in data.spec.splits}
    known = {name: source for name, source in sources.items() if isinstance(source, TensorSource | RaggedSource)}
    keys = {name: _keys(source) for name, source in known.items()} if len(known) > 1 else {}
    found = []
    for name, other in (("val", "train"), ("test", "train"), ("test", "val")):
        if name not in keys or other not in keys:
            continue
        seen = defaultdict(list)
        for index, key in enumerate(keys[other]):
            seen[key].append(index)
        pairs = [(index, seen[key]) for index, key in enumerate(keys[name]) if key in seen]
        if not pairs:
            continue
        source, twin = known[name], known[other]
        agree = sum(any(np.array_equal(_target(source, i), _target(twin, j)) for j in copies) for i, copies in pairs)
        cure = (
            f"the score on {name} counts what was learned by heart"
            if other == "train"
            else "the two scores are not independent"
        )
        found.append(
            Finding(
                code="D106", severity="warning" if len(pairs) > 0.001 * len(source) else "note",
                title=f"samples of {name} that are also in {other}", where=name,
                evidence=f"{len(pairs)} of {len(source):,} ({len(pairs) / len(source):.2%}); {agree} with the same "
                f"target; {source.name(pairs[0][0])} is {twin.name(pairs[0][1][0])}.",
                cure=f"Remove them from one side: {cure}.",
            )
        )  # fmt: skip
    return found


def _target(source: TensorSource | RaggedSource, index: int) -> NDArray[Any]:
    held = source.all_targets
    return held[index] if isinstance(held, Ragged) else np.asarray(source.targets[index])


def _keys(source: TensorSource | RaggedSource) -> list[bytes]:
    if isinstance(source, RaggedSource):
        if source.texts is not None:
            seconds = source.seconds or [""] * len(source)
            pairs = zip(source.texts, seconds, strict=True)
            return ["\0".join(pair).encode("utf-8", "replace") for pair in pairs]
        return [b"".join(field[index].tobytes() for field in source.fields.values()) for index in range(len(source))]
    arrays = [value.numpy() for value in source.inputs.values()]
    return [
        hashlib.blake2b(
            b"".join(np.ascontiguousarray(array[index]).tobytes() for array in arrays), digest_size=16
        ).digest()
        for index in range(len(source))
    ]
