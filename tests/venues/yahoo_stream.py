"""Yahoo's stream on loopback: protobuf in base64 in JSON, as yfinance's WebSocket and AsyncWebSocket expect it.

    with YahooStream(market) as stream:
        client = yfinance.WebSocket(url=stream.url, verbose=False)

A topic is a symbol. A message is told for each trade, with the bid and ask that stand then; of a symbol without trades
(forex) for each quote, at the middle. Prices are 32-bit floats, times milliseconds. Yahoo never answers a
subscription, takes it again and again (the client repeats it every 15 seconds), and says nothing of unknown symbols.

Names of batches for fault rules: "ws / AAPL"; of a client's coming: "connect /".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.venues.market import Listing, Quote, Trade
from tests.venues.stream import Event, Peer, StreamVenue
from tests.venues.yahoo import PLACES

QUOTE_TYPES = {"equity": 8, "index": 9, "option": 13, "forex": 14, "future": 18, "crypto": 41}
REGULAR_HOURS = 1


class YahooStream(StreamVenue):
    """The stream. `undecodable`: symbols whose messages are not the protobuf that they should be."""

    undecodable: frozenset[str] = frozenset()

    @property
    def url(self) -> str:
        return f"{self.address}/?version=2"

    def serves(self, path: str) -> bool:
        return path == "/"

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        said = json.loads(message)
        for symbol in said.get("subscribe", []):
            peer.topics[symbol] = None
        for symbol in said.get("unsubscribe", []):
            peer.topics.pop(symbol, None)

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        return [json.dumps({"type": "pricing", "message": self._encoded(event)}) for event in events]

    def _encoded(self, event: Event) -> str:
        from yfinance.pricing_pb2 import PricingData

        if event.topic in self.undecodable:
            return base64.b64encode(b"\xff" * 9).decode()
        return base64.b64encode(PricingData(**event.content).SerializeToString()).decode()

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        found: list[tuple[datetime, Event]] = []
        for symbol, listing in self.market.listings.items():
            rows: Sequence[Trade | Quote] = self.market.trades.get(symbol) or self.market.quotes.get(symbol, [])
            found += [(row.ts, Event(symbol, self.pricing(listing, row))) for row in rows if after < row.ts <= until]
        return found

    def pricing(self, listing: Listing, row: Trade | Quote) -> dict[str, Any]:
        """The fields of PricingData that Yahoo fills with a trade or a quote."""
        place, zone = PLACES[listing.venue]
        price = row.price if isinstance(row, Trade) else (row.bid + row.ask) / 2
        content: dict[str, Any] = {
            "id": listing.symbol, "price": price, "time": round(row.ts.timestamp() * 1000),
            "currency": listing.currency, "exchange": place, "quote_type": QUOTE_TYPES[listing.asset_class],
            "market_hours": REGULAR_HOURS, "price_hint": 2, "short_name": listing.name,
        }  # fmt: skip
        if isinstance(row, Trade):
            content |= {"last_size": round(row.size), "day_volume": self._day_volume(listing, row, ZoneInfo(zone))}
        standing = [quote for quote in self.market.quotes.get(listing.symbol, []) if quote.ts <= row.ts]
        if standing:
            quote = standing[-1]
            content |= {
                "bid": quote.bid, "bid_size": round(quote.bid_size), "ask": quote.ask, "ask_size": round(quote.ask_size)
            }  # fmt: skip
        before = [
            bar for bar in self.market.bars.get((listing.symbol, "1d"), []) if bar.ts < row.ts - timedelta(days=1)
        ]
        if before:
            last = before[-1].close
            content |= {
                "previous_close": last, "change": price - last, "change_percent": (price - last) / last * 100
            }  # fmt: skip
        return content

    def _day_volume(self, listing: Listing, row: Trade, zone: ZoneInfo) -> int:
        day = row.ts.astimezone(zone).date()
        sold = self.market.trades[listing.symbol]
        return round(sum(each.size for each in sold if each.ts <= row.ts and each.ts.astimezone(zone).date() == day))
