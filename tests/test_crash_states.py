"""Power loss at every moment of a write: each disk state that a file system may leave is built and loaded.

The model of the disk is the weakest that POSIX allows for one file system with ordered folders: bytes of a file not yet
flushed may be whole, lost, zeroed or torn; names in a folder not yet flushed may be missing from any point on.
Every guard has a mutant: with any one flush left out, the simulation must find a state that breaks the promise.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from netwright import checkpoints
from netwright.disk import DISK, atomic_write_bytes
from netwright.errors import CheckpointError


class Op(NamedTuple):
    """One operation on the disk; ``path`` and ``target`` as in the recorded folder."""

    kind: str
    path: Path
    target: Path | None = None
    content: bytes = b""


class RecordingDisk:
    """The real disk, with a log of all that changes it. The flush of number ``without`` is left out."""

    def __init__(self, without: int | None = None) -> None:
        self.log: list[Op] = []
        self.flushes = 0
        self.without = without

    def make_folder(self, path: Path) -> None:
        DISK.make_folder(path)
        self.log.append(Op("mkdir", path))

    def write_file(self, path: Path, content: bytes) -> None:
        DISK.write_file(path, content)
        self.log.append(Op("write", path, content=bytes(content)))

    def read_file(self, path: Path) -> bytes:
        return DISK.read_file(path)

    def _flush(self, kind: str, path: Path) -> None:
        if self.flushes != self.without:
            self.log.append(Op(kind, path))
        self.flushes += 1

    def fsync_file(self, path: Path) -> None:
        DISK.fsync_file(path)
        self._flush("fsync", path)

    def fsync_folder(self, path: Path) -> None:
        DISK.fsync_folder(path)
        self._flush("fsync folder", path)

    def rename(self, source: Path, target: Path) -> None:
        DISK.rename(source, target)
        self.log.append(Op("rename", source, target))

    def remove(self, path: Path) -> None:
        if path.is_dir():
            for entry in sorted(path.iterdir()):
                self.remove(entry)
            self.log.append(Op("unlink", path))
        elif path.exists():
            self.log.append(Op("unlink", path))
        DISK.remove(path)

    def free_bytes(self, path: Path) -> int:
        return DISK.free_bytes(path)


class File:
    """A file of the model: its bytes, and whether they are on the disk."""

    def __init__(self, content: bytes, *, durable: bool) -> None:
        self.content = content
        self.durable = durable

    def variants(self) -> tuple[bytes, ...]:
        """What may be found after the crash."""
        if self.durable:
            return (self.content,)
        size, blank = len(self.content), bytes(len(self.content))
        torn_512 = b"".join(
            self.content[i : i + 512] if (i // 512) % 2 == 0 else blank[i : i + 512] for i in range(0, size, 512)
        )
        torn_4096 = self.content[: 4096 * ((size - 1) // 4096)]
        return (self.content, b"", blank, torn_512, torn_4096)


class Folder:
    """A folder of the model: the names on the disk, and the changes to them that are not there yet, in order."""

    def __init__(self) -> None:
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[Callable[[dict[str, File | Folder]], None]] = []
        self.live: dict[str, File | Folder] = {}

    def change(self, change: Callable[[dict[str, File | Folder]], None]) -> None:
        change(self.live)
        self.pending.append(change)

    def flush(self) -> None:
        for change in self.pending:
            change(self.durable)
        self.pending.clear()

    def variants(self) -> Iterator[dict[str, File | Folder]]:
        """Names that may be found after the crash: any first part of the pending changes."""
        for count in range(len(self.pending) + 1):
            names = dict(self.durable)
            for change in self.pending[:count]:
                change(names)
            yield names


Tree = frozenset[tuple[str, bytes | None]]


def folder_from(path: Path) -> Folder:
    """The model of a real folder, all of it durable."""
    folder = Folder()
    for entry in path.iterdir():
        folder.live[entry.name] = folder_from(entry) if entry.is_dir() else File(entry.read_bytes(), durable=True)
    folder.durable = dict(folder.live)
    return folder


def apply(root: Folder, base: Path, op: Op) -> None:
    """Do one recorded operation on the model."""

    def at(path: Path) -> Any:
        node: Any = root
        for part in path.relative_to(base).parts:
            node = node.live[part]
        return node

    parent, name = at(op.path.parent) if op.path != base else root, op.path.name
    if op.kind == "mkdir":
        made = Folder()
        parent.change(lambda names: names.__setitem__(name, made))
    elif op.kind == "write":
        written = File(op.content, durable=False)
        parent.change(lambda names: names.__setitem__(name, written))
    elif op.kind == "fsync":
        at(op.path).durable = True
    elif op.kind == "fsync folder":
        at(op.path).flush()
    elif op.kind == "rename":
        target = op.target
        assert target is not None and target.parent == op.path.parent
        parent.change(lambda names: names.__setitem__(target.name, names.pop(name)))
    else:
        parent.change(lambda names: names.pop(name) and None)


def trees(node: Folder, prefix: str = "") -> Iterator[Tree]:
    """All trees that may be found after a crash now."""
    for names in node.variants():
        parts: list[list[Tree]] = []
        for name, child in names.items():
            path = f"{prefix}{name}"
            if isinstance(child, File):
                parts.append([frozenset({(path, content)}) for content in child.variants()])
            else:
                here = frozenset({(path, None)})
                parts.append([here | below for below in trees(child, f"{path}/")])
        for choice in itertools.product(*parts):
            yield frozenset().union(*choice)


def crash_states(before: Folder, base: Path, log: list[Op]) -> Iterator[tuple[Tree, bool]]:
    """Each different tree after each first part of the log; whether the log was complete."""
    for count in range(len(log) + 1):
        seen = set()
        if count:
            apply(before, base, log[count - 1])
        for tree in trees(before):
            if tree not in seen:
                seen.add(tree)
                yield tree, count == len(log)


def materialise(tree: Tree, at: Path) -> None:
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    for path, content in sorted(tree, key=lambda item: item[0]):
        if content is None:
            (at / path).mkdir()
        else:
            (at / path).write_bytes(content)


def state_of(mark: int) -> dict[str, Any]:
    """A state that says everywhere which save it is of; its tensors span more than two pages of 4 KiB."""
    return {"mark": mark, "weights": torch.full((2200,), float(mark)), "notes": [mark] * 200}


def mark_of(loaded: checkpoints.Loaded) -> int:
    """Which save a state is of.

    Raises:
        ValueError: Of more than one.
    """
    marks = {loaded.state["mark"], *loaded.state["notes"], *map(int, loaded.state["weights"].unique())}
    if len(marks) != 1:
        raise ValueError(f"a mixture of {sorted(marks)}")
    return marks.pop()


def checkpoint_faults(
    tmp: Path, steps: tuple[int, ...], new: int, *, without: int | None = None
) -> tuple[int, list[str]]:
    """Save ``new`` where ``steps`` are saved, crash everywhere, load.

    Returns:
        Count of states loaded, and what broke the promise: the old state or the new one in full, nothing half-written
        to be seen, the new one once `save` has returned.
    """
    base = tmp / "run"
    base.mkdir()
    for step in steps:
        checkpoints.save(base / "checkpoints", state_of(step), step=step)
    before = folder_from(base)
    disk = RecordingDisk(without)
    checkpoints.save(base / "checkpoints", state_of(new), step=new, disk=disk)
    going_back = any(step > new for step in steps)
    faults, states = [], 0
    for tree, complete in crash_states(before, base, disk.log):
        states += 1
        materialise(tree, tmp / "after")
        folder = tmp / "after" / "checkpoints"
        try:
            loaded = checkpoints.load(folder)
            mark = mark_of(loaded)
        except (CheckpointError, ValueError) as error:
            if steps or complete or "got none" not in str(error):
                faults.append(f"{error}")
            continue
        if mark not in (new, max(steps, default=new)):
            faults.append(f"neither old nor new: {mark}")
        if complete and mark != new:
            faults.append("lost after save had returned")
        if loaded.messages and not going_back:
            faults.append(f"a half-written generation was to be seen: {loaded.messages}")
        if any(entry.name.startswith(".") for entry in folder.iterdir()):
            faults.append("a stray temporary folder was left")
    return states, faults


SCENES = {"first": ((), 3), "second": ((1,), 3), "third": ((1, 2), 3), "after going back": ((1, 4), 3)}


@pytest.mark.parametrize("scene", SCENES)
def test_every_crash_leaves_the_old_or_the_new_checkpoint(tmp_path: Path, scene: str) -> None:
    """Whatever the moment of a power loss, one generation loads in full, and the new one once `save` returned."""
    steps, new = SCENES[scene]
    states, faults = checkpoint_faults(tmp_path, steps, new)
    assert faults == []
    assert states > 40


# Flushes in order: [parent of a new folder], tensors, state, manifest, temporary folder, folder, [folder, after the
# generations of a history that was left are removed].
@pytest.mark.parametrize("without", range(6))
def test_the_first_save_needs_each_flush(tmp_path: Path, without: int) -> None:
    """With any one flush left out of the first save, a power loss breaks the promise."""
    assert checkpoint_faults(tmp_path, *SCENES["first"], without=without)[1]


@pytest.mark.parametrize("without", range(5))
def test_a_later_save_needs_each_flush(tmp_path: Path, without: int) -> None:
    """With any one flush left out of a later save, a power loss breaks the promise."""
    assert checkpoint_faults(tmp_path, *SCENES["second"], without=without)[1]


def test_going_back_needs_its_further_flush(tmp_path: Path) -> None:
    """Without the flush after removing a left history, that history comes back and is taken for the newest."""
    assert "lost after save had returned" in checkpoint_faults(tmp_path, *SCENES["after going back"], without=5)[1]


def test_the_commit_protocol_is_exactly_this(tmp_path: Path) -> None:
    """Write beside, flush each file, flush the folder, rename, flush the parent, and only then remove the oldest."""
    run = tmp_path / "run"
    run.mkdir()
    folder = run / "checkpoints"
    first, third = RecordingDisk(), RecordingDisk()
    checkpoints.save(folder, state_of(1), step=1, disk=first)
    checkpoints.save(folder, state_of(2), step=2)
    checkpoints.save(folder, state_of(3), step=3, disk=third)

    def told(disk: RecordingDisk) -> list[str]:
        names = [f"{op.kind} {op.path.relative_to(tmp_path)}" for op in disk.log]
        return [name.replace(str(os.getpid()), "PID") for name in names]

    def commit(step: int) -> list[str]:
        beside = f"run/checkpoints/.step-0000000{step}.tmp-PID"
        files = [f"{beside}/{name}" for name in ("tensors.safetensors", "state.json", "manifest.json")]
        return [
            f"mkdir {beside}",
            *itertools.chain.from_iterable((f"write {name}", f"fsync {name}") for name in files),
            f"fsync folder {beside}",
            f"rename {beside}",
            "fsync folder run/checkpoints",
        ]

    assert told(first) == ["mkdir run/checkpoints", "fsync folder run", *commit(1)]
    oldest = "unlink run/checkpoints/step-00000001"
    removal = [f"{oldest}/{name}" for name in ("manifest.json", "state.json", "tensors.safetensors")] + [oldest]
    assert told(third) == commit(3) + removal


def file_faults(tmp: Path, *, without: int | None = None) -> list[str]:
    """Replace a small file, crash everywhere, read: what broke the promise."""
    base = tmp / "run"
    base.mkdir()
    path = base / "plan.json"
    old, new = b"old" * 700, b"new" * 3000
    atomic_write_bytes(path, old)
    before = folder_from(base)
    disk = RecordingDisk(without)
    atomic_write_bytes(path, new, disk)
    faults = []
    for tree, complete in crash_states(before, base, disk.log):
        found = dict(tree).get("plan.json")
        if found not in ((new,) if complete else (old, new)):
            faults.append(f"complete: {complete}, found {found!r:.20}")
    return faults


def test_every_crash_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """A small file is the old or the new one in full after a power loss, and the new one once written."""
    assert file_faults(tmp_path) == []


@pytest.mark.parametrize("without", range(2))
def test_a_file_needs_each_flush(tmp_path: Path, without: int) -> None:
    """With either flush left out, a power loss loses or mixes the file."""
    assert file_faults(tmp_path, without=without)
