"""What the exchange is told, as the ledger holds it in JSON: written once, and told again to restore the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import date, datetime
from typing import Any

from resources.brokers.base import Fill
from resources.brokers.paper.feed import bar_of
from resources.brokers.rows import order_of
from resources.exchange import Exchange, Listing


def obey(exchange: Exchange, kind: str, content: dict[str, Any]) -> list[Fill]:
    """Make one call of the exchange; returns what it executed. Listings (`list`) are known before the first call."""
    done: Sequence[Fill] = []
    if kind == "session":
        ends = datetime.fromisoformat(content["ends"])
        bars = {symbol: bar_of(numbers, ends) for symbol, numbers in content["bars"].items()}
        done = exchange.on_bar(datetime.fromisoformat(content["ts"]), bars)
    elif kind == "expire":
        done = exchange.expire(content["symbol"], datetime.fromisoformat(content["ts"]))
    elif kind == "submit":
        exchange.submit(order_of(content))
    elif kind == "cancel":
        exchange.cancel(content["id"])
    elif kind == "replace":
        changes = {name: value for name, value in content.items() if name != "id"}
        exchange.replace(content["id"], **changes)
    return [_plain(execution) for execution in done]


def listing_content(listing: Listing) -> dict[str, Any]:
    """A listing as JSON can hold it; `listing_of` reads it back."""
    expires = listing.expires
    return {**asdict(listing), "expires": None if expires is None else expires.isoformat()}


def listing_of(content: dict[str, Any]) -> Listing:
    """The listing in what `listing_content` made."""
    expires = content["expires"]
    return Listing(**{**content, "expires": None if expires is None else date.fromisoformat(expires)})


def _plain(execution: Fill) -> Fill:
    """An execution as the broker protocol knows it, without the exchange's breakdown of costs."""
    return Fill(**{field.name: getattr(execution, field.name) for field in fields(Fill)})
