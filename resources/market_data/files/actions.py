"""Splits and dividends from a file of their own, in one of two layouts.

    symbol, date, kind, value                     kind is split (value: new shares per old) or dividend (cash a share)
    symbol, date, action, split_ratio, dividend   action says which of the two columns holds the value

date is the ex-date. venue, last_cum_date and reference_close may be there and are not read.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from resources.errors import BarSchemaError
from resources.market_data.files.tables import Layout, Table, read_schema

NOTES = ("venue", "last_cum_date", "reference_close")
LONG = Layout(
    "actions",
    needed=("kind", "value"),
    optional=NOTES,
    types={"symbol": pl.String(), "date": pl.Date(), "kind": pl.String(), "value": pl.Float64()},
    times=("date",),
)
WIDE = Layout(
    "actions",
    needed=("action", "split_ratio", "dividend"),
    optional=NOTES,
    types={
        "symbol": pl.String(),
        "date": pl.Date(),
        "action": pl.String(),
        "split_ratio": pl.Float64(),
        "dividend": pl.Float64(),
    },
    times=("date",),
)


def read_actions(path: Path) -> pl.DataFrame:
    """Rows with symbol, session, kind and value. Raises BarSchemaError naming file, symbol, date and field."""
    schema = read_schema(path)
    layout = WIDE if "action" in schema else LONG
    layout.check(schema, path)
    table = Table((path,), schema, layout)
    table.check_text()
    rows = table.collect(table.scan(layout.needed))
    if layout is WIDE:
        value = pl.when(pl.col("action") == "split").then("split_ratio").otherwise("dividend")
        rows = rows.with_columns(kind="action", value=value)
    bad = rows.filter(~pl.col("kind").is_in(["split", "dividend"]).fill_null(False)).head(1)
    if bad.height:
        raise BarSchemaError(
            f"{bad['symbol'][0]} {bad['session'][0]}: {layout.needed[0]} is {bad['kind'][0]}; it must be split or "
            f"dividend ({path.name}). Fix it in the source."
        )
    twice = rows.filter(pl.struct("symbol", "session", "kind").is_duplicated()).head(1)
    if twice.height:
        raise BarSchemaError(
            f"{twice['symbol'][0]} {twice['session'][0]}: more than one {twice['kind'][0]} ({path.name}). Add them up, "
            "or drop what is there twice."
        )
    return rows.select("symbol", "session", "kind", "value")
