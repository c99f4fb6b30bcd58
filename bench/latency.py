"""How long one answer takes in a process, on one thread: the tutorial's network from a bundle, and as eager PyTorch.

    python bench/latency.py
    python bench/latency.py --write    # also into bench/results/latency.md

The network is that of examples/tutorial/net.py, for digits of 28 x 28. What is timed alike on both sides begins with a
stored picture, uint8 (1, 1, 28, 28), and ends with ten probabilities; the whole way begins with a PNG and ends
with an answer by names. Ways are asked in turn, so that noise meets all alike.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from common import ROOT, machine, spread, use_shared_data

RESULTS = ROOT / "bench" / "results" / "latency.md"
ROUNDS, CALLS, WARM = 15, 60, 50
EAGER, SCALED, GRAPH = "eager module, scaled tensor", "eager module, stored picture", "model.run, stored picture"
ANSWER, WHOLE = "predict, pixels as an array", "predict, a PNG"
Way = Callable[[], object]


def ways(folder: Path) -> dict[str, Way]:
    """What is timed, by name; all answer the same picture."""
    import numpy as np
    import torch
    from PIL import Image

    import netwright as nw
    from netwright.answering.model import Model
    from netwright.progress import Silent

    sys.path.insert(0, str(ROOT / "examples" / "tutorial"))
    from net import Net

    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (300, 28, 28), dtype=np.uint8), np.arange(300) % 10
    net = Net()  # how well it answers changes nothing in how long it takes
    run = nw.train(net, (images, labels), run=folder / "run", epochs=1, report=False, progress=Silent(), skip=["all"])
    bundle = nw.export(run, folder / "bundle", model=net, data=nw.load((images, labels)))
    predictor = nw.Predictor.open(bundle, threads=1)
    assert predictor.bundle is not None
    model = Model(predictor.bundle, threads=1)
    net.eval()
    pixels = images[0]
    stored = {"image": pixels[None, None]}
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    steps = {one.op: one for one in predictor.preprocess.tensor}
    factor, mean, std = steps["scale"].factor, *(getattr(steps["normalise"], one)[0] for one in ("mean", "std"))
    scaled = (torch.from_numpy(stored["image"]).float() * factor - mean) / std

    @torch.no_grad()
    def eager() -> torch.Tensor:
        return net(scaled).softmax(1)

    @torch.no_grad()
    def eager_stored() -> torch.Tensor:
        return net((torch.from_numpy(stored["image"]).float() * factor - mean) / std).softmax(1)

    found = {
        EAGER: eager,
        SCALED: eager_stored,
        GRAPH: lambda: model.run(stored),
        ANSWER: lambda: predictor.predict([pixels]),
        WHOLE: lambda: predictor.predict([held.getvalue()]),
    }
    (one,), (other,) = found[ANSWER](), found[WHOLE]()
    assert one == other and "error" not in one
    apart = np.abs(model.run(stored)["probabilities"] - eager().numpy()).max()
    assert apart < 1e-5, apart
    return found


def microseconds(way: Way) -> float:
    """Median of some calls."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        way()
        taken.append(1e6 * (time.perf_counter() - began))
    return statistics.median(taken)


def measured() -> Iterator[str]:
    """Lines of the page."""
    with tempfile.TemporaryDirectory() as folder:
        found = ways(Path(folder))
        for way in found.values():
            for _ in range(WARM):
                way()
        times: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(ROUNDS):
            for name, way in found.items():
                times[name].append(microseconds(way))
    yield "| | one answer | times as fast as the eager module |"
    yield "|---|---|--:|"
    base = times[SCALED]
    for name, values in times.items():
        ratio = statistics.median(one / other for one, other in zip(base, values, strict=True))
        yield f"| {name} | {spread(values, 'us', 0)} | {ratio:.2f} |"
    yield ""
    yield f"Each value is a median of {CALLS} calls; a ratio is the median of {ROUNDS} rounds, to “{SCALED}”."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.relative_to(ROOT)}")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    use_shared_data()
    versions = f"onnxruntime {metadata.version('onnxruntime')}"
    lines = ["# One answer in a process", "", f"{time.strftime('%Y-%m-%d')}, {machine()}, {versions}, one thread.", ""]
    print(*lines, sep="\n")
    for line in measured():
        print(line, flush=True)
        lines.append(line)
    if asked.write:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
