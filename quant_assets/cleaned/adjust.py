"""Splits and dividends: put on the bar where they take effect, checked against its open, turned into factors.

Factors accumulate FORWARD from 1.0 at a symbol's first bar, so that a new split or dividend never rewrites history.
"""

from __future__ import annotations

import math

import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.errors import BarSchemaError
from resources.market_data.base import PRICES

CONFIRM_FROM = 0.10
"""Splits and dividends that move the price by less than this are taken as given: a normal night hides them."""

REGULAR_GAPS = 4
GAP_SPREAD = 1.35
MIN_GAP_DAYS = 20

KINDS = ("split", "dividend")


def place(actions: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each action on the first bar at or after its own time, and findings about those that moved or have no bar.

    Result: symbol, ts (of the bar), given_split (product), given_dividend (sum), action_known_at (the latest).
    `rows` as `align` returns them. Raises BarSchemaError on a kind of action that is not one of KINDS.
    """
    strange = actions.filter(~pl.col("kind").is_in(KINDS).fill_null(False)).head(1)
    if strange.height:
        symbol, ts, kind = strange.select("symbol", "ts", "kind").row(0)
        raise BarSchemaError(f"{symbol} {ts}: action kind is {kind!r}, not one of {', '.join(KINDS)}. Fix the source.")
    real = rows.lazy().filter(~pl.col("missing")).select("symbol", "ts", bar="ts")
    first = rows.lazy().group_by("symbol").agg(first=pl.col("ts").min())
    placed = (
        actions.lazy()
        .join(first, on="symbol", how="left")
        .sort("ts", "symbol", "kind", "value")
        .join_asof(real.sort("ts"), on="ts", by="symbol", strategy="forward", check_sortedness=False)
        .with_columns(fate=_fate())
        .collect()
    )
    value, split = pl.col("value"), pl.col("kind") == "split"
    moved = pl.col("fate") == "action_moved"
    findings = [
        placed.filter(pl.col("fate") == fate)
        .with_columns(ts=pl.when(moved).then("bar").otherwise("ts"))
        .select(finding(fate, pl.col("kind"), value, pl.when(moved).then(value)))
        for fate in placed["fate"].drop_nulls().unique().sort()
    ]
    effective = (
        placed.filter(moved | pl.col("fate").is_null())
        .group_by("symbol", ts="bar")
        .agg(
            given_split=value.filter(split).product(),
            given_dividend=value.filter(~split).sum(),
            action_known_at=pl.col("known_at").max(),
        )
    )
    return effective, pl.concat([FINDING_SCHEMA.to_frame(), *findings])


def _fate() -> pl.Expr:
    """What becomes of an action: null where it applies on its own date, else the rule that says why not."""
    value, split = pl.col("value"), pl.col("kind") == "split"
    valid = value.is_finite() & pl.when(split).then(value > 0).otherwise(value >= 0)
    return (
        pl.when(~valid.fill_null(False))
        .then(pl.lit("action_invalid"))
        .when(~pl.struct("symbol", "ts", "kind", "value").is_first_distinct())
        .then(pl.lit("action_duplicated"))
        .when(pl.col("bar").is_null())
        .then(pl.lit("action_without_bar"))
        .when(pl.col("bar") == pl.col("first"))
        .then(pl.lit("action_before_history"))
        .when(pl.col("bar") != pl.col("ts"))
        .then(pl.lit("action_moved"))
    )


def overdue(adjusted: pl.DataFrame) -> pl.DataFrame:
    """A finding where a regular payer's next dividend is not there, on the first bar after it should have been.

    Regular: the last REGULAR_GAPS times between ex-dates (of dividends as applied) differ by less than GAP_SPREAD.
    Overdue: GAP_SPREAD times the median of those gaps after the last ex-date. A company that stopped paying looks
    the same on that day. `adjusted` as `adjust` returns it.
    """
    told = adjusted.filter(pl.col("given_dividend") > 0).select(
        "symbol", "ts", "dividend", following=pl.col("ts").shift(-1).over("symbol")
    )
    gap = pl.col("ts").diff().over("symbol").dt.total_days()
    paid = told.filter(pl.col("dividend") > 0).with_columns(gap=gap)
    least, most = (getattr(pl.col("gap"), f"rolling_{end}")(REGULAR_GAPS).over("symbol") for end in ("min", "max"))
    usual = pl.col("gap").rolling_median(REGULAR_GAPS).over("symbol")
    due = (
        paid.with_columns(due=pl.col("ts") + pl.duration(days=(GAP_SPREAD * usual).cast(pl.Int64)))
        .filter((least > MIN_GAP_DAYS) & (most < GAP_SPREAD * least))
        .select("symbol", "following", ts="due")
        .drop_nulls("ts")
    )
    bars = adjusted.filter(~pl.col("missing")).select("symbol", "ts", bar="ts")
    met = due.sort("ts").join_asof(bars.sort("ts"), on="ts", by="symbol", strategy="forward", check_sortedness=False)
    absent = (pl.col("following") > pl.col("bar")) | pl.col("following").is_null()
    late = met.filter(pl.col("bar").is_not_null() & absent).with_columns(ts="bar")
    return late.select(finding("dividend_overdue", "dividend", pl.lit(None), pl.lit(0.0)))


def adjust(rows: pl.DataFrame, effective: pl.DataFrame) -> pl.DataFrame:
    """Add previous_close, split and dividend as applied, their factors, and the adjusted prices and volume.

    Beside them, for the rules: given_split and given_dividend (before refusals), exceeds_price, known_late.

    The dividend factor's step is 1 / (1 - D / P), with P the previous close restated for a split of the same
    session: the ratio between total and price return of a holder who reinvests at the ex-dividend price.
    Source: CRSP, "Data Definitions: factor to adjust price", applied forward instead of backward.

    Reinvesting at the ex-date's close instead, a return of (C + D) / P, is not offered: that factor is known at the
    close only, and would put it into the adjusted open, high and low of the same bar. The two differ by D / P times
    the ex-date's return (benchmarks/data_quality.py shows both beside a vendor who reinvests at the close).
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    joined = rows.join(effective, on=["symbol", "ts"], how="left", maintain_order="left").with_columns(
        pl.col("given_split").fill_null(1.0),
        pl.col("given_dividend").fill_null(0.0),
        known_late=(pl.col("action_known_at") > pl.col("known_at")).fill_null(False),
        previous_close=pl.when(same).then(pl.col("close").shift()),
    )
    applied = joined.with_columns(split=_confirmed_split()).with_columns(
        restated=pl.col("previous_close") / pl.col("split")
    )
    share = pl.col("given_dividend") / pl.col("restated")
    stepped = applied.with_columns(exceeds_price=(share >= 1).fill_null(False), dividend=_confirmed_dividend(share))
    step = (1 / (1 - pl.col("dividend") / pl.col("restated"))).fill_null(1.0)
    factors = stepped.with_columns(
        split_factor=pl.col("split").cum_prod().over("symbol"),
        dividend_factor=step.cum_prod().over("symbol"),
    )
    factor = pl.col("split_factor") * pl.col("dividend_factor")
    return factors.with_columns(
        *[(pl.col(name) * factor).alias(f"adj_{name}") for name in PRICES],
        adj_volume=pl.col("volume") / pl.col("split_factor"),
    )


def _confirmed_split() -> pl.Expr:
    """The split given, or 1.0 where the session opened nearer to where it would have without one.

    Looks at the open of the session itself, nothing later. A dividend of the same session is expected to show, too.
    """
    split, dividend, previous = pl.col("given_split"), pl.col("given_dividend"), pl.col("previous_close")
    off_with = (pl.col("open") / _ex_dividend(previous / split, dividend)).log().abs()
    off_without = (pl.col("open") / _ex_dividend(previous, dividend)).log().abs()
    testable = split.log().abs() >= math.log1p(CONFIRM_FROM)
    return pl.when(testable & (off_with > off_without)).then(1.0).otherwise(split)


def _ex_dividend(price: pl.Expr, dividend: pl.Expr) -> pl.Expr:
    """Where a price should open ex dividend; the price itself where the dividend would leave nothing of it."""
    return pl.when(dividend < price).then(price - dividend).otherwise(price)


def _confirmed_dividend(share: pl.Expr) -> pl.Expr:
    """The dividend given, or 0.0 where it is the whole price, or large and the session did not open ex dividend.

    `share` is the dividend over the restated previous close. The open must be nearer, in log price, to the
    ex-dividend price than to the previous close.
    """
    midway = pl.col("restated") * (1 - share).sqrt()
    refused = (share >= 1) | ((share >= CONFIRM_FROM) & (pl.col("open") > midway))
    return pl.when(refused).then(0.0).otherwise(pl.col("given_dividend"))
