"""What is remembered of one line: how far it was delivered, what came lately, which intervals are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from resources.streams.base import Line, MarketEvent, Sequencing

DISCONNECTED, SEQUENCE, OVERFLOW = "disconnected", "sequence", "overflow"

REMEMBERED = 1024
"""Of a line without numbers at least so many events are known again when they come twice; about 60 bytes each."""


RENUMBERED = 60_000_000
"""An old number on an event so much later than the newest, in microseconds, is no duplicate: the venue counts anew."""


class Verdict(Enum):
    """What an event is to its line."""

    NEW = auto()
    HOLE = auto()  # new, and numbers before it are missing
    DUPLICATE = auto()
    LATE = auto()  # not delivered yet, and what follows it is
    FORGOTTEN = auto()  # too old to tell whether it is a duplicate


def identity(event: MarketEvent) -> int:
    """What is the same of an event that comes twice, from the stream or over REST: all that the venue says of it."""
    return hash(event[1:7])


@dataclass(eq=False, slots=True)
class Gap:
    """An interval of a line that was not delivered, `since` to `until` included, until it is repaired.

    events: how many, where that is known. until: None while it is still open. first, last: the missing numbers of a
    numbered line (last None: up to what is to come). due: when REST may be asked. got: what REST gave, by number or
    identity. known: identities of what was delivered since the gap began, in sets that the track fills.
    """

    line: Line
    since: int
    reason: str
    until: int | None = None
    events: int | None = None
    first: int = 0
    last: int | None = None
    due: int = 0
    attempts: int = 0
    delivered: int = 0
    got: set[int] = field(default_factory=set)
    known: list[set[int]] = field(default_factory=list)

    def closed(self) -> int:
        """`until`, of a gap that is not open any more."""
        assert self.until is not None
        return self.until

    def left(self) -> int | None:
        """How many are still missing, None where nobody counts."""
        return None if self.events is None else max(0, self.events - self.delivered)


class Track:
    """A line whose events have no running number: what is the same is told by what it says, order by time alone.

    Events of one instant stand in the order in which they came. `ts`: of the newest event that was delivered in its
    place, or counted as lost.
    """

    __slots__ = (
        "ahead", "ahead_until", "dropped", "fresh", "gaps", "heard", "line", "old", "old_from", "quiet", "since", "ts",
        "young", "young_from",
    )  # fmt: skip

    def __init__(self, line: Line, since: int) -> None:
        """`since`: when it was subscribed to, by our clock."""
        self.line = line
        self.since = self.heard = since
        self.ts = 0
        self.quiet = False
        self.gaps: list[Gap] = []
        self.fresh: tuple[Gap, int] | None = None  # the gap before a connection on which nothing came yet, and its base
        self.young: set[int] = set()
        self.old: set[int] = set()
        self.young_from = self.old_from = 0
        self.ahead: set[int] = set()  # what REST told already, and the stream may tell yet
        self.ahead_until = 0
        self.dropped: set[int] = set()

    def judge(self, event: MarketEvent) -> Verdict:
        """What this event of the stream is. Nothing is changed."""
        ts = event[1]
        if ts > self.ts and ts > self.ahead_until:
            return Verdict.NEW
        seen = self._same(event)
        if seen in self.young or seen in self.old or seen in self.ahead or seen in self.dropped:
            return Verdict.DUPLICATE
        if ts >= self.ts:
            return Verdict.NEW
        return Verdict.LATE if ts >= self.old_from else Verdict.FORGOTTEN

    def delivered(self, event: MarketEvent) -> None:
        """The event was handed on in its place."""
        if len(self.young) >= REMEMBERED:
            self._turn()
        self.young.add(self._same(event))
        self.ts = event[1]
        if self.ahead and self.ts > self.ahead_until:
            self.ahead = set()

    def came_late(self, event: MarketEvent) -> None:
        """The event was handed on out of its place."""
        self._remember(self._same(event))

    def lose(self, reason: str, since: int, event: MarketEvent | None = None) -> Gap:
        """Open a gap; `event` is one that is not delivered."""
        gap = Gap(self.line, since, reason, known=[self.young, self.old, self.ahead])
        self.gaps.append(gap)
        if event is not None:
            self.lose_more(gap, event)
        return gap

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        """The next event is not delivered either."""
        gap.until, gap.events = event[1], (gap.events or 0) + 1
        self.ts = max(self.ts, event[1])
        if len(self.dropped) >= REMEMBERED:
            self.dropped = set()
        self.dropped.add(self._same(event))

    def open_gap(self) -> Gap | None:
        """A gap that a further loss is part of."""
        return None

    def came_back(self, gap: Gap, event: MarketEvent) -> bool:
        """Whether this row of REST is missing and to be delivered; it counts as delivered from here on."""
        ts = event[1]
        if not gap.since <= ts <= gap.closed():
            return False
        seen = self._same(event)
        if seen in gap.got or any(seen in known for known in gap.known):
            return False
        for other in self.gaps:
            other.got.add(seen)
        if ts > self.ts:
            self.ahead.add(seen)
            self.ahead_until = max(self.ahead_until, ts)
        else:
            self._remember(seen)
        gap.delivered += 1
        return True

    def _same(self, event: MarketEvent) -> int:
        return hash(event[1:7])

    def _remember(self, seen: int) -> None:
        if len(self.young) >= REMEMBERED:
            self._turn()
        self.young.add(seen)

    def _turn(self) -> None:
        self.old, self.old_from = self.young, self.young_from
        self.young, self.young_from = set(), self.ts
        for gap in self.gaps:
            if gap.until is None or self.ts <= gap.until:
                gap.known.append(self.young)


class NumberedTrack(Track):
    """A line whose events count up by one: order, duplicates and what is missing are told by the numbers alone.

    At most one gap is open at its end (`last` None): that of a connection after which no event has come yet.
    """

    __slots__ = ("sequence",)

    def __init__(self, line: Line, since: int) -> None:
        super().__init__(line, since)
        self.sequence = 0

    def judge(self, event: MarketEvent) -> Verdict:
        number = _number(event)
        if number == self.sequence + 1 or not self.sequence:
            return Verdict.NEW
        if number > self.sequence:
            return Verdict.HOLE
        if any(_misses(gap, number) for gap in self.gaps):
            return Verdict.LATE
        return Verdict.NEW if event[1] > self.ts + RENUMBERED else Verdict.DUPLICATE

    def delivered(self, event: MarketEvent) -> None:
        if self.gaps:
            self._end_open(event)
        self.sequence, self.ts = _number(event), max(self.ts, event[1])

    def came_late(self, event: MarketEvent) -> None:
        for gap in self.gaps:
            if _misses(gap, _number(event)):
                self._count(gap, event)
                return

    def hole(self, event: MarketEvent) -> Gap:
        """The gap before this event: one that was open at its end, which this event tells, or a new one."""
        gap = self.open_gap()
        if gap is None:
            gap = self.lose(SEQUENCE, self.ts)
            gap.until = gap.since
        self._end_open(event)
        gap.until = max(gap.closed(), event[1])  # what is missing before a number is missing before its time
        return gap

    def open_gap(self) -> Gap | None:
        return next((gap for gap in self.gaps if gap.last is None), None)

    def lose(self, reason: str, since: int, event: MarketEvent | None = None) -> Gap:
        if event is not None:
            self._end_open(event)
        # Of a line of which nothing came yet, no number is known from which on something is missing.
        first = self.sequence + 1 if self.sequence else 0
        gap = Gap(self.line, since, reason, first=first if event is None else _number(event))
        self.gaps.append(gap)
        if event is not None:
            self.lose_more(gap, event)
        return gap

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        gap.until, gap.last = max(gap.since, event[1]), _number(event)
        gap.events = gap.last - gap.first + 1
        self.sequence, self.ts = gap.last, max(self.ts, event[1])

    def came_back(self, gap: Gap, event: MarketEvent) -> bool:
        if not _misses(gap, _number(event)):
            return False
        self._count(gap, event)
        if gap.last is None:
            self.sequence, self.ts = _number(event), max(self.ts, event[1])
            gap.first = gap.first or self.sequence  # numbers are known from here on
        return True

    def _count(self, gap: Gap, event: MarketEvent) -> None:
        gap.got.add(_number(event))
        gap.delivered += 1

    def _end_open(self, event: MarketEvent) -> None:
        """A gap that is open at its end ends before this event."""
        gap = self.open_gap()
        if gap is not None:
            gap.last = _number(event) - 1
            gap.events = max(0, gap.last - gap.first + 1) if gap.first else None


class RisingTrack(Track):
    """A line whose numbers rise, but not by one: they tell order and duplicates. Its time may be that of its coming."""

    __slots__ = ("oldest", "sequence")

    def __init__(self, line: Line, since: int) -> None:
        super().__init__(line, since)
        self.sequence = self.oldest = 0

    def judge(self, event: MarketEvent) -> Verdict:
        number = _number(event)
        if number > self.sequence:
            return Verdict.NEW
        if number in self.young or number in self.old or number in self.dropped:
            return Verdict.DUPLICATE
        return Verdict.LATE if number > self.oldest else Verdict.FORGOTTEN

    def delivered(self, event: MarketEvent) -> None:
        super().delivered(event)
        self.sequence = _number(event)

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        super().lose_more(gap, event)
        self.sequence = max(self.sequence, _number(event))

    def _same(self, event: MarketEvent) -> int:
        return _number(event)

    def _turn(self) -> None:
        self.oldest = min(self.young)
        super()._turn()


TRACKS: dict[Sequencing | None, type[Track]] = {None: Track, "consecutive": NumberedTrack, "rising": RisingTrack}


def _number(event: MarketEvent) -> int:
    return event[6]  # type: ignore[return-value]  # of trades and quotes; bars are never numbered


def _misses(gap: Gap, number: int) -> bool:
    return gap.first <= number and (gap.last is None or number <= gap.last) and number not in gap.got
