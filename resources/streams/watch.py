"""Order, duplicates, gaps and silence: what of a venue's messages is handed on, and what is found to be missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter

from resources.streams.base import (
    KIND_OF,
    Event,
    Kind,
    Line,
    Lost,
    MarketEvent,
    Repaired,
    Sequencing,
    Status,
)
from resources.streams.clock import SECOND
from resources.streams.numbered import TRACKS, NumberedTrack
from resources.streams.track import (
    DISCONNECTED,
    FARTHEST,
    NEVER,
    OVERFLOW,
    SEQUENCE,
    Gap,
    Track,
    Verdict,
)

_IN_ORDER = itemgetter(1, 6)
"""By time and then number. (A bar has its volume there; no two bars of a symbol and instant are in one message.)"""

_MISDATED = "stamped later than it can have happened"
_AROUND = 10 * SECOND
"""What came with a stamp of the future is looked for so long after its coming, and six times as long before."""

BAR_LAG = 120 * SECOND
"""A bar of a minute is stamped with its start, and comes so much later at most."""


class Watch:
    """The lines of one source. `found`: gaps found since somebody last took them away, all closed.

    counts: events by what became of them: delivered, duplicates, late, lost, repaired, forgotten, misdated, unasked.
    """

    def __init__(self, sequences: Mapping[Kind, Sequencing] | None = None) -> None:
        """`sequences`: see Source."""
        self._sequences = sequences or {}
        self._tracks: dict[type[MarketEvent], dict[str, Track]] = {kind: {} for kind in KIND_OF}
        self._left: dict[Line, Track] = {}  # of lines that are not watched any more, what they go on with
        self.found: list[Gap] = []
        self.messages = 0
        self._overflowing: list[Gap] = []
        self.counts: Counter[str] = Counter()
        self.newest = 0
        self.heard = 0
        self._ahead = 0

    def add(self, lines: Iterable[Line], now: int) -> None:
        """Watch these from `now` on. What was told of one that was watched before does not come again."""
        for line in lines:
            track = self._left.pop(line, None) or TRACKS[self._sequences.get(line.kind)](line, now)
            track.since = track.heard = now
            self._tracks[_type(line.kind)].setdefault(line.symbol, track)

    def remove(self, lines: Iterable[Line]) -> None:
        """Watch these no longer; what of them is missing is not wanted any more."""
        for line in lines:
            if track := self._tracks[_type(line.kind)].pop(line.symbol, None):
                if (heir := track.heir()).told_until:
                    self._left[line] = heir
                self.found = [gap for gap in self.found if gap.line != line]
                self._overflowing = [gap for gap in self._overflowing if gap.line != line]

    def track(self, line: Line) -> Track | None:
        return self._tracks[_type(line.kind)].get(line.symbol)

    def admit(self, events: Sequence[MarketEvent], now: int, room: int) -> list[Event]:
        """What is to be handed on of a message that came at `now`: each event once, in order of its line.

        Where more than `room` would be, the rest is lost, and counted in a gap of its line. Between the events stand
        Lost where numbers are missing, and Status where a line that was silent is heard again.
        """
        if not events:
            return []
        self.messages += 1
        if len(events) > 1:
            events = sorted(events, key=_IN_ORDER)
        told: list[Event] = []
        if events[-1][1] > now + FARTHEST:
            events = self._without_misdated(events, now, told)
        newest = events[-1][1] if events else now + self._ahead
        # Not later than it came: one stamp of the future would hide what all lines miss from here to there.
        self.newest = max(self.newest, min(newest, now))
        # It fades, so that one wrong stamp does not last.
        faded = self._ahead - (now - self.heard) // 10 if self.heard else newest - now
        self._ahead = min(max(newest - now, faded), FARTHEST)
        self.heard = now
        counts, tracks, new, before = self.counts, self._tracks, Verdict.NEW, room
        for came in events:
            track = tracks[came.__class__].get(came[0])
            if track is None:
                counts["unasked"] += 1
                continue
            track.heard = now
            if track.quiet:
                track.quiet = False
                told.append(Status(came[0], now, "flowing", kind=track.line.kind))
            verdict = track.judge(came)
            event = came if verdict is new else self._odd(verdict, track, came, told)
            if event is None:
                continue
            if room <= 0:
                self._overflow(track, event, verdict)
                continue
            room -= 1
            if track.fresh is not None:
                self._first_after(track, event, now, told)
            told.append(event)
            if verdict is Verdict.LATE:
                track.came_late(event)
            else:
                track.delivered(event)
                if self._overflowing:
                    self._close_overflow(track, told)
        counts["delivered"] += before - room
        return told

    def drained(self) -> list[Event]:
        """There is room again: the gaps of what found none are over. Lost of each."""
        told: list[Event] = []
        for gap in self._overflowing:
            told.append(self._report(gap))
        self._overflowing = []
        return told

    def connected(self, now: int, slack: int, margin: int) -> list[Event]:
        """A connection is there again, or none will be: what each line missed since its last event, up to now. Lost of
        each.

        slack: how much longer REST is asked, since a clock may be off; what the stream tells itself is not told
        twice. margin: how long before the newest event of the lost connection a line that had been quiet may have
        missed one.
        """
        told: list[Event] = []
        for track in self._every():
            since = max(self._last(track) - (0 if track.ts else slack), track.told_until)
            until = now + max(0, self._ahead) + slack
            late = margin + (BAR_LAG if track.line.kind == "bar" else 0)
            gap = track.open_gap()
            if gap is None:
                gap = track.lose(DISCONNECTED, max(since, self.newest - late))
                self.found.append(gap)
            gap.until = max(until, gap.since)
            track.fresh = gap, now + slack
            told.append(_lost(gap))
        return told

    def owe(self, lines: Iterable[Line], since: int, now: int, slack: int) -> list[Event]:
        """Lines that were subscribed to now miss what happened from `since` on. Lost of each."""
        told: list[Event] = []
        for track in self._every():
            if track.line in lines:
                known = track.open_gap()
                gap = track.lose_before(DISCONNECTED, max(since, track.told_until))
                if gap is not known:
                    self.found.append(gap)
                gap.until = max(now + max(0, self._ahead) + slack, gap.since)
                track.fresh = gap, now + slack
                told.append(_lost(gap))
        return told

    def recover(self, lost: Iterable[Lost], now: int) -> None:
        """Lines that are watched miss these intervals of before. What ended lately may not be over by the clock of a
        venue: it is not asked for before the stream has begun to tell what follows."""
        for one in lost:
            track = self.track(Line(one.symbol, one.kind))
            assert track is not None
            gap = track.recover(one.ts, one.until, one.reason)
            gap.after = NEVER if one.until > now - FARTHEST else 0
            self.found.append(gap)

    def silent(self, now: int, limits: dict[Kind, int]) -> list[Event]:
        """Status of each line that has been quiet for longer than its kind's limit, once until it is heard again."""
        told: list[Event] = []
        for track in self._every():
            limit = limits.get(track.line.kind)
            if limit is not None and not track.quiet and now - track.heard > limit:
                track.quiet = True
                since = f"nothing for {(now - track.heard) / SECOND:g} s"
                told.append(Status(track.line.symbol, now, "stale", since, track.line.kind))
        return told

    def lacks(self, gap: Gap, row: MarketEvent) -> bool:
        """Whether this row, found over REST, is missing there; from here on it counts as delivered."""
        track = self.track(gap.line)
        if track is None or not track.came_back(gap, row):
            return False
        self.counts["repaired"] += 1
        return True

    def done(self, gap: Gap) -> None:
        """This gap is repaired, or given up."""
        track = self.track(gap.line)
        if track is not None and gap in track.gaps:  # it may be another subscription's by now
            track.gaps.remove(gap)

    def _first_after(self, track: Track, event: MarketEvent, now: int, told: list[Event]) -> None:
        """The first event on a new connection may show that the venue's clock is further ahead than was thought: then
        more was missed before it."""
        assert track.fresh is not None
        (gap, base), track.fresh = track.fresh, None
        until = base + min(max(0, event[1] - now), FARTHEST)
        if until <= gap.closed():
            return
        if gap in track.gaps:
            gap.until = until
            told.append(_lost(gap))
        elif not (isinstance(track, NumberedTrack) and track.sequence):  # it is repaired already, and no number tells
            more = track.lose(DISCONNECTED, gap.closed())
            more.until = until
            told.append(self._report(more))

    def _every(self) -> Iterator[Track]:
        for kind in self._tracks.values():
            yield from kind.values()

    def _last(self, track: Track) -> int:
        """When the line told its newest event, as far as its stamp can be trusted; else when it was subscribed to."""
        if not track.ts:
            return track.since + min(0, self._ahead)
        # What REST told may be newer than all that the stream has told, if that told anything yet.
        return min(track.last(), max(self.newest, track.since))

    def _without_misdated(self, events: Sequence[MarketEvent], now: int, told: list[Event]) -> Sequence[MarketEvent]:
        """The events whose stamps can be true. The others have no place in their lines, which go on as if they had not
        come: each is told as lost by its stamp; and as it may have another over REST, what its line missed around its
        coming is repaired (a numbered line misses its number)."""
        right: list[MarketEvent] = []
        for event in events:
            track = self._tracks[event.__class__].get(event[0])
            if track is None or event[1] <= now + FARTHEST:
                right.append(event)
                continue
            track.heard = now
            if not track.refuse(event):
                self.counts["duplicates"] += 1
                continue
            self.counts["misdated"] += 1
            told += _given_up(track, event, f"{_MISDATED}: {(event[1] - now) / SECOND:.0f} s after it came")
            until = now + max(0, self._ahead)
            covered = any(gap.reason == _MISDATED and gap.closed() >= until for gap in track.gaps)
            if not covered and not isinstance(track, NumberedTrack):
                gap = track.lose(_MISDATED, max(self._last(track), now - 6 * _AROUND))
                gap.until = max(until + _AROUND, gap.since)
                told.append(self._report(gap))
        return right

    def _odd(self, verdict: Verdict, track: Track, event: MarketEvent, told: list[Event]) -> MarketEvent | None:
        """The event as it is to be handed on, None where it is not."""
        if verdict is Verdict.HOLE:
            assert isinstance(track, NumberedTrack)
            self._close_overflow(track, told)
            gap = track.hole(event)
            told.append(self._report(gap) if gap.reason == SEQUENCE else _lost(gap))  # a known one, and now by number
            return event
        if verdict is Verdict.LATE:
            self.counts["late"] += 1
            if isinstance(track, NumberedTrack) and (overtaken := track.before_first(event)) is not None:
                told.append(self._report(overtaken))
            return event._replace(repaired=True)
        if verdict is Verdict.FORGOTTEN:
            self.counts["forgotten"] += 1
            told += _given_up(track, event, "came so late that it may be a duplicate")
            return None
        self.counts["duplicates"] += 1
        return None

    def _overflow(self, track: Track, event: MarketEvent, verdict: Verdict) -> None:
        if verdict is Verdict.LATE:  # its numbers are missed by a gap already; without numbers it gets one of its own
            if isinstance(track, NumberedTrack):
                return
            self._overflowing.append(track.lose(OVERFLOW, event[1], event))
            return
        gap = next((gap for gap in self._overflowing if gap.line == track.line), None)
        if gap is None:
            self._overflowing.append(track.lose(OVERFLOW, event[1], event))
        else:
            track.lose_more(gap, event)

    def _close_overflow(self, track: Track, told: list[Event]) -> None:
        for gap in [gap for gap in self._overflowing if gap.line == track.line]:
            self._overflowing.remove(gap)
            told.append(self._report(gap))

    def _report(self, gap: Gap) -> Lost:
        """Count the gap among those to be repaired, and say so."""
        self.found.append(gap)
        self.counts["lost"] += gap.events or 0
        return _lost(gap)


def _lost(gap: Gap) -> Lost:
    return Lost(gap.line.symbol, gap.since, gap.line.kind, gap.closed(), gap.events, gap.reason)


def _given_up(track: Track, event: MarketEvent, reason: str) -> tuple[Lost, Repaired]:
    """The event is neither delivered nor repaired."""
    line, ts = track.line, event[1]
    return Lost(line.symbol, ts, line.kind, ts, 1, reason), Repaired(line.symbol, ts, line.kind, ts, 0, 1, reason)


def _type(kind: Kind) -> type[MarketEvent]:
    return next(event for event, name in KIND_OF.items() if name == kind)
