"""Made-up records: the same everywhere, clearly made up, and with every way in which real ones are late or wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from resources.alternative.base import KINDS, Kind, as_of, checked, merge
from resources.alternative.sample import Synthetic, company

START, END = datetime(2010, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)
TEXT = {"news": "headline", "social": "text"}


def made(kind: Kind, *symbols: str, start: datetime = START, end: datetime = END, seed: int = 7) -> pl.DataFrame:
    frame: pl.DataFrame = getattr(Synthetic(seed), kind)(symbols or ("AAPL", "IBM"), start, end).collect()
    return frame


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_there_and_says_that_it_is_made_up(kind: Kind) -> None:
    rows = checked(kind, made(kind))
    assert rows.height > 20
    assert rows["source"].unique().to_list() == ["synthetic"]
    if kind in TEXT:
        assert rows[TEXT[kind]].str.to_lowercase().str.starts_with("synthetic").all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_that_part_of_the_whole(kind: Kind) -> None:
    whole = made(kind)
    middle, end = datetime(2010, 8, 17, 9, tzinfo=UTC), datetime(2011, 2, 3, tzinfo=UTC)
    part = made(kind, "IBM", start=middle, end=end)
    alike = whole.filter(pl.col("ts").is_between(middle, end, closed="left"), pl.col("record_id").str.contains("IBM"))
    assert part.height > 3
    assert part.drop("fetched_at").equals(alike.drop("fetched_at"))
    assert not made(kind, seed=8).equals(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_asked_again_there_is_nothing_new(kind: Kind) -> None:
    rows = made(kind)
    log = merge(rows.clear(), rows)
    assert log.height == rows.height
    assert merge(log, rows).equals(log)


def test_news_is_late_corrected_and_withdrawn() -> None:
    rows = made("news")
    late = rows.filter(pl.col("state") == "new", pl.col("known_at") - pl.col("ts") > timedelta(hours=2))
    states = dict(rows["state"].value_counts().iter_rows())
    assert 0.05 < late.height / rows.height < 0.25
    assert states["corrected"] > 10
    assert states["withdrawn"] > 3
    gone = rows.filter(pl.col("state") == "withdrawn")["record_id"].to_list()
    assert not set(gone) & set(as_of(rows.lazy(), datetime(2013, 1, 1, tzinfo=UTC)).collect()["record_id"])


def test_nothing_is_known_before_its_time() -> None:
    """A history that grows must not hold what will be known tomorrow."""
    now = datetime(2011, 6, 1, tzinfo=UTC)
    rows = Synthetic(clock=lambda: now).news(["IBM"], START, END).collect()
    assert START < rows["known_at"].max() <= now  # type: ignore[operator]
    assert rows.height < made("news", "IBM").height


def test_some_articles_have_no_tag_but_a_name() -> None:
    rows = made("news", "IBM")
    untagged = rows.filter(pl.col("symbols_told").list.len() == 0)
    assert 0 < untagged.height < rows.height / 4
    assert untagged["headline"].str.contains(company("IBM")).all()
    assert Synthetic().names(["IBM"])["name"].to_list() == [company("IBM")]
