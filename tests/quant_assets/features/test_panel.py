"""The panel of a session: tradable names, ranks among them, membership by date."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.features import compute, panel
from quant_assets.features.panel import RANKED
from quant_assets.features.proofs import example_bars

BARS = example_bars(sessions=300, symbols=("AAA", "BBB", "CCC", "DDD"))
NAMES = ["return_21", "sma_ratio_200", "gap"]
FEATURES = compute(BARS.lazy(), NAMES).collect()
DAY = date(2011, 1, 3)
UNLISTED = {"listed": pl.Date, "delisted": pl.Date}


def of_day(values: list[float | None], flags: list[list[str]] | None = None, volumes: list[float] | None = None):
    """The panel of one session, in which the symbols have these values of return_21."""
    day = BARS.filter(pl.col("session") == DAY).with_columns(
        flags=pl.Series(flags or [[]] * 4, dtype=pl.List(pl.String)), volume=pl.Series(volumes or [100.0] * 4)
    )
    features = FEATURES.filter(pl.col("session") == DAY).with_columns(return_21=pl.Series(values, dtype=pl.Float64))
    return panel(features.lazy(), day.lazy()).collect()


RANKS = [
    ("in order", [0.1, 0.4, 0.2, 0.3], [0.0, 1.0, 1 / 3, 2 / 3]),
    ("ties share their mean", [0.1, 0.1, 0.2, 0.3], [1 / 6, 1 / 6, 2 / 3, 1.0]),
    ("all alike", [0.1] * 4, [0.5] * 4),
    ("null has no rank and takes none", [None, 0.1, 0.3, 0.2], [None, 0.0, 1.0, 0.5]),
    ("alone", [None, None, 0.2, None], [None, None, 0.5, None]),
    ("nobody", [None] * 4, [None] * 4),
]


@pytest.mark.parametrize(("values", "ranks"), [case[1:] for case in RANKS], ids=[case[0] for case in RANKS])
def test_ranks(values, ranks):
    assert of_day(values)["return_21_rank"].to_list() == pytest.approx(ranks)


def test_who_cannot_be_traded_has_no_rank_and_takes_none():
    result = of_day([0.1, 0.2, 0.3, 0.4], [[], ["missing_session"], ["jump"], []], [100.0, 0.0, 5.0, 0.0])
    assert result["tradable"].to_list() == [True, False, True, False]
    assert result["return_21_rank"].to_list() == [0.0, None, 1.0, None]
    assert result["return_21"].to_list() == [0.1, 0.2, 0.3, 0.4]


def test_columns():
    result = panel(FEATURES.lazy(), BARS.lazy()).collect()
    assert result.columns[:4] == ["symbol", "ts", "session", "known_at"]
    assert {"tradable", "close", "adj_close", *NAMES} < set(result.columns)
    assert [name for name in result.columns if name.endswith("_rank")] == ["return_21_rank", "sma_ratio_200_rank"]
    everything = panel(compute(BARS.lazy(), RANKED), BARS.lazy()).collect_schema().names()
    assert [name for name in everything if name.endswith("_rank")] == [f"{name}_rank" for name in RANKED]
    assert result.select("symbol", "session", "adj_close").equals(BARS.select("symbol", "session", "adj_close"))


MEMBERS = [
    ("no dates", None, None, 300),
    ("listed inside", DAY, None, 40),
    ("delisted inside, on its last day still there", None, DAY, 261),
    ("one day", DAY, DAY, 1),
    ("listed later", date(2030, 1, 1), None, 0),
]


@pytest.mark.parametrize(("listed", "delisted", "rows"), [case[1:] for case in MEMBERS], ids=[c[0] for c in MEMBERS])
def test_universe_is_of_its_time(listed, delisted, rows):
    instruments = pl.DataFrame(
        {"symbol": ["AAA"], "listed": [listed], "delisted": [delisted]}, schema={"symbol": pl.String, **UNLISTED}
    )
    result = panel(FEATURES.lazy(), BARS.lazy(), instruments).collect()
    of_aaa = result.filter(pl.col("symbol") == "AAA")["session"]
    assert of_aaa.len() == rows
    assert result.filter(pl.col("symbol") == "BBB").height == 300
    if rows:
        assert of_aaa.min() >= (listed or date.min)
        assert of_aaa.max() <= (delisted or date.max)


def test_a_symbol_outside_the_universe_takes_no_rank():
    instruments = pl.DataFrame(
        {"symbol": ["AAA"], "listed": [None], "delisted": [DAY - timedelta(days=1)]},
        schema={"symbol": pl.String, **UNLISTED},
    )
    of_the_day = panel(FEATURES.lazy(), BARS.lazy(), instruments).filter(pl.col("session") == DAY).collect()
    assert of_the_day["return_21_rank"].sort().to_list() == [0.0, 0.5, 1.0]


@given(st.integers(0, 299), st.integers(1, 40))
def test_any_range_of_sessions_is_the_same_range_of_the_whole(first, count):
    days = BARS["session"].unique().sort().slice(first, count)
    inside = pl.col("session").is_in(days.implode())
    part = panel(FEATURES.filter(inside).lazy(), BARS.filter(inside).lazy()).collect()
    assert part.equals(panel(FEATURES.lazy(), BARS.lazy()).filter(inside).collect())
