"""How a session stands, over all that may befall a connection: nothing is called current that is outdated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from resources.streams.base import Batch, Event, Lost, Quote, Repaired, Status, Trade
from resources.streams.clock import SECOND
from resources.streams.standing import Session, Told

STEP, SLACK = 10, 3


class History(NamedTuple):
    """What a gateway published of its connection and of a line, each in order with its time, and trades it missed."""

    connection: list[tuple[int, Event]]
    line: list[tuple[int, Event]]
    missed: list[int]


def history(actions: Sequence[str]) -> History:
    """A trade is due at each step: told while connected, else missed. What is repaired, REST has whole."""
    made, gaps = History([], [], []), list[Lost]()
    connected, newest = False, 0
    for at, action in enumerate(actions, 1):
        now = at * STEP
        if action == "join" and not connected:
            connected = True
            made.connection.append((now, Status("", now, "connected")))
            gaps.append(Lost("A", max(newest, 1), "trade", now + SLACK, None, "disconnected"))
            made.line.append((now, gaps[-1]))
        elif action == "cut" and connected:
            connected = False
            made.connection.append((now, Status("", now, "disconnected")))
        elif action in ("repair", "give up") and gaps:
            gap, error = gaps.pop(0), "" if action == "repair" else "REST refuses"
            had = [ts for ts in made.missed if gap.ts <= ts <= gap.until and not error]
            made.line.extend((now, Trade("A", ts, 1.0, 1.0, received=now, repaired=True)) for ts in had)
            made.line.append((now, Repaired("A", gap.ts, "trade", gap.until, len(had), None, error)))
        elif action == "overflow" and connected:
            gaps.append(Lost("A", now, "trade", now, 1, "overflow"))
            made.missed.append(now)
            made.line.append((now, gaps[-1]))
        elif connected:
            newest = now
            made.line.append((now, Trade("A", now, 1.0, 1.0, received=now)))
        else:
            made.missed.append(now)
    return made


ACTIONS = ("trade", "trade", "trade", "join", "join", "cut", "overflow", "repair", "give up")


@pytest.mark.parametrize("seed", range(20))
def test_a_trade_is_never_current_where_a_newer_one_was_missed(seed: int) -> None:
    chance = random.Random(seed)
    current = sum(play(chance.choices(ACTIONS, k=chance.randint(3, 25)), chance) for _ in range(200))
    assert current > 100


def play(actions: Sequence[str], chance: random.Random) -> int:
    """How often the newest trade was current, for a follower who begins somewhere, and reads connection and line (two
    partitions) in any order of the two."""
    begins, current = chance.choice([0, chance.randint(0, len(actions))]), 0
    made = history(actions)
    at = [sum(now <= begins * STEP for now, _ in part) for part in (made.connection, made.line)]
    held = [event for _, event in made.line[: at[1]] if isinstance(event, Trade)]  # by who followed before
    newest = max(held, key=lambda trade: trade.ts, default=None)
    told = Told(0, None, 10**9)
    parts = (made.connection, made.line)
    while any(place < len(part) for place, part in zip(at, parts, strict=True)):
        left = [number for number in (0, 1) if at[number] < len(parts[number])]
        number = chance.choice(left)
        _, event = parts[number][at[number]]
        at[number] += 1
        told.add(Batch([event], {0: at[0], 1: at[1]}), 0)
        if isinstance(event, Trade) and (newest is None or event.ts >= newest.ts):
            newest = event
        if newest is None or not Session.of(1, True, told.state()).current(newest):
            continue
        heard = max([now for place, part in zip(at, parts, strict=True) for now, _ in part[:place]])
        unread = made.connection[at[0]][0] if at[0] < len(made.connection) else heard  # of a break that is to come
        assert not [ts for ts in made.missed if newest.ts < ts < min(heard, unread)], (actions, newest)
        current += 1
    return current


def test_what_is_whole_is_current() -> None:
    told = Told(0, None, 10**9)
    made = history(["join", "repair", "trade", "cut", "trade", "join", "repair"])
    told.add(Batch([event for part in (made.connection, made.line) for _, event in part], {0: 1}), 0)
    session = Session.of(1, True, told.state())
    last = next(row for row in told.newest.values() if isinstance(row, Trade))
    assert last == Trade("A", 5 * STEP, 1.0, 1.0, received=7 * STEP, repaired=True)
    assert session.current(last)


# stamps that cannot be true

NOW = 1_709_910_000 * SECOND


def quoted(came: int, stamp: int, bid: float, repaired: bool = False) -> Quote:
    """A quote of so many seconds after NOW."""
    return Quote("A", NOW + stamp * SECOND, bid, 1.0, bid + 1, 1.0, received=NOW + came * SECOND, repaired=repaired)


def newest(told: Told, *events: Event) -> tuple[float | None, bool]:
    """What is newest after each of these came by itself, and whether it is current."""
    for event in events:
        told.add(Batch([event], {0: 0}), event.received)  # type: ignore[union-attr]
    held = told.newest[Quote, "A"]
    assert isinstance(held, Quote)
    return held.bid, Session.of(1, True, told.state()).current(held)


def begun() -> Told:
    told = Told(NOW, None, 15 * SECOND)
    told.add(Batch([Status("", NOW, "connected")], {0: 0}), NOW)
    return told


@pytest.mark.parametrize("stamp", [10, 840])
def test_one_stamp_of_the_future_does_not_hide_what_came_later(stamp: int) -> None:
    """What follows it is older by its stamp, and comes marked as repaired."""
    told = begun()
    assert newest(told, quoted(1, 1, 10.0), quoted(2, 2 + stamp, 11.0)) == (11.0, True)
    assert newest(told, *(quoted(at, at, 12.0 + at, repaired=True) for at in range(3, 100))) == (111.0, False)
    assert newest(told, quoted(900, 900, 9.0)) == (9.0, True)


def test_a_venue_whose_clock_is_ahead_is_believed() -> None:
    told = begun()
    assert newest(told, *(quoted(at, at + 300, float(at)) for at in range(1, 200))) == (199.0, True)
    repaired = quoted(210, 495, 5.0, repaired=True)  # it was missed, and is older than the newest
    assert newest(told, repaired) == (199.0, True)
    assert newest(told, quoted(211, 511, 211.0)) == (211.0, True)


def test_a_clock_that_is_ahead_from_the_first_event_on_is_believed() -> None:
    told = begun()
    assert newest(told, quoted(1, 301, 1.0), quoted(10, 299, 5.0, repaired=True)) == (1.0, True)


def test_a_late_one_within_seconds_takes_nobodys_place() -> None:
    told = begun()
    assert newest(told, quoted(1, 1, 1.0), quoted(2, 5, 2.0), quoted(4, 4, 3.0, repaired=True)) == (2.0, True)
