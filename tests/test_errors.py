"""Errors between processes."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from netwright import errors
from netwright.data import load
from netwright.data.batches import eval_batches
from netwright.records import LoadOptions

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.NetwrightError)
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_out_of_another_process(kind: type[errors.NetwrightError]) -> None:
    """Process pools hand errors over as pickles."""
    error = kind(where="here", expected="this", got="that", cure="So.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.message == error.message
    assert again.cure == "So."


class Raising(Dataset):
    """Its seventh item raises; `targets` says what to learn, so loading does not come by it."""

    def __init__(self, kind: type[errors.NetwrightError]) -> None:
        self.kind, self.targets = kind, [index % 2 for index in range(60)]

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 6:
            raise self.kind(where="here", expected="this", got="that", cure="So.")
        return torch.zeros(3), index % 2


@pytest.mark.parametrize("kind", [errors.DataError, errors.UnknownNameError])
def test_the_message_comes_out_of_a_worker_of_a_loader(kind: type[errors.NetwrightError]) -> None:
    """Torch hands over the text alone, and must not stumble over what the error is made of."""
    with pytest.raises(RuntimeError, match=r"here: expected this, got that\.\nSo\."):
        list(DataLoader(Raising(kind), num_workers=1))


@pytest.mark.parametrize("kind", [errors.DataError, errors.UnknownNameError])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("loader", [False, True])
def test_an_error_of_an_item_is_told_as_it_is(kind: type[errors.NetwrightError], workers: int, loader: bool) -> None:
    """Of any kind, from a person's own loader too, with or without worker processes."""
    whole = LoadOptions(val_fraction=0, test_fraction=0)
    given = DataLoader(Raising(kind), num_workers=workers) if loader else Raising(kind)
    data = load(given, options=whole)
    with pytest.raises(kind) as caught:
        list(eval_batches(data, "train", batch_size=4, workers=workers))
    assert type(caught.value) is kind
    assert caught.value.cure == "So."
