"""Rows as a venue's payload gave them, made a frame: values are what their columns hold, or an error says which not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from resources.alternative.base import Kind, schema
from resources.errors import BadAnswerError


def framed(kind: Kind, source: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows in the types of `schema(kind)`, with the columns that any of them has, record_id and ts at the least.

    Numbers are finite and fit their column, instants have their zone, texts are text (what of one is no character, half
    of a pair, is U+FFFD). Raises BadAnswerError naming source, record and field of the first value that is none of it.
    """
    wanted = schema(kind)
    made = [{name: _value(kind, source, row, name, wanted) for name in row} for row in rows]
    there = {name for row in made for name in row} | {"record_id", "ts"}
    return pl.DataFrame(made, {name: dtype for name, dtype in wanted.items() if name in there})


def _value(kind: Kind, source: str, row: Mapping[str, Any], name: str, wanted: pl.Schema) -> Any:
    value = row[name]
    if value is None:
        return None
    what, read = _READ[wanted[name].base_type()]
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError) as error:
        of = f" of {row['symbol']}" if row.get("symbol") else ""
        raise BadAnswerError(
            f"{kind} of {source}: record {str(row.get('record_id'))[:80]}{of}: {name} is {str(value)[:80]!r}; "
            f"it must be {what}. Try later, or leave the source out (alternative.sources)."
        ) from error


def text(value: Any) -> str:
    """A text without halves of characters. Raises TypeError on anything else."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(value)
    return float(value)


def _whole(bits: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise TypeError(value)
        return value

    return read


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _day(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError(value)
    return value


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError(value)
    return value


def texts(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return [text(each) for each in value]


_READ: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    pl.String: ("text", text),
    pl.Float64: ("a finite number", _number),
    pl.Int64: ("a whole number below 2^63", _whole(64)),
    pl.Int32: ("a whole number below 2^31", _whole(32)),
    pl.Boolean: ("true or false", _yes),
    pl.Date: ("a day", _day),
    pl.Datetime: ("an instant with its zone", _instant),
    pl.List: ("a list of texts", texts),
}
"""What a column's values must be, and how each is read; TypeError, ValueError or OverflowError on others."""
