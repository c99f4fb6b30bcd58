"""On a GPU: the tutorial network, a small MLP and a fast CIFAR network; by a plain loop, a graph captured by hand, us.

    python bench/gpu.py                             # some five minutes; --repeats 1 half of that
    python bench/gpu.py --device cpu --quick        # to see that it works where there is no GPU

All samples of the loops by hand lie on the device, preprocessed. The captured graph holds a whole update, forward,
backward and AdamW; batches are copied into its inputs. Networks of pictures run in bfloat16, channels last, the MLP in
float32. netwright is given arrays in the machine's memory and takes the plan that it finds best for so short a run, or
is told to compile its update, or to do it plainly, channel after channel; of its run, without the evaluation after it,
the epochs after the first are timed, as of the others.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import speed_loops as loops
from common import ROOT
from speed_common import Page, arguments, per_second, per_step_us, table, tell

SECONDS = 400  # after these no new turn begins
PLAIN = "plain loop"


@dataclass(slots=True)
class Job:
    """A workload and how it runs on the device."""

    title: str
    work: loops.Work
    data: Any
    device: str
    half: bool

    def network(self) -> Any:
        """The network on the device, in the layout it runs in."""
        import torch

        net = self.work.make().to(self.device)
        return net.to(memory_format=torch.channels_last) if self.half else net

    def precision(self) -> Any:
        """The autocast to run the forward pass in; without its cache, which a graph must not keep."""
        import torch

        if not self.half:
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16, cache_enabled=False)

    def samples(self) -> tuple[Any, Any]:
        """Inputs and targets on the device."""
        import torch

        x = self.work.x.to(self.device)
        return x.to(memory_format=torch.channels_last) if self.half else x, self.work.y.to(self.device)

    def wait(self) -> float:
        """The time, when the device has done all."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def tutorial(count: int) -> tuple[Callable[[], Any], Any, int]:
    """The tutorial's network, on grey pictures of 28×28."""
    import torch

    sys.path.insert(0, str(ROOT / "examples" / "tutorial"))
    from net import Net

    return Net, torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8), 256


def mlp(count: int) -> tuple[Callable[[], Any], Any, int]:
    """20-64-64-10 on rows of a table."""
    import torch
    from torch import nn

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    return make, torch.randn(count, 20), 64


def fast_cifar(count: int) -> tuple[Callable[[], Any], Any, int]:
    """Nine layers with two residual pairs, as David Page's DAWNBench entry of 2018 has them; batches of 1,024."""
    import torch
    from torch import nn

    def conv(before: int, after: int, *more: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), *more)

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(width, width), conv(width, width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    def make() -> nn.Module:
        return nn.Sequential(
            conv(3, 64), conv(64, 128, nn.MaxPool2d(2)), Residual(128), conv(128, 256, nn.MaxPool2d(2)),
            conv(256, 512, nn.MaxPool2d(2)), Residual(512), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip

    return make, torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8), 1_024


def job(title: str, made: tuple[Callable[[], Any], Any, int], epochs: int, device: str, quick: bool) -> Job:
    """The same first weights each time, and inputs as netwright preprocesses them."""
    import torch

    kind, raw, batch = made

    def make() -> Any:
        torch.manual_seed(0)
        return kind()

    work = loops.Work(
        make, raw, torch.arange(len(raw)) % 10, batch=16 if quick else batch, epochs=3 if quick else epochs, raw=raw
    )
    data = loops.load(work)
    loops.same_inputs(work, data)
    return Job(title, work, data, device, half=raw.ndim == 4)


def plain(one: Job) -> dict[str, Any]:
    """The loop as it is written by hand."""
    import torch
    from torch import nn

    net, loss_fn, (x, y) = one.network(), nn.CrossEntropyLoss(), one.samples()
    optimizer = torch.optim.AdamW(net.parameters(), lr=one.work.lr)
    began, marks = one.wait(), []
    for epoch in range(one.work.epochs):
        for part in torch.from_numpy(loops.order(len(x), epoch)).to(one.device).split(one.work.batch):
            optimizer.zero_grad()
            with one.precision():
                outputs = net(x[part])
            loss = loss_fn(outputs.float(), y[part])
            loss.backward()
            optimizer.step()
        marks.append(one.wait())
    return loops.answer(one.work, marks, net, began, most=2_000)


def captured(one: Job) -> dict[str, Any]:
    """A whole update in a CUDA graph, captured after three updates on a side stream, which are undone."""
    import torch
    from torch import nn

    net, loss_fn, (x, y) = one.network(), nn.CrossEntropyLoss(), one.samples()
    optimizer = torch.optim.AdamW(net.parameters(), lr=one.work.lr, capturable=True)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    inputs, targets = x[: one.work.batch].clone(), y[: one.work.batch].clone()

    def update() -> None:
        with one.precision():
            outputs = net(inputs)
        loss_fn(outputs.float(), targets).backward()
        optimizer.step()

    began = one.wait()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad()
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        update()
    net.load_state_dict(first)
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()
    marks = []
    for epoch in range(one.work.epochs):
        for part in torch.from_numpy(loops.order(len(x), epoch)).to(one.device).split(one.work.batch):
            inputs.copy_(x[part])
            targets.copy_(y[part])
            graph.replay()
        marks.append(one.wait())
    return loops.answer(one.work, marks, net, began, most=2_000)


def ours(one: Job, plan: str) -> dict[str, Any]:
    """netwright's run, with its metrics, history and checkpoints; without what comes after training."""
    from netwright.options import make_options
    from netwright.records import Settings
    from netwright.training import train

    asked = {
        "epochs": one.work.epochs, "batch_size": one.work.batch, "optimizer": "AdamW", "lr": one.work.lr, "plan": plan,
        "device": one.device, "dtype": "bfloat16" if one.half else "float32", "keep": "last", "skip": "all",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        net, marks = one.work.make(), loops.marks_of(nowhere)
        began = one.wait()
        run = train(net, one.data, run=f"{folder}/run", progress=marks, settings=make_options(Settings, asked))
        chosen = next(choice for choice in run.read_plan().choices if choice.name == "plan")
        plan = f"{chosen.value}: {chosen.reason}"
        return loops.answer(one.work, marks.epochs, net, began, most=2_000) | {"plan": plan}


def main() -> int:
    """Measure, and say."""
    import torch

    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print(f"No GPU here that torch {torch.__version__} can use (torch.cuda.is_available() is False): not measured.")
        return 0
    began = time.perf_counter()
    page = Page("On a GPU", asked, " ".join((__doc__ or "").split("\n\n")[2].split()), rivals=False)
    page.say(f"Device: {torch.cuda.get_device_name() if asked.device == 'cuda' else 'cpu'}.", "")
    small = 64 if asked.quick else 0
    jobs = [
        job("A small MLP, batches of 64", mlp(small or 20_480), 12, asked.device, asked.quick),
        job("The tutorial network, batches of 256", tutorial(small or 51_200), 8, asked.device, asked.quick),
        job("A fast CIFAR network, batches of 1,024", fast_cifar(small or 51_200), 5, asked.device, asked.quick),
    ]
    hands: dict[str, Callable[[Job], dict[str, Any]]] = {
        PLAIN: plain,
        "CUDA graph by hand": captured,
        "netwright": lambda one: ours(one, "auto"),
        "netwright, plan compiled": lambda one: ours(one, "compiled"),
        "netwright, plan eager": lambda one: ours(one, "eager"),
    }
    if asked.device == "cpu":
        del hands["CUDA graph by hand"]
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {one.title: {name: [] for name in hands} for one in jobs}
    for turn in range(asked.repeats + 1):
        if turn > 1 and time.perf_counter() - began > SECONDS * turn / (turn + 1):
            tell(f"out of time after {turn - 1} turns")
            break
        for one in jobs:
            for name, run in hands.items():
                try:
                    answer = run(one)
                except Exception as error:  # told in the table; the others still run
                    answer = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"}
                tell(f"{turn}/{asked.repeats} {one.title}, {name}: {answer.get('failed') or answer['seconds']}")
                if turn or "failed" in answer:
                    answers[one.title][name].append(answer)
    for one in jobs:
        page.say(f"## {one.title}", "")
        page.say(*table(answers[one.title], per_step_us, "µs an update", base=PLAIN)[:-2], "")
        held = {name: given for name, given in answers[one.title].items() if given and "failed" not in given[-1]}
        rates = (f"{name} {statistics.median(map(per_second, given)):,.0f}" for name, given in held.items())
        page.say(f"Samples/s: {'; '.join(rates)}.", "")
        plans = {name: given[-1]["plan"] for name, given in held.items() if "plan" in given[-1]}
        page.say(*(f"- {name}, {plan}." for name, plan in plans.items()), "")
    page.say(f"All of it took {time.perf_counter() - began:.0f} s.")
    page.write("gpu", asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
