"""A small network on a table from start to finish: whole trainings of about 6 s and 60 s, each in a new process.

    python bench/tabular_whole.py
    python bench/tabular_whole.py --quick

Workload and plain loop are those of ``tabular.py``. Planning, compilation, checks and evaluation are netwright's own,
and are counted. It trains with an empty compile cache, as the first time on a machine, and once more with what the plan
"compiled" left there.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from speed_common import (
    Answer,
    Contestant,
    Page,
    arguments,
    fresh,
    per_step_us,
    scratch,
    serve,
    table,
    tell,
)
from tabular import BASE, MAKERS, make_table

NETWRIGHT = "netwright"
CONTESTANTS = (
    Contestant(BASE, "loader"),
    Contestant(NETWRIGHT, "netwright"),
    Contestant(f"{NETWRIGHT}, plan compiled, one thread", "compiled_alone"),
)
ABOUT = """\
An MLP 20-64-64-3 on 20,000 rows, batches of 64, AdamW at 0.001. From the call to its return in a new process, with
libraries imported. netwright's checks, its plan, its metrics, history, progress and checkpoints are in it, and its
evaluation beside baselines, which the plain loop has not; the second table of each leaves the evaluation out."""


def whole(page: Page, goal: float, epochs: int, answers: dict[str, list[Answer]]) -> None:
    """Both tables of trainings of so many epochs."""
    trained = {f"{name}, until trained": held for name, held in answers.items() if held and "trained_s" in held[-1]}
    page.say(f"## {epochs} epochs: about {goal} s of the plain loop, start to finish", "")
    page.say(*table(answers, lambda one: one["whole_s"], "s", base=BASE, digits=2), "")
    beside = {BASE: answers[BASE]} | trained
    page.say(*table(beside, lambda one: one.get("trained_s", one["whole_s"]), "s", base=BASE, digits=2), "")


def trainings(options: dict[str, Any], repeats: int) -> dict[str, list[Answer]]:
    """Round after round with a new compile cache; in each netwright comes again with what plan compiled left."""
    answers: dict[str, list[Answer]] = {}
    for number in range(repeats):
        tell(f"whole trainings of {options['epochs']} epochs, round {number + 1} of {repeats}")
        with scratch() as cache:
            there = {"TORCHINDUCTOR_CACHE_DIR": str(cache)}
            cold = [replace(one, env={**one.env, **there}) for one in CONTESTANTS]
            warm = [replace(one, name=f"{NETWRIGHT}, compile cache warm") for one in cold if one.name == NETWRIGHT]
            for name, held in fresh(__file__, [*cold, *warm], options, repeats=1).items():
                answers.setdefault(name, []).extend(held)
    return answers


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    rows = 2_000 if asked.quick else 20_000
    page = Page("A small network on a table, start to finish", asked, ABOUT, rivals=False)
    with scratch() as folder:
        make_table(folder / "table.npz", rows)
        options = {"file": str(folder / "table.npz"), "epochs": 4}
        plain = fresh(__file__, CONTESTANTS[:1], options, repeats=1)[BASE][-1]
        if "failed" in plain:
            sys.exit(f"{BASE} did not run: {plain['failed']}")
        epoch_s = -(-rows // 64) * per_step_us(plain) / 1e6
        begun_s = plain["whole_s"] - options["epochs"] * epoch_s  # libraries that torch loads at its first update
        for goal in (3, 4) if asked.quick else (6, 60):
            epochs = max(2, round((goal - begun_s) / epoch_s))
            whole(page, goal, epochs, trainings(options | {"epochs": epochs}, asked.repeats))
    page.write("tabular_whole", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
