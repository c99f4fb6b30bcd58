"""The page that needs no server, opened from the disk: it answers as the bundle does that it holds, and asks nobody."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netwright as nw
from answering import kinds
from chromium import Browser, find_chromium
from netwright.answering.bundle import CERTIFICATE
from netwright.answering.predictor import Predictor
from netwright.shipping.bundle import digests
from netwright.shipping.html import has_assets, to_html
from page.visiting import SHOWN, THREE, draw, said, until, upload, visit, write
from test_report_browser import CONTRAST

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(not has_assets(), reason="no onnxruntime-web here: make assets"),
]

TOLERANCE = 1e-4  # of probabilities; of other numbers relative to their size
OPTIONS = {"max_new_tokens": 12, "temperature": 0}
# Fields and buttons that a screen reader would have no name for.
NAMELESS = """
  [...document.querySelectorAll("button, input:not([type=hidden]), select, textarea")]
    .filter((one) => !one.closest("[hidden]") && !one.labels?.length && !one.getAttribute("aria-label"))
    .filter((one) => one.tagName !== "BUTTON" || !one.textContent.trim())
    .map((one) => one.outerHTML)
"""
SENTENCES = ["明天北京下雨吗", "播放周杰伦的歌", "打开客厅的灯", "上海后天有雪"]


def chinese(folder: Path) -> kinds.Made:
    """Short Chinese texts of three classes, character by character."""
    labels = ["天气", "音乐", "家电", "天气"]
    lines = [f"{text}{at % 7},{label}\n" for at in range(24) for text, label in zip(SENTENCES, labels, strict=True)]
    (folder / "texts.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    data = nw.load(folder / "texts.csv")
    model = kinds.Bag(data.spec.preprocess.text.vocab_size, 3)
    return kinds._made(data, model, folder, [*SENTENCES, "", "你好👋\ud83d", "ＡＢＣ１２３", "\u3000雨\n"])


def picture(folder: Path) -> kinds.Made:
    """Digits of 12 x 12 pixels, to which every picture is brought."""
    data = nw.load("digits", image_size=(12, 12))
    raws = [THUMB, b"no picture", THUMB[:60], b"", "not base64"]
    return kinds._made(data, kinds.Pixels(144), folder, raws)


def _thumb() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 7, 4), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


THUMB = _thumb()
# Regression is among the answers of "several", and pictures without a size are pictures.
KINDS: dict[str, Callable[[Path], kinds.Made]] = {
    **{name: make for name, make in kinds.KINDS.items() if name not in ("image", "numbers")},
    "image": picture,
    "chinese": chinese,
}
RARE = ("several", "tensor")  # left to the long tests: half of what they show is shown by others


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[kinds.Made, Path]]:
    """Bundles with certified examples, and their pages; each made once."""
    held: dict[str, tuple[kinds.Made, Path]] = {}

    def make(kind: str) -> tuple[kinds.Made, Path]:
        if kind not in held:
            folder = tmp_path_factory.mktemp(kind)
            one = KINDS[kind](folder)
            spec = json.loads((one.bundle / "preprocess.json").read_text(encoding="utf-8"))
            more = OPTIONS if kind == "next_token" else {}
            answers = Predictor.open(one.bundle).predict(spec["samples"], **more)
            certify(
                one.bundle, [{"input": raw, "answer": one} for raw, one in zip(spec["samples"], answers, strict=True)]
            )
            to_html(one.bundle, folder / "page.html")
            held[kind] = (one, folder / "page.html")
        return held[kind]

    return make


def certify(bundle: Path, examples: list[dict[str, Any]]) -> None:
    """Write the certificate anew."""
    held = {"format": 1, "made": "2026-11-26T00:00:00Z", "examples": examples}
    (bundle / CERTIFICATE).unlink()
    (bundle / CERTIFICATE).write_text(json.dumps({**held, "files": digests(bundle)}), encoding="utf-8")


def opened(chromium: Browser, page: Path, **how: Any) -> None:
    """Visit a page from the disk and wait until it can be asked."""
    visit(chromium, page.resolve().as_uri(), **how)
    until(chromium, "!document.getElementById('recheck').hidden")


def checked(chromium: Browser) -> str:
    """Press the button and read what it says in the end."""
    chromium.evaluate("document.getElementById('check').click()")
    until(chromium, "document.getElementById('checked').textContent && !document.getElementById('check').disabled")
    return chromium.evaluate("document.getElementById('checked').textContent")


def as_js(raw: Any) -> str:
    """A raw input as an expression; bytes and files as bytes, arrays as nested lists."""
    if isinstance(raw, Path):
        raw = raw.read_bytes() if raw.is_file() else b""
    if isinstance(raw, bytes):
        return f'Uint8Array.from(atob("{base64.b64encode(raw).decode()}"), (one) => one.charCodeAt(0))'
    if isinstance(raw, np.ndarray):
        raw = raw.tolist()
    return json.dumps(raw).replace("NaN", "null")


def ask(chromium: Browser, raw: Any, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the page answers to a program."""
    more = f"{{sampling: {json.dumps(options)}}}" if options else "{}"
    call = f"netwright.answer({as_js(raw)}, {more}).catch((error) => ({{error: error.message}}))"
    return chromium.evaluate(f"(async () => {call})()")


def same(found: Any, wanted: Any, where: str = "") -> None:
    """Decisions equal, numbers within the tolerance."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for name in wanted:
            same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE), (where, found, wanted)
    else:
        assert found == wanted, where


@pytest.mark.parametrize("kind", [pytest.param(one, marks=[pytest.mark.soak] * (one in RARE)) for one in KINDS])
def test_a_page_answers_as_its_bundle(chromium: Browser, made: Any, kind: str) -> None:
    """All certified examples agree, and so does every other input; what the bundle refuses the page refuses too."""
    one, page = made(kind)
    opened(chromium, page)
    count = len(json.loads((one.bundle / CERTIFICATE).read_text())["examples"])
    assert count
    assert checked(chromium).startswith(f"All {count} agree. The largest difference is ")
    options = {"max_new_tokens": 30, "temperature": 0.8} if kind == "next_token" else None
    predictor = Predictor.open(one.bundle)
    for raw, wanted in zip(one.raws, predictor.predict(one.raws, **(options or {})), strict=True):
        found = ask(chromium, raw, options)
        if "error" in wanted:
            assert "error" in found, raw
        else:
            same(found | {"name": ""}, wanted | {"name": ""}, f"{kind} {str(raw)[:40]!r}")
    asked = [e["params"]["request"]["url"] for e in chromium.events if e.get("method") == "Network.requestWillBeSent"]
    own = page.resolve().as_uri()
    assert {url for url in asked if not url.startswith(("data:", "blob:null/", "blob:file:"))} == {own}
    assert said(chromium) == []


def test_the_network_is_out_of_reach(chromium: Browser, made: Any) -> None:
    """What the page's policy forbids: a request, a picture from elsewhere, a script that is not its own."""
    opened(chromium, made("table")[1])
    assert chromium.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    chromium.evaluate("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/a.png' })), 1")
    chromium.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { text: 'window.owned = 1' })), 1"
    )
    assert chromium.evaluate("window.owned ?? null") is None
    told = json.dumps(said(chromium))
    assert told.count("violates the following") >= 3


def test_a_drawn_three_is_answered_as_the_bundle_answers_it(chromium: Browser, made: Any) -> None:
    """The very picture that the page made of the strokes, given to the bundle; and what the model saw is shown."""
    one, page = made("image")
    opened(chromium, page)
    chromium.evaluate(
        "(() => { const make = HTMLCanvasElement.prototype.toBlob; window.drawn = [];"
        " HTMLCanvasElement.prototype.toBlob = function (then, type) {"
        " drawn.push(this.toDataURL(type)); return make.call(this, then, type); }; })()"
    )
    draw(chromium, THREE)
    until(
        chromium, "document.querySelector('#shown .shown') && document.querySelector('#seen img')?.naturalWidth === 12"
    )
    until(chromium, "document.querySelectorAll('#seen .heat i').length === 49")
    until(chromium, "!document.querySelector('#answer').hasAttribute('aria-busy')")
    picture = base64.b64decode(chromium.evaluate("drawn.at(-1)").split(",")[1])
    (wanted,) = Predictor.open(one.bundle).predict([picture])
    assert "error" not in wanted
    assert_shown(chromium, wanted)


def assert_shown(chromium: Browser, wanted: dict[str, Any]) -> None:
    """The page shows the label of an answer, and its probability."""
    share = wanted["confidence"]
    told = "> 99.9%" if share >= 0.9995 else f"{share:.1%}"
    until(chromium, f"document.querySelector('#shown .big')?.textContent === {json.dumps(wanted['label'])}")
    until(chromium, f"document.querySelector('#shown .sure')?.textContent.endsWith({json.dumps(told)})")
    shown = chromium.evaluate(SHOWN)
    assert [name for name, _ in shown["bars"]] == sorted(
        wanted["probabilities"], key=lambda name: -wanted["probabilities"][name]
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_of_another_size_is_uploaded(chromium: Browser, made: Any, tmp_path: Path, kind: str) -> None:
    """Decoded, turned to grey and resized as Pillow does it."""
    one, page = made("image")
    opened(chromium, page)
    waves = np.add.outer(np.arange(61) * 5, np.arange(90) * 3)[..., None] + np.asarray([0, 60, 120])
    path = tmp_path / f"picture.{kind.lower()}"
    more = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray((127 + 120 * np.sin(waves / 40)).astype(np.uint8)).save(path, kind, **more)
    upload(chromium, path)
    (wanted,) = Predictor.open(one.bundle).predict([path])
    assert_shown(chromium, wanted)


@pytest.mark.parametrize(("kind", "text"), [("text", "Turn ON the light, please!"), ("chinese", "明天上海下雪吗？")])
def test_a_text_is_typed(chromium: Browser, made: Any, kind: str, text: str) -> None:
    """The answer comes while one types; the tokens are shown."""
    one, page = made(kind)
    opened(chromium, page)
    write(chromium, "#text-one", text)
    (wanted,) = Predictor.open(one.bundle).predict([text])
    assert_shown(chromium, wanted)
    until(chromium, "document.querySelectorAll('#seen .token.shaded').length > 1")


def test_a_form_is_filled(chromium: Browser, made: Any) -> None:
    """A number, a choice and a date; what is left empty is unknown."""
    one, page = made("table")
    opened(chromium, page)
    write(chromium, "#field-0", "2.75")
    chromium.evaluate(
        "(() => { const set = (name, value) => { const field = document.querySelector(name); field.value = value;"
        " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true })); };"
        " set('#field-1', 'car'); set('#field-2', ''); })()"
    )
    (wanted,) = Predictor.open(one.bundle).predict([{"km": 2.75, "vehicle": "car", "day": None}])
    assert_shown(chromium, wanted)


def test_a_sound_is_uploaded(chromium: Browser, made: Any, tmp_path: Path) -> None:
    """Of two channels and another rate, mixed and resampled; its spectrogram is shown. The recorder's script loads."""
    import soundfile

    one, page = made("sound")
    opened(chromium, page)
    tone = np.sin(np.arange(30_000)[:, None] / np.asarray([9.0, 17.0])) * 0.4
    soundfile.write(tmp_path / "tone.wav", tone, 44_100, subtype="PCM_24")
    upload(chromium, tmp_path / "tone.wav")
    (wanted,) = Predictor.open(one.bundle).predict([tmp_path / "tone.wav"])
    assert_shown(chromium, wanted)
    until(chromium, "document.querySelector('#seen img')?.naturalWidth > 20")
    load = "new OfflineAudioContext(1, 1, 8000).audioWorklet.addModule('data:text/javascript,1')"
    assert chromium.evaluate(f"{load}.then(() => 'loaded', (error) => error.message)") == "loaded"


def test_numbers_over_time_are_pasted(chromium: Browser, made: Any) -> None:
    """Rows of CSV; the forecast is drawn and stands in a table."""
    one, page = made("series")
    opened(chromium, page)
    history = {
        "day": [f"2024-05-{day:02d}" for day in range(1, 31)],
        "visitors": [40.0 + day % 7 for day in range(1, 31)],
    }
    rows = "\n".join(f"{day},{value}" for day, value in zip(*history.values(), strict=True))
    write(chromium, "#series-text", f"day,visitors\n{rows}")
    until(chromium, "document.querySelector('#shown tbody th')?.textContent === '2024-05-31'")
    (wanted,) = Predictor.open(one.bundle).predict([history])
    cells = chromium.evaluate(SHOWN)["cells"]
    steps = wanted["forecast"]["visitors"]
    assert [row[0] for row in cells] == [step["time"] for step in steps]
    assert [float(row[1]) for row in cells] == pytest.approx([step["value"] for step in steps], rel=1e-3)


def test_a_page_that_does_not_agree_says_so(chromium: Browser, made: Any, tmp_path: Path) -> None:
    """A certificate with one answer that is another one, and one probability that is off: both are named."""
    one, page = made("text")
    kept = json.loads((one.bundle / CERTIFICATE).read_text())
    examples = json.loads(json.dumps(kept["examples"]))
    examples[0]["answer"]["label"] = "other"
    name = next(iter(examples[1]["answer"]["probabilities"]))
    examples[1]["answer"]["probabilities"][name] += 2e-3
    try:
        certify(one.bundle, examples)
        to_html(one.bundle, tmp_path / "page.html")
    finally:
        certify(one.bundle, kept["examples"])
    opened(chromium, tmp_path / "page.html")
    count = len(examples)
    found = checked(chromium)
    assert found.startswith(f"{count - 2} of {count} agree; not number 1, 2. The largest difference is 0.002")


def test_a_model_that_was_changed_in_the_page_is_not_run(chromium: Browser, made: Any, tmp_path: Path) -> None:
    """The page holds its model against the certificate's digest."""
    one, page = made("text")
    other = base64.b64encode(gzip.compress((made("chinese")[0].bundle / "model.onnx").read_bytes())).decode()
    text = re.sub(r'(id="nw-model">)[^<]*', lambda found: found[1] + other, page.read_text(encoding="utf-8"))
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    opened(chromium, tmp_path / "page.html")
    assert "not the one of its certificate" in ask(chromium, "play music")["error"]


@pytest.mark.parametrize("kind", ["image", "table", "series"])
def test_a_page_fits_a_phone_and_can_be_read(chromium: Browser, made: Any, kind: str) -> None:
    """No wider than 390 pixels; contrast of 4.5 : 1 in light and dark; every field and button has a name."""
    _, page = made(kind)
    for dark in (False, True):
        opened(chromium, page, width=390, dark=dark)
        chromium.evaluate("document.querySelector('.sample')?.click()")
        until(chromium, "document.querySelector('#shown .shown')")
        checked(chromium)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 390
        assert chromium.evaluate(CONTRAST) == []
    nameless = chromium.evaluate(NAMELESS)
    assert nameless == []


def test_a_page_speaks_chinese(chromium: Browser, made: Any) -> None:
    """From the first where the browser does, or at a press of the button."""
    opened(chromium, made("table")[1], lang="zh-CN")
    assert chromium.evaluate("document.documentElement.lang") == "zh-CN"
    assert checked(chromium).startswith("全部")
    chromium.evaluate("document.getElementById('language').click()")
    until(chromium, "document.documentElement.lang === 'en'")
    assert chromium.evaluate("document.getElementById('checked').textContent").startswith("All ")
    chromium.evaluate("sessionStorage.clear()")


def test_names_are_no_markup(chromium: Browser, made: Any, tmp_path: Path) -> None:
    """A title and classes that would like to be a page stay texts."""
    hostile = "</title></script><script>document.title = 'owned'</script>"
    folder = shutil.copytree(made("text")[0].bundle, tmp_path / "bundle")
    spec = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
    (folder / "preprocess.json").write_text(json.dumps({**spec, "title": hostile}), encoding="utf-8")
    names = ["<img src=x onerror=\"document.title = 'owned'\">", "<b>b</b>", "</script>"]
    (folder / "classes.json").write_text(
        json.dumps({"classes": names, "answers": {}, "letters": None}), encoding="utf-8"
    )
    certify(folder, [])
    to_html(folder, tmp_path / "page.html")
    opened(chromium, tmp_path / "page.html")
    write(chromium, "#text-one", hostile)
    until(chromium, "document.querySelector('#shown .shown')")
    until(chromium, "document.querySelectorAll('#seen .token').length")
    assert chromium.evaluate("document.title").startswith(hostile)
    assert chromium.evaluate("document.querySelectorAll('h1 *, .bars b, .bars img').length") == 0
    assert checked(chromium) == "The certificate has no examples."
    assert said(chromium) == []
