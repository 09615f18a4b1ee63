"""From where a publisher goes on after another."""

from __future__ import annotations

from resources.streams.base import Event, Line, Lost, Repaired, Trade
from resources.streams.carriers.progress import Progress
from resources.streams.clock import SECOND

NOW = 1_765_206_000 * SECOND
DAY = 86_400 * SECOND


def trade(symbol: str, ts: int) -> Trade:
    return Trade(symbol, ts, 10.0, 1.0, received=NOW)


def test_nobody_goes_on_from_a_stamp_of_the_future() -> None:
    wild: list[Event] = [
        Lost("C", NOW + 9 * DAY, "trade", NOW + 9 * DAY, 1, "stamped later than it can have happened"),
        Repaired("C", NOW + 9 * DAY, "trade", NOW + 9 * DAY, 0, 1, "stamped later than it can have happened"),
    ]
    told = Progress()
    told.add([trade("A", NOW - SECOND), trade("B", NOW + 600 * SECOND), *wild])
    assert told.since() == {
        Line("A", "trade"): NOW - SECOND, Line("B", "trade"): NOW, Line("C", "trade"): NOW
    }  # fmt: skip


def test_what_says_not_when_it_came_is_gone_on_from() -> None:
    told = Progress()
    told.add([trade("A", NOW)._replace(received=0)])
    assert told.since() == {Line("A", "trade"): NOW}
