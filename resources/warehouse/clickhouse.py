"""ClickHouse behind the catalog: a copy of the lake's tables on a server, for more ticks than one machine reads.

One ClickHouse table an asset, ordered by symbol, ts and place, partitioned by the lake's date key. Every row says which
partition and data version of the lake it came from (`date`, `version`); a projection keeps the list of them, so that
what is loaded is known from the rows themselves. `resources.warehouse.loading` copies.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from resources.catalog import (
    Catalog,
    CatalogError,
    UnknownColumnError,
    UnknownTableError,
    WarehouseAccessError,
    WarehouseUnavailableError,
)
from resources.errors import ConfigError
from resources.warehouse import asking
from resources.warehouse.clickhouse_types import answered
from resources.warehouse.questions import Dialect, Source, sql_name
from resources.warehouse.slots import EPOCH, MICROSECOND

if TYPE_CHECKING:
    from resources.config_warehouse import WarehouseSettings

CLICKHOUSE = Dialect(
    micros="toUnixTimestamp64Micro({})",
    wide="Int128",
    values="values('opens Int64, closes Int64', {})",
    in_order=False,
    backslash=True,
)

OWN_COLUMNS = ("place", "date", "version")
"""Columns of a table in ClickHouse that the lake's does not have."""

SETTINGS = {"join_use_nulls": 1}
"""A trade without a quote has none, not a quote of zeros from 1970."""

READING = {
    **SETTINGS,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_compression_method": "none",
    "readonly": 1,
}
"""Of what asks. An engine in this process sets them one after the other: once it only reads, none can be changed.
1, because 2 lets INSERT INTO FUNCTION file(...) write."""

_READS_ONLY = 164
_REFUSED = (_READS_ONLY, 192, 193, 194, 497, 516)
"""Only reads, unknown user, wrong or required password, not enough privileges, authentication."""

_NO_DATABASE, _NO_TABLE, _NO_COLUMN, _TOO_SLOW = 81, 60, 47, 159


class ClickHouse(Catalog):
    """A catalog over a ClickHouse database. Made by `connect`, or by `embedded` over the engine in this process."""

    dialect = CLICKHOUSE

    def __init__(self, writer: Any, reader: Any, database: str, where: str, user: str = "") -> None:
        """Over two clients of one engine, which refuses the reader to write. `where` and `user` are for errors."""
        self.database = database
        self.where = where
        self._user = user
        self._writer, self._reader = writer, reader
        # A user that may only read finds it made.
        if self._ask("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": database}).is_empty():
            self.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
        writer.database = reader.database = database

    @classmethod
    def connect(cls, settings: WarehouseSettings) -> ClickHouse:
        """Over a server; its password is CLICKHOUSE_PASSWORD in the environment, none by default.

        Raises WarehouseUnavailableError, WarehouseAccessError, and ConfigError without the package.
        """
        options = {
            "host": settings.host,
            "port": settings.port or (8443 if settings.tls else 8123),
            "interface": "https" if settings.tls else "http",
            "username": settings.user,
            "password": os.environ.get("CLICKHOUSE_PASSWORD", ""),
            "ca_cert": str(settings.ca_file) if settings.ca_file else None,
            "send_receive_timeout": settings.timeout_seconds,
            "autogenerate_session_id": False,
        }
        return cls._over(options, {}, settings.database, f"ClickHouse at {settings.address}")

    @classmethod
    def embedded(cls, folder: Path | str, database: str = "quant", *, threads: int | None = None) -> ClickHouse:
        """Over ClickHouse's engine inside this process (chDB), which keeps its tables in `folder`.

        One folder a process at a time. For trying out and measuring; a server is for several users.
        """
        further = {"max_threads": threads} if threads is not None else {}
        options = {"interface": "chdb", "path": str(folder)}
        try:
            return cls._over(options, further, database, f"ClickHouse's engine in {folder}")
        except ImportError as error:
            raise ConfigError(
                f"warehouse: chDB is not installed; pip install 'quant-assets[clickhouse]' ({error})"
            ) from error

    @classmethod
    def _over(cls, options: Mapping[str, Any], further: Mapping[str, int], database: str, where: str) -> ClickHouse:
        """Over two clients with these options. `further` are settings of both."""
        package, user = _package(), options.get("username", "")

        def client(settings: Mapping[str, Any]) -> Any:
            return package.get_client(
                database="default", show_clickhouse_errors="scrub", settings={**further, **settings}, **options
            )

        try:
            writer = client(SETTINGS)
            # A user that may only read cannot set this, and needs it not.
            fixed = getattr(writer.server_settings.get("readonly"), "readonly", False)
            reader = client({name: value for name, value in READING.items() if not (fixed and name == "readonly")})
        except Exception as error:
            raise _told(error, where, user) from error
        return cls(writer, reader, database, where, user)

    # --- the catalog

    def tables(self) -> list[str]:
        # A table of ours has its path in the lake as its comment.
        text = "SELECT comment FROM system.tables WHERE database = {database:String} AND comment != ''"
        return sorted(self._ask(text, {"database": self.database})["comment"])

    def columns(self, table: str) -> list[str]:
        return [name for name in self.types(table) if name not in OWN_COLUMNS]

    def symbols(self, table: str) -> list[str]:
        self.types(table)
        return self._symbols(table)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    # --- what loading needs too

    def name(self, table: str) -> str:
        """A table's name in SQL."""
        return f"`{self.database}`.`{sql_name(table)}`"

    def types(self, table: str) -> dict[str, str]:
        """The columns of a table with ClickHouse's types, in order. Raises UnknownTableError."""
        frame = self._ask(
            "SELECT name, type FROM system.columns "
            "WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            {"database": self.database, "table": sql_name(table)},
        )
        if frame.is_empty():
            raise UnknownTableError(
                f"{self.where} has no table {table!r} in database {self.database}; it has "
                f"{', '.join(self.tables()) or 'none'}. Load it: python -m resources.warehouse load {table}"
            )
        return dict(frame.iter_rows())

    def partitions(self, name: str) -> pl.DataFrame:
        """What a table, by its name in SQL, holds: symbol, date, version, rows and the first ts of each partition of
        the lake."""
        return self._ask(f"{LOADED} FROM {name} GROUP BY symbol, date, version", {})

    def command(self, text: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that has no answer."""
        try:
            self._writer.command(text, parameters=dict(parameters or {}))
        except Exception as error:
            raise self._told(error) from error

    def insert(self, name: str, frame: pl.DataFrame) -> None:
        """Append rows to a table by its name in SQL."""
        content = io.BytesIO()
        # Strings as ClickHouse reads them: it does not know Arrow's views.
        frame.write_ipc(content, compression="lz4", compat_level=pl.CompatLevel.oldest())
        try:
            self._writer.raw_insert(name, frame.columns, content.getvalue(), fmt="Arrow")
        except Exception as error:
            raise self._told(error) from error

    # --- what the questions need

    def _sql(self, text: str, tables: Sequence[str]) -> pl.DataFrame:
        """Beside the lake's columns a table has `place`, `date` and `version` (see the module)."""
        read = self._as_read(text)
        words = asking.bare(read, backslash=True)
        if re.search(r"\bINTO OUTFILE\b", words):
            # The reader writes no table, but in this process the engine writes a file for who asks.
            raise asking.QuestionError("sql: INTO OUTFILE writes, and only questions are answered")
        if _OUTSIDE.search(words):
            # A reader is refused table functions that reach outside, but neither file() as a value nor a DESCRIBE.
            raise asking.QuestionError("sql: file() and DESCRIBE of a function reach outside; ask the lake's tables")
        # And some of them, such as sqlite(), have made a file before they are refused.
        for name in (read[found.start() : found.end()].strip('`"') for found in _CALLED.finditer(words)):
            if name.lower() in self._reaching:
                raise asking.QuestionError(f"sql: {name}() may reach outside; ask the lake's tables")
        return self._ask(self._typed(text) if read.startswith(("SELECT", "WITH", "(")) else text, {})

    @cached_property
    def _reaching(self) -> frozenset[str]:
        """The engine's table functions but those that are known to give what they are told, in small letters."""
        names = self._ask("SELECT lower(name) AS name FROM system.table_functions", {})["name"]
        return frozenset(names) - HARMLESS

    def _as_read(self, text: str) -> str:
        """A statement as the engine reads it, told again without comments and with texts in single quotes.

        Raises CatalogError on more than one.
        """
        return str(self._ask("SELECT formatQuerySingleLine({text:String}) AS told", {"text": text})["told"][0])

    def _typed(self, select: str) -> str:
        """A SELECT with the columns that Arrow has no type for as those that DuckDB answers with."""
        columns = self._ask(f"DESCRIBE (\n{select}\n)", {}).select("name", "type")
        twice = columns.filter(pl.col("name").is_duplicated())["name"]
        if len(twice):
            raise CatalogError(f"{self.where}: two columns of the answer are called {twice[0]}; name one of them AS")
        types = dict(columns.iter_rows())
        casts = {name: cast for name, kind in types.items() if (cast := answered(self.dialect.quoted(name), kind))}
        if not casts:
            return select
        told = ", ".join(f"{cast} AS {self.dialect.quoted(name)}" for name, cast in casts.items())
        return f"SELECT * REPLACE ({told}) FROM (\n{select}\n)"

    def _known(self, table: str, symbols: Sequence[str]) -> set[str]:
        return set(self._symbols(table)) & set(symbols)

    def _symbols(self, table: str) -> list[str]:
        return sorted(self.partitions(self.name(table))["symbol"].unique())

    def _source(self, name: str, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Source:
        where = (
            f"symbol IN {{{name}_symbols:Array(String)}} AND ts >= {_instant(f'{name}_start')} "
            f"AND ts < {_instant(f'{name}_end')}"
        )
        values = {f"{name}_symbols": list(symbols), f"{name}_start": _us(start), f"{name}_end": _us(end)}
        return Source(self.name(table), where, values)

    def _newest(self, name: str, table: str, symbols: Sequence[str], at: datetime) -> Source:
        held = self.partitions(self.name(table)).filter(pl.col("symbol").is_in(symbols) & (pl.col("first") <= at))
        # Dates follow time: the newest of a symbol's partitions that begins by then has its last row.
        dates = held.sort("first").group_by("symbol").agg(pl.col("date").last())["date"].unique().sort().to_list()
        where = (
            f"symbol IN {{{name}_symbols:Array(String)}} AND date IN {{{name}_dates:Array(String)}} "
            f"AND ts <= {_instant(f'{name}_at')}"
        )
        values = {f"{name}_symbols": list(symbols), f"{name}_dates": dates, f"{name}_at": _us(at)}
        return Source(self.name(table), where, values)

    def _ask(self, text: str, parameters: Mapping[str, Any]) -> pl.DataFrame:
        try:
            content = self._reader.raw_query(text, parameters=dict(parameters), fmt="Arrow")
        except Exception as error:
            raise self._told(error) from error
        try:
            frame = pl.read_ipc(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError) as error:  # OSError: of an answer without a byte
            raise CatalogError(
                f"{self.where}: the answer is no frame, cast its columns: {_first_line(error)}"
            ) from error
        return frame

    def _told(self, error: Exception) -> CatalogError:
        return _told(error, self.where, self._user)


_OUTSIDE = re.compile(r"(?<![\w.])`?file`?\s*\(|\A\s*DESCRIBE\b.*\(", re.IGNORECASE | re.DOTALL)
"""What reads a file or calls a host as a value, or to tell its columns."""

_CALLED = re.compile(r"\w+(?=\s*\()")
"""The name of a function, or what stands before another bracket."""

HARMLESS = frozenset(
    {"format", "generate_series", "generaterandom", "generateseries", "merge", "null", "numbers", "numbers_mt", "one"}
    | {"primes", "sqlstandardvalues", "values", "view", "viewexplain", "viewifpermitted", "zeros", "zeros_mt"}
)
"""Table functions that make their rows themselves, or read tables of the database; format() is a value, too."""

LOADED = "SELECT symbol, date, version, count() AS rows, min(ts) AS first"
"""What the projection `loaded` of every table holds."""


def _instant(parameter: str) -> str:
    """A parameter of microseconds as an instant: as a text it could not lie before 1900 or after 2299."""
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def _us(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def _package() -> Any:
    try:
        import clickhouse_connect
    except ImportError as error:
        raise ConfigError(
            f"warehouse: clickhouse-connect is not installed; pip install 'quant-assets[clickhouse]' ({error})"
        ) from error
    # It writes a traceback of what it raises as well.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    return clickhouse_connect


def _told(error: Exception, where: str, user: str) -> CatalogError:
    """An error of the driver in the catalog's words. Anything that is none of the driver's is raised as it is."""
    from clickhouse_connect.driver.exceptions import Error, OperationalError

    if not isinstance(error, Error):
        raise error
    code, told = getattr(error, "code", None), _first_line(error)
    if code == _READS_ONLY and not user:  # the engine in this process, which has no users
        return WarehouseAccessError(f"{where} only reads, and refuses: {told}. Ask the lake's tables.")
    if code in _REFUSED:
        return WarehouseAccessError(
            f"{where} refuses user {user!r}: {told}. Set warehouse.user, and CLICKHOUSE_PASSWORD in the environment."
        )
    if code in (_NO_DATABASE, _NO_TABLE):
        return UnknownTableError(f"{where}: {told}")
    if code == _NO_COLUMN:
        return UnknownColumnError(f"{where}: {told}")
    if code == _TOO_SLOW or (isinstance(error, OperationalError) and code is None):
        return WarehouseUnavailableError(
            f"{where} did not answer: {_first_line(_origin(error))}. Start it, or set warehouse.host, port and tls; "
            "warehouse.timeout_seconds is how long an answer may take."
        )
    return CatalogError(f"{where}: {told}")


def _origin(error: BaseException) -> BaseException:
    """What an error came from in the end; urllib3 keeps it as `reason`."""
    inner = getattr(error, "reason", None) or error.__cause__
    return _origin(inner) if isinstance(inner, BaseException) else error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500].rstrip(".")
