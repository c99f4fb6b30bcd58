"""A small network on a table: 20-64-64-3, batches of 64, 20,000 rows, AdamW, by everybody who can.

    python bench/tabular.py
    python bench/tabular.py --only netwright,jax --quick

All begin with the same weights (scikit-learn draws its own) and see each row once an epoch. JAX and the loop over
tensors take the samples in netwright's order; the others shuffle by themselves. The columns are normalised already;
netwright, not knowing, does so again, which changes the last digits of its loss. Start and compilation are left out:
``tabular_whole.py`` has them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import speed_loops as loops
import tabular_rivals as rivals
from speed_common import Contestant, Page, arguments, per_step_us, race, scratch, serve, table

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


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__)
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
    page.write("tabular", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
