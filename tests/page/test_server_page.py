"""The page of `netwright serve`, used by hand: each answer is the one that the bundle itself gives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

import netwright as nw
from answering import kinds
from chromium import find_chromium
from netwright.answering.predictor import Predictor
from netwright.shipping.bundle import digests
from page.visiting import THREE, answered, draw, elsewhere, paste, press, said, until, upload, visit, write
from serving import bundles
from serving.running import Running, serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]

NAMES = ("digits", "texts", "rows", "sounds", "visitors")
HOSTILE = ["<script>document.title = 'owned'</script>", "好 <b onmouseover=\"document.title = 'owned'\">bold</b>"]
HISTORY = [(f"2031-05-{day:02d}", 40 + day % 7) for day in range(1, 31)]


def change(bundle: Path, name: str, **fields: Any) -> None:
    """Write fields of one of a bundle's files anew, and certify it again."""
    file, certificate = bundle / name, bundle / "certificate.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields), encoding="utf-8")
    kept = json.loads(certificate.read_text())
    certificate.unlink()
    certificate.write_text(json.dumps(kept | {"files": digests(bundle)}), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles: two of trained networks, three by hand, one of them with class names that would like to be a page."""
    root = tmp_path_factory.mktemp("page")
    data = nw.load("digits")
    net = kinds.Pixels()
    run = nw.train(net, data, run=root / "run", **(kinds.QUIET | {"epochs": 12}))
    kinds.write_bundle(run, net, data, root / "digits")
    (root / "days").mkdir()
    kinds.series(root / "days").bundle.rename(root / "visitors")
    bundles.rows(root / "rows")
    bundles.sounds(root / "sounds")
    bundles.texts(root / "texts")
    change(root / "texts", "classes.json", classes=HOSTILE)
    # As training stores sounds: beside each its length and mask.
    more = [{"name": "lengths", "shape": [], "dtype": "int64"}, {"name": "mask", "shape": [-1], "dtype": "bool"}]
    change(root / "sounds", "preprocess.json", fields=[{"name": "sound", "shape": [-1], "dtype": "float32"}, *more])
    return root


@pytest.fixture(scope="module")
def server(made: Path):
    """A server over all of them."""
    with serving(*(f"{name}={made / name}" for name in NAMES)) as one:
        yield one


def of_bundle(made: Path, name: str, raw: Any) -> dict[str, Any]:
    """The answer of the bundle, as `netwright predict` gives it."""
    predictor = Predictor.open(made / name)
    (answer,) = predictor.answer([predictor.decode(raw)], ["input"])
    return answer


def percent(share: float) -> str:
    """A share as the page writes it."""
    if share < 1 and share >= 0.9995:
        return "> 99.9%"
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def same_classes(shown: dict[str, Any], answer: dict[str, Any]) -> None:
    """The page shows the label, and all classes by falling probability."""
    assert shown["label"] == answer["label"]
    assert shown["sure"].endswith(percent(answer["confidence"]))
    ordered = sorted(answer["probabilities"].items(), key=lambda one: -one[1])
    assert shown["bars"] == [[name, percent(share)] for name, share in ordered]


def close(found: Any, wanted: Any) -> None:
    """Equal but for the last digits: batches are summed in another order."""
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def of_classes(made: Path, name: str, raw: Any, answer: dict[str, Any], shown: dict[str, Any]) -> None:
    """Server, page and bundle give one answer."""
    wanted = of_bundle(made, name, raw)
    assert answer["label"] == wanted["label"]
    close(answer["probabilities"], wanted["probabilities"])
    same_classes(shown, answer)


def test_a_drawn_three_is_a_three(chromium, server: Running, made: Path) -> None:
    """Drawn with the mouse, scaled to the size of the data, explained; the same picture gets the same answer."""
    visit(chromium, f"{server.address}/#digits")
    draw(chromium, THREE)
    sent, answer, shown = answered(chromium, explained=True)
    with Image.open(io.BytesIO(sent)) as picture:
        assert picture.size == (8, 8)
        assert picture.convert("L").getextrema()[1] > 200
    assert answer["label"] == "3"
    of_classes(made, "digits", sent, answer, shown)
    until(chromium, "document.querySelectorAll('#seen img').length === 2")
    assert chromium.evaluate("document.querySelector('#seen img').naturalWidth") == 8
    assert chromium.evaluate("document.querySelectorAll('#seen .heat i').length") == 49
    until(chromium, "document.getElementById('told').textContent.startsWith('3, ')")
    chromium.evaluate("document.querySelector('#input .strong').click()")
    until(chromium, "document.querySelector('#shown .empty')")
    assert said(chromium) == []
    assert elsewhere(chromium, server.address) == []


def test_a_digit_can_be_drawn_with_keys(chromium, server: Running, made: Path) -> None:
    """Arrows move the pen, the space bar puts it down: a stroke across and one down."""
    visit(chromium, f"{server.address}/#digits")
    chromium.evaluate("document.querySelector('.board').focus()")
    press(chromium, "ArrowLeft", times=5)
    press(chromium, " ")
    press(chromium, "ArrowRight", times=10)
    press(chromium, "ArrowDown", times=14)
    press(chromium, " ")
    sent, answer, shown = answered(chromium, explained=True)
    of_classes(made, "digits", sent, answer, shown)
    assert said(chromium) == []


def test_an_uploaded_picture_and_one_that_is_none(chromium, server: Running, made: Path, tmp_path: Path) -> None:
    """A file goes to the server as it is; what the server says against it stands beside the input."""
    visit(chromium, f"{server.address}/#digits")
    path = tmp_path / "digit.png"
    digit = Image.fromarray((load_digits().images[7] * 15).astype("uint8"))
    digit.save(path)
    upload(chromium, path)
    sent, answer, shown = answered(chromium)
    assert sent == path.read_bytes()
    of_classes(made, "digits", sent, answer, shown)
    # Photographed: dark ink in a corner of light paper.
    paper = Image.new("RGB", (300, 200), "#e8e2d4")
    paper.paste(ImageOps.invert(digit).resize((90, 90)), (180, 20))
    paper.save(path.with_suffix(".jpg"))
    count = chromium.evaluate("asked.length")
    upload(chromium, path.with_suffix(".jpg"))
    until(chromium, f"asked.length > {count} && asked.at(-1).sent !== asked[0].sent")
    sent, answer, shown = answered(chromium)
    with Image.open(io.BytesIO(sent)) as picture:
        assert picture.size == (8, 8)
        assert picture.convert("L").getpixel((0, 0)) < 60  # light on dark, as the data are
    of_classes(made, "digits", sent, answer, shown)
    assert answer["label"] == "7"
    assert said(chromium) == []
    path.write_text("no picture")
    upload(chromium, path)
    until(chromium, "!document.getElementById('problem').hidden")
    assert "picture" in chromium.evaluate("document.getElementById('problem').textContent")
    assert chromium.evaluate("document.querySelector('#shown .empty') !== null")


def test_english_is_answered_while_it_is_typed(chromium, server: Running, made: Path) -> None:
    """Without a button; class names from data stay text; the tokens are shown."""
    visit(chromium, f"{server.address}/#texts")
    write(chromium, "textarea", "a good day")
    sent, answer, shown = answered(chromium, explained=True)
    assert sent == "a good day"
    of_classes(made, "texts", sent, answer, shown)
    assert answer["label"] in HOSTILE
    until(chromium, "document.querySelectorAll('#seen .token').length === 10")
    assert "owned" not in chromium.evaluate("document.title")
    assert said(chromium) == []
    assert elsewhere(chromium, server.address) == []


def test_chinese_is_pasted_on_a_chinese_page(chromium, server: Running, made: Path) -> None:
    """A browser that asks for Chinese gets it; switched to English the text and its answer stay."""
    visit(chromium, f"{server.address}/#texts", lang="zh-CN,zh;q=0.9")
    assert chromium.evaluate("document.documentElement.lang") == "zh-CN"
    assert chromium.evaluate("document.getElementById('answer-title').textContent") == "回答"
    paste(chromium, server.address, "textarea", "好坏好")
    sent, answer, shown = answered(chromium)
    assert sent == "好坏好"
    of_classes(made, "texts", sent, answer, shown)
    assert shown["sure"].startswith("概率")
    chromium.evaluate("document.getElementById('language').click()")
    until(chromium, "document.documentElement.lang === 'en'")
    assert chromium.evaluate("document.querySelector('textarea').value") == "好坏好"
    assert chromium.evaluate("document.querySelector('#shown .sure').textContent").startswith("probability")
    chromium.evaluate("sessionStorage.clear()")
    assert said(chromium) == []


def test_a_sound_is_uploaded(chromium, server: Running, made: Path, tmp_path: Path) -> None:
    """As a WAV file; the page plays it and shows its spectrogram."""
    visit(chromium, f"{server.address}/#sounds")
    path = tmp_path / "tone.wav"
    path.write_bytes(bundles.wav(440, loud=0.3))
    upload(chromium, path)
    sent, answer, shown = answered(chromium, explained=True)
    assert sent == path.read_bytes()
    of_classes(made, "sounds", sent, answer, shown)
    until(chromium, "document.querySelector('#seen .spectrum')?.naturalWidth > 0")
    until(chromium, "document.querySelector('audio').duration > 0.4")
    assert said(chromium) == []
    assert elsewhere(chromium, server.address) == []


def test_a_form_is_filled(chromium, server: Running, made: Path) -> None:
    """By keyboard; an empty field is unknown; columns are ranked."""
    visit(chromium, f"{server.address}/#rows")
    write(chromium, "#field-0", "41,5")
    chromium.evaluate("document.querySelector('#field-1').focus()")
    press(chromium, "O", text="O", code="KeyO", windowsVirtualKeyCode=79)
    chromium.send("Input.dispatchKeyEvent", type="char", key="O", text="O")
    until(chromium, "document.querySelector('#field-1').value === 'Oslo'")
    until(chromium, "asked.some((one) => one.sent.includes('41.5') && one.sent.includes('Oslo'))")
    sent, answer, shown = answered(chromium, explained=True)
    assert sent == {"age": 41.5, "town": "Oslo"}
    wanted = of_bundle(made, "rows", sent)
    close(answer["value"], wanted["value"])
    assert float(shown["label"]) == pytest.approx(wanted["value"][0], rel=1e-3)
    until(chromium, "document.querySelectorAll('#seen .bars li').length === 2")
    write(chromium, "#field-0", " ")
    until(chromium, "asked.at(-1).sent.includes('null')")
    sent, answer, _ = answered(chromium)
    assert sent == {"age": None, "town": "Oslo"}
    close(answer["value"], of_bundle(made, "rows", sent)["value"])
    assert said(chromium) == []


def test_a_series_is_pasted(chromium, server: Running, made: Path) -> None:
    """Cells of a spreadsheet; the forecast is drawn and stands in a table; what is no number is named by its line."""
    visit(chromium, f"{server.address}/#visitors")
    text = "\n".join(["day\tvisitors", *(f"{day}\t{value}" for day, value in HISTORY)])
    paste(chromium, server.address, "textarea", text)
    until(chromium, "asked.length && asked.at(-1).sent.includes('2031-05-30')")
    sent, answer, shown = answered(chromium)
    assert sent == {"day": [day for day, _ in HISTORY], "visitors": [value for _, value in HISTORY]}
    wanted = of_bundle(made, "visitors", sent)["forecast"]["visitors"]
    found = answer["forecast"]["visitors"]
    assert [one["time"] for one in found] == [one["time"] for one in wanted]
    close([one["value"] for one in found], [one["value"] for one in wanted])
    assert [row[0] for row in shown["cells"]] == [one["time"] for one in wanted]
    close([float(row[1]) for row in shown["cells"]], [float(f"{one['value']:.4g}") for one in wanted])
    until(chromium, "document.querySelector('.chart .past') && document.querySelector('.chart .ahead')")
    assert said(chromium) == []
    paste(chromium, server.address, "textarea", text.replace("\t41\n", "\tmany\n", 1))
    until(chromium, "!document.getElementById('problem').hidden")
    assert "“many”" in chromium.evaluate("document.getElementById('problem').textContent")


NAMELESS = """
[...document.querySelectorAll("button, select, textarea, input, audio, [tabindex='0']")]
  .filter((one) => one.checkVisibility() && !one.labels?.length && !one.getAttribute("aria-label")
    && !one.textContent.trim()).map((one) => one.outerHTML)
"""


@pytest.mark.parametrize("name", NAMES)
def test_page_fits_its_window_and_names_its_controls(chromium, server: Running, name: str) -> None:
    """On a phone, in the dark: nothing is wider than the window, each control has a name, all text has contrast."""
    from test_report_browser import CONTRAST

    visit(chromium, f"{server.address}/#{name}", width=360, dark=True)
    if chromium.evaluate("document.querySelector('.sample') !== null"):
        chromium.evaluate("document.querySelector('.sample').click()")
        answered(chromium, explained=True)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 360
    assert chromium.evaluate(NAMELESS) == []
    assert chromium.evaluate(CONTRAST) == []
    assert said(chromium) == []
