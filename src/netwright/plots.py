"""Figures as SVG text that takes its colours and fonts from the page: light, dark or print.

Draws numbers, knows nothing of the run folder or of languages: words are handed in. Matplotlib measures text with its
own font, which need not hold the reader's glyphs; so a stand-in is drawn for each word and replaced by it afterwards.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from netwright.errors import missing_extra
from netwright.intervals import wilson
from netwright.results import CalibrationBin, Forecast

Points = Sequence[tuple[float, float]]

# Drawn in these marker colours, which become the page's CSS variables.
INK, MUTED, GRID, FIRST, SECOND, BAND = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    BAND: "var(--band)",
}
# In points, of which a page makes CSS pixels. 420 wide leaves 12 px text at 9.5 px on a phone of 360 px.
WIDTH, HEIGHT, TEXT = 420.0, 250.0, 12.0
SQUARE_HEIGHT = 330.0
# A line of more points than the figure has pixels only makes the file larger.
MAX_POINTS = 400
MAX_DOTS = 1500
MAX_MARKED = 80  # points of a series that are drawn as dots too
# Losses that span more than this factor are drawn on a logarithmic axis.
LOG_SPAN = 50.0


def curves(train: Points, val: Points, *, best: float | None, percent: bool, words: Mapping[str, str]) -> str:
    """Draw a number over training, for both splits.

    Args:
        train: Pairs of position and value; values that are not finite leave a gap.
        val: The same for the validation split; drawn with dots.
        best: Position to mark as the best; None marks nothing.
        percent: Label the height in percent.
        words: ``x`` names the axis, ``best`` the mark, ``label`` the whole figure for those who cannot see it.
    """
    with _figure(WIDTH, HEIGHT) as figure:
        axes = figure.add_axes((0.125, 0.165, 0.855, 0.745))
        for points, colour, zorder in ((_thin(train), FIRST, 2), (val, SECOND, 3)):
            if points:
                marker = "o" if (colour == SECOND or len(points) == 1) and len(points) <= 60 else None
                axes.plot(
                    *zip(*points, strict=True), color=colour, linewidth=1.8, marker=marker, markersize=4, zorder=zorder
                )
        heights = [value for _, value in (*train, *val) if math.isfinite(value) and value > 0]
        if not percent and heights and max(heights) / min(heights) > LOG_SPAN:
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        if best is not None:
            axes.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
            place = {"xycoords": ("data", "axes fraction"), "xytext": (0, 4), "textcoords": "offset points"}
            axes.annotate("@best@", (best, 1), ha="center", va="bottom", color=MUTED, fontsize=TEXT, **place)
        if percent:
            axes.yaxis.set_major_formatter(_percent)
        axes.xaxis.set_major_locator(_few_whole(8))
        _finish(axes, x="@x@")
        return _svg(figure, words)


def reliability(bins: Sequence[CalibrationBin], words: Mapping[str, str]) -> str:
    """Draw how often the model was right against how sure it said it was, with the count of each bin below.

    Args:
        bins: Only those that hold a sample are drawn, each with its 95 % Wilson interval.
        words: ``x``, ``y``, ``count`` name the axes, ``label`` the whole figure.
    """
    filled = [one for one in bins if one.count]
    with _figure(WIDTH, SQUARE_HEIGHT) as figure:
        axes = figure.add_axes((0.155, 0.365, 0.82, 0.61))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
        for one in filled:
            low, high = wilson(one.accuracy * one.count, one.count)
            axes.plot([one.confidence] * 2, [low, high], color=FIRST, linewidth=3, alpha=0.5, solid_capstyle="butt")
        axes.plot([one.confidence for one in filled], [one.accuracy for one in filled], "o", color=FIRST, ms=6)
        below = figure.add_axes((0.155, 0.13, 0.82, 0.18), sharex=axes)
        for one in filled:
            below.bar(
                one.low, one.count, width=(one.high - one.low) * 0.92, align="edge", color=BAND, edgecolor=FIRST, lw=0.8
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        for side in (axes, below):
            side.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.tick_params(labelbottom=False)
        below.yaxis.set_major_locator(_few_whole())
        below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _finish(axes, y="@y@")
        _finish(below, x="@x@", y="@count@")
        return _svg(figure, words)


def against(targets: Sequence[float], values: Sequence[float], words: Mapping[str, str]) -> str:
    """Draw predicted against true values; at most 1,500 of them, evenly picked.

    Args:
        targets: True values.
        values: What the model answered to the same samples.
        words: ``x`` and ``y`` name the axes, ``label`` the whole figure.
    """
    pairs = [pair for pair in zip(targets, values, strict=True) if all(map(math.isfinite, pair))]
    pairs = pairs[:: max(1, math.ceil(len(pairs) / MAX_DOTS))]
    with _figure(WIDTH, SQUARE_HEIGHT) as figure:
        axes = figure.add_axes((0.155, 0.13, 0.82, 0.845))
        if pairs:
            ends = [min(map(min, pairs)), max(map(max, pairs))]
            axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
            axes.plot(*zip(*pairs, strict=True), "o", color=FIRST, ms=3, alpha=0.45, markeredgewidth=0)
        _finish(axes, x="@x@", y="@y@")
        return _svg(figure, words)


def residuals(targets: Sequence[float], values: Sequence[float], words: Mapping[str, str]) -> str:
    """Draw how far off the model was: a histogram of predicted minus true.

    Args:
        targets: True values.
        values: What the model answered to the same samples.
        words: ``x`` and ``y`` name the axes, ``label`` the whole figure.
    """
    errors = [value - target for target, value in zip(targets, values, strict=True)]
    errors = [error for error in errors if math.isfinite(error)]
    with _figure(WIDTH, SQUARE_HEIGHT) as figure:
        axes = figure.add_axes((0.155, 0.13, 0.82, 0.845))
        # As many bars as the square root of the count, between 8 and 40: the shape shows, the noise does not.
        axes.hist(
            errors, bins=max(8, min(40, round(math.sqrt(len(errors))))), color=BAND, edgecolor=FIRST, linewidth=0.8
        )
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.yaxis.set_major_locator(_few_whole())
        axes.locator_params(axis="x", nbins=5)  # long numbers would run into each other
        _finish(axes, x="@x@", y="@y@")
        return _svg(figure, words)


def forecast(one: Forecast, words: Mapping[str, str]) -> str:
    """Draw a forecast beside what came, with the past before it; steps from the origin on the axis.

    Args:
        one: Past, truth and forecast; unknown values leave a gap.
        words: ``label`` names the whole figure.
    """
    past, ahead = len(one.past), len(one.steps)
    with _figure(WIDTH, HEIGHT) as figure:
        axes = figure.add_axes((0.125, 0.12, 0.855, 0.845))
        truth = [math.nan if value is None else value for value in (*one.past, *one.truth)]
        marker = "o" if past + ahead <= MAX_MARKED else None
        axes.plot(range(1 - past, ahead + 1), truth, color=FIRST, linewidth=1.6, marker=marker, markersize=3, zorder=3)
        steps = range(1, ahead + 1)
        lows, highs = [step.low for step in one.steps], [step.high for step in one.steps]
        if all(end is not None for end in (*lows, *highs)):
            axes.fill_between(steps, lows, highs, color=BAND, linewidth=0, zorder=1)
        values = [step.value for step in one.steps]
        axes.plot(steps, values, color=SECOND, linewidth=1.8, marker=marker, markersize=4, zorder=4)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=2)
        axes.xaxis.set_major_locator(_few_whole(8))
        _finish(axes)
        return _svg(figure, words)


def _percent(value: float, _: Any) -> str:
    text = f"{100 * value:.4g}%"
    return text.replace("-", "\N{MINUS SIGN}")


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _few_whole(count: int = 3) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=count, integer=True)


def _thin(points: Points) -> Points:
    """Means over runs of neighbours, so that no more than MAX_POINTS are left."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


@contextmanager
def _figure(width: float, height: float) -> Iterator[Any]:
    """A figure of so many CSS pixels, in a style that does not depend on the person's own."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("report", error) from error
    ours = {
        "svg.fonttype": "none",
        "svg.hashsalt": "netwright",
        "font.size": TEXT,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "path.simplify": True,
    }
    with style.context(["default", ours]):
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def _finish(axes: Any, *, x: str = "", y: str = "") -> None:
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.set_xlabel(x, fontsize=TEXT, labelpad=4)
    axes.set_ylabel(y, fontsize=TEXT, labelpad=5)


def _svg(figure: Any, words: Mapping[str, str]) -> str:
    """The figure as one ``<svg>`` that may stand inside a page beside others."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    view_box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 :]
    # Its style sheet would hold for the whole page; its metadata names other sites.
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([\w.-]+)", body))
    prefix = f"{re.sub(r'[^a-z0-9]+', '-', words.get('id', 'figure').lower())}-"
    body = re.sub(r' id="([\w.-]+)"', lambda match: f' id="{prefix}{match[1]}"' if match[1] in used else "", body)
    body = re.sub(r"url\(#", f"url(#{prefix}", body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}', body)
    body = re.sub(r"font(?:-size)?: ([\d.]+)px[^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    for marker, variable in VARIABLES.items():
        body = body.replace(marker, variable)
    for name, word in words.items():
        body = body.replace(f"@{name}@", html.escape(word))
    body = re.sub(r"\n\s*", "\n", body)
    label = html.escape(words["label"], quote=True)
    size = view_box[1] if view_box else f"0 0 {WIDTH:g} {HEIGHT:g}"
    return f'<svg class="plot" viewBox="{size}" role="img" aria-label="{label}">{body}'
