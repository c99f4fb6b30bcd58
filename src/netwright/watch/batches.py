"""What loaders give, and how data sets are split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import caller
from netwright.watch.eye import Eye
from netwright.watch.guard import guarded, timed
from netwright.watch.looks import plain
from netwright.watch.scene import loop_ends, loop_turns, transforms_of
from netwright.watch.trace import LoaderSeen

HEADS = 2  # batches of each pass by which its order is told
MOST_SPLITS = 16  # that are held, with their data


def around_loader(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Number each loader when it is made, so that its line is known."""

    def made(loader: Any, /, *args: Any, **kwargs: Any) -> None:
        original(loader, *args, **kwargs)
        if not eye.asleep():
            _number(eye, loader)

    return made


@guarded
def _number(eye: Eye, loader: Any) -> int:
    return eye.loader_number(loader)


def around_iterator(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a loader's iterator with the loader's number."""

    def made(iterator: Any, /, *args: Any, **kwargs: Any) -> None:
        if not eye.asleep():
            number = _number(eye, args[0] if args else kwargs.get("loader"))
            if number is not None:
                iterator._netwright_loader = number
        original(iterator, *args, **kwargs)

    return made


def around_next(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each pass over a loader and look at what it gives."""

    def following(iterator: Any, /) -> Any:
        number = getattr(iterator, "_netwright_loader", None)
        if number is None or eye.asleep():
            return original(iterator)
        if number < 0:  # one of too many
            eye.loader, eye.item = (-1, -1), None
            return original(iterator)
        seen = eye.trace.loaders[number]
        if iterator._num_yielded == 0:
            _pass_begins(eye, seen)
        eye.pause(True)
        eye.quiet += 1
        try:
            item = original(iterator)
        except StopIteration:
            _pass_ends(eye, seen)
            raise
        finally:
            eye.quiet -= 1
            eye.pause(False)
        _after_item(eye, seen, item)
        return item

    return following


@guarded
def _pass_begins(eye: Eye, seen: LoaderSeen) -> None:
    seen.passes += 1
    seen.batches.append(0)
    seen.heads.append("")
    seen.ended.append(False)
    eye.event("pass_begin", seen.number)


@guarded
def _pass_ends(eye: Eye, seen: LoaderSeen) -> None:
    seen.ended[-1] = True
    eye.event("pass_end", seen.number)
    loop_ends(eye.trace, eye.scene, seen)
    last = eye.scene.last_eval
    if last is not None and last.loader == seen.number and last.epoch == 0:  # what becomes of all batches together
        eye.start_recording(last)
    eye.loader, eye.item = (-1, -1), None
    eye.turn(0, 0, trains=False)
    eye.items += 1
    eye.close_turn()
    kept = eye.graphs.look(eye.items, ended=True)
    if kept is not None:
        eye.trace.kept.append(kept)


@timed
def _after_item(eye: Eye, seen: LoaderSeen, item: Any) -> None:
    eye.loader, eye.item = (seen.number, seen.passes - 1), item
    done = seen.batches[-1]
    eye.turn(done, seen.passes, trains=seen.used > 0)
    eye.items += 1
    seen.batches[-1] = done + 1
    if eye.open:
        eye.close_turn()
    if not eye.skim or done < HEADS:
        loop_turns(eye.trace, eye.scene, seen, item, first=done == 0)
        _look_at_item(seen, item)


def _look_at_item(seen: LoaderSeen, item: Any) -> None:
    if seen.passes == 1 or seen.batches[-1] <= HEADS:
        tensors = [one for one in tensors_in(item) if plain(one)]
        if seen.batches[-1] <= HEADS and tensors and len(seen.heads) < 64:
            whole = hashlib.blake2b(seen.heads[-1].encode(), digest_size=8)
            for one in tensors:
                if one.device.type == "cpu":
                    values = one.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)[:4096]
                    whole.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
            seen.heads[-1] = whole.hexdigest()
        if seen.passes == 1 and len(seen.sizes) < 4096 and tensors:
            seen.sizes.append(len(tensors[0]) if tensors[0].ndim else 1)
            labels = tensors[-1]
            if len(tensors) > 1 and len(seen.labels) < 20_000 and _are_classes(labels):
                seen.labels.extend(labels.reshape(-1).long().tolist())


def _are_classes(labels: torch.Tensor) -> bool:
    """Whether a tensor holds one class for each sample: whole numbers, or 0 and 1 as real ones."""
    if not labels.ndim or labels.numel() != len(labels):
        return False
    if not labels.is_floating_point():
        return labels.ndim == 1
    return bool(((labels == 0) | (labels == 1)).all())


def around_split(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what ``random_split`` made of a data set."""

    def split(*args: Any, **kwargs: Any) -> Any:
        parts = original(*args, **kwargs)
        if not eye.asleep():
            _note_split(eye, args[0] if args else kwargs.get("dataset"), parts)
        return parts

    return split


@guarded
def _note_split(eye: Eye, dataset: Any, parts: Any) -> None:
    if len(eye.trace.splits) < MOST_SPLITS:
        eye.trace.splits.append((caller(skip=2), dataset, list(parts), transforms_of(dataset)))
