"""What has been downloaded by a run that is not written yet: kept on disk, so that a killed run asks for nothing twice.

One small Parquet file for what one request brought about one symbol, named by a hash of the whole question. A file is
complete or not there. The run that wrote everything removes its own; what a run left behind counts for a day, since a
provider may correct what it said.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import polars as pl

from resources.errors import LakeError

KEPT_SECONDS = 86_400.0


class Downloads:
    """The downloads of one question in parts: which provider with which settings, what, when.

    `folder`: of this installation. `question`: everything that a part's name does not say, as text.

    >>> import tempfile
    >>> downloads = Downloads(Path(tempfile.mkdtemp()), "yahoo bars 1d")
    >>> downloads.keep("AAPL 2024", pl.DataFrame({"close": [185.6]}))
    >>> downloads.held("AAPL 2024", pl.Schema({"close": pl.Float64}))["close"].to_list()
    [185.6]
    """

    def __init__(self, folder: Path, question: str) -> None:
        self._folder = folder
        self._question = question
        self._used: list[Path] = []

    def held(self, part: str, schema: pl.Schema) -> pl.DataFrame | None:
        """What was kept of a part; None where nothing is, or it is a day old, damaged or of another schema."""
        path = self._path(part)
        try:
            if path.stat().st_mtime < time.time() - KEPT_SECONDS:
                return None
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            return None  # it is asked for again, which is all that a file here could have spared
        if frame.schema != schema:
            return None
        self._used.append(path)
        return frame

    def keep(self, part: str, frame: pl.DataFrame) -> None:
        """Keep a part until `forget`. Raises LakeError where the folder cannot be written."""
        path = self._path(part)
        staged = path.with_suffix(f".{uuid4().hex[:8]}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(staged, compression="zstd", compression_level=1, statistics=False)
            os.replace(staged, path)
        except (OSError, pl.exceptions.PolarsError) as error:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            raise LakeError(
                f"downloads: {self._folder} cannot be written ({error}). Free some space or mend the permissions; what "
                "was downloaded before stays there for the next run."
            ) from error
        self._used.append(path)

    def forget(self) -> None:
        """Remove the parts that were kept or used, now that they are written; and what others left for days."""
        _remove(self._used)
        self._used.clear()
        if self._folder.is_dir():
            _remove(file for file in self._folder.iterdir() if _age(file) > KEPT_SECONDS)

    def _path(self, part: str) -> Path:
        name = hashlib.blake2b(f"{self._question}\n{part}".encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}.parquet"


def _age(file: Path) -> float:
    with contextlib.suppress(FileNotFoundError):  # another run removed it meanwhile
        return time.time() - file.stat().st_mtime
    return 0.0


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
