"""Random histories of a lake and its copy: partitions written, corrected and removed, loads that end and loads that are
killed. After each step both engines are asked, and held to a plain walk over the rows that each must have."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from polars.testing import assert_frame_equal

from quant_assets.cleaned.aggregate import bars_of_quotes, bars_of_trades
from resources.catalog import QUOTED, QUOTES, TRADES, Catalog
from resources.lake import Lake
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.loading import load
from tests.resources.warehouse.conftest import Front

SYMBOLS, DATES, TABLES = ["A", "B/C"], ["2024-03", "2024-04"], [TRADES, QUOTES]
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
INSTANTS = {
    date: [at + step for step in (0 * SECOND, MICROSECOND, SECOND, 60 * SECOND - MICROSECOND, 60 * SECOND)]
    for date, at in zip(
        DATES, (datetime(2024, 3, 31, 23, 59, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)), strict=True
    )
}
"""Few, so that many rows share one; the last of a month is the first of the next."""
EVERY = sorted({at for instants in INSTANTS.values() for at in instants[:-1]})

PRICES = st.sampled_from([100.0, 100.01, 99.99, 5e-324, 1e300])
SIDES = st.one_of(st.none(), PRICES, st.sampled_from([0.0, -1.0]))
SIZES = st.sampled_from([1.0, 0.1, 0.3, 2.0**-62, 12_345.678, 2.0**53 + 2, 2.0**60])
SEQUENCES = st.sampled_from([None, 0, 1, -1, 2**63 - 1])

Key = tuple[str, str]
"""Symbol and date."""
Held = dict[str, dict[Key, pl.DataFrame]]
"""By table and partition, the rows in their order."""


def partitions() -> st.SearchStrategy[dict[Key, list[tuple[Any, ...]]]]:
    """Some partitions of a table with their rows: instant (by number), sequence, prices and a size; any may double."""
    rows = st.lists(st.tuples(st.integers(0, 3), SEQUENCES, PRICES, SIDES, SIDES, SIZES), max_size=6)
    doubled = rows.flatmap(lambda held: st.sampled_from([held, held + held[:2]]))
    keys = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(DATES))
    return st.dictionaries(keys, doubled, min_size=1, max_size=3)


def frame(table: str, key: Key, rows: Sequence[tuple[Any, ...]], numbered: Iterator[int]) -> pl.DataFrame:
    """Rows in the table's schema, with a sequence; each tells its number, but for doubles."""
    told = []
    numbers: dict[tuple[Any, ...], int] = {}
    for row in rows:
        instant, sequence, price, bid, ask, size = row
        at, number = INSTANTS[key[1]][instant], numbers.setdefault(row, next(numbered))
        told.append(
            {"symbol": key[0], "ts": at, "price": price, "size": size, "side": "buy" if number % 2 else None}
            | {"trade_id": str(number), "bid": bid, "bid_size": bid and size, "ask": ask, "ask_size": ask and size}
            | {
                "provider": f"p{number % 3}",
                "fetched_at": at + number * MICROSECOND,
                "known_at": at,
                "sequence": sequence,
            }
        )
    schema = TRADE_SCHEMA if table == TRADES else QUOTE_SCHEMA
    return pl.DataFrame(told, schema={**TRADE_SCHEMA, **QUOTE_SCHEMA, "sequence": pl.Int64}).select(*schema, "sequence")


class Killed(BaseException):
    """What ends a load as kill -9 does: nothing is sent after it."""


class History(RuleBasedStateMachine):
    """A lake, DuckDB over it, and ClickHouse with what was loaded; and what each of them must have."""

    front: Front
    _count = count()

    def __init__(self) -> None:
        super().__init__()
        self.folder, self.rows = tempfile.mkdtemp(), count()
        self.lake = Lake(self.folder)
        self.duckdb = DuckDB(self.lake)
        self.clickhouse = ClickHouse.connect(self.front.settings(database=f"history{next(self._count)}"))
        self.in_lake: Held = {table: {} for table in TABLES}
        self.loaded: Held = {table: {} for table in TABLES}

    def teardown(self) -> None:
        self.clickhouse.command(f"DROP DATABASE {self.clickhouse.database} SYNC")
        self.clickhouse.close()
        self.duckdb.close()
        shutil.rmtree(self.folder)

    @initialize(trades=partitions(), quotes=partitions())
    def begin(self, trades: dict[Key, list[Any]], quotes: dict[Key, list[Any]]) -> None:
        self.write(TRADES, trades)
        self.write(QUOTES, quotes)
        self.bring()

    @rule(table=st.sampled_from(TABLES), written=partitions())
    def write(self, table: str, written: dict[Key, list[Any]]) -> None:
        """Partitions, new or again, with other rows or the same."""
        frames = {key: frame(table, key, rows, self.rows) for key, rows in written.items()}
        with self.lake.writing(table.split("/")) as staging:
            staging.write([({"symbol": key[0], "date": key[1]}, rows) for key, rows in frames.items()])
        self.in_lake[table] |= frames

    @rule(table=st.sampled_from(TABLES), which=st.integers(0, 3))
    def remove(self, table: str, which: int) -> None:
        """A partition, unless it is the last: a lake without a table takes nothing away."""
        held = self.in_lake[table]
        if len(held) > 1:
            symbol, date = sorted(held)[which % len(held)]
            shutil.rmtree(self.lake.folder(table.split("/"), {"symbol": symbol, "date": date}))
            del held[symbol, date]

    @rule()
    def bring(self) -> None:
        for table in TABLES:
            load(self.lake, self.clickhouse, table)
            self.loaded[table] = dict(self.in_lake[table])
            assert load(self.lake, self.clickhouse, table).dates == 0

    @rule(table=st.sampled_from(TABLES), steps=st.integers(0, 12), done=st.booleans())
    def bring_and_kill(self, table: str, steps: int, done: bool) -> None:
        """After so many steps; the last is carried out, or not."""
        left = iter(range(steps))

        def dying(real: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                at = next(left, None)
                if at is not None or (done and not ended):
                    real(*arguments)
                if at is None:
                    ended.append(True)
                    raise Killed

            return call

        ended: list[bool] = []
        real = self.clickhouse.command, self.clickhouse.insert
        self.clickhouse.command, self.clickhouse.insert = map(dying, real)  # type: ignore[method-assign, assignment]
        try:
            load(self.lake, self.clickhouse, table)
        except Killed:
            pass
        finally:
            self.clickhouse.command, self.clickhouse.insert = real  # type: ignore[method-assign]
        self.adopt(table)

    def adopt(self, table: str) -> None:
        """Each date is as it was before or as the lake is, which is looked up by the versions that are there."""
        held = self.clickhouse.partitions(self.clickhouse.name(table))
        for date in DATES:
            found = {(symbol, version) for symbol, at, version, *_ in held.iter_rows() if at == date}
            states = [versions(self.lake, table, state, date) for state in (self.loaded[table], self.in_lake[table])]
            assert found in states
            if found == states[1]:
                others = {key: rows for key, rows in self.loaded[table].items() if key[1] != date}
                self.loaded[table] = others | {k: rows for k, rows in self.in_lake[table].items() if k[1] == date}

    @invariant()
    def answers_are_true(self) -> None:
        check(self.duckdb, self.in_lake)
        check(self.clickhouse, self.loaded)


def versions(lake: Lake, table: str, state: dict[Key, pl.DataFrame], date: str) -> set[tuple[str, str]]:
    """Symbols and versions of a date's partitions that have rows."""
    from resources.lake import content_version, fetch_version

    return {
        (symbol, f"{content_version(rows)}.{fetch_version(rows)}")
        for (symbol, at), rows in state.items()
        if at == date and rows.height
    }


def ordered(held: Held, table: str) -> pl.DataFrame:
    """The rows by symbol, instant and sequence (none counts as 0), those of one in their order."""
    schema = (TRADE_SCHEMA if table == TRADES else QUOTE_SCHEMA) | {"sequence": pl.Int64()}
    rows = pl.concat([pl.Schema(schema).to_frame(), *(held[table][key] for key in sorted(held[table]))])
    return rows.sort("symbol", "ts", pl.col("sequence").fill_null(0), maintain_order=True)


def check(catalog: Catalog, held: Held) -> None:
    """Every question, about all symbols that have rows, at or from each instant."""
    trades, quotes = ordered(held, TRADES), ordered(held, QUOTES)
    traded, told = (sorted(rows["symbol"].unique()) for rows in (trades, quotes))
    assert (catalog.symbols(TRADES), catalog.symbols(QUOTES)) == (traded, told)
    start, end = EVERY[1], EVERY[-1]
    inside = pl.col("ts").is_between(start, end, closed="left")
    for at in EVERY[::2] if told else ():
        last = (
            quotes.filter(pl.col("ts") <= at)
            .group_by("symbol", maintain_order=True)
            .last()
            .select(QUOTE_SCHEMA.names())
        )
        same(catalog.last_quotes(told, at), last)
    if told:
        same(catalog.rows(QUOTES, told), quotes)
        bars = bars_of_quotes(quotes.filter(inside).drop("sequence").lazy(), "1m").collect().sort("symbol", "ts")
        same(catalog.bars(told, "1m", start, end, of="quotes"), bars)
    if traded:
        same(catalog.rows(TRADES, traded, start, end), trades.filter(inside))
        same(catalog.quoted_trades(traded, start, end), quoted(trades.filter(inside), quotes))
        bars = bars_of_trades(trades.filter(inside).drop("sequence").lazy(), "1m").collect().sort("symbol", "ts")
        found = catalog.bars(traded, "1m", start, end)
        same(found.drop("volume"), bars.drop("volume"))
        assert_frame_equal(found, bars, rel_tol=1e-12)


def quoted(trades: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
    """Each trade with the last quote at or before it."""
    stood = quotes.select("symbol", "ts", "bid", "bid_size", "ask", "ask_size", quoted_at="ts").sort(
        "ts", maintain_order=True
    )
    last = stood.unique(["symbol", "ts"], keep="last", maintain_order=True)
    joined = (
        trades.with_row_index("at")
        .sort("ts", maintain_order=True)
        .join_asof(last, on="ts", by="symbol", check_sortedness=False)
    )
    return joined.sort("at").select(QUOTED.names())


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(found, expected, check_exact=True)


def test_answers_are_true_after_any_history(front: Front) -> None:
    History.front = front
    # What fails here is short; to make it shorter takes minutes.
    found = settings(
        max_examples=6, stateful_step_count=8, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    run_state_machine_as_test(History, settings=found)
