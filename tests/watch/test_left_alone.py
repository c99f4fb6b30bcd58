"""A watched script does what it does when nobody watches, whatever it asks of torch; and memory does not grow."""

from __future__ import annotations

import contextlib
import gc
import io
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from faults.programs import watched
from netwright.checks.runner import untouched
from watch.alone import HEAD, LEFT_ALONE


def plainly(file: Path) -> str:
    """What a script prints when nobody watches."""
    printed = io.StringIO()
    with untouched(), contextlib.redirect_stdout(printed):
        runpy.run_path(str(file), run_name="__main__")
    return printed.getvalue()


def written(folder: Path, text: str) -> Path:
    """A script of the shared beginning and this text."""
    file = folder / "script.py"
    file.write_text(HEAD + text, encoding="utf-8")
    return file


def held() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    there = [one for one in gc.get_objects() if type(one) in (Tensor, nn.Parameter) and one.layout is torch.strided]
    return sum({one.data_ptr(): one.numel() * one.element_size() for one in there}.values())


@pytest.mark.filterwarnings("ignore")  # of torch about its own prototypes, with and without us
@pytest.mark.parametrize("name", LEFT_ALONE)
def test_a_script_prints_the_same_and_is_watched_to_its_end(name: str, tmp_path: Path) -> None:
    """Losses, weights and counted calls are those of the plain run, and no look of ours has failed."""
    file = written(tmp_path, LEFT_ALONE[name])
    plain = plainly(file)
    torch.compiler.reset()
    seen, printed = watched(file)
    torch.compiler.reset()
    assert printed == plain
    assert seen.trace.failed == ""


def test_a_look_that_fails_ends_the_watching_and_not_the_script(tmp_path: Path) -> None:
    """What a model raises when it is looked at is not the script's; the report says where watching stopped."""
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x):
        return self.inner(x)
    def parameters(self, recurse=True):
        raise RuntimeError("not for others")
net = Net()
optimizer = torch.optim.SGD(net.inner.parameters(), lr=0.1)
steps()
print(digest(net))
"""
    file = written(tmp_path, text)
    plain = plainly(file)
    seen, printed = watched(file)
    assert printed == plain
    assert seen.report is not None
    assert not seen.report.findings
    line = (HEAD + text).splitlines().index("        loss(net(x), y).backward()") + 1
    told = [one for one in seen.report.not_checked if one.startswith("watching stopped at ")]
    assert len(told) == 1
    assert f"script.py:{line}: RuntimeError: not for others" in told[0]


LOSSES = {
    "a function that trains": """
scale = nn.Parameter(torch.tensor(1.0))
optimizer = torch.optim.SGD([*net.parameters(), scale], lr=0.1, momentum=0.9)
def update(out, y):
    loss = F.cross_entropy(out * scale, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
def run():
    for _ in range(3):
        update(net(x), y)
def state():
    return digest(net), scale.item(), net[0].weight.grad is not None
""",
    "a function that calls one that trains": """
def apply(loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
def update(out, y):
    loss = F.cross_entropy(out, y)
    apply(loss)
    return loss
def run():
    for _ in range(3):
        update(net(x), y)
def state():
    return digest(net), net[0].weight.grad is not None
""",
    "a loss module with a state": """
class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(3))
    def forward(self, out, y):
        self.center.mul_(0.9).add_(out.detach().mean(0), alpha=0.1)
        return F.cross_entropy(out - self.center, y)
loss = Centred()
def run():
    steps(3, loss)
def state():
    return loss.center.tolist()
""",
    "a function that remembers": """
calls, most = [], {"loss": 0.0}
norm = nn.BatchNorm1d(3)
def loss(out, y):
    found = F.cross_entropy(norm(out), y)
    calls.append(found.item())
    most["loss"] = max(most["loss"], found.item())
    return found
def run():
    steps(3, loss)
def state():
    return len(calls), most["loss"], digest(norm)
""",
    "a method that remembers": """
class Trainer:
    def __init__(self):
        self.calls = []
    def loss(self, out, y):
        self.calls.append(1)
        return F.cross_entropy(out, y)
trainer = Trainer()
def run():
    steps(3, trainer.loss)
def state():
    return len(trainer.calls)
""",
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_examination_leaves_a_persons_loss_alone(name: str, tmp_path: Path) -> None:
    """What was learned, counted or remembered by the end of the block is so after the examination too."""
    end = """
import netwright
with netwright.watching(seconds=4) as seen:
    run()
    before = state()
after = state()
"""
    file = written(tmp_path, LOSSES[name] + end)
    with untouched():
        found = runpy.run_path(str(file), run_name="__main__")
    assert found["after"] == found["before"]
    assert found["seen"].trace.failed == ""
    refused = [one for one in found["seen"].report.not_checked if "not called again" in one]
    assert bool(refused) == ("trains" in name)


BIG = {
    "large batches of a loader": """
class Big(torch.utils.data.Dataset):
    def __len__(self):
        return 60
    def __getitem__(self, index):
        return torch.full((2_000_000,), 1.0), index % 3
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x):
        return self.inner(x[:, :8])
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
for size in (2, 10):  # 16 MB, and 80 MB, more than is kept at all
    for a, b in torch.utils.data.DataLoader(Big(), size):
        optimizer.zero_grad()
        F.cross_entropy(net(a), b).backward()
        optimizer.step()
    with torch.no_grad():
        for a, b in torch.utils.data.DataLoader(Big(), size):
            net(a)
""",
    "large outputs of small batches": """
net = nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 1000))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
for _ in range(30):  # outputs of 8 MB
    x = torch.randint(0, 1000, (8, 250))
    optimizer.zero_grad()
    F.cross_entropy(net(x).flatten(0, 1), x.flatten()).backward()
    optimizer.step()
""",
}


@pytest.mark.parametrize("name", BIG)
def test_what_is_kept_of_large_batches_is_limited(name: str, tmp_path: Path) -> None:
    """Of some hundred megabytes that went by, less than 300 are kept."""
    before = held()
    seen, _ = watched(written(tmp_path, BIG[name]))
    assert seen.trace.failed == ""
    assert seen.trace.num_backwards >= 30
    assert held() - before < 300_000_000


def test_a_large_data_set_is_not_copied(tmp_path: Path) -> None:
    """Of half a gigabyte no copy is made, neither to read from nor to see whether reading changes it."""
    text = """
import numpy as np
from pathlib import Path
class Big(torch.utils.data.Dataset):
    def __init__(self):
        self.x = np.zeros((1000, 125_000), dtype=np.float32)
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        return torch.from_numpy(self.x[index, :8].copy()), index % 3
    def __deepcopy__(self, memo):
        Path(__file__).with_suffix(".copied").touch()
        raise RuntimeError
for a, b in torch.utils.data.DataLoader(Big(), 100):
    optimizer.zero_grad()
    F.cross_entropy(net(a), b).backward()
    optimizer.step()
"""
    file = written(tmp_path, text)
    watched(file)
    assert not file.with_suffix(".copied").exists()


def test_of_many_models_the_first_are_looked_at_and_the_others_counted(tmp_path: Path) -> None:
    """Thirty models one after the other, a loss module for each step: what the script lets go of, goes."""
    text = """
for _ in range(30):
    net = make()
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(3):
        steps(1, nn.CrossEntropyLoss())
print(digest(net))
"""
    file = written(tmp_path, text)
    plain = plainly(file)
    before = _losses_alive()
    seen, printed = watched(file)
    assert printed == plain
    assert len(seen.trace.models) == len(seen.trace.optimizers) - 1 == 8  # one optimizer was never used
    assert seen.trace.num_backwards == 90
    assert seen.report is not None
    assert any(one.startswith("22 more models: ") for one in seen.report.not_checked)
    assert not [one for one in seen.report.findings if one.severity == "error"]
    assert _losses_alive() - before < 90  # other tests may have left some


def _losses_alive() -> int:
    gc.collect()
    return sum(issubclass(type(one), nn.CrossEntropyLoss) for one in gc.get_objects())


def test_an_optimizer_made_anew_in_each_round_is_no_fault_of_gradients(tmp_path: Path) -> None:
    """Later rounds are only counted; nothing is said of steps that were not looked at."""
    text = """
for _ in range(20):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    steps(4)
"""
    seen, _ = watched(written(tmp_path, text))
    assert seen.trace.steps == seen.trace.num_backwards == 80
    assert seen.report is not None
    assert not [one for one in seen.report.findings if one.severity == "error"]


def test_layers_that_are_made_in_the_first_call_are_seen(tmp_path: Path) -> None:
    """A module that had no parameters when it was first called is a model once it has some."""
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = None
    def forward(self, x):
        if self.inner is None:
            self.inner = nn.Linear(x.shape[1], 3)
        return self.inner(x)
net = Net()
net(x[:2])
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
steps()
"""
    seen, _ = watched(written(tmp_path, text))
    assert [model.name for model in seen.trace.trained()] == ["Net"]


def test_backward_passes_without_a_model_are_told(tmp_path: Path) -> None:
    """Where only tensors are trained, the report says that no model was seen."""
    text = """
weight = nn.Parameter(torch.randn(8, 3))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(x @ weight, y).backward()
    optimizer.step()
"""
    seen, _ = watched(written(tmp_path, text))
    assert seen.report is not None
    assert "the loop: no model of the backward passes was seen" in seen.report.not_checked


def test_a_gan_is_not_told_that_its_labels_contradict_each_other(tmp_path: Path) -> None:
    """A pass of the discriminator within the generator's step is nothing that the discriminator learns from."""
    text = """
G = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
D = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
of_g, of_d = torch.optim.Adam(G.parameters(), 1e-3), torch.optim.Adam(D.parameters(), 1e-3)
loss = nn.BCEWithLogitsLoss()
one, zero = torch.ones(64, 1), torch.zeros(64, 1)
for _ in range(60):
    real, fake = torch.randn(64, 2) * 0.1 + 1, G(torch.randn(64, 4))
    of_d.zero_grad()
    (loss(D(real), one) + loss(D(fake.detach()), zero)).backward()
    of_d.step()
    of_g.zero_grad()
    loss(D(fake), one).backward()
    of_g.step()
"""
    seen, _ = watched(written(tmp_path, text))
    assert seen.report is not None
    assert not seen.report.findings
    second = seen.trace.models[1]
    assert [batch.trained for batch in second.batches[:6]] == [True, True, False] * 2
