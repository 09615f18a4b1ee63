"""A small market on which trading can be watched: a week's bars, signals, a paper venue and a clock that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from quant_assets.live.journal import Journal
from quant_assets.live.trader import Assignment, Hooks, Observation, Trader
from resources.brokers.paper import Feed, PaperBroker
from resources.config import BacktestSettings, LimitSettings, LiveSettings

FRIDAY, MONDAY, TUESDAY = date(2013, 2, 22), date(2013, 2, 25), date(2013, 2, 26)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SETTINGS = LiveSettings(
    strategy="test",
    cash=100_000,
    heartbeat_seconds=5,
    observe_seconds=60,
    limits=LimitSettings(single_name=0.5, order_notional=0.5),
)
WEIGHTS = {"AAA": 0.3, "BBB": 0.3, "CCC": 0.2, "DDD": 0.0}


def opens(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)


def bars(session: date, symbols: tuple[str, ...] = SYMBOLS, split: float = 1.0) -> pl.DataFrame:
    """Cleaned bars: prices step up by symbol and by day; CCC is thin, so that its orders never fill whole."""
    if session not in (FRIDAY, MONDAY, TUESDAY):
        return pl.DataFrame()
    day = session.day - FRIDAY.day
    rows = []
    for number, symbol in enumerate(symbols):
        price = (50.0 * (number + 1) + day) / split
        volume = 1_000.0 if symbol == "CCC" else 1e6
        row = {
            "symbol": symbol,
            "session": session,
            "ts": opens(session),
            "known_at": opens(session) + timedelta(hours=6.5),
        }
        row |= {"open": price, "high": price * 1.02, "low": price * 0.97, "close": price * 1.01, "volume": volume}
        rows.append(row | {"split": split if symbol == "AAA" else 1.0, "dividend": 0.0})
    times = {"ts": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema_overrides=times)


def signals(
    session: date, weights: dict[str, float], wish: str = "buy", exits: tuple[float, float] | None = None
) -> pl.DataFrame:
    """`exits` are the fractions at which every target takes its profit and stops its loss."""
    rows = [
        {"symbol": symbol, "session": session, "strategy": "test", "target_weight": weight, "order_intent": wish}
        for symbol, weight in weights.items()
    ]
    frame = pl.DataFrame(rows)
    if exits is None:
        return frame
    return frame.with_columns(take_profit_fraction=pl.lit(exits[0]), stop_loss_fraction=pl.lit(exits[1]))


@dataclass
class Stage:
    """Everything that outlives a worker is in `folder`; `worker` makes the rest anew."""

    folder: Path
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    wish: str = "buy"
    exits: tuple[float, float] | None = None
    settings: LiveSettings = SETTINGS
    replay_seconds: float = 12.0
    session: date = MONDAY
    at: float = 0.0
    beats: list[str] = field(default_factory=list)
    observed: list[Observation] = field(default_factory=list)
    stop: Callable[[], str | None] = lambda: None
    bars: Callable[[date], pl.DataFrame] = bars

    def now(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    def journal(self) -> Journal:
        journal = Journal(self.folder / "journal.sqlite", self.now)
        journal._connection.execute("PRAGMA synchronous=OFF")  # no power is cut on this stage, and it is quicker
        return journal

    def venue(self) -> PaperBroker:
        feed = Feed(self.bars, self.replay_seconds, lambda: self.at)
        broker = PaperBroker(self.folder / "paper.sqlite", feed, BacktestSettings(cash=100_000), replay=True)
        broker._ledger.connection.execute("PRAGMA synchronous=OFF")
        return broker

    def worker(self, attempt: int = 1, venue: PaperBroker | None = None, journal: Journal | None = None) -> Trader:
        """A trader of the session, as a fresh process would make it."""
        venue, journal = venue or self.venue(), journal or self.journal()
        journal.take_lease(self.session, attempt, f"run-{attempt}")
        venue.begin(self.session, opens(self.session))
        before = {MONDAY: FRIDAY, TUESDAY: MONDAY}[self.session]
        rows = bars(before)
        prices = dict(zip(rows["symbol"], rows["close"], strict=True))
        task = Assignment(self.session, signals(before, self.weights, self.wish, self.exits), prices, self.splits)
        hooks = Hooks(
            now=self.now,
            sleep=self.sleep,
            market_now=venue.now,
            ready=venue.ready,
            closed=venue.closed,
            stop_reason=self._stop_reason,
            heartbeat=self.beats.append,
            observe=self.observed.append,
        )
        return Trader(task, venue, journal, self.settings, hooks)

    def _stop_reason(self) -> str | None:
        return self.stop()  # looked up at each call: tests replace it while the worker runs

    def splits(self) -> dict[str, float]:
        frame = self.bars(self.session)
        return dict(frame.filter(pl.col("split") != 1.0).select("symbol", "split").iter_rows())
