"""Bars across restarts: those of all trades that are stored, whatever comes late or twice, whenever it was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.cleaned.aggregate import bars_of_trades
from resources.lake import Lake
from resources.streams.aggregation import BarMaker
from resources.streams.base import Bar, Event, Line, Lost, Repaired, Trade
from resources.streams.clock import SECOND
from resources.streams.recording import Recorder, open_gaps, recorded
from resources.streams.remade import before, remade
from tests.resources.streams.gateways import provider_bars

NOW = 1_709_910_000 * SECOND
"""2024-03-08 15:00 UTC."""
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
A, B = Line("AAA", "trade"), Line("B/B", "trade")
LINES = (A, B)


def trade(at: float, number: int, line: Line = A) -> Trade:
    ts = NOW + int(at * SECOND)
    return Trade(line.symbol, ts, 10.0 + number % 7, 1.0 + number, "buy", str(number), number, received=ts)


class Life:
    """A job from its start to its end or death: recorder and bars as a station has them, a clock of the test's."""

    def __init__(self, lake: Lake, now: int) -> None:
        self.lake, self.now = lake, now
        self.recorder = Recorder(lake, "test", now=lambda: self.now)
        self.recorder.rotate()
        self.since = self.recorder.resume(LINES, NOW)
        self.maker = BarMaker("1m")
        self.pending: list[Event] = []
        for symbol, found in before(self.recorder, "1m").items():
            self.pending += self.maker.resume(symbol, found)

    def hear(self, *events: Event) -> None:
        new = self.recorder.new(events)
        self.pending += new
        self.pending += self.maker.add(new)

    def flush(self) -> None:
        self.pending += self.maker.until(self.now)
        events, self.pending = self.pending, []
        past, self.maker.past = self.maker.past, set()
        if past:
            events += remade(self.recorder, "1m", past, events)
        self.recorder.store(events)

    def lives(self, seconds: float, *events: Event) -> Life:
        """So much time passes, in which these are heard, and all is stored."""
        self.now += int(seconds * SECOND)
        self.hear(*events)
        self.flush()
        return self


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def bars(lake: Lake) -> list[tuple[float, int, bool, int]]:
    """Start in seconds after NOW, trades, whether complete, revision; of AAA."""
    rows = recorded(lake, "bars", ["AAA"]).select(pl.col("ts").to_physical(), "trades", "complete", "revision")
    return [((ts - NOW) / SECOND, *rest) for ts, *rest in rows.collect().iter_rows()]


def right(lake: Lake) -> None:
    """Each bar in the lake is that of all trades in the lake."""
    ours = recorded(lake, "bars")
    theirs = bars_of_trades(recorded(lake, "trades"), "1m")
    assert provider_bars(ours) == provider_bars(theirs)


def repaired(life: Life, *rows: Trade) -> list[Event]:
    """What a gateway tells first when it goes on: all that is asked for again, found with these rows."""
    lost = [Lost(line.symbol, at, "trade", life.now, None, "disconnected") for line, at in life.since.items()]
    done = [Repaired(line.symbol, at, "trade", life.now, len(rows), None) for line, at in life.since.items()]
    return [*lost, *(row._replace(repaired=True) for row in rows), *done]


HOURS_AGO = [trade(at, at) for at in range(1, 300, 10)]


@pytest.mark.parametrize("age", [30, 2000, 5000, 9000, 20_000], ids=lambda age: f"{age} s")
def test_a_late_trade_after_a_restart_is_added_to_its_bar_and_does_not_replace_it(lake: Lake, age: int) -> None:
    told = HOURS_AGO[-1].ts // SECOND - NOW // SECOND
    Life(lake, NOW).lives(310, *HOURS_AGO).lives(age, trade(age, 1000), trade(told + age, 1001))
    late = trade(70, 2000)._replace(repaired=True)
    life = Life(lake, NOW + (400 + age) * SECOND)
    life.lives(5, *repaired(life)).lives(5, late).lives(200)
    assert (60, 7, True, 1) in bars(lake)
    right(lake)


def test_a_late_trade_of_a_day_before_the_first_start_is_added_to_the_bar_of_then(lake: Lake) -> None:
    Life(lake, NOW - 86_400 * SECOND).lives(310, *(one._replace(ts=one.ts - 86_400 * SECOND) for one in HOURS_AGO))
    yesterday = trade(70 - 86_400, 2000)
    Life(lake, NOW).lives(100, yesterday, HOURS_AGO[0], yesterday._replace(trade_id="other")).lives(100)
    assert (60 - 86_400, 8, True, 1) in bars(lake)
    right(lake)


def test_what_comes_twice_counts_once_however_long_after_a_restart(lake: Lake) -> None:
    Life(lake, NOW).lives(310, *HOURS_AGO)
    life = Life(lake, NOW + 400 * SECOND)
    life.lives(1, *repaired(life, *HOURS_AGO)).lives(1, *HOURS_AGO).lives(300, trade(601, 1))
    assert [count for _, count, _, _ in bars(lake)] == [6, 6, 6, 6, 6, 1]
    right(lake)


def test_bars_that_were_not_stored_are_told_by_the_next_and_others_are_not_told_again(lake: Lake) -> None:
    first = Life(lake, NOW)
    first.lives(130, *HOURS_AGO[:13])
    first.now += 180 * SECOND
    first.recorder.store(HOURS_AGO[13:])
    life = Life(lake, first.now)
    assert [(bar.ts - NOW) // MINUTE for bar in life.pending if isinstance(bar, Bar)] == [2, 3]
    life.lives(100, *repaired(life)).lives(100)
    assert bars(lake) == [(60.0 * at, 6, True, 0) for at in range(5)]
    right(lake)


@pytest.mark.parametrize(
    ("error", "complete"), [("refused", False), ("the gateway has ended", True), ("", True)], ids=str
)
def test_a_bar_of_which_something_is_missing_stays_so_over_restarts_until_it_is_found(
    lake: Lake, error: str, complete: bool
) -> None:
    gap = Lost("AAA", NOW + 65 * SECOND, "trade", NOW + 75 * SECOND, 1, "sequence")
    done = Repaired("AAA", gap.ts, "trade", gap.until, 0, 1, error)
    Life(lake, NOW).lives(310, *HOURS_AGO[:6], gap, *HOURS_AGO[7:], *([done] if error else []))
    assert (60, 5, False, 0) in bars(lake)
    for turn in range(3):
        life = Life(lake, NOW + (400 + 20 * turn) * SECOND)
        life.lives(5)
        assert (60, 5, False, 0) in bars(lake)
    life = Life(lake, NOW + 800 * SECOND)
    life.lives(5, *repaired(life, HOURS_AGO[6])).lives(5)
    assert [(count, whole) for at, count, whole, _ in bars(lake) if at == 60] == [(6, complete)]
    right(lake)


def test_a_late_trade_of_a_bar_that_is_let_go_does_not_make_it_complete(lake: Lake) -> None:
    gap = Lost("AAA", NOW + 65 * SECOND, "trade", NOW + 75 * SECOND, 1, "sequence")
    done = Repaired("AAA", gap.ts, "trade", gap.until, 0, 1, "refused")
    Life(lake, NOW).lives(310, *HOURS_AGO[:6], gap, *HOURS_AGO[7:], done)
    life = Life(lake, NOW + 310 * SECOND)
    life.lives(1, *repaired(life))
    life.lives(9 * 3600, trade(9 * 3600 + 300, 1)).lives(100, HOURS_AGO[6], trade(121, 999))
    assert life.maker.too_late == {"AAA": 2}
    assert [bar for bar in bars(lake) if bar[0] in (60, 120)] == [(60, 6, False, 1), (120, 7, True, 1)]
    right(lake)


def test_what_was_given_up_of_a_bar_that_is_let_go_makes_it_incomplete(lake: Lake) -> None:
    life = Life(lake, NOW).lives(310, *HOURS_AGO).lives(9 * 3600, trade(9 * 3600 + 300, 1))
    gap = Lost("AAA", NOW + 65 * SECOND, "trade", NOW + 65 * SECOND, 1, "came so late that it may be a duplicate")
    life.lives(1, gap, Repaired("AAA", gap.ts, "trade", gap.until, 0, 1, gap.reason))
    assert [bar for bar in bars(lake) if bar[0] <= 60] == [(0, 6, True, 0), (60, 6, False, 1)]


def test_what_is_asked_for_again_is_missing_until_it_has_come(lake: Lake) -> None:
    """The connection takes longer than the bar."""
    Life(lake, NOW).lives(70, *HOURS_AGO[:7])
    life = Life(lake, NOW + 100 * SECOND).lives(300)
    assert bars(lake) == [(0, 6, True, 0), (60, 1, False, 0)]
    life.lives(5, *repaired(life, *HOURS_AGO)).lives(1)
    assert bars(lake)[1:] == [(60, 6, True, 1), *((60.0 * at, 6, True, 0) for at in (2, 3, 4))]


def test_trades_that_are_no_longer_stored_leave_their_bar_as_it_is(lake: Lake) -> None:
    Life(lake, NOW).lives(310, *HOURS_AGO)
    Life(lake, NOW + 311 * SECOND)  # all is in partitions
    Path(lake.path(("streams", "trades"), {"symbol": "AAA", "date": "2024-03-08"})).unlink()
    Life(lake, NOW + 320 * SECOND).lives(1, trade(70, 2000)).lives(100)
    assert bars(lake) == [(60.0 * at, 6, True, 0) for at in range(5)]


# any faults, whenever it is killed


def log(chance: Random) -> list[Trade]:
    """What happens at a venue in four hours, in the order in which it is told: some of it late, once of the future."""
    told: list[tuple[int, Trade]] = []
    for line in LINES:
        for number in range(1, chance.randint(5, 60)):
            at = NOW + chance.randint(0, 4 * 60 * 4) * 15 * SECOND
            late = chance.choice([0, 0, 0, 0, 1, 4, 300, 2000, 10_000, 80_000]) * SECOND
            told.append((at + late, trade((at - NOW) / SECOND, number, line)))
    came, wild = told[chance.randrange(len(told))]
    told.append((came, wild._replace(ts=wild.ts + chance.choice([300, 5000, 86_400, 400_000]) * SECOND, trade_id="w")))
    return [one._replace(received=came) for came, one in sorted(told, key=lambda row: (row[0], row[1].ts))]


class Venue:
    """Tells its log once to each who listens, gives up to three of its trades together, and has a history."""

    def __init__(self, chance: Random) -> None:
        self.chance, self.log, self.at = chance, log(chance), 0

    def batch(self) -> list[Trade]:
        before, self.at = self.at, min(len(self.log), self.at + self.chance.randint(1, 3))
        return self.log[before : self.at]

    def history(self, line: Line, since: int, until: int) -> list[Trade]:
        return [one for one in self.log[: self.at] if one.symbol == line.symbol and since <= one.ts <= until]


def honest(lake: Lake, venue: Venue, counts: dict[tuple[str, int], int]) -> None:
    """No bar has fewer trades than it had (`counts`); those that are complete have all that were told in time, but for
    what has been lost since they were told, and may be repaired yet."""
    rows = recorded(lake, "bars").select("symbol", pl.col("ts").to_physical(), "trades", "complete").collect()
    told = Counter(
        (one.symbol, one.ts - one.ts % MINUTE)
        for one in venue.log[: venue.at]
        if abs(one.received - one.ts) <= 5 * SECOND
    )
    left = open_gaps(lake).filter(pl.col("state") != "repaired")
    missing = left.select("symbol", pl.col("ts").to_physical(), pl.col("until").to_physical()).rows()
    for symbol, ts, count, complete in rows.iter_rows():
        waits = any(name == symbol and since < ts + MINUTE and until >= ts for name, since, until in missing)
        assert count >= counts.get((symbol, ts), 0)
        assert count >= told[symbol, ts] or not complete or waits
        counts[symbol, ts] = count


def live(venue: Venue, lake: Lake, now: int, chance: Random, counts: dict[tuple[str, int], int]) -> int:
    """One life: it goes on, is told duplicates and what is late, has gaps, and is killed or ends. When it ended."""
    life, heard = Life(lake, now), set[Trade]()

    def hear(*trades: Trade) -> None:
        new = [one for one in dict.fromkeys(trades) if one not in heard]  # a gateway tells each once in its life
        heard.update(new)
        life.hear(*(one._replace(repaired=chance.random() < 0.5) for one in new))

    asked = list(life.since.items())
    owed: list[tuple[Lost, list[Trade]]] = []
    for line, since in asked:
        gap = Lost(line.symbol, since, "trade", now, None, "disconnected")
        life.hear(gap)
        owed.append((gap, venue.history(line, since, now)))
    # What came late, or of the future, and was not stored, no history of then has: it is told again.
    odd = [one for one in venue.log[: venue.at] if abs(one.received - one.ts) > 5 * SECOND]
    if not asked:
        odd = venue.log[: venue.at]
    hear(*odd, *(one for one in venue.log[: venue.at] if chance.random() < 0.1))
    for _ in range(chance.randint(1, 12)):
        said = venue.batch()
        life.now = max([life.now, *(one.received for one in said)])
        if said and chance.random() < 0.3:
            gap = Lost(said[0].symbol, said[0].ts, "trade", said[0].ts, 1, "sequence")
            life.hear(gap)
            owed.append((gap, said[:1]))
            said = said[1:]
        hear(*said)
        while owed and chance.random() < 0.5:
            gap, rows = owed.pop(chance.randrange(len(owed)))
            hear(*rows)
            life.hear(Repaired(gap.symbol, gap.ts, "trade", gap.until, len(rows), 0))
        if chance.random() < 0.5:
            life.flush()
            honest(lake, venue, counts)
        if chance.random() < 0.2:
            life.recorder.rotate()
    if chance.random() < 0.3:
        life.flush()
        life.recorder.rotate()
    return life.now


def check(lake: Lake, venue: Venue) -> None:
    held = recorded(lake, "trades").select("symbol", pl.col("ts").to_physical(), "trade_id", "price", "size").collect()
    assert sorted(held.rows()) == sorted((one.symbol, one.ts, one.trade_id, one.price, one.size) for one in venue.log)
    right(lake)
    assert set(open_gaps(lake)["state"]) <= {"repaired"}
    assert recorded(lake, "bars").collect()["complete"].all()


def lived(lake: Lake, seed: int) -> None:
    chance = Random(seed)
    venue, now, counts = Venue(chance), NOW, dict[tuple[str, int], int]()
    while venue.at < len(venue.log):
        now = live(venue, lake, now + chance.choice([1, 100, 4000]) * SECOND, chance, counts)
    now = max(now, *(one.ts for one in venue.log)) + HOUR  # the future of the wild stamp has come
    last = Life(lake, now)
    everything: Sequence[Trade] = venue.log
    last.lives(5, *repaired(last, *everything)).lives(5)
    Life(lake, last.now).recorder.rotate()
    check(lake, venue)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**9))
def test_the_lake_holds_the_log_once_and_its_bars_whatever_befell(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    lived(Lake(str(tmp_path_factory.mktemp("lake"))), seed)
