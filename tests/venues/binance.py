"""Binance's REST on loopback, a front of the market: spot under /api/v3, USD-margined futures under /fapi/v1.

The market's symbols are ours: BTCUSDT a spot pair, BTCUSDT.P its perpetual, BTCUSDT.240628 a dated future; a
listing's `underlying` is the base asset and its `currency` the quote asset. Every trade is its own aggregate. As
Binance does, the front counts weights by minute and refuses what is over the limit; it shows a candle that is
still being built; it takes a key's header and never needs one but for historical trades.

    with BinanceVenue(market) as venue:
        Binance(client=venue.client())
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from resources.market_data.timeframes import INTRADAY
from tests.venues.market import Bar, Fault, Listing, Market, Quote, Trade
from tests.venues.server import Answer, HttpVenue, Request, as_json

SPOT, FUTURES = "/api/v3/", "/fapi/v1/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {**INTRADAY, "1d": timedelta(days=1)}
NEVER = 4133404800000  # the day of delivery that Binance gives perpetuals
CODES = {  # what a `status` fault says, by its status
    418: (-1003, "Way too much request weight used; IP banned."),
    429: (-1003, "Too much request weight used."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
}


class Funding(NamedTuple):
    """A funding payment; Binance does not tell the mark price of old ones (None)."""

    ts: datetime
    rate: float
    mark_price: float | None


class RefusedError(Exception):
    """The venue's own refusal of a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = as_json({"code": code, "msg": message}, 400)


class BinanceVenue(HttpVenue):
    """Both markets, a context manager.

    `limits`: weights a minute of spot and futures. `onboard`: since when futures are listed, by our symbol.
    """

    def __init__(
        self,
        market: Market,
        *,
        funding: dict[str, list[Funding]] | None = None,
        onboard: dict[str, date] | None = None,
        limits: tuple[int, int] = (6000, 2400),
    ) -> None:
        super().__init__(market)
        self.funding = funding or {}
        self.onboard = onboard or {}
        self.limits = dict(zip((SPOT, FUTURES), limits, strict=True))
        self.used: Counter[tuple[str, datetime]] = Counter()  # weights by market and minute
        self._rendered: dict[tuple[str, str], tuple[list[int], list[str]]] = {}

    def client(self) -> type[Any]:
        """python-binance's client, sent here by its class attributes; any other of its addresses is refused."""
        from binance.client import Client

        addresses = {name: f"{self.address}/refused" for name in vars(Client.__mro__[1]) if name.endswith("_URL")}
        here = {"API_URL": f"{self.address}/api", "FUTURES_URL": f"{self.address}/fapi"}
        return type("LoopbackClient", (Client,), addresses | here)

    def fault_answer(self, fault: Fault) -> Answer:
        code, message = CODES.get(fault.status, (-1000, "An unknown error occurred while processing the request."))
        return Answer(fault.status, (fault.body or json.dumps({"code": code, "msg": message})).encode())

    def answer(self, request: Request) -> Answer:
        for prefix in (SPOT, FUTURES):
            if request.path.startswith(prefix):
                return self._weighed(prefix, request)
        return Answer(404, b"<html><body>404 Not Found</body></html>")

    def _weighed(self, prefix: str, request: Request) -> Answer:
        name = request.path.removeprefix(prefix)
        handlers: dict[str, tuple[Callable[[str, Request], Any], Callable[[str, int], int]]] = {
            "ping": (lambda *_: {}, lambda *_: 1),
            "time": (lambda *_: {"serverTime": _millis(self.market.clock.now())}, lambda *_: 1),
            "exchangeInfo": (self._exchange_info, lambda at, _: 20 if at == SPOT else 1),
            "klines": (self._klines, lambda at, limit: 2 if at == SPOT else _kline_weight(limit)),
            "aggTrades": (self._agg_trades, lambda at, _: 4 if at == SPOT else 20),
            "historicalTrades": (self._historical_trades, lambda at, _: 25 if at == SPOT else 20),
            "ticker/bookTicker": (self._book_ticker, lambda *_: 2),
            "depth": (self._depth, lambda *_: 5),
            "fundingRate": (self._funding_rate, lambda *_: 0),  # a limit of its own, which is not modelled
        }
        if name not in handlers or (name == "fundingRate" and prefix == SPOT):
            return Answer(404, b"<html><body>404 Not Found</body></html>")
        handler, weight = handlers[name]
        now = self.market.clock.now()
        key = prefix, now.replace(second=0, microsecond=0)
        self.used[key] += weight(prefix, int(request.query.get("limit", 500)))
        used = {"X-MBX-USED-WEIGHT": str(self.used[key]), "X-MBX-USED-WEIGHT-1M": str(self.used[key])}
        if self.used[key] > self.limits[prefix]:
            wait = {"Retry-After": str(60 - now.second)}
            return as_json({"code": -1003, "msg": "Too much request weight used."}, 429, **used, **wait)
        try:
            content = handler(prefix, request)
        except RefusedError as error:
            return error.answer
        if isinstance(content, str):
            return Answer(200, content.encode(), {"Content-Type": "application/json", **used})
        return as_json(content, 200, **used)

    def _listing(self, prefix: str, request: Request) -> Listing:
        wire = request.query.get("symbol")
        if not wire:
            raise RefusedError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        for listing in self._listed(prefix):
            if _wire(listing) == wire:
                return listing
        raise RefusedError(-1121, "Invalid symbol.")

    def _listed(self, prefix: str) -> list[Listing]:
        return [one for one in self.market.listings.values() if ("." in one.symbol) == (prefix == FUTURES)]

    def _exchange_info(self, prefix: str, _: Request) -> dict[str, Any]:
        render = _spot_info if prefix == SPOT else self._future_info
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return {
            "timezone": "UTC",
            "serverTime": _millis(self.market.clock.now()),
            "rateLimits": [limit | {"limit": self.limits[prefix]}],
            "exchangeFilters": [],
            "symbols": [render(listing) for listing in self._listed(prefix)],
        }

    def _future_info(self, listing: Listing) -> dict[str, Any]:
        notional = {"filterType": "MIN_NOTIONAL", "notional": _text(listing.minimum_notional or 0.0)}
        onboard = self.onboard.get(listing.symbol, date(2019, 9, 8))
        return {
            "symbol": _wire(listing),
            "pair": _wire(listing).partition("_")[0],
            "contractType": "PERPETUAL" if listing.perpetual else "CURRENT_QUARTER",
            "deliveryDate": NEVER
            if listing.expiry is None
            else _millis(_midnight(listing.expiry) + timedelta(hours=8)),
            "onboardDate": _millis(_midnight(onboard)),
            "status": "TRADING",
            "baseAsset": listing.underlying,
            "quoteAsset": listing.currency,
            "marginAsset": listing.currency,
            "filters": [*_filters(listing), notional],
        }

    def _klines(self, prefix: str, request: Request) -> str:
        """Rows of the candles that began by now: the last may still be being built."""
        listing = self._listing(prefix, request)
        interval = request.query.get("interval", "")
        if interval not in LENGTHS:
            raise RefusedError(-1120, "Invalid interval.")
        starts, rows = self._candles(listing.symbol, interval)
        first = int(request.query.get("startTime", 0))
        last = min(int(request.query.get("endTime", NEVER)), _millis(self.market.clock.now()))
        most = min(int(request.query.get("limit", 500)), 1000 if prefix == SPOT else 1500)
        begin, end = bisect_left(starts, first), bisect_left(starts, last + 1)
        if "startTime" not in request.query:
            begin = max(begin, end - most)
        return f"[{','.join(rows[begin : min(end, begin + most)])}]"

    def _candles(self, symbol: str, interval: str) -> tuple[list[int], list[str]]:
        key = symbol, interval
        bars = self.market.bars.get(key, [])
        if key not in self._rendered or len(self._rendered[key][0]) != len(bars):
            stamps = [_millis(trade.ts) for trade in self.market.trades.get(symbol, [])]
            length = LENGTHS[interval] // timedelta(milliseconds=1)
            rows = [_kline(bar, length, stamps) for bar in bars]
            self._rendered[key] = [_millis(bar.ts) for bar in bars], rows
        return self._rendered[key]

    def _agg_trades(self, prefix: str, request: Request) -> list[dict[str, Any]]:
        trades, query = self._traded(prefix, request), request.query
        if "fromId" in query and ("startTime" in query or "endTime" in query):
            raise RefusedError(-1128, "Combination of optional parameters invalid.")
        if "startTime" in query and "endTime" in query:
            first, last = int(query["startTime"]), int(query["endTime"])
            if last - first > 3_600_000:
                raise RefusedError(-1127, "More than 1 hours between startTime and endTime.")
            trades = [trade for trade in trades if first <= _millis(trade.ts) <= last]
        most = min(int(query.get("limit", 500)), 1000)
        found = _from_id(trades, query) if "startTime" not in query else trades
        return [
            {
                "a": one.trade_id, "p": _text(one.price), "q": _text(one.size), "f": one.trade_id, "l": one.trade_id,
                "T": _millis(one.ts), "m": one.side == "sell", "M": True,
            }
            for one in found[:most]
        ]  # fmt: skip

    def _historical_trades(self, prefix: str, request: Request) -> list[dict[str, Any]]:
        if "x-mbx-apikey" not in request.headers:
            raise RefusedError(-2014, "API-key format invalid.")
        found = _from_id(self._traded(prefix, request), request.query)
        return [
            {
                "id": one.trade_id, "price": _text(one.price), "qty": _text(one.size), "time": _millis(one.ts),
                "quoteQty": _text(one.price * one.size), "isBuyerMaker": one.side == "sell", "isBestMatch": True,
            }
            for one in found[: min(int(request.query.get("limit", 500)), 1000)]
        ]  # fmt: skip

    def _traded(self, prefix: str, request: Request) -> list[Trade]:
        now = self.market.clock.now()
        trades = self.market.trades.get(self._listing(prefix, request).symbol, [])
        return [trade for trade in trades if trade.ts <= now]

    def _standing(self, prefix: str, request: Request) -> tuple[Listing, Quote]:
        listing, now = self._listing(prefix, request), self.market.clock.now()
        quotes = [quote for quote in self.market.quotes.get(listing.symbol, []) if quote.ts <= now]
        return listing, quotes[-1] if quotes else Quote(now, 0.0, 0.0, 0.0, 0.0)

    def _book_ticker(self, prefix: str, request: Request) -> dict[str, Any]:
        listing, quote = self._standing(prefix, request)
        return {
            "symbol": _wire(listing), "bidPrice": _text(quote.bid), "bidQty": _text(quote.bid_size),
            "askPrice": _text(quote.ask), "askQty": _text(quote.ask_size),
        }  # fmt: skip

    def _depth(self, prefix: str, request: Request) -> dict[str, Any]:
        _, quote = self._standing(prefix, request)
        bids, asks = [[_text(quote.bid), _text(quote.bid_size)]], [[_text(quote.ask), _text(quote.ask_size)]]
        return {"lastUpdateId": _millis(quote.ts), "bids": bids, "asks": asks}

    def _funding_rate(self, prefix: str, request: Request) -> list[dict[str, Any]]:
        listing = self._listing(prefix, request)
        now = _millis(self.market.clock.now())
        first, last = int(request.query.get("startTime", 0)), min(now, int(request.query.get("endTime", now)))
        paid = [one for one in self.funding.get(listing.symbol, []) if first <= _millis(one.ts) <= last]
        return [
            {
                "symbol": _wire(listing), "fundingTime": _millis(one.ts), "fundingRate": _text(one.rate),
                "markPrice": "" if one.mark_price is None else _text(one.mark_price),
            }
            for one in paid[: min(int(request.query.get("limit", 100)), 1000)]
        ]  # fmt: skip


def _spot_info(listing: Listing) -> dict[str, Any]:
    notional = {
        "filterType": "NOTIONAL",
        "minNotional": _text(listing.minimum_notional or 0.0),
        "applyMinToMarket": True,
    }
    return {
        "symbol": listing.symbol,
        "status": "TRADING" if listing.active else "BREAK",
        "baseAsset": listing.underlying,
        "quoteAsset": listing.currency,
        "filters": [*_filters(listing), notional],
    }


def _filters(listing: Listing) -> list[dict[str, Any]]:
    return [
        {"filterType": "PRICE_FILTER", "minPrice": _text(listing.tick), "tickSize": _text(listing.tick)},
        {"filterType": "LOT_SIZE", "minQty": _text(listing.lot), "stepSize": _text(listing.lot)},
    ]


def _kline(bar: Bar, length: int, trades: list[int]) -> str:
    """A candle as Binance writes it; its count of trades is the market's, or 1 where the market holds none."""
    start = _millis(bar.ts)
    count = bisect_left(trades, start + length) - bisect_left(trades, start) if trades else 1
    prices = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return json.dumps(
        [start, *map(_text, prices), start + length - 1, _text(bar.close * bar.volume), count, "0", "0", "0"]
    )


def _kline_weight(limit: int) -> int:
    return next(weight for most, weight in ((99, 1), (499, 2), (1000, 5), (1500, 10)) if limit <= most)


def _from_id(trades: list[Trade], query: dict[str, str]) -> list[Trade]:
    """From the trade asked for on; the latest ones where none is."""
    if "fromId" not in query:
        return trades[-int(query.get("limit", 500)) :]
    return trades[bisect_left([trade.trade_id for trade in trades], int(query["fromId"])) :]


def _wire(listing: Listing) -> str:
    pair, _, contract = listing.symbol.partition(".")
    return f"{pair}_{contract}" if contract not in ("", "P") else pair


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _millis(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _text(number: float) -> str:
    return f"{number:.8f}"
