"""The pages of docs/findings are up to date: what docs/build_findings.py builds now is what stands there.

The programs on the pages are not run here: tests/faults runs each of them, the sick and the healthy ones.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from netwright.checks.catalogue import CODES, FOLLOWERS
from netwright.data import describe

BUILDER = Path(__file__).resolve().parent.parent / "docs" / "build_findings.py"


@pytest.fixture(scope="module")
def builder() -> Iterator[ModuleType]:
    """docs/build_findings.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("build_findings", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def copied(builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the texts, with pages just built of them."""
    (tmp_path / "texts.yaml").write_text((builder.PAGES / "texts.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(builder, "PAGES", tmp_path)
    builder.main([])
    return tmp_path


def test_pages_are_up_to_date(builder: ModuleType) -> None:
    """Nothing would change if they were built again."""
    assert builder.out_of_date() == [], "python docs/build_findings.py"


def test_every_code_has_texts_and_a_page(builder: ModuleType) -> None:
    """And no text is empty, and none is of something that is no code."""
    written = builder.texts()
    assert set(written) == set(CODES)
    for code, entry in written.items():
        assert tuple(entry) == builder.KEYS, code
        assert all(isinstance(text, str) and text.strip() for text in entry.values()), code
        assert (builder.PAGES / f"{code}.md").is_file(), code


def test_every_code_with_programs_shows_them(builder: ModuleType) -> None:
    """The sick program whole, and the lines that heal it."""
    for folder in sorted(builder.PROGRAMS.iterdir()):
        if (folder / "sick.py").is_file() and (folder / "healthy.py").is_file():
            page = (builder.PAGES / f"{folder.name}.md").read_text(encoding="utf-8")
            assert (folder / "sick.py").read_text(encoding="utf-8").rstrip() in page, folder.name
            assert "\n--- sick.py\n+++ healthy.py\n@@" in page, folder.name


def test_causes_and_their_followers_are_codes() -> None:
    """Each key and each value, of the catalogue or of ``netwright data``; and nothing follows from itself."""
    of_data = set(re.findall(r'"(D1\d\d)"', Path(describe.__file__).read_text(encoding="utf-8")))
    for code, followers in FOLLOWERS.items():
        assert code in CODES
        assert set(followers) <= {*CODES, *of_data}, code
        assert code not in followers


def test_what_is_out_of_date_is_named(builder: ModuleType, copied: Path) -> None:
    """A changed page, a missing one, one of a code that is gone, and texts that are missing."""
    assert builder.out_of_date() == []
    page = copied / "M01.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Severity", "Gravity"), encoding="utf-8")
    (copied / "M02.md").unlink()
    (copied / "Z01.md").write_text("# Z01: gone\n", encoding="utf-8")
    assert builder.out_of_date() == ["M01.md: not as built", "M02.md: missing", "Z01.md: no longer a page"]
    texts = copied / "texts.yaml"
    texts.write_text(texts.read_text(encoding="utf-8").replace("\nH04:\n", "\nH44:\n"), encoding="utf-8")
    said = builder.out_of_date()
    assert "texts.yaml: no texts for H04" in said
    assert "texts.yaml: H44 is no code" in said
    with pytest.raises(SystemExit, match="M01.md: not as built"):
        builder.main(["--check"])
