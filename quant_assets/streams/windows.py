"""When the stream job runs: a window around each session of the installation's calendar, or a replay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from resources.calendars import sessions
from resources.config import Settings
from resources.config_streams import StreamSettings
from resources.errors import ConfigError

_AROUND = timedelta(days=21)
"""Longer than any closure of an exchange, so that a session is found on both sides."""


@dataclass(frozen=True, slots=True)
class Window:
    """The session that a run follows, and from when to when it runs (UTC).

    owed: what happened from then on is asked for where it was not stored; the begin of the window before, where that
    one ends when this one begins. ends: None in a replay, which is over when its last row was played.
    """

    session: date
    begins: datetime
    ends: datetime | None
    owed: datetime

    @property
    def replay(self) -> bool:
        return self.ends is None

    def waits(self, now: datetime) -> bool:
        """Whether the window has not begun yet."""
        return not self.replay and now < self.begins

    def over(self, now: datetime) -> bool:
        return self.ends is not None and now >= self.ends


def followed(settings: Settings) -> StreamSettings:
    """The settings of streams. Raises ConfigError where the configuration has none."""
    if settings.streams is None:
        raise ConfigError(f"streams: {settings.name} follows no stream; for example streams: {{kinds: [trade]}}")
    return settings.streams


def window(settings: Settings, now: datetime) -> Window:
    """The window that `now`, an aware instant, lies in, or the next one."""
    streams = followed(settings)
    if streams.replay is not None:
        begins = streams.replay.start
        return Window(begins.date(), begins, None, begins)
    return next(at for at in _around(settings, now, now) if at.ends is not None and at.ends > now)


def windows_before(settings: Settings, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Begin and end of each window that ended later than `since`, and at `until` at the latest, in order."""
    ends = ((at.begins, at.ends) for at in _around(settings, since, until))
    return [(begin, end) for begin, end in ends if end is not None and since < end <= until]


def _around(settings: Settings, first: datetime, last: datetime) -> list[Window]:
    """The windows of these days, and of some before and after them."""
    streams = followed(settings)
    before, after = timedelta(minutes=streams.before_minutes), timedelta(minutes=streams.after_minutes)
    near = sessions(settings.calendar, first.date() - _AROUND, last.date() + _AROUND)
    begun = [opens - before for opens in near["open"]]
    # A venue that never closes has windows that meet: the later session's goes first.
    ended = [min(close + after, next_) for close, next_ in zip(near["close"], begun[1:], strict=False)]
    meets = [False, *(end == begin for end, begin in zip(ended, begun[1:], strict=False))]
    return [
        Window(near["session"][at], begun[at], end, begun[at - 1] if meets[at] else begun[at])
        for at, end in enumerate(ended)
    ]
