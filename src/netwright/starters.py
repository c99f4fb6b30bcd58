"""Starters: one short plain module each, with the commands to run it and a test. What ``netwright new`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from netwright.disk import atomic_write_text
from netwright.errors import UsageError, unknown_name


@dataclass(frozen=True, slots=True)
class Starter:
    """What a starter is for.

    Attributes:
        title: In one line.
        data: A source it can be tried on.
        inputs: Python that makes a batch of two, for its test.
        outputs: Shape of the answer to that batch.
    """

    title: str
    data: str
    inputs: str
    outputs: tuple[int, ...]


RUNNING = "examples/texts/plays.txt"
TEXTS = "examples/texts/requests.csv"
FOLLOWED = "torch.tensor([[5, 7, 9, 2], [4, 8, 3, 6]])"
TAGS = "examples/texts/tags.conll"
PICTURES = "torch.rand(2, 1, 28, 28)"
TOKENS = "torch.tensor([[5, 7, 9, 2], [4, 8, 0, 0]])"
MASK = "torch.tensor([[True, True, True, True], [True, True, False, False]])"
STARTERS = {
    "mlp": Starter("a multi-layer perceptron, for pictures as a start", "digits", PICTURES, (2, 10)),
    "cnn": Starter("a convolutional network, for pictures", "digits", PICTURES, (2, 10)),
    "rnn": Starter("a two-way LSTM, for texts", TEXTS, f"{TOKENS}, torch.tensor([4, 2]), {MASK}", (2, 2)),
    "text": Starter(
        "embedding, convolution and self-attention, for texts", TEXTS, f"{TOKENS}, {MASK}", (2, 2)
    ),
    "table": Starter(
        "embedded numbers and categories, for tables", "examples/tables/deliveries.csv",
        "torch.rand(2, 4), torch.tensor([[1, 2], [0, 4]])", (2, 2),
    ),
    "series": Starter(
        "a linear forecast and what a small network adds, for series", "examples/series/visitors.csv",
        "torch.rand(2, 56, 1), torch.rand(2, 7, 4)", (2, 7),
    ),
    "lm": Starter("a language model of characters or other tokens, for running texts", RUNNING, FOLLOWED, (2, 4, 256)),
    "tagger": Starter(
        "embedding, spelling and a two-way LSTM, to tag the words of sentences", TAGS,
        f"{TOKENS}, torch.ones(2, 4, 6, dtype=torch.long), {TOKENS}, torch.tensor([4, 2]), {MASK}", (2, 4, 2)
    ),
    "speech": Starter(
        "spectra, convolutions and a two-way GRU, to tell sounds apart", "examples/sounds",
        "torch.randn(2, 16000), torch.tensor([16000, 9000])", (2, 2),
    ),
    "transcriber": Starter(
        "spectra, convolutions and two-way GRUs, to write down speech", "fsdd --task transcription",
        "torch.randn(2, 16000), torch.tensor([16000, 9000])", (2, 50, 28),
    ),
}  # fmt: skip

README = """# {name}: {title}

The network is `net.py`, plain PyTorch: change what you like. Its constructor's `num_classes` and the like are filled in
from the data.

```console
netwright train net.py:Net --data {data}
netwright evaluate RUN
netwright predict RUN INPUT …
python -m pytest test_net.py
```
"""
TEST = '''"""The network answers a batch with the shape that is wanted, and learns from it."""

import torch

from net import Net


def test_answers_have_their_shape_and_gradients_reach_all_weights() -> None:
    """One row for each sample; no weight is left out."""
    net = Net()
    answers = net({inputs})
    assert answers.shape == {outputs}
    answers.square().sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
'''


def write_starter(name: str, folder: Path) -> list[Path]:
    """Write a starter's files.

    Returns:
        The files: net.py, README.md and test_net.py.

    Raises:
        UnknownNameError: There is no such starter.
        UsageError: The folder holds one of these files already.
        OSError: It cannot be written to.
    """
    if name not in STARTERS:
        raise unknown_name("starter", name, STARTERS, where="netwright new")
    starter = STARTERS[name]
    source = resources.files("netwright") / "templates" / "starters" / name / "net.py"
    texts = {
        "net.py": source.read_text(encoding="utf-8"),
        "README.md": README.format(name=name, title=starter.title, data=starter.data),
        "test_net.py": TEST.format(inputs=starter.inputs, outputs=starter.outputs),
    }
    there = [file for file in texts if (folder / file).exists()]
    if there:
        raise UsageError(
            where=str(folder),
            expected="a folder without these files",
            got=f"one that holds {', '.join(there)}",
            cure="Name another folder; nothing was written.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        atomic_write_text(folder / file, text)
    return [folder / file for file in texts]
