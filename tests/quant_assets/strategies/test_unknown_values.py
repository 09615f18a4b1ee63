"""What nobody knows is never the best of all: features that are no numbers, and symbols that there are none of."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.strategies import STRATEGIES
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

SYMBOLS = ("BAD", "AAA", "BBB")
DAYS = [day for number in range(120) if (day := date(2024, 1, 1) + timedelta(days=number)).weekday() < 5]


def features(**columns: dict[str, float | None]) -> pl.LazyFrame:
    """A row for each symbol and weekday, with the same value of each column every day."""
    rows = [
        {
            "symbol": symbol,
            "session": day,
            "ts": datetime(day.year, day.month, day.day, 14, 30),
            "known_at": datetime(day.year, day.month, day.day, 21),
            "tradable": True,
            **{name: values[symbol] for name, values in columns.items()},
        }
        for symbol in SYMBOLS
        for day in DAYS
    ]
    stamps = pl.col("ts", "known_at").dt.replace_time_zone("UTC").cast(UTC_MICROS)
    return pl.LazyFrame(rows, schema_overrides=dict.fromkeys(columns, pl.Float64)).with_columns(stamps)


def of(bad: float | None, aaa: float, bbb: float) -> dict[str, float | None]:
    return dict(zip(SYMBOLS, (bad, aaa, bbb), strict=True))


UNKNOWN = ("nan", "inf", "-inf")
RULES = {
    "model_score": ({"hold": 1}, lambda bad: {"score": of(bad, 0.02, 0.01), "confidence": of(0.9, 0.9, 0.9)}),
    "cross_sectional_momentum": (
        {"hold": 1}, lambda bad: {"return_126": of(bad, 0.3, 0.1), "return_21": of(0, 0, 0)},
    ),
    "moving_average_cross": (
        {}, lambda bad: {"sma_ratio_50": of(bad, 0.1, 0.1), "sma_ratio_200": of(0.1, 0.2, 0)},
    ),
    "donchian_breakout": ({}, lambda bad: {"breakout_55": of(bad, 0.5, 0.5), "breakout_20": of(0.5, 0.5, 0.5)}),
    "asset_rotation": ({"hold": 1}, lambda bad: {"return_126": of(bad, 0.3, 0.1)}),
    "risk_parity": (
        {}, lambda bad: {"volatility_63": of(bad, 0.01, 0.02), "average_correlation_63": of(0.3, 0.3, 0.3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", UNKNOWN)
@pytest.mark.parametrize("name", RULES)
def test_a_feature_that_is_no_number_counts_as_missing(name, value):
    parameters, columns = RULES[name]
    strategy = STRATEGIES[name](**parameters)
    unknown, missing = (strategy.intents(features(**columns(bad))).collect() for bad in (float(value), None))
    assert_frame_equal(unknown, missing)
    last = dict(unknown.group_by("symbol").agg(pl.col("target_weight").last()).rows())
    assert last["BAD"] == 0.0
    assert all(math.isfinite(weight) for weight in last.values())


NOTHING_LEFT = [
    ("asset_rotation", {"symbols": "AAA BBB", "hold": 1}, "AAA BBB"),
    ("asset_rotation", {"symbols": "AAB, BBA"}, "AAB"),
    ("pairs_cointegration", {"pairs": "AAA BBC"}, "BBC"),
]


@pytest.mark.parametrize(("name", "parameters", "named"), NOTHING_LEFT)
def test_symbols_that_leave_nothing_to_trade_are_refused(name, parameters, named):
    strategy = STRATEGIES[name](**parameters)
    frame = features(**dict.fromkeys(strategy.required_features, of(1.0, 1.0, 1.0)))
    with pytest.raises(ConfigError, match=f"strategy {name}: the features have no rows of .*{named}.*commas"):
        strategy.intents(frame)


PARTLY = [
    ("asset_rotation", {"symbols": "AAA, BBC", "hold": 1}, "; not in the features: BBC"),
    ("asset_rotation", {"symbols": "AAA, BBB", "refuge": "TT"}, "; not in the features: TT"),
    ("asset_rotation", {"refuge": "TT"}, "; not in the features: TT"),
    ("pairs_cointegration", {"pairs": "AAA BBB, AAA PEPP"}, "; not in the features: PEPP"),
]


@pytest.mark.parametrize(("name", "parameters", "told"), PARTLY)
def test_a_symbol_that_the_features_lack_is_named_in_the_reasons(name, parameters, told):
    strategy = STRATEGIES[name](**parameters)
    frame = features(**dict.fromkeys(strategy.required_features, of(1.0, 1.0, 1.0)))
    assert strategy.intents(frame).collect()["reason"].str.ends_with(told).all()
