"""The tutorial network on MNIST: samples a second in training and in evaluation, and how near that is to the machine.

    python bench/mnist.py
    python bench/mnist.py --accuracy          # also seconds to 0.99 of the test set, which takes a quarter of an hour

The plain loop has all samples preprocessed in two tensors, which is more than most scripts do; so has the plain
evaluation, beside which there are those with a ``DataLoader``, batches of 64 and of 1,000 and ``no_grad``. The
machine's peak is what ``torch.mm`` of large float32 matrices reaches in the same run, between the others.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import speed_loops as loops
from common import ROOT, spread
from speed_common import Answer, Contestant, Page, Runner, arguments, per_second, race, serve, table
from tutorial_mnist import ORIGINAL, reached, run

PLAIN, PEAK = "plain loop, resident tensors", "torch.mm"
TRAINING = (
    Contestant(PLAIN, "tensors"),
    Contestant("plain loop, DataLoader", "loader"),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan eager", "eager"),
    Contestant("netwright, plan recorded", "recorded"),
    Contestant("netwright, plan kernels", "kernels"),
    Contestant("netwright, plan compiled", "compiled"),
)
EVALUATION = (
    Contestant("plain evaluation", "plain_eval"),
    Contestant("plain evaluation, DataLoader, 64", "loader_eval", options={"batch": 64}),
    Contestant("plain evaluation, DataLoader, 1,000", "loader_eval", options={"batch": 1_000}),
    Contestant("netwright's evaluation", "netwright_eval"),
)
MACHINE = (Contestant(PEAK, "peak"),)
GOAL = 0.99
EVAL_BATCH = 512


def make_net() -> Any:
    """The tutorial's network, with the same weights each time."""
    import torch

    sys.path.insert(0, str(ROOT / "examples" / "tutorial"))
    from net import Net

    torch.manual_seed(0)
    return Net()


def _work(options: dict[str, Any]) -> loops.Work:
    import numpy as np

    import netwright as nw

    source = nw.load("mnist").train
    fields, targets = source.gather(np.arange(options["samples"]))
    raw = next(iter(fields.values()))
    plain = {"augment": ()}  # as the other loops have it
    work = loops.Work(make_net, raw, targets.long(), batch=64, epochs=2, raw=raw, options=plain)
    loops.same_inputs(work, loops.load(work))
    return work


def _plain_eval(options: dict[str, Any]) -> Runner:
    import torch

    work, net = _work(options), make_net().eval()

    def evaluate() -> Answer:
        began = time.perf_counter()
        right = 0
        with torch.inference_mode():
            for x, y in zip(work.x.split(EVAL_BATCH), work.y.split(EVAL_BATCH), strict=True):
                right += int((net(x).argmax(1) == y).sum())
        return {"seconds": time.perf_counter() - began, "samples": len(work.x), "loss": right / len(work.x)}

    return evaluate


def _loader_eval(options: dict[str, Any]) -> Runner:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    work, net = _work(options), make_net().eval()

    def evaluate() -> Answer:
        began = time.perf_counter()
        right = 0
        loader = DataLoader(TensorDataset(work.x, work.y), batch_size=options["batch"])
        with torch.no_grad():
            for x, y in loader:
                right += (net(x).argmax(1) == y).sum().item()
        return {"seconds": time.perf_counter() - began, "samples": len(work.x), "loss": right / len(work.x)}

    return evaluate


def _netwright_eval(options: dict[str, Any]) -> Runner:
    import netwright as nw

    work, net = _work(options), make_net()
    data = loops.load(work)

    def evaluate() -> Answer:
        began = time.perf_counter()
        score = nw.evaluate(net, data, split="train", with_baselines=False).score("accuracy")
        return {"seconds": time.perf_counter() - began, "samples": len(work.x), "loss": score.value}

    return evaluate


def _peak(options: dict[str, Any]) -> Runner:
    import torch

    size = options["matrix"]
    a, b = torch.randn(size, size), torch.randn(size, size)

    def multiply() -> Answer:
        began = time.perf_counter()
        for _ in range(4):
            torch.mm(a, b)
        return {"seconds": time.perf_counter() - began, "flop": 4 * 2 * size**3}

    return multiply


MAKERS = loops.makers(_work) | {
    "plain_eval": _plain_eval,
    "loader_eval": _loader_eval,
    "netwright_eval": _netwright_eval,
    "peak": _peak,
}


def flop_a_sample() -> tuple[float, float]:
    """Of products and convolutions: of a training step, and of a forward pass, a sample."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net, x = make_net(), torch.zeros(8, 1, 28, 28)
    with FlopCounterMode(display=False) as forward:
        out = net(x)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    once = forward.get_total_flops() / 8
    return once + backward.get_total_flops() / 8, once


def shares(page: Page, answers: dict[str, list[Answer]]) -> None:
    """What part of the measured peak each reaches."""
    peak = statistics.median(one["flop"] / one["seconds"] for one in answers[PEAK])
    training, once = flop_a_sample()
    page.say(f"`torch.mm` of large float32 matrices: {peak / 1e9:,.0f} GFLOP/s. To train on a sample takes")
    page.say(f"{training / 1e6:.1f} MFLOP, to answer one {once / 1e6:.1f}: at that peak {peak / training:,.0f} and")
    page.say(f"{peak / once:,.0f} samples/s. Counted are the products of a convolution's definition: plan kernels")
    page.say("takes a quarter of those of 3x3, and may pass the peak.", "")
    page.say("| | share of the peak |", "|---|--:|")
    for one in (*TRAINING, *EVALUATION):
        held = [answer for answer in answers[one.name] if "failed" not in answer]
        flop = training if one in TRAINING else once
        if held:
            page.say(f"| {one.name} | {statistics.median(map(per_second, held)) * flop / peak:.0%} |")
    page.say("")


def accuracy(page: Page, seeds: int) -> None:
    """Seconds to 0.99 of the test set, against the original recipe's to its own final accuracy."""
    chosen = [reached(run(seed, {"plan": "kernels"}, until=GOAL)[0], GOAL) for seed in range(seeds)]
    there = [seconds for seconds in chosen if seconds is not None]
    curve, text = run(0, ORIGINAL)
    first = reached(curve, curve[-1][1])
    page.say("## Time to accuracy", "")
    page.say(f"netwright's recipe reached {GOAL} of the test set in {len(there)} of {seeds} seeds.")
    page.say(f"Seconds of training: {spread(there, 's', 1) if there else 'none'}.")
    page.say(f"The original recipe ended at {text} after {curve[-1][0]:.0f} s, and first had that after {first:.0f} s.")
    if there:
        page.say(f"That is {first / statistics.median(there):.1f} times as long.")


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__)
    parser.add_argument("--accuracy", action="store_true", help="also the time to 0.99, of three seeds")
    asked = parser.parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("The tutorial network on MNIST", asked, f"{about} AdamW, batches of 64.")
    options = {"samples": 640 if asked.quick else 6_400, "matrix": 1_024 if asked.quick else 2_048}
    answers = race(__file__, (*TRAINING, *EVALUATION, *MACHINE), options, repeats=asked.repeats)
    training = {one.name: answers[one.name] for one in TRAINING}
    evaluation = {one.name: answers[one.name] for one in EVALUATION}
    page.say("## Training", "", *table(training, per_second, "samples/s", base=PLAIN), "")
    page.say("## Evaluation", "")
    page.say("netwright also computes scores, intervals and calibration; both answer each sample once.", "")
    page.say(*table(evaluation, per_second, "samples/s", base="plain evaluation", last="accuracy", within=0.001), "")
    page.say("## Against the machine", "")
    shares(page, answers)
    if asked.accuracy:
        accuracy(page, 1 if asked.quick else 3)
    page.write("mnist", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
