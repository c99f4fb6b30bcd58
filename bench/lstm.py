"""An LSTM of 128 on sequences of 50 steps, batches of 32, and a GRU: samples a second.

    python bench/lstm.py
    python bench/lstm.py --quick --repeats 2

Sequences of eight numbers a step, four classes, AdamW; the class is read from the mean of the states. The plain loops,
Lightning and skorch train the same module from the same weights.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import speed_loops as loops
from speed_common import Contestant, Page, arguments, per_second, race, serve, table

BASE = "plain loop, resident tensors"
CONTESTANTS = (
    Contestant(BASE, "tensors"),
    Contestant("plain loop, DataLoader", "loader"),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan eager", "eager"),
    Contestant("netwright, plan recorded", "recorded"),
    Contestant("netwright, plan kernels", "kernels"),
    Contestant("netwright, plan split", "split"),
    Contestant("Lightning", "lightning", rival=True),
    Contestant("skorch", "skorch", rival=True),
)
GRU_BASE = "GRU, plain loop, resident tensors"
GRU = (
    Contestant(GRU_BASE, "gru_tensors"),
    Contestant("GRU, netwright", "gru_netwright"),
    Contestant("GRU, netwright, plan kernels", "gru_kernels"),
)


def make_net(kind: str = "LSTM") -> Any:
    """The network, with the same weights each time."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(nn, kind)(8, 128, batch_first=True)
            self.out = nn.Linear(128, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x)[0].mean(1))

    torch.manual_seed(0)
    return Net()


def _work(options: dict[str, Any], kind: str = "LSTM") -> loops.Work:
    import torch

    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (options["count"],), generator=generator)
    x = torch.randn(options["count"], 50, 8, generator=generator).cumsum(1) * 0.2
    x = x + torch.sin(torch.arange(50)[None, :, None] * (0.2 + 0.1 * y[:, None, None]))
    return loops.Work(partial(make_net, kind), x, y, batch=32, epochs=6)


MAKERS = loops.makers(_work)
MAKERS |= {f"gru_{name}": make for name, make in loops.makers(partial(_work, kind="GRU")).items()}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    page = Page("An LSTM on sequences", asked, " ".join((__doc__ or "").split("\n\n")[2].split()))
    for contestants, base in ((CONTESTANTS, BASE), (GRU, GRU_BASE)):
        answers = race(__file__, contestants, {"count": 128 if asked.quick else 3_200}, repeats=asked.repeats)
        page.say(*table(answers, per_second, "samples/s", base=base))
    page.write("lstm", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
