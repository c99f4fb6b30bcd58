"""The records of a run that a report reads, all but the evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from netwright.preprocess import DecodeImage, Normalise, Preprocess, Resize, Scale
from netwright.records import (
    Choice,
    DataSpec,
    Environment,
    FieldSpec,
    Finding,
    LoadOptions,
    NetSpec,
    Plan,
    RunSpec,
    Settings,
    SplitSpec,
    Unreadable,
)
from netwright.run import Run


def image_spec(classes: tuple[str, ...]) -> DataSpec:
    """The embedded digits, under any ten or more names."""
    # As a stratified 70/10/20 of the 1,797 digits would have it.
    sizes = {"train": 1257, "val": 180, "test": 360}
    shares = {name: np.arange(size) % len(classes) for name, size in sizes.items()}
    counts = {name: np.bincount(of_class, minlength=len(classes)) for name, of_class in shares.items()}
    return DataSpec(
        name="digits",
        source="digits",
        kind="image",
        task="classification",
        inputs=(FieldSpec(name="image", shape=(1, 28, 28), dtype="float32"),),
        target=FieldSpec(name="label", shape=(), dtype="int64"),
        classes=classes,
        splits={
            name: SplitSpec(count=int(of_class.sum()), class_counts=tuple(of_class.tolist()))
            for name, of_class in counts.items()
        },
        preprocess=Preprocess(
            operations=(
                DecodeImage(mode="L"),
                Resize(height=28, width=28),
                Scale(factor=1 / 255),
                Normalise(mean=(0.306,), std=(0.377,)),
            )
        ),
        options=LoadOptions(image_size=(28, 28)),
        choices=(
            Choice(
                name="splits",
                value="70/10/20",
                reason="no split was given; stratified, so that each split holds each class",
            ),
            Choice(name="image_size", value=(28, 28), reason="", asked=True),
            Choice(
                name="normalise", value={"mean": (0.306,), "std": (0.377,)}, reason="fitted on the training split only"
            ),
        ),
        unreadable=(Unreadable(name="six/broken-0412.png", reason="the file ends after 91 of 212 bytes"),),
        digest="b5" * 32,
    )


def run_spec() -> RunSpec:
    """What was asked of every run here."""
    return RunSpec(
        netwright="0.1.0",
        net=NetSpec(
            reference="examples/tutorial/net.py:Net",
            entry="net.py:Net",
            arguments={"hidden": "128"},
            class_name="Net",
            num_parameters=1_199_882,
            fingerprint="3f" * 32,
        ),
        data="digits",
        load=LoadOptions(image_size=(28, 28)),
        settings=Settings(epochs=8, lr=0.003, seed=7, log_every_steps=5),
    )


def common_files(folder: Path, spec: DataSpec, metric: str, generator: np.random.Generator) -> Run:
    """All files of a run but its evaluation."""
    folder.mkdir(parents=True)
    run = Run(folder)
    run.write_spec(run_spec())
    run.write(spec)
    run.write(
        Plan(
            choices=(
                Choice(name="epochs", value=8, reason="", asked=True),
                Choice(name="batch_size", value=32, reason="1,257 samples give 40 updates a pass"),
                Choice(
                    name="optimizer",
                    value="AdamW",
                    reason="adapts its step to each weight, so that one rate suits most networks",
                ),
                Choice(name="lr", value=0.003, reason="", asked=True),
                Choice(
                    name="schedule",
                    value="one_cycle",
                    reason="short runs gain most from a rate that rises and then falls to zero",
                ),
                Choice(
                    name="augment",
                    value=("shift",),
                    reason="moving a picture a little keeps its class; turning or mirroring it may not",
                ),
                Choice(name="monitor", value=f"val/{metric}", reason="it is what the result is judged by"),
                Choice(name="better", value="higher" if metric == "accuracy" else "lower", reason=f"of val/{metric}"),
                Choice(name="device", value="cpu", reason="no GPU is here"),
                Choice(
                    name="memory_format",
                    value="channels_last",
                    reason="2-D convolutions run over pixels with their channels side by side",
                ),
            )
        )
    )
    run.write(
        Environment(
            python="3.11.2",
            platform="Linux-6.1.0-x86_64",
            processor="AMD EPYC 7B13",
            cores=2,
            packages={"torch": "2.13.0+cpu", "numpy": "2.4.1", "scikit-learn": "1.8.0", "netwright": "0.1.0"},
            git="4f1c2ab",
            command=(
                "netwright",
                "train",
                "examples/tutorial/net.py:Net",
                "--data",
                "digits",
                "--image-size",
                "28",
                "--epochs",
                "8",
            ),
        )
    )
    run.write_findings(
        (
            Finding(
                code="D004",
                severity="warning",
                title="The same picture stands in two splits",
                where="train[12], test[3]",
                evidence="2 of 360 test pictures are equal to a training picture, byte for byte.",
                cure="Remove them from one split, or group them with --group-by.",
            ),
            Finding(
                code="D011",
                severity="note",
                title="Few samples a class",
                where="val",
                evidence="The smallest class has 14 samples.",
                cure="Read the intervals, not the points.",
            ),
        )
    )
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in _rows(metric, generator)), encoding="utf-8")
    run.weights_file.write_bytes(b"weights" * 1000)
    return run


def _rows(metric: str, generator: np.random.Generator) -> list[dict[str, float | str | bool]]:
    rows: list[dict[str, float | str | bool]] = []
    for epoch in range(1, 9):
        for step in range(5, 41, 5):
            at = (epoch - 1) * 40 + step
            loss = 2.3 * math.exp(-at / 60) + 0.06 + float(generator.normal(0, 0.02))
            score = 1 - 0.3 * loss if metric == "accuracy" else 40 + 30 * loss
            rows.append(
                {
                    "step": at,
                    "epoch": epoch,
                    "split": "train",
                    "loss": loss,
                    metric: score,
                    "lr": 0.003,
                    "samples_per_s": 9800.0,
                }
            )
        loss = 2.0 * math.exp(-epoch * 40 / 50) + 0.09 + 0.004 * epoch
        score = 1 - 0.3 * loss if metric == "accuracy" else 42 + 30 * loss
        rows.append(
            {"step": epoch * 40, "epoch": epoch, "split": "val", "loss": loss, metric: score, "epoch_end": True}
        )
    return rows
