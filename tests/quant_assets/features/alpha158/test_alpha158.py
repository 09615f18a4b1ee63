"""Alpha158 against qlib's own operators (reference.parquet, made by make_reference.py beside it)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.features.alpha158 import ALPHA158
from quant_assets.features.engine import evaluate

BARS = ["symbol", "open", "high", "low", "close", "vwap", "volume"]


@pytest.fixture(scope="module")
def reference() -> pl.DataFrame:
    made = pl.read_parquet(Path(__file__).with_name("reference.parquet"))
    place = pl.int_range(pl.len()).over("symbol")
    return made.with_columns(place=place, ts=datetime(2020, 1, 1, tzinfo=UTC) + pl.duration(days=place))


@pytest.fixture(scope="module")
def ours(reference: pl.DataFrame) -> pl.DataFrame:
    return evaluate(ALPHA158, reference.select(*BARS, "ts").lazy()).collect()


def test_the_features_are_qlibs_in_its_order(reference: pl.DataFrame) -> None:
    qlibs = [re.sub(r"(?<=[A-Z])(?=\d+$)", "_", name).lower() for name in reference.drop(*BARS, "place", "ts").columns]
    # Of the candle's names the 2 is no window.
    qlibs = [name.replace("_2", "2") if name[0] == "k" else name for name in qlibs]
    assert list(ALPHA158.names) == [f"alpha158_{name}" for name in qlibs]
    assert len(ALPHA158) == 158


def test_values_are_qlibs_wherever_the_window_is_full(reference: pl.DataFrame, ours: pl.DataFrame) -> None:
    wrong = {}
    for feature, name in zip(ALPHA158, reference.drop(*BARS, "place", "ts").columns, strict=True):
        full = (reference["place"] >= feature.lookback).to_numpy()
        if name[:3] in ("VMA", "VST"):  # over a volume of zero: see below
            full &= (reference["volume"] > 0).to_numpy()
        mine, theirs = ours[feature.name].to_numpy()[full], reference[name].to_numpy()[full]
        # Its running sums leave some 1e-15 of the price where ours are 0.
        same = np.isclose(mine, theirs, rtol=1e-9, atol=1e-12, equal_nan=True)
        assert np.isfinite(mine).sum() > 90
        if not same.all():
            wrong[name] = mine[~same][0], theirs[~same][0]
    assert wrong == {}


def test_a_value_is_null_until_its_window_is_full(reference: pl.DataFrame, ours: pl.DataFrame) -> None:
    for feature in ALPHA158:
        early = ours.filter(reference["place"] < feature.lookback)[feature.name]
        assert early.null_count() == early.len()
        first = ours.filter((reference["place"] == feature.lookback) & (pl.col("symbol") == "A"))[feature.name]
        assert first.null_count() == 0, feature.name


def test_nothing_is_divided_by_a_volume_of_zero(reference: pl.DataFrame, ours: pl.DataFrame) -> None:
    untraded = ours.filter((reference["volume"] == 0) & (reference["place"] >= 60))
    assert untraded.height == 13
    for name in ("alpha158_vma_5", "alpha158_vstd_60"):
        assert untraded[name].null_count() == 13


def test_ties_of_closes_count_half_in_the_rank() -> None:
    assert _last("alpha158_rank_5", close=[3.0, 1.0, 2.0, 9.0, 2.0]) == pytest.approx(2.5 / 5)
    # The same prices in another currency, where they differ by the last bit.
    assert _last("alpha158_rank_5", close=[3.0, 1.0, np.nextafter(2.0, 3), 9.0, 2.0]) == pytest.approx(2.5 / 5)


def test_the_first_of_equal_highs_and_lows_counts() -> None:
    assert _last("alpha158_imax_5", close=[1.0, 4.0, 2.0, 4.0, 3.0]) == pytest.approx(2 / 5)
    assert _last("alpha158_imin_5", close=[2.0, 1.0, 1.0, 4.0, 3.0]) == pytest.approx(2 / 5)
    assert _last("alpha158_imxd_5", close=[2.0, 1.0, 1.0, 4.0, 3.0]) == pytest.approx((4 - 2) / 5)


def test_a_bar_without_volume_counts_as_one_share_of_its_time() -> None:
    """A split after the window changes adjusted volumes only: the correlation stays."""
    close, volume = [1.0, 2.0, 1.5, 1.7, 1.1], [10.0, 0.0, 30.0, 0.0, 50.0]
    before = _last("alpha158_corr_5", close=close, volume=volume, adj_volume=volume)
    after = _last("alpha158_corr_5", close=close, volume=volume, adj_volume=[each * 4 for each in volume])
    assert before == pytest.approx(np.corrcoef(close, np.log1p(volume))[0, 1])
    assert after == pytest.approx(before)


def test_changes_from_no_volume_are_left_out_of_the_correlation() -> None:
    close, volume = [1.0, 2.0, 1.5, 1.7, 1.1, 1.3], [10.0, 20.0, 0.0, 30.0, 50.0, 20.0]
    returns, growth = np.divide(close[1:], close[:-1]), [2.0, 0.0, np.nan, 5 / 3, 0.4]
    there = [0, 1, 3, 4]
    expected = np.corrcoef(returns[there], np.log1p(np.array(growth)[there]))[0, 1]
    assert _last("alpha158_cord_5", close=close, volume=volume) == pytest.approx(expected)


def test_the_average_price_is_the_typical_price_where_it_is_unknown() -> None:
    assert _last("alpha158_vwap_0", close=[4.0], high=[6.0], low=[3.0]) == pytest.approx(13 / 12)
    assert _last("alpha158_vwap_0", close=[4.0], high=[6.0], low=[3.0], vwap=[5.0]) == pytest.approx(5 / 4)
    assert _last("alpha158_vwap_0", close=[4.0], high=[6.0], low=[3.0], vwap=[None]) == pytest.approx(13 / 12)


def test_an_average_price_is_compared_with_the_close_as_traded() -> None:
    halved = {f"adj_{name}": [2.0] for name in ("high", "low", "close")}
    assert _last("alpha158_vwap_0", close=[4.0], vwap=[5.0], **halved) == pytest.approx(5 / 4)


def test_the_order_of_a_long_window_is_numpys_quantile() -> None:
    close = np.round(np.random.default_rng(3).normal(50, 3, 700), 1)
    found = _values(["alpha158_qtlu_60", "alpha158_qtld_60"], close=close.tolist())
    windows = np.lib.stride_tricks.sliding_window_view(close, 60)
    for name, q in (("alpha158_qtlu_60", 0.8), ("alpha158_qtld_60", 0.2)):
        expected = np.quantile(windows, q, axis=1) / close[59:]
        np.testing.assert_allclose(found[name].to_numpy()[59:], expected, rtol=1e-12)


def _last(name: str, **columns: object) -> float | None:
    value: float | None = _values([name], **columns)[name][-1]
    return value


def _values(names: list[str], **columns: object) -> pl.DataFrame:
    """The features of bars with these columns; prices not named are the close, volume is 1."""
    bars = pl.DataFrame(columns, strict=False).with_columns(symbol=pl.lit("A"))
    prices = [pl.col("close").alias(name) for name in ("open", "high", "low") if name not in bars.columns]
    volume = [] if "volume" in bars.columns else [pl.lit(1.0).alias("volume")]
    ts = datetime(2020, 1, 1, tzinfo=UTC) + pl.duration(days=pl.int_range(pl.len()))
    return evaluate(ALPHA158.pick(names), bars.with_columns(*prices, *volume, ts=ts).lazy()).collect()
