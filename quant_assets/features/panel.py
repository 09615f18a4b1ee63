"""All symbols of a session side by side: who could be traded, and how each ranks among those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from quant_assets.features.inputs import KEYS
from resources.calendars import UTC_MICROS
from resources.errors import LakeError

RANKED = (
    "return_21",
    "return_126",
    "return_252_21",
    "sma_ratio_200",
    "rsi_14",
    "volatility_63",
    "volume_ratio_5_63",
    "amihud_21",
)
"""Features that the panel also gives as ranks, `<feature>_rank`."""


def panel_schema(features: Iterable[str]) -> pl.Schema:
    """The columns of a panel made of these features."""
    names = list(features)
    numbers = [*names, *(f"{name}_rank" for name in RANKED if name in names)]
    keys = {"symbol": pl.String(), "ts": UTC_MICROS, "session": pl.Date(), "known_at": UTC_MICROS}
    prices = dict.fromkeys(("close", "adj_open", "adj_close"), pl.Float64())
    state = {"tradable": pl.Boolean(), **prices, "flags": pl.List(pl.String())}
    return pl.Schema({**keys, **state, **dict.fromkeys(numbers, pl.Float64())})


def rank_bounds(features: Iterable[str]) -> pl.DataFrame:
    """name, lower and upper of the ranks of a panel made of these features: what its suite judges them by."""
    ranks = [f"{name}_rank" for name in RANKED if name in set(features)]
    return pl.DataFrame({"name": ranks}, schema={"name": pl.String}).with_columns(lower=pl.lit(0.0), upper=pl.lit(1.0))


def panel(
    features: pl.LazyFrame, bars: pl.LazyFrame, instruments: pl.DataFrame | pl.LazyFrame | None = None
) -> pl.LazyFrame:
    """The features, with tradable (Boolean), close, adj_open, adj_close, flags, and ranks of RANKED.

    One row a symbol and session.

    tradable: the session has a real bar with volume. A rank lies in [0, 1] among the tradable symbols of the session
    that have the feature; ties share their mean, a symbol alone has 0.5, all others null. With `instruments`, only
    symbols listed and not delisted on the session's date are in it (dates that are null do not bind).

    A row needs nothing but its session, so any range of sessions gives the rows that the whole history would.

    Example: `panel(compute(cleaned), cleaned, instruments)`
    """
    real = ~pl.col("flags").list.contains("missing_session") & (pl.col("volume") > 0)
    today = bars.select("symbol", "ts", "close", "adj_open", "adj_close", "flags", tradable=real)
    named = [name for name in features.collect_schema().names() if name not in KEYS]
    joined = features.join(today, on=["symbol", "ts"], how="inner", maintain_order="left")
    rows = joined if instruments is None else members(joined, instruments.lazy())
    ranks = [_rank(name) for name in RANKED if name in named]
    return rows.with_columns(ranks).select(
        *KEYS,
        *("tradable", "close", "adj_open", "adj_close", "flags"),
        *named,
        *[f"{name}_rank" for name in RANKED if name in named],
    )


def members(rows: pl.LazyFrame, instruments: pl.LazyFrame) -> pl.LazyFrame:
    """The rows without those of symbols that were not yet listed, or delisted, on the session's date.

    A date that is null does not bind, and neither does a symbol that is not among the instruments.
    """
    dates = instruments.select("symbol", __listed="listed", __delisted="delisted")
    session = pl.col("session")
    since = (session >= pl.col("__listed")).fill_null(True)
    until = (session <= pl.col("__delisted")).fill_null(True)
    known = rows.join(dates, on="symbol", how="left", maintain_order="left")
    return known.filter(since & until).drop("__listed", "__delisted")


def gathered(
    tables: Mapping[str, pl.LazyFrame], wanted: Mapping[str, Sequence[str]], names: Sequence[str]
) -> pl.LazyFrame:
    """The wanted features of several assets side by side, in the order of `names`.

    `tables` are an asset's rows by its name, `wanted` the features taken of each. Raises LakeError where one has a row
    that another lacks: without this a symbol would silently have no value, or drop out of everything below.
    """
    whole: pl.DataFrame | None = None
    first = next(iter(tables))
    for asset, table in tables.items():
        part = table.select(*KEYS, *wanted[asset]).collect()
        if whole is None:
            whole = part
            continue
        for held, lacking, who in ((whole, part, asset), (part, whole, first)):
            lost = held.join(lacking, on=["symbol", "ts"], how="anti").sort("session", "symbol").head(1)
            for symbol, session in lost.select("symbol", "session").iter_rows():
                raise LakeError(f"{symbol} {session}: features/{who} has no such row; materialize it for this symbol")
        whole = whole.join(
            part.drop("session", "known_at"), on=["symbol", "ts"], how="left", validate="1:1", maintain_order="left"
        )
    assert whole is not None
    return whole.lazy().select(*KEYS, *names)


def _rank(name: str) -> pl.Expr:
    value = pl.when("tradable").then(name)
    place, others = value.rank("average") - 1, value.count().cast(pl.Int64) - 1
    return pl.when(others > 0).then(place / others).when(place >= 0).then(0.5).over("session").alias(f"{name}_rank")
