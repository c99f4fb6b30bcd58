"""Bundles as one HTML file, as it is written: what is refused, and that nothing of the machine is in it."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import pytest

from netwright.data.tokenisers import fit_tokenizer
from netwright.errors import ExportRefusedError, MissingFileError
from netwright.records import LoadOptions
from netwright.shipping import html
from netwright.shipping.html import has_assets, to_html, unknown_part
from serving import bundles

pytestmark = pytest.mark.skipif(not has_assets(), reason="no onnxruntime-web here: make assets")


def test_what_the_page_does_not_know_is_refused() -> None:
    """A tokenizer of another making, at export and by its part."""
    (operation, _) = fit_tokenizer(["one two", "three"], LoadOptions(tokenizer="word"))
    tokenizer = json.loads(operation.tokenizer)
    assert unknown_part(tokenizer) is None
    split = {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": False}
    for change, part in (
        ({"model": {"type": "Unigram"}}, "the model Unigram"),
        ({"normalizer": {"type": "Precompiled"}}, "the normalizer Precompiled"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]}}, "the pre_tokenizer Meta"),
        ({"pre_tokenizer": split}, "a split by"),
    ):
        assert str(unknown_part({**tokenizer, **change})).startswith(part)
    with pytest.raises(ExportRefusedError, match="the model Unigram"):
        changed = operation.model_copy(update={"tokenizer": json.dumps({**tokenizer, "model": {"type": "Unigram"}})})
        html.check_known({"preprocess": {"operations": [changed.model_dump(mode="json")]}})


def test_without_onnxruntime_web_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its files are absent, and where they are others; nothing is written."""
    bundle = bundles.rows(tmp_path / "rows")
    (tmp_path / "digests.json").write_bytes((html.ASSETS / "digests.json").read_bytes())
    (tmp_path / "LICENSE.onnxruntime").write_bytes((html.ASSETS / "LICENSE.onnxruntime").read_bytes())
    monkeypatch.setattr(html, "ASSETS", tmp_path)
    assert not has_assets()
    with pytest.raises(MissingFileError, match="make assets"):
        to_html(bundle, tmp_path / "page.html")
    for name in (html.RUNTIME, html.WASM):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"another"))
    with pytest.raises(MissingFileError, match="another one"):
        to_html(bundle, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_model_too_large_for_a_page_is_refused() -> None:
    """What no browser could hold as text is told before it is written."""
    html.check_size(html.MOST_BYTES)
    with pytest.raises(ExportRefusedError, match="380 MB"):
        html.check_size(html.MOST_BYTES + (1 << 20))


def test_equal_bundles_make_equal_pages(tmp_path: Path) -> None:
    """No time and no place is in a page; the licence is, and no address."""
    bundle = bundles.rows(tmp_path / "rows")
    page = tmp_path / "page.html"
    to_html(bundle, page)
    to_html(bundle, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    text = page.read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+|[A-Za-z0-9+/=]{200,}", "", text)
    assert io.StringIO(text).readline() == "<!doctype html>\n"
