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


SUSPECTED = {
    # Splits 2:1 that the split column has not.
    *[("AJG", date(2000, 3, 16)), ("ANTM", date(2005, 6, 2)), ("WST", date(2004, 9, 30)), ("TRMB", date(2007, 2, 26))],
    # A close as if split 3:2, and back again the next session: false prices of the source.
    *[("CMCSA", date(2004, 8, 2)), ("CMCSA", date(2004, 8, 3)), ("IRM", date(2006, 2, 2)), ("IRM", date(2006, 2, 3))],
    # Companies spun off, as good as a split to the price (FMC Technologies; Stilwell, refused as a dividend).
    *[("FMC", date(2002, 1, 2)), ("KSU", date(2000, 7, 13))],
}

CRASHES = {
    # Single names that lost a quarter and more over night, near a usual split ratio or not.
    *[("AAPL", date(2000, 9, 29)), ("BKNG", date(2000, 11, 3)), ("ADP", date(2002, 7, 18)), ("STT", date(2009, 1, 20))],
    *[("NFLX", date(2011, 10, 25)), ("ILMN", date(2011, 10, 7)), ("OXY", date(2020, 3, 9)), ("APA", date(2020, 3, 9))],
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


def told(result: CleanResult, rule: str) -> set[tuple[str, date]]:
    findings = result.findings.filter(pl.col("rule") == rule)
    return set(findings.select("symbol", pl.col("ts").dt.date()).rows())


def test_splits_are_suspected_where_there_was_one_or_the_price_is_false(result):
    assert told(result, "unapplied_split") == SUSPECTED


@pytest.mark.parametrize("rule", ["unapplied_split", "bad_print", "bad_close", "unit_error", "invalid_value"])
def test_crashes_of_single_names_are_no_defects(result, rule):
    assert not told(result, rule) & CRASHES


def test_bad_prints_are_old_and_alone(vendor, result):
    """Since 2009 hardly any; and of all of them hardly one was traded again in the five sessions after."""
    prints = told(result, "bad_print")
    assert 50 < len(prints) < 70
    assert len([day for _, day in prints if day.year >= 2009]) <= 10
    after = [pl.col("low").shift(-n).over("symbol") for n in range(1, 6)]
    later = vendor.select("symbol", "session", "low", "close", lowest=pl.min_horizontal(after))
    lows = result.findings.filter((pl.col("rule") == "bad_print") & (pl.col("field") == "low")).select(
        "symbol", "old", session=pl.col("ts").dt.date()
    )
    again = lows.join(later, on=["symbol", "session"]).filter(pl.col("lowest") < pl.col("old") * 1.03)
    assert again.height <= 1
