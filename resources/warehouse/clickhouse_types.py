"""ClickHouse's types in answers: those that Arrow has none for, as what DuckDB answers with."""

from __future__ import annotations

import re

_NOWHERE = re.compile(r"\b(Variant|Dynamic|JSON)\b")
"""Of one type a row."""

_WIDE = re.compile(r"(Nullable\()?U?Int128\)?")

_ENUM = r"\bEnum(8|16)\((?:'(?:[^'\\]|\\.)*'|[^')])*\)"
_OF_ONE = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*"
_END = r"(?=[,)]|$)"

_AS = [
    (re.compile(_ENUM), "String"),
    (re.compile(rf"\b(UUID|IPv4|IPv6|U?Int128|U?Int256|FixedString\(\d+\)){_END}"), "String"),
    (re.compile(r"\bDecimal\((39|[4-7]\d), \d+\)"), "String"),
    (re.compile(rf"\bDateTime(\('[^']*'\))?{_END}"), "DateTime64(6, 'UTC')"),
    (re.compile(rf"\bDate{_END}"), "Date32"),
    (re.compile(rf"\bLowCardinality\(({_OF_ONE})\)"), r"\1"),
]
"""In this order. A name in a tuple is followed by its type."""


def answered(column: str, kind: str) -> str | None:
    """The column, of this type, as an expression of one that has a type in a frame; None where it has one itself.

    Dates and instants stay these, in lists, maps and tuples too; a number of 128 bits is a decimal of 38 digits, in a
    list a text; texts of few values, UUIDs, addresses and wider numbers are texts.

    Example: `answered("at", "Nullable(DateTime)")` is "CAST(at AS Nullable(DateTime64(6, 'UTC')))"
    """
    if _WIDE.fullmatch(kind):
        return f"toDecimal128(toString({column}), 0)"
    if _NOWHERE.search(kind):
        return f"toString({column})"
    told = kind
    for pattern, instead in _AS:
        told = pattern.sub(instead, told)
    return f"CAST({column} AS {told})" if told != kind else None
