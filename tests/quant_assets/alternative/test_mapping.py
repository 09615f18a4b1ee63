"""Texts brought to symbols, each version by what names meant when it was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.alternative.mapping import mapped
from resources.alternative.base import as_of, merge, schema, versions
from resources.alternative.entities import ENTITY_SCHEMA, Matcher

T = datetime(2022, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NAMES = [
    ("AAPL", "AAPL", "ticker", None, None), ("IBM", "IBM", "ticker", None, None),
    ("FB", "META", "ticker", None, T + 30 * DAY), ("META", "META", "ticker", T + 30 * DAY, None),
    ("Apple", "AAPL", "alias", None, None), ("Delta", "DAL", "alias", None, None),
    ("Delta", "DLTA", "alias", None, None),
]  # fmt: skip
MATCHER = Matcher(pl.DataFrame([(*row, None) for row in NAMES], ENTITY_SCHEMA, orient="row"))
UNIVERSE = ("AAPL", "IBM", "META")


def article(
    record: str, tags: list[str], known: timedelta = HOUR, headline: str = "Apple", **more: Any
) -> pl.DataFrame:
    row = {"record_id": record, "ts": T, "known_at": T + known, "headline": headline, "symbols_told": tags, **more}
    return versions(
        "news", pl.DataFrame([row], schema_overrides={"symbols_told": pl.List(pl.String)}), "wire", T + known
    )


def told(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select("record_id", "symbol", "state").rows()


def test_tags_come_first_then_names() -> None:
    rows = pl.concat([article("1", ["IBM"]), article("2", []), article("3", [], headline="Nothing of note")])
    found = mapped("news", rows, MATCHER, UNIVERSE)
    assert told(found.records) == [("1", "IBM", "new"), ("2", "AAPL", "new")]
    assert (found.by_tag, found.by_name, found.nowhere) == (1, 1, 1)


def test_an_article_on_several_symbols_is_a_record_of_each() -> None:
    found = mapped("news", article("1", ["IBM", "AAPL", "XYZ"]), MATCHER, UNIVERSE)
    assert told(found.records) == [("1", "AAPL", "new"), ("1", "IBM", "new")]
    assert told(mapped("news", article("1", ["IBM", "AAPL"]), MATCHER, ["IBM"]).records) == [("1", "IBM", "new")]


def test_a_tag_means_what_it_meant_on_its_day() -> None:
    rows = pl.concat([article("1", ["FB"]), article("2", ["META"]), article("3", ["META"], 40 * DAY)])
    assert told(mapped("news", rows, MATCHER, UNIVERSE).records) == [("1", "META", "new"), ("3", "META", "new")]


def test_ambiguous_names_are_counted_and_map_to_nothing() -> None:
    rows = pl.concat([article(str(number), [], headline="Delta flies") for number in range(3)])
    found = mapped("news", rows, MATCHER, ("DAL", "DLTA"))
    assert (found.records.height, found.nowhere, found.ambiguous) == (0, 3, {"Delta": 3})


def test_a_tag_taken_off_withdraws_that_symbols_record() -> None:
    rows = pl.concat([article("1", ["AAPL", "IBM"]), article("1", ["AAPL"], 2 * HOUR)])
    found = mapped("news", rows, MATCHER, UNIVERSE).records
    log = merge(schema("news").to_frame(), found)
    assert told(log) == [
        ("1", "AAPL", "new"), ("1", "AAPL", "corrected"), ("1", "IBM", "new"), ("1", "IBM", "withdrawn"),
    ]  # fmt: skip
    known = as_of(log.lazy(), T + 3 * HOUR).collect()
    assert known["symbol"].to_list() == ["AAPL"]


def test_a_tag_taken_off_between_two_fetches_does_so_too() -> None:
    log = merge(schema("news").to_frame(), mapped("news", article("1", ["AAPL", "IBM"]), MATCHER, UNIVERSE).records)
    for _ in range(2):  # the second time nothing is new
        second = mapped("news", article("1", ["AAPL"], 2 * HOUR), MATCHER, UNIVERSE, held=log).records
        log = merge(log, second)
        assert sorted(told(log)) == [
            ("1", "AAPL", "corrected"), ("1", "AAPL", "new"), ("1", "IBM", "new"), ("1", "IBM", "withdrawn"),
        ]  # fmt: skip


def test_a_source_that_gives_every_version_adds_none_when_it_is_asked_again() -> None:
    rows = pl.concat([article("1", ["AAPL"]), article("1", ["IBM"], 2 * HOUR), article("1", ["IBM", "AAPL"], 3 * HOUR)])
    log = schema("news").to_frame()
    for _ in range(3):
        log = merge(log, mapped("news", rows, MATCHER, UNIVERSE, held=log).records)
        assert told(log) == [
            ("1", "AAPL", "new"), ("1", "AAPL", "withdrawn"), ("1", "AAPL", "corrected"),
            ("1", "IBM", "new"), ("1", "IBM", "corrected"),
        ]  # fmt: skip


def test_a_withdrawn_article_is_withdrawn_for_every_symbol_that_it_had() -> None:
    log = merge(schema("news").to_frame(), mapped("news", article("1", ["AAPL", "IBM"]), MATCHER, UNIVERSE).records)
    gone = article("1", [], 2 * HOUR, headline="", state="withdrawn")
    log = merge(log, mapped("news", gone, MATCHER, UNIVERSE, held=log).records)
    assert as_of(log.lazy(), T + HOUR).collect().height == 2
    assert as_of(log.lazy(), T + 2 * HOUR).collect().height == 0
