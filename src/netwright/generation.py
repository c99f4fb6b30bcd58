"""Continue texts with a module that predicts next tokens: prompts of a person's, and passages of a split.

The module is asked again for each token, with the last tokens as its input, so that any module will do that takes
tokens: one that returns (logits, state), as recurrent ones do, gives its state again each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from netwright.batch import Batch
from netwright.binding import ask, in_full
from netwright.data.dataset import Data
from netwright.data.raw import first_line
from netwright.errors import DataError
from netwright.inference import Trained, answering, fit_task
from netwright.preprocess import Tokenise, detokenise, tokenise
from netwright.records import DataSpec, Sampling
from netwright.results import Continuation, Prediction
from netwright.sampling import Asked, continuation, continue_tokens, unwritten

# Where in a split its report shows continuations, and how many tokens of each.
PLACES = (0.15, 0.5, 0.85)
SHOWN_TOKENS, SHOWN_PROMPT = {"character": 200}, 160
FEWER_TOKENS = 60  # of tokens longer than a character
NEXT_LINE = 200  # tokens within which a line is looked for, so that a passage begins with one


def continue_texts(trained: Trained, prompts: Sequence[Any], sampling: Sampling) -> list[Prediction]:
    """What a run's module writes after each prompt.

    Args:
        trained: A run that predicts next tokens.
        prompts: Texts; an empty one begins a text.
        sampling: How tokens are drawn.

    Returns:
        One a prompt: ``continuation`` is what was written. A prompt that is no text gets ``error``; one with characters
        that training had not gets ``note``.
    """
    operation = text_operation(trained.data_spec)
    asked = asker(trained.model, trained.data_spec)
    answers = []
    for index, prompt in enumerate(prompts):
        name = prompt if isinstance(prompt, str) else f"input {index}"
        try:
            (tokens,) = tokenise(operation, [prompt])
        except DataError as error:
            answers.append(Prediction(name=name, error=first_line(error)))
            continue
        answers.append(Prediction(name=name, **continuation(asked, operation, tokens, sampling)))
    return answers


def continuations(model: nn.Module, data: Data, split: str) -> tuple[Continuation, ...]:
    """What a module writes after a few passages of a split, beside what stands there."""
    operation = text_operation(data.spec)
    source = data.split(split)
    tokens = np.asarray(source.targets)
    count = min(SHOWN_TOKENS.get(operation.kind, FEWER_TOKENS), len(tokens) // (2 * len(PLACES)))
    if count < 1:
        return ()
    places = [_line(tokens, round(share * len(tokens)), operation) for share in PLACES]
    places = sorted({min(max(1, place), len(tokens) - count) for place in places})
    context = min(operation.max_length, *places)
    prompts = np.stack([tokens[place - context : place] for place in places])
    sampling = Sampling(max_new_tokens=count)
    written = continue_tokens(
        asker(model, data.spec), prompts, sampling, context=operation.max_length, never=unwritten(operation)
    )
    return tuple(
        Continuation(
            place=f"{split}, token {place + 1:,}",
            prompt=detokenise(operation, tokens[max(0, place - context) : place])[-SHOWN_PROMPT:],
            written=detokenise(operation, own),
            true=detokenise(operation, tokens[place : place + count]),
            temperature=sampling.temperature,
            seed=sampling.seed,
        )
        for place, own in zip(places, written, strict=True)
    )


def text_operation(spec: DataSpec) -> Tokenise:
    """How texts become tokens.

    Raises:
        DataError: The data are no text.
    """
    if spec.preprocess.text is None:
        raise DataError(where="the data", expected="a text", got=f"{spec.kind} data", cure="Name another --task.")
    return spec.preprocess.text


def asker(model: nn.Module, spec: DataSpec) -> Asked:
    """From tokens (P, T) to log-probabilities of the token after the last, (P, V)."""
    device = next(model.parameters()).device
    fitted: list[Any] = []  # task and binding, from the first tokens

    def asked(tokens: NDArray[np.int64]) -> NDArray[np.floating]:
        batch = Batch({"tokens": torch.from_numpy(tokens)}, None, torch.arange(len(tokens)))
        if not fitted:
            fitted.extend(fit_task(model, spec, batch, device))
        task, binding = fitted
        with answering(model, device):
            outputs = in_full(ask(binding, model, batch.to(device).inputs))
            found: NDArray[np.floating] = task.predictions(outputs, batch).probs
        return found

    return asked


def _line(tokens: NDArray[np.integer], place: int, operation: Tokenise) -> int:
    """The beginning of the next line; the place itself where there is none near."""
    for step, token in enumerate(tokens[place : place + NEXT_LINE].tolist()):
        if detokenise(operation, [token]).endswith("\n"):
            return place + step + 1
    return place
