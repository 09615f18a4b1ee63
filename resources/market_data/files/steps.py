"""Which timeframe a file's bars have, judged by the steps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from resources.errors import NotOfferedError
from resources.market_data.timeframes import INTRADAY

SAMPLE = 100_000
"""Rows from a file's beginning by which it is judged."""

ENOUGH = 20
"""From so many steps on, what all of them have in common is no chance."""

NEARLY_A_DAY = timedelta(hours=20)
WORKING_WEEK = timedelta(days=5)
LENGTHS = {length: name for name, length in INTRADAY.items()}


def timeframe_of(rows: pl.DataFrame, keys: Sequence[str]) -> str:
    """The timeframe of bars with `ts` and `keys`, which name the instrument.

    It is the commonest step between an instrument's bars (first bars of a session may be shorter), or where that is
    no timeframe, since hardly anything is traded, what all of them are multiples of. A name that is not a timeframe
    of ours ("2m", "7d") is told as it is. Where each contract has one bar, the steps are those of its symbol. Without
    any step bars are daily: taken for shorter ones they would pass as known before they ended.
    """
    ordered = rows.drop_nulls("ts")
    steps = _steps(ordered, keys)
    if steps.is_empty():
        steps = _steps(ordered, ["symbol"])
    counted = steps.value_counts().sort(["count", "step"], descending=[True, False])
    if counted.is_empty():
        return "1d"
    common = counted["step"][0]
    if common >= NEARLY_A_DAY:
        smallest = counted["step"].min()
        long = counted["count"].sum() >= ENOUGH and isinstance(smallest, timedelta) and smallest >= WORKING_WEEK
        return f"{smallest.days}d" if long else "1d"  # type: ignore[union-attr]
    unit = _common_unit(counted)
    shorter = steps.filter(steps < common)
    chosen = common if common in LENGTHS and 4 * len(shorter) < len(steps) else unit
    return LENGTHS.get(chosen, _told(chosen))


def refuse_coarser(rows: pl.DataFrame, timeframe: str, source: str) -> None:
    """Raise NotOfferedError if all bars of a symbol in `rows` (symbol, ts) lie on the grid of a longer timeframe.

    Such bars in a file of shorter ones would pass as known before they ended.
    """
    names = [*INTRADAY, "1d"]
    longer = names[names.index(timeframe) + 1]
    length = INTRADAY.get(longer, timedelta(days=1))
    step = (pl.col("ts") - pl.col("ts").shift()).over("symbol")
    judged = rows.sort("symbol", "ts").with_columns(step=step).filter(pl.col("step") > timedelta(0))
    whole = (pl.col("step").dt.total_microseconds() % (length // timedelta(microseconds=1))) == 0
    found = judged.group_by("symbol").agg(steps=pl.len(), whole=whole.all()).filter("whole").sort("symbol")
    found = found.filter(pl.col("steps") >= ENOUGH)
    if found.height:
        raise NotOfferedError(
            f"{found['symbol'][0]}: timeframe {timeframe} was asked for, but its bars lie {longer} apart or more, "
            f"among bars of {timeframe} ({source}). Give bars of each timeframe a file of their own."
        )


def _steps(rows: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """The times from one bar to the next of the same keys, where there is any."""
    same = pl.all_horizontal(pl.col(key).eq_missing(pl.col(key).shift()) for key in keys)
    ordered = rows.sort(*keys, "ts")
    steps = ordered.select(step=pl.when(same).then(pl.col("ts") - pl.col("ts").shift()))["step"]
    return steps.filter(steps > timedelta(0))


def _common_unit(counted: pl.DataFrame) -> timedelta:
    """The greatest step that divides the commonest steps, nineteen in twenty of all."""
    share = counted["count"].cum_sum() / counted["count"].sum()
    frequent = counted.filter(share.shift(1, fill_value=0.0) < 0.95)["step"].dt.total_microseconds()
    return timedelta(microseconds=math.gcd(*frequent.to_list()))


def _told(step: timedelta) -> str:
    seconds = step.total_seconds()
    return f"{seconds / 60:g}m" if seconds >= 60 else f"{seconds:g}s"
