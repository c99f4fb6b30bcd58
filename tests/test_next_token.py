"""Next tokens as a task: what is asked of a module, what is counted, and that no answer knows what follows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from netwright.batch import Batch
from netwright.errors import LossError, ModelError
from netwright.evaluation import Predictions
from netwright.models import load_model
from netwright.preprocess import Preprocess, Tokenise
from netwright.records import DataSpec, FieldSpec, LoadOptions, SplitSpec
from netwright.starters import write_starter
from netwright.tasks import NextToken

V, B, T = 7, 3, 5
OPERATION = Tokenise(kind="character", vocab_size=V, max_length=T, tokenizer="{}")
SPEC = DataSpec(
    name="text", source="text.txt", kind="text", task="next_token",
    inputs=(FieldSpec(name="tokens", shape=(T,), dtype="int64"),),
    target=FieldSpec(name="next_tokens", shape=(T,), dtype="int64"), classes=None,
    splits={"test": SplitSpec(count=B, tokens=B * T, characters=2 * B * T, unknown=0)},
    preprocess=Preprocess(operations=(OPERATION,)), options=LoadOptions(), digest="",
)  # fmt: skip


def batch(*, ignored: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, V, (B, T), generator=generator)
    targets = torch.randint(0, V, (B, T), generator=generator)
    if ignored:
        targets[1, :3] = -100
    return Batch({"tokens": tokens}, targets, torch.arange(B))


def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(B, T, V, generator=generator, requires_grad=True) * 2


FORMS = {
    "logits": lambda x: x,
    "log_probs": lambda x: x.log_softmax(2),
    "probs": lambda x: x.softmax(2),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_the_mean_surprise_of_the_tokens_that_count(form: str) -> None:
    """Whatever the module emits; the running bits and the kept ones are the same numbers."""
    given, outputs = batch(), FORMS[form](logits())
    task = NextToken.fit(SPEC, outputs, given)
    assert task.kind == form
    wanted = functional.cross_entropy(logits().flatten(0, 1), given.target.flatten()).item()
    objective = task.propose_loss(None)
    assert objective(outputs, given).item() == pytest.approx(wanted, rel=1e-5)
    assert int(objective.count(given)) == B * T - 3
    total, count = task.running(outputs, given)["bits_per_token"]
    assert total.item() / int(count) == pytest.approx(wanted / math.log(2), rel=1e-5)
    kept = task.predictions(outputs.detach(), given)
    assert -kept.probs[:, 0].mean() == pytest.approx(wanted, rel=1e-5)
    assert kept.starts.tolist() == [0, 5, 7, 12]
    right, of = task.running(outputs, given)["accuracy"]
    assert int(right) == int((kept.probs[:, 1] == kept.targets).sum())
    assert int(of) == len(kept.targets)
    found = task.score(kept, split="test", seed=0)
    assert found.score("bits_per_character").value == pytest.approx(
        wanted / math.log(2) * len(kept.targets) / (2 * B * T)
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [((B, V, T), "transpose"), ((B, V), "each place"), ((B, T, V - 2), f"{V} outputs"), ((B, T, V, 1), f"{V} outputs")],
)
def test_outputs_that_cannot_answer_are_refused(shape: tuple[int, ...], message: str) -> None:
    """With what to change."""
    with pytest.raises(ModelError, match=message):
        NextToken.fit(SPEC, torch.randn(shape), batch())


def test_sigmoids_are_refused() -> None:
    """Of the tokens one follows, not some."""
    with pytest.raises(ModelError, match="sigmoid"):
        NextToken.fit(SPEC, logits().sigmoid(), batch())


def test_a_persons_loss_gets_places_laid_end_to_end() -> None:
    """A loss that compares values is refused."""
    seen = []

    def own(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(outputs.shape), tuple(targets.shape)))
        return functional.cross_entropy(outputs, targets, label_smoothing=0.1)

    task = NextToken.fit(SPEC, logits(), batch())
    task.use_loss(own, logits(), batch())(logits(), batch()).backward()
    assert seen == [((B * T, V), (B * T,))]
    with pytest.raises(LossError, match="MSELoss"):
        task.use_loss(nn.MSELoss(), logits(), batch())


def test_the_served_answer_is_the_likeliest_token() -> None:
    """Of the last place alone."""
    given = batch()
    task = NextToken.fit(SPEC, logits(), given)
    kept = task.predictions(logits().detach(), Batch(given.inputs, None, given.sample_ids))
    assert kept.probs.shape == (B, V)
    np.testing.assert_allclose(np.exp(kept.probs).sum(1), 1, rtol=1e-5)


def test_passages_are_ranked_by_their_surprise() -> None:
    """The mean over a window's own tokens; a short rest at the end is not compared."""
    from netwright.data.streams import StreamSource

    class Held:
        def split(self, name: str) -> StreamSource:
            return StreamSource(np.zeros(31, np.int32), 10, name, scored=5)

    library = pytest.importorskip("tokenizers")
    plain = library.Tokenizer(library.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3}, unk_token="[UNK]"))
    operation = OPERATION.model_copy(update={"tokenizer": plain.to_str()})
    nats = np.array([1, 1, 1, 1, 3, 3, 0, 3, 9], dtype=np.float32)
    kept = Predictions(
        np.arange(3), np.array([2, 3, 2, 3, 3, 3, 2, 2, 2]), np.stack((-nats, np.zeros(9, np.float32)), 1),
        starts=np.array([0, 4, 8, 9]),
    )  # fmt: skip
    task = NextToken(operation, SPEC.splits, "logits", "")
    worst = task.worst(Held(), "test", kept)  # type: ignore[arg-type]  # only its split is asked for
    assert [one.sample_id for one in worst] == [1, 0]
    assert worst[0].target == "bbaa"
    assert worst[0].text == "abab"
    assert worst[0].error == pytest.approx(9 / 4 / math.log(2))
    assert [token for token, _ in worst[0].surprise] == list("bbaa")


@pytest.mark.parametrize("place", [0, 3, 10, 30])
def test_no_answer_of_the_starter_depends_on_what_follows(tmp_path: Path, place: int) -> None:
    """Another token changes answers at its place and after it, and none before, bit for bit."""
    (net, *_) = write_starter("lm", tmp_path)
    torch.manual_seed(0)
    model = load_model(f"{net}:Net", {"vocab_size": 20, "hidden": 32}).eval()
    tokens = torch.randint(0, 20, (2, 31))
    other = tokens.clone()
    other[:, place] = (tokens[:, place] + 7) % 20
    with torch.no_grad():
        one, two = model(tokens), model(other)
    assert torch.equal(one[:, :place], two[:, :place])
    assert (one[:, place:] != two[:, place:]).any(2).all()
