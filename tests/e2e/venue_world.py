"""An installation whose provider is a venue on loopback, as a program: `python -m tests.e2e.venue_world CASE FOLDER`.

A process of its own, because the configuration is read once, at import. The provider is made by the configuration, as
a user's is; only the address that its client calls is another. It launches the runs that a user would, and holds what
the lake has afterwards against the market that the venue is a front of. It ends with 0 where all is as it should be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from resources.calendars import sessions
from resources.market_data.pacing import TokenBucket
from tests.venues.market import (
    Action,
    Fault,
    Listing,
    Market,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.server import Request

FIRST, LAST = date(2024, 3, 4), date(2024, 3, 13)  # New York's clock moves on Sunday the 10th
HELD = "held"
"""As the third argument: the venue does not answer the second request for bars, until the process is killed."""

NOW = instant(2024, 3, 14, 23)
MONTHS = ("2024-02", "2024-03")
DAILY = ("open", "high", "low", "close", "volume")
STEPS = {"1h": timedelta(hours=1), "1m": timedelta(minutes=1)}


@dataclass
class Case:
    """A universe at a venue. `ticks`: of which symbols quotes or trades are fetched, too. `faults`: on the way."""

    provider: dict[str, Any]
    calendar: str
    listings: list[Listing]
    timeframe: str = "1d"
    price: float = 100.0
    ticks: tuple[str, ...] = ()
    actions: dict[str, Action] = field(default_factory=dict)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    first: date = FIRST

    def market(self) -> Market:
        market = Market(VenueClock(NOW))
        market.add(*self.listings)
        opens = sessions(self.calendar, self.first, LAST).select("open", "close").rows()
        for seed, listing in enumerate(self.listings):
            starts = [opening for opening, _ in opens]
            if self.timeframe != "1d":
                step = STEPS[self.timeframe]
                starts = [at for opening, close in opens for at in every(opening, step, (close - opening) // step)]
            tick, lot = listing.tick, listing.lot
            bars = seeded_bars(seed, starts, price=self.price, tick=tick, lot=lot)
            market.set_bars(listing.symbol, self.timeframe, bars)
            if self.provider["name"] == "binance":  # which hours had trades is seen from candles
                hours = every(opens[0][0], STEPS["1h"], 24)
                market.set_bars(listing.symbol, "1h", seeded_bars(seed, hours, price=self.price, tick=tick, lot=lot))
            stamps = every(opens[0][0], timedelta(minutes=7), 50)
            market.set_quotes(listing.symbol, seeded_quotes(seed, stamps, price=self.price, tick=tick, lot=100 * lot))
            market.set_trades(listing.symbol, seeded_trades(seed, stamps, price=self.price, tick=tick, lot=lot))
        for symbol, action in self.actions.items():
            market.set_actions(symbol, action)
        for match, fault in self.faults:
            market.faults.add(match, fault)
        return market


def future(symbol: str, **terms: Any) -> Listing:
    return Listing(symbol, "future", **terms)


CASES = {
    "alpaca shares": Case(
        {"name": "alpaca", "requests_per_minute": 1e6},
        "XNYS",
        [Listing("AAPL"), Listing("BRK.B")],
        ticks=("quotes", "trades"),
        actions={"AAPL": Action(date(2024, 3, 8), "dividend", 0.24)},
        faults=[("GET /v2/stocks/bars", Fault("status", status=429, retry_after=0.01)), ("stocks", Fault("truncated"))],
    ),
    "alpaca shares by the minute": Case(
        {"name": "alpaca", "feed": "iex", "requests_per_minute": 1e6}, "XNYS", [Listing("AAPL")], timeframe="1m"
    ),
    "alpaca shares over two months": Case(
        {"name": "alpaca", "requests_per_minute": 1e6},
        *("XNYS", [Listing("AAPL"), Listing("MSFT")]),
        timeframe="1h",
        first=date(2024, 2, 26),
    ),
    "alpaca crypto": Case(
        {"name": "alpaca", "requests_per_minute": 1e6},
        "24/7",
        [Listing("BTC/USD", "crypto", tick=0.5, lot=1e-6, minimum_quantity=2e-5)],
        timeframe="1h",
        price=60_000.0,
        ticks=("quotes", "trades"),
    ),
    "binance spot and perpetual": Case(
        {"name": "binance"},
        "24/7",
        [
            Listing("BTCUSDT", "crypto", currency="USDT", underlying="BTC", lot=1e-5, minimum_notional=5.0),
            future("BTCUSDT.P", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, perpetual=True),
        ],
        price=60_000.0,
        ticks=("trades",),
        faults=[("klines", Fault("status", status=418, retry_after=0.01)), ("klines", Fault("html"))],
    ),
    "yahoo shares": Case(
        {"name": "yahoo"},
        "XNYS",
        [Listing("AAPL"), Listing("MSFT")],
        actions={"AAPL": Action(date(2024, 3, 8), "dividend", 0.24)},
        faults=[("GET /v8/finance/chart", Fault("status", status=429)), ("GET /v8/finance/chart", Fault("html"))],
    ),
    "yahoo crypto": Case(
        {"name": "yahoo"}, "24/7", [Listing("BTC-USD", "crypto", venue="CCC", tick=0.5)], price=60_000.0
    ),
    "ib shares and options": Case(
        {"name": "ib"},
        "XNYS",
        [
            Listing("AAPL"),
            Listing(
                "AAPL240315C00170000",
                "option",
                venue="CBOE",
                multiplier=100.0,
                expiry=date(2024, 3, 15),
                strike=170.0,
                right="call",
                underlying="AAPL",
            ),
        ],
    ),
    "ib futures": Case(
        {"name": "ib"},
        "CMES",
        [future("ES.202403", venue="CME", tick=0.25, multiplier=50.0, expiry=date(2024, 3, 15), underlying="ES")],
        price=5100.0,
    ),
    "ib forex": Case(
        {"name": "ib"},
        "FX",
        [Listing("EUR.USD", "forex", venue="IDEALPRO", tick=0.00005, lot=0.01)],
        timeframe="1h",
        price=1.09,
    ),
}


REQUESTS: list[list[Request]] = []
"""Those of the venue that is at work."""


@contextmanager
def venue(case: Case, market: Market) -> Iterator[dict[str, Any]]:
    """The venue at work, and what the configuration must say besides to reach it."""
    import resources.market_data as providers

    def sent_to(name: str, **address: Any) -> None:
        setattr(providers, name, partial(getattr(providers, name), **address))

    if case.provider["name"] == "alpaca":
        from tests.venues.alpaca import KEY, SECRET, AlpacaVenue

        os.environ.update(ALPACA_API_KEY=KEY, ALPACA_SECRET_KEY=SECRET)
        with AlpacaVenue(market) as front:
            REQUESTS.append(front.requests)
            sent_to("Alpaca", data_url=front.address, trading_url=front.address, clock=market.clock.now)
            yield {}
    elif case.provider["name"] == "binance":
        from tests.venues.binance import BinanceVenue

        with BinanceVenue(market) as front:
            sent_to("Binance", client=front.client())
            yield {}
    elif case.provider["name"] == "yahoo":
        from tests.venues.yahoo import YahooVenue

        with YahooVenue(market) as front:
            free = TokenBucket(1e6, 1e6)
            sent_to("Yahoo", session=front.session(), bucket=free, clock=market.clock.now, sleep=lambda _: None)
            yield {}
    else:
        from tests.venues.ib import IBGateway

        with IBGateway(market) as gateway:
            sent_to("InteractiveBrokers", clock=market.clock.now, bucket=TokenBucket(1e6, 1e6))
            yield {"port": gateway.port}


def configure(case: Case, folder: Path, **more: Any) -> None:
    """Write the configuration as a user would, and name it in the environment."""
    config = {
        "name": "venue",
        "provider": {**case.provider, **more},
        "universe": {"symbols": [listing.symbol for listing in case.listings]},
        "dates": {"start": case.first, "end": LAST},
        "calendar": case.calendar,
        "timeframe": case.timeframe,
        "grain": "month",
        "model": {"start": date(2024, 3, 8)},
        "strategies": [{"name": "moving_average_cross", "parameters": {"fast": 10, "slow": 50}}],
        "backtest": {"start": case.first},
        "live": {"strategy": "moving_average_cross"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "venue.yaml").write_text(yaml.safe_dump(config))
    os.environ.update(QUANT_CONFIG=str(folder / "venue.yaml"), QUANT_HOME=str(folder / "home"))


def in_session(ts: datetime, calendar: str) -> bool:
    day = sessions(calendar, ts.date(), ts.date())
    return day.height > 0 and day["open"][0] <= ts <= day["close"][0]


def check(case: Case, market: Market) -> None:
    """Run the history tier and the ticks, and hold the lake against the market."""
    from quant_assets import launch
    from quant_assets.definitions import LAKE

    symbols = [listing.symbol for listing in case.listings]
    launch.partition("market_data/instruments")
    launch.history("2024-03", "2024-03", symbols)
    for listing in case.listings:
        row = LAKE.read(("market_data", "instruments")).row(by_predicate=pl.col("symbol") == listing.symbol, named=True)
        for term in ("asset_class", "multiplier", "expiry", "strike", "right", "perpetual"):
            told = getattr(listing, term)
            assert row[term] == told or (row[term] is None and not told), (listing.symbol, term, row[term], told)
        place = {"symbol": listing.symbol, "date": "2024-03"}
        expected = [
            (bar.open, bar.high, bar.low, bar.close, 0.0 if listing.asset_class == "forex" else bar.volume)
            for bar in market.bars[listing.symbol, case.timeframe]
        ]
        raw = LAKE.read(("market_data", "bars"), place)
        assert raw.select(DAILY).rows() == expected, f"{listing.symbol}: bars differ from the venue's"
        assert raw["provider"].unique().to_list() == [case.provider["name"]]
        cleaned = LAKE.read(("cleaned", "bars"), place)
        assert cleaned.select(DAILY).rows() == expected, f"{listing.symbol}: cleaned bars differ"
        days = sessions(case.calendar, case.first, LAST)["session"].to_list()
        assert cleaned["session"].unique().sort().to_list() == days
        action = case.actions.get(listing.symbol)
        paid = cleaned.filter(pl.col("dividend") > 0).select("session", "dividend").rows()
        assert paid == ([(action.ex_date, action.value)] if action else []), paid
        for kind in case.ticks:
            launch.history("2024-03", "2024-03", listing.symbol, assets=f"market_data/{kind}")
            ticks = LAKE.read(("market_data", kind), place)
            assert ticks["ts"].to_list() == [tick.ts for tick in getattr(market, kind)[listing.symbol]], kind
            column = "bid" if kind == "quotes" else "price"
            assert ticks[column].to_list() == [getattr(tick, column) for tick in getattr(market, kind)[listing.symbol]]
        if "trades" in case.ticks:
            launch.history("2024-03", "2024-03", listing.symbol, assets="cleaned/tick_bars")
            made = LAKE.read(("cleaned", "tick_bars"), place)
            within = [trade for trade in market.trades[listing.symbol] if in_session(trade.ts, case.calendar)]
            assert abs(made["volume"].sum() - sum(trade.size for trade in within)) < 1e-9
            assert (made["open"][0], made["close"][-1]) == (within[0].price, within[-1].price)
    assert len(market.faults.fired) == len(case.faults), market.faults.fired
    kept = list((Path(os.environ["QUANT_HOME"]) / "downloads").glob("*"))
    assert not kept, "downloads are gone once they are written"


def resumed(case: Case, market: Market) -> None:
    """Run the history tier after a run that was killed: what that one had is not asked for again, and all is there."""
    from quant_assets import launch
    from quant_assets.definitions import LAKE

    symbols = [listing.symbol for listing in case.listings]
    launch.history("2024-02", "2024-03", symbols, assets="market_data/bars")
    asked = [request.query["start"] for request in REQUESTS[-1] if request.path.endswith("/bars")]
    assert asked
    assert min(asked) >= "2024-03-01", asked
    for symbol in symbols:
        held = pl.concat(LAKE.read(("market_data", "bars"), {"symbol": symbol, "date": month}) for month in MONTHS)
        assert held.select(DAILY).rows() == [tuple(bar[1:]) for bar in market.bars[symbol, case.timeframe]]


def main(name: str, folder: Path, how: str = "") -> None:
    case = CASES[name]
    market = case.market()
    if how == HELD:
        market.faults.add("GET /v2/stocks/bars", Fault("slow", seconds=600.0), skip=1)
    with venue(case, market) as address:
        configure(case, folder, **address)
        (resumed if how else check)(case, market)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
