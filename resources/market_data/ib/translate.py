"""Interactive Brokers' words to ours and back: symbols, contracts, windows of bars, pages of ticks, refusals. Pure.

Symbols tell the class of what they name:

    AAPL, BRK.B              a stock in US dollars, routed by IB (SMART); the part after the dot is the share class
    VOD.LSE, SAP.IBIS        a stock of another exchange, by IB's name of it (`VENUES`)
    ES.202412, ES.20241220   a future by contract month or last trading day; ES.202412.CME where several venues list it
    EUR.USD                  a forex pair
    AAPL240315C00170000      an option by its OCC name, without the blanks
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from resources.calendars import UTC_MICROS, sessions
from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConfigError,
    NoDataError,
    NotOfferedError,
    ProviderError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.base import PRICES

VENUES = {  # IB's name: market identifier code, exchange calendar
    **dict.fromkeys(("NASDAQ", "ISLAND"), ("XNAS", "XNYS")),
    "NYSE": ("XNYS", "XNYS"), "ARCA": ("ARCX", "XNYS"), "AMEX": ("XASE", "XNYS"), "BATS": ("BATS", "XNYS"),
    "LSE": ("XLON", "XLON"), "IBIS": ("XETR", "XETR"), "IBIS2": ("XETR", "XETR"), "SBF": ("XPAR", "XPAR"),
    "AEB": ("XAMS", "XAMS"), "EBS": ("XSWX", "XSWX"), "TSE": ("XTSE", "XTSE"), "TSEJ": ("XTKS", "XTKS"),
    "SEHK": ("XHKG", "XHKG"), "ASX": ("XASX", "XASX"), "EUREX": ("XEUR", "XEUR"),
    "CME": ("XCME", "CMES"), "GLOBEX": ("XCME", "CMES"), "CBOT": ("XCBT", "CMES"), "ECBOT": ("XCBT", "CMES"),
    "NYMEX": ("XNYM", "CMES"), "COMEX": ("XCEC", "CMES"), "IDEALPRO": ("IDEALPRO", "FX"),
}  # fmt: skip
CURRENCIES = frozenset(
    ("AUD", "CAD", "CHF", "CNH", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS",
     "JPY", "KRW", "MXN", "NOK", "NZD", "PLN", "SEK", "SGD", "TRY", "USD", "ZAR")
)  # fmt: skip
CLASSES = {"STK": "equity", "OPT": "option", "FUT": "future", "CASH": "forex"}
RIGHTS = {"C": "call", "CALL": "call", "P": "put", "PUT": "put"}
BACKTEST_ONLY = "QBALGO"  # IB's algorithmic twin of CME: the same contracts once more

OPTION = re.compile(r"([A-Z][A-Z0-9]{0,5}) *(\d{6}[CP]\d{8})")
FUTURE = re.compile(r"([A-Z0-9]{1,6})\.(\d{6}|\d{8})(?:\.([A-Z0-9]+))?")
STOCK = re.compile(r"([A-Z0-9]{1,9})(?:\.([A-Z0-9]+))?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A symbol, its class, and the fields of the contract that IB is asked for."""

    symbol: str
    asset_class: str
    fields: dict[str, Any]


def parse(symbol: str) -> Asked:
    """What a symbol names. Raises ConfigError with examples where it names nothing.

    >>> parse("EUR.USD").fields["secType"]
    'CASH'
    """
    if option := OPTION.fullmatch(symbol):
        root, rest = option.groups()
        local = {"secType": "OPT", "localSymbol": f"{root:<6}{rest}", "exchange": "SMART", "currency": "USD"}
        return Asked(root + rest, "option", local)
    if future := FUTURE.fullmatch(symbol):
        root, expiry, exchange = future.groups()
        fields = {"secType": "FUT", "symbol": root, "lastTradeDateOrContractMonth": expiry, "includeExpired": True}
        return Asked(symbol, "future", {**fields, "exchange": exchange or ""})
    if stock := STOCK.fullmatch(symbol):
        name, tail = stock.groups()
        if tail in VENUES:
            return Asked(symbol, "equity", {"secType": "STK", "symbol": name, "exchange": tail})
        if {name, tail} <= CURRENCIES:
            pair = {"secType": "CASH", "symbol": name, "currency": tail, "exchange": "IDEALPRO"}
            return Asked(symbol, "forex", pair)
        if tail is None or len(tail) == 1:
            full = name if tail is None else f"{name} {tail}"
            fields = {"secType": "STK", "symbol": full, "exchange": "SMART", "currency": "USD"}
            return Asked(symbol, "equity", fields)
    raise ConfigError(
        f"universe.symbols: {symbol!r} names nothing at Interactive Brokers; for example AAPL, BRK.B, VOD.LSE "
        "(stocks), ES.202412 (a future), EUR.USD (forex), AAPL240315C00170000 (an option)"
    )


def one(asked: Asked, found: Sequence[Any]) -> Any:
    """The one ContractDetails that a symbol means. Raises UnknownSymbolError for none, ConfigError for several."""
    listed = [each for each in found if each.contract.exchange != BACKTEST_ONLY]
    if not listed:
        raise unknown(asked.symbol)
    if len(listed) > 1:
        places = ", ".join(sorted({f"{each.contract.exchange} ({each.contract.currency})" for each in listed}))
        raise ConfigError(
            f"universe.symbols: {asked.symbol} is {len(listed)} contracts at Interactive Brokers, on {places}; name "
            "the exchange or the day, for example ES.202412.CME or VOD.LSE"
        )
    return listed[0]


def unknown(symbol: str, reason: str = "no such contract") -> UnknownSymbolError:
    return UnknownSymbolError(
        f"ib has no {symbol}: {reason}. Look it up in Trader Workstation or IB's contract search."
    )


def venue(details: Any) -> tuple[str, str]:
    """Market identifier code and exchange calendar. Raises NotOfferedError for an exchange that is not in VENUES."""
    contract = details.contract
    if contract.secType == "OPT":  # routed to many venues, all on the stock exchange's hours
        return contract.exchange, "XNYS"
    name = contract.primaryExchange if contract.exchange == "SMART" else contract.exchange
    if name not in VENUES:
        raise NotOfferedError(
            f"{contract.symbol}: ib has no calendar for exchange {name!r}; it has {', '.join(VENUES)}. "
            "Add the exchange to VENUES in resources/market_data/ib/translate.py."
        )
    return VENUES[name]


def instrument(symbol: str, details: Any) -> dict[str, Any]:
    """A ContractDetails as a row of INSTRUMENT_SCHEMA.

    Where IB quotes in hundredths of the currency (priceMagnifier 100: corn in cents), multiplier is what makes
    price times multiplier an amount of `currency`. A forex pip is 0.01 in yen and 0.0001 elsewhere.
    """
    contract = details.contract
    kind = CLASSES[contract.secType]
    place, calendar = venue(details)
    derived = kind in ("option", "future")
    return {
        "symbol": symbol,
        "asset_class": kind,
        "venue": place,
        "calendar": calendar,
        "currency": contract.currency,
        "tick": details.minTick or None,
        "lot": _number(details.sizeIncrement) or 1.0,
        "multiplier": (_number(contract.multiplier) or 1.0) / (details.priceMagnifier or 1),
        "expiry": last_day(contract.lastTradeDateOrContractMonth) if derived else None,
        "strike": float(contract.strike) if kind == "option" else None,
        "right": RIGHTS.get(contract.right) if kind == "option" else None,
        "underlying": (details.underSymbol or contract.symbol) if derived else None,
        "sector": details.industry or None,
        "perpetual": False if kind == "future" else None,
        "pip": (0.01 if contract.currency == "JPY" else 0.0001) if kind == "forex" else None,
    }


def _number(text: Any) -> float:
    return float(text) if text else 0.0


def last_day(text: str) -> date:
    """A contract's last trading day: 20241220, of which IB may add hour and zone."""
    day = text.partition(" ")[0]
    if not re.fullmatch(r"\d{8}", day):  # strptime takes 202412 for the second of January
        raise BadAnswerError(f"Interactive Brokers gave {text!r} for a last trading day; expected 20241220.")
    return datetime.strptime(day, "%Y%m%d").date()


def future_names(found: Sequence[Any]) -> list[str]:
    """Our names of futures: by contract month, by last trading day where a month has several."""
    months = [f"{each.contract.symbol}.{each.contractMonth}" for each in found]
    days = [f"{each.contract.symbol}.{each.contract.lastTradeDateOrContractMonth[:8]}" for each in found]
    return [
        month if months.count(month) == 1 and each.contractMonth else day
        for month, day, each in zip(months, days, found, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Step:
    """How bars of a size are asked for: IB's name, the duration of one request, and the span it covers for sure.

    IB allows a day of 1-minute bars in a request, a week of 5 to 15 minutes, a month of 30 minutes to 4 hours, a year
    of days. What a week or month is near holidays IB leaves open, so the span is shorter and the surplus is cut off.
    """

    size: str
    duration: str
    span: timedelta


STEPS = {
    "1m": Step("1 min", "86400 S", timedelta(days=1)),
    "5m": Step("5 mins", "1 W", timedelta(days=6)),
    "15m": Step("15 mins", "1 W", timedelta(days=6)),
    "30m": Step("30 mins", "1 M", timedelta(days=28)),
    "1h": Step("1 hour", "1 M", timedelta(days=28)),
    "4h": Step("4 hours", "1 M", timedelta(days=28)),
    "1d": Step("1 day", "1 Y", timedelta(days=360)),
}

Window = tuple[datetime, datetime]


def windows(calendar: str, start: date, end: date, timeframe: str) -> list[Window]:
    """The spans [from, to) to ask for one after the other, disjoint and in order.

    Intraday they hold whole sessions.
    """
    span = STEPS[timeframe].span
    if timeframe == "1d":
        days = [_midnight(start + span * at) for at in range((end - start) // span + 1)]
        return list(zip(days, [*days[1:], _midnight(end + timedelta(days=1))], strict=True))
    found: list[Window] = []
    for opens, closes in sessions(calendar, start, end).select("open", "close").rows():
        if found and closes - found[-1][0] <= span:
            found[-1] = (found[-1][0], closes)
        else:
            found.append((opens, closes))
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def bar_schema(daily: bool) -> pl.Schema:
    """Columns of bars before they are stamped: symbol, OHLCV, and session (Date) or ts."""
    prices = dict.fromkeys((*PRICES, "volume"), pl.Float64())
    return pl.Schema({"symbol": pl.String(), **prices, **({"session": pl.Date()} if daily else {"ts": UTC_MICROS})})


def bar_rows(symbol: str, bars: Iterable[Any], window: Window, *, daily: bool, midpoint: bool) -> pl.DataFrame:
    """BarData of one answer that lie in the window, in `bar_schema`.

    Midpoint bars have no volume (IB sends -1); it is 0 here.
    """
    rows = [
        (symbol, bar.open, bar.high, bar.low, bar.close, 0.0 if midpoint else float(bar.volume), bar.date)
        for bar in bars
    ]
    frame = pl.DataFrame(rows, schema=bar_schema(daily), orient="row")
    stamp = frame.columns[-1]
    low, high = (window[0].date(), window[1].date()) if daily else window
    kind = frame.schema[stamp]
    return frame.filter(pl.col(stamp) >= pl.lit(low, dtype=kind), pl.col(stamp) < pl.lit(high, dtype=kind))


PAGE = 1000
"""The most ticks that one request brings, but for the rest of the last second, which some gateways add."""


def settled(symbol: str, ticks: Sequence[Any], since: datetime) -> tuple[Sequence[Any], datetime | None]:
    """Which ticks of a page that was asked for from `since` on are to be kept, and where the next page begins.

    IB stamps ticks with whole seconds and gives no ids, so two equal ticks may be two true ones, and comparing pages
    can't tell. Instead each second is taken from one page only: a full page may have cut its last second short, which
    is then left to the next page, that begins with it. Nothing is lost and nothing doubled.

    Raises ProviderError where one second fills a page: IB has no way to ask for the rest of it.
    """
    if not ticks:
        return ticks, None
    last = ticks[-1].time
    if ticks[0].time < since:
        raise BadAnswerError(f"{symbol}: asked for ticks from {since}, got some of {ticks[0].time}. Try later.")
    if len(ticks) != PAGE:  # fewer: all that there was; more: the last second was completed
        return ticks, last + timedelta(seconds=1)
    kept = [tick for tick in ticks if tick.time < last]
    if not kept:
        raise ProviderError(
            f"{symbol} {last}: {PAGE} ticks or more within this second, of which Interactive Brokers gives the first "
            f"{PAGE} only. Leave the second out: ask up to it, and from the next one on."
        )
    return kept, last


def quote_rows(symbol: str, ticks: Iterable[Any]) -> pl.DataFrame:
    """HistoricalTickBidAsk as rows of quotes; a side that IB gives no positive price for is null."""
    rows = [
        (symbol, tick.time, _side(tick.priceBid), tick.sizeBid, _side(tick.priceAsk), tick.sizeAsk) for tick in ticks
    ]
    sides = dict.fromkeys(("bid", "bid_size", "ask", "ask_size"), pl.Float64)
    return pl.DataFrame(rows, schema={"symbol": pl.String, "ts": UTC_MICROS, **sides}, orient="row")


def _side(price: float) -> float | None:
    return price if price > 0 else None


def trade_rows(symbol: str, ticks: Iterable[Any]) -> pl.DataFrame:
    """HistoricalTickLast as rows of trades; IB tells neither the taker's side nor an id."""
    rows = [(symbol, tick.time, tick.price, tick.size, None, None) for tick in ticks]
    numbers, texts = dict.fromkeys(("price", "size"), pl.Float64), dict.fromkeys(("side", "trade_id"), pl.String)
    return pl.DataFrame(rows, schema={"symbol": pl.String, "ts": UTC_MICROS, **numbers, **texts}, orient="row")


SUBSCRIPTION = frozenset({354, 10089, 10090, 10167, 10168, 10186, 10187, 10189, 10197})
PACE = 15.0
"""Seconds after which an identical request no longer breaks IB's pacing rules."""


def refusal(code: int, text: str, symbol: str) -> ProviderError:
    """The error for an error message of IB's, by code; 162 stands for several, told apart by their text."""
    said = f"{symbol}: Interactive Brokers answered {code}: {text.rstrip('.')}."
    words = text.lower()
    if code in (100, 420) or "pacing" in words:
        return RateLimitedError(f"{said} Ask less often: about 60 historical requests in 10 minutes.", PACE)
    if code in SUBSCRIPTION or "permission" in words or "subscription" in words:
        return AccessDeniedError(f"{said} Subscribe to this market data in IB's Client Portal (User Settings).")
    if code == 203:
        return AccessDeniedError(f"{said} The account may not trade it; ask for the permission in IB's Client Portal.")
    if code == 162 and "no data" in words:
        return NoDataError(f"{said} Choose other dates.")
    if code == 200:
        return unknown(symbol, text.rstrip("."))
    if code == 162:
        return BadAnswerError(f"{said} Try later.")
    return ProviderError(said)
