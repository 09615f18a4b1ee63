"""Which instrument the rows of a file are of: its name and what the columns say of it. Pure.

    asset_class   symbol and ...                          name
    equity        AAPL                                    AAPL
    option        AAPL, 2014-06-06, 490.0, call           AAPL140606C00490000     as OCC writes it, without blanks
    future        ES, contract 201312 (or 20131220)       ES.201312               as Interactive Brokers' adapter
                  ES, expiry 2013-12-20                   ES.20131220
    cryptofuture  BTCUSDT                                 BTCUSDT.P               a perpetual, as Binance's adapter
                  BTCUSDT, expiry 2024-06-28              BTCUSDT.240628
    forex         EURUSD                                  EURUSD
    crypto        BTCUSD                                  BTCUSD
    index         SPX                                     SPX

A symbol that several venues list is called by name and venue, EURUSD.OANDA; so may be every other, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from resources.config import ExcludedRow
from resources.errors import BarSchemaError
from resources.market_data.base import ASSET_CLASSES, asked, exclude_rows
from resources.market_data.files.tables import NAMING, Table

PERPETUAL = "cryptofuture"
FACTS: pl.Schema = pl.Schema(
    {
        "symbol": pl.String,
        "asset_class": pl.String,
        "venue": pl.String,
        "contract": pl.String,
        "expiry": pl.Date,
        "strike": pl.Float64,
        "right": pl.String,
        "first": pl.Date,
    }
)
"""What the files' columns say of an instrument (`symbol` as they write it); null where they do not."""

NAMED = pl.Schema([("name", pl.String), ("plain", pl.Boolean), *FACTS.items(), ("around_the_clock", pl.Boolean)])
"""FACTS with our classes, and the name; `plain` marks the name by which it is listed, the other is with its venue."""

KEY = ("symbol", *NAMING)

RIGHTS = {"c": "call", "call": "call", "p": "put", "put": "put"}


def instruments_of(tables: Sequence[Table], source: str, exclude: Sequence[ExcludedRow] = ()) -> pl.DataFrame:
    """The instruments that tables hold: NAMED, `table` (the number of the table) and key_* (its own columns of KEY).

    Symbols of excluded rows only are not held. Raises BarSchemaError on a row without symbol, and as `named` does.
    """
    lacking = [pl.lit(None, dtype).alias(name) for name, dtype in FACTS.items()]
    parts = []
    for number, table in enumerate(tables):
        keys = _keys(table, exclude)
        given = keys.with_columns(each for each in lacking if each.meta.output_name() not in keys.columns)
        parts.append(given.select(*FACTS.names(), table=pl.lit(number)).cast({"first": pl.Date}))
    facts = pl.concat(parts)
    if facts.select(((pl.col("symbol") == "") | pl.col("symbol").is_null()).any()).item():
        some = ", ".join([file.name for table in tables for file in table.files][:3])
        raise BarSchemaError(f"{some}: a row has no symbol. Fix the source.")
    return named(facts.with_columns(pl.col(name).alias(f"key_{name}") for name in KEY), source)


def join_names(rows: pl.LazyFrame, table: Table, wanted: pl.DataFrame) -> pl.LazyFrame:
    """Rows of the instruments in `wanted` (from `instruments_of`), with their names for the files' own symbols."""
    if not table.naming:
        return rows
    key = ["symbol", *table.naming]
    told = wanted.select(*[pl.col(f"key_{name}").alias(name) for name in key], "name").lazy()
    joined = rows.join(told, on=key, how="inner", nulls_equal=True, maintain_order="left")
    return joined.with_columns(symbol="name").drop("name", *table.naming)


def known(provider: str, symbols: Sequence[str], held: pl.DataFrame) -> list[str]:
    """The symbols asked for, each once. Raises UnknownSymbolError naming those that `held` (NAMED) has not."""
    by_venue = set(held.filter(~pl.col("plain"))["name"])
    listed = set(held.filter("plain")["name"])
    return asked(provider, symbols, listed | (by_venue & set(symbols)))


def _keys(table: Table, exclude: Sequence[ExcludedRow]) -> pl.DataFrame:
    touched = {row.symbol for row in exclude}
    if table.naming or table.time != "date" or not touched:
        return table.collect(table.keys())
    # Dates are read for symbols with excluded rows only: listing the others takes a single column.
    plain = table.scan(()).select("symbol").filter(~pl.col("symbol").is_in(touched).fill_null(False))
    left = exclude_rows(table.scan(()).filter(pl.col("symbol").is_in(touched)), exclude).select("symbol")
    return pl.concat([table.collect(query.unique()) for query in (plain, left)]).unique()


def named(facts: pl.DataFrame, source: str) -> pl.DataFrame:
    """The names (NAMED, and what else `facts` has) of instruments in FACTS: one row or, where it has a venue, two.

    Raises BarSchemaError naming symbol, field and mend: an unknown class, an option without expiry, strike or right.
    """
    checked = _checked(facts, source)
    thousandths = (pl.col("strike") * 1000).round().cast(pl.Int64)
    option = pl.format(
        "{}{}{}{}", "symbol", pl.col("expiry").dt.strftime("%y%m%d"),
        pl.col("right").str.head(1).str.to_uppercase(), thousandths.cast(pl.String).str.zfill(8),
    )  # fmt: skip
    perpetual = pl.col("told") == PERPETUAL
    expiry = pl.col("expiry").dt
    day = pl.when(perpetual).then(expiry.strftime("%y%m%d")).otherwise(expiry.strftime("%Y%m%d"))
    future = (
        pl.when(pl.col("contract").is_not_null() | pl.col("expiry").is_not_null())
        .then(pl.format("{}.{}", "symbol", pl.coalesce("contract", day)))
        .when(perpetual)
        .then(pl.format("{}.P", "symbol"))
        .otherwise("symbol")
    )
    is_option = (pl.col("asset_class") == "option") & pl.col("right").is_not_null()
    short = pl.when(is_option).then(option).when(pl.col("asset_class") == "future").then(future).otherwise("symbol")
    place = pl.col("venue").str.to_uppercase()
    full = checked.with_columns(short=short, around_the_clock=perpetual.fill_null(False)).with_columns(
        shared=place.drop_nulls().n_unique().over("short") > 1
    )
    by_venue = full.filter(pl.col("venue").is_not_null()).with_columns(
        name=pl.format("{}.{}", pl.col("short"), place), plain=pl.col("shared")
    )
    by_name = full.filter(~pl.col("shared") | pl.col("venue").is_null()).with_columns(name="short", plain=pl.lit(True))
    more = [name for name in facts.columns if name not in FACTS]
    both = pl.concat([by_name, by_venue.select(by_name.columns)])
    return both.select(*NAMED.names(), *more).cast(dict(NAMED))  # type: ignore[arg-type]


def _checked(facts: pl.DataFrame, source: str) -> pl.DataFrame:
    """FACTS with our own classes and rights, and `told`, the class as the files say it."""
    right = pl.col("right").str.to_lowercase().replace_strict(RIGHTS, default="?", return_dtype=pl.String)
    right = pl.when(pl.col("right").is_not_null()).then(right)
    told = pl.coalesce(
        pl.col("asset_class").str.to_lowercase(),
        pl.when(pl.col("right").is_not_null()).then(pl.lit("option")),
        pl.when(pl.col("contract").is_not_null()).then(pl.lit("future")),
    )
    rows = facts.with_columns(told=told, right=right).with_columns(
        asset_class=pl.when(pl.col("told") == PERPETUAL).then(pl.lit("future")).otherwise("told")
    )
    parts = pl.col("expiry", "strike", "right")
    is_option, is_future = (pl.col("asset_class") == kind for kind in ("option", "future"))
    thousandths = pl.col("strike") * 1000
    written = (thousandths - thousandths.round()).abs() < 1e-6
    rules: list[tuple[str, pl.Expr, str]] = [
        ("asset_class", pl.col("asset_class").is_in(ASSET_CLASSES), f"it must be one of {', '.join(ASSET_CLASSES)}"),
        ("right", pl.col("right") != "?", "it must be call or put"),
        ("contract", pl.col("contract").str.contains(r"^[A-Z0-9]{1,8}$"), "it must be a month or day such as 201312"),
        ("contract", pl.col("contract").is_null() | is_future, "only a future has a contract"),
        ("strike", pl.col("strike").is_null() | is_option, "only an option has a strike"),
        ("right", pl.col("right").is_null() | is_option, "only an option has a right"),
        ("strike", pl.col("strike").is_between(0, 99_999.9995, closed="none") & written, "it must be in thousandths"),
    ]  # fmt: skip
    for name in ("expiry", "strike", "right"):
        partly = is_option & pl.any_horizontal(parts.is_not_null()) & pl.col(name).is_null()
        rules.append((name, ~partly, "an option needs expiry, strike and right"))
    for field, good, message in rules:
        bad = facts.filter(rows.select(bad=~good.fill_null(True))["bad"]).head(1)
        if bad.height:
            raise BarSchemaError(
                f"{source}: {bad['symbol'][0]}: {field} is {bad[field][0]}; {message}. Fix the source."
            )
    return rows
