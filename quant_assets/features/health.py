"""Whether stored features are whole: values where there should be some, none that is infinite, a row for every bar."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from quant_assets.features.definition import Feature, FeatureSet
from quant_assets.features.drift import MOVED, SHIFTED, by_chance, drift
from quant_assets.quality import FINDING_SCHEMA, Fact, Verdict

CURRENT, TRAILING = 63, 252
"""Sessions whose distribution is compared, and those before them that it is compared with."""

MOST_NULLS = 0.05
"""Share of nulls after the warm-up above which a feature is worth a look: halts and days without volume give some."""

HEALTH = pl.Schema(
    {
        "feature": pl.String(),
        "rows": pl.UInt32(),
        "nulls": pl.UInt32(),
        "null_share": pl.Float64(),
        "infinite": pl.UInt32(),
        "psi": pl.Float64(),
        "by_chance": pl.Float64(),
    }
)
"""One row a feature: rows with its look-back behind them, nulls among these, infinities anywhere, and its drift (the
population stability index, and what chance alone may make of it)."""

_NONE = pl.lit(None, pl.Float64)
_BEYOND_CHANCE = pl.col("psi") - pl.col("by_chance")

_COUNTED = pl.Schema({"feature": pl.String(), "rows": pl.UInt32(), "nulls": pl.UInt32(), "infinite": pl.UInt32()})


def ages(bars: pl.LazyFrame) -> pl.LazyFrame:
    """How many bars of its symbol lie before each bar: symbol, ts, bars_before."""
    before = pl.col("ts").rank("ordinal").over("symbol") - 1
    return bars.select("symbol", "ts", bars_before=before.cast(pl.UInt32))


def counted(rows: pl.DataFrame, features: FeatureSet, aged: pl.DataFrame) -> pl.DataFrame:
    """Of each feature: rows with its look-back behind them, nulls among these, infinities anywhere.

    `rows` have symbol, ts and the features; `aged` as `ages` gives it, for all their bars.
    """
    placed = rows.join(aged, on=["symbol", "ts"], how="left", maintain_order="left")
    found = []
    # Features of one look-back share a slice: filtering anew for each of them would be most of the work.
    for lookback in sorted({feature.lookback for feature in features}):
        names = [feature.name for feature in features if feature.lookback == lookback]
        ripe = placed.filter(pl.col("bars_before") >= lookback)
        found += [(name, ripe.height, ripe[name].null_count(), _infinite(placed[name])) for name in names]
    return pl.DataFrame(found, schema=_COUNTED, orient="row")


def _infinite(values: pl.Series) -> int:
    return int(values.is_infinite().sum() or 0)


def health(counts: Iterable[pl.DataFrame], drifted: pl.DataFrame) -> pl.DataFrame:
    """HEALTH, by feature in the order counted: what was `counted` of each batch of rows, and `recent_drift`."""
    whole = pl.concat(counts).group_by("feature", maintain_order=True).agg(pl.all().sum())
    share = pl.when(pl.col("rows") > 0).then(pl.col("nulls") / pl.col("rows"))
    joined = whole.join(drifted, on="feature", how="left", maintain_order="left")
    return joined.with_columns(null_share=share).select(HEALTH.names()).cast(dict(HEALTH))  # type: ignore[arg-type]


def recent_drift(rows: pl.DataFrame, features: FeatureSet) -> pl.DataFrame:
    """feature, psi and by_chance: the last CURRENT sessions of the rows against the TRAILING before.

    Both null where there are not as many sessions. by_chance is what the index may be with no drift at all. Values
    of one symbol that share their window say one thing, so a stretch of `lookback` sessions counts as one value: of
    few symbols and long windows a quarter cannot tell much.
    """
    days = rows["session"].unique().sort()
    if days.len() < CURRENT + TRAILING:
        return pl.DataFrame({"feature": features.names}).with_columns(psi=_NONE, by_chance=_NONE)
    first, before = days[-CURRENT], days[-CURRENT - TRAILING]
    session = pl.col("session")
    earlier, latest = rows.filter(session >= before, session < first), rows.filter(session >= first)
    chance = [by_chance(_told(earlier, feature, TRAILING), _told(latest, feature, CURRENT)) for feature in features]
    return drift(earlier, latest, features.names).with_columns(by_chance=pl.Series(chance, dtype=pl.Float64))


def _told(rows: pl.DataFrame, feature: Feature, sessions: int) -> float:
    """How many independent values the rows of so many sessions are, at least one a symbol."""
    return max(1.0, rows["symbol"].n_unique() * max(1.0, sessions / max(1, feature.lookback)))


def worst(found: pl.DataFrame, count: int = 10) -> pl.DataFrame:
    """The features with most nulls and those that moved most, `count` in all, worst first."""
    bad = pl.max_horizontal(pl.col("null_share") / MOST_NULLS, _BEYOND_CHANCE / SHIFTED).fill_null(0.0)
    return found.sort(bad, _BEYOND_CHANCE, "feature", descending=[True, True, False], nulls_last=True).head(count)


def no_infinities(found: pl.DataFrame) -> Verdict:
    """Passes where no feature has an infinite value."""
    bad = found.filter(pl.col("infinite") > 0)
    facts: dict[str, Fact] = {"features": found.height, "infinite values": int(found["infinite"].sum())}
    return _verdict(bad, facts, "infinite values", pl.col("infinite"))


def few_nulls(found: pl.DataFrame, picture: bytes | None = None) -> Verdict:
    """Passes where no feature is null in more than MOST_NULLS of the rows that have its look-back behind them."""
    bad = found.filter(pl.col("null_share") > MOST_NULLS).sort("null_share", "feature", descending=[True, False])
    most = found.sort("null_share", descending=True, nulls_last=True).head(1)
    facts: dict[str, Fact] = {
        "features": found.height,
        "features never judged": found.filter(pl.col("rows") == 0).height,
        "feature with most nulls": _first(most, "feature"),
        "its share": _first(most, "null_share"),
        "allowed share": MOST_NULLS,
    }
    return _verdict(bad, facts, "share of nulls after the warm-up", pl.col("null_share").round(4), picture)


def little_drift(found: pl.DataFrame, picture: bytes | None = None) -> Verdict:
    """Passes where no feature's distribution has become another: all indices less than SHIFTED beyond chance."""
    judged = found.drop_nulls("psi").sort(_BEYOND_CHANCE, descending=True)
    bad = judged.filter(_BEYOND_CHANCE >= SHIFTED)
    facts: dict[str, Fact] = {
        "features judged": judged.height,
        "features without a trailing year": found.height - judged.height,
        "moved": judged.filter(_BEYOND_CHANCE.is_between(MOVED, SHIFTED, closed="left")).height,
        "shifted": bad.height,
        "feature that moved most": _first(judged, "feature"),
        "its index": _first(judged, "psi"),
        "of that by chance": _first(judged, "by_chance"),
    }
    value = pl.format("{}, of that {} by chance", pl.col("psi").round(3), pl.col("by_chance").round(3))
    return _verdict(bad, facts, "population stability index", value, picture)


def same_rows(rows: pl.LazyFrame, bars: pl.LazyFrame) -> Verdict:
    """Passes where there is a row for every bar and for nothing else; both have symbol and session."""
    keys = ["symbol", "session"]
    held, there = (frame.select(keys).collect(engine="streaming") for frame in (rows, bars))
    missing, extra = there.join(held, on=keys, how="anti"), held.join(there, on=keys, how="anti")
    by_symbol, by_session = (
        missing.group_by(key).len().sort("len", key, descending=[True, False]).head(1)[key].to_list() for key in keys
    )
    facts: dict[str, Fact] = {
        "bars": there.height,
        "rows": held.height,
        "missing": missing.height,
        "without a bar": extra.height,
        "symbol with most missing": by_symbol[0] if by_symbol else None,
        "session with most missing": str(by_session[0]) if by_session else None,
    }
    told = [
        frame.select(*keys, field=pl.lit("row"), problem=pl.lit(problem), value=pl.lit(None, pl.String))
        for frame, problem in ((missing, "no row for this bar"), (extra, "there is no bar of this row"))
    ]
    findings = pl.concat([FINDING_SCHEMA.to_frame(), *told]).sort(keys)
    return Verdict(findings.is_empty(), facts, findings)


def _first(rows: pl.DataFrame, column: str) -> Fact:
    value: Fact = rows[column][0] if rows.height else None
    return value


def _verdict(
    bad: pl.DataFrame, facts: dict[str, Fact], problem: str, value: pl.Expr, picture: bytes | None = None
) -> Verdict:
    findings = bad.select(
        symbol=pl.lit(None, pl.String),
        session=pl.lit(None, pl.Date),
        field=pl.col("feature"),
        problem=pl.lit(problem),
        value=value.cast(pl.String),
    )
    return Verdict(bad.is_empty(), facts, findings, picture)
