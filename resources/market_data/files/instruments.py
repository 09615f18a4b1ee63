"""Instruments of the user's files: what a list of them says, what the bars say, and the usual for the rest. Pure but
for reading the list.

A list (Parquet or CSV) has symbol and any columns of INSTRUMENT_SCHEMA. Its values win over those of the bars; what
neither says is filled in by class:

              calendar      currency       tick   lot  multiplier  underlying   other
    equity    provider's    USD            0.01   1    1
    option    provider's    USD            0.01   1    100         of its name  expiry, strike, right of its OCC name
    future    venue's       -              -      1    -           of its name
    crypto    24/7          second coin    -      -    1           first coin
    forex     FX            second of pair -      -    1                        pip 0.01 in yen, else 0.0001
    index     provider's    -              -      -    1

Forex keeps the provider's calendar where that is one of the forex week (FX, 24/5). - means that it is left null: a
wrong multiplier is worse than none. When a contract ends, its month does not tell either, so that a future of the bars
has an expiry only if the files or the list give it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from resources.calendars import FOREX, is_calendar
from resources.errors import BarSchemaError
from resources.market_data.base import ASSET_CLASSES, INSTRUMENT_SCHEMA
from resources.market_data.files.names import NAMED
from resources.market_data.files.tables import Layout, Table, read_schema

CALENDARS = dict.fromkeys(("cme", "cbot", "nymex", "comex", "xcme", "xcbt", "xnym", "xcec", "globex"), "CMES")
"""The calendar of futures, by venue."""

FOREX_WEEK = (FOREX, "24/5")
OCC = r"^([A-Z0-9.]+?)(\d{6})([CP])(\d{8})(?:\.[A-Z0-9]+)?$"
COINS = "USDT|USDC|FDUSD|BUSD|TUSD|DAI|USD|EUR|GBP|JPY|TRY|BTC|ETH|BNB"
PAIR = r"^([A-Z]{3})[./-]?([A-Z]{3})(?:\.[A-Z0-9]+)?$"

LIST = Layout(
    "instruments",
    needed=(),
    optional=tuple(name for name in INSTRUMENT_SCHEMA if name != "symbol"),
    types=dict(INSTRUMENT_SCHEMA),
    times=(),
)


def read_list(path: Path) -> pl.DataFrame:
    """A list of instruments in INSTRUMENT_SCHEMA, null where it says nothing.

    Raises BarSchemaError naming file, symbol and field: unknown columns, wrong types, a symbol twice or missing.
    """
    schema = read_schema(path)
    LIST.check(schema, path)
    table = Table((path,), schema, LIST)
    table.check_text()
    rows = table.collect(table.source().select(table.typed(name) for name in INSTRUMENT_SCHEMA))
    bad = rows.filter((pl.col("symbol").fill_null("") == "") | pl.col("symbol").is_duplicated()).head(1)
    if bad.height:
        what = f"{bad['symbol'][0]} stands there twice; keep one" if bad["symbol"][0] else "a row has no symbol"
        raise BarSchemaError(f"{path.name}: {what}.")
    return rows


def described(named: pl.DataFrame, listed: pl.DataFrame, calendar: str, source: str) -> pl.DataFrame:
    """INSTRUMENT_SCHEMA sorted by symbol: of the names in `named` (names.NAMED) and of those in a list.

    Raises BarSchemaError naming symbol, field and mend where what is said makes no such instrument.
    """
    bars = _merged(named, source).select(
        "asset_class", "venue", "expiry", "strike", "right", symbol="name",
        # A contract is not known before its first bar; of shares that would say when the file begins, and no more.
        listed=pl.when(pl.col("asset_class").is_in(["option", "future"])).then("first"),
        perpetual=pl.when(pl.col("around_the_clock")).then(pl.col("expiry").is_null() & pl.col("contract").is_null()),
        calendar=pl.when(pl.col("around_the_clock")).then(pl.lit("24/7")),
    )  # fmt: skip
    told = listed.with_columns(in_list=pl.lit(True))
    both = bars.join(told, on="symbol", how="full", coalesce=True, suffix="_told")
    said = [
        pl.coalesce(f"{name}_told", name) if f"{name}_told" in both.columns else pl.col(name)
        for name in INSTRUMENT_SCHEMA
        if name != "symbol"
    ]
    names = [name for name in INSTRUMENT_SCHEMA if name != "symbol"]
    rows = both.select("symbol", "in_list", *[value.alias(name) for value, name in zip(said, names, strict=True)])
    rows = rows.with_columns(pl.col("asset_class").fill_null("equity"))
    _refuse(rows, "asset_class", pl.col("asset_class").is_in(ASSET_CLASSES), _one_of_ours(), source)
    filled = _filled(rows, calendar)
    for field, good, message in _rules(filled):
        _refuse(filled, field, good, message, source)
    return filled.select(INSTRUMENT_SCHEMA.names()).cast(dict(INSTRUMENT_SCHEMA)).sort("symbol")  # type: ignore[arg-type]


def _merged(named: pl.DataFrame, source: str) -> pl.DataFrame:
    """One row a name. Raises BarSchemaError on a name that is of two classes in two files."""
    facts = [name for name in NAMED if name not in ("name", "first")]
    merged = named.group_by("name").agg(
        *[pl.col(name).drop_nulls().first() for name in facts],
        first=pl.col("first").min(),
        classes=pl.col("asset_class").drop_nulls().unique().sort(),
    )
    several = merged.filter(pl.col("classes").list.len() > 1).sort("name").head(1)
    if several.height:
        raise BarSchemaError(
            f"{several['name'][0]}: asset_class is {' and '.join(several['classes'][0])} in different rows ({source}); "
            "give each a symbol of its own."
        )
    return merged


def _filled(rows: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """Rows with what their class and name imply where they say nothing."""
    kind = pl.col("asset_class")
    symbol = pl.col("symbol")
    coins = rf"^([A-Z0-9]+?)[./-]?({COINS})(?:\.[A-Z0-9]+)?$"
    week = calendar if calendar in FOREX_WEEK else FOREX
    venue = pl.col("venue").str.to_lowercase().replace_strict(CALENDARS, default=None, return_dtype=pl.String)
    fallback: dict[str, list[tuple[tuple[str, ...], pl.Expr]]] = {
        "expiry": [(("option",), symbol.str.extract(OCC, 2).str.to_date("%y%m%d", strict=False))],
        "strike": [(("option",), symbol.str.extract(OCC, 4).cast(pl.Float64) / 1000)],
        "right": [(("option",), symbol.str.extract(OCC, 3).replace_strict({"C": "call", "P": "put"}, default=None))],
        "underlying": [
            (("option",), symbol.str.extract(OCC, 1)),
            (("future",), symbol.str.extract(r"^([A-Z0-9]+)\.", 1)),
            (("crypto",), symbol.str.extract(coins, 1)),
        ],
        "calendar": [
            (("crypto",), pl.lit("24/7")),
            (("forex",), pl.lit(week)),
            (("future",), venue),
        ],
        "currency": [
            (("equity", "option"), pl.lit("USD")),
            (("forex",), symbol.str.extract(PAIR, 2)),
            (("crypto",), symbol.str.extract(coins, 2)),
        ],
        "tick": [(("equity", "option"), pl.lit(0.01))],
        "lot": [(("equity", "option", "future"), pl.lit(1.0))],
        "multiplier": [(("option",), pl.lit(100.0)), (("equity", "crypto", "forex", "index"), pl.lit(1.0))],
    }
    usual = []
    for name, choices in fallback.items():
        value = pl.lit(None)
        for classes, each in choices:
            value = pl.when(kind.is_in(classes)).then(each).otherwise(value)
        usual.append(pl.coalesce(name, value).alias(name))
    filled = rows.with_columns(usual).with_columns(
        calendar=pl.col("calendar").fill_null(calendar),
        perpetual=pl.when(kind == "future").then(pl.col("perpetual").fill_null(False)).otherwise("perpetual"),
    )
    yen = pl.when(pl.col("currency") == "JPY").then(0.01).otherwise(0.0001)
    known = (kind == "forex") & pl.col("currency").is_not_null()
    return filled.with_columns(pip=pl.coalesce("pip", pl.when(known).then(yen)))


def _rules(rows: pl.DataFrame) -> list[tuple[str, pl.Expr, str]]:
    """Field, the expression that is true where it makes sense, and what is asked of it."""
    kind = pl.col("asset_class")
    option, future = kind == "option", kind == "future"
    unknown = [name for name in rows["calendar"].unique() if not is_calendar(name)]
    rules = [
        (name, pl.col(name).is_null() | (pl.col(name).is_finite() & (pl.col(name) > 0)), "it must be a positive number")
        for name in ("multiplier", "tick", "lot", "pip", "minimum_notional", "strike")
    ]
    rules += [
        (name, ~option | pl.col(name).is_not_null(), "an option needs expiry, strike, right and underlying")
        for name in ("expiry", "strike", "right", "underlying")
    ]
    ends = pl.col("expiry").is_not_null() | pl.col("perpetual").fill_null(False) | pl.col("in_list").is_null()
    return [
        *rules,
        ("right", pl.col("right").is_null() | pl.col("right").is_in(["call", "put"]), "it must be call or put"),
        ("strike", option | pl.col("strike").is_null(), "only an option has a strike"),
        ("right", option | pl.col("right").is_null(), "only an option has a right"),
        ("expiry", option | future | pl.col("expiry").is_null(), "only an option or a future has an expiry"),
        ("expiry", ~future | ends, "a future needs an expiry, or perpetual true"),
        (
            "perpetual", ~pl.col("perpetual").fill_null(False) | (future & pl.col("expiry").is_null()),
            "only a future without an expiry is perpetual",
        ),
        ("currency", ~kind.is_in(["forex"]) | pl.col("currency").is_not_null(), "a forex pair is named as EURUSD"),
        ("currency", pl.col("currency").is_null() | pl.col("currency").str.contains("^[A-Z0-9]{2,8}$"),
         "it must be a code such as USD"),
        ("pip", (kind == "forex") == pl.col("pip").is_not_null(), "forex has a pip, and nothing else has"),
        ("calendar", ~pl.col("calendar").is_in(unknown), "it must be an exchange calendar such as XNYS or 24/7"),
        ("delisted", ~(pl.col("delisted") < pl.col("listed")).fill_null(False), "it is before listed"),
        ("expiry", ~(pl.col("expiry") < pl.col("listed")).fill_null(False), "it is before listed"),
    ]  # fmt: skip


def _refuse(rows: pl.DataFrame, field: str, good: pl.Expr, message: str, source: str) -> None:
    bad = rows.filter(~good.fill_null(False)).sort("symbol").head(1)
    if bad.height:
        raise BarSchemaError(
            f"{bad['symbol'][0]}: {field} is {bad[field][0]}, of asset class {bad['asset_class'][0]}; {message} "
            f"({source}). Mend it in the list of instruments (provider.instruments)."
        )


def _one_of_ours() -> str:
    return f"it must be one of {', '.join(ASSET_CLASSES)}"
