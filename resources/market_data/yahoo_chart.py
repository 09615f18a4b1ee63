"""Yahoo's chart answers, translated: dates in the exchange's time zone, prices as traded, cash as paid. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PolarsError

from resources.errors import BadAnswerError, BarSchemaError
from resources.market_data.base import PRICES

ROWS = pl.Schema({"symbol": pl.String, "session": pl.Date, **dict.fromkeys((*PRICES, "volume"), pl.Float64)})
EVENTS = pl.Schema({"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64})
VENUES = {"NMS": "XNAS", "NGM": "XNAS", "NCM": "XNAS", "NYQ": "XNYS", "PCX": "ARCX", "ASE": "XASE", "BTS": "BATS"}

FLOAT32_DIGITS = 7
DIVIDEND_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Chart:
    """What one answer holds: bars (symbol, session, OHLCV), actions (symbol, session, kind, value), Yahoo's meta."""

    symbol: str
    bars: pl.DataFrame
    actions: pl.DataFrame
    meta: Mapping[str, Any]

    def instrument(self, calendar: str) -> dict[str, Any]:
        """The chart's meta as a row of INSTRUMENT_SCHEMA."""
        first = self.meta.get("firstTradeDate")
        venue = self.meta.get("exchangeName")
        return {
            "symbol": self.symbol,
            "asset_class": str(self.meta.get("instrumentType", "equity")).lower(),
            "venue": VENUES.get(str(venue), venue),
            "calendar": calendar,
            "currency": self.meta.get("currency"),
            "tick": 10.0 ** -int(self.meta.get("priceHint", 2)),
            "lot": 1.0,
            "multiplier": 1.0,
            "listed": _local_date(first, ZoneInfo(self.meta["exchangeTimezoneName"])) if first is not None else None,
        }


def empty(symbol: str) -> Chart:
    """The chart of a known symbol that has no rows."""
    return Chart(symbol, pl.DataFrame(schema=ROWS), pl.DataFrame(schema=EVENTS), {})


def parse(symbol: str, result: Mapping[str, Any]) -> Chart:
    """Translate one element of `chart.result`.

    Raises BadAnswerError if it is not laid out as Yahoo's charts are, or is another symbol's.
    """
    try:
        meta = result["meta"]
        zone = ZoneInfo(meta["exchangeTimezoneName"])
        if meta["symbol"].upper() != symbol.upper():
            raise BadAnswerError(f"{symbol}: Yahoo answered with the chart of {meta['symbol']}. Try later.")
        events = result.get("events") or {}
        splits = sorted(_splits(events.get("splits") or {}, zone))
        paid = sorted(_dividends(symbol, events.get("dividends") or {}, zone, meta.get("currency")))
        bars = _restate(_rows(symbol, result, zone), splits)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, PolarsError) as error:
        raise BadAnswerError(f"{symbol}: Yahoo's chart is not laid out as expected ({error!r}). Try later.") from error
    actions = [(symbol, day, "split", ratio) for day, ratio in splits]
    for day, amount in paid:
        factor = _later(splits, day)
        value = amount if factor == 1.0 else round(amount * factor, DIVIDEND_DECIMALS)
        actions.append((symbol, day, "dividend", value))
    return Chart(symbol, bars, pl.DataFrame(actions, schema=EVENTS, orient="row"), meta)


def _local_date(seconds: float, zone: ZoneInfo) -> date:
    """The trading day of a stamp. Yahoo stamps some days an hour or two before their midnight, over a clock change."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)  # also before 1970
    return (instant.astimezone(zone) + timedelta(hours=2)).date()


def _rows(symbol: str, result: Mapping[str, Any], zone: ZoneInfo) -> pl.DataFrame:
    """Rows as sent, in order, without days that have no price. Of a last day sent twice, the live row stays."""
    days = [_local_date(stamp, zone) for stamp in result.get("timestamp") or []]
    if not days:
        return pl.DataFrame(schema=ROWS)
    quotes = result["indicators"]["quote"][0]
    columns = {name: pl.Series(name, quotes[name], pl.Float64, strict=True) for name in (*PRICES, "volume")}
    rows = pl.DataFrame({"session": days, **columns}).select(pl.lit(symbol).alias("symbol"), pl.all())
    rows = rows.filter(pl.any_horizontal(pl.col(PRICES).is_not_null())).sort("session", maintain_order=True)
    if rows.height > 1 and rows["session"][-1] == rows["session"][-2]:
        rows = pl.concat([rows[:-2], rows[-1:]])
    return rows


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
