"""How whole histories are computed: in pieces that fit, on several threads, and the same however they are cut."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from quant_assets.features import engine
from quant_assets.features.alpha158 import ALPHA158
from quant_assets.features.definition import Feature, FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.plan import Plan
from quant_assets.features.talib import TaLib

CLOSE = pl.col("adj_close")


def doubled_return() -> pl.Expr:
    """Return over one bar, twice."""
    return 2 * (CLOSE / CLOSE.shift() - 1)


MIXED = FeatureSet(
    "mixed",
    (
        *ALPHA158.pick(["alpha158_rank_5", "alpha158_corr_20", "alpha158_std_5"]),
        Feature("doubled", "test", "An expression", doubled_return, lookback=1),
        Feature("wilders", "test", "One of TA-Lib", TaLib("ATR", ("adj_high", "adj_low", "adj_close"), over="close"),
                {"timeperiod": 5}, lookback=130),
    ),
)  # fmt: skip
BARS = example_bars(sessions=300)
GAPS = BARS.with_columns(adj_close=pl.when(pl.int_range(pl.len()) % 37 != 5).then("adj_close"))


@pytest.fixture(scope="module")
def whole() -> pl.DataFrame:
    return evaluate(MIXED, GAPS.lazy()).collect()


@pytest.mark.parametrize(
    ("batch", "ahead", "least"),
    [
        pytest.param(1, 10**9, 1, id="a piece a symbol, handed on row by row"),
        pytest.param(4_000, 10**9, 1, id="handed on in parts"),
        pytest.param(10**9, 10**9, 10**9, id="all symbols in one piece, its passes shared by the threads"),
        pytest.param(1, 1, 1, id="no memory for two pieces at once"),
    ],
)
def test_values_are_the_same_however_the_market_is_cut(
    monkeypatch: pytest.MonkeyPatch, whole: pl.DataFrame, batch: int, ahead: int, least: int
) -> None:
    for name, value in {"BATCH": batch, "AHEAD": ahead, "LEAST": least}.items():
        monkeypatch.setattr(engine, name, value)
    assert evaluate(MIXED, GAPS.lazy()).collect().equals(whole)


def test_one_core_does(monkeypatch: pytest.MonkeyPatch, whole: pl.DataFrame) -> None:
    monkeypatch.setattr(engine.os, "cpu_count", lambda: 1)
    assert evaluate(MIXED, GAPS.lazy()).collect().equals(whole)


def test_a_long_history_is_handed_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 50 * 8 * len(MIXED))
    heights = [frame.height for frame in engine.batches(MIXED, BARS.lazy(), engine.Context())]
    assert max(heights) <= 100
    assert sum(heights) == BARS.height


def test_only_the_features_asked_for_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []

    class Watched(Plan):
        def __init__(self, features: Sequence[Feature]) -> None:
            planned.extend(feature.name for feature in features)
            super().__init__(features)

    monkeypatch.setattr(engine, "Plan", Watched)
    evaluate(MIXED, BARS.lazy()).select("ts", "doubled").collect()
    assert planned == ["doubled"]


def test_no_feature_at_all_gives_the_keys() -> None:
    keys = BARS.select("symbol", "ts").sort("symbol", maintain_order=True)
    assert evaluate(MIXED, BARS.lazy()).select("symbol", "ts").collect().equals(keys)


def test_the_first_rows_alone_are_the_first_of_all(whole: pl.DataFrame) -> None:
    assert evaluate(MIXED, GAPS.lazy()).head(320).collect().equals(whole.head(320))


def test_an_optional_column_may_be_null_throughout() -> None:
    plain = BARS.drop("vwap", strict=False)
    vwap = FeatureSet("vwap", ALPHA158.pick(["alpha158_vwap_0"]).features)
    expected = evaluate(vwap, plain.lazy()).collect()
    assert evaluate(vwap, plain.with_columns(vwap=None).lazy()).collect().equals(expected)
