"""The lake: Parquet files under one folder or object store, one partition of one asset a folder.

    <lake>/<asset path>/symbol=S/date=D/part.parquet      date x symbol
    <lake>/<asset path>/date=D/part.parquet               sessions and cut-offs
    <lake>/<asset path>/part.parquet                      without partitions

Writes are staged beside their target and renamed together at the end: a failed or killed run leaves the
last good version of every partition readable. This module knows no Dagster; `lake_io.py` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa

from resources.errors import LakeError

VERSION_KEY = "data_version"
FETCH_KEY = "fetch_version"
"""In a file's own metadata: the version of its columns in VOLATILE, which its data version leaves out."""

VOLATILE = ("fetched_at",)
"""Columns that may differ between two fetches of the same content: no part of its data version."""

_WRITERS = 4
_STAGED = ".staged-"
_ABANDONED_SECONDS = 86_400
_MAGIC = b"PAR1"
_PART = "__part"


@dataclass(frozen=True, slots=True)
class Written:
    """One partition as written: its rows, its content's version, and whether that version is new."""

    partition: tuple[tuple[str, str], ...]
    rows: int
    data_version: str
    changed: bool


def content_version(frame: pl.DataFrame) -> str:
    """Hash of names, types and values, row order included; the same on every machine and run.

    Columns in VOLATILE do not count.
    """
    return content_versions(frame, [frame.height])[0]


def fetch_version(frame: pl.DataFrame) -> str:
    """Hash of the columns in VOLATILE, "" without any."""
    digest = hashlib.blake2b(digest_size=6)
    held = [_plain(column) for column in frame.get_columns() if column.name in VOLATILE]
    for name, nulls, values in held:
        digest.update(name + (nulls.tobytes() if nulls is not None else b"") + values.tobytes())
    return digest.hexdigest() if held else ""


def content_versions(frame: pl.DataFrame, lengths: Sequence[int]) -> list[str]:
    """`content_version` of each of the consecutive slices of `frame` that have these lengths.

    Columns are turned into plain values once for the whole frame: a slice at a time this was most of the cost of
    writing 11,000 partitions.
    """
    columns = [_plain(column) for column in frame.get_columns() if column.name not in VOLATILE]
    versions, start = [], 0
    for length in lengths:
        digest = hashlib.blake2b(digest_size=12)
        for name, nulls, values in columns:
            digest.update(name)
            missing = nulls[start : start + length] if nulls is not None else None
            digest.update(missing.tobytes() if missing is not None and missing.any() else b"")
            for part in values.slice(start, length) if isinstance(values, _Text) else (values[start : start + length],):
                digest.update(part.tobytes())
        versions.append(digest.hexdigest())
        start += length
    return versions


class _Text:
    """A column of text as its bytes one after the other, and where each value begins."""

    def __init__(self, column: pl.Series) -> None:
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
        _, starts, content = array.buffers()
        self._starts = np.frombuffer(starts, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        self._content = np.frombuffer(content, dtype=np.uint8) if content is not None else np.zeros(0, dtype=np.uint8)

    def slice(self, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and bytes of some consecutive values."""
        ends = self._starts[start : start + length + 1]
        return np.diff(ends), self._content[ends[0] : ends[-1]] if len(ends) else self._content[:0]


def _plain(column: pl.Series) -> tuple[bytes, Any, Any]:
    """Name and type, which values are missing (None where none is), and the values with missing ones as zeros."""
    name = f"{column.name}:{column.dtype};".encode()
    nulls = column.is_null().to_numpy() if column.null_count() else None
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Binary:
        column = column.bin.encode("hex")
    if isinstance(column.dtype, pl.List):
        # Joined by a control character that no symbol, flag or reason holds.
        column = column.cast(pl.List(pl.String)).list.join("\x1f")
    if isinstance(column.dtype, pl.Categorical | pl.Enum):  # their numbers depend on what a process has seen before
        column = column.cast(pl.String)
    if column.dtype == pl.Null:
        return name, nulls, np.zeros(len(column), dtype=bool)
    if column.dtype == pl.String:
        return name, nulls, _Text(column.fill_null(""))
    physical = column.to_physical()
    return name, nulls, physical.fill_null(False if physical.dtype == pl.Boolean else 0).to_numpy()


class Lake:
    """Reads and writes the partitions of assets under `url`, a folder or any fsspec URL.

    A partition is a mapping from dimension to key, for example {"symbol": "AAPL", "date": "2012"};
    {} where an asset has none.

    Raises LakeError on a name that an object store would take for a pattern.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in (
            self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
        )
        if not self._local and any(letter in url for letter in "*?["):
            raise LakeError(f"{url}: an object store takes *, ? and [ for a pattern; give the lake another name")

    def folder(self, asset: Sequence[str], partition: Mapping[str, str] | None = None) -> str:
        parts = [self._root, *asset, *(f"{name}={quote(key, safe='')}" for name, key in (partition or {}).items())]
        return "/".join(parts)

    def path(self, asset: Sequence[str], partition: Mapping[str, str] | None = None, name: str = "part.parquet") -> str:
        """Path of one file of a partition."""
        return f"{self.folder(asset, partition)}/{name}"

    def exists(self, asset: Sequence[str], partition: Mapping[str, str] | None = None) -> bool:
        return self._exists(self.path(asset, partition))

    def scan(self, asset: Sequence[str], partitions: Sequence[Mapping[str, str]]) -> pl.LazyFrame:
        """The rows of exactly these partitions, lazily. Partitions never written are left out.

        Raises LakeError where none of them was written, or one cannot be read.
        """
        found = [path for partition in partitions if self._exists(path := self.path(asset, partition))]
        if not found:
            wanted = (
                f"partitions {_name(partitions[0])} to {_name(partitions[-1])}"
                if partitions
                else "the asked partitions"
            )
            raise LakeError(f"{'/'.join(asset)}: nothing was ever written for {wanted}; materialize it first")
        try:
            if self._local:
                self._refuse_damaged(asset, found)
                frame = pl.scan_parquet(found, glob=False, missing_columns="insert")
                frame.collect_schema()
                return frame
            return pl.concat([pl.read_parquet(io.BytesIO(self._files.cat_file(path))) for path in found]).lazy()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise LakeError(f"{'/'.join(asset)}: {self._first_unreadable(found)}: {error}") from error

    def read(self, asset: Sequence[str], partition: Mapping[str, str] | None = None) -> pl.DataFrame:
        """One partition, eagerly."""
        return self.scan(asset, [partition or {}]).collect()

    def read_bytes(self, asset: Sequence[str], partition: Mapping[str, str] | None, name: str) -> bytes:
        """A file that stands beside a partition's rows, such as a report's page."""
        try:
            return bytes(self._files.cat_file(self.path(asset, partition, name)))
        except OSError as error:
            raise LakeError(
                f"{'/'.join(asset)} {_name(partition or {})}: {name} was never written; materialize it first"
            ) from error

    def partitions(self, asset: Sequence[str]) -> list[dict[str, str]]:
        """Every partition written, as the folders say."""
        base = self.folder(asset)
        if self._local:
            folders = sorted(_holding(base, ""))
        else:
            try:
                files = self._files.find(base)
            except FileNotFoundError:
                return []
            parts = (path[len(base) + 1 :].rpartition("/") for path in files)
            folders = sorted({folder for folder, _, name in parts if name == "part.parquet"})
        return [
            {name: unquote(key) for name, _, key in (part.partition("=") for part in folder.split("/"))}
            if folder
            else {}
            for folder in folders
        ]

    @contextlib.contextmanager
    def writing(self, asset: Sequence[str]) -> Iterator[Staging]:
        """Stage any number of partitions; all replace their predecessors at the end, or none does.

        Raises LakeError, with nothing replaced, where the store cannot be written (a full disk).
        """
        staging = Staging(self, tuple(asset))
        try:
            yield staging
            staging.commit()
        except OSError as error:
            raise LakeError(
                f"{'/'.join(asset)}: cannot write to {self.url}: {error.strerror or error}. "
                "Nothing was replaced: the last good version stays. Free some space or mend the permissions."
            ) from error
        finally:
            staging.discard()

    def _exists(self, path: str) -> bool:
        return os.path.exists(path) if self._local else bool(self._files.exists(path))

    def _put(self, path: str, content: bytes) -> None:
        if not self._local:
            self._files.pipe_file(path, content)
            return
        folder = os.path.dirname(path)
        try:
            os.mkdir(folder)  # most often it is the one folder that is missing, and then there is nothing to sweep
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
        except FileExistsError:
            _sweep(folder)
        with open(path, "wb") as file:
            file.write(content)

    def _move(self, source: str, target: str) -> None:
        if self._local:
            os.replace(source, target)
        else:
            self._files.mv(source, target)

    def _drop(self, path: str) -> None:
        if self._exists(path):
            os.unlink(path) if self._local else self._files.rm(path)

    def _refuse_damaged(self, asset: Sequence[str], paths: Sequence[str]) -> None:
        """A lazy scan opens its first file only: without this, a damaged later one fails while collecting, unnamed."""
        for path in paths:
            with open(path, "rb") as file:
                head = file.read(len(_MAGIC))
                file.seek(-min(len(_MAGIC), os.fstat(file.fileno()).st_size), os.SEEK_END)
                if not head == file.read() == _MAGIC:
                    raise LakeError(f"{'/'.join(asset)}: {self._unreadable(path)}")

    def _unreadable(self, path: str) -> str:
        return f"{path[len(self._root) + 1 :]} is not readable Parquet; materialize that partition again"

    def _first_unreadable(self, paths: Sequence[str]) -> str:
        for path in paths:
            try:
                pl.read_parquet_schema(io.BytesIO(self._files.cat_file(path)))
            except (pl.exceptions.PolarsError, OSError):
                return self._unreadable(path)
        return f"{len(paths)} partitions do not share one schema; materialize the older ones again"

    def stored_version(self, path: str) -> str | None:
        """The data version in a file's own metadata; None where there is no readable file."""
        if not self._exists(path):
            return None
        try:
            source: Any = path if self._local else io.BytesIO(self._files.cat_file(path))
            return pl.read_parquet_metadata(source).get(VERSION_KEY)
        except (pl.exceptions.PolarsError, OSError):
            # A damaged file counts as none: it is about to be replaced by a good one.
            return None


def _holding(base: str, below: str) -> Iterator[str]:
    """The folders in a folder, or itself as "", that hold a partition's rows; fsspec lists every one of them."""
    if os.path.exists(f"{base}/{below}/part.parquet"):
        yield below
        return
    try:
        with os.scandir(f"{base}/{below}") as entries:
            names = [entry.name for entry in entries if "=" in entry.name]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield from _holding(base, f"{below}/{name}" if below else name)


def _sweep(folder: str) -> None:
    """Remove what runs killed long ago left staged in a folder; a run that is still going is never that old."""
    for entry in os.scandir(folder):
        if _STAGED in entry.name and entry.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
            os.unlink(entry.path)


class Staging:
    """Partitions written beside their targets, not yet visible."""

    def __init__(self, lake: Lake, asset: tuple[str, ...]) -> None:
        self._lake = lake
        self._asset = asset
        self._suffix = f"{_STAGED}{uuid4().hex[:8]}"
        self._pending: dict[str, str] = {}

    def write(self, frames: Sequence[tuple[Mapping[str, str], pl.DataFrame]]) -> list[Written]:
        """Stage each partition's rows; a partition whose content is unchanged is left alone."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(lambda item: self._write_one(item[0], item[1], content_version(item[1])), frames))

    def write_slices(
        self, partitions: Sequence[Mapping[str, str]], frame: pl.DataFrame, lengths: Sequence[int]
    ) -> list[Written]:
        """`write` for partitions whose rows are consecutive slices of one frame, of these lengths: much quicker."""
        # Copies, because a slice drags the whole frame's lists and texts through the Parquet writer: 8 ms against 1 ms.
        number = pl.Series(_PART, np.repeat(np.arange(len(lengths)), lengths))
        held = iter(frame.with_columns(number).partition_by(_PART, maintain_order=True, include_key=False))
        parts = [next(held) if length else frame.clear() for length in lengths]
        versions = content_versions(frame, lengths)
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(self._write_one, partitions, parts, versions))

    def write_bytes(self, partition: Mapping[str, str], name: str, content: bytes) -> None:
        """Stage a file that stands beside a partition's rows."""
        self._stage(self._lake.path(self._asset, partition, name), content)

    def write_extra(self, partition: Mapping[str, str], name: str, frame: pl.DataFrame) -> None:
        """Stage a further frame of a partition, as `<name>.parquet`."""
        self._stage(self._lake.path(self._asset, partition, f"{name}.parquet"), _parquet(frame, content_version(frame)))

    def commit(self) -> None:
        """Make everything staged visible."""
        for target, staged in self._pending.items():
            self._lake._move(staged, target)
        self._pending.clear()

    def discard(self) -> None:
        """Remove what was staged and not committed."""
        for staged in self._pending.values():
            self._lake._drop(staged)
        self._pending.clear()

    def _write_one(self, partition: Mapping[str, str], frame: pl.DataFrame, version: str) -> Written:
        path = self._lake.path(self._asset, partition)
        changed = self._lake.stored_version(path) != version
        if changed:
            self._stage(path, _parquet(frame, version))
        return Written(tuple(partition.items()), frame.height, version, changed)

    def _stage(self, target: str, content: bytes) -> None:
        staged = target + self._suffix
        self._pending[target] = staged
        self._lake._put(staged, content)


def _parquet(frame: pl.DataFrame, version: str) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=1,
        statistics=False,
        metadata={VERSION_KEY: version, FETCH_KEY: fetch_version(frame)},
    )
    return buffer.getvalue()


def _name(partition: Mapping[str, str]) -> str:
    return " ".join(f"{name}={key}" for name, key in partition.items()) or "(none)"
