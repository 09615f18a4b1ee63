"""Which session is traded now, and from which signals.

Signals computed at a session's close are traded in the next session: its open is the first price that an order
can get. `turn` decides by the settings:

- Replay, where dates.end is set: there is no session after the recorded history. The signals of the second-last
  recorded session are traded on the bars of the last one, whatever the wall clock says, as often as the paper
  venue has not closed that session yet.
- Calendar, where the history grows: a session's turn begins PREOPEN before its open (orders must be at the venue
  by then: a daily bar has one price for them, its open) and lasts until the next session's turn begins. The
  session's own bar comes into the lake some time after the close; until then the venue waits, and what it then
  does (fills at the open, marks to the close) it does by the same rules as in a backtest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from resources.calendars import sessions
from resources.config import Settings
from resources.errors import ConfigError

PREOPEN = timedelta(hours=1)
"""How long before the open a session's turn begins."""

_AROUND = timedelta(days=21)
"""Longer than any closure of an exchange, so that a session is found on both sides."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A session to trade, and the session whose signals are traded in it. Instants are UTC."""

    signals: date
    session: date
    opens: datetime
    ends: datetime | None
    """When the turn is over, done or not; None in a replay, which waits for nobody."""

    @property
    def replay(self) -> bool:
        return self.ends is None

    def too_late(self, now: datetime) -> bool:
        """Whether orders sent now would come after the open, the only price that a daily bar has for them."""
        return not self.replay and now >= self.opens

    def over(self, now: datetime) -> bool:
        return self.ends is not None and now >= self.ends


def turn(settings: Settings, now: datetime) -> Turn:
    """The turn at `now`, an aware instant.

    Raises ConfigError where a replay's history is shorter than two sessions.
    """
    end = settings.dates.end
    if end is not None:
        recorded = sessions(settings.calendar, max(settings.dates.start, end - _AROUND), end)
        if recorded.height < 2:
            raise ConfigError(
                f"dates: {settings.dates.start} to {end} holds {recorded.height} session(s); a replay needs two"
            )
        return Turn(recorded["session"][-2], recorded["session"][-1], recorded["open"][-1], None)
    near = sessions(settings.calendar, now.date() - _AROUND, now.date() + _AROUND)
    begun = [opens for opens in near["open"] if opens - PREOPEN <= now]
    place = len(begun) - 1
    return Turn(
        near["session"][place - 1], near["session"][place], near["open"][place], near["open"][place + 1] - PREOPEN
    )
