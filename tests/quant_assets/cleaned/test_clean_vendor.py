"""Adjusted returns of 505 stocks over 20 years against the vendor's own adjusted closes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.cleaned import CleanResult, clean
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, stamp_sessions

ROUNDING = 2e-6
"""The vendor's adjusted closes have six decimals: this much of a return is rounding, more for prices below a dollar."""

VENDOR_ALONE = {
    # Splits that the vendor's adjusted close knows and its split column does not, and one close corrected afterwards.
    ("TRMB", date(2007, 2, 23)),
    ("ZBRA", date(2003, 8, 21)),
    ("ZBRA", date(2004, 8, 25)),
    ("WDC", date(2020, 7, 17)),
    ("WDC", date(2020, 7, 20)),
}

REFUSED = {
    # Actions that the session's open contradicts; see each in the findings.
    "dividend_exceeds_price": {"KSU"},
    "dividend_unconfirmed": {"AES", "FMC", "LYB", "MCO", "MGM", "RTX", "TEL", "TMUS"},
    "split_unconfirmed": {"ANTM", "GNRC", "MET", "SO"},
}


@pytest.fixture(scope="module")
def vendor(shared_data) -> pl.DataFrame:
    rows = pl.read_parquet(shared_data / "sp500_daily.parquet").drop_nulls().sort("symbol", "date")
    return rows.rename({"date": "session"}).with_columns(pl.col("volume").cast(pl.Float64))


@pytest.fixture(scope="module")
def result(vendor) -> CleanResult:
    fetched = pl.lit(datetime(2021, 5, 1, tzinfo=UTC)).dt.cast_time_unit("us").alias("fetched_at")
    stamped = stamp_sessions(vendor.lazy(), "XNYS", date(1999, 1, 1), date(2021, 12, 31), "vendor")
    stamped = stamped.with_columns(fetched, provider=pl.lit("vendor")).collect().lazy()
    told = [
        stamped.filter(pl.col(kind) != nothing)
        .with_columns(kind=pl.lit(kind), value=pl.col(kind), known_at="ts")
        .select(ACTION_SCHEMA.names())
        for kind, nothing in (("split", 1.0), ("dividend", 0.0))
    ]
    instruments = vendor.select("symbol").unique().with_columns(calendar=pl.lit("XNYS"))
    return clean(stamped.select(BAR_SCHEMA.names()), pl.concat(told), instruments)


@pytest.fixture(scope="module")
def returns(vendor, result) -> pl.DataFrame:
    """Ours and the vendor's return of each session, and what the vendor says happened on it."""
    ours = result.bars.select("symbol", "session", "adj_close", applied_split="split", applied_dividend="dividend")
    both = vendor.lazy().join(ours, on=["symbol", "session"], how="left", maintain_order="left")
    closes = ("close", "adjusted_close", "adj_close")
    earlier = [pl.col(name).shift().over("symbol").alias(f"{name}_before") for name in closes]
    return (
        both.with_columns(earlier)
        .filter(pl.col("close_before").is_not_null())
        .with_columns(
            ours=pl.col("adj_close") / pl.col("adj_close_before"),
            theirs=pl.col("adjusted_close") / pl.col("adjusted_close_before"),
            tolerance=ROUNDING * (1 + 1 / pl.col("adjusted_close").clip(upper_bound=1.0)),
            taken=(pl.col("applied_split") == pl.col("split")) & (pl.col("applied_dividend") == pl.col("dividend")),
        )
        .collect()
    )


def differing(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter((pl.col("ours") / pl.col("theirs") - 1).abs() > pl.col("tolerance"))


def test_sessions_without_an_action_agree(returns):
    quiet = returns.filter((pl.col("split") == 1) & (pl.col("dividend") == 0))
    assert quiet.height > 2_370_000
    assert set(differing(quiet).select("symbol", "session").rows()) == VENDOR_ALONE


def test_splits_agree(returns):
    splits = returns.filter((pl.col("split") != 1) & (pl.col("dividend") == 0) & pl.col("taken"))
    assert splits.height > 400
    assert differing(splits).is_empty()


def test_dividends_agree_but_for_the_price_of_reinvestment(returns):
    """The vendor reinvests at the ex-date's close, (C + D) / P; we at the ex-dividend price, C / (P - D)."""
    paid = returns.filter((pl.col("dividend") > 0) & pl.col("taken"))
    assert paid.height > 27_600
    rest = pl.col("close_before") / pl.col("split") - pl.col("dividend")
    converted = paid.with_columns(
        ours=(pl.col("ours") * rest / pl.col("close") * (pl.col("close") + pl.col("dividend")))
        / (rest + pl.col("dividend")),
        tolerance=pl.col("tolerance") + 5e-5 / pl.col("close"),  # dividends have four decimals
    )
    assert differing(converted).is_empty()
    apart = (paid["ours"] / paid["theirs"] - 1).abs()
    share = paid["dividend"] / (paid["close_before"] / paid["split"])
    assert (apart <= 1.5 * share * (paid["ours"] - 1).abs() + 2 * paid["tolerance"]).mean() > 0.999
    assert apart.median() < 1e-4


def test_actions_that_the_prices_contradict_are_refused_and_told(returns, result):
    told = result.findings.filter(pl.col("severity") == "error")
    assert {rule: set(told.filter(pl.col("rule") == rule)["symbol"]) for rule in told["rule"].unique()} == REFUSED
    refused = returns.filter(~pl.col("taken"))
    assert refused.height == told.height == 13
    worst = refused.filter(pl.col("symbol") != "KSU")
    assert (worst["ours"] - 1).abs().max() < 0.45
    assert (worst["theirs"] - 1).abs().max() > 1.0


def test_known_defects_are_flagged(result):
    counts = dict(result.findings.group_by("rule").len().rows())
    assert counts["zero_volume"] == 187
    assert counts["missing_session"] == result.bars.select(pl.len()).collect().item() - 2_402_891
