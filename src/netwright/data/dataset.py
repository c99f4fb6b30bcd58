"""What travels from ``load`` to training: the record of what was understood, and the samples."""

from __future__ import annotations

from dataclasses import dataclass

from netwright.data.sources import Source
from netwright.errors import UsageError
from netwright.records import DataSpec


@dataclass(frozen=True, slots=True)
class Data:
    """Samples by split, with the record that describes them."""

    spec: DataSpec
    train: Source
    val: Source | None = None
    test: Source | None = None

    def split(self, name: str) -> Source:
        """The samples of a split.

        Raises:
            UsageError: There is no such split.
        """
        found: Source | None = {"train": self.train, "val": self.val, "test": self.test}.get(name)
        if found is None:
            raise UsageError(
                where=f'split "{name}"',
                expected=f"one of {', '.join(self.spec.splits)}",
                got=f'"{name}"',
                cure="Name a split that there is.",
            )
        return found
