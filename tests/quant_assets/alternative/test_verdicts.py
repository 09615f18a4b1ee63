"""The checks of a log tell each way in which its versions can be out of order, and pass what the code makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.alternative.sentiment import SENTIMENT_SCHEMA, scored, scorer
from quant_assets.alternative.verdicts import versions_in_order
from quant_assets.expectations import load_suite, run
from resources.alternative.base import KINDS, Kind, merge
from resources.alternative.entities import ENTITY_SCHEMA, entities, with_short_forms
from resources.alternative.sample import Synthetic

START, END = datetime(2010, 1, 1, tzinfo=UTC), datetime(2011, 1, 1, tzinfo=UTC)


def log(kind: Kind = "news") -> pl.DataFrame:
    rows = getattr(Synthetic(), kind)(["IBM", "AAPL"], START, END).collect()
    named = rows.with_columns(symbol=pl.col("symbol").fill_null(pl.col("record_id").str.slice(0, 4)))
    return merge(rows.clear(), named)


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_log_passes(kind: Kind) -> None:
    verdict = versions_in_order(log(kind))
    assert verdict.passed
    assert verdict.facts["versions"] == log(kind).height > 0
    result = run(load_suite("alternative"), log(kind))
    assert result.passed, result.findings


def spoil(rows: pl.DataFrame, where: str, change: dict[str, pl.Expr]) -> pl.DataFrame:
    """The first version of this state, changed."""
    place = rows.with_row_index().filter(pl.col("state") == where)["index"][0]
    return rows.with_row_index().with_columns(
        pl.when(pl.col("index") == place).then(value).otherwise(name).alias(name) for name, value in change.items()
    ).drop("index")  # fmt: skip


DISORDER = [
    ("two at one instant", "corrected", {"known_at": pl.col("known_at").shift()}, "known at the same instant"),
    ("the same twice", "corrected", {"content": pl.col("content").shift()}, "says the same"),
    ("new twice", "corrected", {"state": pl.lit("new")}, "is called new, and an earlier"),
    ("a correction of nothing", "new", {"state": pl.lit("corrected")}, "nothing is there to correct"),
]


@pytest.mark.parametrize(
    ("state", "change", "says"), [case[1:] for case in DISORDER], ids=[case[0] for case in DISORDER]
)
def test_a_log_out_of_order_is_found(state: str, change: dict[str, pl.Expr], says: str) -> None:
    verdict = versions_in_order(spoil(log(), state, change))
    assert not verdict.passed
    assert verdict.findings["problem"].str.contains(says).any()


DEFECTS: list[tuple[str, str, dict[str, pl.Expr]]] = [
    ("no source", "alternative", {"source": pl.lit(None, pl.String)}),
    ("no symbol", "alternative", {"symbol": pl.lit(None, pl.String)}),
    ("no known_at", "alternative", {"known_at": pl.lit(None, pl.Datetime("us", "UTC"))}),
    ("an unknown state", "alternative", {"state": pl.lit("retracted")}),
    ("fetched before it was known", "alternative", {"fetched_at": pl.col("known_at") - timedelta(seconds=1)}),
    ("times without zone", "alternative", {"ts": pl.col("ts").dt.replace_time_zone(None)}),
    ("the same version twice", "alternative", {"known_at": pl.col("known_at").first(), "record_id": pl.lit("1")}),
    ("a score beyond one", "sentiment", {"score": pl.lit(1.5)}),
    ("a text without a score", "sentiment", {"score": pl.lit(None, pl.Float64)}),
    ("a score of no scorer", "sentiment", {"scorer": pl.lit(None, pl.String)}),
    ("an unknown kind of name", "entities", {"kind": pl.lit("nickname")}),
    ("a name of nobody", "entities", {"symbol": pl.lit(None, pl.String)}),
    ("a name that ends before it begins", "entities", {"valid_until": pl.lit(START), "valid_from": pl.lit(END)}),
    ("a name twice", "entities", {"name": pl.lit("IBM"), "symbol": pl.lit("IBM"), "kind": pl.lit("alias")}),
]


@pytest.mark.parametrize(("suite", "change"), [case[1:] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_every_planted_defect_is_found(suite: str, change: dict[str, pl.Expr]) -> None:
    frames = {
        "alternative": log(),
        "sentiment": scored({"news": log()}, scorer("finance_words")),
        "entities": entities([with_short_forms(Synthetic().names(["IBM", "AAPL"]))]),
    }
    assert frames["sentiment"].schema == SENTIMENT_SCHEMA
    assert frames["entities"].schema == ENTITY_SCHEMA
    good = run(load_suite(suite), frames[suite])
    assert good.passed, good.findings
    assert not run(load_suite(suite), frames[suite].with_columns(**change)).passed
