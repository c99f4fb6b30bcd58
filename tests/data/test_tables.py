"""Tables: what is made of columns, that serving makes the same of them, and what is refused."""

from __future__ import annotations

import csv
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler
from torch import nn

import netwright as nw
import netwright.data as nd
from netwright.binding import bind
from netwright.cli import main
from netwright.data.tables import TableSource, as_fields
from netwright.errors import BindingError, DataError, NetwrightError, UnknownNameError
from netwright.preprocess import Preprocess, sample
from netwright.rows import CategoryColumn, DateColumn, NumberColumn, PresenceColumn
from netwright.starters import write_starter

COLOURS = ("red", "green", "blue", "红色", "vert")


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of every kind of column, some cells missing, as a person's file has them."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        day = datetime.date(2024, 1, 1) + datetime.timedelta(days=int(generator.integers(0, 700)))
        made.append(
            {
                "key": index + 1,
                "size": "" if generator.random() < 0.1 else f"{generator.normal(5, 2):.3f}",
                "income": f"{generator.lognormal(3, 2.5):.2f}",
                "colour": "" if generator.random() < 0.05 else COLOURS[generator.integers(len(COLOURS))],
                "rooms": int(generator.integers(1, 6)),
                "note": f"note {index} {generator.random():.6f}" if generator.random() < 0.4 else "",
                "name": f"person number {index}",
                "bought": "NA" if generator.random() < 0.05 else day.isoformat(),
                "same": "x",
            }
        )
    for row in made:
        good = (float(row["size"] or 5) > 5) + (row["colour"] == "red") + 1.5 * generator.random() > 1.3
        row["label"] = "yes" if good else "no"
        row["price"] = f"{100_000 + 20_000 * float(row['size'] or 5) + generator.normal(0, 5_000):.0f}"
    return made


def write(path: Path, made: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(made[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "homes.csv", rows(600))


def load(path: Path, **options: Any) -> nd.Data:
    return nd.load(path, **({"target": "label"} | options))


def test_each_column_is_taken_for_what_it_is(table: Path) -> None:
    """Numbers, long tails, categories, dates; of texts whether there is one; the rest is left out with reasons."""
    data = load(table)
    operation = data.spec.preprocess.rows
    assert operation is not None
    made = {column.column: column for column in operation.columns}
    assert isinstance(made["size"], NumberColumn) and made["size"].missing and made["size"].knots is None
    assert isinstance(made["income"], NumberColumn) and made["income"].knots is not None
    assert isinstance(made["colour"], CategoryColumn) and set(made["colour"].values) == {*COLOURS, ""}
    assert isinstance(made["note"], PresenceColumn)
    assert isinstance(made["bought"], DateColumn) and made["bought"].parts == ("month", "weekday")
    left_out = {choice.value: choice.reason for choice in data.spec.choices if choice.name == "not used"}
    assert left_out == {
        "key": "it counts the rows",
        "name": "nearly each row has a text of its own",
        "same": "it never changes",
    }
    assert data.spec.classes == ("no", "yes") and data.spec.kind == "table"


def test_the_record_goes_to_json_and_back(table: Path) -> None:
    """What is done to columns is data, and nothing else."""
    preprocess = load(table).spec.preprocess
    assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_serving_sees_many_rows_as_training_does(tmp_path: Path, count: int) -> None:
    """Unseen categories and missing cells among them: the same numbers to the last bit."""
    made, first = rows(count, seed=1), count * 9 // 10
    for index, row in enumerate(made[first:]):
        row["colour"] = f"colour {index % 7}"  # below, these stand in the test split alone
    train, test = write(tmp_path / "train.csv", made[:first]), write(tmp_path / "test.csv", made[first:])
    assert train.parent == test.parent
    data = load(tmp_path)
    seen = 0
    for split in data.spec.splits:
        source = data.split(split)
        assert isinstance(source, TableSource)
        raw = source.cells(range(len(source)))
        inputs, _ = source.gather(np.arange(len(source)))
        served = [sample(data.spec.preprocess, row) for row in raw]
        again = as_fields(
            source.operation,
            np.stack([one["numbers"] for one in served]),
            np.stack([one["categories"] for one in served]),
        )
        assert inputs.keys() == again.keys()
        for name, value in inputs.items():
            assert torch.equal(value, again[name]), name
        seen += len(source)
    assert seen == count
    colours = data.split("test").gather(np.arange(count // 10))[0]["colour"]
    assert (colours == 0).all()


def test_statistics_are_fitted_on_the_training_rows_alone(tmp_path: Path) -> None:
    """Other values in the test file change nothing of what is done."""
    made = rows(400)
    other = [row | {"size": "1e6", "income": "1e9", "colour": "gold"} for row in made[300:]]
    folders = tmp_path / "a", tmp_path / "b"
    for folder, held in zip(folders, (made[300:], other), strict=True):
        folder.mkdir()
        write(folder / "train.csv", made[:300])
        write(folder / "test.csv", held)
    first, second = (load(folder) for folder in folders)
    assert first.spec.preprocess == second.spec.preprocess
    assert first.spec.digest != second.spec.digest


def test_columns_agree_with_scikit_learn(tmp_path: Path) -> None:
    """Standard scaling, quantiles to a normal distribution, one-hot."""
    made = [{**row, "size": row["size"] or "5"} for row in rows(900)]
    data = load(write(tmp_path / "all.csv", made), input="size,income,colour")
    source = data.train
    assert isinstance(source, TableSource)
    raw = source.cells(range(len(source)))
    numbers = source.numbers
    size = np.asarray([[float(row["size"])] for row in raw])
    assert np.allclose(numbers[:, 0], StandardScaler().fit_transform(size)[:, 0], atol=1e-6)
    income = np.asarray([[float(row["income"])] for row in raw])
    expected = QuantileTransformer(n_quantiles=257, output_distribution="normal", subsample=None).fit_transform(income)
    column = source.operation.columns[1]
    assert isinstance(column, NumberColumn)
    inner = (income[:, 0] > income.min()) & (income[:, 0] < income.max())  # the ends are clipped there and here
    assert np.allclose((numbers[:, 1] * column.std + column.mean)[inner], expected[inner, 0], atol=1e-4)
    column = source.operation.columns[2]
    assert isinstance(column, CategoryColumn)
    colours = np.asarray([[row["colour"]] for row in raw])
    wanted = OneHotEncoder(categories=[list(column.values)], sparse_output=False).fit_transform(colours)
    features = source.gather(np.arange(len(source)))[0]["features"]
    assert np.array_equal(features[:, -len(column.values) :].numpy(), wanted)


def test_a_module_gets_what_its_forward_names(table: Path) -> None:
    """All in one, by kind, or by column; a column that nothing takes is listed, the ways to have it are not."""
    data = load(table)
    fields = tuple(field.name for field in data.spec.inputs)

    class One(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class ByKind(nn.Module):
        def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
            return numbers

    class ByColumn(nn.Module):
        def forward(self, size: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
            return size

    assert bind(One(), fields, data.spec.parts).text == "forward(x=features)"
    assert bind(ByKind(), fields, data.spec.parts).text == "forward(numbers=numbers, categories=categories)"
    binding = bind(ByColumn(), fields, data.spec.parts)
    assert binding.text.startswith("forward(size=size, colour=colour); not used: size_missing, income")
    assert "features" not in binding.text

    class Typo(nn.Module):
        def forward(self, numbers: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
            return numbers

    with pytest.raises(BindingError, match="colors"):
        bind(Typo(), fields, data.spec.parts)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".tsv"])
def test_other_files_with_columns_are_the_same_table(table: Path, tmp_path: Path, suffix: str) -> None:
    """Typed cells or text: numbers are numbers, and whole ones as categories are written alike."""
    import pandas

    frame = pandas.read_csv(table)
    path = tmp_path / f"homes{suffix}"
    if suffix == ".jsonl":
        path.write_text(frame.to_json(orient="records", lines=True, force_ascii=False), encoding="utf-8")
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t", index=False)
    first, second = load(table), load(path)
    assert first.spec.preprocess == second.spec.preprocess
    inputs = [one.train.gather(np.arange(50))[0] for one in (first, second)]
    assert all(torch.equal(inputs[0][name], inputs[1][name]) for name in inputs[0])


def test_texts_with_a_label_stay_texts(tmp_path: Path) -> None:
    """Two columns of which one is prose, or a column with a text's usual name."""
    prose = [{"title": f"a longer text about thing {i}", "label": "ab"[i % 2], "stars": i % 5} for i in range(40)]
    assert nd.load(write(tmp_path / "a.csv", prose), target="label").spec.kind == "text"
    pair = [{"column": f"a longer text about thing {i}", "label": "ab"[i % 2]} for i in range(40)]
    assert nd.load(write(tmp_path / "b.csv", pair)).spec.kind == "text"
    assert nd.load(write(tmp_path / "c.csv", rows(60)), target="label").spec.kind == "table"
    assert nd.load(write(tmp_path / "c.csv", rows(60)), target="label", input="name").spec.kind == "text"


def test_targets_are_classes_or_numbers(table: Path) -> None:
    """Text and few whole numbers are classes; several columns are numbers to regress on; ``task`` decides otherwise."""
    assert load(table, target="rooms").spec.task == "classification"
    assert load(table, target="rooms", task="regression").spec.task == "regression"
    two = load(table, target="price,rooms")
    assert two.spec.task == "regression" and two.spec.target.shape == (2,)
    assert two.train.targets.shape[1:] == (2,)


def test_the_loss_sees_scaled_targets_and_scores_are_in_their_unit(table: Path, tmp_path: Path) -> None:
    """A constant answer of 0 is the mean of training; a short run reaches the data's noise."""
    data = load(table, target="price", input="size,colour")
    scale = data.spec.preprocess.target
    assert scale is not None and scale.mean[0] == pytest.approx(data.train.targets.mean(), rel=1e-6)

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(data.spec.inputs[0].shape[0], 1)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(x)

    net = Zero()
    evaluation = nw.evaluate(net, data)
    targets = data.split("test").targets
    assert evaluation.score("mae").value == pytest.approx(np.abs(targets - scale.mean[0]).mean(), rel=1e-5)
    run = nw.train(net, data, run=tmp_path / "run", epochs=20, report=False)
    trained = run.read_evaluation()
    assert trained.score("mae").value < 0.5 * evaluation.score("mae").value
    answer = nw.predict(run, [{"size": 5, "colour": "red"}], model=net)[0]
    assert answer.value is not None and 150_000 < answer.value[0] < 250_000
    linear = next(one for one in trained.baselines if one.name == "linear_model")
    assert {"rmse", "r2"} <= {score.name for score in linear.others}


def test_a_starter_learns_a_table_and_answers_rows(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: trained, evaluated, reported with its worst rows, asked for rows of a file."""
    write_starter("table", tmp_path / "net")
    command = ["train", f"{tmp_path / 'net'}/net.py:Net", "--data", str(table), "--target", "label", "--epochs", "3"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 0
    assert "cardinalities=" in capsys.readouterr().err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "person number" in page and "The rows it got most wrong" in page
    held = {one.name: one for one in nw.open_run(tmp_path / "run").read_evaluation().baselines}
    assert {"linear_model", "gradient_boosting"} <= held.keys()
    asked = write(tmp_path / "asked.csv", [{"size": "", "colour": "mauve"}, {"size": "7.5", "colour": "red"}])
    assert main(["predict", str(tmp_path / "run"), str(asked), '{"rooms": 2}', "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["label"] in ("yes", "no") for one in answers] == [True] * 3
    import pandas

    frame = pandas.DataFrame({"size": [1.0, None], "colour": ["red", None]})
    assert len(nw.predict(tmp_path / "run", frame)) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "lable"}, 'Did you mean "label"'),
        ({"target": None}, "--target"),
        ({"target": "note"}, "a value in the column note"),
        ({"target": "name"}, "3 samples of each class"),
        ({"input": "colour,sise"}, 'Did you mean "size"'),
        ({"input": "same"}, "it never changes"),
        ({"target": "label", "task": "regression"}, "numbers to regress on"),
        ({"task": "transcription"}, "task for tables"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    """With the cure."""
    made = rows(80)
    if options.get("target", "") is None:
        made = [{("outcome" if key == "label" else key): value for key, value in row.items()} for row in made]
    with pytest.raises(NetwrightError, match=told):
        load(write(tmp_path / "homes.csv", made), **options)


def test_rows_that_cannot_be_served_are_named(table: Path) -> None:
    """An unknown column, a text for a number, no date, nothing at all."""
    preprocess = load(table).spec.preprocess
    for row, told in (
        ({"sise": 3}, 'Did you mean "size"'),
        ({"size": "large"}, "column size: expected a number, got 'large'"),
        ({"bought": "yesterday"}, "column bought: expected a date"),
        ({}, "got none of them"),
        (["a"], "a mapping"),
    ):
        with pytest.raises(DataError, match=told):
            sample(preprocess, row)
    assert sample(preprocess, {"key": 7, "label": "yes", "size": None})["numbers"].dtype == np.float32


def test_odd_cells_far_down_count_as_missing_and_are_told(tmp_path: Path) -> None:
    """A few of them; more are refused by name."""
    made = rows(2_500)
    for index in (2_200, 2_300):
        made[index]["rooms"] = "many"
    choices = {choice.name: choice for choice in load(write(tmp_path / "a.csv", made)).spec.choices}
    assert choices["rooms"].value == "counted as missing" and '"many" in row 2201' in choices["rooms"].reason
    for index in range(2_200, 2_400):
        made[index]["rooms"] = "many"
    with pytest.raises(DataError, match="column rooms, row 2201"):
        load(write(tmp_path / "b.csv", made))


def test_a_missing_column_in_another_split_is_named(tmp_path: Path) -> None:
    """The files must have the same columns."""
    made = rows(100)
    write(tmp_path / "train.csv", made)
    write(tmp_path / "test.csv", [{key: value for key, value in row.items() if key != "size"} for row in made])
    with pytest.raises(DataError, match="none called size"):
        load(tmp_path)


def test_an_unknown_task_is_refused_for_pictures(tmp_path: Path) -> None:
    """Each kind of data says what it can be answered with."""
    with pytest.raises(UnknownNameError, match="task for pictures"):
        nd.load("digits", task="regression")


GIGABYTE = """
import resource, sys
import numpy as np
import torch
from torch import nn
import netwright as nw

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear({features}, 2)
    def forward(self, features):
        return self.out(features)

nw.load("digits")
import pandas, pyarrow, sklearn.ensemble  # noqa
before = peak()
data = nw.load(sys.argv[1], target="label")
for step in nw.training_steps(Net(), data, epochs=1, batch_size=4096):
    pass
print(step.index, data.spec.inputs[0].shape, (peak() - before) / 2**30)
"""


@pytest.mark.soak
def test_a_gigabyte_of_rows_is_learned_within_two(tmp_path: Path) -> None:
    """Read in pieces, kept as numbers: a pass over 1 GB of CSV takes less than 2 GB of memory."""
    generator = np.random.default_rng(0)
    path = tmp_path / "large.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join([*(f"n{i}" for i in range(12)), "colour", "day", "label"]) + "\n")
        while file.tell() < 2**30:
            numbers = generator.normal(size=(20_000, 12))
            colours, days = generator.integers(0, 40, 20_000), generator.integers(1, 29, 20_000)
            labels = (numbers[:, 0] + 0.1 * colours > 2).astype(int)
            file.writelines(
                ",".join(f"{value:.5f}" for value in row) + f",c{colour},2026-03-{day:02d},{'ab'[label]}\n"
                for row, colour, day, label in zip(numbers, colours, days, labels, strict=True)
            )
    script = GIGABYTE.replace("{features}", str(12 + 1 + 40 + 12 + 7))
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 2.0, done.stdout
