"""The parts of the report on evidence: tests, intervals, overfitting, stress and the parameter surface."""

from __future__ import annotations

import math
import re
from html import unescape

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import report
from quant_assets.backtests.glossary import DASH
from quant_assets.backtests.report import heatmaps, rows
from quant_assets.backtests.report.evidence import Histogram, _figure, _histogram, _scatter, view
from quant_assets.evidence.bootstrap import Interval
from quant_assets.evidence.surface import Surface, surface
from quant_assets.evidence.trials import Counted
from tests.quant_assets.backtests.report.reports import (
    HOSTILE,
    Page,
    a_benchmark,
    a_provenance,
    a_result,
    a_test,
    an_evidence,
    bars_of,
)


def text_of(**changes: object) -> str:
    result = a_result(300)
    given = a_provenance(evidence=an_evidence(**changes))
    html = report.page(result, a_benchmark(300), given, bars_of(result))
    shown = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", shown).split()))


@pytest.fixture(scope="module")
def text() -> str:
    return text_of()


# ---- on the page

SAID = [
    "✗ failed Deflated Sharpe ratio 62.0% at least 95.0% The chance is 62.0%.",
    "✓ passed Minimum track record 400 sessions at most 600 sessions 400 of 600 sessions.",
    f"{DASH} not judged Both paths of ambiguous fills {DASH} above 0.0% None was ambiguous.",
    "✗ failed Universe by membership in time not essential no yes Hindsight.",
    "431 configurations on record for this family, 425 with a result; with the other families that were tried, 437 ",
    "Sharpe ratio 0.40 (-0.20 to 1.10)",
    "95%: -0.20 to 1.10 Volatility",
    "Max drawdown -20.0% (-50.0% to -10.0%)",
    "of 20 splits of the history",
    "White's reality check 31.0%",
    "Hansen's SPA, lower <0.1%",
    "Hansen's SPA, consistent 22.0%",
    "The best, with a star: fast 20, slow 100, at 0.50.",
    "1x 50.0% 3.0% 0.40 -20.0% 2.00x 10,000 ✓ yes",
    "3x 50.0% 3.0% 0.40 -20.0% 2.00x 10,000 ✗ no",
]


@pytest.mark.parametrize("said", SAID)
def test_the_page_says(text: str, said: str) -> None:
    assert said in text


def test_the_essential_tests_that_failed_come_first() -> None:
    found = view(an_evidence())
    assert found is not None
    names = [(row.name, row.essential) for row in found.tests]
    assert names == [
        ("Deflated Sharpe ratio", True),
        ("Both paths of ambiguous fills", True),
        ("Minimum track record", True),
        ("Universe by membership in time", False),
    ]


def test_without_evidence_there_is_no_section_and_no_way_to_it() -> None:
    html = report.page(a_result(300), a_benchmark(300), a_provenance())
    assert "Is it luck?" not in html
    assert "#evidence" not in html
    assert "costs multiplied" not in html


def test_without_a_sweep_there_is_neither_overfitting_nor_surface() -> None:
    text = text_of(overfitting=None, superiority=None, surface=None, stress=None)
    assert "Is it luck?" in text
    for absent in ("Overfitting of the sweep", "Hansen", "Parameter surface", "costs multiplied"):
        assert absent not in text


def test_a_single_trial_is_one_configuration() -> None:
    found = view(an_evidence(trials=Counted(1, 1)))
    assert found is not None
    assert found.counted.startswith("1 configuration on record for this family, 1 with a result. Each")


def test_words_and_parameters_are_escaped() -> None:
    hostile = surface(pl.DataFrame({HOSTILE: [HOSTILE, "b"], "sharpe_ratio": [1.0, 0.5]}), [HOSTILE])
    result = a_result(300, symbol=HOSTILE, reason=HOSTILE)
    given = a_provenance(evidence=an_evidence(tests=(a_test(words=HOSTILE),), surface=hostile))
    html = report.page(result, a_benchmark(300), given, bars_of(result))
    assert HOSTILE not in html
    assert "alert(&#39;x&#39;)" in html
    assert [tag for tag, _ in Page(html).elements].count("script") == 2


# ---- figures

FIGURES = [
    (0.624, "chance", "62.4%"),
    (0.99999, "chance", ">99.9%"),
    (0.0, "chance", "<0.1%"),
    (-0.0001, "percent", "0.0%"),
    (0.5, "percent", "50.0%"),
    (1834.2, "sessions", "1,834 sessions"),
    (math.inf, "sessions", "never"),
    (4.96, "years", "5.0 years"),
    (1.0, "flag", "yes"),
    (0.0, "flag", "no"),
    (math.inf, "ratio", DASH),
    (-0.004, "ratio", "0.00"),
    (None, "ratio", DASH),
    (math.nan, "chance", DASH),
]


@pytest.mark.parametrize(("value", "form", "expected"), FIGURES)
def test_figures(value: float | None, form: str, expected: str) -> None:
    assert _figure(value, form) == expected


SPANS = [  # low, high, estimate: places in per cent of low, high, estimate and zero
    ((-1.0, 3.0, 1.0), (0.0, 100.0, 50.0, 25.0)),
    ((1.0, 4.0, 2.0), (25.0, 100.0, 50.0, 0.0)),
    ((-4.0, -1.0, -2.0), (0.0, 75.0, 50.0, 100.0)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    ((0.0, 2.0, math.nan), (0.0, 100.0, None, 0.0)),
    ((math.nan, 2.0, 1.0), (None, None, None, None)),
]


@pytest.mark.parametrize(("given", "expected"), SPANS)
def test_intervals_have_a_scale_with_zero(given: tuple[float, ...], expected: tuple[float | None, ...]) -> None:
    found = view(an_evidence(intervals={"sharpe_ratio": Interval(*given, 2.0)}))
    assert found is not None
    (span,) = found.spans
    assert (span.low, span.high, span.estimate, span.zero) == expected


def test_the_sharpe_ratio_of_a_session_is_not_taken_for_that_of_a_year() -> None:
    both = {"sharpe": Interval(0.01, 0.05, 0.0312, 2.0), "sharpe_ratio": Interval(0.1, 0.9, 0.5, 2.0)}
    found, alone = view(an_evidence(intervals=both)), view(an_evidence(intervals={"sharpe": both["sharpe"]}))
    assert found is not None
    assert alone is not None
    assert [span.name for span in found.spans] == ["Sharpe ratio"]
    assert [(span.name, span.text) for span in alone.spans] == [("Sharpe ratio a session", "0.0312 (0.0100 to 0.0500)")]


# ---- overfitting


def counts(found: Histogram | None) -> tuple[float, float]:
    """Area of the bars below and above zero."""
    assert found is not None
    below = sum(bar.height for bar in found.bins if bar.below)
    return below, sum(bar.height for bar in found.bins) - below


LOGITS = [  # logits, share that counts as below the median
    ([-1.0, -0.5, 0.5, 1.0], 0.5),
    ([0.0, 0.0, 1.0, 2.0], 0.5),
    ([-2.0, -1.0, 0.0], 1.0),
    ([0.5, 1.0], 0.0),
    ([0.0], 1.0),
]


@pytest.mark.parametrize(("logits", "share"), LOGITS)
def test_the_hatched_bars_are_the_probability_of_overfitting(logits: list[float], share: float) -> None:
    below, above = counts(_histogram(np.array(logits)))
    assert below / (below + above) == pytest.approx(share, abs=0.01)


def test_bars_lie_in_the_plot_and_meet_at_zero() -> None:
    found = _histogram(np.random.default_rng(1).normal(0.5, 1.5, 5_000))
    assert found is not None
    assert found.bins[0].left >= 0
    assert found.bins[-1].left + found.bins[-1].width <= 100.01
    assert max(bar.height for bar in found.bins) == 100
    for bar in found.bins:
        assert (bar.left + bar.width <= found.zero + 0.01) if bar.below else (bar.left >= found.zero - 0.01)


def test_infinite_logits_are_left_out() -> None:
    assert _histogram(np.array([math.inf, -math.inf, math.nan])) is None


def test_many_dots_are_thinned_and_lie_in_the_plot() -> None:
    pairs = np.random.default_rng(2).normal(0, 1, (12_870, 2))
    found = _scatter(pairs, slope=-0.5, intercept=0.1)
    assert found is not None
    places = [tuple(map(int, place.split())) for place in re.findall(r"M(\S+ \S+)h0", found.dots)]
    assert 500 <= len(places) <= 600
    assert all(0 <= x <= 10_000 and 0 <= y <= 2_000 for x, y in places)
    assert found.zero is not None
    assert 0 < found.zero < 100
    assert all(0 <= tick.at <= 100 for tick in (*found.across, *found.up))


def test_a_scale_that_is_finer_than_its_ticks_keeps_them_inside() -> None:
    found = _scatter(np.array([[-0.005, 0.0], [0.11, 0.1]]), slope=0.0, intercept=0.0)
    assert found is not None
    assert [tick.text for tick in found.across] == ["0", "0.05", "0.1"]


@pytest.mark.parametrize("pairs", [np.empty((0, 2)), np.array([[1.0, 2.0]]), np.full((5, 2), math.nan)])
def test_too_few_pairs_are_no_chart(pairs: np.ndarray) -> None:
    assert _scatter(pairs, slope=1.0, intercept=0.0) is None


def test_equal_pairs_are_a_chart() -> None:
    found = _scatter(np.ones((3, 2)), slope=0.0, intercept=1.0)
    assert found is not None
    assert "nan" not in found.dots + found.line


# ---- stress


def test_an_unknown_stress_is_neither_gain_nor_loss() -> None:
    frame = an_evidence().stress
    assert frame is not None
    lost = rows.stress(frame.with_columns(mean_return=pl.lit(None, pl.Float64), cagr=pl.lit(None, pl.Float64)))
    assert lost is not None
    assert lost.good == (None, None, None)
    assert lost.rows[0][2] == DASH
    assert rows.stress(None) is None
    assert rows.stress(frame.clear()) is None


# ---- the parameter surface


def swept(found: Surface) -> heatmaps.Grid:
    grid = heatmaps.surface(found)
    assert grid is not None
    return grid


def test_a_surface_of_two_parameters_is_a_table() -> None:
    found = an_evidence().surface
    assert found is not None
    grid = swept(found)
    assert (grid.across, grid.down, grid.columns) == ("fast", "slow", ("5", "10", "20"))
    assert [(row.name, [cell.text for cell in row.cells]) for row in grid.rows] == [
        ("50", ["0.00", "0.20", "0.40"]),
        ("100", ["0.10", "0.30", "0.50"]),
    ]
    assert [cell.best for row in grid.rows for cell in row.cells] == [False] * 5 + [True]
    assert "Its 3 neighbours have 0.30 on average, and 67% of them reach half of it" in grid.words


def test_one_parameter_goes_downwards() -> None:
    grid = swept(surface(pl.DataFrame({"window": [10, 20, 30], "cagr": [0.1, None, -0.2]}), ["window"], "cagr"))
    assert (grid.across, grid.down, grid.columns) == ("", "window", ("Return a year",))
    assert [(row.name, row.cells[0].text) for row in grid.rows] == [("10", "10.0%"), ("20", ""), ("30", "-20.0%")]
    assert grid.rows[0].cells[0].best
    assert grid.rows[2].cells[0].back.startswith("rgba(214"), "a loss has the other colour"


def test_more_than_two_parameters_say_so() -> None:
    three = pl.DataFrame({"a": [1, 1], "b": [1, 1], "c": [1, 2], "sharpe_ratio": [0.2, 0.4]})
    grid = swept(surface(three, ["a", "b", "c"]))
    assert "A cell is the median over the other parameters." in grid.words
    assert "a 1, b 1, c 2, at 0.40" in grid.words


def test_a_large_grid_is_thinned_and_keeps_the_best() -> None:
    side = 90
    pairs = pl.DataFrame({"x": range(side)}).join(pl.DataFrame({"y": range(side)}), how="cross")
    peak = pairs.with_columns(sharpe_ratio=1.0 - ((pl.col("x") - 37).abs() + (pl.col("y") - 52).abs()) / 100)
    grid = swept(surface(peak, ["x", "y"]))
    assert len(grid.columns) <= 41
    assert len(grid.rows) <= 41
    (best,) = [
        (row.name, grid.columns[place]) for row in grid.rows for place, cell in enumerate(row.cells) if cell.best
    ]
    assert best == ("52", "37")
    assert "About 40 values of each parameter are shown." in grid.words


def test_a_sweep_that_never_traded_has_a_surface() -> None:
    found = surface(pl.DataFrame({"a": [1, 2], "sharpe_ratio": [0.0, 0.0]}), ["a"])
    assert [row.cells[0].text for row in swept(found).rows] == ["0.00", "0.00"]
