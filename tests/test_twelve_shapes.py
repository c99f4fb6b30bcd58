"""Twelve shapes of plain module are trained, evaluated and opened again, unedited."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

import netwright as nw
from netwright import training
from netwright.checkpoints import digest_of
from netwright.inference import open_trained
from netwright.progress import Silent
from netwright.records import Settings
from test_binding import SHAPES, TWELVE, make


class Digits(Dataset):
    """Real digits as mappings, with a second field made from the picture where it is wanted."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.source, self.fields = nw.load("digits").train, fields
        self.targets = torch.from_numpy(self.source.targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image = self.source.inputs["image"][index].float() / 255
        whole = {"image": image, "table": image.reshape(4, 16).mean(1)}
        return {name: whole[name] for name in self.fields} | {"label": self.targets[index]}


@pytest.mark.parametrize("name", TWELVE)
def test_it_trains_and_opens_again(name: str, tmp_path: Path) -> None:
    """The loss falls, the weights load into the plain class by its own names, and the run opens from its folder."""
    model, fields, text = make(name)
    reference, arguments, _, _ = TWELVE[name]
    data = Digits(fields)
    data.targets = data.targets[:600]
    loaded = nw.load(data)
    run = training.train(
        model,
        loaded,
        run=tmp_path / "run",
        progress=Silent(),
        reference=None if reference is None else f"{SHAPES}/{reference}",
        arguments=arguments,
        settings=Settings(epochs=6, batch_size=16, lr=0.01, keep="last"),
    )
    losses = [row["loss"] for row in run.read_metrics() if row["split"] == "train"]
    assert losses[-1] < 0.97 * losses[0]
    assert run.read_plan()["inputs"] == text
    opened = open_trained(run, model=make(name)[0] if reference is None else None)
    assert digest_of(opened.model.state_dict()) == digest_of(model.state_dict())
    evaluation = nw.evaluate(run, loaded, model=model, with_baselines=False)
    assert 0 <= evaluation.score("accuracy").low <= evaluation.score("accuracy").high <= 1


@pytest.mark.parametrize("name", ["star args", "tied weights", "buffers"])
def test_it_resumes(name: str, tmp_path: Path) -> None:
    """Lazy layers, tied weights and buffers come back from a checkpoint."""
    _, fields, _ = make(name)
    reference, arguments, _, _ = TWELVE[name]
    data = Digits(fields)
    data.targets = data.targets[:600]
    loaded = nw.load(data)
    ends = []
    for folder in ("whole", "again"):
        model = make(name)[0]
        run = training.train(
            model,
            loaded,
            run=tmp_path / folder,
            progress=Silent(),
            reference=f"{SHAPES}/{reference}",
            arguments=arguments,
            settings=Settings(epochs=2, batch_size=32, checkpoint_every_steps=10),
        )
        if folder == "again":
            for newest in sorted(run.checkpoints.glob("step-*"))[1:]:
                for file in newest.iterdir():
                    file.unlink()
                newest.rmdir()
            training.resume(run, data=loaded)
        ends.append(digest_of(open_trained(run).model.state_dict()))
    assert ends[0] == ends[1]
