"""What holding costs by the clock, as the `funding` column of bars: perpetual futures and currency pairs. Pure.

`run` takes `funding` as a fraction of a position's worth that longs pay, and shorts receive, as the bar opens; negative
the other way round. It is charged on what was held before that open.

- A perpetual's funding rates are facts of the venue, each with its instant: `with_funding` puts each one on the first
  bar that opens at or after it.
- A currency pair held over 17:00 in New York is rolled to the next value date: the holder earns interest on the base
  currency and pays it on the quote currency. `with_carry` puts that on the first bar that opens at or after the hour.
  Pairs settle two business days later, so Wednesday's roll moves the value date over a weekend and counts three days.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import QuantError

NEW_YORK = "America/New_York"
ROLLOVER = timedelta(hours=17)
WEDNESDAY = 3
"""ISO weekday on which three days are rolled; 4 for pairs that settle after one day (USDCAD)."""
DAY_COUNT = 360.0
"""Days of a year by which money-market interest accrues; 365 for sterling and some others."""

Frame = pl.DataFrame | pl.LazyFrame


class CarryError(QuantError):
    """Rates that carry cannot be worked out from; names the pair, the instant and the mend."""


def with_funding(bars: Frame, rates: Frame) -> pl.DataFrame:
    """The bars with `funding`: of each bar, the sum of its symbol's rates since the bar before opened.

    `bars`: symbol, ts (their start) and whatever else; `rates`: symbol, ts (aware, when it is paid) and funding_rate
    (longs pay where positive). 0 where none is paid; what is paid before a symbol's first bar, or after its last one
    opened, meets no bar. What `funding` the bars already have is added to.
    """
    due = rates.lazy().select("symbol", paid="ts", due="funding_rate").collect()
    return _added(bars.lazy().collect(), due)


def with_carry(bars: Frame, rates: Frame, *, triple: int = WEDNESDAY, day_count: float = DAY_COUNT) -> pl.DataFrame:
    """The bars of currency pairs with `funding` from the difference of two interest rates.

    `bars`: symbol (six letters, EURUSD, or with a separator, EUR/USD), ts and whatever else; `rates`: ts (aware, from
    when it is known), currency and rate (a year, as a fraction; the latest one known holds). At 17:00 in New York on
    each weekday a long of the pair pays (quote rate - base rate) / day_count times the days rolled: one, and three on
    `triple` (ISO weekday; Monday is 1). What brokers add for themselves can be put into the rates.

    Bank holidays, which move value dates too, are left out: over a year the days add up to the same.

    Raises CarryError, naming pair and instant, where a currency has no rate yet, and on symbols that are no pairs.
    """
    frame = bars.lazy().collect()
    known = rates.lazy().select(pl.col("ts").cast(UTC_MICROS), "currency", "rate").sort("ts").collect()
    due: list[pl.DataFrame] = []
    for (symbol,), own in frame.group_by("symbol", maintain_order=True):
        base, quote = currencies(str(symbol))
        rolls = _rollovers(own["ts"].cast(UTC_MICROS), triple)
        for currency, name in ((base, "earned"), (quote, "charged")):
            mine = known.filter(currency=currency).select("ts", pl.col("rate").cast(pl.Float64).alias(name))
            rolls = rolls.join_asof(mine, on="ts", strategy="backward")
            missing = rolls.filter(pl.col(name).is_null())
            if missing.height:
                raise CarryError(
                    f"{symbol} {missing['ts'][0]}: no interest rate of {currency} is known; give one from that day on"
                )
        paid = (pl.col("charged") - pl.col("earned")) * pl.col("days") / day_count
        due.append(rolls.select(symbol=pl.lit(symbol), paid="ts", due=paid))
    return _added(frame, pl.concat(due)) if due else frame.with_columns(funding=pl.lit(0.0))


def currencies(pair: str) -> tuple[str, str]:
    """Base and quote currency of a pair: the price is the quote currency's amount for one unit of the base.

    Raises CarryError on a symbol that is not two codes of three letters.

    >>> currencies("EURUSD"), currencies("USD/JPY")
    (('EUR', 'USD'), ('USD', 'JPY'))
    """
    letters = "".join(letter for letter in pair if letter.isalpha())
    if len(letters) != 6 or len(pair) > 7:
        raise CarryError(f"{pair}: not a currency pair; use six letters, for example EURUSD, or EUR/USD")
    return letters[:3].upper(), letters[3:].upper()


def _rollovers(starts: pl.Series, triple: int) -> pl.DataFrame:
    """The instants of 17:00 in New York on weekdays, from the first start to the last, and the days each one rolls."""
    local = pl.col("ts").dt.convert_time_zone(NEW_YORK).dt.date()
    held = starts.alias("ts").to_frame().select(day=pl.date_range(local.min(), local.max()))
    days = held.filter(pl.col("day").dt.weekday() <= 5)
    instant = (pl.col("day").cast(pl.Datetime("us")) + ROLLOVER).dt.replace_time_zone(NEW_YORK)
    rolled = pl.when(pl.col("day").dt.weekday() == triple).then(3.0).otherwise(1.0)
    rolls = days.select(ts=instant.dt.convert_time_zone("UTC"), days=rolled).sort("ts")
    return rolls.filter(pl.col("ts").is_between(starts.min(), starts.max()))


def _added(bars: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """What is due (symbol, paid, due) on the first bar of its symbol that opens at or after `paid`."""
    starts = bars.select("symbol", "ts").unique().sort("ts")
    stamped = due.with_columns(pl.col("paid").cast(starts.schema["ts"])).sort("paid")
    first = starts.group_by("symbol").agg(first=pl.col("ts").min())
    placed = (
        stamped.join_asof(
            starts,
            left_on="paid",
            right_on="ts",
            by="symbol",
            strategy="forward",
            coalesce=False,
            check_sortedness=False,
        )
        .drop_nulls("ts")
        .join(first, on="symbol")
        .filter((pl.col("ts") > pl.col("first")) | (pl.col("paid") == pl.col("ts")))
        .group_by("symbol", "ts")
        .agg(pl.col("due").sum())
    )
    before = pl.col("funding").fill_null(0.0) if "funding" in bars.columns else pl.lit(0.0)
    return (
        bars.join(placed, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(funding=before + pl.col("due").fill_null(0.0))
        .drop("due")
    )
