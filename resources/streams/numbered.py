"""Lines whose events have a running number: order, duplicates and what is missing are told by it."""

from __future__ import annotations

from operator import itemgetter

from resources.streams.base import Line, MarketEvent, Sequencing
from resources.streams.track import (
    DOUBTFUL,
    FARTHEST,
    LATEST,
    OVERTAKEN,
    REMEMBERED,
    RENUMBERED,
    SEQUENCE,
    Gap,
    Track,
    Verdict,
    number_of,
)


class NumberedTrack(Track):
    """A line whose events count up by one: order, duplicates and what is missing are told by the numbers alone.

    `stamp`: of the event with the highest number. `ts` the same, unless that is later than its coming and may be wrong;
    then of the last one before it, or a minute before its coming. At most one gap is open at its end (`last` None):
    that of a connection after which no event has come yet.
    """

    __slots__ = ("before_from", "begun", "begun_at", "newest", "sequence", "stamp", "told", "told_newest")

    def __init__(self, line: Line, since: int) -> None:
        super().__init__(line, since)
        self.sequence = self.stamp = self.newest = 0
        self.begun = self.begun_at = 0  # the lowest number that was heard of, and when the first event happened
        self.before_from: int | None = None  # what is stamped since then, of numbers before that, was never told
        self.told = self.told_newest = 0  # the highest number, and the latest time, when the line was watched before

    def heir(self) -> Track:
        heir = super().heir()
        assert isinstance(heir, NumberedTrack)
        heir.told, heir.told_newest = self.sequence or self.told, max(self.newest, self.told_newest)
        return heir

    def judge(self, event: MarketEvent) -> Verdict:
        number = number_of(event)
        if number > self.sequence:
            if self.sequence:
                return Verdict.NEW if number == self.sequence + 1 else Verdict.HOLE
            return Verdict.DUPLICATE if self._was_told(event) else Verdict.NEW
        if self._was_told(event):
            return Verdict.DUPLICATE
        if any(gap.misses(event) for gap in self.gaps):
            return Verdict.LATE
        if event[1] > self.newest + RENUMBERED:
            return Verdict.NEW
        overtaken = number < self.begun and self.before_from is not None and event[1] >= self.before_from
        return Verdict.LATE if overtaken else Verdict.DUPLICATE

    def delivered(self, event: MarketEvent) -> None:
        if self.gaps:
            self._end_open(event)
        self._stand(event)

    def came_late(self, event: MarketEvent) -> None:
        for gap in self.gaps:
            if gap.misses(event):
                self._count(gap, event)
                return

    def refuse(self, event: MarketEvent) -> bool:
        missing = number_of(event) > self.sequence or any(gap.misses(event) for gap in self.gaps)
        return missing and super().refuse(event)

    def hole(self, event: MarketEvent) -> Gap:
        """The gap before this event: one that was open at its end, which this event tells, or a new one."""
        gap = self.open_gap()
        if gap is None:
            since = self.stamp if self.stamp <= min(event[1], self.heard + DOUBTFUL) else self.ts
            gap = self.lose(SEQUENCE, max(since, self.newest - FARTHEST))  # a stamp of the past says nothing
            gap.until = gap.since
        self._end_open(event)
        gap.until = max(gap.closed(), event[1])  # what is missing before a number is missing before its time
        return gap

    def before_first(self, event: MarketEvent) -> Gap | None:
        """The gap that a late event shows, which the first one had overtaken: its number and those up to the first."""
        if any(gap.misses(event) for gap in self.gaps):
            return None
        gap = self.lose(SEQUENCE, event[1])
        gap.first, gap.last, gap.until = number_of(event), self.begun - 1, max(self.stamp, event[1])
        gap.events = self.begun - gap.first
        self.begun = gap.first
        return gap

    def last(self) -> int:
        return self.ts

    def open_gap(self) -> Gap | None:
        return next((gap for gap in self.gaps if gap.last is None and not gap.recovered), None)

    def lose(self, reason: str, since: int, event: MarketEvent | None = None) -> Gap:
        if event is not None:
            self._end_open(event)
        # Of a line of which nothing came yet, no number is known from which on something is missing.
        first = self.sequence + 1 if self.sequence else 0
        gap = Gap(self.line, since, reason, numbered=True, first=first if event is None else number_of(event))
        self.gaps.append(gap)
        if event is not None:
            self.lose_more(gap, event)
        return gap

    def recover(self, since: int, until: int, reason: str) -> Gap:
        gap = super().recover(since, until, reason)
        if self.begun:
            gap.last, gap.before = self.begun - 1, self.begun_at
        return gap

    def lose_before(self, reason: str, since: int) -> Gap:
        gap = self.lose(reason, since) if self.begun else self.open_gap() or self.lose(reason, since)
        if self.begun:
            gap.first, gap.last = 0, self.begun - 1
            self.before_from = None
        gap.since = min(gap.since, since)
        return gap

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        gap.until, gap.last = max(gap.until or gap.since, event[1]), number_of(event)
        gap.events = gap.last - gap.first + 1
        self._stand(event)

    def came_back(self, gap: Gap, event: MarketEvent) -> bool:
        if not gap.misses(event):
            return False
        if gap.recovered:
            return self._recovered(gap, event)
        if self._was_told(event):
            return False
        self._count(gap, event)
        if gap.last is None and number_of(event) > self.sequence:
            self._stand(event)
        return True

    def _recovered(self, gap: Gap, event: MarketEvent) -> bool:
        """As `came_back`, of a gap of before the line was watched."""
        number = number_of(event)
        if number in self.mended or any(other.misses(event) for other in self.gaps if not other.recovered):
            return False  # it was told, or another gap tells it
        self._count(gap, event)
        if self._near(gap, event[1]):
            self.mended[number] = event[1]
        return True

    def _stand(self, event: MarketEvent) -> None:
        ts, heard = event[1], self.heard
        if number_of(event) < self.sequence:  # counted anew
            self.before_from = None
        self.sequence, self.stamp = number_of(event), ts
        self.ts = ts if ts <= heard else max(self.ts, heard - DOUBTFUL)
        self.newest = max(self.newest, ts)
        if not self.begun:
            self._begin(ts)

    def _begin(self, ts: int) -> None:
        """The first event came. From its number on the stream tells all, or what of it is missing."""
        self.begun, self.begun_at = self.sequence, ts
        for gap in self.gaps:
            if gap.recovered:
                gap.last, gap.before = self.begun - 1, ts
        if all(gap.first or gap.recovered for gap in self.gaps):  # else what came before is asked for
            self.before_from = min(self.since, ts) - OVERTAKEN

    def _was_told(self, event: MarketEvent) -> bool:
        """Whether it came, or was told as lost, when the line was watched before; or REST told it before the stream."""
        number = number_of(event)
        return number in self.mended or (number <= self.told and event[1] <= self.told_newest + RENUMBERED)

    def _count(self, gap: Gap, event: MarketEvent) -> None:
        number, near = number_of(event), self._near(gap, event[1])
        for other in self.gaps:
            if near if other is gap else other.recovered and other.holds(event):
                other.got.add(number)
        gap.delivered += 1

    def _end_open(self, event: MarketEvent) -> None:
        """A gap that is open at its end ends before this event."""
        gap = self.open_gap()
        if gap is not None:
            gap.last, gap.before = number_of(event) - 1, event[1]
            gap.events = max(0, gap.last - gap.first + 1) if gap.first else None


class RisingTrack(Track):
    """A line whose numbers rise, but not by one: they tell order and duplicates. Its time may be that of its coming."""

    __slots__ = ("sequence",)

    PLACE = itemgetter(0)

    def __init__(self, line: Line, since: int) -> None:
        super().__init__(line, since)
        self.sequence = 0

    def judge(self, event: MarketEvent) -> Verdict:
        number = number_of(event)
        if number > self.sequence and number > self.mended_until:
            return Verdict.NEW
        if self._knows(number):
            return Verdict.DUPLICATE
        if number > self.sequence:
            return Verdict.NEW
        return Verdict.LATE if number > self.old_from else Verdict.FORGOTTEN

    def delivered(self, event: MarketEvent) -> None:
        if len(self.young) >= REMEMBERED + LATEST:
            self._turn()
        self.sequence = number = number_of(event)
        self.young[number] = self.ts = event[1]

    def lose_more(self, gap: Gap, event: MarketEvent) -> None:
        super().lose_more(gap, event)
        self.sequence = max(self.sequence, number_of(event))

    def _same(self, event: MarketEvent) -> int:
        return number_of(event)


TRACKS: dict[Sequencing | None, type[Track]] = {None: Track, "consecutive": NumberedTrack, "rising": RisingTrack}
