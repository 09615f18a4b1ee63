"""Alpaca on loopback: the REST services for market data, assets and option contracts, as alpaca-py speaks to them.

Stocks under /v2, crypto under /v1beta3, corporate actions under /v1, assets and contracts under /v2. As Alpaca does,
the venue counts `limit` across symbols, orders rows by symbol and then time, includes `end`, knows nothing of symbols
that it does not list but their absence, stamps stocks' daily bars with midnight in New York, sends quotes' sizes in
round lots of 100 before November 2025, and finds corporate actions by the day of processing (given by `processed`).
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.venues.market import Action, Listing, Market, instant
from tests.venues.server import Answer, HttpVenue, Request, as_json

KEY, SECRET = "PKLOOPBACKKEY0000001", "loopback/secret+0123456789abcdefghijklmn"
NEW_YORK = ZoneInfo("America/New_York")
SIZES_IN_SHARES = instant(2025, 11, 3, 5)
TIMEFRAMES = {"1Min": "1m", "5Min": "5m", "15Min": "15m", "30Min": "30m", "1Hour": "1h", "1Day": "1d"}
EXCHANGES = {"XNAS": "NASDAQ", "XNYS": "NYSE", "ARCX": "ARCA"}
GROUPS = {"forward_split": "forward_splits", "reverse_split": "reverse_splits", "cash_dividend": "cash_dividends",
          "stock_dividend": "stock_dividends"}  # fmt: skip

Row = tuple[datetime, str]  # when, and the row as JSON


class AlpacaVenue(HttpVenue):
    """Alpaca as a front of a market. `free_plan`: SIP data of the last 15 minutes are refused."""

    def __init__(self, market: Market, *, free_plan: bool = False) -> None:
        super().__init__(market)
        self.free_plan = free_plan
        self.processed: dict[tuple[str, Action], date] = {}  # where it is not the ex-date
        self._rows: dict[tuple[str, str, str], tuple[list[datetime], list[str]]] = {}
        self._sent: dict[tuple[str, str, str], tuple[list[datetime], list[str]]] = {}

    def send(self, kind: str, symbol: str, rows: list[dict[str, Any]], timeframe: str = "") -> None:
        """Rows exactly as given (in order of their "t"), in place of the market's: for what only Alpaca says."""
        stamps = [datetime.fromisoformat(row["t"]) for row in rows]
        self._sent[kind, symbol, timeframe] = (stamps, [json.dumps(row) for row in rows])

    def answer(self, request: Request) -> Answer:
        if (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key")) != (KEY, SECRET):
            return _refused(401, "unauthorized.")
        match request.path.strip("/").split("/"):
            case ["v2", "stocks", ("bars" | "quotes" | "trades") as kind]:
                return self._series(kind, request.query, crypto=False)
            case ["v1beta3", "crypto", "us", ("bars" | "quotes" | "trades") as kind]:
                return self._series(kind, request.query, crypto=True)
            case ["v1beta3", "crypto", "us", "latest", "trades"]:
                return self._latest(request.query)
            case ["v1", "corporate-actions"]:
                return self._actions(request.query)
            case ["v2", "clock"]:
                return as_json({"timestamp": self.market.clock.now().isoformat(), "is_open": True})
            case ["v2", "assets"]:
                return as_json([asset(listing) for listing in self._assets()])
            case ["v2", "assets", *symbol]:
                found = [asset(listing) for listing in self._assets() if listing.symbol == "/".join(symbol)]
                return (
                    as_json(found[0]) if found else _refused(404, f"asset not found for {'/'.join(symbol)}", 40410000)
                )
            case ["v2", "options", "contracts"]:
                return self._contracts(request.query)
        return _refused(404, f"endpoint not found: {request.path}")

    def _series(self, kind: str, query: dict[str, str], *, crypto: bool) -> Answer:
        symbols = sorted(set(query["symbols"].split(",")))
        bad = [symbol for symbol in symbols if ("/" in symbol) != crypto or not symbol.replace("/", "").strip(". ")]
        if bad:
            return _refused(400, f"invalid symbol: {bad[0]}")
        start, end = _when(query["start"]), _when(query["end"])
        recent = end > self.market.clock.now() - timedelta(minutes=15)
        if not crypto and self.free_plan and query.get("feed", "sip") == "sip" and recent:
            return _refused(403, "subscription does not permit querying recent SIP data")
        limit = int(query.get("limit", 1000))
        if not 1 <= limit <= 10_000:
            return _refused(400, "limit must be between 1 and 10000")
        symbol, skip = _untoken(query.get("page_token"))
        timeframe = TIMEFRAMES[query["timeframe"]] if kind == "bars" else ""
        pages: list[tuple[str, list[str]]] = []
        for name in symbols:
            if symbol is not None and name < symbol:
                continue
            stamps, rows = self._encoded(kind, name, timeframe)
            first = bisect_left(stamps, start) + (skip if name == symbol else 0)
            last = bisect_right(stamps, min(end, self.market.clock.now()))  # the future is not told
            taken = rows[first : min(last, first + limit)]
            if taken:
                pages.append((name, taken))
            limit -= len(taken)
            if first + len(taken) < last:
                return _page(kind, pages, _token(name, first + len(taken) - bisect_left(stamps, start)))
        return _page(kind, pages, None)

    def _encoded(self, kind: str, symbol: str, timeframe: str) -> tuple[list[datetime], list[str]]:
        """Rows as JSON, made once, and again when the market has more."""
        key = (kind, symbol, timeframe)
        if key in self._sent:
            return self._sent[key]
        told = {"bars": self.market.bars.get(key[1:]), "quotes": self.market.quotes.get(symbol)}
        rows: list[Any] = told.get(kind, self.market.trades.get(symbol)) or []
        if key not in self._rows or len(self._rows[key][0]) != len(rows):
            crypto = "/" in symbol
            if kind == "bars":
                held = [bar(row, daily=timeframe == "1d" and not crypto) for row in rows]
            else:
                held = [(quote if kind == "quotes" else trade)(row, crypto) for row in rows]
            self._rows[key] = ([when for when, _ in held], [row for _, row in held])
        return self._rows[key]

    def _latest(self, query: dict[str, str]) -> Answer:
        names = [name for name in query["symbols"].split(",") if self.market.trades.get(name)]
        return as_json({"trades": {name: json.loads(trade(self.market.trades[name][-1], True)[1]) for name in names}})

    def _actions(self, query: dict[str, str]) -> Answer:
        types = query["types"].split(",")
        found = []
        for symbol in query["symbols"].split(","):
            for action in self.market.actions.get(symbol, []):
                day = self.processed.get((symbol, action), action.ex_date)
                kind = _type(action)
                if kind in types and query["start"] <= day.isoformat() <= query["end"]:
                    found.append((day, kind, announced(symbol, action, day)))
        first, limit = int(query.get("page_token") or 0), int(query.get("limit", 100))
        found.sort(key=lambda item: (item[0], item[1], item[2]["id"]))
        groups: dict[str, list[Any]] = {}
        for _, kind, row in found[first : first + limit]:
            groups.setdefault(GROUPS[kind], []).append(row)
        token = str(first + limit) if first + limit < len(found) else None
        return as_json({"corporate_actions": groups, "next_page_token": token})

    def _assets(self) -> list[Listing]:
        return [each for each in self.market.listings.values() if each.asset_class in ("equity", "crypto")]

    def _contracts(self, query: dict[str, str]) -> Answer:
        now = self.market.clock.now().astimezone(NEW_YORK).date()
        until = query.get("expiration_date_lte", (now + timedelta(days=6 - now.weekday())).isoformat())
        found = [
            contract(listing)
            for listing in self.market.listings.values()
            if listing.asset_class == "option"
            and listing.underlying in query["underlying_symbols"].split(",")
            and listing.expiry is not None
            and query.get("expiration_date_gte", now.isoformat()) <= listing.expiry.isoformat() <= until
            and query.get("status", "active") == ("active" if listing.active else "inactive")
        ]
        first, limit = int(query.get("page_token") or 0), int(query.get("limit", 100))
        token = str(first + limit) if first + limit < len(found) else None
        return as_json({"option_contracts": found[first : first + limit], "next_page_token": token})


def bar(row: Any, *, daily: bool) -> Row:
    when = row.ts.astimezone(NEW_YORK).replace(hour=0, minute=0, second=0, microsecond=0) if daily else row.ts
    when = when.astimezone(row.ts.tzinfo)
    mean = (row.high + row.low) / 2
    numbers = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 10, "vw": mean}
    return when, json.dumps({"t": stamp(when)} | {name: _short(number) for name, number in numbers.items()})


def quote(row: Any, crypto: bool) -> Row:
    lots = 1.0 if crypto or row.ts >= SIZES_IN_SHARES else 100.0
    sent = {"t": stamp(row.ts), "bp": row.bid, "bs": row.bid_size / lots, "ap": row.ask, "as": row.ask_size / lots}
    return row.ts, json.dumps(sent if crypto else {**sent, "bx": "V", "ax": "V", "c": ["R"], "z": "C"})


def trade(row: Any, crypto: bool) -> Row:
    sent = {"t": stamp(row.ts), "p": row.price, "s": row.size, "i": row.trade_id}
    more = {"tks": {"buy": "B", "sell": "S"}[row.side]} if crypto else {"x": "V", "c": ["@"], "z": "C"}
    return row.ts, json.dumps(sent | more)


def announced(symbol: str, action: Action, processed: date) -> dict[str, Any]:
    """A corporate action as Alpaca sends it."""
    day = action.ex_date.isoformat()
    row: dict[str, Any] = {
        "id": f"{symbol}-{action.kind}-{day}", "symbol": symbol, "cusip": "000000000", "ex_date": day,
        "process_date": processed.isoformat(), "payable_date": processed.isoformat(),
    }  # fmt: skip
    if action.kind == "dividend":
        return row | {"rate": action.value, "special": False, "foreign": False}
    if action.kind == "stock dividend":
        return row | {"rate": action.value}
    forward = action.value > 1
    return row | {"new_rate": action.value if forward else 1, "old_rate": 1 if forward else round(1 / action.value)}


def asset(listing: Listing) -> dict[str, Any]:
    """A listing as an asset of the trading API."""
    crypto = listing.asset_class == "crypto"
    row: dict[str, Any] = {
        "id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "class": "crypto" if crypto else "us_equity",
        "exchange": "CRYPTO" if crypto else EXCHANGES.get(listing.venue, listing.venue), "symbol": listing.symbol,
        "name": listing.name or listing.symbol, "status": "active" if listing.active else "inactive",
        "tradable": listing.active, "marginable": not crypto, "shortable": not crypto, "easy_to_borrow": not crypto,
        "fractionable": listing.fractionable, "attributes": [],
    }  # fmt: skip
    if crypto:
        sizes = {"min_order_size": listing.minimum_quantity, "min_trade_increment": listing.lot}
        row |= {name: f"{number:.9f}" for name, number in (sizes | {"price_increment": listing.tick}).items()}
    return row


def contract(listing: Listing) -> dict[str, Any]:
    """A listing as an option contract of the trading API."""
    return {
        "id": listing.symbol, "symbol": listing.symbol, "name": listing.symbol,
        "status": "active" if listing.active else "inactive", "tradable": listing.active,
        "expiration_date": str(listing.expiry), "root_symbol": listing.underlying,
        "underlying_symbol": listing.underlying, "underlying_asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "type": listing.right, "style": "american", "strike_price": f"{listing.strike:g}",
        "size": f"{listing.multiplier:g}", "open_interest": None, "close_price": None,
    }  # fmt: skip


def stamp(when: datetime) -> str:
    """RFC 3339 as Alpaca writes it: without the fraction of a second where there is none."""
    whole = when.strftime("%Y-%m-%dT%H:%M:%S")
    return whole + (f".{when.microsecond:06d}".rstrip("0") if when.microsecond else "") + "Z"


def _type(action: Action) -> str:
    if action.kind != "split":
        return {"dividend": "cash_dividend", "stock dividend": "stock_dividend"}[action.kind]
    return "forward_split" if action.value > 1 else "reverse_split"


def _short(number: float) -> float | int:
    """Whole numbers go without a point."""
    return int(number) if number == int(number) else number


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text.replace(" ", "+"))


def _page(kind: str, pages: list[tuple[str, list[str]]], token: str | None) -> Answer:
    series = ",".join(f'"{symbol}":[{",".join(rows)}]' for symbol, rows in pages)
    body = f'{{"{kind}":{{{series}}},"next_page_token":{json.dumps(token)}}}'
    return Answer(200, body.encode(), {"Content-Type": "application/json; charset=UTF-8"})


def _token(symbol: str, skip: int) -> str:
    return base64.urlsafe_b64encode(f"{symbol}|{skip}".encode()).decode()


def _untoken(token: str | None) -> tuple[str | None, int]:
    if not token:
        return None, 0
    symbol, _, skip = base64.urlsafe_b64decode(token).decode().partition("|")
    return symbol, int(skip)


def _refused(status: int, message: str, code: int = 0) -> Answer:
    return as_json({"message": message} | ({"code": code} if code else {}), status)
