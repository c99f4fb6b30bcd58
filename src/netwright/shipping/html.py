"""A bundle as one HTML file that answers in a browser: from the disk, without a server and without a network.

It holds the model, its preprocessing, onnxruntime-web and the page of the server, which asks the model in the page. Its
policy forbids every request. Knows nothing of torch.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from netwright.answering.bundle import Bundle, open_bundle
from netwright.errors import ExportRefusedError, MissingFileError
from netwright.sampling import DRAWS
from netwright.shipping.joining import joined
from netwright.shipping.placing import unwritable

HERE = Path(__file__).parent
ASSETS, WEB = HERE / "assets", HERE / "web"
PAGE = HERE.parent / "serving" / "page"
RUNTIME, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
# A browser's longest text has 2**29 letters, and base64 makes four letters of three bytes.
MOST_BYTES = 380 << 20
LEVEL = 6  # of gzip: weights hardly shrink, and level 9 takes three times as long
# Parts of a tokenizer that the page knows; those of netwright's own are among them.
NORMALISERS = {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}
PRE_TOKENIZERS = {"Sequence", "ByteLevel", "Split", "Whitespace", "WhitespaceSplit", "BertPreTokenizer"}
MODELS = {"WordLevel", "BPE", "WordPiece"}
PATTERNS = {r"[\s\S]", r"\n|[^\W_]+|_|[^\w\s]"}


def has_assets() -> bool:
    """Whether onnxruntime-web is here: in a wheel always, in a checkout after ``make assets``."""
    return all((ASSETS / f"{name}.gz").is_file() for name in (RUNTIME, WASM))


def to_html(bundle: Bundle | Path, out: Path) -> None:
    """Write a bundle as one HTML file, replacing what is there in one step.

    Args:
        bundle: Opened, or its folder or file.
        out: The file.

    Raises:
        MissingFileError: onnxruntime-web is not here.
        ExportRefusedError: The page cannot do what this bundle needs.
        RunError: The file cannot be written.
    """
    held = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    text = page_of(held)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(out, error) from error


def page_of(bundle: Bundle) -> str:
    """The page of a bundle.

    Raises:
        As ``to_html``.
    """
    check_known(bundle.spec)
    model = gzip.compress(bundle.read("model.onnx"), LEVEL, mtime=0)
    check_size(len(model))
    blocks = {
        "nw-spec": gzip.compress(json.dumps({**bundle.spec, "pillow": _habits(), "draws": _draws()}).encode(), mtime=0),
        "nw-classes": gzip.compress(bundle.read("classes.json"), mtime=0),
        "nw-certificate": gzip.compress(bundle.read("certificate.json"), mtime=0),
        "nw-model": model,
        "nw-wasm": _asset(WASM)[0],
    }
    spec = bundle.spec
    style = "".join(path.read_text(encoding="utf-8") for path in (PAGE / "page.css", WEB / "standalone.css"))
    runtime, program = _runtime(), program_of(WEB / "standalone.js")
    mark = "data:image/svg+xml," + quote((PAGE / "mark.svg").read_text(encoding="utf-8"))
    parts = {
        "POLICY": _policy(style, runtime, program, records=spec["kind"] == "sound"),
        "TITLE": html.escape(f"{spec.get('title') or spec.get('name') or 'model'} · netwright"),
        "MARK": html.escape(mark),
        "LICENCE": html.escape((ASSETS / "LICENSE.onnxruntime").read_text(encoding="utf-8")),
        "STYLE": style,
        "BLOCKS": "\n".join(
            f'<script type="application/octet-stream" id="{name}">{base64.b64encode(content).decode()}</script>'
            for name, content in blocks.items()
        ),
        "RUNTIME": runtime,
        "PROGRAM": program,
    }
    text = (WEB / "page.html").read_text(encoding="utf-8")
    pieces = text.split("@@")  # what is put in is not looked through again
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def program_of(entry: Path) -> str:
    """A module of the page and all that it imports, as one script."""
    words = {f"{tongue}.json": _words(tongue) for tongue in ("en", "zh")}
    beside: dict[str, object] = {**words, "capture.js": (PAGE / "capture.js").read_text(encoding="utf-8")}
    return _closed(joined(entry, instead={PAGE / "api.js": WEB / "api.js"}, beside=beside))


def _words(tongue: str) -> dict[str, str]:
    table: dict[str, str] = json.loads((PAGE / f"{tongue}.json").read_text(encoding="utf-8"))
    own: dict[str, str] = json.loads((WEB / f"words.{tongue}.json").read_text(encoding="utf-8"))
    return table | own


def _runtime() -> str:
    """onnxruntime-web as a script that leaves ``ort`` behind: a page from the disk may import no file."""
    source = _asset(RUNTIME)[1].decode().split("//# sourceMappingURL")[0]
    head, _, names = source.rpartition("export{")
    pairs = [name.split(" as ") for name in names.rstrip().rstrip(";}").split(",")]
    exported = ",".join(f"{pair[-1]}:{pair[0]}" for pair in pairs)
    return _closed(f"{head}globalThis.ort={{{exported}}};")


def _closed(script: str) -> str:
    """A script that ends where it should, whatever texts are in it."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _asset(name: str) -> tuple[bytes, bytes]:
    """A file of onnxruntime-web, packed and plain.

    Raises:
        MissingFileError: It is not here, or it is another one.
    """
    path = ASSETS / f"{name}.gz"
    wanted = json.loads((ASSETS / "digests.json").read_text(encoding="utf-8"))["files"][name]
    if not path.is_file():
        raise MissingFileError(
            where=str(path),
            expected="onnxruntime-web, which the page runs the model with",
            got="no such file",
            cure="Run `make assets` in the checkout, or install netwright from a wheel, which has it.",
        )
    packed = path.read_bytes()
    try:
        plain = gzip.decompress(packed)
    except (OSError, EOFError):
        plain = b""
    if hashlib.sha256(plain).hexdigest() != wanted:
        raise MissingFileError(
            where=str(path),
            expected=f"the file with SHA-256 {wanted[:12]}…",
            got="another one",
            cure="Remove it and run `make assets` again.",
        )
    return packed, plain


def _policy(style: str, *scripts: str, records: bool) -> str:
    """What the page may do: run these scripts, show these styles and its own pictures; no request at all."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    # The recorder of sounds is a script by itself, of the page's own making.
    run = [*map(digest, scripts), "'wasm-unsafe-eval'", *(["data:"] if records else [])]
    return (
        f"default-src 'none'; script-src {' '.join(run)}; style-src {digest(style)}; img-src data: blob:; "
        "media-src blob:; form-action 'none'; base-uri 'none'"
    )


def _draws() -> str:
    """The key of the random numbers that texts are written with where no seed is asked for; see `keyed_uniform`."""
    return str(np.random.SeedSequence([0, 0, DRAWS]).generate_state(1, np.uint64)[0])


def _habits() -> dict[str, bool]:
    """In which order the Pillow that is here resizes: since 13 it goes down first where that takes more away."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 60), dtype=np.uint8)
    image, bilinear = Image.fromarray(pixels), Image.Resampling.BILINEAR
    down_first = image.resize((60, 20), bilinear).resize((55, 20), bilinear)
    return {"downFirst": image.resize((55, 20), bilinear).tobytes() == down_first.tobytes()}


def check_size(packed: int) -> None:
    """Refuse a model that no browser could hold as text.

    Args:
        packed: Its bytes, compressed.

    Raises:
        ExportRefusedError: It has more than ``MOST_BYTES``.
    """
    if packed > MOST_BYTES:
        raise ExportRefusedError(
            where="--to html",
            expected=f"a model of at most {MOST_BYTES >> 20} MB, compressed, as a page can hold one",
            got=f"{packed >> 20} MB",
            cure="Export a bundle and serve it: netwright serve BUNDLE. Or try --fp16.",
        )


def check_known(spec: Mapping[str, Any]) -> None:
    """Refuse what the page's own preprocessing does not know.

    Raises:
        ExportRefusedError: A person's own tokenizer has such a part.
    """
    for operation in spec["preprocess"]["operations"]:
        if operation["op"] == "tokenise":
            found = unknown_part(json.loads(operation["tokenizer"]))
            if found is not None:
                raise ExportRefusedError(
                    where="--to html",
                    expected="a tokenizer of word, character, BPE or WordPiece tokens that the page knows",
                    got=found,
                    cure="Export a bundle and serve it: netwright serve BUNDLE.",
                )


def unknown_part(tokenizer: Mapping[str, Any]) -> str | None:
    """The first part of a tokenizer that the page does not know; None where it knows all."""
    model = tokenizer["model"]
    if model["type"] not in MODELS:
        return f"the model {model['type']}"
    if any(model.get(name) for name in ("byte_fallback", "fuse_unk", "end_of_word_suffix", "dropout", "ignore_merges")):
        return f"the model {model['type']} with settings of its own"
    if model["type"] == "BPE" and model.get("continuing_subword_prefix"):
        return "the model BPE with a prefix"
    if any(one.get("single_word") for one in tokenizer.get("added_tokens") or ()):
        return "an added token that is a word by itself"
    for kind, known, inner in (
        ("normalizer", NORMALISERS, "normalizers"),
        ("pre_tokenizer", PRE_TOKENIZERS, "pretokenizers"),
    ):
        for part in _parts(tokenizer.get(kind), inner):
            if part["type"] not in known:
                return f"the {kind} {part['type']}"
            if part["type"] == "Split" and not _splits_as_known(part):
                return f"a split by {part['pattern']}"
    return None


def _parts(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    return [] if part is None else [part, *(each for one in part.get(inner, ()) for each in _parts(one, inner))]


def _splits_as_known(part: dict[str, Any]) -> bool:
    pattern = part["pattern"]
    known = "String" in pattern or pattern.get("Regex") in PATTERNS
    return (
        known and part["behavior"] in ("Removed", "Isolated") and (part["behavior"] == "Removed" or not part["invert"])
    )
