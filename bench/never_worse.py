"""Whether the plan that netwright chooses is ever slower than its plain one, or comes out elsewhere: some 30 modules.

    python bench/never_worse.py
    python bench/never_worse.py --only starter,LBFGS --quick

Each module is trained 200 updates by the chosen plan, by the plan "eager", and by a loop by hand over batches that lie
ready, in turns in one process; the later half is timed. netwright is told that the run is a long one, so that what
pays back late is chosen too. Parameters after 200 updates are compared with the eager plan's: largest difference, of
the largest parameter of its tensor, beside the tolerance that the plan states.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from typing import Any

from speed_common import Contestant, Page, Runner, Worker, arguments, serve, tell

WORSE = 1.05  # slower than the eager plan by over 5 % in the median counts as worse
EPOCHS = 10_000
ABOUT = """\
Microseconds an update, medians; the plan's differences are the largest of any turn. *worse*: over 5 % slower than the
eager plan, where the spreads of the two do not meet, of three turns or more."""


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    return {"optimizer": "AdamW", "lr": 1e-3, "batch_size": 32, "epochs": EPOCHS} | options


def _ready(options: dict[str, Any], steps: int) -> tuple[Any, list[Any]]:
    """A session made ready for the loop by hand, and its first batches."""
    from netwright.data.batches import train_batches
    from netwright.given import Given
    from netwright.options import make_options
    from netwright.records import Settings
    from netwright.session import prepare

    model, data, more = _fresh(options["case"])
    session = prepare(model, data, make_options(Settings, _settings(more) | {"plan": "eager"}), Given())
    epochs = (
        train_batches(data, batch_size=session.batch_size, seed=0, epoch=epoch, augment=(), workers=0)
        for epoch in itertools.count()
    )
    return session, list(itertools.islice(itertools.chain.from_iterable(epochs), steps))


DATA: dict[str, Any] = {}


def _fresh(name: str) -> Any:
    """A module with the same weights each time; its data are read once."""
    import torch
    from odd_modules import CASES

    torch.manual_seed(0)
    model, data, options = CASES[name]()
    return model, DATA.setdefault(name, data), options


def _by_hand(options: dict[str, Any], steps: int) -> float:
    """Microseconds an update of the loop by hand."""
    from netwright.binding import ask

    session, batches = _ready(options, steps)
    recipe, optimizer, model = session.state.recipe, session.state.optimizer, session.model
    model.train()
    for index, batch in enumerate(batches):
        if index == steps // 2:
            began = time.perf_counter()

        def closure(batch: Any = batch) -> Any:
            optimizer.zero_grad()
            loss = recipe.objective(ask(recipe.binding, model, batch.inputs), batch)
            loss.backward()
            return loss

        optimizer.step(closure)
    return (time.perf_counter() - began) / (steps - steps // 2) * 1e6


def _netwright(options: dict[str, Any], steps: int, plan: str) -> tuple[float, dict[str, Any], Any]:
    """Microseconds an update, what was chosen, and the parameters; as ``nw.train``, without the run that it keeps."""
    from netwright.allocation import memory_kept
    from netwright.given import Given
    from netwright.layout import plain_layout
    from netwright.loop import run_steps
    from netwright.options import make_options
    from netwright.plans.adopting import adopt
    from netwright.plans.comparing import threads_as_before
    from netwright.records import Settings
    from netwright.session import prepare

    model, data, more = _fresh(options["case"])
    with threads_as_before(), memory_kept("cpu"):
        asked = make_options(Settings, _settings(more) | {"plan": plan})
        session = adopt(prepare(model, data, asked, Given()))
        for step in run_steps(session):
            if step.index == steps // 2:
                began = time.perf_counter()
            if step.index == steps:
                break
        seconds = time.perf_counter() - began
        if session.state.program is not None:
            session.state.program.rest()
        plain_layout(model)
    said = {one.name: one.value for one in session.plan.choices}
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return seconds / (steps - steps // 2) * 1e6, said, weights


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest, of the largest parameter of its tensor."""
    largest = 0.0
    for name, value in one.items():
        if value.is_floating_point() and value.numel():
            scale = float(other[name].abs().max()) or 1.0
            largest = max(largest, float((value - other[name]).abs().max()) / scale)
    return largest


def _case(options: dict[str, Any]) -> Runner:
    steps = options["steps"]
    turns = itertools.count()

    def run() -> dict[str, Any]:
        order = ["hand", "eager", "auto"]
        shift = next(turns) % 3
        times: dict[str, float] = {}
        weights: dict[str, Any] = {}
        said: dict[str, Any] = {}
        for which in order[shift:] + order[:shift]:
            if which == "hand":
                times[which] = _by_hand(options, steps)
            else:
                times[which], said[which], weights[which] = _netwright(options, steps, which)
        chosen = said["auto"]
        return times | {
            "difference": _difference(weights["auto"], weights["eager"]),
            "tolerance": chosen.get("tolerance"),
            "plan": f"{chosen['plan']}, {chosen['threads']} threads",
        }

    return run


MAKERS = {"case": _case}


def measure(name: str, steps: int, repeats: int) -> list[dict[str, Any]]:
    """A module in a process of its own; a turn to warm up, then the timed ones."""
    worker = Worker(__file__, Contestant(name, "case"), {"case": name, "steps": steps})
    held = [worker.ask() for _ in range(repeats + 1)]
    worker.close()
    tell(f"{name}: {held[-1]}")
    return held[1:]


def row(name: str, held: list[dict[str, Any]]) -> tuple[str, str]:
    """A line of the table, and the verdict: empty where all is well."""
    if "failed" in held[-1]:
        return f"| {name} | did not run: {held[-1]['failed']} | | | | | | |", "did not run"
    middle = {which: statistics.median(one[which] for one in held) for which in ("hand", "eager", "auto")}
    apart = len(held) >= 3 and min(one["auto"] for one in held) > max(one["eager"] for one in held)
    difference = max(one["difference"] for one in held)
    tolerance = held[-1]["tolerance"]
    verdict = "worse" if middle["auto"] > WORSE * middle["eager"] and apart else ""
    if tolerance is not None and difference > float(tolerance):
        verdict = " and ".join(filter(None, (verdict, "beyond its tolerance")))
    return (
        f"| {name} | {middle['hand']:,.0f} | {middle['eager']:,.0f} | {middle['auto']:,.0f} "
        f"| {middle['auto'] / middle['eager']:.2f} | {held[-1]['plan']} | {difference:.1e} "
        f"| {tolerance if tolerance is not None else 'none stated'} | {verdict} |"
    ), verdict


def main() -> int:
    """Measure, and say."""
    from odd_modules import CASES

    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="beginnings of names, as starter,block,LBFGS")
    asked = parser.parse_args()
    only = tuple(name for name in asked.only.split(",") if name)
    names = [name for name in CASES if not only or name.startswith(only)]
    page = Page("Never worse than the plain plan", asked, ABOUT)
    page.say("| module | by hand | eager | chosen | of eager | plan | difference | tolerance | |")
    page.say("|---|--:|--:|--:|--:|---|--:|--:|---|")
    verdicts = []
    for name in names:
        line, verdict = row(name, measure(name, 20 if asked.quick else 200, asked.repeats))
        page.say(line)
        verdicts += [verdict] if verdict else []
    page.say("", f"{len(names)} modules; not well: {len(verdicts)}.")
    page.write("never_worse", asked)
    return 1 if verdicts else 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
