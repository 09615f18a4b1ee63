"""How far the lines of a log are told: what a publisher goes on from, and a reader who lost a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from resources.streams.base import ENDED, KIND_OF, Event, Kind, Line, Lost, MarketEvent, Repaired
from resources.streams.track import identity


class Point:
    """Where a line stands. `ts`: of its newest event. `lost`: intervals that are told as lost and not repaired yet.

    asked: since when somebody asks for it anew. It remembers the events at `ts` and, while something is lost or it is
    pinned, the identities of all that come.
    """

    __slots__ = ("_known", "_same", "asked", "lost", "pins", "ts")

    def __init__(self, ts: int) -> None:
        self.ts = ts
        self.pins = 0
        self.asked: int | None = None
        self.lost: list[tuple[int, int]] = []
        self._same: list[MarketEvent] = []
        self._known: set[int] | None = None

    def add(self, event: MarketEvent) -> None:
        if event[1] > self.ts:
            self.ts, self._same = event[1], []
            if self._known is not None and not self.lost and not self.pins:
                self._known = None
        if self._known is None:
            self._same.append(event)
        else:
            self._known.add(identity(event))

    def remember(self) -> set[int]:
        """The identities that are known, and will be."""
        if self._known is None:
            self._known, self._same = {identity(event) for event in self._same}, []
        return self._known

    def lacks(self) -> int | None:
        """The beginning of what is lost or asked for, None where nothing is."""
        begins = [since for since, _ in self.lost]
        return min(begins if self.asked is None else [self.asked, *begins], default=None)

    def since(self) -> int:
        """All before this instant is told, or given up."""
        lacks = self.lacks()
        return self.ts if lacks is None else min(self.ts, lacks)


class Progress:
    """A point for each line that a log tells of. `owed`: nothing before this instant is wanted any more."""

    def __init__(self) -> None:
        self.owed = 0
        self._came = 0  # when the newest event came: what is stamped later tells of nothing that was missed till then
        self._asked: Mapping[Line, int] = {}
        self._points: dict[Kind, dict[str, Point]] = {kind: {} for kind in KIND_OF.values()}
        self._by_type = {made: self._points[kind] for made, kind in KIND_OF.items()}

    def add(self, events: Sequence[Event]) -> None:
        """These are told."""
        by_type = self._by_type
        newest = next((event for event in reversed(events) if event.__class__ in by_type), None)
        if newest is not None:
            self._came = max(self._came, newest.received)
        for event in events:
            points = by_type.get(event.__class__)  # type: ignore[arg-type]
            if points is None:
                self._tell(event)
                continue
            point = points.get(event[0])
            if point is None:
                point = self.begin(Line(event[0], KIND_OF[event.__class__]), event[1])  # type: ignore[index]
            point.add(event)  # type: ignore[arg-type]

    def point(self, line: Line) -> Point | None:
        return self._points[line.kind].get(line.symbol)

    def points(self) -> Iterator[tuple[Line, Point]]:
        for kind, points in self._points.items():
            for symbol, point in points.items():
                yield Line(symbol, kind), point

    def begin(self, line: Line, ts: int) -> Point:
        """The point of a line of which nothing was told yet."""
        point = self._points[line.kind].get(line.symbol)
        if point is None:
            point = self._points[line.kind][line.symbol] = Point(ts)
            if line in self._asked:
                point.asked = self._asked[line]
                point.pins += 1
                point.remember()
        return point

    def ask(self, since: Mapping[Line, int]) -> None:
        """These lines are asked for anew from these instants on. Call it before anything is told."""
        self._asked = since

    def since(self) -> dict[Line, int]:
        """Since when each line is to be told."""
        begins = {**self._asked, **{line: point.since() for line, point in self.points()}}
        return {line: max(self.owed, min(ts, self._came or ts)) for line, ts in begins.items()}

    def lacking(self) -> dict[Line, int]:
        """The lines of which something is lost or asked for, and since when."""
        begins = {**self._asked, **{line: ts for line, point in self.points() if (ts := point.lacks()) is not None}}
        return {line: max(self.owed, ts) for line, ts in begins.items()}

    def _tell(self, event: Event) -> None:
        if isinstance(event, Lost):
            point = self.begin(Line(event.symbol, event.kind), event.ts)
            point.lost = [*(one for one in point.lost if one[0] != event.ts), (event.ts, event.until)]  # told again
            point.remember()
        elif isinstance(event, Repaired):
            point = self.begin(Line(event.symbol, event.kind), event.ts)
            point.lost = [one for one in point.lost if one[0] < event.ts or one[1] > event.until]
            if event.error == ENDED:  # given up by a gateway that had no time for it: the next one's to repair
                point.lost.append((event.ts, event.until))
                point.remember()


def line_of(event: Event) -> Line | None:
    """The line that an event tells of, None of a Status."""
    if isinstance(event, Lost | Repaired):
        return Line(event.symbol, event.kind)
    kind = KIND_OF.get(type(event))  # type: ignore[arg-type]
    return None if kind is None else Line(event.symbol, kind)
