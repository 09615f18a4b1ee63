"""Alpaca's answers, translated: pages of bars, quotes and trades, corporate actions, assets, contracts, refusals. Pure.

A page of 10,000 rows is decoded straight from its text into columns, outside Python's lock: the layout is known
beforehand, so no dictionary and no pydantic model is made of any row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    ProviderError,
    RateLimitedError,
    UnknownSymbolError,
)

ROWS: dict[str, dict[str, Any]] = {
    "bars": {"t": pl.String, **dict.fromkeys("ohlcv", pl.Float64)},
    "quotes": {"t": pl.String, **dict.fromkeys(("bp", "bs", "ap", "as"), pl.Float64)},
    "trades": {"t": pl.String, "p": pl.Float64, "s": pl.Float64, "i": pl.Int64, "tks": pl.String, "u": pl.String},
}
"""The fields of a row that are taken, by kind of page."""

NAMES = {
    "bars": {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"},
    "quotes": {"bp": "bid", "bs": "bid_size", "ap": "ask", "as": "ask_size"},
    "trades": {"p": "price", "s": "size", "i": "trade_id"},
}

STAMP = "%Y-%m-%dT%H:%M:%S%.fZ"
ROUND_LOT = 100.0
SIZES_IN_SHARES = datetime(2025, 11, 3, 5)
"""From here on (midnight in New York, as UTC) the tape counts quotes' sizes in shares; before, in round lots."""

ACTION_TYPES = ("forward_split", "reverse_split", "stock_dividend", "cash_dividend")
ACTION_ROWS = pl.Schema({"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64})

VENUES = {"NASDAQ": "XNAS", "NYSE": "XNYS", "ARCA": "ARCX", "NYSEARCA": "ARCX", "AMEX": "XASE", "BATS": "BATS"}
SHARE_TICK = 0.01
FRACTION = 1e-9
SMALLEST_FRACTIONAL_ORDER = 1.0  # USD


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer (symbol, ts and our columns of the kind), and the token of the next, if there is one."""

    rows: pl.DataFrame
    token: str | None


def page(body: str, kind: str, symbols: Sequence[str]) -> Page:
    """Decode a page of `bars`, `quotes` or `trades` of the symbols that were asked for.

    Quotes: a price of 0 is a side without a price; a quote without either side is left out. Trades that the venue
    has cancelled, or replaced by a correction, are left out.
    Raises BadAnswerError on anything that is not such a page: HTML, cut JSON, fields of another type.
    """
    row = pl.Struct(ROWS[kind])
    layout = pl.Struct({kind: pl.Struct(dict.fromkeys(symbols, pl.List(row))), "next_page_token": pl.String})
    try:
        answer = pl.Series([body]).str.json_decode(layout)
        held = answer.struct.field(kind)
        if (held.null_count() and kind not in json.loads(body)) or '"next_page_token"' not in body:
            raise not_a_page(body)
        lists = [(symbol, held.struct.field(symbol)) for symbol in symbols]
        frames = [_rows(kind, symbol, rows.explode()) for symbol, rows in lists if rows.list.len()[0]]
    except (PolarsError, ValueError, TypeError) as error:
        raise not_a_page(body) from error
    return Page(pl.concat(frames) if frames else no_rows(kind), answer.struct.field("next_page_token")[0])


def no_rows(kind: str) -> pl.DataFrame:
    """The columns of a page without rows."""
    return _rows(kind, "", pl.Series([], dtype=pl.Struct(ROWS[kind])))


def _rows(kind: str, symbol: str, rows: pl.Series) -> pl.DataFrame:
    stamped = rows.struct.unnest().with_columns(
        symbol=pl.lit(symbol),
        ts=pl.col("t").str.to_datetime(STAMP, time_unit="ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
    )
    named = stamped.rename(NAMES[kind])
    if kind == "quotes":
        return _quotes(named, crypto="/" in symbol)
    if kind == "trades":
        named = named.filter(~pl.col("u").is_in(["canceled", "incorrect"]).fill_null(False)).with_columns(
            pl.col("trade_id").cast(pl.String),
            side=pl.col("tks").replace_strict({"B": "buy", "S": "sell"}, default=None),
        )
        return named.select("symbol", "ts", "price", "size", "side", "trade_id")
    return named.select("symbol", "ts", "open", "high", "low", "close", "volume")


def _quotes(rows: pl.DataFrame, crypto: bool) -> pl.DataFrame:
    in_lots = pl.lit(not crypto) & (pl.col("ts").dt.replace_time_zone(None) < SIZES_IN_SHARES)
    units = pl.when(in_lots).then(ROUND_LOT).otherwise(1.0)
    sides = [pl.when(pl.col(side) != 0.0).then(side).alias(side) for side in ("bid", "ask")]
    sized = rows.with_columns(*sides, pl.col("bid_size", "ask_size") * units)
    either = pl.any_horizontal(pl.col("bid", "ask").is_not_null())
    return sized.filter(either).select("symbol", "ts", "bid", "bid_size", "ask", "ask_size")


def document(body: str, *keys: str) -> Any:
    """The JSON of a small answer, which must be an object with these keys; without keys, anything that is JSON.

    Raises BadAnswerError.
    """
    try:
        content = json.loads(body)
    except ValueError as error:
        raise not_a_page(body) from error
    if keys and not (isinstance(content, dict) and all(key in content for key in keys)):
        raise not_a_page(body)
    return content


def instant(text: Any) -> datetime:
    """A time as Alpaca writes it, in UTC. Raises BadAnswerError where it is none."""
    try:
        told = datetime.fromisoformat(text)
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise BadAnswerError(f"clock: Alpaca's time is {str(text)[:40]!r}, which is none. Try later.") from error


def actions(held: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str, date, str, float]]:
    """Rows of id, symbol, ex-date, kind and value from the lists of one page.

    A split's value is its new shares per old one; a stock dividend of 0.05 is a split of 1.05.
    Raises BadAnswerError if they are not laid out as Alpaca documents them.
    """
    rows = []
    try:
        for kind in ("forward_splits", "reverse_splits", "stock_dividends", "cash_dividends"):
            for action in held.get(kind) or []:
                if kind == "cash_dividends":
                    value = float(action["rate"])
                elif kind == "stock_dividends":
                    value = 1.0 + float(action["rate"])
                else:
                    value = float(action["new_rate"]) / float(action["old_rate"])
                ours = "dividend" if kind == "cash_dividends" else "split"
                ex_date = date.fromisoformat(action["ex_date"])
                known = action.get("id") or f"{action['symbol']} {ex_date} {kind} {value}"
                rows.append((str(known), str(action["symbol"]), ex_date, ours, value))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadAnswerError(
            f"Alpaca's corporate actions are not laid out as expected ({error!r}). Try later."
        ) from error
    return rows


def action_rows(found: Iterable[tuple[str, str, date, str, float]], start: date, end: date) -> pl.DataFrame:
    """The actions with an ex-date from `start` to `end`, each id once: symbol, session, kind, value."""
    once = {row[0]: row[1:] for row in found if start <= row[2] <= end}
    return pl.DataFrame(list(once.values()), schema=ACTION_ROWS, orient="row")


def instrument(asset: Mapping[str, Any], calendar: str, last_price: float | None) -> dict[str, Any]:
    """An asset as a row of INSTRUMENT_SCHEMA.

    A fractionable share is traded in steps of a billionth, for one dollar or more. Alpaca gives crypto's smallest
    order as a quantity: it is stated as what that was worth at `last_price`, null where there was no price.
    Raises BadAnswerError if it is not an asset as Alpaca documents it.
    """
    try:
        symbol = str(asset["symbol"])
        row: dict[str, Any] = {"symbol": symbol, "calendar": calendar, "multiplier": 1.0}
        if asset["class"] == "crypto":
            smallest = float(asset["min_order_size"])
            return row | {
                "asset_class": "crypto",
                "venue": "ALPACA",
                "currency": symbol.partition("/")[2],
                "tick": float(asset["price_increment"]),
                "lot": float(asset["min_trade_increment"]),
                "minimum_notional": None if last_price is None else smallest * last_price,
            }
        fractional = bool(asset["fractionable"])
        return row | {
            "asset_class": "equity",
            "venue": VENUES.get(asset["exchange"], asset["exchange"]),
            "currency": "USD",
            "tick": SHARE_TICK,
            "lot": FRACTION if fractional else 1.0,
            "minimum_notional": SMALLEST_FRACTIONAL_ORDER if fractional else None,
        }
    except (LookupError, TypeError, ValueError) as error:
        raise BadAnswerError(f"Alpaca's asset is not laid out as expected ({error!r}). Try later.") from error


def contract(option: Mapping[str, Any], calendar: str) -> dict[str, Any]:
    """An option contract as a row of INSTRUMENT_SCHEMA; Alpaca does not say its tick. Raises BadAnswerError."""
    try:
        return {
            "symbol": str(option["symbol"]),
            "asset_class": "option",
            "venue": "OPRA",
            "calendar": calendar,
            "currency": "USD",
            "lot": 1.0,
            "multiplier": float(option.get("multiplier") or option["size"]),
            "expiry": date.fromisoformat(option["expiration_date"]),
            "strike": float(option["strike_price"]),
            "right": {"call": "call", "put": "put"}[option["type"]],
            "underlying": str(option["underlying_symbol"]),
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswerError(f"Alpaca's option contract is not laid out as expected ({error!r}). Try later.") from error


def refusal(what: str, status: int, body: str, headers: Mapping[str, str], now: datetime) -> ProviderError:
    """The error that an HTTP status other than 200 stands for. `what` was asked; `body` holds no secrets."""
    reason = _reason(body)
    if status == 429:
        seconds = pause(headers, now)
        return RateLimitedError(f"{what}: Alpaca refuses more requests (429). Lower requests_per_minute.", seconds)
    if status == 401:
        return AccessDeniedError(
            f"{what}: Alpaca refused the keys (401: {reason}). Check ALPACA_API_KEY and ALPACA_SECRET_KEY, and that "
            "`paper` says which of the two accounts they belong to."
        )
    if status == 403:
        return AccessDeniedError(
            f"{what}: Alpaca refused (403: {reason}). Check ALPACA_API_KEY, ALPACA_SECRET_KEY and `paper`. On the free "
            "plan feed sip has nothing of the last 15 minutes: leave provider.delay_minutes out, or set feed: iex."
        )
    if status >= 500:
        return BadAnswerError(f"{what}: Alpaca answered {status}: {reason}. Try later.")
    if status in (400, 422) and "symbol" in reason.lower():
        return UnknownSymbolError(
            f"alpaca refused {what} ({status}: {reason}). Crypto is written BTC/USD, shares BRK.B."
        )
    return ProviderError(f"{what}: Alpaca answered {status}: {reason}.")


def pause(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds that an answer asks to wait for: Retry-After, else until X-RateLimit-Reset; 0 where it says neither."""
    for name, since in (("Retry-After", 0.0), ("X-RateLimit-Reset", now.timestamp())):
        try:
            seconds = float(headers[name]) - since
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return 0.0


def _reason(body: str) -> str:
    try:
        return str(json.loads(body)["message"])[:200]
    except (ValueError, LookupError, TypeError):
        return repr(body[:60])


def not_a_page(body: str) -> BadAnswerError:
    """The error of an answer that is not what was asked for; it shows how the answer begins."""
    return BadAnswerError(f"Alpaca answered with something else than its data: {body[:60]!r}. Try later.")
