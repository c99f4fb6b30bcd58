"""A residual network of ResNet-18's size on pictures of 32×32: pictures a second.

    python bench/cifar.py                # width 64, some 11 million parameters; minutes a turn on two cores
    python bench/cifar.py --width 16

The pictures are random, which is as fast to train on as any. The plain loops and Lightning are given float32 pictures,
normalised already; netwright keeps pixels as bytes and normalises each batch.
"""

from __future__ import annotations

import sys
from typing import Any

import speed_loops as loops
from speed_common import Contestant, Page, arguments, per_second, race, serve, table

BASE = "plain loop, resident tensors"
CONTESTANTS = (
    Contestant(BASE, "tensors"),
    Contestant("plain loop, DataLoader", "loader"),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan eager", "eager"),
    Contestant("netwright, plan kernels", "kernels"),
    Contestant("Lightning", "lightning"),  # from the project's environment, where it stands at the same version
)


def make_net(width: int) -> Any:
    """Eight blocks of two convolutions, as ResNet-18 has for CIFAR (He et al. 2016, arXiv:1512.03385)."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
                nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
            )  # fmt: skip
            same = stride == 1 and before == after
            self.past = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.body(x) + self.past(x)).relu()

    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    before = width
    for stage, factor in enumerate((1, 2, 4, 8)):
        after = width * factor
        layers += [Block(before, after, 1 if stage == 0 else 2), Block(after, after, 1)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def _work(options: dict[str, Any]) -> loops.Work:
    import torch

    generator = torch.Generator().manual_seed(0)
    count = options["count"]
    x = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    y = torch.arange(count) % 10
    work = loops.Work(
        lambda: make_net(options["width"]), x, y, batch=options["batch"], epochs=2, raw=x, options={"augment": ()}
    )
    loops.same_inputs(work, loops.load(work))
    return work


MAKERS = loops.makers(_work)


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__)
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage; 64 is ResNet-18")
    asked = parser.parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("A network of ResNet-18's size", asked, f"Width {asked.width}. {about}")
    options = {"width": 8 if asked.quick else asked.width, "count": 64 if asked.quick else 512}
    answers = race(__file__, CONTESTANTS, options | {"batch": 16 if asked.quick else 128}, repeats=asked.repeats)
    page.say(*table(answers, per_second, "pictures/s", base=BASE))
    page.write("cifar", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
