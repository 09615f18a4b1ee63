"""All faults of a stream at once, at random, against what a gateway promises of each event of the venue's log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import BadAnswerError
from resources.market_data import ticks
from resources.market_data.base import utc_now
from resources.streams import track
from resources.streams.base import Kind, Line, Lost, MarketEvent, Repaired, Sequencing, StreamEndedError, Trade
from resources.streams.clock import SECOND
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import EPOCH, instant
from tests.resources.streams.gateways import ManualClock, Reader

LINE = Line("A", "trade")
START = 10**15
LAG = SECOND  # REST knows what happened so long ago
QUEUE = 8
OVERTAKEN = 3  # an event comes behind at most so many later ones
ENDED = "the gateway has ended"

SCHEMA = {"symbol": pl.String, "ts": pl.Datetime("us", "UTC"), "price": pl.Float64, "size": pl.Float64,
          "side": pl.String, "trade_id": pl.String}  # fmt: skip


async def at_once(work: Callable[..., Any], *args: Any) -> Any:
    """What `asyncio.to_thread` does, without a thread."""
    return work(*args)


async def settled() -> None:
    for _ in range(25):
        await asyncio.sleep(0)


class Venue:
    """Source and provider of one line. `log`: all that happened, as REST knows it, with the time of its happening."""

    name = "venue"

    def __init__(self, clock: ManualClock, sequencing: Sequencing | None, skew: int) -> None:
        self.sequences: Mapping[Kind, Sequencing] = {"trade": sequencing} if sequencing else {}
        self.clock, self.sequencing, self.skew = clock, sequencing, skew
        self.log: list[tuple[int, Trade]] = []
        self.held: list[Trade] = []  # happened, and not told yet
        self.copies: list[Trade] = []  # told, and to be told again
        self.overtaken = 0  # how much had happened when the first of those held did
        self.refusing = 0
        self.up = True
        self.wire: asyncio.Queue[Sequence[MarketEvent] | None] = asyncio.Queue()

    def happen(self, wild: int = 0) -> Trade:
        """The next event; `wild`: seconds that its stamp is off."""
        self.clock.advance(0.2)
        now, count = self.clock.now(), len(self.log) + 1
        number = {None: 0, "consecutive": 70 + count, "rising": 70 + 3 * count}[self.sequencing]
        trade = Trade("A", now + self.skew + wild * SECOND, 1.0 + count, 1.0, "", str(number or f"id{count}"), number)
        self.log.append((now, trade))
        if self.overtaken and count - self.overtaken >= OVERTAKEN:
            self.flush()
        return trade

    def hold(self, trade: Trade) -> None:
        """It comes later, behind others."""
        self.overtaken = self.overtaken or len(self.log)
        self.held.insert(0, trade)

    def flush(self) -> None:
        self.wire.put_nowait([*self.held, *self.copies])
        self.held, self.copies, self.overtaken = [], [], 0

    def cut(self) -> None:
        """The connection is over, and what was on its way."""
        self.held, self.overtaken = [], 0

    async def connect(self, lines: Collection[Line]) -> None:
        self.wire = asyncio.Queue()
        if not self.up:
            raise StreamEndedError("it is down")

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None: ...

    async def receive(self) -> Sequence[MarketEvent]:
        told = await self.wire.get()
        if told is None:
            raise StreamEndedError("it broke")
        return told

    async def close(self) -> None: ...

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        if self.refusing:
            self.refusing -= 1
            raise BadAnswerError("not now")
        since, until = ((when - EPOCH) // timedelta(microseconds=1) for when in (start, end))
        rows = [("A", instant(one.ts), one.price, one.size, None, one.trade_id)
                for at, one in self.log if since <= one.ts < until and at + LAG <= self.clock.now()]  # fmt: skip
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        return ticks.trades(frame.lazy(), provider="venue", fetched_at=utc_now(), source="a test")


class Play:
    """A gateway on the venue; after a restart another, which goes on where the one before it was."""

    def __init__(self, sequencing: Sequencing | None, skew: int) -> None:
        self.clock = ManualClock(instant(START))
        self.venue = Venue(self.clock, sequencing, skew)
        self.told: list[list[Any]] = []  # by gateway
        self.since: list[int] = []  # from when on each answers for the line

    async def begin(self, since: int | None) -> None:
        patience = Patience(silence=1e9, connect=1e9, close=1e9, reconnect=0.0, repair_pauses=(2, 10))
        self.gateway = Gateway(self.venue, provider=self.venue, clock=self.clock, patience=patience, queue=QUEUE)  # type: ignore[arg-type]
        self.reader = Reader()
        await self.gateway.__aenter__()
        self.reading = asyncio.create_task(self.reader.read(self.gateway.events()))
        self.told.append(self.reader.events)
        await self.gateway.subscribe([LINE], since=since)
        await settled()

    async def end(self) -> None:
        await self.gateway.__aexit__(None)
        await self.reading

    async def step(self, step: str) -> None:
        venue = self.venue
        if step == "break":
            venue.cut()
            venue.up = False
            venue.wire.put_nowait(None)
            await settled()
            venue.happen()
            venue.happen()
            venue.up = True
        elif step == "restart":
            venue.cut()
            venue.copies = []
            await self.end()
            rows = [min(one.ts, one.received) for one in self.reader.of(Trade)]  # a stamp may be one of the future
            owed = [one.ts for one in self.reader.of(Repaired) if one.error == ENDED]
            venue.happen()
            await self.begin(min([*owed, max(rows)]) if rows else START)
            await self.step("told")  # the first event shows how far the venue's clock is ahead
        elif step == "refuse":
            venue.refusing += 1
        elif step == "wait":
            self.clock.advance(15)
        elif step == "flush":
            venue.flush()
        elif step == "burst":  # more than the queue holds
            venue.wire.put_nowait([venue.happen() for _ in range(QUEUE + 3)])
        else:
            trade = venue.happen(WILD.get(step, 0))
            if step in ("told", "twice", *WILD):
                venue.wire.put_nowait([trade])
            if step == "late":
                venue.hold(trade)
            if step == "twice":
                venue.copies.append(trade)
            if step in JUMPED:
                venue.wire.put_nowait([trade._replace(ts=trade.ts + JUMPED[step] * SECOND)])
        await settled()

    async def play(self, steps: Sequence[str], since: int | None) -> None:
        await self.begin(since)
        for step in ["told", "late", "told", "flush", *steps, "wait", "flush", "told", "told"]:
            await self.step(step)
        for _ in range(8):
            self.clock.advance(200)
            await settled()
        assert self.gateway.missing() == []
        await self.end()


WILD = {"wild by minutes": 5 * 60, "wild by a year": 365 * 86400}
JUMPED = {"jumped by an hour": 3600, "jumped by a year": 365 * 86400}  # of the stream alone
STEPS = [
    "told",
    "told",
    "told",
    "late",
    "twice",
    "flush",
    "burst",
    "break",
    "wait",
    "refuse",
    "restart",
    *WILD,
    *JUMPED,
]


def check(play: Play, first: int) -> None:
    """Each event of the log from `first` on was told once by a gateway, or lies in an interval that was given up."""
    everything = [one for _, one in play.venue.log]
    delivered: Counter[Any] = Counter()
    given_up: list[tuple[int, int]] = []
    for told in play.told:
        rows = [event for event in told if isinstance(event, Trade)]
        counts = Counter(row[1:7] for row in rows)
        assert max(counts.values(), default=1) == 1, [row for row in counts if counts[row] > 1]
        live = [row.sequence if play.venue.sequencing else row.ts for row in rows if not row.repaired]
        assert live == sorted(live)
        delivered += counts
        ends = [event for event in told if isinstance(event, Repaired)]
        for lost in (event for event in told if isinstance(event, Lost)):
            assert any(one.ts <= lost.ts and one.until >= lost.until for one in ends), lost
        given_up += [(one.ts, one.until) for one in ends if one.error]
    for event in everything:
        if event.ts >= first:
            assert delivered[event[1:7]] or any(since <= event.ts <= until for since, until in given_up), event


def played(
    sequencing: Sequencing | None, steps: Sequence[str], skew: int = 0, remembered: int = 1024, since: bool = False
) -> Play:
    async def scenario() -> Play:
        play = Play(sequencing, skew * SECOND)
        if since:
            for _ in range(3):
                play.venue.happen()
        await play.play(steps, START + skew * SECOND if since else None)
        return play

    with (
        patch("asyncio.to_thread", at_once),
        patch.object(track, "REMEMBERED", remembered),
        patch.object(track, "LATEST", 8 if remembered < 32 else 32),
    ):
        play = asyncio.run(scenario())
    check(play, START + skew * SECOND if since else play.venue.log[0][1].ts)
    return play


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([None, "consecutive", "rising"]),
    st.lists(st.sampled_from([*STEPS, "dropped"]), max_size=40),
    st.sampled_from([0, 45, -45, 300]),
    st.sampled_from([4, 1024]),
    st.booleans(),
)
def test_each_event_comes_once_or_is_told_as_lost(
    sequencing: Sequencing | None, steps: list[str], skew: int, remembered: int, since: bool
) -> None:
    if sequencing != "consecutive":  # only a number tells that one is missing
        steps = [step for step in steps if step != "dropped"]
    believed = [at for at, step in enumerate(steps) if step == "wild by minutes"]
    played(sequencing, [step for at, step in enumerate(steps) if at not in believed[3:]], skew, remembered, since)
