"""What is remembered of one line: how far it was delivered, what came lately, which intervals are missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from operator import itemgetter

from resources.streams.base import Line, MarketEvent

DISCONNECTED, SEQUENCE, OVERFLOW = "disconnected", "sequence", "overflow"

REMEMBERED = 1024
"""Of a line without numbers at least so many events are known again when they come twice; about 100 bytes each."""

LATEST = 32
"""Of the events of a line the latest so many are known whatever came since: one stamp of the future among them does not
decide what is too old to be told from a duplicate."""

FARTHEST = 900_000_000
"""A venue's clock is not taken to be further ahead of ours than this, in microseconds: what is stamped later cannot be
placed in its line."""

DOUBTFUL = 60_000_000
"""Where a stamp is later than its coming, events of so long before that, in microseconds, may be missing as well."""

OVERTAKEN = 5_000_000
"""The first event told of a line may have overtaken others that are stamped so much earlier, in microseconds."""


RENUMBERED = 60_000_000
"""An old number on an event so much later than the newest, in microseconds, is no duplicate: the venue counts anew."""

NEVER = 2**62
"""Later than any time."""


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

    events: how many, where that is known. until: None while it is still open. due: when REST may be asked. got: what
    was delivered of it, by number or identity. known: identities of what was delivered since the gap began, filled by
    the track. floor: what has its place there or before, down to `forgot`, was delivered or given up when it began.

    recovered: it is of before the line was watched; of what is in it only what the stream told, or will tell, is not
    missing. after: REST is not asked sooner (NEVER: not yet).

    Of a numbered line, the missing numbers: first (0: not known, from `since` on) to last (None: to what is to come).
    before: the time of the event that told the last; what is missing before a number is missing before its time.
    """

    line: Line
    since: int
    reason: str
    until: int | None = None
    events: int | None = None
    numbered: bool = False
    first: int = 0
    last: int | None = None
    before: int = 0
    due: int = 0
    attempts: int = 0
    delivered: int = 0
    got: set[int] = field(default_factory=set)
    known: list[Collection[int]] = field(default_factory=list)
    floor: int = 0
    forgot: int = 0
    recovered: bool = False
    after: int = 0

    def closed(self) -> int:
        """`until`, of a gap that is not open any more."""
        assert self.until is not None
        return self.until

    def left(self) -> int | None:
        """How many are still missing, None where nobody counts. Numbers that came tell of those between them."""
        if not self.numbered:
            return None if self.events is None else max(0, self.events - self.delivered)
        first = self.first or min(self.got, default=0)
        last = max(self.got, default=0) if self.last is None else self.last
        return max(0, last - first + 1 - self.delivered) if first and last else None

    def holds(self, event: MarketEvent) -> bool:
        """Whether this is of its interval."""
        return self.since <= event[1] <= self.closed()

    def misses(self, event: MarketEvent) -> bool:
        """Whether this event's number is one of those that are missing."""
        number = number_of(event)
        if number in self.got or (self.recovered and not self.holds(event)):
            return False
        if self.last is not None and number > self.last:
            return self.recovered and event[1] + RENUMBERED < self.before
        return number >= self.first if self.first else event[1] >= self.since


class Track:
    """A line whose events have no running number: what is the same is told by what it says, order by time alone.

    Events of one instant stand in the order in which they came. `ts`: of the newest event that was delivered in its
    place, or counted as lost.

    What was delivered is known again while it is among the last thousand, or so late that nothing later was forgotten:
    the memory has two generations, `young` and `old`, each event with its time. Nothing with a place in the line (that
    time) later than `old_from` was forgotten.
    """

    __slots__ = (
        "disorder", "dropped", "forgot", "fresh", "gaps", "heard", "line", "mended", "mended_until", "old", "old_from",
        "quiet", "since", "told_until", "ts", "young", "young_from",
    )  # fmt: skip

    PLACE = itemgetter(1)
    """By what the events of this line are ordered, of what is the same of an event and its time."""

    def __init__(self, line: Line, since: int) -> None:
        """`since`: when it was subscribed to, by our clock."""
        self.line = line
        self.since = self.heard = since
        self.ts = 0
        self.quiet = self.disorder = False
        self.gaps: list[Gap] = []
        self.fresh: tuple[Gap, int] | None = None  # the gap before a connection on which nothing came yet, and its base
        self.young: dict[int, int] = {}
        self.old: dict[int, int] = {}
        self.young_from = self.old_from = 0
        self.forgot = NEVER  # the first place of which something was forgotten
        self.mended: dict[int, int] = {}  # what REST told, and the stream may tell yet
        self.mended_until = 0
        self.dropped: set[int] = set()
        self.told_until = 0  # what was before that was told, or told as lost, when the line was watched before

    def heir(self) -> Track:
        """Of a line that is not watched any more: the track of its return, on which nothing comes again."""
        heir = type(self)(self.line, 0)
        heir.told_until = self.last() if self.ts else max([self.told_until, *self.mended.values()])
        known = {**self.old, **self.mended, **self.young}
        heir.mended = {seen: ts for seen, ts in known.items() if ts >= heir.told_until - OVERTAKEN}
        heir.mended_until = max(map(self.PLACE, heir.mended.items()), default=0)
        return heir

    def judge(self, event: MarketEvent) -> Verdict:
        """What this event of the stream is. Nothing is changed."""
        ts = event[1]
        if ts > self.ts and ts > self.mended_until:
            return Verdict.NEW
        if self._knows(hash(event[1:7])):
            return Verdict.DUPLICATE
        if ts >= self.ts:
            return Verdict.NEW
        return Verdict.LATE if ts > self.old_from else Verdict.FORGOTTEN

    def delivered(self, event: MarketEvent) -> None:
        """The event was handed on in its place."""
        if len(self.young) >= REMEMBERED + LATEST:
            self._turn()
        self.young[hash(event[1:7])] = self.ts = event[1]

    def came_late(self, event: MarketEvent) -> None:
        """The event was handed on out of its place."""
        if len(self.young) >= REMEMBERED + LATEST:
            self._turn()
        self.disorder = True
        seen = self._same(event)
        self.young[seen] = event[1]
        for gap in self.gaps:
            gap.got.add(seen)

    def refuse(self, event: MarketEvent) -> bool:
        """The event is not handed on, since its stamp cannot be true; False where it came before."""
        seen = self._same(event)
        if self._knows(seen):
            return False
        self._drop(seen)
        return True

    def lose(self, reason: str, since: int, event: MarketEvent | None = None) -> Gap:
        """Open a gap; `event` is one that is not delivered."""
        gap = Gap(self.line, since, reason, known=[self.young, self.old, self.mended], floor=self.old_from)
        self.gaps.append(gap)
        if event is not None:
            self.lose_more(gap, event)
        return gap

    def lose_before(self, reason: str, since: int) -> Gap:
        """Open a gap of what happened from `since` on, before the line's first event."""
        return self.lose(reason, since)

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        """The next event is not delivered either."""
        gap.until, gap.events = max(gap.until or gap.since, event[1]), (gap.events or 0) + 1
        self.ts = max(self.ts, event[1])
        self._drop(self._same(event))

    def last(self) -> int:
        """Up to when the line was told for sure: the newest may be stamped wrong where it is later than its coming, and
        on a line that was seen in disorder the latest may have overtaken others."""
        if self.ts <= self.heard and not self.disorder:
            return self.ts
        return min((ts for _, ts in self._latest()), default=self.ts)

    def recover(self, since: int, until: int, reason: str) -> Gap:
        """A gap of before the line was watched. Of a venue whose clock is behind, the stream tells the end of it."""
        gap = Gap(self.line, since, reason, until=until, known=[self.young, self.old, self.mended], recovered=True)
        gap.floor, gap.forgot = self.old_from, self.forgot
        self.gaps.append(gap)
        return gap

    def open_gap(self) -> Gap | None:
        """A gap that a further loss is part of."""
        return None

    def came_back(self, gap: Gap, event: MarketEvent) -> bool:
        """Whether this row of REST is missing and to be delivered; it counts as delivered from here on."""
        seen, ts = self._same(event), event[1]
        place = self.PLACE((seen, ts))
        if not gap.holds(event) or gap.forgot <= place <= gap.floor:
            return False
        if seen in gap.got or any(seen in known for known in gap.known):
            return False
        near = self._near(gap, ts)
        for other in self.gaps:
            if near or (other is not gap and other.until is not None and other.holds(event)):
                other.got.add(seen)
        if near:
            self.mended[seen] = ts
            self.mended_until = max(self.mended_until, place)
        gap.delivered += 1
        return True

    def _near(self, gap: Gap, ts: int) -> bool:
        """Whether the stream, or another gap, may tell the same; what was long before it began is not remembered."""
        return not gap.recovered or ts > self.since - FARTHEST

    def _same(self, event: MarketEvent) -> int:
        return hash(event[1:7])

    def _knows(self, seen: int) -> bool:
        return seen in self.young or seen in self.old or seen in self.mended or seen in self.dropped

    def _drop(self, seen: int) -> None:
        if len(self.dropped) >= REMEMBERED:
            self.dropped = set()
        self.dropped.add(seen)

    def _latest(self) -> list[tuple[int, int]]:
        return sorted(self.young.items(), key=self.PLACE)[-LATEST:]

    def _turn(self) -> None:
        """Forget the older generation, but not the latest events; all that is forgotten has its place before those."""
        latest = self._latest()
        self.forgot = min([self.forgot, *map(self.PLACE, self.old.items()), *map(self.PLACE, self.mended.items())])
        self.old, self.old_from = self.young, self.young_from
        self.young, self.young_from = dict(latest), self.PLACE(latest[0])
        self.mended = dict(one for one in self.mended.items() if self.PLACE(one) > self.old_from)
        since = min(ts for _, ts in latest)
        for gap in self.gaps:
            if gap.until is None or since <= gap.until:
                gap.known.append(self.young)


def number_of(event: MarketEvent) -> int:
    """Its running number."""
    return event[6]  # type: ignore[return-value]  # of trades and quotes; bars are never numbered
