"""Half precision on a processor is measured where it is asked for."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.planning import plan
from netwright.precision import time_of_products
from netwright.records import Settings


@pytest.mark.parametrize("asked", ["bfloat16", "float16"])
def test_the_plan_says_what_its_products_take_here(asked: str) -> None:
    """The measured share, whichever way it falls on this machine."""
    data = nw.load((np.zeros((40, 3), np.float32), np.arange(40) % 2), val_fraction=0, test_fraction=0)
    made = plan(nn.Linear(3, 2), data.spec, Settings(dtype=asked, device="cpu"))
    (told,) = [one for one in made.choices if one.name == "dtype"]
    assert (told.value, told.asked) == (asked, True)
    share = time_of_products(getattr(torch, asked))
    faster, slower = (
        re.search(r"are ([\d.]+) times as fast", told.reason),
        re.search(r"take ([\d.]+) times", told.reason),
    )
    found = 1 / float(faster[1]) if faster else float(slower[1])  # type: ignore[index]
    assert found == pytest.approx(share, rel=0.1)
    assert told.reason.startswith("asked for; products in ")


def test_float32_is_taken_unless_it_is_asked_for() -> None:
    """Roundings would be others, and on most processors it is slower."""
    data = nw.load((np.zeros((40, 3), np.float32), np.arange(40) % 2), val_fraction=0, test_fraction=0)
    assert plan(nn.Linear(3, 2), data.spec, Settings(device="cpu"))["dtype"] == "float32"
