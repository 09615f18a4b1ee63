"""The first requests of a provider's threads: its client's library is loaded by one of them, the others wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

YAHOO = """
from resources.market_data.pacing import TokenBucket
from resources.market_data.yahoo.client import Client
client = Client(1.0, None, TokenBucket(1e6, 1e6), print)
library, lock, ask = "yfinance", client._making, lambda: client._send("AAPL", "http://127.0.0.1:9/", {})
"""
ALPACA = """
import os
from datetime import UTC, datetime
os.environ |= {"ALPACA_API_KEY": "key", "ALPACA_SECRET_KEY": "secret"}
from resources.market_data.alpaca.client import Connection
client = Connection(
    paper=True, timeout_seconds=1.0, requests_per_minute=200.0, workers=1, page_rows=100,
    data_url="http://127.0.0.1:9", trading_url="http://127.0.0.1:9", clock=lambda: datetime.now(UTC), sleep=print,
)
library, lock, ask = "alpaca", client._making, lambda: client._ask("stocks", "/stocks/bars", {})
"""
BINANCE = """
from resources.errors import ProviderError
from resources.market_data.binance.client import TIME, Venue, buckets
def refuse(*_, **__):
    raise ProviderError("refused")
client = Venue(refuse, 1.0, buckets(), print)
library, lock, ask = "binance", client._connecting, lambda: client._send(TIME, "time", {})
"""
WATCHED = """
import sys
from resources.errors import ProviderError

found = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == library:
            found.append((name, lock.locked()))

sys.meta_path.insert(0, Watch())
try:
    ask()
except ProviderError:
    pass
assert library in dict(found), "nothing was loaded"
assert all(held for _, held in found), [name for name, held in found if not held]
"""


@pytest.mark.parametrize("client", [YAHOO, ALPACA, BINANCE], ids=["yahoo", "alpaca", "binance"])
def test_no_part_of_the_library_is_loaded_outside_of_the_clients_lock(client: str) -> None:
    """Else two threads load parts of it that need each other, and Python lets one of them have a half-made module."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", client + WATCHED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
