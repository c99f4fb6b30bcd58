"""Show what was understood of data, and what looks wrong in it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.dataset import Data
from netwright.data.sources import TensorSource
from netwright.records import Finding

if TYPE_CHECKING:
    from rich.console import Console

FEW = 10  # samples of a class below which its scores tell little
STRONG_IMBALANCE = 10.0  # largest class over smallest
SHADES = " ░▒▓█"


def describe(data: Data) -> dict[str, Any]:
    """What was understood, as plain values for JSON."""
    spec = data.spec.model_dump(mode="json")
    return spec | {"findings": [finding.model_dump(mode="json") for finding in findings(data)]}


def findings(data: Data) -> tuple[Finding, ...]:
    """What looks wrong in data, the gravest first."""
    found = [*_unreadable(data), *_classes(data), *_constant(data), *_duplicates(data)]
    grave = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: grave[finding.severity]))


def render(data: Data, console: Console) -> None:
    """Print what was understood: splits, shapes, classes, a sample of each, choices, and what looks wrong."""
    from rich.markup import escape
    from rich.table import Table

    spec = data.spec
    console.print(
        f"[bold]{escape(clean(spec.name))}[/bold]  {spec.kind} {spec.task}, from {escape(clean(spec.source))}"
    )
    for field in spec.inputs:
        console.print(f"  input   {field.name}: {field.dtype} {field.shape}")
    console.print(f"  target  {spec.target.name}: {spec.target.dtype} {spec.target.shape or ''}".rstrip())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("class" if spec.classes else "")
    for split in spec.splits:
        table.add_column(split, justify="right")
    table.add_row("all", *(f"{split.count:,}" for split in spec.splits.values()), style="bold")
    for index, name in enumerate((spec.classes or ())[:40]):
        table.add_row(
            escape(clean(name)), *(f"{(split.class_counts or ())[index]:,}" for split in spec.splits.values())
        )
    if len(spec.classes or ()) > 40:
        table.add_row(f"… {len(spec.classes or ()) - 40} more")
    console.print(table)
    if spec.kind == "image" and spec.classes:
        console.print(samples(data), markup=False, highlight=False)
    for choice in spec.choices:
        console.print(
            f"  {choice.name}: {escape(clean(str(choice.value)))} – {escape(clean(choice.reason))}", highlight=False
        )
    problems = findings(data)
    for finding in problems:
        colour = {"error": "red", "warning": "yellow", "note": "cyan"}[finding.severity]
        console.print(
            f"[{colour}]{finding.code} {finding.severity}[/{colour}] {escape(clean(finding.title))}: "
            f"{escape(clean(finding.evidence))} {escape(clean(finding.cure))}"
        )
    if not problems:
        console.print("nothing looks wrong")


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
    if least and most / least >= STRONG_IMBALANCE:
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
                        code="D105", severity="warning", title="images of one colour", where=name,
                        evidence=f"{len(same)} in {name}: {examples}.",
                        cure="Look at them; remove them if they are empty.",
                    )
                )  # fmt: skip
    return found


def _duplicates(data: Data) -> list[Finding]:
    """Samples of val or test that stand in train, byte for byte."""
    if not isinstance(data.train, TensorSource):
        return []
    seen = {key: index for index, key in enumerate(_keys(data.train))}
    found = []
    for name in ("val", "test"):
        source = data.split(name) if name in data.spec.splits else None
        if not isinstance(source, TensorSource):
            continue
        pairs = [(index, seen[key]) for index, key in enumerate(_keys(source)) if key in seen]
        if pairs:
            agree = sum(bool(np.all(source.targets[i] == data.train.targets[j])) for i, j in pairs)
            first = f"{source.name(pairs[0][0])} is {data.train.name(pairs[0][1])}"
            found.append(
                Finding(
                    code="D106", severity="warning" if len(pairs) > 0.001 * len(source) else "note",
                    title=f"samples of {name} that are also in train", where=name,
                    evidence=f"{len(pairs)} of {len(source):,} ({len(pairs) / len(source):.2%}); {agree} with the same "
                    f"target; {first}.",
                    cure=f"Remove them from one side: the score on {name} counts what was learned by heart.",
                )
            )  # fmt: skip
    return found


def _keys(source: TensorSource) -> list[bytes]:
    arrays = [value.numpy() for value in source.inputs.values()]
    return [
        hashlib.blake2b(
            b"".join(np.ascontiguousarray(array[index]).tobytes() for array in arrays), digest_size=16
        ).digest()
        for index in range(len(source))
    ]
