"""Errors between processes."""

from __future__ import annotations

import pickle

import pytest

from netwright import errors

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
