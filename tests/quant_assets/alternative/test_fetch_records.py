"""A fetch adds to the log and changes nothing in it, partition by partition, each by when it was asked last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.alternative.fetch import Asked, Brought, bring
from resources.alternative.base import Kind, as_of, schema, versions
from resources.alternative.entities import ENTITY_SCHEMA, Matcher
from resources.alternative.histories import Asking
from resources.errors import ProviderTimeoutError

T = datetime(2022, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = (T - 400 * DAY, T + 400 * DAY)
YEAR = pl.col("ts").dt.strftime("%Y")
MATCHER = Matcher(
    pl.DataFrame([(name, name, "ticker", None, None, None) for name in ("A", "B")], ENTITY_SCHEMA, orient="row")
)


class Wire:
    """A source that says what the test has put down."""

    kinds: tuple[Kind, ...] = ("news",)
    begins = None

    def __init__(self, name: str = "wire") -> None:
        self.name, self.rows = name, list[dict[str, Any]]()
        self.now = T

    def say(self, record: str, headline: str, *symbols: str, ts: datetime = T, known: datetime = T) -> None:
        self.rows = [row for row in self.rows if row["record_id"] != record]
        self.rows.append(
            {"record_id": record, "ts": ts, "known_at": known, "headline": headline, "symbols_told": list(symbols)}
        )

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        frame = pl.DataFrame(self.rows, schema_overrides={"symbols_told": pl.List(pl.String)})
        return versions("news", frame.filter(pl.col("ts").is_between(start, end)), self.name, self.now).lazy()


def fetch(held: pl.DataFrame, *wires: Wire, asked: Asked | None = None, dates: tuple[str, ...] = ("2022",)) -> Brought:
    clock = lambda: wires[0].now  # noqa: E731
    return bring("news", wires, ["A", "B"], WINDOW, held, asked or {}, MATCHER, YEAR, dates, clock)


def test_late_news_is_known_from_when_it_was_there() -> None:
    wire = Wire()
    wire.say("1", "first", "A")
    wire.now = T + DAY
    held = fetch(schema("news").to_frame(), wire)
    assert (held.new, held.asked) == (1, {"wire": T + DAY})
    before = as_of(held.records.lazy(), T + DAY).collect()

    wire.say("2", "late", "A", "B", known=T + DAY / 2)
    wire.now = T + 5 * DAY
    # A's partition holds rows of the first fetch, B's none: when it was asked, its materialization says.
    asked = {("2022", symbol): {"wire": [Asking(*WINDOW, T + DAY)]} for symbol in "AB"}
    later = fetch(held.records, wire, asked=asked)
    assert later.records.filter(pl.col("record_id") == "2").select("symbol", "known_at").rows() == [
        ("A", T + 5 * DAY), ("B", T + 5 * DAY),
    ]  # fmt: skip
    assert as_of(later.records.lazy(), T + DAY).collect().equals(before)


def test_a_source_that_is_new_brings_its_past() -> None:
    old, new = Wire(), Wire("other")
    old.say("1", "first", "A")
    new.say("1", "archive", "A")
    held = fetch(schema("news").to_frame(), old)
    old.now = new.now = T + DAY
    both = fetch(held.records, old, new, asked={("2022", "A"): {"wire": [Asking(*WINDOW, T)]}})
    assert both.records.filter(pl.col("source") == "other")["known_at"].to_list() == [T]


def test_rows_of_other_partitions_are_left_out() -> None:
    wire = Wire()
    wire.say("1", "this year", "A")
    wire.say("2", "last year", "A", ts=T - 300 * DAY)
    wire.say("3", "of nobody here", "C")
    assert fetch(schema("news").to_frame(), wire).records["record_id"].to_list() == ["1"]
    both = fetch(schema("news").to_frame(), wire, dates=("2021", "2022"))
    assert both.records["record_id"].to_list() == ["1", "2"]
    assert (both.by_tag, both.nowhere) == (2, 1)


def test_a_source_that_fails_changes_nothing() -> None:
    class Silent(Wire):
        def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
            raise ProviderTimeoutError("wire: no answer")

    with pytest.raises(ProviderTimeoutError):
        fetch(schema("news").to_frame(), Silent())
