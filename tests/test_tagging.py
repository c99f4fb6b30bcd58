"""Tagging: loss and starter do not see padding, scores have honest intervals, runs go from a file to a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.cli import main
from netwright.data.batches import eval_batches
from netwright.errors import LossError, ModelError
from netwright.evaluation import Predictions
from netwright.evaluation.clusters import mean_of_ratios, ratios
from netwright.evaluation.tag_baselines import tag_baselines
from netwright.evaluation.worst_tags import worst_sentences
from netwright.marked import pieces
from netwright.metrics.entities import find_scheme
from netwright.models import load_model
from netwright.planning import plan
from netwright.progress import Silent
from netwright.records import Settings
from netwright.results import WordMark
from netwright.starters import write_starter
from netwright.tasks.tagging import Tagging

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = str(ROOT / "examples" / "texts" / "tags.conll")
CLASSES = ("B-x", "B-y", "I-x", "I-y", "O")


def starter(tmp_path: Path, **arguments: int) -> nn.Module:
    write_starter("tagger", tmp_path / "mine")
    torch.manual_seed(0)
    return load_model(f"{tmp_path}/mine/net.py:Net", arguments)


def longer(batch: Batch, *, times: int) -> Batch:
    """The same sentences, padded to so many times their length, with what must not be looked at in the padding."""
    size = batch.inputs["mask"].shape[1] * (times - 1)
    grown = {}
    for name, value in batch.inputs.items():
        if name == "lengths":
            grown[name] = value
            continue
        fill = False if name == "mask" else 3
        grown[name] = torch.cat((value, torch.full((len(value), size, *value.shape[2:]), fill, dtype=value.dtype)), 1)
    grown_targets = nn.functional.pad(batch.target, (0, size), value=-100)
    return Batch(grown, grown_targets, batch.sample_ids)


def test_padding_changes_no_answer_no_loss_and_no_gradient(tmp_path: Path) -> None:
    """Each sentence alone, and in a batch padded to four times its length."""
    data = nw.load(EXAMPLE)
    spec = data.spec
    assert spec.preprocess.words is not None
    net = starter(tmp_path, vocab_size=spec.preprocess.words.vocab_size, num_classes=len(spec.classes or ()),
                  num_characters=spec.preprocess.words.num_characters, features=16).eval().double()  # fmt: skip
    batch = next(iter(eval_batches(data, "train", batch_size=12, workers=0)))
    outputs = net(**batch.inputs)
    task = Tagging.fit(spec, outputs, batch)
    objective = task.propose_loss(None)

    def gradient(of: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        net.zero_grad()
        loss = objective(net(**of.inputs), of)
        loss.backward()
        return loss.detach(), [weight.grad.clone() for weight in net.parameters() if weight.grad is not None]

    wide = longer(batch, times=4)
    real = batch.inputs["mask"]
    torch.testing.assert_close(net(**wide.inputs)[:, : real.shape[1]][real], outputs[real], atol=1e-10, rtol=0)
    (loss, gradients), (wide_loss, wide_gradients) = gradient(batch), gradient(wide)
    torch.testing.assert_close(wide_loss, loss, atol=1e-10, rtol=0)
    for own, other in zip(gradients, wide_gradients, strict=True):
        torch.testing.assert_close(other, own, atol=1e-10, rtol=0)
    kept = task.predictions(outputs, batch)
    same = task.predictions(net(**wide.inputs), wide)
    assert np.array_equal(kept.targets, same.targets)
    assert kept.starts is not None and np.array_equal(kept.starts, same.starts)
    for index in range(len(batch)):
        size = int(batch.inputs["lengths"][index])
        alone = {name: value[index : index + 1, :size] if value.ndim > 1 else value[index : index + 1]
                 for name, value in batch.inputs.items()}  # fmt: skip
        torch.testing.assert_close(net(**alone)[0], outputs[index, :size], atol=1e-10, rtol=0)


def test_the_count_of_a_loss_is_of_words_so_that_split_batches_add_up(tmp_path: Path) -> None:
    """Micro-batches of sentences of other lengths: sums over counts, and not a mean of means."""
    data = nw.load(EXAMPLE)
    batch = next(iter(eval_batches(data, "train", batch_size=16, workers=0)))
    torch.manual_seed(0)
    outputs = torch.randn(*batch.target.shape, len(data.spec.classes or ()), requires_grad=True)
    objective = Tagging.fit(data.spec, outputs, batch).propose_loss(None)
    total = sum(
        objective(outputs[part.sample_ids], part) * objective.count(part) for part in batch.split(5)
    ) / objective.count(batch)  # fmt: skip
    torch.testing.assert_close(total, objective(outputs, batch))
    assert int(objective.count(batch)) == int(batch.inputs["lengths"].sum())


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4, 11), "a row for each word"),
        ((4, 3, 11), "a row for each word"),
        ((4, 6, 7), r"End with nn\.Linear\(…, 11\)"),
    ],
)
def test_outputs_that_cannot_answer_are_refused(shape: tuple[int, ...], said: str) -> None:
    """One row a sentence, other lengths, another number of tags."""
    data = nw.load(EXAMPLE)
    mask = torch.ones(4, 6, dtype=torch.bool)
    batch = Batch({"mask": mask}, torch.zeros(4, 6, dtype=torch.long), torch.arange(4))
    with pytest.raises(ModelError, match=said):
        Tagging.fit(data.spec, torch.randn(shape), batch)


def test_tags_on_the_wrong_axis_are_named() -> None:
    """As convolutions leave them."""
    data = nw.load(EXAMPLE)
    mask = torch.ones(4, 11, dtype=torch.bool)
    batch = Batch({"mask": mask[:, :9]}, None, torch.arange(4))
    with pytest.raises(ModelError, match="a row for each word"):
        Tagging.fit(data.spec, torch.randn(4, 11, 9), batch)
    square = Batch({"mask": mask}, None, torch.arange(4))
    assert Tagging.fit(data.spec, torch.randn(4, 11, 11), square).kind == "logits"


@pytest.mark.parametrize(
    ("last", "name"),
    [(nn.Identity(), "CrossEntropyLoss"), (nn.LogSoftmax(2), "NLLLoss"), (nn.Softmax(2), "NLLLoss of log(output)")],
)
def test_the_loss_fits_what_is_emitted(last: nn.Module, name: str) -> None:
    """All three are one cross entropy, and all give the same probabilities."""
    data = nw.load(EXAMPLE)
    batch = next(iter(eval_batches(data, "train", batch_size=8, workers=0)))
    torch.manual_seed(0)
    raw = torch.randn(*batch.target.shape, len(data.spec.classes or ()), requires_grad=True)
    task = Tagging.fit(data.spec, last(raw), batch)
    objective = task.propose_loss(None)
    assert objective.name == name
    wanted = nn.functional.cross_entropy(raw.flatten(0, 1), batch.target.flatten())
    torch.testing.assert_close(objective(last(raw), batch), wanted)
    held = task.predictions(last(raw).detach(), batch).probs
    np.testing.assert_allclose(held, raw.detach().softmax(2)[batch.inputs["mask"]].numpy(), atol=1e-6)


def test_a_persons_loss_is_handed_words_or_what_there_is() -> None:
    """Losses of classes take words end to end; a function of one's own sees sentences."""
    data = nw.load(EXAMPLE)
    batch = next(iter(eval_batches(data, "train", batch_size=8, workers=0)))
    outputs = torch.randn(*batch.target.shape, len(data.spec.classes or ()), requires_grad=True)
    task = Tagging.fit(data.spec, outputs, batch)
    smooth = task.use_loss(nn.CrossEntropyLoss(label_smoothing=0.1), outputs, batch)
    assert torch.isfinite(smooth(outputs, batch))
    seen = []
    own = task.use_loss(lambda given, wanted: seen.append((given.shape, wanted.shape)) or given.sum(), outputs, batch)
    own(outputs, batch)
    assert seen == [(outputs.shape, batch.target.shape)]
    with pytest.raises(LossError):
        task.use_loss(nn.HingeEmbeddingLoss(), outputs, batch)


def test_the_running_f1_is_that_of_the_evaluation() -> None:
    """On the device by sums, over batches of any size."""
    generator = np.random.default_rng(0)
    task = Tagging(CLASSES, "logits", "", find_scheme(CLASSES))
    sums, parts = [0, 0], []
    for _ in range(20):
        lengths = generator.integers(0, 15, 9)
        mask = torch.arange(max(1, lengths.max()))[None] < torch.from_numpy(lengths)[:, None]
        targets = torch.from_numpy(generator.integers(0, 5, mask.shape)).masked_fill(~mask, -100)
        outputs = torch.from_numpy(generator.normal(size=(*mask.shape, 5)))
        outputs += 2 * nn.functional.one_hot(targets.clamp_min(0), 5)
        batch = Batch({"mask": mask}, targets, torch.arange(9))
        top, bottom = task.running(outputs, batch)["entity_f1"]
        sums = [sums[0] + int(top), sums[1] + int(bottom)]
        parts.append(task.predictions(outputs, batch))
    evaluation = task.score(Predictions.join(parts), split="val", seed=0)
    assert sums[0] / sums[1] == pytest.approx(evaluation.score("entity_f1").value)


def test_intervals_hold_the_truth_where_words_of_a_sentence_err_together() -> None:
    """Sentences differ in how hard they are: 95 % intervals hold it in 90 % and more, which words alone do not."""
    from netwright.intervals import wilson

    generator = np.random.default_rng(0)
    held, plain, rare, rounds = 0, 0, 0, 300
    for _ in range(rounds):
        lengths = generator.poisson(12, 60) + 1
        right = generator.binomial(lengths, generator.beta(2.7, 0.3, 60))
        (score,) = ratios(("accuracy",), right[:, None], lengths[:, None])
        held += score.low <= 0.9 <= score.high
        low, high = wilson(int(right.sum()), int(lengths.sum()))
        plain += low <= 0.9 <= high
        entities = generator.poisson(1.0, 100) * (generator.random(100) < 0.05)
        found = generator.binomial(entities, 0.4)
        (few,) = ratios(("recall",), found[:, None], entities[:, None])
        rare += few.low <= 0.4 <= few.high
    assert held / rounds >= 0.91
    assert rare / rounds >= 0.91
    assert plain / rounds < 0.85  # words taken one by one are too sure of themselves


def test_a_share_of_nothing_and_of_everything_still_has_an_interval() -> None:
    """No entity answered: precision 0 says nothing; all right in three sentences is not certain."""
    nothing, all_right, none_right = ratios(
        ("a", "b", "c"), np.array([[0, 2, 0]] * 3), np.array([[0, 2, 4]] * 3)
    )  # fmt: skip
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 1.0)
    assert all_right.value == 1.0 and all_right.low is not None and all_right.low < 0.5
    assert none_right.value == 0.0 and none_right.high is not None and none_right.high > 0.5
    mean = mean_of_ratios("m", np.array([[1, 0], [1, 0]]), np.array([[1, 0], [2, 0]]))
    assert mean.value == pytest.approx(1 / 3)  # the second has nothing to count, and is 0


def test_baselines_are_the_most_frequent_tag_and_that_of_each_word() -> None:
    """Words are taken without case; an unknown word gets the most frequent tag."""
    tags = np.array([4, 4, 0, 4, 4, 1, 0])
    words = ["a", "b", "Rome", "a", "b", "rome", "ROME"]
    plain, by_word = tag_baselines(
        (words, tags), (["a", "Rome", "Oslo"], np.array([4, 0, 0]), np.array([0, 3])), CLASSES
    )
    assert (plain.name, plain.score.name, plain.score.value) == ("most_frequent_tag", "entity_f1", 0.0)
    assert by_word.score.value == pytest.approx(2 / 3)


def test_the_worst_sentences_are_those_of_the_surest_mistakes() -> None:
    """Right ones are left out; a long one is shown around its first mistake."""
    sizes = [3, 200, 2]
    starts = np.cumsum([0, *sizes])
    targets = np.full(205, 4)
    probs = np.full((205, 5), 0.025, dtype=np.float32)
    probs[:, 4] = 0.9
    probs[1] = [0.6, 0.1, 0.1, 0.1, 0.1]
    probs[153] = [0.1, 0.1, 0.1, 0.6, 0.1]
    probs[154] = [0.1, 0.1, 0.1, 0.7, 0.1]
    words = [[f"w{place}" for place in range(size)] for size in sizes]
    found = worst_sentences(Predictions(np.arange(3), targets, probs, starts), CLASSES, ["a", "b", "c"], words)
    assert [one.name for one in found] == ["b", "a"]
    marks = found[0].marks
    assert marks is not None and len(marks) == 80
    assert {mark.word for mark in marks if mark.prediction != mark.target} == {"w150", "w151"}
    assert found[0].confidence == pytest.approx(0.7)


def mark(word: str, target: str | None, prediction: str) -> WordMark:
    return WordMark(word=word, target=target, prediction=prediction, confidence=0.5)


def test_pieces_of_a_sentence_are_entities_found_missed_and_wrong() -> None:
    """Words of one entity stand together; Chinese ones without spaces."""
    marks = [mark("I", "O", "O"), mark("saw", "O", "O"), mark("New", "B-x", "B-x"), mark("York", "I-x", "I-x"),
             mark("and", "O", "B-y"), mark("李", "B-y", "B-x"),
             mark("明", "I-y", "I-x"), mark("。", "O", "O")]  # fmt: skip
    shown = [(one.gap + one.text, one.kind, one.target, one.prediction) for one in pieces(marks, CLASSES)]
    assert shown == [
        ("I saw", "plain", None, None),
        (" New York", "right", "x", "x"),
        (" and", "wrong", None, "y"),
        ("李明", "wrong", "y", "x"),
        ("。", "plain", None, None),
    ]
    plain = pieces([mark("a", "DET", "DET"), mark("run", "NOUN", "VERB"), mark("x", None, "VERB")], ("DET", "NOUN"))
    assert [(one.text, one.kind) for one in plain] == [("a", "plain"), ("run", "wrong"), ("x", "plain")]


def test_a_run_goes_from_a_file_to_answers_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The starter learns the example; words and entities come back; the page shows its worst sentences."""
    write_starter("tagger", tmp_path / "mine")
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path}/mine/net.py:Net", "--data", EXAMPLE, "--epochs", "12", "--batch-size", "8"]
    assert main([*command, "--run", run, "--arg", "features=48", "--lang", "zh"]) == 0
    shown = capsys.readouterr()
    assert "num_characters=" in shown.err
    assert "val/entity_f1" in shown.err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["headline"] == "entity_f1"
    assert evaluation["scores"][0]["value"] > 0.5
    assert {one["name"] for one in evaluation["baselines"]} == {"most_frequent_tag", "most_frequent_of_word"}
    assert main(["predict", run, "turn off the lamp in the kitchen, please", "打开厨房的灯", "", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[0]["words"] == ["turn", "off", "the", "lamp", "in", "the", "kitchen", ",", "please"]
    assert len(answers[0]["tags"]) == len(answers[0]["confidences"]) == 9
    assert answers[1]["words"] == list("打开厨房的灯")
    assert answers[2]["tags"] == []
    assert main(["predict", run, "wake me in ten seconds"]) == 0
    assert capsys.readouterr().out.startswith("wake/")
    words, too_long, wrong = nw.predict(run, [["New", "York", ""], "a " * 3_000, 7])
    assert words.words == ("New", "York", "")
    assert words.name == "New York "
    assert too_long.error is not None and "1,024 words" in too_long.error
    assert wrong.error is not None and "a sentence" in wrong.error


def test_plain_tags_stand_by_accuracy_and_the_page_marks_wrong_words(tmp_path: Path) -> None:
    """Parts of speech: no entities, a table by tag."""
    generator = np.random.default_rng(0)
    lines = []
    for _ in range(80):
        for word in generator.choice(["<b>go</b>", "run", "dog", "cat", "the"], 6):
            tag = {"the": "DET", "dog": "NOUN", "cat": "NOUN"}.get(str(word), generator.choice(["VERB", "NOUN"]))
            lines.append(f"{word}\t{tag}")
        lines.append("")
    (tmp_path / "pos.conll").write_text("\n".join(lines), encoding="utf-8")
    net = starter(tmp_path, vocab_size=7, num_classes=3, num_characters=40, features=16)
    run = nw.train(net, str(tmp_path / "pos.conll"), run=tmp_path / "run", epochs=1, progress=Silent())
    evaluation = run.read_evaluation()
    assert evaluation.headline == "accuracy"
    assert [row.name for row in evaluation.per_class] == ["DET", "NOUN", "VERB"]
    page = run.report_file.read_text(encoding="utf-8")
    assert 'class="m wrong"' in page
    assert "<b>go" not in page


def test_a_resumed_run_on_tags_equals_the_unbroken_one(tmp_path: Path) -> None:
    """Batches of sentences of similar length, hidden words and all, come again where they were."""
    from netwright.checkpoints import digest_of

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done == 8:
                raise KeyboardInterrupt

    def model(folder: str) -> nn.Module:
        return starter(tmp_path / folder, vocab_size=200, num_classes=11, num_characters=150, features=8)

    options = {"epochs": 2, "report": False, "checkpoint_every_steps": 5, "batch_size": 16}
    whole = model("a")
    nw.train(whole, EXAMPLE, run=tmp_path / "whole", progress=Silent(), **options)
    with pytest.raises(KeyboardInterrupt):
        nw.train(model("b"), EXAMPLE, run=tmp_path / "part", progress=Stop(), **options)
    part = model("c")
    nw.resume(tmp_path / "part", model=part, progress=Silent(), report=False)
    assert digest_of(part.state_dict()) == digest_of(whole.state_dict())


@pytest.mark.parametrize(("tags", "monitor"), [("BIO", "val/entity_f1"), ("plain", "val/accuracy")])
def test_the_best_weights_are_picked_by_what_stands_first(tmp_path: Path, tags: str, monitor: str) -> None:
    """Entity F1 where tags make up entities, since most words are outside of any."""
    begin, outside = ("B-PER", "O") if tags == "BIO" else ("NOUN", "VERB")
    rows = [f"Ada {begin}\nran {outside}\nhome {outside}\n" for _ in range(40)]
    (tmp_path / "a.conll").write_text("\n".join(rows), encoding="utf-8")
    data = nw.load(str(tmp_path / "a.conll"))
    chosen = plan(nn.Linear(2, 2), data.spec, Settings(), given=frozenset())
    assert chosen["monitor"] == monitor
    assert chosen["better"] == "higher"
