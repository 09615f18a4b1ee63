"""Two loads of a table at once, as two machines start them: in any order of their steps, while the lake changes."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from resources.catalog import TRADES, CatalogError
from resources.lake import Lake
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.loading import load
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front
from tests.resources.warehouse.worlds import MONDAY

_count = count()


class Turns:
    """Which of two loads takes its next step, by a plan, then in turn; when one has ended, the other goes on."""

    def __init__(self, plan: list[int], between: Callable[[int], None]) -> None:
        self._plan, self._between, self._taken = plan, between, 0
        self._changed = threading.Condition()
        self._ended = False

    def step(self, who: int, real: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        """What it calls, in its turn. Between steps the lake changes where a load then writes, and so looks again; what
        comes after the last look is for the next load."""

        def call(*arguments: Any) -> Any:
            with self._changed:
                assert self._changed.wait_for(lambda: self._is_next(who), timeout=60)
                if writes:
                    self._between(self._taken)
                try:
                    return real(*arguments)
                finally:
                    self._taken += 1
                    self._changed.notify_all()

        return call

    def _is_next(self, who: int) -> bool:
        turn = self._plan[self._taken] if self._taken < len(self._plan) else self._taken % 2
        return self._ended or turn == who

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def trades(symbol: str, price: float, rows: int) -> pl.DataFrame:
    return worlds.of_trades([(symbol, MONDAY, price + at, 1.0, None) for at in range(rows)])


CHANGES = st.tuples(st.integers(0, 25), st.sampled_from("ABC"), st.integers(1, 3))
"""Before which step, of which symbol, and how many rows it has then."""


@settings(max_examples=12, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
@given(st.lists(st.integers(0, 1), max_size=40), st.lists(CHANGES, min_size=1, max_size=3))
def test_two_loads_at_once_end_with_the_lake_or_one_is_told(
    front: Front, plan: list[int], changes: list[tuple[int, str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(str(Path(folder)))
        for symbol in "AB":
            worlds.write(lake, TRADES, trades(symbol, 100.0, 2))
        settings_ = front.settings(database=f"two{next(_count)}")
        with ClickHouse.connect(settings_) as first, ClickHouse.connect(settings_) as second:
            load(lake, first, TRADES)
            worlds.write(lake, TRADES, trades("A", 200.0, 3))

            changed = set[int]()

            def change(step: int) -> None:
                for number, (at, symbol, rows) in enumerate(changes):
                    if at in (step, step - 1) and number not in changed:
                        changed.add(number)
                        worlds.write(lake, TRADES, trades(symbol, 1000.0 * (number + 1), rows))

            turns = Turns(plan, change)
            told: dict[int, CatalogError | None] = {}

            def run(who: int, warehouse: ClickHouse) -> None:
                try:
                    load(lake, warehouse, TRADES)
                    told[who] = None
                except CatalogError as error:
                    told[who] = error
                finally:
                    turns.end()

            threads = []
            for who, warehouse in enumerate((first, second)):
                for name in ("command", "insert", "partitions"):
                    setattr(warehouse, name, turns.step(who, getattr(warehouse, name), name != "partitions"))
                threads.append(threading.Thread(target=run, args=(who, warehouse)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for error in filter(None, told.values()):
                assert "another load of this table is at work" in str(error)
            with ClickHouse.connect(settings_) as again:
                if any(told.values()):
                    load(lake, again, TRADES)
                assert load(lake, again, TRADES).dates == 0
                with DuckDB(lake) as catalog:
                    symbols = catalog.symbols(TRADES)
                    assert_frame_equal(again.rows(TRADES, symbols), catalog.rows(TRADES, symbols), check_exact=True)
                left = again.sql(f"SELECT name FROM system.tables WHERE database = '{again.database}'")["name"]
                assert left.to_list() == ["market_data_trades"]
                again.command(f"DROP DATABASE {again.database} SYNC")
