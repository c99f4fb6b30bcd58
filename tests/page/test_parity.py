"""Pictures, rows, series and sounds in the stand-alone page: the same pixels, numbers and samples as in Python."""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import Browser, find_chromium
from netwright import rows
from netwright.log_mel import usual
from netwright.preprocess import DecodeImage, Preprocess, Resize
from netwright.recordings import ReadRecording
from netwright.shipping.joining import joined
from netwright.sounds import DecodeSound
from netwright.timeline import Grid, stamp, times
from netwright.windows import SeriesScale, WindowSeries
from page.comparing import assert_same, fields_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]

NUMBERS: list[Any] = [
    "1", "1.0", " 3.50 ", "1e3", "1_000", "_1", "1__0", "１２", "٣.٥", "inf", "-Infinity", "nan", "NaN", "NA", "?", "",
    "  ", "abc", "1e400", "0x10", "1.", "-.5", ".", "+7", "1e-7", "True", "1,5", "12345678901234567890", "1e22",
    "\u00a05\u2003", "\x1c7", "\ufeff7", "--1", "1e", "𝟙𝟚", "-0", "-0.0", "1E+05", 1, 1.5, 0.1, 1e-7, 1.5e-5,
    123456.789, True, False, None, -2.5, 0.0001, 0.00012345, 1e16,
]  # fmt: skip
DATES = [
    "2026-11-23", "2026-11-23 14:30", "2026/11/23", "2026.11.23 01:02:03", "2026-11-23T14:30:00Z",
    "1969-12-31 23:59:59.5",
    "2026-11-23T14:30:00.123456789", "2026-11-23T14:30+02:00", "2026-13-01", "2026-02-29", "2024-02-29", "2026-11", "x",
    "20261123", "2026-11-23 14:30:61", "2026-11-23T24:00", "1900-01-01", "0001-01-01", "9999-12-31 23:59:59",
    "2026-11-23  14:30", "2026-1-2", "2026-11-23T", "2026-11-23T14:3", "2026/11/23 4:30", " 2026-11-23\n", "", None,
]  # fmt: skip


GRIDS = [
    ("second", 3600, 1_772_341_200),
    ("second", 86_400, -3_369_600),
    ("month", 1, 1_575_093_600),
    ("month", 3, -57_974_400),
]
WIDTHS = [
    ("PCM_16", "WAV"), ("PCM_24", "WAV"), ("PCM_U8", "WAV"), ("PCM_32", "WAV"), ("FLOAT", "WAV"), ("DOUBLE", "WAV"),
    ("PCM_16", "WAVEX"), ("PCM_16", "FLAC"), ("PCM_24", "FLAC"), ("ULAW", "WAV"), ("ALAW", "WAV"),
]  # fmt: skip


def picture(random: np.random.Generator, mode: str, *, turned: bool, clear: bool) -> bytes:
    """A PNG of random pixels, with an orientation or a transparent colour."""
    height, width = map(int, random.integers(1, 80, 2))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65_536, (height, width)).astype(np.uint16))
    elif mode == "1":
        image = Image.fromarray(random.integers(0, 2, (height, width)).astype(bool))
    elif mode == "P":
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).quantize(60)
    else:
        channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
        pixels = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    more: dict[str, Any] = {}
    if turned:
        more["exif"] = Image.Exif()
        more["exif"][0x112] = int(random.integers(1, 9))
    if clear and mode in ("L", "P", "RGB"):
        more["transparency"] = 1 if mode != "RGB" else tuple(map(int, np.asarray(image)[0, 0]))
    out = io.BytesIO()
    image.save(out, "PNG", **more)
    return out.getvalue()


def test_pictures_of_all_kinds_are_the_same_pixels(engine: Browser) -> None:
    """Depths, palettes, transparency, orientation; resized up and down, each axis; grey and colour: bit for bit."""
    random = np.random.default_rng(0)
    for turn, mode in enumerate(["L", "RGB", "RGBA", "LA", "1", "P", "I;16"] * 8):
        raw = picture(random, mode, turned=turn % 3 == 0, clear=turn % 2 == 0)
        height, width = map(int, random.integers(1, 70, 2))
        target = ("L", "RGB")[turn % 2]
        steps = (DecodeImage(mode=target), Resize(height=height, width=width))  # type: ignore[arg-type]
        preprocess = Preprocess(operations=steps)
        (found,) = fields_of(engine, preprocess, [raw])
        assert_same(found, preprocess, raw)


def test_interlaced_and_damaged_pictures(engine: Browser) -> None:
    """Adam7 is undone; what is cut off, changed or no picture is refused."""
    preprocess = Preprocess(operations=(DecodeImage(mode="RGB"),))
    random = np.random.default_rng(1)
    good = picture(random, "RGB", turned=False, clear=False)
    changed = good[:60] + bytes([good[60] ^ 255]) + good[61:]
    for raw in (good[: len(good) // 2], changed, b"no picture", b""):
        (found,) = fields_of(engine, preprocess, [raw])
        assert "error" in found
    raws = [interlaced(random.integers(0, 256, (height, 11, 3), dtype=np.uint8)) for height in (1, 3, 13)]
    for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
        assert_same(found, preprocess, raw)


def interlaced(pixels: Any) -> bytes:
    """A PNG of 8-bit colour, interlaced as Adam7 does."""
    height, width, _ = pixels.shape
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    data = b"".join(
        b"\0" + line.tobytes()
        for left, top, across, down in passes
        for line in pixels[top::down, left::across]
        if len(line)
    )

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("quality", [40, 90])
def test_photographs_are_the_same_pixels(engine: Browser, quality: int) -> None:
    """JPEG, with and without colours at half the size: Chromium and Pillow decode with one library."""
    random = np.random.default_rng(quality)
    waves = random.normal(0, 30, (60, 90, 3)).cumsum(0).cumsum(1) / 20 + 128
    for subsampling in (0, 2):
        out = io.BytesIO()
        image = Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8))
        image.save(out, "JPEG", quality=quality, subsampling=subsampling)
        preprocess = Preprocess(operations=(DecodeImage(mode="RGB"), Resize(height=32, width=32)))
        (found,) = fields_of(engine, preprocess, [out.getvalue()])
        assert_same(found, preprocess, out.getvalue())


def test_pictures_that_the_browser_decodes(engine: Browser) -> None:
    """Each orientation of a JPEG, and lossless files of other kinds, opaque and transparent: the same pixels."""
    random = np.random.default_rng(2)
    image = Image.fromarray(random.integers(0, 256, (21, 34, 3), dtype=np.uint8))
    clear = Image.fromarray(random.integers(0, 256, (21, 34, 4), dtype=np.uint8))
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "BMP", {}),
        (image.quantize(60), "GIF", {}),
        (image, "WEBP", {"lossless": True}),
        (clear, "WEBP", {"lossless": True}),
        (image.convert("L"), "JPEG", {}),
    ]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = turn
        kinds.append((image, "JPEG", {"exif": exif}))
    raws = []
    for picture_, kind, options in kinds:
        out = io.BytesIO()
        picture_.save(out, kind, **options)
        raws.append(out.getvalue())
    for mode in ("RGB", "L"):
        preprocess = Preprocess(operations=(DecodeImage(mode=mode),))  # type: ignore[arg-type]
        for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
            assert_same(found, preprocess, raw)


def test_cells_are_read_alike(engine: Browser) -> None:
    """Numbers as Python reads them, categories, what is missing, names, dates."""

    def number(text: Any) -> Any:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else str(value)

    texts = [cell for cell in NUMBERS if isinstance(cell, str)]
    told = "(v) => (v === null || Number.isFinite(v) ? v : String(v).replace('NaN', 'nan').replace('Infinity', 'inf'))"
    assert engine.evaluate(f"{json.dumps(texts)}.map(nw.toFloat).map({told})") == [number(text) for text in texts]
    assert engine.evaluate(f"{json.dumps(NUMBERS)}.map(nw.asText)") == [rows.as_text(cell) for cell in NUMBERS]
    assert engine.evaluate(f"{json.dumps(NUMBERS)}.map(nw.isMissing)") == [rows.is_missing(cell) for cell in NUMBERS]
    names = ["Fare (£)", "3 x", "  ", "naïve é", "年龄", "a-b_c", "__x__", "Ünï ²"]
    assert engine.evaluate(f"{json.dumps(names)}.map(nw.slug)") == [rows.slug(name) for name in names]


def test_rows_are_the_same_numbers(engine: Browser) -> None:
    """Numbers with and without quantiles, categories, presence, dates and their parts; missing and unknown ones."""
    random = np.random.default_rng(0)
    knots = tuple(sorted(np.round(random.normal(0, 1, 40), 1).tolist()))  # some are equal
    parts = ("month", "weekday", "hour")
    operation = rows.EncodeRows(
        columns=(
            rows.NumberColumn(column="a", fill=0.3, mean=0.1, std=1.7, missing=True),
            rows.NumberColumn(column="q", fill=0.0, mean=0.02, std=0.9, knots=knots),
            rows.CategoryColumn(column="c", values=("", "x", "1", "é")),
            rows.PresenceColumn(column="p"),
            rows.DateColumn(column="d", origin="2020-01-01", mean=100.0, std=33.0, parts=parts),
        ),
        unused=("u",),
    )
    pools: dict[str, list[Any]] = {
        "a": ["", None, "1.5", 3, "-2e3", "inf"],
        "q": [*map(float, knots[::5]), "", *random.normal(0, 1.5, 6).tolist(), -9, 9, "bad"],
        "c": ["", "x", "1.0", 1, "é", "zz", None, True],
        "p": ["", "t", None],
        "d": DATES,
        "u": ["anything"],
        "unknown": [1],
    }
    shares = {"u": 0.1, "unknown": 0.03}
    raws = [
        {
            name: pool[int(random.integers(len(pool)))]
            for name, pool in pools.items()
            if random.random() < shares.get(name, 0.9)
        }
        for _ in range(250)
    ]
    preprocess = Preprocess(operations=(operation,))
    for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
        assert_same(found, preprocess, raw, within=3e-7)


@pytest.mark.parametrize(("unit", "size", "begin"), GRIDS)
def test_windows_are_the_same(engine: Browser, unit: Any, size: float, begin: float) -> None:
    """Gaps, steps in any order, months of any length, times before 1970, the name of the series."""
    random = np.random.default_rng(0)
    grid = Grid(unit=unit, size=size)
    scales = tuple(SeriesScale(name=name, mean=(1.5, 2.5), std=(0.7, 1.3), naive_error=(1.0,)) for name in ("A", "7"))
    for turn in range(8):
        operation = WindowSeries(
            time="t", series="s" if turn % 2 else None, columns=("y", "z"), targets=1, grid=grid, scales=scales,
            cycles=("day", "week", "year"), season=7, context=8, horizon=4,
        )  # fmt: skip
        moments = times(grid, float(begin), np.arange(14))
        kept = np.sort(random.choice(14, 11, replace=False)) if turn % 3 else np.arange(14)
        kept = random.permutation(kept) if turn % 4 == 0 else kept
        table: dict[str, Any] = {
            "t": [stamp(moments[at]) for at in kept],
            "y": [None if random.random() < 0.2 else float(value) for value in random.normal(0, 1, len(kept))],
            "z": [f"{value:.3f}" for value in random.normal(0, 1, len(kept))],
        }
        if turn % 2:
            table["s"] = ["7.0" if turn != 5 else "B"] * len(kept)
        preprocess = Preprocess(operations=(operation,))
        (found,) = fields_of(engine, preprocess, [table])
        assert_same(found, preprocess, table, within=2e-7)
    ahead = f"[0, 1, 5, 40].map((at) => nw.stampOf(nw.timeOf({grid.model_dump_json()}, {begin}, at)))"
    assert engine.evaluate(ahead) == [stamp(one) for one in times(grid, float(begin), np.asarray([0, 1, 5, 40]))]


def test_recordings_are_the_same(engine: Browser) -> None:
    """Columns with gaps, or rows of numbers; what is neither is refused."""
    preprocess = Preprocess(operations=(ReadRecording(columns=("a", "b"), mean=(1.0, 2.0), std=(0.5, 3.0)),))
    raws: list[Any] = [{"a": [None, 2, 3], "b": ["4", "", "7"]}, [[1, 2], [3, 4]], {"a": [1], "b": ["x"]}, {"a": [1]}]
    for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
        assert_same(found, preprocess, raw, within=1e-7)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 44_101, 48_000])
def test_sounds_are_the_same_samples(engine: Browser, rate: int) -> None:
    """WAV of all widths and FLAC, one to three channels, mixed and brought to 16,000 Hz: the same 16 bits."""
    import soundfile

    random = np.random.default_rng(rate)
    preprocess = Preprocess(operations=(DecodeSound(sample_rate=16_000, max_seconds=0.5),))
    raws = []
    for width, kind in WIDTHS:
        for channels in (1, 2, 3):
            loud = 4 if width == "FLOAT" else 1  # beyond full scale
            out = io.BytesIO()
            samples = random.normal(0, 0.3 * loud, (int(random.integers(200, 1200)), channels))
            soundfile.write(out, samples, rate, format=kind, subtype=width)
            raws.append(out.getvalue())
    out = io.BytesIO()
    soundfile.write(out, np.zeros(400), rate, format="WAV")
    raws += [out.getvalue(), raws[0][:-31], b""]
    for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
        assert_same(found, preprocess, raw)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_spectra_are_the_same(engine: Browser, rate: int) -> None:
    """Log-mel spectra of long and short sounds: as Python's, to rounding."""
    spectrum = usual(rate, 40)
    preprocess = Preprocess(operations=(DecodeSound(sample_rate=rate, max_seconds=5), spectrum))
    random = np.random.default_rng(rate)
    raws = [wave(random.normal(0, 0.1, count), rate) for count in (2, spectrum.hop, spectrum.hop + 1, 3 * rate // 2)]
    for raw, found in zip(raws, fields_of(engine, preprocess, raws), strict=True):
        assert_same(found, preprocess, raw, within=2e-5)


def wave(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16 bits."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def test_a_name_that_is_hidden_goes_past(tmp_path: Path) -> None:
    """Modules with equal names are joined; one that changes and is hidden is refused."""
    (tmp_path / "a.js").write_text("export const name = 1;\nexport let changing = 1;\n")
    (tmp_path / "b.js").write_text('import { name } from "./a.js";\nconst own = name;\nexport const two = own + 1;\n')
    (tmp_path / "c.js").write_text('import { two } from "./b.js";\nconst name = 5;\nexport const five = name * two;\n')
    entry = tmp_path / "d.js"
    lines = (
        'import { five } from "./c.js";',
        'import { name, changing as now } from "./a.js";',
        "found(name, five, now);",
    )
    entry.write_text("\n".join(lines) + "\n")
    assert "const name = $0_name;" in joined(entry, instead={}, beside={})
    (tmp_path / "c.js").write_text(
        'import { two } from "./b.js";\nconst changing = 5;\nexport const five = changing * two;\n'
    )
    with pytest.raises(ValueError, match="changing, which changes"):
        joined(entry, instead={}, beside={})
