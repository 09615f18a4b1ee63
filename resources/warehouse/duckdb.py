"""DuckDB over the lake: nothing is copied, nothing is kept; the Parquet files that a question needs are read.

Which files those are is told by the lake's folders: symbol, and the date of the partition. A partition written while a
catalog is open is seen by the next question.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from resources.catalog import Catalog, CatalogError, UnknownColumnError, UnknownTableError
from resources.lake import Lake
from resources.warehouse import asking
from resources.warehouse.asking import QuestionError
from resources.warehouse.files import LakeFiles, literal
from resources.warehouse.questions import Dialect, Source, sql_name

DUCKDB = Dialect(
    micros="epoch_us({})",
    wide="HUGEINT",
    values="(VALUES {}) AS pairs(opens, closes)",
    in_order=True,
    backslash=False,
)

_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+ANALYZE\b|\s*\(\s*(ANALYZE|FORMAT)\b[^)]*\))*", re.IGNORECASE)


class DuckDB(Catalog):
    """A catalog over a lake. `threads` and `memory` (for example "4GB") are DuckDB's own by default.

    Raises CatalogError on a lake in a folder that DuckDB cannot name.
    """

    dialect = DUCKDB

    def __init__(self, lake: Lake, *, threads: int | None = None, memory: str | None = None) -> None:
        import duckdb

        self._files = LakeFiles(lake)
        if self._files.local and "\\" in lake.url:
            raise CatalogError(
                f"the lake {lake.url}: DuckDB takes a backslash for the end of a folder's name; rename the folder"
            )
        self._read_as: dict[str, Sequence[str]] = {}
        self._engine = duckdb.connect(":memory:")
        self._engine.execute("SET TimeZone = 'UTC'")
        # A variable of this program that happens to be called as a table is none.
        self._engine.execute("SET python_enable_replacements = false")
        if threads is not None:
            self._engine.execute(f"SET threads = {threads}")
        if memory is not None:
            self._engine.execute("SET memory_limit = $memory", {"memory": memory})
        if not self._files.local:
            self._engine.register_filesystem(self._files.filesystem)
        folder = self._files.folder
        # A question reads the lake and nothing else, and leaves no setting behind: some functions of a SELECT write
        # files (enable_profiling, enable_logging), and any file could be read.
        # What it keeps on the disk for a while it may also read: else that is .tmp, of whatever folder we are in.
        self._spill = tempfile.TemporaryDirectory(prefix="quant-duckdb-")
        self._engine.execute("SET temp_directory = $folder", {"folder": self._spill.name})
        self._engine.execute("SET allowed_directories = $folders", {"folders": [folder, literal(folder)]})
        self._engine.execute("SET enable_external_access = false")
        self._engine.execute("SET lock_configuration = true")

    def tables(self) -> list[str]:
        return self._files.tables()

    def columns(self, table: str) -> list[str]:
        return self._files.readable_schema(table).names()

    def symbols(self, table: str) -> list[str]:
        if "symbol" in self._files.dimensions(table):
            return [symbol for symbol in self._files.symbols(table) if self._files.has_rows(table, symbol)]
        found = self.sql(f'SELECT DISTINCT symbol FROM "{sql_name(table)}"')
        return sorted(found["symbol"].drop_nulls())

    def close(self) -> None:
        self._engine.close()
        self._spill.cleanup()

    def _sql(self, text: str, tables: Sequence[str]) -> pl.DataFrame:
        """A table is a view while it is asked about. A condition on the columns `symbol` and `date`, which name the
        partition, reads those files only."""
        self._refuse_writing(text)
        files = [file.path for table in tables for file in self._files.of(table)]
        try:
            for table in tables:
                pattern = self._files.pattern(table).replace("'", "''")
                self._run(
                    f'CREATE OR REPLACE VIEW "{sql_name(table)}" AS SELECT * FROM read_parquet('
                    f"'{pattern}', union_by_name = true, hive_partitioning = true, hive_types_autocast = false)",
                    {},
                    files,
                )
            answer = self._run(text, {}, files)
            assert answer is not None
            return answer
        finally:
            for table in tables:
                self._engine.execute(f'DROP VIEW IF EXISTS "{sql_name(table)}"')

    def _refuse_writing(self, text: str) -> None:
        """Raises QuestionError where DuckDB itself takes the text for more than one statement, or for one that writes;
        what it cannot parse it tells when it is asked."""
        kinds = self._kinds(text)
        if kinds == ["EXPLAIN"]:
            # EXPLAIN ANALYZE carries out what it explains.
            explain = _EXPLAIN.match(asking.bare(text, backslash=False))
            kinds = self._kinds(text[explain.end() :] if explain else text) or ["EXPLAIN"]
            kinds = ["SELECT"] if kinds == ["SELECT"] else [f"EXPLAIN of {kind}" for kind in kinds]
        if kinds is not None and kinds != ["SELECT"]:
            raise QuestionError(f"sql: it is {' and '.join(kinds) or 'empty'}; give one SELECT, nothing is written")

    def _kinds(self, text: str) -> list[str] | None:
        """What statements DuckDB takes the text for, None where it cannot parse it."""
        import duckdb

        try:
            return [statement.type.name for statement in self._engine.extract_statements(text)]
        except duckdb.Error:
            return None

    def _known(self, table: str, symbols: Sequence[str]) -> set[str]:
        if "symbol" in self._files.dimensions(table):
            return {symbol for symbol in symbols if self._files.has_rows(table, symbol)}
        return set(self.symbols(table)) & set(symbols)

    def _source(self, name: str, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Source:
        paths = [file.path for file in self._files.of(table, symbols) if file.first <= end and file.last >= start]
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
            if file.first > at:
                continue
            # The lake's files have no statistics: the column is read.
            text = "SELECT min(ts) AS ts FROM read_parquet($files)"
            begins = self._ask(text, self._reading("files", [file.path]))["ts"][0]
            if begins is not None and begins <= at:
                return [file.path]
        return []

    def _read(
        self, name: str, table: str, symbols: Sequence[str], paths: Sequence[str], where: str, values: dict[str, Any]
    ) -> Source:
        """These files' rows, with their place in the file; those of one symbol and instant are all in one."""
        schema, empty = self._files.readable_schema(table), f"none_{name}"
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
            SELECT {self.dialect.quoted(*schema)}, {place} FROM (
                SELECT * FROM {empty} UNION ALL BY NAME
                SELECT * EXCLUDE (file_row_number), file_row_number AS place FROM read_parquet(
                    ${name}_files, hive_partitioning = false, union_by_name = true, file_row_number = true)
            )
        ) AS held_{name}"""
        return Source(relation, where, {**values, **self._reading(f"{name}_files", paths)})

    def _reading(self, parameter: str, paths: Sequence[str]) -> dict[str, list[str]]:
        """A question's parameter of files; which they are is kept for the case that one cannot be read."""
        self._read_as[parameter] = paths
        return {parameter: list(map(literal, paths))}

    def _ask(self, text: str, parameters: Mapping[str, Any]) -> pl.DataFrame:
        files = [path for name in parameters for path in self._read_as.get(name, ())]
        answer = self._run(text, parameters, files)
        assert answer is not None
        return answer

    def _run(self, text: str, parameters: Mapping[str, Any], files: Sequence[str]) -> pl.DataFrame | None:
        """The answer, None where a statement has none. `files` are those that it reads."""
        import duckdb

        try:
            relation = self._engine.sql(text, params=dict(parameters))
            return relation.pl() if relation is not None else None
        except (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException) as error:
            told = _first_line(error)
            if isinstance(error, duckdb.CatalogException) and "Table with name" in told:
                raise UnknownTableError(f"duckdb: {told}") from error
            if isinstance(error, duckdb.BinderException) and "column" in told.lower():
                raise UnknownColumnError(f"duckdb: {told}") from error
            raise CatalogError(f"duckdb: {told}") from error
        except duckdb.Error as error:
            if not isinstance(error, duckdb.OutOfMemoryException | duckdb.DataError):
                # DuckDB names a damaged file only sometimes; data errors are the question's.
                for path in files:
                    self._files.read(path)
            raise CatalogError(f"duckdb: {_first_line(error)}") from error
        except pl.exceptions.PolarsError as error:
            raise CatalogError(f"duckdb: the answer is no frame, cast its columns: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".!")
