"""A strategy on a sentiment feature never sees a record before known_at: from the source's rows to target weights.

The whole way is walked: versions, symbols, log, scores, columns of bars, features, panel, strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import polars as pl
import pytest

from quant_assets.alternative.mapping import mapped
from quant_assets.alternative.sentiment import scored
from quant_assets.features import compute, panel
from quant_assets.features.alternative.said import BROUGHT, MOST_LATE, told, with_records
from quant_assets.features.example import SYMBOLS, example_bars, example_instruments
from quant_assets.features.strategy_proofs import COMPARED, prove_strategy
from quant_assets.strategies.news_sentiment import NewsSentiment
from resources.alternative.base import merge, versions
from resources.alternative.entities import Matcher, entities, from_instruments, with_short_forms
from resources.alternative.sample import BAD, GOOD, Synthetic

START, END = datetime(2010, 1, 1, tzinfo=UTC), datetime(2011, 6, 1, tzinfo=UTC)
STRATEGY = NewsSentiment(hold=2)
WEEK, TICK = timedelta(days=7), timedelta(microseconds=1)
FEATURES = ("news_sentiment_7d", "news_count_7d")


class Tone:
    """The made-up texts are good or bad by their phrase."""

    version = "tone 1"

    def score(self, texts: Sequence[str]) -> list[float]:
        return [float(any(each in text for each in GOOD)) - float(any(each in text for each in BAD)) for text in texts]


@lru_cache(maxsize=1)
def world() -> tuple[pl.DataFrame, pl.DataFrame, Matcher]:
    """Bars, what the source says in all its versions, and what the symbols are called."""
    bars = example_bars(sessions=260).drop(BROUGHT)
    source = Synthetic()
    names = entities([with_short_forms(source.names(SYMBOLS)), from_instruments(example_instruments())])
    return bars, source.news(SYMBOLS, START, END).collect(), Matcher(names)


def features_of(said_rows: pl.DataFrame) -> pl.DataFrame:
    """The panel of the news' features, from what a source said."""
    bars, _, matcher = world()
    log = merge(said_rows.clear(), mapped("news", said_rows, matcher, SYMBOLS).records)
    rows = with_records(bars, scored({"news": log}, Tone()), {"news": START})
    return panel(compute(rows, FEATURES), rows.lazy(), example_instruments()).collect()


def intents_of(said_rows: pl.DataFrame) -> pl.DataFrame:
    return STRATEGY.intents(features_of(said_rows).lazy()).collect()


def changed(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The rows of one whose intents are others."""
    both = one.join(other, on=["symbol", "session"], how="left", suffix="_other")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_other")) for name in COMPARED)
    return both.filter(~same)


@pytest.mark.parametrize("instant", [datetime(2010, 4, 14, 15, tzinfo=UTC), datetime(2010, 6, 7, 21, tzinfo=UTC)])
@pytest.mark.parametrize("how", ["dropped", "reworded"])
def test_what_becomes_known_later_changes_nothing_before(instant: datetime, how: str) -> None:
    _, whole, _ = world()
    later = pl.col("known_at") > instant
    if how == "dropped":
        other = whole.filter(~later)
    else:
        flat = whole.with_columns(
            headline=pl.when(later).then(pl.format("{} {}", "headline", pl.lit(GOOD[0]))).otherwise("headline")
        )
        other = flat.with_columns(content=pl.when(later).then(pl.format("{}x", "content")).otherwise("content"))
    moved = changed(intents_of(whole), intents_of(other))
    assert moved.height > 20, "the change must move something, or this proves nothing"
    assert moved["known_at"].min() > instant  # type: ignore[operator]


def test_the_proof_refutes_one_that_reads_the_time_of_the_event() -> None:
    """The same, of records taken for known when they took place: late ones are seen too early, and that is found."""
    _, whole, _ = world()
    early = whole.with_columns(known_at=pl.when(pl.col("state") == "new").then("ts").otherwise("known_at"))
    seen = intents_of(early)
    mondays = [datetime(2010, 3, 1, 21, tzinfo=UTC) + week * WEEK for week in range(12)]
    refuted = [
        instant
        for instant in mondays
        if changed(seen, intents_of(early.filter(whole["known_at"] <= instant)))["known_at"].min() <= instant  # type: ignore[operator]
    ]
    assert refuted


def single(known_at: datetime, ts: datetime | None = None, state: str = "new", headline: str = GOOD[0]) -> pl.DataFrame:
    row = {
        "record_id": "1", "ts": ts or known_at, "known_at": known_at, "headline": headline, "state": state,
        "symbols_told": ["WILD"],
    }  # fmt: skip
    return versions("news", pl.DataFrame([row]), "wire", known_at)


def held(said_rows: pl.DataFrame) -> list[datetime]:
    """The instants at which the strategy wants WILD."""
    wanted = intents_of(said_rows).filter(pl.col("symbol") == "WILD", pl.col("target_weight") > 0)
    return wanted.sort("known_at")["known_at"].to_list()


MONDAY = datetime(2010, 5, 3, 21, tzinfo=UTC)
"""A close: sessions of the example end at 21:00."""
SHIFTS = [
    ("known as the session ends", MONDAY, MONDAY),
    ("known a moment after it", MONDAY + TICK, MONDAY + WEEK),
    ("known two weeks later", MONDAY + 2 * WEEK, MONDAY + 2 * WEEK),
    ("known on the weekend before", MONDAY - timedelta(days=1), MONDAY),
]


@pytest.mark.parametrize(("known_at", "first"), [case[1:] for case in SHIFTS], ids=[case[0] for case in SHIFTS])
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=40)])
def test_the_signal_comes_with_the_word_and_not_with_the_event(
    known_at: datetime, first: datetime, late: timedelta
) -> None:
    """Ranked on a week's first session: the first close at or after known_at on a Monday, wherever the event lay."""
    wanted = held(single(known_at, known_at - late))
    assert wanted[0] == first
    assert all(first <= at < first + WEEK for at in wanted)


def test_a_correction_counts_from_when_it_was_known() -> None:
    """Good news turns out to be bad on Wednesday: Monday's choice stands, the next week's is another."""
    good = single(MONDAY)
    bad = single(MONDAY + timedelta(days=2), MONDAY, "corrected", BAD[0])
    assert held(pl.concat([good, bad])) == held(good)
    sentiment = features_of(pl.concat([good, bad])).filter(pl.col("symbol") == "WILD", pl.col("news_count_7d") > 0)
    assert sentiment["news_sentiment_7d"].to_list() == [1.0, 1.0, -1.0, -1.0, -1.0]


def test_a_withdrawn_article_counts_until_it_was_withdrawn() -> None:
    gone = single(MONDAY + timedelta(days=2), MONDAY, "withdrawn")
    counted = features_of(pl.concat([single(MONDAY), gone])).filter(pl.col("symbol") == "WILD")
    assert counted.filter(pl.col("news_count_7d") > 0)["known_at"].to_list() == [MONDAY, MONDAY + timedelta(days=1)]


def test_before_the_feed_began_nothing_is_known_about_how_much_there_was() -> None:
    bars, rows, matcher = world()
    begun = datetime(2010, 6, 1, tzinfo=UTC)
    log = merge(rows.clear(), mapped("news", rows, matcher, SYMBOLS).records)
    made = compute(with_records(bars, scored({"news": log}, Tone()), {"news": begun}), ["news_count_7d"]).collect()
    early = made.filter(pl.col("known_at") < begun + WEEK)["news_count_7d"]
    assert early.len() > 100
    assert early.null_count() == early.len()
    assert made.filter(pl.col("known_at") > begun + WEEK)["news_count_7d"].null_count() < early.len() / 2


def test_what_becomes_known_very_late_is_left_out_so_that_a_partition_reads_a_bounded_past() -> None:
    log = pl.concat([single(MONDAY, MONDAY - MOST_LATE), single(MONDAY, MONDAY - MOST_LATE - TICK)])
    scores = scored({"news": log.with_columns(symbol=pl.lit("WILD"))}, Tone())
    assert told(scores)["news"].height == 1


def test_the_strategy_stands_up_to_the_proofs_of_all_strategies() -> None:
    bars = example_bars(sessions=320)
    assert prove_strategy(NewsSentiment(hold=1, above=-0.5), bars) == []
