"""DuckDB over the lake: nothing is copied, nothing is kept; the Parquet files that a question needs are read.

Which files those are is told by the lake's folders: symbol, and the date of the partition. A partition written while a
catalog is open is seen by the next question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from resources.catalog import Catalog, CatalogError
from resources.lake import Lake
from resources.warehouse.files import LakeFiles
from resources.warehouse.questions import Dialect, Source, quoted_names

DUCKDB = Dialect(micros="epoch_us({})", wide="HUGEINT", values="(VALUES {}) AS pairs(opens, closes)", in_order=True)

_MARGIN = timedelta(days=2)
"""A partition's date is the session's by the venue's clock: its instants lie at most this far outside of it in UTC."""


class DuckDB(Catalog):
    """A catalog over a lake. `threads` and `memory` (for example "4GB") are DuckDB's own by default."""

    dialect = DUCKDB

    def __init__(self, lake: Lake, *, threads: int | None = None, memory: str | None = None) -> None:
        import duckdb

        self._files = LakeFiles(lake)
        self._engine = duckdb.connect(":memory:")
        self._engine.execute("SET TimeZone = 'UTC'")
        if threads is not None:
            self._engine.execute(f"SET threads = {threads}")
        if memory is not None:
            self._engine.execute("SET memory_limit = $memory", {"memory": memory})
        if not self._files.local:
            self._engine.register_filesystem(self._files.filesystem)

    def tables(self) -> list[str]:
        return self._files.tables()

    def columns(self, table: str) -> list[str]:
        return self._files.schema(table).names()

    def symbols(self, table: str) -> list[str]:
        if "symbol" in self._files.dimensions(table):
            return [symbol for symbol in self._files.symbols(table) if self._files.has_rows(table, symbol)]
        found = self.sql(f'SELECT DISTINCT symbol FROM "{_view(table)}"')
        return sorted(found["symbol"].drop_nulls())

    def sql(self, text: str) -> pl.DataFrame:
        """The answer to any query in DuckDB's SQL; every table is a view, named as its path with _ for /.

        A condition on the columns `symbol` and `date`, which name the partition, reads those files only.
        """
        for table in self.tables():
            paths = self._files.pattern(table).replace("'", "''")
            self._engine.execute(
                f'CREATE OR REPLACE VIEW "{_view(table)}" AS SELECT * FROM read_parquet('
                f"'{paths}', union_by_name = true, hive_partitioning = true, hive_types_autocast = false)"
            )
        return self._ask(text, {})

    def close(self) -> None:
        self._engine.close()

    def _known(self, table: str, symbols: Sequence[str]) -> set[str]:
        if "symbol" in self._files.dimensions(table):
            return {symbol for symbol in symbols if self._files.has_rows(table, symbol)}
        return set(self.symbols(table)) & set(symbols)

    def _source(self, name: str, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Source:
        paths = [
            file.path
            for file in self._files.of(table, symbols)
            if file.first is None or (file.first < end + _MARGIN and file.last > start - _MARGIN)
        ]
        within = f"ts >= ${name}_start AND ts < ${name}_end"
        return self._read(name, table, symbols, paths, within, {f"{name}_start": start, f"{name}_end": end})

    def _newest(self, name: str, table: str, symbols: Sequence[str], at: datetime) -> Source:
        if "symbol" in self._files.dimensions(table):
            paths = [path for symbol in symbols for path in self._standing(table, symbol, at)]
        else:
            paths = [file.path for file in self._files.of(table, symbols)]
        return self._read(name, table, symbols, paths, f"ts <= ${name}_at", {f"{name}_at": at})

    def _standing(self, table: str, symbol: str, at: datetime) -> list[str]:
        """The file that holds the last row at or before `at`, if there is one: dates follow time, so it is the newest
        that begins by then."""
        for file in reversed(self._files.of(table, [symbol])):
            if file.first is not None and file.first - _MARGIN > at:
                continue
            # The lake's files have no statistics: the column is read.
            begins = self._ask("SELECT min(ts) AS ts FROM read_parquet($file)", {"file": file.path})["ts"][0]
            if begins is not None and begins <= at:
                return [file.path]
        return []

    def _read(
        self, name: str, table: str, symbols: Sequence[str], paths: Sequence[str], where: str, values: dict[str, Any]
    ) -> Source:
        """These files' rows, with their place in the file; those of one symbol and instant are all in one."""
        schema, empty = self._files.schema(table), f"none_{name}"
        # Files from before a column was added, and no files at all, have the columns of this empty frame.
        self._engine.register(empty, pl.Schema({**schema, "place": pl.Int64()}).to_frame())
        if not paths:
            return Source(empty, where, values)
        if "symbol" not in self._files.dimensions(table):
            where += f" AND symbol IN (SELECT unnest(${name}_symbols))"
            values = {**values, f"{name}_symbols": list(symbols)}
        place = "place"
        if "sequence" in schema:
            place = "row_number() OVER (PARTITION BY symbol, ts ORDER BY coalesce(sequence, 0), place) AS place"
        relation = f"""(
            SELECT {quoted_names(schema.names())}, {place} FROM (
                SELECT * FROM {empty} UNION ALL BY NAME
                SELECT * EXCLUDE (file_row_number), file_row_number AS place FROM read_parquet(
                    ${name}_files, hive_partitioning = false, union_by_name = true, file_row_number = true)
            )
        ) AS held_{name}"""
        return Source(relation, where, {**values, f"{name}_files": list(paths)})

    def _ask(self, text: str, parameters: Mapping[str, Any]) -> pl.DataFrame:
        import duckdb

        try:
            return self._engine.sql(text, params=dict(parameters)).pl()
        except duckdb.Error as error:
            raise CatalogError(f"duckdb: {error}") from error


def _view(table: str) -> str:
    return table.replace("/", "_")
