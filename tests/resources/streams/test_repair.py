"""What the stream missed, asked for over REST: when, for whom together, how often, and what is given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import pytest

from resources.errors import BadAnswerError, NoDataError, UnknownSymbolError
from resources.market_data import ticks
from resources.market_data.base import utc_now
from resources.streams import repair
from resources.streams.base import Event, Kind, Line, Lost, Repaired, Status, Trade
from resources.streams.clock import SECOND
from resources.streams.repair import EPOCH, Mend, Repairer, instant, together
from resources.streams.track import Gap
from resources.streams.watch import Watch
from tests.resources.streams.gateways import ManualClock, played

NOW = 1_000 * SECOND
Ask = tuple[tuple[str, ...], int, int]


class Rest:
    """A provider of trades, one a second of each symbol; `refuse` says what it answers instead."""

    name = "rest"

    def __init__(self, refuse: Callable[[Sequence[str]], Exception | None] = lambda _: None) -> None:
        self.asked: list[Ask] = []
        self.refuse = refuse
        self.meanwhile: Callable[[], None] = lambda: None

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        since, until = ((when - EPOCH) // timedelta(microseconds=1) for when in (start, end))
        self.asked.append((tuple(symbols), since, until))
        self.meanwhile()
        problem = self.refuse(symbols)
        if problem is not None:
            raise problem
        first = -(-since // SECOND)
        rows = [(symbol, instant(at * SECOND), 1.0, 1.0, None, str(at))
                for symbol in symbols for at in range(first, -(-until // SECOND))]  # fmt: skip
        schema = {"symbol": pl.String, "ts": pl.Datetime("us", "UTC"), "price": pl.Float64, "size": pl.Float64,
                  "side": pl.String, "trade_id": pl.String}  # fmt: skip
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return ticks.trades(frame.lazy(), provider="rest", fetched_at=utc_now(), source="a test")


class Bench:
    """A repairer at work, and what it told."""

    def __init__(self, rest: Rest | None, **options: float | tuple[float, ...]) -> None:
        self.clock = ManualClock(instant(NOW))
        self.repairer = Repairer(rest, **options)  # type: ignore[arg-type]
        self.told: list[Event] = []

    def gap(self, symbol: str, since: int, until: int, events: int | None = None, kind: Kind = "trade") -> Gap:
        """A gap of seconds before NOW, of which everything is missing."""
        line, got = Line(symbol, kind), set[int]()
        gap = Gap(line, NOW + since * SECOND, "disconnected", until=NOW + until * SECOND, events=events)

        def lacks(row: Trade) -> bool:
            missing = gap.since <= row.ts <= gap.closed() and row.ts not in got
            got.add(row.ts)
            gap.delivered += missing
            return missing

        async def tell(events: Sequence[Event]) -> None:
            self.told += events

        self.repairer.add(Mend(gap, lacks, tell, lambda: None))  # type: ignore[arg-type]
        return gap

    async def at(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.repairer.mend(self.clock)

    def ends(self) -> list[tuple[str, int, int | None, str]]:
        return [(one.symbol, one.events, one.left, one.error) for one in self.told if isinstance(one, Repaired)]

    def trades(self, symbol: str) -> int:
        return sum(isinstance(one, Trade) and one.symbol == symbol for one in self.told)


@played
async def test_rest_is_asked_when_it_surely_has_it_all() -> None:
    bench = Bench(rest := Rest(), delay_seconds=5)
    bench.gap("A", -10, 0)
    assert bench.repairer.due() == NOW + 5 * SECOND
    await bench.at(4.999999)
    assert not rest.asked
    await bench.at(0.000001)
    assert rest.asked == [(("A",), NOW - 10 * SECOND, NOW + 1)]  # the end is excluded there
    assert bench.ends() == [("A", 11, None, "")]
    assert {one.received for one in bench.told if isinstance(one, Trade)} == {NOW + 5 * SECOND}
    assert all(one.repaired for one in bench.told if isinstance(one, Trade))
    assert bench.repairer.due() is None


@played
async def test_gaps_that_overlap_are_asked_for_together_and_each_gets_its_own() -> None:
    bench = Bench(rest := Rest(), delay_seconds=0)
    bench.gap("A", -10, -5)
    bench.gap("B", -7, -2)
    bench.gap("C", -1, 0)
    await bench.at(0)
    assert [asked[0] for asked in rest.asked] == [("A", "B"), ("C",)]
    assert bench.ends() == [("A", 6, None, ""), ("B", 6, None, ""), ("C", 2, None, "")]
    assert [bench.trades(symbol) for symbol in "ABC"] == [6, 6, 2]


def test_no_request_has_too_many_symbols_or_kinds() -> None:
    bench = Bench(None)
    for number in range(150):
        bench.gap(f"S{number}", -10, 0)
        bench.gap(f"S{number}", -10, 0, kind="quote")
    groups = together(bench.repairer.open)
    assert sorted(len(group) for group in groups) == [50, 50, 100, 100]
    assert all(len({mend.gap.line.kind for mend in group}) == 1 for group in groups)


@played
async def test_one_bad_symbol_does_not_spoil_the_others() -> None:
    bench = Bench(Rest(lambda symbols: UnknownSymbolError("no BAD") if "BAD" in symbols else None), delay_seconds=0)
    bench.gap("A", -3, 0)
    bench.gap("BAD", -3, 0)
    await bench.at(0)
    assert sorted(bench.ends()) == [("A", 4, None, ""), ("BAD", 0, None, "no BAD")]


@played
async def test_what_may_pass_is_asked_for_again_and_then_given_up() -> None:
    bench = Bench(rest := Rest(lambda _: BadAnswerError("try later")), delay_seconds=0, pauses=(2, 10))
    bench.gap("A", -3, 0)
    for seconds, asked in ((0, 1), (1.9, 1), (0.1, 2), (9.9, 2), (0.1, 3)):
        await bench.at(seconds)
        assert len(rest.asked) == asked
    states = [one.detail for one in bench.told if isinstance(one, Status)]
    assert states == ["tried again in 2 s: try later", "tried again in 10 s: try later"]
    assert bench.ends() == [("A", 0, None, "try later")]


@played
async def test_no_rows_is_an_answer_unless_some_are_known_to_be_missing() -> None:
    bench = Bench(Rest(lambda _: NoDataError("none")), delay_seconds=0, pauses=())
    bench.gap("A", -3, 0)
    bench.gap("B", -3, 0, events=4)
    await bench.at(0)
    assert bench.ends() == [("A", 0, None, ""), ("B", 0, 4, "4 of 4 are not to be had over REST")]


@pytest.mark.parametrize("when", ["before", "while"])
@played
async def test_a_gap_that_grows_is_asked_for_to_its_end(when: str) -> None:
    bench = Bench(rest := Rest(), delay_seconds=1)
    gap = bench.gap("A", -3, 0)

    def grow() -> None:
        gap.until = NOW + 20 * SECOND

    if when == "before":
        grow()
    else:
        rest.meanwhile = grow
    await bench.at(1)
    assert bench.ends() == []
    rest.meanwhile = lambda: None
    assert bench.repairer.due() == NOW + 21 * SECOND
    await bench.at(20)
    assert bench.ends() == [("A", 24, None, "")]
    assert bench.trades("A") == 24


@played
async def test_what_is_given_up_while_rest_answers_is_not_told() -> None:
    bench = Bench(Rest(), delay_seconds=0)
    bench.gap("A", -3, 0)
    bench.gap("B", -3, 0)
    mends = together(bench.repairer.open)[0]
    bench.repairer.open.remove(mends[0])
    await bench.repairer._try(mends, bench.clock)
    assert bench.trades("A") == 0
    assert bench.trades("B") == 4


@played
async def test_without_a_provider_each_gap_is_given_up_at_once() -> None:
    bench = Bench(None, delay_seconds=0)
    bench.gap("A", -3, 0)
    await bench.at(0)
    ((_, _, _, error),) = bench.ends()
    assert error.startswith("there is no provider")


@played
async def test_a_long_gap_is_asked_for_in_stretches_and_goes_on_where_a_try_failed() -> None:
    hour, failed = 3600, list[int]()

    def refuse(_: Sequence[str]) -> Exception | None:
        if len(rest.asked) == 3 and not failed:
            failed.append(1)
            return BadAnswerError("try later")
        return None

    bench = Bench(rest := Rest(refuse), delay_seconds=0, pauses=(2,))
    gap = bench.gap("A", 0, 2 * hour)
    other = bench.gap("B", hour // 2, hour)  # ends within a stretch of the other's
    await bench.at(2 * hour)
    asked = [((since - NOW) // SECOND, (until - NOW) // SECOND) for _, since, until in rest.asked]
    assert asked == [(0, 600), (600, 1800), (1800, 4200)], "each twice as long while few rows come"
    await bench.at(2)
    assert [(since - NOW) // SECOND for _, since, _ in rest.asked[3:]] == [1800, 2400, 3600, 6000]
    assert sorted(bench.ends()) == [("A", 7201, None, ""), ("B", hour // 2 + 1, None, "")]
    assert [bench.trades(symbol) for symbol in "AB"] == [7201, hour // 2 + 1]
    assert gap.delivered + other.delivered == bench.trades("A") + bench.trades("B")


@played
async def test_many_rows_make_the_next_stretch_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "FEW", 100)
    monkeypatch.setattr(repair, "MANY", 500)
    bench = Bench(rest := Rest(), delay_seconds=0)
    bench.gap("A", 0, 1200)
    await bench.at(1200)
    assert [(since - NOW) // SECOND for _, since, _ in rest.asked] == [0, 600, 900, 1200]
    assert bench.ends() == [("A", 1201, None, "")]


@played
async def test_what_is_missing_before_a_number_is_looked_for_up_to_its_time() -> None:
    """A venue's clock that is ahead: what is missing by number is stamped later than the gap that was told."""
    clock, told, watch = ManualClock(instant(NOW)), list[Event](), Watch({"trade": "consecutive"})
    repairer, line, first = Repairer(Rest(), delay_seconds=0, pauses=()), Line("A", "trade"), NOW // SECOND

    async def tell(events: Sequence[Event]) -> None:
        told.extend(events)

    watch.add([line], NOW)
    told += watch.owe([line], NOW - 60 * SECOND, NOW, SECOND)
    number = first + 4
    told += watch.admit([Trade("A", number * SECOND, 1.0, 1.0, "", str(number), number)], NOW + 5 * SECOND, 9)
    (gap,) = watch.found
    repairer.add(Mend(gap, partial(watch.lacks, gap), tell, partial(watch.done, gap)))
    for _ in range(2):
        clock.advance(10)
        await repairer.mend(clock)
    numbers = sorted(event.sequence for event in told if isinstance(event, Trade))
    assert numbers == [*range(first - 60, first + 5)]
    ends = [(event.until - NOW) // SECOND for event in told if isinstance(event, Lost)]
    assert ends == [1, 4]
    (over,) = [event for event in told if isinstance(event, Repaired)]
    assert (over.until, over.left, over.error) == (NOW + 4 * SECOND, 0, "")
