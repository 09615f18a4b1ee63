"""What the rules say of the untouched source, judged one by one; and its adjusted closes beside the vendor's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

HINDSIGHT = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
"""Sessions around a print that are asked whether they traded there, too. The rule itself never looks ahead."""

VENDORS_OWN = (
    "the split of the next session is in the vendor's adjusted close twice; the price had not moved: its error"
)
NAMED = "a split that the split column has not, named by unapplied_split"
UNTOLD = "a split that the split column has not and the prices alone do not show"


def report_prints(cleaned: pl.DataFrame, findings: pl.DataFrame, instruments: pl.DataFrame) -> None:
    """Each bad print of the source, judged by volume, the days after and the sector; the rule sees only the first."""
    around = [pl.col("adj_high").shift(n).over("symbol").alias(f"high{n}") for n in HINDSIGHT]
    around += [pl.col("adj_low").shift(n).over("symbol").alias(f"low{n}") for n in HINDSIGHT]
    body = pl.max_horizontal("adj_open", "adj_close"), pl.min_horizontal("adj_open", "adj_close")
    wicks = cleaned.join(instruments.select("symbol", "sector"), on="symbol", how="left").with_columns(
        *around,
        up=(pl.col("adj_high") / body[0]).log(),
        down=(body[1] / pl.col("adj_low")).log(),
        rush=pl.col("volume") / pl.col("volume").shift().rolling_median(63).over("symbol"),
        factor=pl.col("split_factor") * pl.col("dividend_factor"),
    )
    told = findings.filter(pl.col("rule") == "bad_print").join(wicks, on=["symbol", "ts"])
    price, middle = pl.col("old") * pl.col("factor"), pl.col("adj_close")
    above = price > middle
    told = told.with_columns(
        above=above,
        away=(price / middle).log().abs(),
        again=pl.when(above)
        .then(pl.max_horizontal(f"high{n}" for n in HINDSIGHT) > price * 0.97)
        .otherwise(pl.min_horizontal(f"low{n}" for n in HINDSIGHT) < price * 1.03),
        slip=pl.any_horizontal(((price / middle).log().abs() - np.log(n)).abs() < 0.02 for n in (2, 10, 100)),
    )
    others = (
        told.select("symbol", "ts", "field", "sector", "above", "away")
        .join(wicks.select("ts", "sector", "up", "down", other="symbol"), on=["ts", "sector"])
        .filter(pl.col("other") != pl.col("symbol"))
        .group_by("symbol", "ts", "field")
        .agg(crowd=(pl.when("above").then("up").otherwise("down") > pl.col("away") / 2).sum())
    )
    judged = told.join(others, on=["symbol", "ts", "field"], how="left").with_columns(
        verdict=pl.when("again")
        .then(pl.lit("false: traded there again, within five sessions before or after"))
        .when(pl.col("rush") > 5)
        .then(pl.lit("false: news, more than five times the usual volume"))
        .when(pl.col("crowd") >= 3)
        .then(pl.lit("false: three of its sector and more went half as far"))
        .when("slip")
        .then(pl.lit("true: twice, half, ten or a hundred times the close"))
        .otherwise(pl.lit("true: nothing near it, on any day around, in volume or sector"))
    )
    false = judged.filter(pl.col("verdict").str.starts_with("false"))
    print(
        f"\nbad_print in the untouched source, judged by the five sessions around, volume and sector: {judged.height}, "
        f"{false.height} false, {1e5 * false.height / cleaned.height:.2f} / 100,000 rows"
    )
    for verdict, count in judged.group_by("verdict").len().sort("verdict").iter_rows():
        print(f"{count:8}  {verdict}")
    for symbol, ts, field, old in false.sort("ts").select("symbol", "ts", "field", "old").iter_rows():
        print(f"    false: {symbol} {ts:%Y-%m-%d} {field} {old:g}")


def report_overdue(findings: pl.DataFrame, actions: pl.DataFrame, rows: int) -> None:
    """Each dividend said to be overdue: when was the next one, if ever?"""
    paid = actions.filter(pl.col("kind") == "dividend").select("symbol", "ts").sort("ts")
    told = findings.filter(pl.col("rule") == "dividend_overdue").select("symbol", "ts").sort("ts")
    for strategy, name in (("backward", "last"), ("forward", "next")):
        dates = paid.with_columns(pl.col("ts").alias(name))
        told = told.join_asof(dates, on="ts", by="symbol", strategy=strategy, check_sortedness=False)  # type: ignore[arg-type]
    pause = (pl.col("next") - pl.col("last")).dt.total_days()
    judged = told.with_columns(
        verdict=pl.when(pause.is_null() | (pause > 365))
        .then(pl.lit("true: none within a year of the last"))
        .when(pause > 170)
        .then(pl.lit("true: one at least is missing, paid again within a year"))
        .otherwise(pl.lit("late: paid a little later than usual"))
    )
    late = judged.filter(pl.col("verdict").str.starts_with("late")).height
    print(
        f"\ndividend_overdue in the untouched source: {judged.height}, "
        f"{late} only late, {1e5 * late / rows:.2f} / 100,000 rows"
    )
    for verdict, count in judged.group_by("verdict").len().sort("verdict").iter_rows():
        print(f"{count:8}  {verdict}")
    closed = judged.filter(
        pl.col("last").dt.date().is_in([date(2001, 6, 13), date(2012, 7, 27)])
        & pl.col("verdict").str.starts_with("true")
    ).height
    print(f"    {closed} of them fell due when New York was closed (September 2001, October 2012): lost by the source")


def report_other_vendor(
    path: Path, source: tuple[pl.DataFrame, ...], run: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]
) -> None:
    """Bad prints in another vendor's bars of the same shares, each looked up in ours."""
    from resources.market_data.base import BAR_SCHEMA, stamp_sessions

    if not path.exists():
        print(f"\nskipped: {path} is not here")
        return
    bars, actions = source
    both = bars.select("symbol").unique()
    theirs = pl.read_parquet(path).join(both, on="symbol", how="semi").rename({"local_date": "session"}).drop("ts")
    theirs = theirs.filter(pl.col("session") >= bars["ts"].dt.date().min())
    stamped = stamp_sessions(theirs.lazy(), "XNYS", date(1999, 1, 1), date(2021, 12, 31), "other").with_columns(
        provider=pl.lit("other"), fetched_at="known_at"
    )
    rows = stamped.select(BAR_SCHEMA.names()).cast(dict(BAR_SCHEMA)).collect()  # type: ignore[arg-type]
    _, findings = run(rows, actions.filter(pl.col("symbol").is_in(rows["symbol"].unique().implode())))
    told = findings.filter(pl.col("rule") == "bad_print").join(bars, on=["symbol", "ts"])
    ours = pl.coalesce(pl.when(pl.col("field") == name).then(name) for name in ("open", "high", "low"))
    excursion = (pl.col("old") / pl.col("close")).log().abs()
    judged = told.with_columns(refuted=(pl.col("old") / ours).log().abs() > excursion / 2)
    print(
        f"\nanother vendor's bars of {', '.join(sorted(rows['symbol'].unique()))}, {rows.height:,} rows: "
        f"{judged.height} bad prints, {judged['refuted'].sum()} of them far from this source's price of that session"
    )
    for symbol, ts, field, old in judged.filter(~pl.col("refuted")).select("symbol", "ts", "field", "old").iter_rows():
        print(f"    both have it: {symbol} {ts:%Y-%m-%d} {field} {old:g}")


def report_adjusted(cleaned: pl.DataFrame, findings: pl.DataFrame, path: Path) -> None:
    """Adjusted closes, relative to each symbol's last row, against the vendor's; and whose every difference is.

    The vendor reinvests at the ex-date's close: a session's gross return is (C + D) x split / P.
    """
    both = _beside_the_vendor(cleaned, findings, path)
    print(f"\nadjusted closes against the vendor's, {both.height:,} rows, relative to each symbol's last row")
    theirs = pl.col("adjusted_close") / pl.col("adjusted_close").last().over("symbol")
    gross, step = pl.col("gross"), pl.col("untold")
    of_vendor, named = pl.col("cause") == VENDORS_OWN, pl.col("cause") == NAMED
    series = {
        "closing": (
            gross,
            "raw closes, splits and dividends, reinvested at the ex-date's close (the vendor's way)",
        ),
        "mended": (gross * pl.when(of_vendor).then(step).otherwise(1.0), "  with the vendor's own errors granted"),
        "named": (gross * pl.when(of_vendor | named).then(step).otherwise(1.0), "  and the split that a finding names"),
        "completed": (gross * step, "  and the split that only the vendor's adjusted close knows"),
    }
    columns = {name: values.cum_prod().over("symbol") for name, (values, _) in series.items()}
    both = both.with_columns(**columns)
    words = {name: told for name, (_, told) in series.items()} | {
        "adj_close": "ours: adj_close, reinvested at the ex-dividend price (the previous close less the dividend)"
    }
    for name, told in words.items():
        relative = pl.col(name) / pl.col(name).last().over("symbol")
        both = both.with_columns((relative / theirs - 1).abs().alias(f"{name}_off"))
        share, median = both.select(
            (pl.col(f"{name}_off") <= 1e-4).mean(), pl.col(f"{name}_off").median().alias("m")
        ).row(0)
        print(f"  {share:9.4%} within 1e-4, median {median:.1e}: {told}")
    print(f"  {'symbol':8}{'rows off':>9}{'granted':>9}  cause")
    wrong = both.group_by("symbol").agg(
        off=(pl.col("closing_off") > 1e-4).sum(), rest=(pl.col("completed_off") > 1e-4).sum()
    )
    for symbol, off, rest in wrong.filter((pl.col("off") > 0) | (pl.col("rest") > 0)).sort("symbol").iter_rows():
        steps = both.filter((pl.col("symbol") == symbol) & (step != 1)).select("session", "untold", "cause")
        causes = [f"{day}, {ratio:.4f}: {cause}" for day, ratio, cause in steps.iter_rows()]
        rows = both.filter((pl.col("symbol") == symbol) & (pl.col("completed_off") > 1e-4))
        causes += [
            f"{day}: close {close:g}, the vendor's adjusted close {adjusted:g}, no action since: corrected afterwards"
            for day, close, adjusted in rows.select("session", "close", "adjusted_close").head(5).iter_rows()
        ]
        print(f"  {symbol:8}{off:9}{rest:9}  {'; '.join(causes)}")


def _beside_the_vendor(cleaned: pl.DataFrame, findings: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The vendor's rows with our adj_close, the gross return that the columns give, and what they leave untold.

    untold: the vendor's step over that return where they differ by 1 % and more, else 1. cause: whose doing it is.
    """
    columns = ["symbol", "date", "close", "dividend", "split", "adjusted_close"]
    vendor = pl.read_parquet(path, columns=columns).drop_nulls().rename({"date": "session"})
    vendor = vendor.unique(["symbol", "session"], keep="first").sort("symbol", "session")
    before, theirs_before = (pl.col(name).shift().over("symbol") for name in ("close", "adjusted_close"))
    gross = ((pl.col("close") + pl.col("dividend")) * pl.col("split") / before).fill_null(1.0)
    untold = (pl.col("adjusted_close") / theirs_before / pl.col("gross")).fill_null(1.0)
    suspected = findings.filter(pl.col("rule") == "unapplied_split").select(
        "symbol", session=pl.col("ts").dt.date(), suspected=pl.lit(True)
    )
    still = (pl.col("close") / before).log().abs() < 0.1
    return (
        vendor.with_columns(gross=gross)
        .with_columns(untold=untold)
        .with_columns(untold=pl.when((pl.col("untold") - 1).abs() > 0.01).then("untold").otherwise(1.0))
        .join(suspected, on=["symbol", "session"], how="left", maintain_order="left")
        .with_columns(
            cause=pl.when(still & (pl.col("split").shift(-1) != 1))
            .then(pl.lit(VENDORS_OWN))
            .when(pl.col("suspected").is_not_null() | (still & pl.col("suspected").shift(-1).is_not_null()))
            .then(pl.lit(NAMED))
            .otherwise(pl.lit(UNTOLD))
        )
        .join(cleaned.select("symbol", "session", "adj_close"), on=["symbol", "session"], how="inner")
        .sort("symbol", "session")
    )
