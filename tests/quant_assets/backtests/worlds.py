"""Small cleaned bars and orders, as frames, from the same words as the exchange's tables of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from resources.calendars import UTC_MICROS
from resources.exchange import Bar
from tests.resources.exchange.cases import opens

CLOSES_AFTER = timedelta(hours=6.5)
BAR_FIELDS = ("open", "high", "low", "close", "volume", "split", "dividend")


def closes(number: int) -> datetime:
    """The close of session `number`; -1 is the close before the first."""
    return opens(number) + CLOSES_AFTER


def cleaned(
    by_symbol: Mapping[str, Sequence[Bar | None]], flags: Mapping[tuple[str, int], str] | None = None
) -> pl.DataFrame:
    """Cleaned bars: each symbol's bars from the first session on, None where it has no row."""
    rows = [
        {
            "symbol": symbol,
            "ts": opens(number),
            "session": opens(number).date(),
            "known_at": closes(number),
            **{field: float(getattr(bar, field)) for field in BAR_FIELDS},
            "flags": [(flags or {})[symbol, number]] if (symbol, number) in (flags or {}) else [],
        }
        for symbol, bars in sorted(by_symbol.items())
        for number, bar in enumerate(bars)
        if bar is not None
    ]
    kinds = {"ts": UTC_MICROS, "known_at": UTC_MICROS, "flags": pl.List(pl.String)}
    return pl.DataFrame(rows, schema_overrides=kinds)


def sent(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """An orders frame; `ts` may be a session's number: its close."""
    kinds = {
        "ts": UTC_MICROS,
        "target_weight": pl.Float64,
        "quantity": pl.Float64,
        "limit_price": pl.Float64,
        "stop_price": pl.Float64,
    }
    made = [{**row, "ts": closes(row["ts"]) if isinstance(row["ts"], int) else row["ts"]} for row in rows]
    columns = {name for row in rows for name in row}
    return pl.DataFrame(
        [{name: row.get(name) for name in sorted(columns)} for row in made],
        schema_overrides={name: kind for name, kind in kinds.items() if name in columns},
        infer_schema_length=None,
    )


def target(ts: int | datetime, symbol: str, weight: float, **more: Any) -> dict[str, Any]:
    return {"ts": ts, "symbol": symbol, "target_weight": weight, **more}


def sized(ts: int | datetime, symbol: str, side: str, quantity: float, **more: Any) -> dict[str, Any]:
    return {"ts": ts, "symbol": symbol, "side": side, "quantity": quantity, **more}
