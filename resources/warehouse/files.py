"""The lake as files: its tables, which file holds what, and what a file says about itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import fsspec
import polars as pl

from resources.catalog import CatalogError, UnknownTableError
from resources.lake import FETCH_KEY, VERSION_KEY, Lake

T = TypeVar("T")

_PART = "part.parquet"

_MARGIN = timedelta(days=2)
"""A partition's date is the session's by the venue's clock: its instants lie at most this far outside of it in UTC."""

_ALWAYS = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class File:
    """One partition's file. No row of it lies before `first` or after `last`: all of time where its key is no date."""

    path: str
    partition: dict[str, str]
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says about its rows. version: of all of its columns, None in another program's file."""

    rows: int
    version: str | None


class LakeFiles:
    """Files of a lake by table (the path of an asset), symbol and date."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.filesystem: Any
        self.filesystem, self._root = fsspec.core.url_to_fs(lake.url)
        self.local = self.filesystem.protocol in ("file", ("file", "local"))
        self._dimensions: dict[str, list[str]] = {}
        self._schemas: dict[str, pl.Schema] = {}

    @property
    def folder(self) -> str:
        """The lake's own folder, as DuckDB names it."""
        return self._named(self._root)

    def tables(self) -> list[str]:
        """Every asset that has a partition, sorted."""
        return sorted(self._below(self._root))

    def _below(self, folder: str) -> Iterator[str]:
        for entry in self._listed(folder):
            name = entry.rpartition("/")[2]
            if name == _PART or "=" in name:
                if folder != self._root:
                    yield folder[len(self._root) + 1 :]
                return
        for entry in self._listed(folder):
            if self.filesystem.isdir(entry):
                yield from self._below(entry)

    def _listed(self, folder: str) -> list[str]:
        try:
            return sorted(entry.rstrip("/") for entry in self.filesystem.ls(folder, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def dimensions(self, table: str) -> list[str]:
        """Names of the table's partition dimensions, outermost first. Raises UnknownTableError."""
        if table not in self._dimensions:
            self._dimensions[table] = self._looked_up(table)
        return self._dimensions[table]

    def _looked_up(self, table: str) -> list[str]:
        folder = self.lake.folder(table.split("/"))
        first = self._first_part(folder)
        if first is None:
            tables = ", ".join(self.tables()) or "none: nothing was ever materialized"
            raise UnknownTableError(f"the lake {self.lake.url} has no table {table!r}; it has {tables}")
        return [name.partition("=")[0] for name in first[len(folder) :].split("/") if name]

    def _first_part(self, folder: str) -> str | None:
        """The first folder in this one that holds rows: one that was emptied says nothing about the others."""
        entries = self._listed(folder)
        if f"{folder}/{_PART}" in entries:
            return folder
        keys = (entry for entry in entries if "=" in entry.rpartition("/")[2] and self.filesystem.isdir(entry))
        return next(filter(None, map(self._first_part, keys)), None)

    def symbols(self, table: str) -> list[str]:
        """The symbols that a table cut by symbol has partitions of, sorted."""
        folders = (entry.rpartition("/")[2] for entry in self._listed(self.lake.folder(table.split("/"))))
        return sorted(unquote(folder.partition("=")[2]) for folder in folders if "=" in folder)

    def pattern(self, table: str) -> str:
        """A pattern of all files of a table."""
        folder = literal(self._named(self.lake.folder(table.split("/"))))
        return f"{folder}/{'*/' * len(self.dimensions(table))}{_PART}"

    def of(self, table: str, symbols: Sequence[str] | None = None) -> list[File]:
        """The table's files, those of some symbols where it is cut by symbol; by symbol, then date."""
        asset = table.split("/")
        if symbols is None or self.dimensions(table)[:1] != ["symbol"]:
            partitions = self.lake.partitions(asset)
        else:
            partitions = [
                {"symbol": symbol, **partition}
                for symbol in sorted(symbols)
                for partition in self.lake.partitions([*asset, f"symbol={quote(symbol, safe='')}"])
            ]
        partitions.sort(key=lambda partition: tuple(partition.values()))
        return [self._file(asset, partition) for partition in partitions]

    def has_rows(self, table: str, symbol: str) -> bool:
        """Whether a file of the symbol has; one that is damaged is told where no other does."""
        return any(self._readable(table, [symbol], lambda path: self.footer(path).rows))

    def schema(self, table: str) -> pl.Schema:
        """Columns of the table's newest partition. Raises UnknownTableError."""
        self.dimensions(table)
        return self._schema_of(max(self.of(table), key=_date).path)

    def readable_schema(self, table: str) -> pl.Schema:
        """Columns of the newest partition that is not damaged, as it was when first asked for: what is wrong with one
        symbol's file is told to who asks for its rows. Raises UnknownTableError."""
        if table not in self._schemas:
            self.dimensions(table)
            self._schemas[table] = next(self._readable(table, None, self._schema_of))
        return self._schemas[table]

    def _schema_of(self, path: str) -> pl.Schema:
        with self._named_where_damaged(path):
            return pl.Schema(pl.read_parquet_schema(io.BytesIO(self.filesystem.cat_file(path))))

    def _readable(self, table: str, symbols: Sequence[str] | None, look: Callable[[str], T]) -> Iterator[T]:
        """What a look at each file tells, the newest first. Raises what was wrong with the first that is damaged,
        where who asks has not found what it looks for in any other."""
        wrong: CatalogError | None = None
        for file in sorted(self.of(table, symbols), key=_date, reverse=True):
            try:
                yield look(file.path)
            except CatalogError as error:
                wrong = wrong or error
        if wrong is not None:
            raise wrong

    def footer(self, path: str) -> Footer:
        """What a file says about itself, without its rows being read."""
        from pyarrow import parquet

        with self._named_where_damaged(path), self.filesystem.open(path, "rb") as file:
            held = parquet.read_metadata(file)
        metadata = held.metadata or {}
        ours = {
            name: metadata[name.encode()].decode() for name in (VERSION_KEY, FETCH_KEY) if name.encode() in metadata
        }
        return Footer(held.num_rows, _version(ours))

    def read(self, path: str) -> tuple[str | None, pl.DataFrame]:
        """A file's version (see Footer) and its rows, both from one reading of it."""
        with self._named_where_damaged(path):
            content = self.filesystem.cat_file(path)
            return _version(pl.read_parquet_metadata(io.BytesIO(content))), pl.read_parquet(io.BytesIO(content))

    def _file(self, asset: Sequence[str], partition: dict[str, str]) -> File:
        path = self._named(self.lake.path(asset, partition))
        first, after = _dates(partition.get("date", ""))
        return File(path, partition, first, after)

    @contextmanager
    def _named_where_damaged(self, path: str) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except FileNotFoundError as error:
            raise CatalogError(f"{self._told(path)} was taken away while it was asked for; ask again") from error
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            told = " ".join(str(error).split())
            raise CatalogError(
                f"{self._told(path)} is not readable Parquet; materialize that partition again ({told})"
            ) from error

    def _told(self, path: str) -> str:
        """A file by its table, its partition and its path."""
        folders = path.removeprefix(f"{self._named(self._root)}/").split("/")[:-1]
        table = "/".join(folder for folder in folders if "=" not in folder)
        keys = "".join(" " + unquote(folder.partition("=")[2]) for folder in folders if "=" in folder)
        return f"{table}{keys}: {path}"

    def _named(self, path: str) -> str:
        return path if self.local else self.filesystem.unstrip_protocol(path)


def _version(metadata: Mapping[str, str]) -> str | None:
    """The lake's data version, and what it leaves out: rows that were lost and fetched again differ in that alone."""
    version = metadata.get(VERSION_KEY)
    return f"{version}.{metadata.get(FETCH_KEY, '')}" if version is not None else None


def literal(path: str) -> str:
    """A path as DuckDB's pattern of this path alone: a folder may be called `a[b]`, which is a pattern too."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _date(file: File) -> str:
    return file.partition.get("date", "")


def _dates(key: str) -> tuple[datetime, datetime]:
    """Between which instants the rows of a date key lie (2024, 2024-03, 2024-03-01)."""
    try:
        year, month, day = [*map(int, key.split("-")), 1, 1][:3]
        first = datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return _ALWAYS
    days = timedelta(days={0: 366, 1: 31}.get(key.count("-"), 1))
    # The first and the last days that there are have no days around them.
    low = first - min(_MARGIN, first - _ALWAYS[0])
    return low, first + min(days + _MARGIN, _ALWAYS[1] - first)
