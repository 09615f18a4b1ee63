"""Nulls after the warm-up, infinities, rows for bars, and drift: each is counted where it is, and nowhere else."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.features.definition import FeatureSet
from quant_assets.features.drift import by_chance
from quant_assets.features.groups import ALL
from quant_assets.features.health import (
    CURRENT,
    MOST_NULLS,
    TRAILING,
    ages,
    counted,
    few_nulls,
    health,
    little_drift,
    no_infinities,
    recent_drift,
    same_rows,
    worst,
)
from quant_assets.features.proofs import example_bars

BARS = example_bars(sessions=400, symbols=("AAA", "BBB"))
AGED = ages(BARS.lazy()).collect()
TWO = ALL.pick(["return_1", "return_21"])
NOISE = np.random.default_rng(5)


def rows() -> pl.DataFrame:
    """Every bar has values of both features, but for the warm-up."""
    values = {feature.name: pl.Series(NOISE.normal(size=BARS.height)) for feature in TWO}
    made = BARS.select("symbol", "ts", "session").with_columns(**values).join(AGED, on=["symbol", "ts"])
    warm = [pl.when(pl.col("bars_before") >= each.lookback).then(each.name).alias(each.name) for each in TWO]
    return made.with_columns(warm).drop("bars_before")


ROWS = rows()


def found(frame: pl.DataFrame = ROWS, features: FeatureSet = TWO) -> pl.DataFrame:
    return health([counted(frame, features, AGED)], recent_drift(frame, features))


def spoilt(name: str, value: float | None, where: pl.Expr) -> pl.DataFrame:
    return ROWS.with_columns(pl.when(where).then(pl.lit(value, pl.Float64)).otherwise(name).alias(name))


def test_the_warm_up_is_no_fault() -> None:
    assert found().select("feature", "rows", "nulls", "infinite").rows() == [
        ("return_1", 2 * 399, 0, 0),
        ("return_21", 2 * 379, 0, 0),
    ]
    assert few_nulls(found()).passed
    assert no_infinities(found()).passed


def test_nulls_count_from_the_look_back_on() -> None:
    """Forty sessions without values are more than the share that is allowed; of the warm-up they would not be."""
    early = spoilt("return_21", None, pl.col("session") < BARS["session"].unique().sort()[21])
    assert few_nulls(found(early)).passed
    days = BARS["session"].unique().sort()[100:140]
    verdict = few_nulls(found(spoilt("return_21", None, pl.col("session").is_in(days.implode()))))
    assert not verdict.passed
    assert verdict.findings.select("field", "value").rows() == [("return_21", str(round(80 / 758, 4)))]
    assert verdict.facts["feature with most nulls"] == "return_21"
    few = spoilt("return_21", None, pl.col("session").is_in(days[: int(379 * MOST_NULLS)].implode()))
    assert few_nulls(found(few)).passed


def test_a_later_part_of_the_history_is_judged_by_the_bars_before_it() -> None:
    late = ROWS.filter(pl.col("session") > BARS["session"].unique().sort()[299])
    assert found(late)["rows"].to_list() == [200, 200]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinity_is_found_wherever_it_is(value: float) -> None:
    verdict = no_infinities(found(spoilt("return_1", value, pl.col("ts") == BARS["ts"][5])))
    assert not verdict.passed
    assert verdict.findings.select("field", "value").rows() == [("return_1", "2")]


def test_batches_add_up() -> None:
    parts = [counted(part, TWO, AGED) for part in ROWS.partition_by("symbol")]
    assert health(parts, recent_drift(ROWS, TWO)).equals(found())


def test_a_distribution_that_changed_is_found() -> None:
    days = BARS["session"].unique().sort()
    changed = ROWS.with_columns(
        return_1=pl.col("return_1") + pl.when(pl.col("session") >= days[-CURRENT]).then(2.0).otherwise(0.0)
    )
    verdict = little_drift(found(changed))
    assert not verdict.passed
    assert verdict.findings["field"].to_list() == ["return_1"]
    assert verdict.facts["feature that moved most"] == "return_1"
    assert little_drift(found()).passed
    assert worst(found(changed), 1)["feature"].to_list() == ["return_1"]


def test_a_change_longer_ago_than_the_trailing_year_is_history() -> None:
    days = BARS["session"].unique().sort()
    before = pl.when(pl.col("session") < days[-CURRENT - TRAILING]).then(5.0).otherwise(0.0)
    assert little_drift(found(ROWS.with_columns(return_1=pl.col("return_1") + before))).passed


def test_long_windows_of_few_symbols_tell_little() -> None:
    """Two symbols' quarter of a 21-session window is six values: an index that would be alarming of many is chance."""
    drifted = recent_drift(ROWS, TWO)
    short, long = drifted["by_chance"].to_list()
    assert short == pytest.approx(by_chance(2 * TRAILING, 2 * CURRENT))
    assert long == pytest.approx(by_chance(2 * TRAILING / 21, 2 * CURRENT / 21))


def test_without_a_trailing_year_nothing_is_judged() -> None:
    short = ROWS.filter(pl.col("session") < date(2011, 1, 1))
    assert short["session"].n_unique() < CURRENT + TRAILING
    verdict = little_drift(found(short))
    assert verdict.passed
    assert verdict.facts["features without a trailing year"] == 2


def test_a_row_for_every_bar_and_no_other() -> None:
    assert same_rows(ROWS.lazy(), BARS.lazy()).passed
    lost = ROWS.filter((pl.col("symbol") == "AAA") | (pl.col("session") != BARS["session"][7]))
    verdict = same_rows(lost.lazy(), BARS.lazy())
    assert not verdict.passed
    assert verdict.findings.select("symbol", "session", "problem").rows() == [
        ("BBB", BARS["session"][7], "no row for this bar")
    ]
    assert (verdict.facts["symbol with most missing"], verdict.facts["missing"]) == ("BBB", 1)
    strange = same_rows(ROWS.lazy(), BARS.filter(pl.col("symbol") == "AAA").lazy())
    assert strange.facts["without a bar"] == 400
    assert not strange.passed
