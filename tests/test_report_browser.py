"""The report as a browser shows it: quiet, within its window, dark where asked, Chinese where written."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pytest

from chromium import browser, find_chromium
from netwright.reporting import report
from reporting_fixture import CHINESE, HOSTILE, digits_run, many_classes_run, regression_run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]

# Every element that holds text itself, with its colour and what lies behind it; in sRGB, blended from the page upwards.
CONTRAST = """
(() => {
  const parse = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return n.length < 4 ? [...n.slice(0, 3), 1] : n;
  };
  const over = (top, base) => [0, 1, 2].map((i) => top[i] * top[3] + base[i] * (1 - top[3]));
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    if (!own || box.width < 2 || element.closest("defs")) continue;
    const chain = []; for (let at = element; at; at = at.parentElement) chain.unshift(at);
    const back = chain.reduce((rgb, at) => over(parse(getComputedStyle(at).backgroundColor), rgb), [255, 255, 255]);
    const style = getComputedStyle(element);
    const front = over(parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    const name = element.className.baseVal ?? element.className;
    if (ratio < 4.5) low.push([element.tagName, name, element.textContent.slice(0, 30), ratio.toFixed(2)]);
  }
  return low;
})()
"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as driven:
        yield driven


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    chinese = digits_run(root / "chinese", CHINESE)
    return {
        "digits": report(digits_run(root / "2026-11-23-digits-net").path),
        "hostile": report(digits_run(root / "hostile", HOSTILE).path),
        "chinese": report(chinese.path, lang="zh"),
        "regression": report(regression_run(root / "regression").path),
        "many": report(many_classes_run(root / "many").path),
        "language": report(language_run(root / "language").path, lang="zh"),
    }


def language_run(folder):
    """A real run on a text that would like to be a page, with a word longer than any window."""
    import netwright as nw
    from netwright.models import load_model
    from netwright.progress import Silent
    from netwright.starters import write_starter

    folder.mkdir()
    lines = ["<script>document.title = 'owned'</script> & \"quoted\"", "床前明月光，疑是地上霜。", "W" * 300]
    (folder / "text.txt").write_text("\n".join(lines * 12), encoding="utf-8")
    (net, *_) = write_starter("lm", folder / "mine")
    data = nw.load(folder / "text.txt")
    model = load_model(f"{net}:Net", {"vocab_size": data.spec.preprocess.text.vocab_size, "hidden": 16})
    return nw.train(model, data, run=folder / "run", epochs=1, progress=Silent(), report=False)


@pytest.mark.parametrize("name", ["digits", "hostile", "chinese", "regression", "many", "language"])
def test_page_loads_without_a_word_or_a_request(chromium, pages, name):
    """The console stays empty, no exception is thrown, and the one request is the file itself."""
    chromium.show(pages[name])
    said = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    assert [event for event in chromium.events if event.get("method") in said] == []
    asked = [e["params"]["request"]["url"] for e in chromium.events if e.get("method") == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    assert chromium.evaluate("document.title") != "owned"


def test_console_would_have_been_heard(chromium, tmp_path):
    """A page that breaks its own policy is noticed, so silence means something."""
    page = tmp_path / "loud.html"
    page.write_text(
        "<!doctype html><meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><script>1</script>",
        encoding="utf-8",
    )
    chromium.show(page)
    chromium.evaluate("new Promise(requestAnimationFrame)")
    assert any(event.get("method") == "Log.entryAdded" for event in chromium.events)


@pytest.mark.parametrize("name", ["digits", "hostile", "chinese", "regression", "many", "language"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_page_is_never_wider_than_its_window(chromium, pages, name, width):
    """Wide tables scroll in their own box."""
    chromium.show(pages[name], width=width)
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["digits", "many", "regression", "language"])
def test_text_has_the_contrast_that_wcag_asks(chromium, pages, name, dark):
    """At least 4.5 : 1 for every text, in light and in dark (WCAG 2.2, 1.4.3)."""
    chromium.show(pages[name], dark=dark)
    assert chromium.evaluate(CONTRAST) == []


def test_low_contrast_would_be_seen(chromium, tmp_path):
    """The measure of contrast names grey on white, so an empty list means something."""
    page = tmp_path / "pale.html"
    page.write_text(
        "<!doctype html><body style='background:#fff'><p style='color:#999'>pale</p><p>ink</p>", encoding="utf-8"
    )
    chromium.show(page)
    assert [found[2] for found in chromium.evaluate(CONTRAST)] == ["pale"]


def test_dark_page_is_really_dark(chromium, pages):
    """Behind everything lies a dark colour, and drawings turn with it."""
    from PIL import Image

    means = {}
    for dark in (False, True):
        chromium.show(pages["digits"], dark=dark)
        means[dark] = np.asarray(Image.open(io.BytesIO(chromium.picture())).convert("L")).mean()
        stroke = chromium.evaluate("getComputedStyle(document.querySelector('.plot text')).fill")
        level = sum(map(int, stroke.removeprefix("rgb(").removesuffix(")").split(",")[:3])) / 3
        assert level > 128 if dark else level < 128
    assert means[True] < 60
    assert means[False] > 200


def test_print_is_light_even_for_dark_readers(chromium, pages, tmp_path):
    """Paper is white and the ink is dark, whatever the screen is."""
    chromium.show(pages["digits"], dark=True)
    printed = chromium.pdf()
    assert printed.startswith(b"%PDF")
    chromium.show(pages["digits"], dark=True, media="print")
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_chinese_is_not_drawn_as_boxes(chromium, tmp_path):
    """Different characters have different pictures, where a font has them."""
    if shutil.which("fc-list") is None or not subprocess.check_output(["fc-list", ":lang=zh"], timeout=30):
        pytest.skip("no Chinese font on this machine")
    page = report(digits_run(tmp_path / "run", CHINESE).path, lang="zh")
    chromium.show(page)
    drawn = """
    (() => {
      const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
      context.font = "32px " + getComputedStyle(document.body).fontFamily;
      context.textBaseline = "top";
      return [..."准确率混淆矩阵零三七"].map((one) => {
        context.clearRect(0, 0, 40, 40);
        context.fillText(one, 0, 2);
        return context.getImageData(0, 0, 40, 40).data.join(" ");
      });
    })()
    """
    glyphs = chromium.evaluate(drawn)
    assert len(set(glyphs)) == len(glyphs)
    # Code points that no font may assign, drawn the same way, are boxes alike: so the test can fail.
    boxes = chromium.evaluate(drawn.replace("准确率混淆矩阵零三七", "\\uDBFF\\uDFFD\\uDBFF\\uDFFC"))
    assert len(set(boxes)) == 1


def test_keyboard_reaches_every_box_that_scrolls(chromium, pages):
    """Boxes that scroll take the focus and have a name."""
    chromium.show(pages["many"], width=360)
    boxes = chromium.evaluate(
        "[...document.querySelectorAll('*')].filter((e) => e.scrollWidth > e.clientWidth + 1"
        " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))"
        ".map((e) => [e.tabIndex, !!e.getAttribute('aria-label') || !!e.querySelector('a')])"
    )
    assert boxes
    assert all(index == 0 or has_links for index, has_links in boxes)
    assert all(named for _, named in boxes)
