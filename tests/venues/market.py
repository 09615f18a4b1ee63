"""The market core that every loopback venue is a front of: what is listed, what happened, what time it is, what fails.

A front (tests/venues/alpaca.py and its like) speaks one venue's protocol and holds no data of its own. A test builds
one `Market`, gives it to a front, and asks the real client; what the front should have said is read from the same
market:

    market = Market(clock=VenueClock(instant(2024, 3, 8, 22)))
    market.add(Listing("AAPL", tick=0.01), Listing("BTC/USD", "crypto", tick=0.5, lot=1e-4, minimum_notional=1))
    market.set_bars("AAPL", "1m", seeded_bars(7, every(instant(2024, 3, 8, 14, 30), timedelta(minutes=1), 390)))
    market.set_actions("AAPL", Action(date(2024, 3, 8), "dividend", 0.24))
    market.faults.add("GET /v2/stocks/bars", Fault("status", status=429, retry_after=2.0), times=2)

Times are aware UTC datetimes; prices and sizes are floats that lie on the instrument's tick and lot. The plan of
faults is data: a rule names what it meets (a part of "METHOD /path", or of a stream's or message's name), how many
of those it lets pass first, and how many it hits. `tests/venues/server.py` carries out the faults of HTTP,
`tests/venues/stream.py` those of streams. Orders are to be kept here too, when venues take them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Bar(NamedTuple):
    """A bar that began at `ts`."""

    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class Quote(NamedTuple):
    ts: datetime
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Trade(NamedTuple):
    """A trade; `side` is the taker's (buy or sell)."""

    ts: datetime
    price: float
    size: float
    trade_id: int
    side: str = "buy"


class Action(NamedTuple):
    """A corporate action on its ex-date: split (new shares per old) or dividend (cash per share)."""

    ex_date: date
    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument and its exchange filters; the fields of our INSTRUMENT_SCHEMA, and what venues ask for besides."""

    symbol: str
    asset_class: str = "equity"
    venue: str = "NASDAQ"
    currency: str = "USD"
    tick: float = 0.01
    lot: float = 1.0
    minimum_quantity: float = 1.0
    minimum_notional: float | None = None
    multiplier: float = 1.0
    expiry: date | None = None
    strike: float | None = None
    right: str | None = None
    underlying: str | None = None
    perpetual: bool = False
    name: str = ""
    active: bool = True
    fractionable: bool = True


@dataclass
class VenueClock:
    """The venue's time, moved by the test alone. `skew_seconds` is how far the venue's clock is ahead of the truth."""

    truth: datetime
    skew_seconds: float = 0.0

    def now(self) -> datetime:
        """What the venue believes the time to be."""
        return self.truth + timedelta(seconds=self.skew_seconds)

    def advance(self, seconds: float) -> None:
        self.truth += timedelta(seconds=seconds)


HTTP_FAULTS = ("status", "applied", "truncated", "cut off", "html", "empty", "drop", "slow")
STREAM_FAULTS = ("dropped", "closed", "silent", "burst", "duplicated", "reordered")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong. Of HTTP:

    status: `status` and `body` in place of the answer, with Retry-After if `retry_after` is set (429, 418, 5xx);
    applied: the request is carried out, and then answered with `status` (504);
    truncated: half a body, announced as a whole one; cut off: half a body, then the connection ends;
    html: a page with status 200 (or `status`); empty: no body; drop: the connection ends without an answer;
    slow: the answer comes `seconds` late, or when the venue closes.

    Of a stream: dropped: the connection ends; closed: the venue closes it properly, with code `status` (or 1000);
    silent: it stays open and says nothing more; burst: `count` copies of each message at once; duplicated: each
    message twice; reordered: the messages of a batch backwards.
    """

    kind: str
    status: int = 0
    retry_after: float | None = None
    seconds: float = 10.0
    count: int = 1000
    body: str = ""

    def __post_init__(self) -> None:
        if self.kind not in HTTP_FAULTS + STREAM_FAULTS:
            raise ValueError(f"no fault {self.kind!r}; there are {HTTP_FAULTS + STREAM_FAULTS}")


@dataclass
class Rule:
    """`fault` for what contains `match`: not for the first `skip`, then `times` times (None: for ever)."""

    match: str
    fault: Fault
    times: int | None = 1
    skip: int = 0


@dataclass
class FaultPlan:
    """Rules in order; the first that applies is used up by what it meets. Safe for threads."""

    rules: list[Rule] = field(default_factory=list)
    fired: list[tuple[str, str]] = field(default_factory=list)  # what was met, and the kind of its fault
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, match: str, fault: Fault, times: int | None = 1, skip: int = 0) -> None:
        self.rules.append(Rule(match, fault, times, skip))

    def take(self, what: str) -> Fault | None:
        """The fault for `what` ("GET /v2/stocks/bars", "ws /stream trade_updates", "connect /stream"), or None."""
        with self._lock:
            for rule in self.rules:
                if rule.match not in what or rule.times == 0:
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                self.fired.append((what, rule.fault.kind))
                return rule.fault
        return None


def disturbed(messages: Sequence[T], fault: Fault | None) -> list[T]:
    """A batch of a stream's messages as the fault lets them through; for dropped, closed and silent none."""
    kind = fault.kind if fault else ""
    if fault is not None and kind == "burst":
        return [message for message in messages for _ in range(fault.count)]
    if kind == "duplicated":
        return [message for message in messages for _ in range(2)]
    if kind == "reordered":
        return list(reversed(messages))
    return [] if kind in ("dropped", "closed", "silent") else list(messages)


@dataclass
class Market:
    """What is listed and what happened. Rows are kept by symbol in order of time."""

    clock: VenueClock = field(default_factory=lambda: VenueClock(instant(2024, 3, 8, 22)))
    faults: FaultPlan = field(default_factory=FaultPlan)
    listings: dict[str, Listing] = field(default_factory=dict)
    bars: dict[tuple[str, str], list[Bar]] = field(default_factory=dict)  # by symbol and our timeframe
    quotes: dict[str, list[Quote]] = field(default_factory=dict)
    trades: dict[str, list[Trade]] = field(default_factory=dict)
    actions: dict[str, list[Action]] = field(default_factory=dict)

    def add(self, *listings: Listing) -> None:
        self.listings.update({listing.symbol: listing for listing in listings})

    def set_bars(self, symbol: str, timeframe: str, bars: Iterable[Bar]) -> None:
        self.bars[symbol, timeframe] = sorted(bars)

    def set_quotes(self, symbol: str, quotes: Iterable[Quote]) -> None:
        self.quotes[symbol] = sorted(quotes, key=lambda quote: quote.ts)

    def set_trades(self, symbol: str, trades: Iterable[Trade]) -> None:
        self.trades[symbol] = sorted(trades, key=lambda trade: (trade.ts, trade.trade_id))

    def set_actions(self, symbol: str, *actions: Action) -> None:
        self.actions[symbol] = sorted(actions)


def instant(*when: int) -> datetime:
    """An instant in UTC from year, month, day, hour and so on."""
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day and so on, as positions


def every(start: datetime, step: timedelta, count: int) -> list[datetime]:
    """`count` instants from `start` on."""
    return [start + step * at for at in range(count)]


def seeded_bars(
    seed: int, starts: Iterable[datetime], *, price: float = 100.0, tick: float = 0.01, lot: float = 1.0
) -> list[Bar]:
    """A random walk on the tick, one bar a start; the same for the same seed."""
    rng = random.Random(seed)
    digits, at = _decimals(tick), max(1, round(price / tick))
    bars = []
    for start in starts:
        path = [at := max(1, at + rng.randint(-5, 5)) for _ in range(4)]
        low, high = max(1, min(path) - rng.randint(0, 2)), max(path) + rng.randint(0, 2)
        prices = [round(ticks * tick, digits) for ticks in (path[0], high, low, path[3])]
        bars.append(Bar(start, *prices, round(rng.randint(1, 10_000) * lot, _decimals(lot))))
    return bars


def seeded_quotes(
    seed: int, stamps: Iterable[datetime], *, price: float = 100.0, tick: float = 0.01, lot: float = 1.0
) -> list[Quote]:
    """A bid that walks on the tick, with an ask one to three ticks above."""
    rng = random.Random(seed)
    digits, bid = _decimals(tick), max(1, round(price / tick))
    quotes = []
    for stamp in stamps:
        bid = max(1, bid + rng.randint(-1, 1))
        ask = bid + rng.randint(1, 3)
        sizes = [round(rng.randint(1, 900) * lot, _decimals(lot)) for _ in range(2)]
        quotes.append(Quote(stamp, round(bid * tick, digits), sizes[0], round(ask * tick, digits), sizes[1]))
    return quotes


def seeded_trades(
    seed: int, stamps: Iterable[datetime], *, price: float = 100.0, tick: float = 0.01, lot: float = 1.0
) -> list[Trade]:
    """Prices that walk on the tick; ids count from 1."""
    rng = random.Random(seed)
    digits, at = _decimals(tick), max(1, round(price / tick))
    trades = []
    for trade_id, stamp in enumerate(stamps, 1):
        at = max(1, at + rng.randint(-1, 1))
        size = round(rng.randint(1, 900) * lot, _decimals(lot))
        trades.append(Trade(stamp, round(at * tick, digits), size, trade_id, rng.choice(("buy", "sell"))))
    return trades


def _decimals(step: float) -> int:
    """Digits after the point that a multiple of the step needs."""
    digits = f"{step:.10f}".rstrip("0")
    return len(digits.partition(".")[2])
