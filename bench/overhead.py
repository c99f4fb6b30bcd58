"""What netwright adds to an update: against a loop by hand over resident tensors, with all default features on.

    python bench/overhead.py
    python bench/overhead.py --quick --repeats 2

Both do the same arithmetic on the same batches in the same order, so that their last weights must be equal, bit for
bit: that is compared. netwright runs its plain plan, keeps metrics and history, shows progress, and saves checkpoints
as often as it does by default; the loop by hand does none of this. Networks of three sizes, for updates of about 0.1 to
10 ms.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import Any

import speed_loops as loops
from speed_common import Contestant, Page, Runner, arguments, per_step_us, race, serve, spread_us

BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Size:
    """A network, and the updates and epochs that make timing it worth while.

    A training takes some ten seconds or more. Checkpoints, which are saved as often as keeps them below 0.2 % of the
    time, are in that of the first two sizes; of the third one the next would be due after some 20 seconds.
    """

    name: str
    widths: tuple[int, ...]
    steps: int
    epochs: int


# The widths were chosen on two cores at 2.5 GHz or so; what an update takes is measured, and said.
SIZES = (
    Size("about 100 µs", (), 4_000, 31),
    Size("about 2 ms", (768, 768), 300, 21),
    Size("about 10 ms", (1_792, 1_792), 80, 16),
)
CONTESTANTS = (
    Contestant(BY_HAND, "hand"),
    Contestant("netwright", "train"),
    Contestant("netwright, the loop alone", "loop"),
)
LIMITS = "At most 20 µs, or 1.0 % from 2 ms on, is what netwright holds itself to."


def _work(options: dict[str, Any]) -> tuple[loops.Work, Any]:
    """Work and data; the loop by hand is given the preprocessed inputs."""
    import torch
    from torch import nn

    import netwright as nw

    count = options["steps"] * 64
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 20, generator=generator), torch.randint(3, (count,), generator=generator)
    x[torch.arange(count), y] += 2

    def make() -> nn.Module:
        torch.manual_seed(0)
        sizes = (20, *options["widths"], 3)
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    work = loops.Work(
        make, x, y, batch=64, epochs=options["epochs"], lr=0.01, optimizer="SGD", raw=x, options={"skip": "all"}
    )
    data = nw.load((x, y), val_fraction=0, test=(x[:200], y[:200]))
    loops.same_inputs(work, data)
    return work, data


def _hand(options: dict[str, Any]) -> Runner:
    work, _ = _work(options)
    return lambda: loops.plain_tensors(work)


def _train(options: dict[str, Any]) -> Runner:
    work, data = _work(options)
    return lambda: loops.netwright(work, data, plan="eager")


def _loop(options: dict[str, Any]) -> Runner:
    work, data = _work(options)
    del work.options["skip"]  # the loop alone checks nothing
    return lambda: loops.netwright_loop(work, data, plan="eager")


MAKERS = {"hand": _hand, "train": _train, "loop": _loop}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    page = Page("Overhead of an update", asked, " ".join((__doc__ or "").split("\n\n")[2].split()) + f" {LIMITS}")
    page.say("| updates of | contestant | µs an update, median | least to greatest | over by hand | weights |")
    page.say("|---|---|--:|--:|--:|---|")
    differ = 0
    for size in SIZES[:2] if asked.quick else SIZES:
        options = {"widths": size.widths, "steps": size.steps, "epochs": size.epochs}
        if asked.quick:
            options |= {"steps": 50, "epochs": 4}
        answers = race(__file__, CONTESTANTS, options, repeats=asked.repeats)
        hand = [per_step_us(one) for one in answers[BY_HAND]]
        for name, held in answers.items():
            if not held or "failed" in held[-1]:
                page.say(f"| {size.name} | {name} | did not run: {held[-1]['failed'] if held else ''} | | | |")
                continue
            values = [per_step_us(one) for one in held]
            # turn by turn, so that what slows the machine for a while meets both
            over = statistics.median(one - other for one, other in zip(values, hand, strict=True))
            share = over / statistics.median(hand)
            same = {one["weights"] for one in held} == {one["weights"] for one in answers[BY_HAND]}
            differ += not same
            page.say(
                f"| {size.name} | {name} | {spread_us(values)} | {over:+.1f} µs, {share:+.1%} "
                f"| {'equal, bit for bit' if same else 'DIFFERENT'} |"
            )
    page.write("overhead", asked)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
