"""What every feature must stand up to. A new catalogue entry is put through all of it by the tests, and anybody can
put a feature of their own through it before it goes there:

>>> from quant_assets.features.proofs import PROOFS, example_bars
>>> for proof in PROOFS: proof(my_feature, example_bars())  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from quant_assets.cleaned import CLEANED_SCHEMA
from quant_assets.features.definition import Feature, FeatureSet, evaluate

TOLERANCE = 1e-6
"""Relative to the value, or to the feature's usual size where it passes through zero."""

_PLACES = 5
"""How many places in a history a proof looks at, beside the first and the last possible."""

_HALT = 80
"""Sessions without a trade in the example: longer than most windows, for what they leave in rolling sums."""

_PRICES = ("adj_open", "adj_high", "adj_low", "adj_close")


class Refuted(AssertionError):
    """A feature is not what its definition says."""


def no_look_ahead(feature: Feature, bars: pl.DataFrame) -> None:
    """Taking away the bars after a session, or replacing them with nonsense, leaves every value up to it bit for bit.

    Raises Refuted, naming the feature, the symbol and the session that changed.
    """
    held = values(feature, bars)
    for day in _cuts(feature, bars):
        before = held.filter(pl.col("session") <= day)
        cut = bars.filter(pl.col("session") <= day)
        for what, other in (("removed", cut), ("replaced", _nonsense_after(bars, day))):
            again = values(feature, other).filter(pl.col("session") <= day)
            changed = before.filter(~before["value"].eq_missing(again["value"]))
            if changed.height:
                symbol, session, value = changed.row(0)
                raise Refuted(
                    f"{feature.name} sees the future: {symbol} {session} is not {value} with bars after {day} {what}"
                )


def honest_lookback(feature: Feature, bars: pl.DataFrame) -> None:
    """A value from only `lookback` earlier bars is the value from the whole history, and before them it is null.

    Raises Refuted, naming the feature, the symbol, the session and both values.
    """
    held = values(feature, bars)
    size = usual_size(held)
    for (symbol,), history in bars.group_by("symbol", maintain_order=True):
        whole = held.filter(pl.col("symbol") == symbol)["value"]
        early = whole.head(feature.lookback)
        if early.null_count() != early.len():
            raise Refuted(f"{feature.name}: {symbol} has a value before its look-back of {feature.lookback} bars")
        for position in _positions(feature.lookback, history.height):
            window = history.slice(position - feature.lookback, feature.lookback + 1)
            short, full = values(feature, window)["value"][-1], whole[position]
            if not _agree(short, full, size):
                session = history["session"][position]
                raise Refuted(
                    f"{feature.name}: {symbol} {session} is {full}, but {short} from {feature.lookback} earlier bars"
                )


def isolated(feature: Feature, bars: pl.DataFrame) -> None:
    """Each symbol has the same values alone as among others. Raises Refuted, naming the feature and the symbol."""
    held = values(feature, bars)
    for (symbol,), alone in bars.group_by("symbol", maintain_order=True):
        among = held.filter(pl.col("symbol") == symbol)["value"]
        if not values(feature, alone)["value"].eq_missing(among).all():
            raise Refuted(f"{feature.name}: {symbol} depends on the other symbols")


def scale_free(feature: Feature, bars: pl.DataFrame) -> None:
    """Prices in another currency, volume in another unit, and the last bit of each bar's prices change nothing.

    (Adjustment leaves the last bit to chance, so that prices which were equal may not be any more.)

    Raises Refuted, naming the first change.
    """
    held = values(feature, bars)
    size = usual_size(held)
    last_bit = pl.Series(1 + np.finfo(float).eps * np.random.default_rng(0).integers(-1, 2, bars.height))
    for price, volume in ((37.3, 1.0), (1.0, 1e-6), (0.011, 900.0)):
        columns = [pl.col(name) * last_bit * price for name in _PRICES] + [pl.col("adj_volume") * volume]
        again = values(feature, bars.with_columns(columns))
        for (symbol, session, one), other in zip(held.iter_rows(), again["value"], strict=True):
            if not _agree(other, one, size):
                raise Refuted(
                    f"{feature.name}: {symbol} {session} is {one}; with prices x {price}, volume x {volume} {other}"
                )


def within_bounds(feature: Feature, bars: pl.DataFrame) -> None:
    """Every value is null or a finite number within the stated bounds, and there are some. Raises Refuted otherwise."""
    held = values(feature, bars)["value"]
    known = held.drop_nulls()
    lower, upper = feature.bounds
    if known.len() == 0:
        raise Refuted(f"{feature.name} is null everywhere")
    if not known.is_finite().all():
        raise Refuted(f"{feature.name} is NaN or infinite somewhere")
    least, most = float(known.min()), float(known.max())  # type: ignore[arg-type]
    if least < lower or most > upper:
        raise Refuted(f"{feature.name} reaches from {least} to {most}, outside its bounds {lower} to {upper}")


PROOFS: tuple[Callable[[Feature, pl.DataFrame], None], ...] = (
    no_look_ahead,
    honest_lookback,
    isolated,
    scale_free,
    within_bounds,
)


def values(feature: Feature, bars: pl.DataFrame) -> pl.DataFrame:
    """symbol, session, value."""
    computed = evaluate(FeatureSet("proof", (feature,)), bars.lazy())
    return computed.select("symbol", "session", value=feature.name).collect()


def usual_size(held: pl.DataFrame) -> float:
    """Median absolute value: the yardstick for values near zero."""
    size = held["value"].abs().median()
    return float(size) if size else 0.0  # type: ignore[arg-type]


def example_bars(seed: int = 1, sessions: int = 700, symbols: tuple[str, ...] = ("CALM", "WILD")) -> pl.DataFrame:
    """Random cleaned bars (CLEANED_SCHEMA) on weekdays: quiet and wild years, nights, sessions missing or untraded.

    Trading is halted for 80 sessions in the middle. Prices are whole cents, so that ties are as common as on an
    exchange. The first symbol is calm and cheap, each next one wilder and dearer. Factors are 1.0.
    """
    random = np.random.default_rng(seed)
    parts = [_example(random, name, sessions, daily=0.01 * 2**i, price=20.0 * 10**i) for i, name in enumerate(symbols)]
    return pl.concat(parts)


def _example(random: np.random.Generator, symbol: str, count: int, daily: float, price: float) -> pl.DataFrame:
    swing = daily * np.exp(0.6 * np.sin(np.arange(count) / 90) + random.normal(0, 0.2, count))
    night, day = random.normal(0, 0.4 * swing), random.normal(0.0002, swing)
    missing = (random.random(count) < 0.01) & (np.arange(count) > 0)
    halted = (np.arange(count) >= count // 2) & (np.arange(count) < count // 2 + _HALT)
    still = missing | halted
    night[still] = day[still] = swing[still] = 0.0
    exact = price * np.exp(np.cumsum(night + day))
    close, opened = np.round(exact, 2), np.round(exact / np.exp(day), 2)
    high = np.round(np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.5 * swing))), 2)
    low = np.round(np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.5 * swing))), 2)
    untraded = still | (random.random(count) < 0.01)
    volume = np.where(untraded, 0.0, np.round(random.lognormal(13, 0.5, count)))
    days = _weekdays(count)
    bars = {"open": opened, "high": high, "low": low, "close": close}
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "ts": [datetime.combine(day, time(14, 30), UTC) for day in days],
            "session": days,
            "known_at": [datetime.combine(day, time(21), UTC) for day in days],
            **bars,
            "volume": volume,
            "split": np.ones(count),
            "dividend": np.zeros(count),
            "split_factor": np.ones(count),
            "dividend_factor": np.ones(count),
            **{f"adj_{name}": prices for name, prices in bars.items()},
            "adj_volume": volume,
            "flags": [["missing_session"] if gone else [] for gone in missing],
        },
        schema=CLEANED_SCHEMA,
    )


def _weekdays(count: int) -> list[date]:
    monday = date(2010, 1, 4)
    return [monday + timedelta(days=7 * (i // 5) + i % 5) for i in range(count)]


def _positions(first: int, end: int) -> list[int]:
    """A few places to look, from the first possible to the last. Raises ValueError where there is none."""
    if end <= first:
        raise ValueError(f"{end} bars are too few for a look-back of {first}; use example_bars(sessions={first + 100})")
    return sorted({int(place) for place in np.linspace(first, end - 1, _PLACES + 2)})


def _cuts(feature: Feature, bars: pl.DataFrame) -> list[date]:
    """Sessions after which to cut: spread over the history, and some without trading, where a leak may hide."""
    sessions = bars["session"].unique().sort()
    spread = [sessions[place] for place in _positions(feature.lookback, sessions.len() - 1)]
    unusual = bars.filter((pl.col("adj_volume") == 0) & pl.col("session").is_between(spread[0], spread[-1]))
    return sorted({*spread, *unusual["session"].unique().sort().tail(_PLACES)})


def _nonsense_after(bars: pl.DataFrame, day: date) -> pl.DataFrame:
    later = pl.col("session") > day
    random = np.random.default_rng(bars.height)
    level = pl.Series(random.lognormal(3, 2, bars.height))
    wild = {"adj_open": level, "adj_high": level * 3, "adj_low": level / 7, "adj_close": level / 2}
    return bars.with_columns(
        *[pl.when(later).then(prices).otherwise(pl.col(name)).alias(name) for name, prices in wild.items()],
        adj_volume=pl.when(later).then(pl.lit(0.0)).otherwise("adj_volume"),
    )


def _agree(one: float | None, other: float | None, size: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other), size)
