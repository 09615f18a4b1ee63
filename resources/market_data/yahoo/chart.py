"""Yahoo's chart and option answers, translated: the exchange's own dates, prices as traded, cash as paid. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PolarsError

from resources.calendars import UTC_MICROS
from resources.errors import BadAnswerError, BarSchemaError, NotOfferedError
from resources.market_data.base import PRICES

ROWS = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "ts": UTC_MICROS,
        **dict.fromkeys((*PRICES, "volume"), pl.Float64()),
    }
)
EVENTS = pl.Schema({"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64})
VENUES = {
    "NMS": "XNAS", "NGM": "XNAS", "NCM": "XNAS", "NYQ": "XNYS", "PCX": "ARCX", "ASE": "XASE", "BTS": "BATS",
    "CME": "XCME", "CBT": "XCBT", "NYM": "XNYM", "CMX": "XCEC", "NYB": "IFUS",
}  # fmt: skip
CLASSES = {
    **dict.fromkeys(("EQUITY", "ETF", "MUTUALFUND"), "equity"),
    "INDEX": "index", "CURRENCY": "forex", "CRYPTOCURRENCY": "crypto", "FUTURE": "future", "OPTION": "option",
}  # fmt: skip
CALENDARS = {"forex": "24/5", "crypto": "24/7", "future": "CMES"}
"""Of classes that do not keep the hours of a stock exchange. ICE's futures (NYB) keep IEPA's."""

PARTED = {"crypto": "-", "future": "="}  # BTC-USD is of BTC, ES=F of ES
CONTRACT = re.compile(r"([A-Z0-9]{1,6})(\d{6})([CP])(\d{8})")
SHARES = {"REGULAR": 100.0, "MINI": 10.0}  # that an option stands for, by Yahoo's word for its size

FLOAT32_DIGITS = 7
DIVIDEND_DECIMALS = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """One answer as sent: rows in ROWS still adjusted for splits, (day, ratio), (day, amount), and Yahoo's meta.

    `answered` is when, by Yahoo's own clock; None where it does not say.
    """

    symbol: str
    rows: pl.DataFrame
    splits: tuple[tuple[date, float], ...]
    dividends: tuple[tuple[date, float], ...]
    meta: Mapping[str, Any]
    answered: datetime | None = None

    def between(self, start: datetime, end: datetime) -> Part:
        """Without the rows outside [start, end)."""
        first, last = (pl.lit(at, dtype=UTC_MICROS) for at in (start, end))
        return replace(self, rows=self.rows.filter((pl.col("ts") >= first) & (pl.col("ts") < last)))


@dataclass(frozen=True, slots=True)
class Chart:
    """What was traded and paid: bars in ROWS, actions (symbol, session, kind, value), Yahoo's meta.

    The `ts` of a daily bar is Yahoo's own stamp, and says less than its session. `answered` is when the first of its
    answers was given, by Yahoo's own clock; None where it does not say.
    """

    symbol: str
    bars: pl.DataFrame
    actions: pl.DataFrame
    meta: Mapping[str, Any]
    answered: datetime | None = None

    def within(self, start: date, end: date) -> Chart:
        """Without what lies outside the sessions from `start` to `end`."""
        held = pl.col("session").is_between(start, end)
        return replace(self, bars=self.bars.filter(held), actions=self.actions.filter(held))

    def asset_class(self) -> str:
        """Raises NotOfferedError for a kind of instrument that we have no name for."""
        kind = str(self.meta.get("instrumentType", "EQUITY")).upper()
        if kind not in CLASSES:
            raise NotOfferedError(
                f"{self.symbol}: yahoo calls it {kind}, which is not one of {', '.join(CLASSES)}. Leave it out."
            )
        return CLASSES[kind]

    def calendar(self, shares: str) -> str:
        """The exchange calendar; `shares` where it is a stock exchange's."""
        kind = self.asset_class()
        if kind == "future" and self.meta.get("exchangeName") == "NYB":
            return "IEPA"
        return CALENDARS.get(kind, shares)

    def instrument(self, shares: str) -> dict[str, Any]:
        """The chart's meta as a row of INSTRUMENT_SCHEMA; null what Yahoo does not say.

        Of futures Yahoo gives the front month, one after the other, under one name (ES=F), without contract terms.
        """
        first, venue, kind = self.meta.get("firstTradeDate"), self.meta.get("exchangeName"), self.asset_class()
        currency = self.meta.get("currency")
        return {
            "symbol": self.symbol,
            "asset_class": kind,
            "venue": VENUES.get(str(venue), venue),
            "calendar": self.calendar(shares),
            "currency": currency,
            "tick": 10.0 ** -int(self.meta.get("priceHint", 2)) if kind == "equity" else None,
            "lot": 1.0 if kind in ("equity", "option") else None,
            "multiplier": 100.0 if kind == "option" else None if kind in ("future", "index") else 1.0,
            "underlying": self.symbol.rpartition(parted)[0] if (parted := PARTED.get(kind)) else None,
            "listed": _local_date(first, ZoneInfo(self.meta["exchangeTimezoneName"])) if first is not None else None,
            "perpetual": False if kind == "future" else None,
            "pip": (0.01 if currency == "JPY" else 0.0001) if kind == "forex" else None,
            **(_terms(self.symbol) if kind == "option" else {}),
        }


def empty(symbol: str) -> Chart:
    """The chart of a known symbol that has no rows."""
    return Chart(symbol, pl.DataFrame(schema=ROWS), pl.DataFrame(schema=EVENTS), {})


def parse(symbol: str, result: Mapping[str, Any]) -> Chart:
    """Translate one element of `chart.result`, of days. Raises BadAnswerError as `read` does."""
    return join(symbol, [read(symbol, result)])


def read(
    symbol: str, result: Mapping[str, Any], step: timedelta | None = None, answered: datetime | None = None
) -> Part:
    """One element of `chart.result` as it is; `step` is the length of a bar, None for days.

    `answered`: when Yahoo answered, by its own clock.

    Raises BadAnswerError if it is not laid out as Yahoo's charts are, or is another symbol's.
    """
    try:
        meta = result["meta"]
        zone = ZoneInfo(meta["exchangeTimezoneName"])
        if meta["symbol"].upper() != symbol.upper():
            raise BadAnswerError(f"{symbol}: Yahoo answered with the chart of {meta['symbol']}. Try later.")
        events = result.get("events") or {}
        splits = tuple(sorted(_splits(events.get("splits") or {}, zone)))
        paid = tuple(sorted(_dividends(symbol, events.get("dividends") or {}, zone, meta.get("currency"))))
        rows = _rows(symbol, result, zone, timedelta(hours=2) if step is None else timedelta(0))
        rows = _one_row_a_day(rows) if step is None else _without_live(rows, step, meta.get("regularMarketTime"))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, PolarsError) as error:
        raise BadAnswerError(f"{symbol}: Yahoo's chart is not laid out as expected ({error!r}). Try later.") from error
    return Part(symbol, rows, splits, paid, meta, answered)


def join(symbol: str, parts: Sequence[Part]) -> Chart:
    """The chart of a symbol from its parts, in order; what they tell of splits holds for all their rows."""
    if not parts:
        return empty(symbol)
    splits = sorted({split for part in parts for split in part.splits})
    paid = sorted({dividend for part in parts for dividend in part.dividends})
    bars = _restate(pl.concat([part.rows for part in parts]), splits)
    actions = [(symbol, day, "split", ratio) for day, ratio in splits]
    for day, amount in paid:
        factor = _later(splits, day)
        value = amount if factor == 1.0 else round(amount * factor, DIVIDEND_DECIMALS)
        actions.append((symbol, day, "dividend", value))
    answered = min((part.answered for part in parts if part.answered is not None), default=None)
    return Chart(symbol, bars, pl.DataFrame(actions, schema=EVENTS, orient="row"), parts[-1].meta, answered)


def expiries(underlying: str, result: Mapping[str, Any]) -> dict[date, int]:
    """The expiries in one element of `optionChain.result`, with Yahoo's stamps of them. Raises BadAnswerError."""
    try:
        return {(EPOCH + timedelta(seconds=stamp)).date(): stamp for stamp in result["expirationDates"]}
    except (LookupError, TypeError, ArithmeticError) as error:
        raise _odd_options(underlying, error) from error


def option_rows(underlying: str, calendar: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of one element of `optionChain.result`, as rows of INSTRUMENT_SCHEMA. Raises BadAnswerError."""
    try:
        listed = [each for group in result["options"] for side in ("calls", "puts") for each in group[side]]
        return [
            {
                "symbol": each["contractSymbol"],
                "asset_class": "option",
                "venue": "OPRA",
                "calendar": calendar,
                "currency": each["currency"],
                "lot": 1.0,
                "multiplier": SHARES.get(each.get("contractSize", "REGULAR")),
                **_terms(each["contractSymbol"]),
                "underlying": underlying,
            }
            for each in listed
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _odd_options(underlying, error) from error


def _odd_options(underlying: str, error: Exception) -> BadAnswerError:
    return BadAnswerError(f"{underlying}: Yahoo's options are not laid out as expected ({error!r}). Try later.")


def _terms(name: str) -> dict[str, Any]:
    """Expiry, strike, right and root of an option, from its OCC name. Raises ValueError."""
    found = CONTRACT.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not an option's name")
    root, day, right, strike = found.groups()
    return {
        "expiry": datetime.strptime(day, "%y%m%d").date(),
        "strike": int(strike) / 1000,
        "right": "call" if right == "C" else "put",
        "underlying": root,
    }


def _local_date(seconds: float, zone: ZoneInfo, slack: timedelta = timedelta(hours=2)) -> date:
    """The trading day of a stamp. Yahoo stamps some days an hour or two before their midnight, over a clock change."""
    instant = EPOCH + timedelta(seconds=seconds)  # also before 1970
    return (instant.astimezone(zone) + slack).date()


def _rows(symbol: str, result: Mapping[str, Any], zone: ZoneInfo, slack: timedelta) -> pl.DataFrame:
    """Rows as sent, in order of time, without those that have no price."""
    stamps = result.get("timestamp") or []
    if not stamps:
        return pl.DataFrame(schema=ROWS)
    when = {
        "session": [_local_date(stamp, zone, slack) for stamp in stamps],
        "ts": pl.Series([EPOCH + timedelta(seconds=stamp) for stamp in stamps], dtype=UTC_MICROS),
    }
    quotes = result["indicators"]["quote"][0]
    columns = {name: pl.Series(name, quotes[name], pl.Float64, strict=True) for name in (*PRICES, "volume")}
    rows = pl.DataFrame({**when, **columns}).select(pl.lit(symbol).alias("symbol"), pl.all())
    return rows.filter(pl.any_horizontal(pl.col(PRICES).is_not_null())).sort("ts", maintain_order=True)


def _one_row_a_day(rows: pl.DataFrame) -> pl.DataFrame:
    """Of a last day that was sent twice, the live row."""
    if rows.height > 1 and rows["session"][-1] == rows["session"][-2]:
        return pl.concat([rows[:-2], rows[-1:]])
    return rows


def _without_live(rows: pl.DataFrame, step: timedelta, last_trade: float | None) -> pl.DataFrame:
    """Without the row that Yahoo adds for the last trade: stamped by it, or too close behind the bar before."""
    if rows.is_empty():
        return rows
    last = rows["ts"][-1]
    traded = last_trade is not None and last == EPOCH + timedelta(seconds=last_trade)
    close = rows.height > 1 and last - rows["ts"][-2] < step
    return rows[:-1] if traded or close else rows


def _restate(rows: pl.DataFrame, splits: list[tuple[date, float]]) -> pl.DataFrame:
    """Undo the splits that Yahoo has worked into prices and volumes."""
    factor = pl.lit(1.0)
    for day, ratio in splits:
        factor = factor * pl.when(pl.col("session") < day).then(ratio).otherwise(1.0)
    volume = pl.col("volume") / factor
    return rows.with_columns(
        (pl.col(PRICES) * factor).round_sig_figs(FLOAT32_DIGITS),
        pl.when(factor == 1.0).then("volume").otherwise(volume.round()).alias("volume"),
    )


def _later(splits: list[tuple[date, float]], day: date) -> float:
    """Product of the ratios of the splits after a day."""
    return math.prod(ratio for ex_date, ratio in splits if ex_date > day)


def _splits(events: Mapping[str, Any], zone: ZoneInfo) -> Iterable[tuple[date, float]]:
    for event in events.values():
        yield _local_date(event["date"], zone), event["numerator"] / event["denominator"]


def _dividends(
    symbol: str, events: Mapping[str, Any], zone: ZoneInfo, currency: str | None
) -> Iterable[tuple[date, float]]:
    for event in events.values():
        day = _local_date(event["date"], zone)
        if event.get("currency", currency) not in ("", currency):
            raise BarSchemaError(
                f"{symbol} {day}: dividend is in {event['currency']}, prices are in {currency} (Yahoo Finance). "
                "Take the symbol out of the universe, or load it with provider files."
            )
        yield day, float(event["amount"])
