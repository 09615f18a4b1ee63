"""Areas of the Earth and the symbols that what happens in them concerns."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from resources.errors import ConfigError

Box = tuple[float, float, float, float]
"""West, south, east, north."""

COLUMNS = ("area", "symbol", "west", "south", "east", "north")
DATES = ("valid_from", "valid_until")


@dataclass(frozen=True, slots=True)
class Area:
    """A box in degrees (WGS 84) that concerns a symbol from `valid_from` until `valid_until` (excluded; None: open).

    One area may concern several symbols, and another one after it was sold: an Area each. Which areas to look at is a
    choice made today: it knows which companies came to matter, and that is hindsight no `known_at` can undo.
    """

    name: str
    symbol: str
    box: Box
    valid_from: date | None = None
    valid_until: date | None = None

    def __post_init__(self) -> None:
        west, south, east, north = self.box
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ConfigError(
                f"area {self.name}: west {west:g}, south {south:g}, east {east:g}, north {north:g} is no box in "
                "degrees; west < east and south < north are needed (split one that crosses the 180th meridian)"
            )
        if not self.name or not self.symbol:
            raise ConfigError(f"area {self.name!r} of symbol {self.symbol!r}: both need a name")

    def concerns(self, ts: datetime) -> bool:
        """Whether it concerned the symbol at this instant, by its day in UTC."""
        day = ts.date()
        return (self.valid_from or date.min) <= day < (self.valid_until or date.max)


def read_areas(path: Path) -> tuple[Area, ...]:
    """The areas in a CSV or a YAML list with area, symbol, west, south, east, north, and valid_from, valid_until.

    Raises ConfigError naming the file, the row and what is wrong.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file of areas")
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            rows: list[Any] = list(csv.DictReader(lines))
    else:
        rows = yaml.safe_load(path.read_text()) or []
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: a list of areas is needed, each with {', '.join(COLUMNS)}")
    return tuple(_area(path, at, row) for at, row in enumerate(rows, 1))


def _area(path: Path, at: int, row: Any) -> Area:
    if not isinstance(row, Mapping) or any(row.get(name) in (None, "") for name in COLUMNS):
        raise ConfigError(f"{path}, area {at}: {', '.join(COLUMNS)} are needed, got {row}")
    odd = [name for name in row if name not in (*COLUMNS, *DATES)]
    if odd:
        raise ConfigError(f"{path}, area {at}: {odd[0]} is no column; there are {', '.join((*COLUMNS, *DATES))}")
    try:
        west, south, east, north = (float(row[name]) for name in COLUMNS[2:])
        since, until = (_day(row.get(name)) for name in DATES)
    except ValueError as error:
        raise ConfigError(f"{path}, area {at} ({row['area']}): {error}") from error
    return Area(str(row["area"]), str(row["symbol"]), (west, south, east, north), since, until)


def _day(told: Any) -> date | None:
    if told in (None, ""):
        return None
    return told if isinstance(told, date) else date.fromisoformat(str(told))
