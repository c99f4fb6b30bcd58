"""Series: grids, gaps, windows, splits by time, that serving sees what training saw, and what is refused."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import netwright as nw
import netwright.data as nd
from netwright.cli import main
from netwright.data.series import SeriesSource
from netwright.errors import DataError, NetwrightError
from netwright.evaluation.forecasts import forecast_scores
from netwright.intervals import batch_means
from netwright.preprocess import sample
from netwright.starters import write_starter
from netwright.timeline import Grid, calendar, cycles_of, find_grid, positions, times

DAY = 86_400.0


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def days(count: int, seed: int = 0, first: datetime.date = datetime.date(2024, 1, 1)) -> list[dict[str, Any]]:
    """A week's pattern, a slow wave and noise; as cells of a file."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        day = first + datetime.timedelta(days=index)
        value = 50 + 10 * (day.weekday() >= 5) + 5 * np.sin(index / 40) + generator.normal(0, 1)
        rows.append({"day": day.isoformat(), "sales": f"{value:.3f}", "rain": f"{generator.random():.3f}"})
    return rows


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("series") / "sales.csv", days(400))


def source_of(data: nd.Data, split: str) -> SeriesSource:
    source = data.split(split)
    assert isinstance(source, SeriesSource)
    return source


def test_evenly_spaced_times_with_numbers_are_a_series(sales: Path) -> None:
    """Each choice with its reason; the week is found."""
    data = nd.load(sales, target="sales", task="forecasting")
    told = {choice.name: choice.value for choice in data.spec.choices}
    assert (told["step"], told["horizon"], told["context"], told["season"]) == ("1 day", 7, 56, "7 steps")
    assert nd.load(sales).spec.kind == "series"
    assert nd.load(sales, target="sales").spec.kind == "table"  # a target was named: rows, in no order
    assert data.spec.inputs[0].shape == (56, 2)
    assert data.spec.target.shape == (7,)


def test_windows_are_what_they_promise(sales: Path) -> None:
    """The past ends where the future begins; each target lies in its own split; each origin comes once."""
    data = nd.load(sales, target="sales", task="forecasting", horizon=5, context=20)
    raw = np.asarray([float(row["sales"]) for row in days(400)])
    seen: dict[str, set[int]] = {}
    for split in ("train", "val", "test"):
        source = source_of(data, split)
        inputs, targets = source.gather(np.arange(len(source)))
        scale = source.operation.scales[0]
        past = inputs["past"][..., 0].numpy() * scale.std[0] + scale.mean[0]
        for row, origin in enumerate(source.origins):
            assert np.allclose(past[row], raw[origin - 20 : origin], atol=1e-4)
            assert np.allclose(targets[row], raw[origin : origin + 5], atol=1e-4)
        assert (np.diff(source.origins) == 1).all()
        seen[split] = {int(origin) + step for origin in source.origins for step in range(5)}
    assert seen["train"] | seen["val"] | seen["test"] == set(range(20, 400))
    assert not (seen["train"] & seen["val"] or seen["val"] & seen["test"] or seen["train"] & seen["test"])


def test_nothing_after_the_split_is_known_before_it(tmp_path: Path) -> None:
    """Other values from the test part on change nothing that is fitted, and no window of training or validation."""
    rows = days(300)
    for name in "abc":
        (tmp_path / name).mkdir()
    first = nd.load(write(tmp_path / "a" / "sales.csv", rows), target="sales", task="forecasting")
    begins = int(source_of(first, "test").origins[0])
    other = [row | {"sales": "999", "rain": "-5"} if index >= begins else row for index, row in enumerate(rows)]
    second = nd.load(write(tmp_path / "b" / "sales.csv", other), target="sales", task="forecasting")
    assert first.spec.preprocess == second.spec.preprocess
    for split in ("train", "val"):
        everything = np.arange(len(source_of(first, split)))
        ours, theirs = (source_of(one, split).gather(everything) for one in (first, second))
        assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
        assert torch.equal(ours[1], theirs[1])
    validation = source_of(first, "val").origins[0]
    late = [row | {"sales": "-7"} if index >= validation else row for index, row in enumerate(rows)]
    assert nd.load(write(tmp_path / "c" / "sales.csv", late), target="sales", task="forecasting").spec.preprocess == (
        first.spec.preprocess
    )


def test_a_gap_is_filled_from_before_and_never_scored(tmp_path: Path) -> None:
    """Absent rows and empty cells alike; the mask and the targets know."""
    rows = days(300)
    rows[100]["sales"] = ""
    del rows[150:153]
    data = nd.load(write(tmp_path / "gaps.csv", rows), target="sales", task="forecasting", horizon=4, context=10)
    assert {choice.name: choice.value for choice in data.spec.choices}["gaps"] == "4 steps"
    source = source_of(data, "train")
    inputs, targets = source.gather(np.arange(len(source)))
    at = {int(origin): row for row, origin in enumerate(source.origins)}
    assert not bool(inputs["mask"][at[105], 5]) and inputs["past"][at[105], 5, 0] == inputs["past"][at[105], 4, 0]
    assert bool(targets[at[99], 1].isnan()) and not bool(targets[at[99], 0].isnan())
    assert 151 in at and bool(targets[at[151], :2].isnan().all())

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(10, 4)

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            return self.out(past[..., 0])

    for step in nw.training_steps(Zero(), data, epochs=1):
        assert step.loss is not None and bool(torch.isfinite(step.loss))


@pytest.mark.parametrize(
    ("first", "step", "text"),
    [
        (datetime.datetime(2024, 1, 31), "month", "1 month"),
        (datetime.datetime(2024, 1, 1), "hour", "1 hour"),
        (datetime.datetime(2024, 1, 1), "quarter", "15 minutes"),
        (datetime.datetime(2024, 1, 1), "week", "1 week"),
    ],
)
def test_steps_are_found(first: datetime.datetime, step: str, text: str) -> None:
    """Months are of 28 to 31 days."""
    if step == "month":
        moments = np.arange("2024-01", "2029-01", dtype="datetime64[M]").astype("datetime64[s]").astype(np.float64)
    else:
        length = {"hour": 3_600, "quarter": 900, "week": 7 * DAY}[step]
        moments = (first - datetime.datetime(1970, 1, 1)).total_seconds() + np.arange(50) * length
    grid = find_grid(moments, where="test")
    assert grid.text == text
    places = np.arange(len(moments))
    assert (positions(grid, moments, moments[0]) == places).all()
    assert np.allclose(times(grid, moments[0], places), moments)


@given(start=st.integers(0, 20_000), size=st.sampled_from([900.0, 3600.0, DAY]), places=st.lists(st.integers(0, 5_000)))
@settings(max_examples=50, deadline=None)
def test_places_and_times_are_inverse(start: int, size: float, places: list[int]) -> None:
    """On any grid of seconds."""
    grid, at = Grid(unit="second", size=size), np.asarray(places, dtype=np.int64)
    assert (positions(grid, times(grid, start * DAY, at), start * DAY) == at).all()


def test_the_calendar_repeats() -> None:
    """A week later the place in the week is the same; a cycle that was not seen twice is none."""
    grid = Grid(unit="second", size=DAY)
    assert cycles_of(grid, 14 * DAY) == ("week",)
    assert cycles_of(grid, 800 * DAY) == ("week", "year")
    assert cycles_of(Grid(unit="second", size=3_600), 800 * DAY) == ("day", "week", "year")
    made = calendar(("week",), np.arange(14) * DAY)
    assert np.allclose(made[:7], made[7:], atol=1e-6)
    monday = (datetime.datetime(2026, 11, 23) - datetime.datetime(1970, 1, 1)).total_seconds()
    assert np.allclose(calendar(("week",), np.asarray([monday]))[0], [0, 1], atol=1e-6)


def test_several_series_are_never_mixed(tmp_path: Path) -> None:
    """Each with its own scale; a window lies in one of them."""
    rows = [row | {"shop": "north"} for row in days(200)]
    rows += [row | {"shop": "南", "sales": f"{float(row['sales']) * 1000:.1f}"} for row in days(260, seed=1)]
    data = nd.load(write(tmp_path / "shops.csv", rows), target="sales", task="forecasting", horizon=3, context=12)
    source = source_of(data, "train")
    assert source.operation.names == ("north", "南")
    assert source.operation.scales[1].mean[0] > 500 * source.operation.scales[0].mean[0]
    inputs, targets = source.gather(np.arange(len(source)))
    assert ((targets.mean(1) > 10_000) == (inputs["series"] == 1)).all()
    assert inputs["past"].abs().max() < 10  # no window reaches from one into the other
    counts = {split: np.bincount(source_of(data, split).groups) for split in ("train", "val", "test")}
    assert all((count > 0).all() for count in counts.values())


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_serving_sees_many_windows_as_training_did(tmp_path: Path, count: int) -> None:
    """From the rows of a file, gaps among them: the same bits."""
    rows = days(count + 120)
    for index in range(50, count, 97):
        rows[index]["sales"] = ""
    data = nd.load(write(tmp_path / "long.csv", rows), target="sales", task="forecasting", horizon=3, context=15)
    compared = 0
    for split in ("train", "val", "test"):
        source = source_of(data, split)
        inputs, _ = source.gather(np.arange(len(source)))
        for row, origin in enumerate(source.origins):
            # With 20 steps before: the value that fills a gap at the window's start may lie there.
            history = rows[max(0, origin - 35) : origin]
            if history[-15:][0]["sales"] == "" and len(history) < 16:
                continue
            raw = {name: [one[name] for one in history] for name in history[0]}
            served = sample(data.spec.preprocess, raw)
            for name, value in inputs.items():
                assert np.array_equal(served[name], value[row].numpy()), (name, split, row)
            compared += 1
    assert compared >= count


def test_scores_agree_with_their_formulas() -> None:
    """Written out element by element; unknown targets count nowhere."""
    generator = np.random.default_rng(0)
    values, targets = generator.normal(5, 2, (40, 3, 2)), generator.normal(5, 2, (40, 3, 2))
    targets[3, 1, 0] = np.nan
    naive = generator.uniform(1, 2, (40, 2))
    found = {one.name: one.value for one in forecast_scores(values, targets, naive, np.zeros(40, dtype=np.int64))}
    by_origin: dict[str, list[float]] = {"mase": [], "smape": [], "squared": [], "mae": []}
    for i in range(40):
        own: dict[str, list[float]] = {name: [] for name in by_origin}
        for h in range(3):
            for d in range(2):
                y, f = targets[i, h, d], values[i, h, d]
                if np.isnan(y):
                    continue
                own["mae"].append(abs(y - f))
                own["squared"].append((y - f) ** 2)
                own["mase"].append(abs(y - f) / naive[i, d])
                own["smape"].append(2 * abs(y - f) / (abs(y) + abs(f)))
        for name, held in own.items():
            by_origin[name].append(sum(held) / len(held))
    assert found["mae"] == pytest.approx(np.mean(by_origin["mae"]))
    assert found["mase"] == pytest.approx(np.mean(by_origin["mase"]))
    assert found["smape"] == pytest.approx(np.mean(by_origin["smape"]))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(by_origin["squared"])))


def test_the_interval_of_dependent_values_holds_the_mean() -> None:
    """Means over seven neighbours of an AR(1) process, as overlapping windows are; a plain interval would hold 60 %."""
    generator = np.random.default_rng(0)
    held = plain = 0
    for _ in range(1_000):
        noise = generator.normal(size=907)
        values = np.empty(907)
        values[0] = noise[0]
        for index in range(1, 907):
            values[index] = 0.5 * values[index - 1] + noise[index]
        windows = np.convolve(values, np.ones(7) / 7, mode="valid")[:900]
        interval = batch_means(windows, np.zeros(900, dtype=np.int64), reach=7)
        assert interval is not None
        held += interval[0] <= 0 <= interval[1]
        plain += abs(windows.mean()) <= 1.96 * windows.std() / 30
    assert 0.92 <= held / 1_000 <= 0.975
    assert plain / 1_000 < 0.7
    assert batch_means(np.arange(20.0), np.zeros(20, dtype=np.int64), reach=7) is None


def test_a_starter_forecasts_and_answers_a_history(
    sales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: beats the naive forecasts, draws, and says what comes next with its time."""
    write_starter("series", tmp_path / "net")
    command = ["train", f"{tmp_path / 'net'}/net.py:Net", "--data", str(sales), "--target", "sales"]
    command += ["--task", "forecasting", "--epochs", "8", "--run", str(tmp_path / "run")]
    assert main(command) == 0
    evaluation = nw.open_run(tmp_path / "run").read_evaluation()
    rivals = {one.name: one.score.value for one in evaluation.baselines}
    assert evaluation.score("mase").value < min(rivals["naive"], rivals["seasonal_naive"])
    assert {"naive", "seasonal_naive", "linear_autoregression"} == rivals.keys()
    assert len(evaluation.horizon) == 7 and all(row.half_width for row in evaluation.horizon)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Forecasts beside what came" in page and page.count("<svg") >= 6
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(sales), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    steps = answer["forecast"]["sales"]
    assert [step["time"] for step in steps][0] == "2025-02-04" and len(steps) == 7
    assert all(step["low"] < step["value"] < step["high"] for step in steps)
    weekend = [step["value"] for step in steps if datetime.date.fromisoformat(step["time"]).weekday() >= 5]
    assert min(weekend) > np.mean([step["value"] for step in steps])
    assert main(["predict", str(tmp_path / "run"), str(sales)]) == 0
    assert capsys.readouterr().out.count("\n") == 7


def test_intervals_come_from_the_validation_part(sales: Path, tmp_path: Path) -> None:
    """As wide as nine in ten of its errors, step by step; kept in the run, and used to answer."""
    from netwright.inference import predict_split

    data = nd.load(sales, target="sales", task="forecasting")

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            return self.factor * past[:, -1:, 0].expand(-1, 7)

    net = Last()
    evaluation = nw.evaluate(net, data)
    _, val = predict_split(net, data, "val")
    error = np.abs(val.probs - val.targets)[:, :, 0]
    for row in evaluation.horizon:
        assert row.half_width is not None
        inside = (error[:, row.step - 1] <= row.half_width[0] + 1e-9).sum()
        assert inside == np.ceil(0.9 * (len(error) + 1))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("twice", "it stands twice"),
        ("irregular", "whole number of steps apart"),
        ("short", "Give a longer series"),
        ("text", 'column sales, row 31: expected a number, got "many"'),
        ("no time", "a column of times"),
        ("no day", "a time in the column day"),
        ("group", "a split by time"),
        ("target", 'Did you mean "sales"'),
        ("words", "columns of numbers to forecast"),
    ],
)
def test_what_cannot_be_forecast_is_named(tmp_path: Path, how: str, told: str) -> None:
    """With the place and the cure."""
    rows = days(120)
    options: dict[str, Any] = {"task": "forecasting", "target": "sales"}
    if how == "twice":
        rows.insert(20, dict(rows[20]))
    elif how == "irregular":
        rows = [row for index, row in enumerate(rows) if index < 60]
        rows += [{"day": f"2024-03-01 {hour:02d}:10", "sales": "1", "rain": "0"} for hour in (3, 5, 9)]
    elif how == "short":
        rows = rows[:15]
    elif how == "text":
        rows[30]["sales"] = "many"
    elif how == "no time":
        rows = [{name: value for name, value in row.items() if name != "day"} for row in rows]
    elif how == "no day":
        rows[10]["day"] = ""
    elif how == "group":
        options["group_by"] = "x"
    elif how == "target":
        options["target"] = "salse"
    elif how == "words":
        rows = [row | {"sales": "many"} for row in rows]
    with pytest.raises(NetwrightError, match=told):
        nd.load(write(tmp_path / "sales.csv", rows), **options)


def test_a_history_that_cannot_be_served_is_named(sales: Path) -> None:
    """Too short, without a column, out of step."""
    preprocess = nd.load(sales, target="sales", task="forecasting", context=20).spec.preprocess
    raw = {name: [row[name] for row in days(60)] for name in ("day", "sales", "rain")}
    assert sample(preprocess, raw)["past"].shape == (20, 2)
    for changed, told in (
        ({name: cells[:10] for name, cells in raw.items()}, "at least 20 steps of 1 day, got 10"),
        ({name: cells for name, cells in raw.items() if name != "rain"}, "none called rain"),
        (raw | {"sales": ["much"] * 60}, "expected a number"),
        (raw | {"day": [raw["day"][0]] * 60}, "stands twice"),
        ([1, 2, 3], "a mapping of columns"),
    ):
        with pytest.raises(DataError, match=told):
            sample(preprocess, changed)
