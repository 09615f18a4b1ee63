"""Binance's words and ours: symbols, candles, trades, funding, exchange filters, refusals. Pure.

Binance sends prices and sizes as decimal text ("39432.48000000"), which polars turns into the nearest float64.
Every page is held to what was asked: rows in order, each once, none from before. A page that is not (a stale copy
from a proxy, a layout that has changed) is a BadAnswerError, which another try may mend, and never half a result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from resources.calendars import UTC_MICROS
from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    ProviderError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.base import INSTRUMENT_SCHEMA, PRICES

SPOT, FUTURES = "spot", "futures"
CALENDAR = "24/7"

FUNDING_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "rate": pl.Float64(),
        "mark_price": pl.Float64(),
        "provider": pl.String(),
        "fetched_at": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""A funding payment of a perpetual future: who is long pays `rate` of the position's worth at `mark_price` to who is
short (negative: the other way). mark_price is null in old rows, for which Binance does not tell it."""

KLINE = {"ts": (0, pl.Int64), **{name: (at, pl.String) for at, name in enumerate((*PRICES, "volume"), 1)}}
KLINE["trades"] = (8, pl.Int64)  # how many; the rest of a candle is not used
NUMBERS = (*PRICES, "volume")

NO_SYMBOL = (-1121, -1100)  # invalid symbol; a character that no symbol has
NO_RIGHT = (-2014, -2015)  # a malformed key; an invalid key, address or permission
PASSING = (-1000, -1001, -1006, -1007, -1008)  # unknown, disconnected, unexpected, timed out, overloaded
TOO_MANY = -1003
CLOCK = -1021
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, PolarsError)
DELIVERY = re.compile(r"\d{6}")


class ClockApartError(ProviderError):
    """The stamp of a request was refused: this machine's clock and Binance's are apart (-1021)."""


def venue_symbol(symbol: str) -> tuple[str, str]:
    """The market (spot or futures) and Binance's own name of a symbol.

    BTCUSDT is a spot pair. A dot marks a USD-margined future: BTCUSDT.P the perpetual, BTCUSDT.240628 the contract
    delivered on that day (Binance: BTCUSDT_240628).

    >>> venue_symbol("BTCUSDT.240628")
    ('futures', 'BTCUSDT_240628')
    """
    pair, dot, contract = symbol.partition(".")
    if not dot:
        return SPOT, pair
    if contract == "P":
        return FUTURES, pair
    if DELIVERY.fullmatch(contract):
        return FUTURES, f"{pair}_{contract}"
    raise UnknownSymbolError(
        f"binance has no {symbol}: a spot pair is BTCUSDT, a perpetual BTCUSDT.P, a dated future BTCUSDT.240628"
    )


def klines(symbol: str, payload: object, *, first: int, step: int) -> pl.DataFrame:
    """Candles: symbol, ts (the candle's START), open, high, low, close, volume (of the base asset), trades (count).

    `first` (milliseconds) is what was asked for, `step` a candle's length. Raises BadAnswerError.
    """
    try:
        columns = list(zip(*_rows(payload), strict=True)) or [()] * 12
        raw = pl.DataFrame(
            {name: pl.Series(name, columns[at], dtype, strict=True) for name, (at, dtype) in KLINE.items()}
        )
        _check_order(symbol, raw["ts"], first)
        if (raw["ts"] % step != 0).any():
            raise BadAnswerError(f"{symbol}: Binance sent a candle that does not begin on its timeframe. Try later.")
        return raw.select(
            pl.lit(symbol).alias("symbol"), _instant("ts"), pl.col(NUMBERS).cast(pl.Float64, strict=True), "trades"
        )
    except MALFORMED as error:
        raise _malformed(symbol, "candles", error) from error


def agg_trades(symbol: str, payload: object, *, first_id: int = 0) -> pl.DataFrame:
    """Aggregate trades: symbol, ts, price, size, side (the taker's), trade_id (a number), from `first_id` on.

    Binance tells whether the buyer was the maker; then the taker sold. Raises BadAnswerError.
    """
    try:
        rows = _rows(payload)
        raw = pl.DataFrame(
            {
                "trade_id": pl.Series([row["a"] for row in rows], dtype=pl.Int64, strict=True),
                "ts": pl.Series([row["T"] for row in rows], dtype=pl.Int64, strict=True),
                "price": pl.Series([row["p"] for row in rows], dtype=pl.String, strict=True),
                "size": pl.Series([row["q"] for row in rows], dtype=pl.String, strict=True),
                "maker": pl.Series([row["m"] for row in rows], dtype=pl.Boolean, strict=True),
            }
        )
        _check_order(symbol, raw["trade_id"], first_id)
        return raw.select(
            pl.lit(symbol).alias("symbol"),
            _instant("ts"),
            pl.col("price", "size").cast(pl.Float64, strict=True),
            pl.when("maker").then(pl.lit("sell")).otherwise(pl.lit("buy")).alias("side"),
            "trade_id",
        )
    except MALFORMED as error:
        raise _malformed(symbol, "trades", error) from error


def funding(symbol: str, payload: object, *, first: int) -> pl.DataFrame:
    """Funding payments: symbol, ts, rate, mark_price (null where not told). Raises BadAnswerError."""
    try:
        rows = _rows(payload)
        raw = pl.DataFrame(
            {
                "ts": pl.Series([row["fundingTime"] for row in rows], dtype=pl.Int64, strict=True),
                "rate": pl.Series([row["fundingRate"] for row in rows], dtype=pl.String, strict=True),
                "mark_price": pl.Series([row.get("markPrice") or None for row in rows], dtype=pl.String, strict=True),
            }
        )
        _check_order(symbol, raw["ts"], first)
        numbers = pl.col("rate", "mark_price").cast(pl.Float64, strict=True)
        return raw.select(pl.lit(symbol).alias("symbol"), _instant("ts"), numbers)
    except MALFORMED as error:
        raise _malformed(symbol, "funding rates", error) from error


def instruments(market: str, payload: object) -> pl.DataFrame:
    """Everything in an exchangeInfo answer, in INSTRUMENT_SCHEMA, sorted by symbol. Raises BadAnswerError."""
    try:
        listed = payload["symbols"]  # type: ignore[index]  # a payload of another kind is the TypeError below
        rows = [_spot(item) if market == SPOT else _future(item) for item in listed]
        return pl.DataFrame([row for row in rows if row], schema=INSTRUMENT_SCHEMA).sort("symbol")
    except MALFORMED as error:
        raise _malformed(market, "instruments", error) from error


def server_time(payload: object) -> datetime:
    """The venue's time. Raises BadAnswerError."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=payload["serverTime"])  # type: ignore[index]
    except MALFORMED as error:
        raise _malformed("time", "its clock", error) from error


def delivered_between(start: date, end: date) -> date | None:
    """The first day from `start` to before `end` on which quarterly contracts are delivered, if there is one.

    Source: Binance's contract specification: the last Friday of March, June, September and December.
    """
    days = ((start + timedelta(days=at)) for at in range((end - start).days))
    return next((day for day in days if day.month % 3 == 0 and day.weekday() == 4 and _last_week(day)), None)


def refusal(who: str, status: int, code: object, reason: str, retry_after: float = 0.0) -> ProviderError:
    """The error that says what a refusal is, from its HTTP status and Binance's own code and message."""
    if status in (418, 429) or code == TOO_MANY:
        wait = f"; it asks to wait {retry_after:g} s" if retry_after else ""
        return RateLimitedError(f"{who}: Binance refuses more requests ({status}{wait}). Try later.", retry_after)
    if status == 451:
        return AccessDeniedError(f"{who}: Binance does not serve this location (451). Ask from one that it serves.")
    if status in (401, 403) or code in NO_RIGHT:
        return AccessDeniedError(
            f"{who}: Binance denies access ({status}: {reason}). Market data needs no key: unset BINANCE_API_KEY or "
            "correct it, and see that this network is not blocked."
        )
    if code in NO_SYMBOL:
        return UnknownSymbolError(f"binance has no {who}: {reason} Look the symbol up in instruments().")
    if code == CLOCK:
        return ClockApartError(f"{who}: this machine's clock and Binance's are apart ({reason}) Set the clock right.")
    if status >= 500 or code in PASSING or code in (0, None):
        return BadAnswerError(f"{who}: Binance answered {status}: {reason}. Try later.")
    return ProviderError(f"{who}: Binance refused the request ({code}: {reason})")


def _rows(payload: object) -> Sequence[Any]:
    if not isinstance(payload, list):
        raise TypeError(f"a list was expected, not {type(payload).__name__}")
    return payload


def _instant(name: str) -> pl.Expr:
    return pl.from_epoch(pl.col(name), "ms").dt.replace_time_zone("UTC").cast(UTC_MICROS).alias(name)


def _check_order(symbol: str, keys: pl.Series, first: int) -> None:
    """Rows must come in order, each once, and none from before what was asked: else a page is stale or mixed up."""
    if keys.null_count() or not (keys.diff().drop_nulls() > 0).all() or (keys.len() and keys[0] < first):
        raise BadAnswerError(f"{symbol}: Binance sent rows twice, out of order or from before the page. Try later.")


def _malformed(who: str, what: str, error: Exception) -> BadAnswerError:
    return BadAnswerError(f"{who}: Binance's {what} are not laid out as expected ({error!r:.120}). Try later.")


def _spot(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "symbol": item["symbol"],
        "asset_class": "crypto",
        "perpetual": False,
        **_common(item),
    }


def _future(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of a perpetual or a dated contract; None for what is neither, such as one that is not yet launched."""
    pair, dated, contract = item["symbol"].partition("_")
    perpetual = "PERPETUAL" in item.get("contractType", "")
    if not perpetual and not dated:
        return None
    return {
        "symbol": f"{pair}.{contract}" if dated else f"{pair}.P",
        "asset_class": "future",
        "perpetual": perpetual,
        "expiry": None if perpetual else _day(item["deliveryDate"]),
        "listed": _day(item["onboardDate"]) if item.get("onboardDate") else None,
        **_common(item),
    }


def _common(item: Mapping[str, Any]) -> dict[str, Any]:
    rules = {rule["filterType"]: rule for rule in item["filters"]}
    notional = rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL") or {}
    return {
        "venue": "BINANCE",
        "calendar": CALENDAR,
        "currency": item["quoteAsset"],
        "underlying": item["baseAsset"],
        "multiplier": 1.0,
        "tick": _step(rules.get("PRICE_FILTER", {}).get("tickSize")),
        "lot": _step(rules.get("LOT_SIZE", {}).get("stepSize")),
        "minimum_notional": _step(notional.get("minNotional", notional.get("notional"))),
    }


def _step(text: str | None) -> float | None:
    """A filter's number; zero means that the rule is off."""
    return (float(text) or None) if text is not None else None


def _day(millis: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)).date()


def _last_week(day: date) -> bool:
    return (day + timedelta(days=7)).month != day.month
