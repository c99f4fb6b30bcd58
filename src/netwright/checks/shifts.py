"""Are the targets of a model of the next token the next tokens? (L12)

Only of a model in which no position sees later ones: one that sees them may have other tasks, as filling gaps.
"""

from __future__ import annotations

from collections.abc import Iterator

from netwright.checks.catalogue import finding
from netwright.checks.causality import is_by_position, leak_of
from netwright.checks.probes import Probe, differs, probe_of
from netwright.checks.runner import Check
from netwright.checks.sequences import aim, by_position
from netwright.checks.subject import Subject
from netwright.records import Finding


def targets_shifted(subject: Subject) -> Iterator[Finding]:
    """Compare what each position is trained on with the tokens around it."""
    probe = probe_of(subject)
    tokens = [value for value in probe.inputs.values() if value.ndim == 2 and not value.is_floating_point()]
    if not tokens or not is_by_position(subject, probe):
        return
    found = aim(subject)
    if found is None or found[1] not in (0, 2) or found[0] not in probe.inputs:
        return
    name, offset, shares = found
    if leak_of(probe, name) is not None or not _reads_own(probe, name):
        return
    rest = ", ".join(
        f"{share:.0%} are those {by:+d} places on" for by, share in sorted(shares.items()) if by not in (offset, -1)
    )
    loss = subject.cache.get("loss_seen")
    place = None if loss is None else loss[2].place
    if offset == 0:
        yield finding(
            "L12",
            evidence=f"{shares[0]:.0%} of the targets are the token of `{name}` at the same position ({rest}), and "
            "the model "
            "sees no later ones: it learns to copy what it has just read, and nothing about what comes next.",
            cure="inputs, targets = tokens[:, :-1], tokens[:, 1:]",
            place=place,
            where=None if place is not None else "the targets",
        )
    else:
        yield finding(
            "L12",
            evidence=f"{shares[2]:.0%} of the targets are the token of `{name}` two places on ({rest}): they are "
            "shifted twice, "
            "once in the data and once in the loss, and the model learns to leave out every second token.",
            cure="Shift once: compare outputs with targets position by position where the data holds tokens[:, 1:].",
            place=place,
            where=None if place is not None else "the targets",
        )


def _reads_own(probe: Probe, name: str) -> bool:
    """Whether what is said at a position depends on the token there: else the model shifts by itself."""
    value = probe.inputs[name]
    length = value.shape[1]
    at = length // 2
    changed = value.clone()
    changed[:, at] = value.roll(1, 0)[:, at]
    before = by_position(probe.answer, probe.rows, length, axis=probe.axis)
    after = by_position(probe.run({**probe.inputs, name: changed}), probe.rows, length, axis=probe.axis)
    return before is not None and after is not None and differs(before[:, at], after[:, at])


CHECKS: tuple[Check, ...] = (Check("targets that are not the next tokens", ("L12",), targets_shifted, most_s=3.0),)
