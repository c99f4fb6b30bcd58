"""Save and load the whole state of a run as generations: ``checkpoints/step-00000400/``.

A generation is written beside under a temporary name, flushed, read back, renamed and made durable; the ones before it
are removed only then. Whatever the moment of a crash, `load` finds the old generation or the new one, in full. Knows
nothing of models: a state is any nesting of plain values, tensors and arrays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from netwright.checkpoints.manifest import (
    MANIFEST,
    STATE,
    TENSORS,
    DamagedError,
    Files,
    NewerFormatError,
    Whole,
    check,
    glance,
    manifest_bytes,
)
from netwright.checkpoints.state import decode, encode
from netwright.checkpoints.weights import unshared
from netwright.disk import DISK, SLACK_BYTES, Disk, discard, remove_strays, require_space, run_error, temporary
from netwright.errors import CheckpointError, RunError, UsageError

# A step saved twice (after going back to an earlier one) gets a further revision: nothing whole is ever replaced.
_NAME = r"step-(\d{8,20})(?:\.r(\d{1,6}))?"
_READS = 3  # times a folder is listed again when a generation went away under the reader (another process saves)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A state that was read back.

    Attributes:
        state: What `save` was given; tensors on the CPU.
        step: Step it was saved at.
        path: Folder of the generation.
        messages: One sentence per newer generation that is damaged and was passed over; show them.
    """

    state: Any  # Any: as nested as the caller made it
    step: int
    path: Path
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Generation:
    step: int
    revision: int
    path: Path


def save(folder: Path, state: dict[str, Any], *, step: int, keep: int = 2, disk: Disk = DISK) -> Path:
    """Save a state as the newest generation; once this returns, it outlives a loss of power.

    Generations of later steps (of a history that was left by going back) and all but the ``keep`` newest whole ones are
    removed, after the new one was read back.

    Args:
        folder: Folder of the generations; made where it is not there. One process saves at a time (the run's lock).
        state: See `state.encode` for what it may hold.
        step: At least 0.
        keep: Whole generations to keep, at least 2.
        disk: Where to.

    Returns:
        Folder of the new generation.

    Raises:
        RunError: The disk refused. Earlier generations are whole, nothing half-written is left, training may go on.
        CheckpointError: A value that cannot be stored, or the disk gave other bytes back than were written.
        UsageError: ``step`` or ``keep`` too small.
    """
    for name, value, least in (("step", step, 0), ("keep", keep, 2)):
        if value < least:
            cure = f"Pass `{name}={least}`."
            raise UsageError(where=f"`{name}`", expected=f"at least {least}", got=str(value), cure=cure)
    content = _content(state, step)
    needed = sum(len(part) for part in content.values())
    target = folder / f"step-{step:08d}"
    try:
        _make_folder(folder, disk)
        remove_strays(folder, _NAME, disk)
        target = _free_name(folder, step)
        require_space(folder, needed + SLACK_BYTES, disk)
        _commit(target, content, step, disk)
    except RunError:  # is an OSError too, and says all there is to say
        raise
    except OSError as error:
        kept = "Earlier checkpoints are whole; training may go on and save again."
        raise run_error(error, target, wanted=f"to write {needed:,} bytes", disk=disk, kept=kept) from error
    try:
        _prune(folder, target, keep, disk)
    except OSError as error:
        kept = "The new checkpoint is whole; older ones could not be removed, so the disk may fill."
        raise run_error(error, folder, wanted="to remove older checkpoints", disk=disk, kept=kept) from error
    return target


def load(folder: Path, *, step: int | None = None, disk: Disk = DISK) -> Loaded:
    """Load the newest whole generation.

    Args:
        folder: Folder of the generations.
        step: Exactly this one; None takes the newest whole one.
        disk: Where from.

    Raises:
        CheckpointError: No checkpoint; none whole (each with its damage); or one of a later format.
        RunError: The folder cannot be read.
    """
    _remove_strays_if_allowed(folder, disk)
    for attempt in range(_READS):
        try:
            found = _generations(folder)
        except OSError as error:
            kept = "Nothing was changed."
            raise run_error(error, folder, wanted="to list the checkpoints", disk=disk, kept=kept) from error
        candidates = [g for g in found if step in (None, g.step)]
        if not candidates:
            raise _nothing_there(folder, found, step)
        messages: list[str] = []
        for generation in candidates:
            try:
                state = _read_state(check(generation.path, step=generation.step, disk=disk))
            except DamagedError as error:
                messages.append(f"Checkpoint {generation.path.name} is damaged and was passed over. {error}.")
            except NewerFormatError as error:
                raise _newer(generation.path, error) from error
            else:
                return Loaded(state, generation.step, generation.path, tuple(messages))
        if attempt == _READS - 1 or all(g.path.exists() for g in candidates):
            break
    raise CheckpointError(
        where=str(folder),
        expected="a whole checkpoint" if step is None else f"a whole checkpoint of step {step}",
        got=f"only damaged ones ({len(messages)}):\n" + "\n".join(messages),
        cure="Copy the folder back from a backup, or train anew in another run folder.",
    )


def _content(state: dict[str, Any], step: int) -> dict[str, bytes]:
    text, tensors = encode(state)
    files: Files = {TENSORS: safetensors.torch.save(unshared(tensors)), STATE: text.encode("ascii")}
    return {TENSORS: files[TENSORS], STATE: files[STATE], MANIFEST: manifest_bytes(step, files)}


def _commit(target: Path, content: dict[str, bytes], step: int, disk: Disk) -> None:
    """Make a generation: its order of operations is the promise. Leaves nothing behind when it fails."""
    beside = temporary(target)
    try:
        disk.make_folder(beside)
        for name, part in content.items():
            disk.write_file(beside / name, part)
            disk.fsync_file(beside / name)
        disk.fsync_folder(beside)
        _verify(beside, content, step, disk)
        disk.rename(beside, target)
        disk.fsync_folder(target.parent)
    except BaseException:  # also Ctrl-C: nothing half-written stays
        # A rename whose flush failed may or may not outlive a crash: a failed save leaves no generation.
        discard([beside, target], disk)
        raise


def _verify(beside: Path, content: dict[str, bytes], step: int, disk: Disk) -> None:
    if _reads_back(beside, content, disk):  # takes a fifth of the time of the digests, which say what differs
        return
    try:
        check(beside, step=step, disk=disk)
    except DamagedError as error:
        raise CheckpointError(
            where=str(beside),
            expected="the bytes that were written",
            got=f"others: {error}",
            cure="The disk or the memory is at fault: save to another disk. Earlier checkpoints are as they were.",
        ) from error


def _reads_back(beside: Path, content: dict[str, bytes], disk: Disk) -> bool:
    try:
        return all(disk.read_file(beside / name) == part for name, part in content.items())
    except OSError:
        return False


def _prune(folder: Path, newest: Path, keep: int, disk: Disk) -> None:
    """Remove the generations of a history that was left, and all below the ``keep`` newest whole ones."""
    found = _generations(folder)
    place = [g.path for g in found].index(newest)
    for generation in found[:place]:
        disk.remove(generation.path)
    if place:  # one that came back after a crash would be taken for the newest
        disk.fsync_folder(folder)
    whole = 0
    for generation in found[place:]:
        if whole >= keep:
            disk.remove(generation.path)
            continue
        try:
            glance(generation.path, step=generation.step, disk=disk)
        except (DamagedError, NewerFormatError):
            continue
        whole += 1


def _make_folder(folder: Path, disk: Disk) -> None:
    """Make the folder and those above it, each name durable in its parent."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        disk.make_folder(path)
        disk.fsync_folder(path.parent)


def _generations(folder: Path) -> list[_Generation]:
    """All generations by name, newest first; whole or not."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = (re.fullmatch(_NAME, name) for name in names)
    found = [_Generation(int(m[1]), int(m[2] or 1), folder / m[0]) for m in matches if m]
    return sorted(found, reverse=True)


def _free_name(folder: Path, step: int) -> Path:
    name = f"step-{step:08d}"
    revision = 1
    path = folder / name
    while path.exists() or path.is_symlink():
        revision += 1
        path = folder / f"{name}.r{revision}"
    return path


def _remove_strays_if_allowed(folder: Path, disk: Disk) -> None:
    """Clean up after dead processes. A folder that can only be read is loaded from all the same."""
    try:
        remove_strays(folder, _NAME, disk)
    except OSError:
        return


def _read_state(whole: Whole) -> Any:  # Any: as nested as the caller made it
    try:
        return decode(whole.raw_state.decode("ascii"), safetensors.torch.load(whole.raw_tensors))
    except (ValueError, KeyError, safetensors.SafetensorError) as error:  # KeyError: a dtype that torch has not
        raise DamagedError(f"{STATE}: expected a stored state, found: {error}") from error


def _nothing_there(folder: Path, found: list[_Generation], step: int | None) -> CheckpointError:
    there = ", ".join(sorted({str(g.step) for g in found}, key=int)) or "none"
    return CheckpointError(
        where=str(folder),
        expected="a checkpoint" if step is None else f"a checkpoint of step {step}",
        got=f"none; steps there: {there}",
        cure="Pass one of the steps there." if found else "Train first, or pass the folder of a run that has saved.",
    )


def _newer(path: Path, error: NewerFormatError) -> CheckpointError:
    return CheckpointError(
        where=str(path / MANIFEST),
        expected="a format that this netwright reads",
        got=str(error),
        cure="Upgrade: pip install --upgrade netwright. Nothing was changed.",
    )
