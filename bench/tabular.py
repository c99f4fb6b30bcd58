"""A small network on a table: 20-64-64-3, batches of 64, 20,000 rows, AdamW, by everybody who can.

    python bench/tabular.py                   # microseconds an update, start and compilation left out
    python bench/tabular.py --whole           # also whole trainings, start to finish, of about 6 s and 60 s
    python bench/tabular.py --only netwright,jax --quick

All begin with the same weights (scikit-learn draws its own) and see each row once an epoch. JAX and the loop over
tensors take the samples in netwright's order; the others shuffle by themselves. The columns are normalised already;
netwright, not knowing, does so again, which changes the last digits of its loss.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import speed_loops as loops
import tabular_rivals as rivals
from speed_common import (
    Answer,
    Contestant,
    Page,
    arguments,
    fresh,
    per_step_us,
    race,
    scratch,
    serve,
    table,
    tell,
)

BASE = "plain loop, DataLoader"
SEED = 0
CONTESTANTS = (
    Contestant(BASE, "loader"),
    Contestant("plain loop, resident tensors", "tensors"),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan compiled, one thread", "compiled_alone"),
    Contestant("netwright, plan compiled", "compiled"),
    Contestant("netwright, plan recorded, one thread", "recorded_alone"),
    Contestant("netwright, plan eager", "eager"),
    Contestant("netwright, the loop alone", "loop"),
    Contestant("netwright, the loop alone, compiled, one thread", "compiled_loop"),
    Contestant("Lightning", "lightning", rival=True),
    Contestant("Keras on torch", "keras", rival=True),
    Contestant("Keras on JAX", "keras", rival=True, env={"KERAS_BACKEND": "jax"}),
    Contestant("skorch", "skorch", rival=True),
    Contestant("scikit-learn MLPClassifier (Adam)", "sklearn", rival=True),
    Contestant("JAX + optax, jit a step", "jax_step", rival=True),
    Contestant("JAX + optax, scan over an epoch", "jax_scan", rival=True),
)
WHOLE = ("loader", "netwright", "compiled_alone")  # keys of those that also train for a minute
ABOUT = """\
An MLP 20-64-64-3 on 20,000 rows, batches of 64, AdamW at 0.001. netwright keeps its metrics, history, progress and
checkpoints, at most one a second; the rivals' are off. The final loss is over all training rows, in eval mode."""


def make_net() -> Any:
    """The network, with the weights that all begin with."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def make_table(file: Path, rows: int) -> None:
    """Rows of three overlapping classes, and the first weights."""
    rng = np.random.default_rng(SEED)
    y = rng.integers(0, 3, rows)
    centres = rng.normal(size=(3, 20))
    signs = np.where(rng.random((rows, 1)) < 0.5, 1, -1)
    x = (rng.normal(size=(rows, 20)) * 2 + centres[y] * signs).astype(np.float32)
    weights = {name: value.numpy() for name, value in make_net().state_dict().items()}
    np.savez(file, x=(x - x.mean(0)) / x.std(0), y=y, **weights)


def _work(options: dict[str, Any]) -> loops.Work:
    import torch

    held = np.load(options["file"])
    x, y = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    return loops.Work(make_net, x, y, batch=64, epochs=options["epochs"])


MAKERS = loops.makers(_work) | {
    "keras": rivals.keras,
    "sklearn": rivals.scikit_learn,
    "jax_step": rivals.jax_step,
    "jax_scan": rivals.jax_scan,
}


def whole(page: Page, chosen: list[Contestant], options: dict[str, Any], step_s: float, asked: Any) -> None:
    """Start to finish, planning and compilation included, in new processes."""
    for goal in (0.5, 1) if asked.quick else (6, 60):
        epochs = max(2, round(goal / (-(-asked.rows // 64) * step_s)))
        answers = _whole([one for one in chosen if one.key in WHOLE], options | {"epochs": epochs}, asked.repeats)
        trained = {f"{name}, until trained": held for name, held in answers.items() if held and "trained_s" in held[-1]}
        page.say(f"## Start to finish, {epochs} epochs: about {goal} s of the plain loop", "")
        page.say("From the call to its return in a new process, with libraries imported. netwright's checks, its plan,")
        page.say("and its evaluation beside baselines are in it; the second table leaves the evaluation out.", "")
        page.say(*table(answers, lambda one: one["whole_s"], "s", base=BASE, digits=2), "")
        beside = {BASE: answers[BASE]} | trained
        page.say(*table(beside, lambda one: one.get("trained_s", one["whole_s"]), "s", base=BASE, digits=2), "")


def _whole(chosen: list[Contestant], options: dict[str, Any], repeats: int) -> dict[str, list[Answer]]:
    """Round after round with a new compile cache; in each netwright comes again with what plan compiled left."""
    answers: dict[str, list[Answer]] = {}
    for number in range(repeats):
        tell(f"whole trainings of {options['epochs']} epochs, round {number + 1} of {repeats}")
        with scratch() as cache:
            there = {"TORCHINDUCTOR_CACHE_DIR": str(cache)}
            cold = [replace(one, env={**one.env, **there}) for one in chosen]
            warm = [replace(one, name=f"{one.name}, compile cache warm") for one in cold if one.key == "netwright"]
            for name, held in fresh(__file__, [*cold, *warm], options, repeats=1).items():
                answers.setdefault(name, []).extend(held)
    return answers


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__)
    parser.add_argument("--whole", action="store_true", help="also start to finish, of about 6 s and 60 s")
    parser.add_argument("--only", default="", help="beginnings of names, as netwright,jax; the loader's is always in")
    asked = parser.parse_args()
    asked.rows = 2_000 if asked.quick else 20_000
    only = tuple(name.casefold() for name in asked.only.split(",") if name)
    chosen = [one for one in CONTESTANTS if not only or one.name == BASE or one.name.casefold().startswith(only)]
    page = Page("A small network on a table", asked, ABOUT)
    with scratch() as folder:
        make_table(folder / "table.npz", asked.rows)
        # as many as it takes for checkpoints, at most one a second, to be in what is timed
        options = {"file": str(folder / "table.npz"), "epochs": 4 if asked.quick else 41}
        answers = race(__file__, chosen, options, repeats=asked.repeats)
        page.say("## An update", "", *table(answers, per_step_us, "µs an update", base=BASE), "")
        if asked.whole:
            step_s = statistics.median(map(per_step_us, answers[BASE])) / 1e6
            whole(page, chosen, options, step_s, asked)
    page.write("tabular", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
