"""The report says what the records say, says what is missing, and trusts no text in them."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from netwright import sections, wording
from netwright.errors import MissingExtraError, MissingFileError, RunError
from netwright.reporting import report
from netwright.results import Baseline, Score
from reporting_fixture import CHINESE, HOSTILE, bare_run, digits_run, many_classes_run, regression_run

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, its text, and whether every one is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unclosed = self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def having(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return digits_run(tmp_path_factory.mktemp("runs") / "2026-11-23-digits-net")


@pytest.fixture(scope="module")
def page(digits):
    return Page(report(digits.path).read_text(encoding="utf-8"))


def test_headline_is_the_number_in_evaluation_json(digits, page):
    """The first number, its interval and the rounded text are those of the file."""
    held = json.loads(digits.evaluation_file.read_text(encoding="utf-8"))
    score = next(one for one in held["scores"] if one["name"] == held["headline"])
    shown = next(attrs for attrs in page.having("data") if attrs.get("id") == "headline")
    assert float(shown["value"]) == score["value"]
    assert float(shown["data-low"]) == score["low"]
    assert float(shown["data-high"]) == score["high"]
    for value in (score["value"], score["low"], score["high"]):
        assert f"{100 * value:.1f}%" in page.text
    wrong = held["count"] - sum(row[i] for i, row in enumerate(held["confusion"]))
    assert f"{wrong} of them wrong" in page.text


def test_every_score_and_baseline_stands_in_the_page_in_full(digits, page):
    """Machines find each number unrounded in a data element."""
    held = json.loads(digits.evaluation_file.read_text(encoding="utf-8"))
    values = {attrs["value"] for attrs in page.having("data")}
    scores = [*held["scores"], *(one["score"] for one in held["baselines"])]
    scores += [row[name] for row in held["per_class"] for name in ("precision", "recall", "f1")]
    assert {str(score["value"]) for score in scores} <= values


def test_confusion_table_sums_to_the_samples(digits, page):
    """Row totals and cells are the counts of the file."""
    held = json.loads(digits.evaluation_file.read_text(encoding="utf-8"))
    table = sections.confusion(digits.read_evaluation())
    assert [[cell.count for cell in cells] for _, _, cells, _ in table.rows] == held["confusion"]
    assert sum(total for _, total, _, _ in table.rows) == held["count"]
    assert sum(pair.count for pair in table.pairs) <= held["count"]


def test_page_needs_nothing_else(digits, page):
    """No script, no address outside the file, and a policy that forbids both."""
    policy = next(attrs["content"] for attrs in page.having("meta") if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not page.having("script")
    links = [
        attrs[name] for _, attrs in page.elements for name in ("src", "href", "xlink:href", "action") if name in attrs
    ]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    text = digits.report_file.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|url\((?!#)", text)


def test_page_is_well_formed_and_has_names_for_those_who_cannot_see(page):
    """Elements close in order; ids are unique; tables, pictures and drawings have names."""
    assert not page.unclosed
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.having("a")} <= set(ids)
    assert all("scope" in attrs for attrs in page.having("th"))
    assert all(attrs.get("alt") for attrs in page.having("img"))
    assert all(attrs.get("aria-label") for attrs in page.having("svg"))
    assert len(page.having("table")) == len(page.having("caption"))
    assert page.having("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later - before <= 1 for before, later in zip(levels, levels[1:], strict=False))


def test_drawings_take_their_colours_from_the_page(digits):
    """No marker colour is left, and no text is drawn as outlines."""
    drawings = re.findall(r"<svg.*?</svg>", digits.report_file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(drawings) == 3
    for drawing in drawings:
        assert "<text" in drawing
        assert "var(--" in drawing
        assert not re.search(r"#0102|@\w+@|DejaVu|<style|<metadata", drawing)
        assert set(re.findall(r"#[0-9a-f]{6}", drawing)) <= {"#ffffff"}


def test_two_reports_of_one_run_are_equal(digits, tmp_path):
    """Nothing of the clock, the process or a random generator gets into the file."""
    first = report(digits.path, out=tmp_path / "a.html").read_bytes()
    assert first == report(digits.path, out=tmp_path / "b.html").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hostile_names_stay_text(tmp_path, lang):
    """Markup, templates and control characters in class names are shown, not obeyed."""
    run = digits_run(tmp_path / "<b>run & 'co'", HOSTILE)
    text = report(run.path, lang=lang).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.unclosed
    assert not page.having("script")
    assert not page.having("b") or all(not attrs for attrs in page.having("b"))
    assert all(attrs["src"].startswith("data:image/png") for attrs in page.having("img"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "<b>run & 'co'" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert HOSTILE[0] in page.text
    assert not wording.CONTROLS.search(text)
    assert "\\x1b[31m" in page.text


def test_chinese_report_has_chinese_words_only(tmp_path):
    """Headings, labels and captions are Chinese, and the class names are as they were."""
    run = digits_run(tmp_path / "run", CHINESE)
    page = Page(report(run.path, lang="zh").read_text(encoding="utf-8"))
    assert page.having("html") == [{"lang": "zh-Hans"}]
    for words in ("准确率", "置信区间", "混淆矩阵", "学习率", "逻辑回归", "测试样本", *CHINESE):
        assert words in page.text
    english = wording.read_words("en")
    long = [text for text in english.sentences.values() if len(text) > 12 and "{" not in text]
    assert [text for text in long if text in page.text] == []


def test_both_languages_have_the_same_sentences():
    """A sentence, and each name in its braces, is there in both."""
    english, chinese = wording.read_words("en"), wording.read_words("zh")
    assert set(english.sentences) == set(chinese.sentences)
    holes = re.compile(r"{(\w+)}")
    for key, text in english.sentences.items():
        assert set(holes.findall(text)) == set(holes.findall(chinese.sentences[key])), key


def test_settings_all_have_a_chinese_label():
    """Every setting and loading option can be named in Chinese."""
    from netwright.records import LoadOptions, Settings

    labels = wording.read_words("zh").labels
    assert [name for name in (*Settings.model_fields, *LoadOptions.model_fields) if name not in labels] == []


def test_missing_files_are_said_to_be_missing(tmp_path):
    """A run that only began has a report, and it claims nothing."""
    run = bare_run(tmp_path / "bare")
    text = Page(report(run.path).read_text(encoding="utf-8")).text
    for words in (
        "Not evaluated yet",
        "No metrics were written yet",
        "the plan was not kept",
        "does not mean that nothing is wrong",
    ):
        assert words in text
    for words in ("Nothing looked wrong", "This number was watched", "started from Python"):
        assert words not in text


def test_unevaluated_run_shows_training_numbers_as_what_they_are(tmp_path):
    """The best validation score stands there without an interval, and with the command that gives one."""
    run = digits_run(tmp_path / "run", evaluated=False)
    text = Page(report(run.path).read_text(encoding="utf-8")).text
    best = max(row["accuracy"] for row in run.read_metrics() if row["split"] == "val")
    assert f"{100 * best:.1f}%" in text
    assert "netwright evaluate" in text


def test_regression_has_its_own_sections(tmp_path):
    """RMSE, MAE and R² stand first; confusion and calibration are not spoken of."""
    run = regression_run(tmp_path / "run")
    page = Page(report(run.path).read_text(encoding="utf-8"))
    held = run.read_evaluation()
    assert not page.unclosed
    for name in ("rmse", "mae", "r2"):
        assert wording.number(name, held.score(name).value) in page.text
    assert "Predicted against true" in page.text
    assert "Confusion" not in page.text
    assert len(page.having("svg")) == 4


def test_regression_without_predictions_says_so(tmp_path):
    """Where single predictions were not kept, nothing is drawn in their place."""
    run = regression_run(tmp_path / "run")
    run.predictions_file.unlink()
    page = Page(report(run.path).read_text(encoding="utf-8"))
    assert "no single predictions were kept" in page.text
    assert len(page.having("svg")) == 2


def test_many_classes_are_cut_to_the_most_confused(tmp_path):
    """A hundred classes give a table of twelve, and every sample of their rows is still counted."""
    run = many_classes_run(tmp_path / "run")
    table = sections.confusion(run.read_evaluation())
    assert len(table.names) == sections.MOST_CONFUSED
    assert table.others == 100 - sections.MOST_CONFUSED
    assert table.pairs[0].true in table.names
    assert table.pairs[0].predicted in table.names
    assert all(total == sum(cell.count for cell in cells) + rest for _, total, cells, rest in table.rows)
    text = Page(report(run.path).read_text(encoding="utf-8")).text
    assert "88 others are counted together" in text
    assert "40 better classes are left out" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "higher", "verdict"),
    [
        ((0.95, 0.93, 0.97), (0.90, 0.88, 0.92), True, "clear"),
        ((0.95, 0.91, 0.97), (0.90, 0.88, 0.92), True, "unsure"),
        ((0.90, 0.88, 0.92), (0.90, 0.88, 0.92), True, "behind"),
        ((0.80, 0.78, 0.82), (0.90, 0.88, 0.92), True, "worse"),
        ((2.0, 1.8, 2.2), (3.0, 2.8, 3.2), False, "clear"),
        ((3.0, 2.8, 3.2), (2.0, 1.8, 2.2), False, "worse"),
        ((0.95, None, None), (0.90, None, None), True, "clear"),
    ],
)
def test_verdict_follows_from_the_intervals(digits, ours, theirs, higher, verdict):
    """Only intervals that do not overlap make a lead certain."""

    def score(ends: tuple[float, float | None, float | None]) -> Score:
        return Score(name="accuracy", value=ends[0], low=ends[1], high=ends[2], higher_is_better=higher)

    held = digits.read_evaluation().model_copy(
        update={"scores": (score(ours),), "baselines": (Baseline(name="b", detail="", score=score(theirs)),)}
    )
    head = sections.headline(held)
    assert head.verdict == verdict
    assert all(
        0 <= mark <= 100 for rival in head.rivals for mark in (rival.mark.low, rival.mark.value, rival.mark.high)
    )


def test_numbers_that_are_not_finite_are_a_dash(digits, tmp_path):
    """NaN in metrics or scores breaks neither the page nor its drawings."""
    run = digits_run(tmp_path / "run")
    rows = run.read_metrics()
    rows[3]["loss"] = float("nan")
    rows[-1]["accuracy"] = float("inf")
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9', encoding="utf-8")
    held = run.read_evaluation()
    run.write(held.model_copy(update={"scores": (*held.scores, Score(name="roc_auc", value=float("nan")))}))
    text = Page(report(run.path).read_text(encoding="utf-8")).text
    assert "nan" not in text.lower().replace("finance", "")
    assert wording.number("accuracy", float("nan")) == "–"


@pytest.mark.parametrize(
    ("name", "value", "count", "text"),
    [
        ("accuracy", 0.98765, 360, "98.8%"),
        ("accuracy", 0.98765, 10_000, "98.77%"),
        ("macro_f1", 1.0, 10, "100.0%"),
        ("log_loss", 0.12345, 0, "0.123"),
        ("r2", -0.5, 0, "\N{MINUS SIGN}0.500"),
        ("rmse", 49.834, 0, "49.83"),
        ("rmse", 1234.56, 0, "1,234.6"),
        ("mse", 1.5e-7, 0, "1.5e-07"),
        ("mae", None, 0, "–"),
    ],
)
def test_numbers_have_the_digits_their_samples_bear(name, value, count, text):
    """Shares in percent, the rest with three or four digits."""
    assert wording.number(name, value, count=count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100.0%"), (0.99999, ">99.9%"), (0.9991, "99.9%"), (0.5, "50%"), (0.012, "1.2%")]
)
def test_confidence_is_never_rounded_to_certainty(value, text):
    """99.999 % is not shown as 100 %."""
    assert wording.share_text(value) == text


def test_scores_of_the_validation_split_are_called_so(tmp_path):
    """A number from samples that training looked at is not passed off as one from new data."""
    run = digits_run(tmp_path / "run")
    run.write(run.read_evaluation().model_copy(update={"split": "val"}))
    text = Page(report(run.path).read_text(encoding="utf-8")).text
    assert "validation samples, which training also looked at" in text
    assert "test samples" not in text


def test_damaged_record_is_named(tmp_path):
    """A file that is not what netwright wrote is an error with its name, and no page is left behind."""
    run = digits_run(tmp_path / "run")
    run.evaluation_file.write_text('{"task": "classification"', encoding="utf-8")
    with pytest.raises(RunError, match=r"evaluation\.json"):
        report(run.path)
    assert not run.report_file.exists()


def test_failed_report_leaves_the_old_one(tmp_path):
    """An error while reading changes no byte of the report before."""
    run = digits_run(tmp_path / "run")
    before = report(run.path).read_bytes()
    run.plan_file.write_text("[]", encoding="utf-8")
    with pytest.raises(RunError):
        report(run.path)
    assert run.report_file.read_bytes() == before


def test_folder_without_a_run_is_refused(tmp_path):
    """The error names the folder."""
    with pytest.raises(MissingFileError, match=re.escape(str(tmp_path))):
        report(tmp_path)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_extra_is_named(digits, monkeypatch, package):
    """Without its packages the error gives the command that installs them."""
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to make an import fail
    with pytest.raises(MissingExtraError, match=r"pip install 'netwright\[report\]'"):
        report(digits.path)


def test_reporting_draws_and_writes_without_torch(digits, tmp_path):
    """No module of the report imports torch by its own hand."""
    for name in ("reporting", "plots", "sections", "wording"):
        text = (Path(sections.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) torch\b", text, flags=re.MULTILINE)
    code = "import sys, netwright.reporting; "
    code += "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_preprocessing_stands_in_the_page(page):
    """Each operation is named with its arguments, in order."""
    assert "decode_image(mode=L) → resize(height=28, width=28) → scale(factor=0.00392157)" in page.text


def test_weights_and_data_digests_stand_in_the_page(digits, page):
    """What proves that a second run came to the same is there in full."""
    import hashlib

    assert hashlib.sha256(digits.weights_file.read_bytes()).hexdigest() in page.text
    assert digits.read_data().digest in page.text
    assert html.unescape("netwright train examples/tutorial/net.py:Net --data digits") in page.text
