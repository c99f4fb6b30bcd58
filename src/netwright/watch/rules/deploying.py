"""Weights that are loaded and saved: what does not arrive (P01), and what is left behind (P03)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.fresh import looks_fresh
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.rules.replays import differ, private, replay
from netwright.watch.scene import MapSeen
from netwright.watch.trace import BatchSeen, Event, ModelSeen, Trace

SAME = 1e-3  # outputs that differ by less than this share of their spread differ by rounding
MOST_TRIED = 64  # plain attributes that are compared
WORDS = re.compile(r"vocab|stoi|idx|index|2i|to_i|token|word|char|lookup|encod|label|class|categor|mapping|code", re.I)


def not_loaded(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """P01: load_state_dict that loads nothing, or leaves layers as they were drawn."""
    for event in trace.of("load"):
        found = _nothing(event) or _renamed(event) or _itself(trace, event) or _left_random(trace, event)
        if found is not None:
            yield found


def _loaded(event: Event, evidence: str, cure: str, severity: Any = None) -> Finding:
    place = event.place
    return finding(
        "P01", evidence=evidence, cure=cure, place=place, where=None if place else "load_state_dict", severity=severity
    )


def _nothing(event: Event) -> Finding | None:
    facts = event.facts
    if not facts.get("own") or facts.get("matched"):
        return None
    fit, keys = facts["fit"], ", ".join(f"`{key}`" for key in facts.get("keys", ())[:4])
    renamed = next(iter(fit["renamed"].items()), None)
    why = f"it holds {keys}" if keys else "it is empty"
    cure = "load_state_dict(...) without strict=False tells what does not fit."
    if renamed is not None:
        why = f"there `{renamed[0]}` is called `{renamed[1]}`"
        cure = "state = {key.removeprefix('module.'): one for key, one in state.items()}, loaded strictly"
    elif not facts.get("given"):
        cure = "Load what is inside: model.load_state_dict(checkpoint['state_dict'])"
    return _loaded(
        event,
        f"0 of {facts['own']} tensors of {facts['of']} ({fit['values']:,} numbers) were in what was loaded: {why}. "
        "All weights stay "
        "as they were",
        cure,
    )


def _renamed(event: Event) -> Finding | None:
    """Some weights have another name in what is loaded."""
    fit = event.facts.get("fit") or {}
    renamed = {new: old for new, old in fit.get("renamed", {}).items() if new in fit["parameters"]}
    if not renamed or not event.facts.get("matched") or 2 * fit["absent"] < fit["values"]:
        return None  # a small part that is new by intent may by chance look like something that is left over
    new, old = next(iter(renamed.items()))
    return _loaded(
        event,
        f"{len(renamed)} of {event.facts['own']} tensors of {event.facts['of']} were not loaded although the file "
        "holds tensors of their "
        f"shapes under other names, as `{old}` for `{new}`; {fit['absent']:,} of {fit['values']:,} numbers stay as "
        "they were",
        f"state = {{name.replace('{old}', '{new}'): value for name, value in state.items()}}, loaded without "
        "strict=False",
    )


def _itself(trace: Trace, event: Event) -> Finding | None:
    """A module is given its own weights: what was read from a file did not get among them."""
    facts, taken = event.facts, event.facts.get("taken")
    if not facts.get("own") or facts.get("shares", 0) < facts["own"] or (taken is not None and taken[1] < event.step):
        return None
    if event.place is None or not _reads_a_file(trace, event):
        return None
    return _loaded(
        event,
        f"all {facts['own']} tensors that {facts['of']} is given are its own: none of what was read from the file "
        "fits by name and "
        f"shape, so that 0 of {facts['fit']['values']:,} numbers were loaded",
        "Print what is left out: set(state) - set(model.state_dict()), and map the names.",
    )


def _reads_a_file(trace: Trace, event: Event) -> bool:
    tree = trace.sources.tree(event.place.file) if event.place is not None else None
    names = ("torch.load", "load_file", "torch.hub.load_state_dict_from_url", "load_state_dict_from_url")
    return tree is not None and any(
        isinstance(node, ast.Call) and ast.unparse(node.func) in names for node in ast.walk(tree)
    )


def _left_random(trace: Trace, event: Event) -> Finding | None:
    """Parameters that were not loaded, nor trained afterwards, in a model that is then used."""
    fit, module = event.facts.get("fit") or {}, event.facts.get("module")
    if not fit.get("parameters") or not event.facts.get("matched") or not isinstance(module, nn.Module):
        return None
    own = dict(module.named_parameters())
    at = next(at for at, one in enumerate(trace.events) if one is event)
    earlier = {key for one in trace.events[:at] if one.kind == "load" for key in one.facts.get("ids", ())}
    held = {
        id(one)
        for seen in trace.optimizers
        if seen.steps
        for group in seen.optimizer.param_groups
        for one in group["params"]
    }
    drawn = [
        name for name in fit["parameters"]
        if name in own and id(own[name]) not in held | earlier
        and looks_fresh(module.get_submodule(name.rpartition(".")[0]))
    ]  # fmt: skip
    number = next((one.number for one in trace.models if one.module is module), -1)
    used = any(one.kind == "forward" and one.who == number for one in trace.events[at:])
    again = any(one.kind == "load" and one.facts.get("module") is module for one in trace.events[at + 1 :])
    if not drawn or not used or again:
        return None
    return _loaded(
        event,
        f"{', '.join(f'`{name}`' for name in drawn[:3])} ({sum(own[name].numel() for name in drawn):,} numbers) were "
        "not in what was "
        f"loaded, no optimizer trained them afterwards, and {event.facts['of']} was used with them as they were drawn",
        "Load them too, or train them before the model is used.",
    )


# ------------------------------------------------------------------------------------------------- P03


def left_behind(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """P03: what a model needs and its state_dict does not hold."""
    for event in trace.of("load"):
        found = _unlike_its_source(trace, event)
        if found is not None:
            yield found
            return
    for model in trace.trained():
        found = _changed_in_training(trace, model)
        if found is not None:
            yield found
            return
    yield from _renumbered(trace)


def _unlike_its_source(trace: Trace, event: Event) -> Finding | None:
    """A model with the same weights as the trained one, that answers otherwise."""
    fit = event.facts.get("fit") or {}
    loaded = next((one for one in trace.models if one.module is event.facts.get("module")), None)
    if loaded is None or fit.get("absent") or not event.facts.get("matched"):
        return None
    for source in trace.trained():
        if (
            source.module is loaded.module
            or type(source.module) is not type(loaded.module)
            or not _same_state(source.module, loaded.module)
        ):
            continue
        batches = [*loaded.eval_batches[:2], *source.eval_batches[-2:], *source.batches[:1]]
        for seen in batches:
            try:
                there, here = private(source.module), private(loaded.module)
                right, again, got = replay(there, seen), replay(private(source.module), seen), replay(here, seen)
            except NotCheckedError:
                continue
            apart = differ(got, right)
            if differ(again, right) > SAME or apart <= SAME:
                return None
            names = _culprits(source.module, loaded.module, seen, right)
            return _stateless(
                event, loaded, names, f"{seen.rows} samples: answers differ by up to {apart:.2g} of their spread"
            )
    return None


def _same_state(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        not isinstance(value, Tensor)
        or (value.shape == theirs[name].shape and bool(torch.equal(value.cpu(), theirs[name].cpu())))
        for name, value in mine.items()
    )


def _plain(module: nn.Module) -> dict[tuple[str, str], Any]:
    """Tensors and numbers that a module keeps outside of its state_dict, by submodule and name."""
    found: dict[tuple[str, str], Any] = {}
    for path, one in module.named_modules():
        for name, value in vars(one).items():
            if name != "training" and not name.startswith("_") and isinstance(value, (Tensor, int, float)):
                found[path, name] = value
        for name in one._non_persistent_buffers_set:
            if one._buffers.get(name) is not None:
                found[path, name] = one._buffers[name]
        if len(found) > MOST_TRIED:
            break
    return found


def _unequal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape != other.shape or not bool(torch.equal(one.detach().cpu(), other.detach().cpu()))
    return type(one) is not type(other) or one != other


def _put(module: nn.Module, key: tuple[str, str], value: Any) -> None:
    owner = module.get_submodule(key[0])
    copied = value.detach().cpu().clone() if isinstance(value, Tensor) else value
    if key[1] in owner._buffers:
        owner._buffers[key[1]] = copied
    else:
        vars(owner)[key[1]] = copied


def _culprits(source: nn.Module, loaded: nn.Module, seen: BatchSeen, right: Tensor) -> list[str]:
    """The attributes that, taken over from the trained model, bring its answers back."""
    theirs, mine = _plain(source), _plain(loaded)
    keys = [key for key in theirs if key in mine and _unequal(theirs[key], mine[key])]
    whole = private(loaded)
    for key in keys:
        _put(whole, key, theirs[key])
    try:
        if not keys or differ(replay(whole, seen), right) > SAME:
            return []
        return [".".join(part for part in key if part) for key in keys if _matters(source, seen, right, key, mine[key])]
    except NotCheckedError:
        return []


def _matters(source: nn.Module, seen: BatchSeen, right: Tensor, key: tuple[str, str], value: Any) -> bool:
    """Whether the answers move when one attribute is as it is elsewhere."""
    copy = private(source)
    _put(copy, key, value)
    return differ(replay(copy, seen), right) > SAME


def _stateless(event: Event, model: ModelSeen, names: list[str], what: str) -> Finding:
    named = ", ".join(f"`{name}`" for name in names)
    why = f"; with {named} taken over from the trained one they agree" if names else ""
    first = names[0].rpartition(".")[2] if names else "name"
    return finding(
        "P03",
        evidence=f"a {model.name} with exactly the weights of the trained one gives other answers. {what}{why}",
        cure=f'self.register_buffer("{first}", ...), so that it is in the state_dict',
        place=event.place,
        where=None if event.place else "the loaded model",
    )


def _changed_in_training(trace: Trace, model: ModelSeen) -> Finding | None:
    """Attributes that training changed and that are not saved with the weights, though answers depend on them."""
    saves = [
        one
        for one in trace.of("save")
        if not one.facts.get("module") and (one.facts.get("taken") or (-1,))[0] == model.number
    ]
    if not saves or model.pristine is None:
        return None
    before, after = _plain(model.pristine), _plain(model.module)
    keys = [key for key in after if key in before and _unequal(before[key], after[key])]
    for seen in [*model.eval_batches[-1:], *model.batches[:1]]:
        try:
            copy = private(model.module)
            right = replay(copy, seen)
            lasting = [
                key for key in keys if not _unequal(_plain(copy).get(key), after[key])
            ]  # others are set by forward itself
            names = [key for key in lasting if _matters(model.module, seen, right, key, before[key])]
        except NotCheckedError:
            continue
        if names:
            said = ", ".join(f"`{'.'.join(part for part in key if part)}`" for key in names)
            return finding(
                "P03",
                evidence=(
                    f"{said} changed in training and is not in the state_dict that is saved at {saves[-1].place}; "
                    "with the value "
                    f"that it had at first, {seen.rows} samples get other answers"
                ),
                cure=f'self.register_buffer("{names[0][1]}", ...), so that it is in the state_dict',
                place=saves[-1].place,
                where=None if saves[-1].place else "the saved weights",
            )
    return None


def _renumbered(trace: Trace) -> Iterator[Finding]:
    """Words that have one number in training and another when the model is used."""
    for trained in (one for one in trace.maps if one.training):
        for used in (one for one in trace.maps if not one.training):
            same = trained.name.rpartition(".")[2] == used.name.rpartition(".")[2]
            if not same or used.identity == trained.identity or not WORDS.search(used.name):
                continue
            found = _unlike_words(trace, trained, used)
            if found is not None:
                yield found
                return


def _unlike_words(trace: Trace, trained: MapSeen, used: MapSeen) -> Finding | None:
    common = [word for word in used.entries if word in trained.entries]
    other = [word for word in common if used.entries[word] != trained.entries[word]]
    if (
        len(common) < 3
        or 2 * len(common) < min(len(used.entries), len(trained.entries))
        or 10 * len(other) < len(common)
    ):
        return None
    if max(trained.entries.values()) > 2 * len(trained.entries) + 8:
        return None  # these are counts and not numbers of words
    word = other[0]
    seen = next((one for one in reversed(trace.models[used.model].eval_batches) if one.args), None)
    event = None if seen is None else trace.events[seen.event]
    classes = re.search(r"class|label|categor", used.name, re.I)
    return finding(
        "D12" if classes else "P03",
        title=None if classes else "Words are numbered anew where the model is used",
        evidence=(
            f"`{used.name}` in {used.function}() gives {len(other)} of {len(common)} words another number than "
            f"`{trained.name}` in "
            f"{trained.function}() did in training, as {word!r}: {used.entries[word]} and {trained.entries[word]}"
        ),
        cure="Save the map with the weights, torch.save({'model': ..., 'vocab': vocab}), and use it again.",
        place=None if event is None else event.place,
        where=None if event is not None and event.place else "the map of words",
    )


RULES = (not_loaded, left_behind)
