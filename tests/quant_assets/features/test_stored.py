"""Which asset holds which feature, and that a window comes out the same whatever else is computed with it."""

from __future__ import annotations

import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA
from quant_assets.features import compute, stored
from quant_assets.features.alternative.said import BROUGHT
from quant_assets.features.definition import FeatureSet
from quant_assets.features.derived import OPTIONAL
from quant_assets.features.groups import ALL
from quant_assets.features.inputs import needed
from quant_assets.features.proofs import example_bars
from quant_assets.features.stored import ACROSS, HOLDER, STORED, in_windows, knows_instruments, missing_columns

BARS = example_bars(sessions=700, symbols=("AAA", "BBB"))
MONTHS = BARS["session"].dt.strftime("%Y-%m").unique().sort().to_list()
MONTH = pl.col("session").dt.strftime("%Y-%m")
SOME = ALL.pick(["rsi_14", "return_1", "sma_ratio_200", "macd_12_26_9_hist", "volatility_21"])
ENOUGH = {feature.lookback: -(-feature.lookback // 18) for feature in SOME}


def windows(wanted: list[str], bars: pl.DataFrame = BARS) -> pl.DataFrame:
    return in_windows(bars, SOME, MONTH, wanted, MONTHS, ENOUGH.__getitem__)


def test_every_feature_with_its_columns_is_held_once() -> None:
    held = [feature.name for features in STORED.values() for feature in features]
    assert len(held) == len(set(held))
    assert set(held) == {feature.name for feature in ALL if not missing_columns(feature)}
    assert all(features.name == name and len(features) for name, features in STORED.items())


def test_what_looks_across_symbols_is_in_the_asset_cut_by_session() -> None:
    for feature in ALL:
        if feature.name in HOLDER:
            assert (HOLDER[feature.name] == ACROSS) == (feature.scope == "universe"), feature.name


def test_no_asset_holds_a_column_of_nulls_for_want_of_a_source() -> None:
    """Of the features that read a column which cleaned/bars lacks, those are stored that have values without it, or
    whose column the records of a source bring."""
    reading = [feature for feature in ALL if set(needed(feature.inputs)) - set(CLEANED_SCHEMA)]
    assert reading
    optional = [name for name in BARS.columns if name in OPTIONAL and name not in BROUGHT]
    values = compute(BARS.drop(optional), FeatureSet("some", tuple(reading))).collect()
    without = {feature.name for feature in reading if values[feature.name].null_count() == values.height}
    assert without == {feature.name for feature in reading if feature.name not in HOLDER}


def test_technical_needs_no_table_of_instruments() -> None:
    assert not knows_instruments(STORED["technical"])


def test_a_window_alone_is_bit_for_bit_that_of_the_whole_range() -> None:
    whole = windows(MONTHS)
    for month in MONTHS[::7]:
        own = whole.filter(MONTH.is_in([month]))
        assert windows([month]).equals(own)


def test_windows_come_out_the_same_however_many_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together = windows(MONTHS)
    monkeypatch.setattr(stored, "_ROWS", 1)
    assert windows(MONTHS).equals(together)


def test_a_window_reads_no_later_bar_and_none_before_its_look_back() -> None:
    month = MONTHS[28]
    needed = BARS.filter(MONTH.is_in(MONTHS[28 - max(ENOUGH.values()) : 29]))
    assert needed.height < BARS.height
    assert windows([month], needed).equals(windows([month]))


def test_windows_hold_what_the_whole_history_gives() -> None:
    whole = compute(BARS, SOME).collect()
    made = windows(MONTHS).sort("symbol", "ts")
    assert made.columns == whole.columns
    for name in SOME.names:
        assert made[name].is_null().equals(whole[name].is_null()), name
        there = made[name].drop_nulls().to_list()
        assert there == pytest.approx(whole[name].drop_nulls().to_list(), rel=1e-8, abs=1e-10), name


def test_features_keep_their_order_whatever_their_look_backs() -> None:
    turned = FeatureSet("turned", tuple(reversed(SOME.features)))
    made = in_windows(BARS, turned, MONTH, MONTHS[-1:], MONTHS, ENOUGH.__getitem__)
    assert made.columns[-len(SOME) :] == list(reversed(SOME.names))
    assert made.select(windows(MONTHS[-1:]).columns).equals(windows(MONTHS[-1:]))
