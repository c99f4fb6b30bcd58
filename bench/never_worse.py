"""Whether the plan that netwright chooses is ever slower than a plain loop, or comes out elsewhere: some 30 modules.

    python bench/never_worse.py
    python bench/never_worse.py --only starter,LBFGS --quick

Each module is trained by the chosen plan, by the plan "eager", and by a loop by hand over batches that netwright
gathers, which no DataLoader does sooner: all three from the same weights, in one process and in turns of 20 updates, of
which the first ones after a change are not timed. The plan is chosen once a module, as ``nw.train`` would; netwright is
told that the run is a long one, so that what pays back late is chosen too. After 200 updates the chosen plan's
parameters are compared with those of plain updates in the same memory layout, by the tolerance that a plan is held to
before it is chosen: as a share of the way that the parameters went, and where plain updates part from themselves by
more when each parameter is first moved by a rounding, three times that.

Where a process does not show the chosen plan to be faster than by hand, as where it is the plain one, four more
processes time both: where memory happens to lie makes some per cent between two runs of the same code.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from speed_common import Contestant, Page, Worker, arguments, serve, tell

WORSE = 1.03  # slower than the loop by hand by over 3 % counts as worse, where that is no chance
EPOCHS = 10_000
TURN, UNTIMED = 20, 5  # updates; torch's threads of the contestant before are still awake during the first ones
COMPARED = 200  # updates after which parameters are compared; all of these turns are timed too
LEAST = 60  # updates in a process that compares nothing
TIMED_S = 0.5  # for each repeat and contestant
PROCESSES = 5  # where the first one does not show the chosen plan to be faster
ABOUT = """\
Microseconds an update, medians over turns; of by hand: the median of turn by turn, with that median's 95 % interval.
Where it reaches 1, five processes were timed: then the median of their medians, and from the least to the greatest.
Difference to plain updates and tolerance after 200 updates, as shares of the way that the parameters went. *worse*:
over 3 % slower than by hand, with all of the interval above 1."""


@dataclass(slots=True)
class Runner:
    """One way of training a module, which goes on where its turn before ended.

    Attributes:
        updates: Does an update whenever it is asked for the next.
        around: What a turn is done inside of.
        random: State of the random generators.
    """

    model: Any
    updates: Iterator[Any]
    around: Callable[[], Any]
    random: Any
    taken: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Do a turn's updates, and note the seconds of each but the first ones."""
        import torch

        from netwright.randomness import random_state, set_random_state

        cpu = torch.device("cpu")
        with self.around():
            set_random_state(self.random, cpu)
            for _ in range(UNTIMED):
                next(self.updates)
            began = time.perf_counter()
            for _ in range(TURN - UNTIMED):
                next(self.updates)
            self.taken.append((time.perf_counter() - began) / (TURN - UNTIMED))
            self.random = random_state(cpu)

    def parameters(self) -> list[Any]:
        """As they are now."""
        return [one.detach().clone() for one in self.model.parameters()]


MADE: dict[str, Any] = {}


def _prepared(name: str, plan: str) -> Any:
    """A session of a module with the same weights each time; it is made, and its data are read, once."""
    import torch
    from odd_modules import CASES

    from netwright.given import Given
    from netwright.options import make_options
    from netwright.records import Settings
    from netwright.session import prepare

    if name not in MADE:
        torch.manual_seed(0)
        MADE.clear()
        MADE[name] = CASES[name]()
    model, data, more = MADE[name]
    options = {"optimizer": "AdamW", "lr": 1e-3, "batch_size": 32, "epochs": EPOCHS, "plan": plan} | more
    return prepare(copy.deepcopy(model), data, make_options(Settings, options), Given())


def _by_hand(name: str) -> Runner:
    """A loop by hand, over the batches that netwright gathers."""
    import torch

    from netwright.batch import Batch
    from netwright.binding import ask
    from netwright.data.batches import train_batches
    from netwright.randomness import random_state

    session = _prepared(name, "eager")
    recipe, optimizer, model = session.state.recipe, session.state.optimizer, session.model
    epochs = (
        train_batches(session.data, batch_size=session.batch_size, seed=0, epoch=epoch, augment=(), workers=0)
        for epoch in itertools.count()
    )

    def updates() -> Iterator[None]:
        model.train()
        for batch in itertools.chain.from_iterable(epochs):

            def closure(batch: Batch = batch) -> Any:
                optimizer.zero_grad()
                loss = recipe.objective(ask(recipe.binding, model, batch.inputs), batch)
                loss.backward()
                return loss

            yield optimizer.step(closure)

    return Runner(model, updates(), contextlib.nullcontext, random_state(torch.device("cpu")))


def _netwright(session: Any) -> Runner:
    """A session's updates, as ``nw.train`` does them, without the run that it keeps."""
    import torch

    from netwright.allocation import memory_kept
    from netwright.loop import run_steps
    from netwright.plans.comparing import threads_as_before
    from netwright.randomness import random_state

    threads, program = torch.get_num_threads(), session.state.program  # the plan's threads are set

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with threads_as_before(), memory_kept("cpu"):
            torch.set_num_threads(threads)
            yield
            if program is not None:
                program.rest()

    return Runner(session.model, run_steps(session), around, random_state(torch.device("cpu")))


def _chosen(name: str, plan: str) -> tuple[Runner, dict[str, Any]]:
    """A plan adopted, and what was chosen."""
    from netwright.allocation import memory_kept
    from netwright.plans.adopting import adopt
    from netwright.plans.comparing import threads_as_before

    with threads_as_before(), memory_kept("cpu"):
        session = adopt(_prepared(name, plan))
        rounds = 1.0 if session.state.program is None else session.state.program.rounds
        return _netwright(session), {one.name: one.value for one in session.plan.choices} | {"rounds": rounds}


def _plain(name: str, updates: int, *, nudged: float = 0.0) -> list[Any]:
    """Parameters after so many plain updates in the chosen plan's layout; also where they are moved by roundings."""
    from netwright.plans.comparing import nudge

    session = _prepared(name, "auto")
    if nudged:
        nudge(session.state, nudged)
    runner = _netwright(session)
    for _ in range(updates // TURN):
        runner.turn()
    return runner.parameters()


def _agreement(
    name: str, chosen: list[Any], eager: list[Any], said: dict[str, Any], updates: int
) -> tuple[float, float]:
    """How far the chosen plan's parameters and plain ones part, as a share of the way; and how far they may."""
    from netwright.plans.comparing import allowed, share_of_way

    # a layout of its own draws a dropout's masks in another order
    plain = eager if said["memory_format"] == "contiguous" else _plain(name, updates)
    start = [one.detach() for one in _prepared(name, "auto").model.parameters()]
    share, most = share_of_way(start, plain, chosen), allowed(0.0)
    if share <= most:  # as for most, which need no other run
        return share, most
    return share, allowed(share_of_way(start, plain, _plain(name, updates, nudged=said["rounds"])))


def _case(options: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def run(name: str, *, compared: bool = True) -> dict[str, Any]:
        began = time.perf_counter()
        auto, said = _chosen(name, "auto")
        planned = time.perf_counter() - began
        runners = {"hand": _by_hand(name), "eager": _chosen(name, "eager")[0], "auto": auto}
        weights: dict[str, list[Any]] = {}
        # in all orders, so that none always follows the same one
        for round_, order in enumerate(itertools.cycle(itertools.permutations(runners)), start=1):
            for which in order:
                runners[which].turn()
            if round_ * TURN == options["compared"]:
                weights = {which: one.parameters() for which, one in runners.items()}
            timed = min(sum(one.taken) for one in runners.values()) * (TURN - UNTIMED)
            if round_ * TURN >= options["compared" if compared else "least"] and timed >= options["timed_s"]:
                break
        shares = sorted(a / b for a, b in zip(auto.taken, runners["hand"].taken, strict=True))
        reach = min(len(shares) // 2, round(0.98 * len(shares) ** 0.5))  # of the median's 95 % interval, by their order
        middle = len(shares) // 2
        answer = {which: statistics.median(one.taken) * 1e6 for which, one in runners.items()} | {
            "share": statistics.median(shares),
            "least": shares[middle - reach],
            "most": shares[min(middle + reach, len(shares) - 1)],
            "plan": f"{said['plan']}, {said['memory_format']}, {said['threads']} threads",
            "planned_s": planned,
        }
        if compared:
            both = _agreement(name, weights["auto"], weights["eager"], said, options["compared"])
            answer |= dict(zip(("difference", "tolerance"), both, strict=True))
        return answer | {"whole_s": time.perf_counter() - began}

    return run


MAKERS = {"case": _case}


def further(name: str, first: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """A module's answer with the times of further processes in it."""
    answers = [first]
    while len(answers) < PROCESSES:
        worker = Worker(__file__, Contestant("all", "case"), options)
        answers.append(worker.ask(name=name, compared=False))
        worker.close()
        tell(f"{name}, {len(answers)} of {PROCESSES}: {answers[-1]}")
        if "failed" in answers[-1]:
            return answers[-1]
    shares = [one["share"] for one in answers]
    return first | {
        **{which: statistics.median(one[which] for one in answers) for which in ("hand", "eager", "auto")},
        **{"share": statistics.median(shares), "least": min(shares), "most": max(shares)},
        "plan": "; or ".join(dict.fromkeys(one["plan"] for one in answers)),
    }


def row(name: str, one: dict[str, Any]) -> tuple[str, str]:
    """A line of the table, and the verdict: empty where all is well."""
    if "failed" in one:
        return f"| {name} | did not run: {one['failed']} | | | | | | | |", "did not run"
    verdicts = ["worse"] if one["share"] > WORSE and one["least"] > 1 else []
    verdicts += [] if one["difference"] <= one["tolerance"] else ["beyond its tolerance"]
    verdict = " and ".join(verdicts)
    return (
        f"| {name} | {one['hand']:,.0f} | {one['eager']:,.0f} | {one['auto']:,.0f} "
        f"| {one['share']:.3f} ({one['least']:.3f} to {one['most']:.3f}) | {one['plan']} "
        f"| {one['difference']:.1e} | {one['tolerance']:.1e} | {verdict} |"
    ), verdict


def main() -> int:
    """Measure, and say."""
    from odd_modules import CASES

    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="beginnings of names, as starter,block,LBFGS")
    asked = parser.parse_args()
    only = tuple(name for name in asked.only.split(",") if name)
    names = [name for name in CASES if not only or name.startswith(only)]
    page = Page("Never worse than the plain loop", asked, ABOUT, rivals=False)
    page.say("| module | by hand | eager | chosen | of by hand | plan | difference | tolerance | |")
    page.say("|---|--:|--:|--:|--:|---|--:|--:|---|")
    options = {"compared": COMPARED, "least": LEAST, "timed_s": TIMED_S * asked.repeats}
    options |= {"compared": 2 * TURN, "timed_s": 0.0} if asked.quick else {}
    verdicts, worker = [], None
    for name in names:
        worker = worker or Worker(__file__, Contestant("all", "case"), options)
        answer = worker.ask(name=name)
        tell(f"{name}: {answer}")
        if "failed" not in answer and answer["most"] >= 1 and not asked.quick:
            answer = further(name, answer, options)
        line, verdict = row(name, answer)
        page.say(line)
        verdicts += [verdict] if verdict else []
        if "failed" in answer:  # its process has ended
            worker.close()
            worker = None
    if worker is not None:
        worker.close()
    page.say("", f"{len(names)} modules; not well: {len(verdicts)}.")
    page.write("never_worse", asked)
    return 1 if verdicts else 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
