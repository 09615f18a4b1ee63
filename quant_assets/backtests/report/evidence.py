"""The page's answer to: is it luck? Tests, intervals and the overfitting of a sweep, ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quant_assets.backtests.glossary import DASH, KNOWN, SAME, shown, unsigned_zero
from quant_assets.backtests.report.geometry import GRID_HEIGHT, GRID_WIDTH, Tick, linear_ticks, number
from quant_assets.backtests.verdict.questions import chance

if TYPE_CHECKING:
    from quant_assets.backtests.verdict.assess import Evidence, Test
    from quant_assets.evidence.bootstrap import Interval
    from quant_assets.evidence.overfitting import Overfitting
    from quant_assets.evidence.superiority import Superiority

MARKS = {True: ("pass", "✓", "passed"), False: ("fail", "✗", "failed"), None: ("open", "–", "not judged")}  # noqa: RUF001
MOST_DOTS = 600
BINS = 30


@dataclass(frozen=True, slots=True)
class Figures:
    """How the figures of a test are written, and on which side of the threshold it passes."""

    form: str
    passes: str


FIGURES = {
    "survival": Figures("money", "above"),
    "deflated_sharpe": Figures("chance", "at least"),
    "minimum_track_record": Figures("sessions", "at most"),
    "bootstrap_interval": Figures("ratio", "above"),
    "alpha": Figures("chance", "at least"),
    "cost_stress": Figures("percent", "above"),
    "ambiguous_fills": Figures("percent", "above"),
    "overfitting": Figures("percent", "below"),
    "superiority": Figures("chance", "below"),
    "point_in_time": Figures("flag", ""),
    "surface": Figures("percent", "at least"),
    "sample": Figures("years", "at least"),
    "benchmark": Figures("percent", "above"),
}
"""By the name of a test. Those of others are written as plain numbers."""

DOMINANCE = {
    "first": "better at every level (first-order dominance)",
    "second": "better on the whole (second-order dominance)",
    "none": "not better",
}
"""What choosing by the past was worth out of sample."""

A_SESSION = {"sharpe": "Sharpe ratio a session", "mean": "Mean return a session"}
"""Intervals that are not annualised, and would else be taken for those of a year."""


@dataclass(frozen=True, slots=True)
class Row:
    """One test: a style of the page, a mark, what the mark says, and the test's own words."""

    style: str
    mark: str
    result: str
    name: str
    value: str
    needed: str
    words: str
    essential: bool


@dataclass(frozen=True, slots=True)
class Span:
    """An interval on a scale of its own; places in per cent from the left, None where a figure is not defined."""

    name: str
    text: str
    low: float | None
    high: float | None
    estimate: float | None
    zero: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    left: float
    width: float
    height: float
    below: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """Logits of the chosen trial's rank out of sample: bars in per cent of the plot, and its ticks."""

    bins: tuple[Bin, ...]
    ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """In-sample against out-of-sample: SVG paths of dots and of the fitted line, and the ticks of both axes."""

    dots: str
    line: str
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    zero: float | None


@dataclass(frozen=True, slots=True)
class Overfit:
    words: str
    histogram: Histogram | None
    scatter: Scatter | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class View:
    """The section on evidence."""

    tests: tuple[Row, ...]
    counted: str
    spans: tuple[Span, ...]
    spans_note: str
    overfit: Overfit | None
    superiority: tuple[tuple[str, str, str], ...]


def view(evidence: Evidence | None) -> View | None:
    """What the page shows of the evidence, the tests that failed first; None where there is none."""
    if evidence is None:
        return None
    order = {False: 0, None: 1, True: 2}
    tests = sorted(evidence.tests, key=lambda test: (not test.essential, order[test.passed]))
    return View(
        tests=tuple(_row(test) for test in tests),
        counted=_counted(evidence),
        spans=tuple(_span(name, interval) for name, interval in _annual(evidence.intervals).items()),
        spans_note=_spans_note(evidence.intervals),
        overfit=_overfit(evidence.overfitting),
        superiority=_superiority(evidence.superiority),
    )


def _row(test: Test) -> Row:
    known = FIGURES.get(test.name, Figures("ratio", ""))
    title = test.title.removeprefix("the ")
    style, mark, result = MARKS[test.passed]
    needed = _figure(test.threshold, known.form)
    return Row(
        style, mark, result, title[:1].upper() + title[1:], _figure(test.value, known.form),
        f"{known.passes} {needed}".strip() if needed != DASH else DASH, test.words, test.essential,
    )  # fmt: skip


def _figure(value: float | None, form: str) -> str:
    """A test's figure as text."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "never" if form == "sessions" else DASH
    if form == "flag":
        return "yes" if value else "no"
    if form == "chance":
        return chance(value)
    if form == "percent":
        return unsigned_zero(f"{value * 100:.1f}") + "%"
    if form in ("sessions", "years"):
        return f"{value:,.{int(form == 'years')}f} {form}"
    return unsigned_zero(f"{value:,.2f}")


def _counted(evidence: Evidence) -> str:
    found = evidence.trials
    tried = "1 configuration" if found.trials == 1 else f"{found.trials:,} configurations"
    text = f"{tried} on record for this family, {found.with_result:,} with a result"
    if found.families > 1:
        text += f"; with the other families that were tried, {found.tried:,} trials"
    return f"{text}. Each one counts, whether it was shown to anyone or not."


def _annual(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Without the Sharpe ratio of a session where that of a year says the same."""
    return {name: found for name, found in intervals.items() if name != "sharpe" or "sharpe_ratio" not in intervals}


def _span(name: str, interval: Interval) -> Span:
    low, high, estimate = interval.low, interval.high, interval.estimate
    if name in A_SESSION:
        title, (first, least, most) = A_SESSION[name], (_small(value) for value in (estimate, low, high))
    else:
        known = KNOWN.get(SAME.get(name, name))
        title = known.name if known else name.replace("_", " ").capitalize()
        first, least, most = (shown(name, value) for value in (estimate, low, high))
    text = f"{first} ({least} to {most})"
    if not (math.isfinite(low) and math.isfinite(high)):
        return Span(title, text, None, None, None, None)
    ends = [low, high, 0.0, *([estimate] if math.isfinite(estimate) else [])]
    start, width = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value: float) -> float | None:
        return round(100 * (value - start) / width, 2) if math.isfinite(value) else None

    return Span(title, text, place(low), place(high), place(estimate), place(0.0))


def _small(value: float) -> str:
    return unsigned_zero(f"{value:.4f}") if math.isfinite(value) else DASH


def _spans_note(intervals: Mapping[str, Interval]) -> str:
    blocks = sorted({f"{interval.block:.3g}" for interval in intervals.values()})
    length = f" of {' or '.join(blocks)} sessions on average" if blocks else ""
    return (
        f"Where each figure would lie had the same history been drawn again, in blocks{length} that keep what returns "
        "share with their neighbours: 19 in 20 draws fall inside the bar. The dot is this history, the line is zero."
    )


def _overfit(found: Overfitting | None) -> Overfit | None:
    if found is None:
        return None
    facts = [
        ("Slope of out-of-sample on in-sample", _figure(found.slope, "ratio")),
        ("Chance of a loss out of sample", _figure(found.loss_probability, "percent")),
        ("Against a trial drawn at random", DOMINANCE[found.dominance]),
        ("Trials", f"{found.trials:,} over {found.blocks} blocks, {found.combinations:,} splits"),
    ]
    return Overfit(
        words=(
            f"In {_figure(found.probability, 'percent')} of {found.combinations:,} splits of the history the trial "
            "that was best in one half came out no better than the median of all trials in the other."
        ),
        histogram=_histogram(np.asarray(found.logits, np.float64)),
        scatter=_scatter(np.asarray(found.chosen, np.float64), found.slope, found.intercept),
        facts=tuple(facts),
    )


def _histogram(logits: npt.NDArray[np.float64]) -> Histogram | None:
    """Bars of equal width with an edge at zero; logits at or below it are those of a chosen trial that disappointed."""
    held = logits[np.isfinite(logits)]
    if held.size == 0:
        return None
    width = (max(held.max(), 0.0) - min(held.min(), 0.0) or 1.0) / BINS
    # A rank at the median has a logit of zero, and counts among those below.
    places = np.ceil(held / width).astype(int) - 1
    first, last = min(int(places.min()), 0), max(int(places.max()), -1)
    counts = np.bincount(places - first, minlength=last - first + 1)
    share = 100 / len(counts)
    bins = tuple(
        Bin(round(place * share, 3), round(share, 3), round(100 * count / counts.max(), 2), place + first < 0)
        for place, count in enumerate(counts.tolist())
        if count
    )
    low, high = first * width, (first + len(counts)) * width
    return Histogram(bins, _ticks((low, high)), _tick(0.0, low, high).at)


def _tick(mark: float, low: float, high: float) -> Tick:
    return Tick(round(100 * (mark - low) / (high - low), 2), number(mark))


def _scatter(chosen: npt.NDArray[np.float64], slope: float, intercept: float) -> Scatter | None:
    held = chosen[np.isfinite(chosen).all(axis=1)] if chosen.ndim == 2 else np.empty((0, 2))
    if len(held) < 2:
        return None
    # Evenly spaced of all splits, so that the page stays small.
    dots = held[np.unique(np.linspace(0, len(held) - 1, MOST_DOTS).astype(int))]
    across, up = _axis(dots[:, 0]), _axis(dots[:, 1])

    def at(x: float, y: float) -> tuple[int, int]:
        wide, high = (x - across[0]) / (across[1] - across[0]), (y - up[0]) / (up[1] - up[0])
        return round(GRID_WIDTH * wide), round(GRID_HEIGHT * (1 - high))

    ends = [(x, intercept + slope * x) for x in (float(dots[:, 0].min()), float(dots[:, 0].max()))]
    line = "".join(f"{move}{x} {y}" for move, (x, y) in zip("ML", (at(*end) for end in ends), strict=True)) if all(
        math.isfinite(y) for _, y in ends
    ) else ""  # fmt: skip
    return Scatter(
        dots="".join(f"M{x} {y}h0" for x, y in (at(float(x), float(y)) for x, y in dots)),
        line=line,
        across=_ticks(across),
        up=tuple(Tick(round(100 - tick.at, 2), tick.text) for tick in _ticks(up)),
        zero=round(100 * up[1] / (up[1] - up[0]), 2) if up[0] < 0 < up[1] else None,
    )


def _axis(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    marks = linear_ticks(float(values.min()), float(values.max()))
    return marks[0], marks[-1]


def _ticks(ends: Sequence[float]) -> tuple[Tick, ...]:
    low, high = ends
    return tuple(_tick(mark, low, high) for mark in linear_ticks(low, high) if low <= mark <= high)


def _superiority(found: Superiority | None) -> tuple[tuple[str, str, str], ...]:
    """Name, p-value and what it says; the reality check's first."""
    if found is None:
        return ()
    said = {
        "reality_check": ("White's reality check", "every run counts as if it were as good as cash"),
        "spa_lower": ("Hansen's SPA, lower", "no run below cash counts: the least p-value"),
        "spa_consistent": (
            "Hansen's SPA, consistent",
            "no run clearly below cash counts: the one judged",
        ),
        "spa_upper": ("Hansen's SPA, upper", "every run counts: the largest p-value"),
    }
    return tuple((name, _figure(getattr(found, field), "chance"), words) for field, (name, words) in said.items())
