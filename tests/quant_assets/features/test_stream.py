"""Features bar by bar: what update takes, refuses and returns. Equality with the batch is one of the proofs."""

from __future__ import annotations

import pickle
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.features import Across, Feature, FeatureSet, Stream, compute, stream
from quant_assets.features.example import example_bars
from resources.errors import BarSchemaError, ConfigError

CLOSE = pl.col("adj_close")


BARS = example_bars(sessions=420).sort("ts", "symbol")
NAMES = ["rsi_14", "return_21", "volume_zscore_63", "macd_12_26_9_hist"]
LAST = BARS["ts"].max()
HISTORY = BARS.filter(pl.col("ts") < LAST)
TODAY = BARS.filter(pl.col("ts") == LAST).rows(named=True)


def test_an_update_returns_what_the_batch_has_for_that_bar():
    live = stream(NAMES, HISTORY)
    batch = compute(BARS, NAMES).filter(pl.col("ts") == LAST).collect().sort("symbol")
    for bar, row in zip(sorted(TODAY, key=lambda each: each["symbol"]), batch.rows(named=True), strict=True):
        expected = {name: row[name] if row[name] is None else pytest.approx(row[name], rel=1e-9) for name in NAMES}
        assert live.update(bar) == expected


def test_plain_bars_do():
    plain = HISTORY.select("symbol", "ts", "open", "high", "low", "close", "volume")
    bar = {name: TODAY[0][name] for name in plain.columns}
    assert stream(NAMES, plain).update(bar) == stream(NAMES, HISTORY).update(TODAY[0])


def test_a_symbol_that_lists_today_warms_up_from_nothing():
    live = stream(["return_1", "rsi_14"], HISTORY)
    first = {**TODAY[0], "symbol": "NEW"}
    assert live.update(first) == {"return_1": None, "rsi_14": None}
    second = {**first, "ts": LAST + timedelta(days=1)}
    assert live.update(second) == {"return_1": 0.0, "rsi_14": None}


def test_no_history_at_all_is_a_start():
    assert stream(["return_1"], BARS.clear()).update(TODAY[0]) == {"return_1": None}


def test_a_bar_without_prices_is_a_gap_that_the_next_does_not_see():
    live, other = stream(NAMES, HISTORY), stream(NAMES, HISTORY)
    assert set(live.update({**TODAY[0], "adj_close": None, "close": None}).values()) == {None}
    later = {**TODAY[0], "ts": LAST + timedelta(days=1)}
    assert live.update(later) == other.update(later)


REFUSED = {
    "no symbol": ({"symbol": ...}, "bar has no symbol"),
    "same instant": ({"ts": HISTORY["ts"].max()}, "not later than the last one"),
    "instant without zone": ({"ts": LAST.replace(tzinfo=None)}, "ts must be an instant like the last one"),
    "negative price": ({"adj_close": -5.0}, "close is -5.0; it must be above zero"),
    "negative volume": ({"adj_volume": -1.0}, "volume is -1.0; it must be zero or more"),
    "no close": ({"adj_close": ..., "close": ...}, "has no close"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=list(REFUSED))
def test_bars_that_cannot_be_taken_are_refused_and_leave_the_stream_as_it_was(change, message):
    live = stream(NAMES, HISTORY)
    bar = {name: value for name, value in {**TODAY[0], **change}.items() if value is not ...}
    with pytest.raises(BarSchemaError, match=message):
        live.update(bar)
    assert live.update(TODAY[0]) == stream(NAMES, HISTORY).update(TODAY[0])


def of_all(name: str = "") -> pl.Expr:
    return pl.col("base").rank().over("ts")


def base() -> pl.Expr:
    return CLOSE / CLOSE.shift() - 1


def test_a_feature_without_a_streaming_form_says_why():
    feature = Feature(
        "place", "test", "", Across(of_all, of=(Feature("base", "test", "", base, lookback=1),)), lookback=1
    )
    with pytest.raises(ConfigError, match="place has no streaming form, none: it needs every symbol's bar"):
        Stream(FeatureSet("test", (feature,)))


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="did you mean rsi_14"):
        stream(["rsi_15"], HISTORY)


def test_it_does_not_grow():
    live = stream(NAMES, HISTORY)
    bar = dict(TODAY[0])

    def size() -> int:
        return len(pickle.dumps([window.values.shape for window in live._symbols.values()]))

    before = size()
    for day in range(2000):
        live.update({**bar, "ts": LAST + timedelta(days=day)})
    assert size() == before
