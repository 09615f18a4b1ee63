"""Currencies around a backtest: pips and what they are worth, and conversion rates into the account's currency. Pure.

A pair is quoted as the price of its first currency (base) in its second (quote): EURUSD at 1.25 is 1.25 dollars for a
euro. A position counts units of the base; its gains are money in the quote currency.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from quant_assets.backtests.market.carry import currencies
from resources.calendars import UTC_MICROS
from resources.errors import QuantError

COARSE = frozenset({"JPY", "HUF", "KRW", "THB"})
"""Quote currencies whose pairs are counted in hundredths; all others are in ten-thousandths."""

Frame = pl.DataFrame | pl.LazyFrame


class RateError(QuantError):
    """A currency that the given pairs do not lead to; names both currencies and the mend."""


def pip_size(pair: str) -> float:
    """The price step by which moves of a pair are counted. A quote's last digit is often a tenth of it.

    >>> pip_size("EURUSD"), pip_size("USDJPY")
    (0.0001, 0.01)
    """
    return 0.01 if currencies(pair)[1] in COARSE else 0.0001


def pip_value(pair: str, units: float, rate: float = 1.0) -> float:
    """What one pip is worth for a position of `units` of the base currency, in account currency.

    `rate` is the account currency for one unit of the QUOTE currency: 1.0 where that is the account's own.

    >>> round(pip_value("EURUSD", 100_000), 6), round(pip_value("USDJPY", 100_000, rate=1 / 150), 4)
    (10.0, 6.6667)
    """
    return units * pip_size(pair) * rate


def conversion_rates(pairs: Frame, account: str, wanted: Iterable[str]) -> pl.DataFrame:
    """What `run` takes as rates: ts, currency, rate (account currency for one unit), sorted by ts and currency.

    `pairs`: symbol (EURUSD), ts (aware, when the price was KNOWN: of a bar's close, the bar's end) and price. A rate
    comes from the pair with the account's currency, as it is or inverted; else from two pairs with a third currency
    between them (yen in euros from EURUSD and USDJPY), with a row at each change of either once both are known.
    Through which currency, where several would do: the one that has the most rows, then by name.

    Raises RateError naming a currency that no one or two of the pairs lead to, and on prices that are not positive.
    """
    frame = pairs.lazy().select("symbol", pl.col("ts").cast(UTC_MICROS), pl.col("price").cast(pl.Float64)).collect()
    bad = frame.filter(~(pl.col("price").is_finite() & (pl.col("price") > 0)).fill_null(False))
    if bad.height:
        raise RateError(f"{bad['symbol'][0]} {bad['ts'][0]}: price is {bad['price'][0]}; it must be positive")
    legs: dict[tuple[str, str], pl.DataFrame] = {}
    for (symbol,), own in frame.sort("ts").group_by("symbol", maintain_order=True):
        base, quote = currencies(str(symbol))
        legs.setdefault((quote, base), own.select("ts", rate=1.0 / pl.col("price")))
        legs[base, quote] = own.select("ts", rate="price")
    found = [
        _rate(legs, currency, account).select("ts", currency=pl.lit(currency), rate="rate")
        for currency in dict.fromkeys(wanted)
        if currency != account
    ]
    schema = {"ts": UTC_MICROS, "currency": pl.String(), "rate": pl.Float64()}
    return pl.concat(found).sort("ts", "currency") if found else pl.DataFrame(schema=schema)


def _rate(legs: dict[tuple[str, str], pl.DataFrame], currency: str, account: str) -> pl.DataFrame:
    if (currency, account) in legs:
        return legs[currency, account]
    between = [middle for base, middle in legs if base == currency and (middle, account) in legs]
    if not between:
        have = sorted({"".join(leg) for leg in legs})
        raise RateError(
            f"{currency}: no pair leads to {account}, at once or through a third currency; "
            f"give {currency}{account} or {account}{currency}, or two pairs that meet. There are {have}"
        )
    middle = min(between, key=lambda name: (-legs[currency, name].height - legs[name, account].height, name))
    first, second = legs[currency, middle], legs[middle, account].rename({"rate": "second"})
    instants = pl.concat([first.select("ts"), second.select("ts")]).unique().sort("ts")
    both = instants.join_asof(first, on="ts").join_asof(second, on="ts").drop_nulls()
    return both.select("ts", rate=pl.col("rate") * pl.col("second"))
