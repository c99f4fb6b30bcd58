"""Files of the server's page, read as text: nothing from the network or against its policy, and all words twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import netwright.serving

PAGE = Path(netwright.serving.__file__).parent / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
# Words whose names are put together.
MADE = re.compile(r"(takes|does|looked)_\w+")
# Where a word is named: as the first of some calls, the second or third of others.
CALLS = (
    r'data-word="(\w+)"',
    r'\b(?:word|chooser|problem|figure)\(\s*"(\w+)"',
    r'\bproblem: "(\w+)"',
    r'\bsaid\(\s*"\w+",\s*"(\w+)"',
    r'\bsay\([^,"]+,\s*"(\w+)"',
    r'\blabel\([^,"]+,\s*"[\w-]+",\s*"(\w+)"',
)


def test_nothing_becomes_markup_or_code() -> None:
    """Text from data goes in as text: no script writes markup, none makes code of text."""
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|import\(")
    assert SCRIPTS
    assert [script.name for script in SCRIPTS if forbidden.search(script.read_text(encoding="utf-8"))] == []


def test_nothing_comes_from_the_network() -> None:
    """No address but the name of SVG's vocabulary."""
    files = [file for file in PAGE.iterdir() if file.is_file()]
    found = {
        url for file in files for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\"' ]*", file.read_text("utf-8"))
    }
    assert {url for url in found if "www.w3.org/2000/svg" not in url} == set()


def test_page_has_no_inline_script_or_style() -> None:
    """The policy of the server forbids both."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html) == []


def test_both_languages_have_all_words() -> None:
    """The same names with the same slots in both, and no word that is asked for is missing, or kept for nothing."""
    english, chinese = (json.loads((PAGE / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for name, sentence in english.items():
        assert set(re.findall(r"\{\w+\}", sentence)) >= set(re.findall(r"\{\w+\}", chinese[name])), name
    text = "".join(file.read_text(encoding="utf-8") for file in [PAGE / "index.html", *SCRIPTS])
    asked = {name for call in CALLS for name in re.findall(call, text)}
    assert len(asked) > 50
    assert asked - english.keys() == set()
    quoted = set(re.findall(r'"(\w+)"', text)) | {name for name in english if MADE.fullmatch(name)}
    assert english.keys() - quoted == set()
