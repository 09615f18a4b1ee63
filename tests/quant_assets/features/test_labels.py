"""Forward returns: what they measure, when they are known, and where there are none."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.features import forward_returns
from quant_assets.features.proofs import example_bars

BARS = example_bars(sessions=60, symbols=("AAA", "BBB"))


def marked(*missing: int) -> pl.DataFrame:
    """The bars of AAA, in which the bars at these positions, and no others, are missing."""
    flags = [["missing_session"] if i in missing else [] for i in range(60)]
    return BARS.filter(pl.col("symbol") == "AAA").with_columns(flags=pl.Series(flags, dtype=pl.List(pl.String)))


@pytest.mark.parametrize("horizon", [1, 5, 21])
def test_bought_at_the_next_open_and_sold_at_the_close(horizon):
    bars = marked()
    labels = forward_returns(bars.lazy(), horizon).collect()
    assert labels.columns == ["symbol", "session", "known_session", "known_at", "decided_at", "forward_return"]
    assert labels.height == 60 - horizon
    for place, label in enumerate(labels.iter_rows(named=True)):
        features, entry, end = (bars.row(place + step, named=True) for step in (0, 1, horizon))
        assert label == {
            "symbol": "AAA",
            "session": features["session"],
            "known_session": end["session"],
            "known_at": end["known_at"],
            "decided_at": features["known_at"],
            "forward_return": end["adj_close"] / entry["adj_open"] - 1,
        }


def test_no_label_mixes_symbols():
    both = forward_returns(BARS.lazy(), 5).collect()
    alone = [forward_returns(part.lazy(), 5).collect() for part in BARS.partition_by("symbol", maintain_order=True)]
    assert both.equals(pl.concat(alone))


@pytest.mark.parametrize(
    ("missing", "lost"),
    [((), set()), ((30,), {29, 25}), ((30, 31), {29, 30, 25, 26}), ((0,), set()), ((1,), {0})],
    ids=["none", "one bar is one entry and one exit", "two", "not held yet", "first entry"],
)
def test_no_label_for_a_trade_that_could_not_be_made(missing, lost):
    sessions = BARS.filter(pl.col("symbol") == "AAA")["session"]
    there = forward_returns(marked(*missing).lazy(), 5).collect()["session"]
    assert set(sessions.head(55)) - set(there) == {sessions[place] for place in lost}


@given(st.integers(1, 10), st.integers(11, 59))
def test_a_label_needs_nothing_after_the_session_on_which_it_is_known(horizon, cut):
    day = BARS["session"].unique().sort()[cut]
    known = pl.col("known_session") <= day
    until = forward_returns(BARS.filter(pl.col("session") <= day).lazy(), horizon).collect()
    assert until.equals(forward_returns(BARS.lazy(), horizon).filter(known).collect())


@given(st.integers(1, 10), st.integers(11, 59))
def test_a_label_needs_the_bars_of_its_horizon_only(horizon, first):
    sessions = BARS["session"].unique().sort()
    part = BARS.filter(pl.col("session") >= sessions[first - horizon])
    inside = pl.col("known_session") >= sessions[first]
    whole = forward_returns(BARS.lazy(), horizon).filter(inside).collect()
    assert forward_returns(part.lazy(), horizon).filter(inside).collect().equals(whole)
    assert (whole["known_session"] - whole["session"]).min() >= timedelta(days=horizon)


@pytest.mark.parametrize("horizon", [0, -5])
def test_a_label_must_look_ahead(horizon):
    with pytest.raises(ValueError, match=f"horizon {horizon}"):
        forward_returns(BARS.lazy(), horizon)
