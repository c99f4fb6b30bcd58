"""The tutorial network on all of MNIST: the chosen recipe against the original one, both through netwright.

    python bench/tutorial_mnist.py                       # three seeds of the chosen recipe, one of the original
    python bench/tutorial_mnist.py --seeds 1 --no-original

Prints test accuracy with its interval, the time of training alone, and after how many seconds each recipe first had
0.98 on the test set. That curve is taken between epochs, with the clock stopped; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from common import ROOT, machine, spread, use_shared_data

ORIGINAL = {
    "loss": "CrossEntropyLoss",
    "optimizer": "SGD",
    "optimizer_args": {"momentum": 0.9},
    "lr": 0.001,
    "schedule": "constant",
    "batch_size": 64,
    "epochs": 10,
}
GOAL = 0.98


def run(seed: int, options: dict[str, object], until: float | None = None) -> tuple[list[tuple[float, float]], str]:
    """Train once; after each epoch the seconds of training so far and the test accuracy, and the final interval.

    Args:
        until: End where the test set has this accuracy; the schedule is that of the whole run all the same.
    """
    import torch

    import netwright as nw

    sys.path.insert(0, str(ROOT / "examples" / "tutorial"))
    from net import Net

    data = nw.load("mnist")
    torch.manual_seed(seed)
    net = Net()
    curve: list[tuple[float, float]] = []
    spent, began = 0.0, time.perf_counter()
    for step in nw.training_steps(net, data, seed=seed, **options):
        if step.epoch_end:
            spent += time.perf_counter() - began
            score = nw.evaluate(net, data, split="test", with_baselines=False).score("accuracy")
            curve.append((spent, score.value))
            print(f"  epoch {step.epoch}: {spent:.0f} s, test accuracy {score.value:.4f}", flush=True)
            if until is not None and score.value >= until:
                break
            began = time.perf_counter()
    return curve, f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})"


def reached(curve: list[tuple[float, float]], goal: float) -> float | None:
    return next((seconds for seconds, accuracy in curve if accuracy >= goal), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-original", action="store_true")
    arguments = parser.parse_args()
    use_shared_data()
    print(machine())
    chosen, to_goal = [], []
    for seed in range(arguments.seeds):
        print(f"chosen recipe, seed {seed}")
        curve, text = run(seed, {})
        print(f"  test accuracy {text} in {curve[-1][0]:.0f} s")
        chosen.append(curve[-1][1])
        to_goal.append(reached(curve, GOAL) or float("inf"))
    print(
        f"chosen recipe: mean test accuracy {statistics.mean(chosen):.4f} of {len(chosen)} seeds, "
        f"{spread(chosen, '', 4)}"
    )
    print(f"seconds to {GOAL}: {spread(to_goal, 's', 0)}")
    if arguments.no_original:
        return 0
    print("original recipe, seed 0")
    curve, text = run(0, ORIGINAL)
    print(f"  test accuracy {text} in {curve[-1][0]:.0f} s")
    original = reached(curve, GOAL)
    if original is None:
        print(f"original recipe: never had {GOAL}")
    else:
        print(f"way to {GOAL}: {original:.0f} s, {original / statistics.median(to_goal):.1f} times the chosen recipe's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
