"""A sweep on the disk: batch after batch of figures, and the returns of all runs in one file. Survives a kill.

    <folder>/sweep-<digest>/
        sweep.json          what is swept: parameter names, number of runs, sessions; written first
        returns.f32         returns as float32: a row a run, in the grid's order, a column a session
        batch-0-8.parquet   figures and failures of the runs from number 0 up to 8, numbers with leading zeros
        lock                held by the process that sweeps

A batch counts once its Parquet file has its name, and it gets that after its returns are on the disk. What a kill
leaves behind is a temporary file, and returns that are written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.sweeps.grid import Failure, Parameters, SweepError
from quant_assets.backtests.sweeps.runs import BESIDE, FIGURES, Ran

RUN, STAGE, REASON = "run", "stage", "reason"
_BATCH = "batch-*.parquet"


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of one sweep."""

    folder: Path
    runs: int
    sessions: npt.NDArray[np.datetime64]
    schema: pl.Schema
    """Of a batch: the run's number, its parameters, its figures, and stage and reason of a failure."""

    @staticmethod
    def opened(folder: Path, sets: Sequence[Parameters], sessions: npt.NDArray[np.datetime64], beside: bool) -> Store:
        """Make or find the folder.

        Raises SweepError if a parameter has the name of a figure, if the folder cannot be written to, and if of what it
        holds a part was lost.
        """
        figures = FIGURES | BESIDE if beside else FIGURES
        taken = [name for name in sets[0] if name in (RUN, STAGE, REASON, *FIGURES, *BESIDE)]
        if taken:
            raise SweepError(
                f"grid: {taken[0]} is the name of a column of the results; give the parameter another name"
            )
        types = pl.DataFrame(list(sets), infer_schema_length=None).schema
        schema = pl.Schema({RUN: pl.Int64()} | dict(types) | dict(figures) | {STAGE: pl.String(), REASON: pl.String()})
        store = Store(folder, len(sets), sessions, schema)
        whole = {"runs": len(sets), "sessions": [str(day) for day in sessions], "parameters": list(sets[0])}
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            store._check_whole()
            _write(folder / "sweep.json", json.dumps(whole).encode())
            returns = folder / "returns.f32"
            returns.touch()
            os.truncate(returns, store._bytes)
        return store

    @property
    def _bytes(self) -> int:
        return self.runs * self.sessions.size * 4

    def _check_whole(self) -> None:
        """Raise SweepError unless batch follows on batch and the returns of all of them are there."""
        expected = 0
        for path in sorted(self.folder.glob(_BATCH)):
            _, first, end = path.stem.split("-")
            if int(first) != expected:
                raise self._damaged(f"the batches of the runs from {expected} to {int(first)} are missing")
            expected = int(end)
            if _read(path).height != int(end) - int(first):
                raise self._damaged(f"{path.name} holds another number of runs than its name says")
        if not expected:
            return
        returns = self.folder / "returns.f32"
        if not returns.exists() or returns.stat().st_size != self._bytes:
            raise self._damaged("returns.f32 is missing or has another size than it was given")

    def _damaged(self, what: str) -> SweepError:
        return SweepError(f"{self.folder}: {what}; put back what was there, or delete the folder and sweep anew")

    @property
    def done(self) -> int:
        """How many runs, from the first on, are on the disk."""
        ends = [int(path.stem.split("-")[2]) for path in self.folder.glob(_BATCH)]
        return max(ends, default=0)

    def add(self, first: int, answers: Sequence[Ran | Failure]) -> None:
        """Write the runs from number `first` on, all or none."""
        block = np.full((len(answers), self.sessions.size), np.nan, np.float32)
        rows: list[dict[str, Any]] = []
        for place, answer in enumerate(answers):
            if isinstance(answer, Ran):
                block[place] = answer.returns
                rows.append({RUN: first + place} | answer.candidate.parameters | answer.figures)
            else:
                rows.append({RUN: first + place} | answer.parameters | {STAGE: answer.stage, REASON: answer.reason})
        # Written and not mapped: mapped pages would count as memory until the system takes them back.
        frame = pl.DataFrame(rows, schema=self.schema)
        path = self.folder / f"batch-{first:09d}-{first + len(answers):09d}.parquet"
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        with on_disk(self.folder):
            with (self.folder / "returns.f32").open("r+b") as file:
                file.seek(first * self.sessions.size * 4)
                file.write(block.tobytes())
                file.flush()
                os.fsync(file.fileno())
            frame.write_parquet(hidden, compression="zstd")
            hidden.replace(path)

    def results(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Figures of the runs that came to their end, and the parameters, stage and reason of the others."""
        paths = sorted(self.folder.glob(_BATCH))
        rows = pl.concat([_read(path) for path in paths]) if paths else pl.DataFrame(schema=self.schema)
        parameters = [name for name in self.schema if name not in (*FIGURES, *BESIDE, STAGE, REASON)]
        failed = pl.col(REASON).is_not_null()
        return rows.filter(~failed).drop(STAGE, REASON), rows.filter(failed).select(*parameters, STAGE, REASON)

    def returns(self) -> npt.NDArray[np.float32]:
        """(sessions, runs) float32, read from the disk where it is looked at; NaN where a run failed or was not made.

        A view: of one run, `returns[:, number]` reads as many numbers as there are sessions.
        """
        shape = (self.runs, self.sessions.size)
        return np.memmap(self.folder / "returns.f32", dtype=np.float32, mode="r", shape=shape).T


@contextmanager
def on_disk(place: Path) -> Iterator[None]:
    """Tell what the system refuses of a folder, such as a full disk, as SweepError."""
    try:
        yield
    except OSError as error:
        raise SweepError(f"folder {place}: {error}; make room there or name a folder that can be written to") from error


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SweepError(f"{path}: cannot be read ({error}); delete the folder and sweep anew") from error


def digest(*parts: str | bytes) -> str:
    """Twelve digits that change with any of the parts."""
    found = hashlib.blake2b(digest_size=6)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def _write(path: Path, data: bytes) -> None:
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_bytes(data)
    hidden.replace(path)
