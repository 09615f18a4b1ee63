"""How a session stands that was followed, and what it told last: what the cache holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resources.streams.base import KIND_OF, Batch, Event, Line, Lost, MarketEvent, Quote, Repaired, Status, Trade
from resources.streams.carriers.progress import line_of
from resources.streams.clock import SECOND

BELIEVED = 5 * SECOND
"""A stamp is not later than its event came by more than the venue's clock is ahead, and this; else it is not true."""

LATELY = 60 * SECOND
"""By how much the venue's clock is ahead is told by the least of what came so long ago or later."""

Rows = dict[tuple[type[MarketEvent], str], Quote | Trade]


class Session(NamedTuple):
    """How a session stands that was followed. Times in UTC microseconds.

    by: which follower wrote it: when it began. updated: when it last heard anything. alive: it still follows.
    connected: the gateway to its venue. flowing: the carrier brings what is told, and not `alive` seconds late.
    detail: why not. lost: intervals that are told as lost and not repaired yet. offset: where a follower goes on.
    given_up: of each line the last interval that was given up, until something newer of the line is told.
    begun: all that the gateway received from then on was told to who followed. since: when the connection began.
    whole: of lines that were repaired since, up to when nothing is missing.
    """

    by: int
    updated: int
    alive: bool
    connected: bool
    flowing: bool
    detail: str
    lost: tuple[Lost, ...]
    offset: Mapping[int, int]
    given_up: tuple[Lost, ...] = ()
    begun: int = 0
    since: int = 0
    whole: Mapping[Line, int] = {}

    @classmethod
    def of(cls, by: int, alive: bool, state: Sequence[Any]) -> Session:
        """As `Told.state` has it. Raises ValueError where it is of another shape."""
        updated, connected, flowing, detail, lost, offset, given_up, begun, since, whole = state
        gaps, more = (tuple(Lost(*row) for row in rows) for rows in (lost, given_up))
        lines = {Line(symbol, kind): until for symbol, kind, until in whole}
        return cls(by, updated, alive, connected, flowing, detail, gaps, offset, more, begun, since, lines)

    def current(self, event: Quote | Trade) -> bool:
        """Whether nothing newer of its line can have been missed, as far as anybody knows; `event` is the newest held.

        That is of what the present connection told, or what was told before where its line was repaired since.
        """
        if not (self.alive and self.connected and self.flowing) or event.received < self.begun:
            return False
        line = Line(event.symbol, KIND_OF[type(event)])
        told_now = not event.repaired and event.received >= self.since
        if not told_now and self.whole.get(line, -1) < self.since:
            return False
        return not any(line_of(gap) == line and gap.until >= event.ts for gap in (*self.lost, *self.given_up))


class Told:
    """What was told: how the session stands, and of each symbol the newest; `rows`: those still to be written."""

    def __init__(self, by: int, after: Session | None, late: int) -> None:
        """late: so many microseconds after the gateway received it, what is told does not tell how things are."""
        self.by = by if after is None else max(by, after.by + 1)
        self.given_up = False
        self.newest: Rows = {}
        self.rows: Rows = {}
        self.writes = 0
        self._late, self._behind = late, after is not None and by - after.updated > late  # until something is heard
        self._least_before = self._least = 2**62  # until something came each stamp is believed
        self._least_since = 0
        self._first: int | None = None  # when the gateway received the first that this follower was told
        before = after or Session(by, by, False, False, True, "", (), {}, (), -1, -1)
        self._updated, self._offset, self._detail = before.updated, before.offset, before.detail
        self._connected, self._flowing = before.connected, True
        self._begun, self._since, self._whole = before.begun, before.since, dict(before.whole)
        self._lost: dict[Line, list[Lost]] = {}
        for gap in before.lost:
            self._stand(gap)
        self._given_up = {Line(gap.symbol, gap.kind): gap for gap in before.given_up}

    def add(self, batch: Batch, now: int) -> None:
        self._updated, self._offset = now, batch.offset
        heard = -1
        for event in batch.events:
            if isinstance(event, Quote | Trade):
                if not event.repaired:
                    heard = max(heard, event.received)
                    if not self._connected and event.received > self._since:  # not of the connection that broke
                        self._connect(event.received)
                    elif self._first is None:
                        self._begin(event.received)
                key = type(event), event.symbol
                held = self.newest.get(key)
                if held is None or event.ts >= held.ts or self.place(event) >= self.place(held):
                    self.newest[key] = self.rows[key] = event
                    if not event.repaired and (self._whole or self._given_up):
                        self._passed(event)
            elif isinstance(event, Lost | Repaired | Status):
                self._stand(event)
                if isinstance(event, Status) and not event.symbol and event.state in ("connected", "disconnected"):
                    heard = max(heard, event.ts)
        if heard >= 0:
            self._behind = now - heard > self._late
        self._compare(batch.events[-1] if batch.events else None)

    def place(self, event: Quote | Trade) -> int:
        """When it happened, as far as that can be known: not long after it came, whatever its stamp says."""
        latest = event.received + max(0, min(self._least_before, self._least))
        return event.ts if event.ts <= latest + BELIEVED or not event.received else latest

    def _compare(self, event: Event | None) -> None:
        """How far the venue's clock is ahead, as an event tells that has just come."""
        if not isinstance(event, Quote | Trade) or event.repaired or not event.received:
            return
        ahead = event.ts - event.received
        if event.received - self._least_since > LATELY:
            self._least_before, self._least, self._least_since = self._least, ahead, event.received
        self._least = min(self._least, ahead)

    def again(self, rows: Rows) -> None:
        """These are still to be written."""
        self.rows = {key: self.newest[key] for key in (*rows, *self.rows)}

    def lost_by_redis(self) -> None:
        """All that this follower was told is still to be written; what others wrote may be older than it was."""
        self.again(self.newest)
        if self._first is not None:
            self._begun = max(self._begun, self._first)

    def state(self) -> Sequence[Any]:
        flowing = self._flowing and not self._behind
        detail = "" if self._connected and flowing else self._detail
        if self._behind and self._connected and self._flowing:
            detail = f"what is told is more than {self._late / SECOND:g} s old"
        lost = [gap for gaps in self._lost.values() for gap in gaps]
        whole = [(*line, until) for line, until in self._whole.items()]
        return (
            self._updated, self._connected, flowing, detail, lost, dict(self._offset),
            list(self._given_up.values()), self._begun, self._since, whole,
        )  # fmt: skip

    def _connect(self, at: int) -> None:
        """A connection is there, begun by then."""
        self._connected, self._since = True, max(self._since, at)
        self._begin(at)

    def _begin(self, at: int) -> None:
        if self._first is None:
            self._first = at
        if self._begun < 0:
            self._begun = at

    def _passed(self, event: Quote | Trade) -> None:
        """This is the newest of its line, as the connection told it: what was known of older ones is of no use."""
        line = Line(event.symbol, KIND_OF[type(event)])
        self._whole.pop(line, None)
        gap = self._given_up.get(line)
        if gap is not None and gap.until < event.ts:
            del self._given_up[line]

    def _stand(self, event: Lost | Repaired | Status) -> None:
        """What this changes of how the session stands."""
        if isinstance(event, Lost):
            line = Line(event.symbol, event.kind)
            before = self._lost.get(line, ())
            self._lost[line] = [*(one for one in before if one.ts != event.ts), event]  # it may have grown
        elif isinstance(event, Repaired):
            self._over(event)
        elif not event.symbol:
            if event.state == "connected":
                self._connect(event.ts)
            elif event.state == "disconnected":
                self._connected, self._since = False, event.ts
            elif event.state in ("stale", "flowing"):
                self._flowing = event.state == "flowing"
            self._detail = event.detail

    def _over(self, done: Repaired) -> None:
        """An interval is repaired, or given up: then nothing up to its end is current."""
        line = Line(done.symbol, done.kind)
        left = [one for one in self._lost.pop(line, ()) if one.ts < done.ts or one.until > done.until]
        if left:
            self._lost[line] = left
        gap = self._given_up.get(line)
        if not (done.error or done.left):
            if gap is not None and done.ts <= gap.ts and gap.until <= done.until:
                del self._given_up[line]
            self._whole[line] = max(done.until, self._whole.get(line, done.until))
            return
        if done.kind == "bar":  # of which none is kept
            return
        newest = self.newest.get((Quote if done.kind == "quote" else Trade, done.symbol))
        if newest is not None and not newest.repaired and newest.ts > done.until:
            return
        if gap is None or gap.until <= done.until:
            self._given_up[line] = Lost(done.symbol, done.ts, done.kind, done.until, done.left, done.error)
