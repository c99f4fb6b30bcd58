"""The same training by several hands: loops as they are written by hand, Lightning, skorch, and netwright.

Each function trains a workload anew and answers what it took. Only the epochs after the first are timed, so that
neither starting nor compiling is in it; ``whole_s`` is all of it. torch and the libraries are imported where used.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Answer = dict[str, Any]


@dataclass(slots=True)
class Work:
    """What is to be trained: a module, samples in memory, an optimizer of torch's with its usual arguments.

    Attributes:
        make: A fresh module with the same weights each time.
        x: Inputs as the module takes them; ``raw`` is what netwright is given, where it is to preprocess them itself.
        options: Further settings of netwright's.
    """

    make: Callable[[], Any]
    x: Any
    y: Any
    batch: int
    epochs: int
    lr: float = 1e-3
    optimizer: str = "AdamW"
    raw: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Updates an epoch."""
        return -(-len(self.x) // self.batch)


def order(count: int, epoch: int, seed: int = 0) -> np.ndarray:
    """The order of samples that netwright takes, spelt out, since the rivals' environment does not have it."""
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64)


def answer(work: Work, marks: list[float], net: Any, began: float, most: int = 20_000) -> Answer:
    """From the times at which the epochs ended; with the loss over ``most`` samples, and a digest of the weights."""
    later = len(marks) - 1
    parts = [value.detach().cpu().contiguous().numpy().tobytes() for value in net.state_dict().values()]
    return {
        "seconds": marks[-1] - marks[0],
        "steps": later * work.steps,
        "samples": later * len(work.x),
        "whole_s": marks[-1] - began,
        "loss": final_loss(net, work, most),
        "weights": hashlib.sha256(b"".join(parts)).hexdigest()[:12],
    }


def final_loss(net: Any, work: Work, most: int) -> float:
    """Mean loss in eval mode, wherever the network is."""
    import torch
    from torch import nn

    net.eval()
    loss, device = nn.CrossEntropyLoss(reduction="sum"), next(net.parameters()).device
    with torch.inference_mode():
        parts = zip(work.x[:most].split(500), work.y[:most].split(500), strict=True)
        return sum(float(loss(net(x.to(device)), y.to(device))) for x, y in parts) / min(most, len(work.x))


def _train(work: Work, batches: Callable[[int], Iterator[Any]]) -> Answer:
    """The loop as it is written by hand."""
    import torch
    from torch import nn

    began = time.perf_counter()
    net, loss_fn = work.make(), nn.CrossEntropyLoss()
    optimizer = getattr(torch.optim, work.optimizer)(net.parameters(), lr=work.lr)
    torch.manual_seed(0)
    marks = []
    for epoch in range(work.epochs):
        net.train()
        for x, y in batches(epoch):
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
        marks.append(time.perf_counter())
    return answer(work, marks, net, began)


def plain_loader(work: Work, workers: int = 0) -> Answer:
    """``DataLoader(TensorDataset)``, as the tutorials have it."""
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(work.x, work.y), batch_size=work.batch, shuffle=True, num_workers=workers)
    return _train(work, lambda epoch: iter(loader))


def plain_tensors(work: Work) -> Answer:
    """Samples lie in two tensors, and batches are indexed out of them."""
    import torch

    def batches(epoch: int) -> Iterator[Any]:
        for part in torch.from_numpy(order(len(work.x), epoch)).split(work.batch):
            yield work.x[part], work.y[part]

    return _train(work, batches)


def lightning(work: Work) -> Answer:
    """Its logger, checkpoints, bar and summary are off, which is its fastest."""
    import logging
    import warnings

    import pytorch_lightning as pl
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    marks: list[float] = []

    class Lit(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.loss_fn = work.make(), nn.CrossEntropyLoss()

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            return self.loss_fn(self.net(x), y)

        def configure_optimizers(self) -> Any:
            return getattr(torch.optim, work.optimizer)(self.parameters(), lr=work.lr)

        def on_train_epoch_end(self) -> None:
            marks.append(time.perf_counter())

    loader = DataLoader(TensorDataset(work.x, work.y), batch_size=work.batch, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=work.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Lit()
    torch.manual_seed(0)
    trainer.fit(module, loader)
    return answer(work, marks, module.net, began)


def skorch(work: Work) -> Answer:
    """Without a validation split and without printing."""
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback
    from torch import nn

    began = time.perf_counter()
    marks: list[float] = []

    class Clock(Callback):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            marks.append(time.perf_counter())

    trained = NeuralNetClassifier(
        work.make(), criterion=nn.CrossEntropyLoss, optimizer=getattr(torch.optim, work.optimizer), lr=work.lr,
        max_epochs=work.epochs, batch_size=work.batch, iterator_train__shuffle=True, train_split=None, verbose=0,
        callbacks=[Clock()],
    )  # fmt: skip
    torch.manual_seed(0)
    trained.fit(work.x.numpy(), work.y.numpy())
    return answer(work, marks, trained.module_, began)


def marks_of(stream: Any) -> Any:
    """A display of progress, printing to ``stream``, that notes when training began and epochs ended."""
    from netwright.progress import Lines

    class Marks(Lines):
        def __init__(self) -> None:
            super().__init__(stream)
            self.began, self.ended, self.epochs = 0.0, 0.0, []

        def start(self, **place: Any) -> None:
            super().start(**place)
            self.began = time.perf_counter()

        def row(self, row: Any) -> None:
            super().row(row)
            if row.get("epoch_end"):
                self.epochs.append(time.perf_counter())

        def stop(self) -> None:
            super().stop()
            self.ended = time.perf_counter()

    return Marks()


def load(work: Work, **options: Any) -> Any:
    """The work's samples as netwright's data, all of them for training."""
    import netwright as nw

    given = work.x if work.raw is None else work.raw
    return nw.load((given, work.y), val_fraction=0, test_fraction=0, **options)


def same_inputs(work: Work, data: Any) -> None:
    """Give the other loops what netwright's module is given: preprocessed once, before any clock runs."""
    from netwright.data import tensors

    name = data.spec.inputs[0].name
    work.x = tensors.apply_to(data.spec.preprocess, {name: work.x if work.raw is None else work.raw})[name]


def netwright(work: Work, data: Any, *, plan: str | None = None, **options: Any) -> Answer:
    """``nw.train`` with all that it does by default; ``whole_s`` also has its checks and its evaluation in it."""
    import netwright as nw

    if plan is not None:
        options["plan"] = plan
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        began, marks = time.perf_counter(), marks_of(nowhere)
        net = work.make()
        run = nw.train(
            net, data, run=f"{folder}/run", epochs=work.epochs, batch_size=work.batch, lr=work.lr, keep="last",
            optimizer=work.optimizer, progress=marks, report=False, **work.options, **options,
        )  # fmt: skip
        whole = time.perf_counter() - began
        chosen = {one.name: one.value for one in run.read_plan().choices}
    gave = answer(work, marks.epochs, net, began)
    return gave | {"whole_s": whole, "trained_s": marks.ended - began, "plan": str(chosen.get("plan", ""))}


def netwright_loop(work: Work, data: Any, *, plan: str | None = None, **more: Any) -> Answer:
    """``nw.training_steps``: the loop alone, which keeps no run, as the loops by hand do."""
    import netwright as nw

    began, marks = time.perf_counter(), []
    net = work.make()
    options = more if plan is None else more | {"plan": plan}
    options |= {"epochs": work.epochs, "batch_size": work.batch, "optimizer": work.optimizer, "lr": work.lr}
    for step in nw.training_steps(net, data, **work.options, **options):
        if step.epoch_end:
            marks.append(time.perf_counter())
    return answer(work, marks, net, began)


def makers(work_of: Callable[[dict[str, Any]], Work]) -> dict[str, Callable[[dict[str, Any]], Callable[[], Answer]]]:
    """What each contestant's worker runs on a workload of arrays."""

    def by_hand(function: Callable[..., Answer]) -> Any:
        def make(options: dict[str, Any]) -> Callable[[], Answer]:
            work = work_of(options)
            return lambda: function(work)

        return make

    def by_netwright(function: Callable[..., Answer], **asked: Any) -> Any:
        def make(options: dict[str, Any]) -> Callable[[], Answer]:
            work = work_of(options)
            data = load(work)
            return lambda: function(work, data, **asked)

        return make

    return {
        "loader": by_hand(plain_loader),
        "tensors": by_hand(plain_tensors),
        "lightning": by_hand(lightning),
        "skorch": by_hand(skorch),
        "netwright": by_netwright(netwright),
        "eager": by_netwright(netwright, plan="eager"),
        "recorded": by_netwright(netwright, plan="recorded"),
        "kernels": by_netwright(netwright, plan="kernels"),
        "split": by_netwright(netwright, plan="split"),
        "compiled": by_netwright(netwright, plan="compiled"),
        "compiled_alone": by_netwright(netwright, plan="compiled", threads=1),
        "recorded_alone": by_netwright(netwright, plan="recorded", threads=1),
        "loop": by_netwright(netwright_loop),
        "compiled_loop": by_netwright(netwright_loop, plan="compiled", threads=1),
    }
