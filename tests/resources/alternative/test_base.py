"""A log of versions: what was known at an instant is answered the same for ever, whatever arrives later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.alternative.base import (
    COMMON,
    KINDS,
    OWN,
    as_of,
    checked,
    merge,
    schema,
    versions,
)
from resources.alternative.histories import Asking, remembered_with
from resources.errors import BarSchemaError, ConfigError

T = datetime(2024, 3, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def news(record: str, headline: str | None, known: float | None, fetched: float, **more: Any) -> pl.DataFrame:
    """A version of an article of T, known and fetched so many hours after it; known None: the source does not say."""
    row = {"record_id": record, "ts": T, "headline": headline, **more}
    row |= {} if known is None else {"known_at": T + known * HOUR}
    return versions("news", pl.DataFrame([row]), "wire", T + fetched * HOUR)


def logged(*fetches: pl.DataFrame) -> pl.DataFrame:
    log = schema("news").to_frame()
    for each in fetches:
        log = merge(log, each)
    return log


def told(log: pl.DataFrame) -> list[tuple[Any, ...]]:
    hours = ((pl.col("known_at") - T).dt.total_seconds() / 3600).round(3)
    return log.select("record_id", "headline", hours, "state").rows()


def known(log: pl.DataFrame, hours: float) -> dict[str, str]:
    return dict(as_of(log.lazy(), T + hours * HOUR).select("record_id", "headline").collect().iter_rows())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_common_columns_and_its_own(kind: Any) -> None:
    assert schema(kind).names() == [*COMMON, *OWN[kind]]
    empty = versions(kind, pl.DataFrame(schema={"record_id": pl.String, "ts": COMMON["ts"]}), "wire", T)
    assert empty.schema == schema(kind)
    assert merge(empty, empty).height == 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="'weather' is no kind"):
        schema("weather")  # type: ignore[arg-type]


CASES: list[tuple[str, list[pl.DataFrame], list[tuple[str, str | None, float, str]]]] = [
    ("the source's own time", [news("1", "a", 0.5, 3)], [("1", "a", 0.5, "new")]),
    ("where it says none, the fetch's", [news("1", "a", None, 3)], [("1", "a", 3, "new")]),
    ("the same again is no version", [news("1", "a", 0, 1), news("1", "a", 0, 2)], [("1", "a", 0, "new")]),
    ("the same with another stamp neither", [news("1", "a", 0, 1), news("1", "a", 1.5, 2)], [("1", "a", 0, "new")]),
    (
        "a correction",
        [news("1", "a", 0, 1), news("1", "b", 1.5, 2)],
        [("1", "a", 0, "new"), ("1", "b", 1.5, "corrected")],
    ),
    (
        "a correction that is stamped before the last asking was not there then",
        [news("1", "a", 0, 1), news("1", "b", 0.5, 2)],
        [("1", "a", 0, "new"), ("1", "b", 2, "corrected")],
    ),
    (
        "an article that arrives late was not there either",
        [news("1", "a", 0, 1), news("2", "late", 0.2, 5)],
        [("1", "a", 0, "new"), ("2", "late", 5, "new")],
    ),
    (
        "back to the first wording is a version, too",
        [news("1", "a", 0, 1), news("1", "b", 1.5, 2), news("1", "a", 2.5, 3)],
        [("1", "a", 0, "new"), ("1", "b", 1.5, "corrected"), ("1", "a", 2.5, "corrected")],
    ),
    (
        "back to the first wording under the same stamp is one, too",
        [news("1", "a", 0, 1), news("1", "b", 0, 2), news("1", "a", 0, 3)],
        [("1", "a", 0, "new"), ("1", "b", 2, "corrected"), ("1", "a", 3, "corrected")],
    ),
    (
        "withdrawn and there again under the same stamp",
        [news("1", "a", 0, 1), news("1", "a", 0, 2, state="withdrawn"), news("1", "a", 0, 3)],
        [("1", "a", 0, "new"), ("1", "a", 2, "withdrawn"), ("1", "a", 3, "corrected")],
    ),
    (
        "a source that tells all versions each time, some of them late, adds each once",
        [news("1", "a", 0, 1), *[pl.concat([news("1", "a", 0, at), news("1", "b", 0.5, at), news("1", "a", 0.7, at)])
                                 for at in (2, 3, 4)]],
        [("1", "a", 0, "new"), ("1", "b", 2, "corrected"), ("1", "a", 2, "corrected")],
    ),
    (
        "a stale answer of an earlier version is none",
        [news("1", "a", 0, 1), news("1", "b", 1.5, 2), news("1", "a", 0, 3)],
        [("1", "a", 0, "new"), ("1", "b", 1.5, "corrected")],
    ),
    (
        "withdrawn, and there again",
        [news("1", "a", 0, 1), news("1", None, 1.5, 2, state="withdrawn"), news("1", "a", 2.5, 3)],
        [("1", "a", 0, "new"), ("1", None, 1.5, "withdrawn"), ("1", "a", 2.5, "corrected")],
    ),
    ("no longer listed is not withdrawn", [news("1", "a", 0, 1), news("2", "b", 1.5, 2)],
     [("1", "a", 0, "new"), ("2", "b", 1.5, "new")]),
    (
        "one answer with the article twice, changed in between",
        [pl.concat([news("1", "a", 0, 1), news("1", "b", 0, 1)])],
        [("1", "b", 0, "new")],
    ),
    (
        "such an answer again",
        [pl.concat([news("1", "a", 0, at), news("1", "b", 0, at)]) for at in (1, 2)],
        [("1", "b", 0, "new")],
    ),
    (
        "one answer with all its versions",
        [pl.concat([news("1", "b", 0.5, 1), news("1", "a", 0, 1)])],
        [("1", "a", 0, "new"), ("1", "b", 0.5, "corrected")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fetches", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_fetch_adds(fetches: list[pl.DataFrame], expected: list[Any]) -> None:
    assert told(logged(*fetches)) == expected


def test_history_is_kept() -> None:
    log = logged(news("1", "a", 0, 1), news("1", "b", 1.5, 2), news("1", None, 2.5, 3, state="withdrawn"))
    assert [known(log, hours) for hours in (-1, 0, 1.4, 1.5, 2.5)] == [{}, {"1": "a"}, {"1": "a"}, {"1": "b"}, {}]


def test_likes_make_no_version() -> None:
    def post(likes: int, hours: float) -> pl.DataFrame:
        rows = pl.DataFrame([{"record_id": "1", "ts": T, "text": "up", "likes": likes}])
        return versions("social", rows, "site", T + hours * HOUR)

    assert merge(post(1, 1), post(500, 2)).height == 1


def asking(first: float, end: float, at: float) -> Asking:
    return Asking(T + first * HOUR, T + end * HOUR, T + at * HOUR)


def test_when_a_source_was_asked_last_may_be_told() -> None:
    """A fetch that brought nothing leaves no row, and yet nothing was there to bring."""
    log = logged(news("1", "a", 0, 1))
    late = news("2", "late", 1.5, 5)
    assert told(merge(log, late))[-1] == ("2", "late", 1.5, "new")
    assert told(merge(log, late, {"wire": [asking(-1, 1, 2)]}))[-1] == ("2", "late", 5, "new")
    assert told(merge(log, late, {"another": [asking(-1, 1, 2)]}))[-1] == ("2", "late", 1.5, "new")
    # A row that was fetched after the asking proves another one.
    assert told(merge(logged(news("1", "a", 0, 3)), late, {"wire": [asking(-1, 1, 1)]}))[-1] == (
        "2", "late", 5, "new",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spot", "known_at"),
    [(-3, 0), (-2, 5), (0, 5), (1, 5), (2, 0), (9, 0)],
    ids=["before it", "at its start", "among others", "in it", "at its end", "after it"],
)
def test_what_lies_outside_of_every_window_that_was_asked_for_keeps_its_stamp(spot: float, known_at: float) -> None:
    log = logged(news("1", "a", 0, 1))
    other = news("2", "b", 0, 5, ts=T + spot * HOUR)
    assert told(merge(log, other, {"wire": [asking(-2, 2, 1)]}))[-1] == ("2", "b", known_at, "new")


def test_a_record_that_moved_out_of_the_window_was_there_in_another_version() -> None:
    log = logged(news("1", "a", 0, 1))
    moved = news("1", "b", 0.5, 5, ts=T + 9 * HOUR)
    assert told(merge(log, moved, {"wire": [asking(-2, 2, 3)]}))[-1] == ("1", "b", 5, "corrected")


def test_askings_that_later_ones_cover_are_forgotten() -> None:
    held: tuple[Asking, ...] = ()
    for each in [asking(0, 9, 9), asking(0, 8, 10), asking(0, 8, 11), asking(1, 9, 12)]:
        held = remembered_with(held, each)
    assert held == (asking(0, 9, 9), asking(0, 8, 11), asking(1, 9, 12))
    assert remembered_with(held, asking(0, 9, 13)) == (asking(0, 9, 13),)
    assert remembered_with(held, asking(0, 9, 10)) == (asking(0, 9, 10), asking(0, 8, 11), asking(1, 9, 12))


def test_an_instant_may_be_told_in_any_zone() -> None:
    log = logged(news("1", "a", 0, 1), news("1", "b", 1.5, 2))
    for zone in ("America/New_York", "Asia/Kolkata"):
        then = as_of(log.lazy(), (T + 1.4 * HOUR).astimezone(ZoneInfo(zone))).collect()
        assert then["headline"].to_list() == ["a"]


fetches = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from("123"),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 30),
            st.sampled_from(["new", "withdrawn"]),
        ),
        max_size=6,
    ),
    min_size=1,
    max_size=5,
)


@given(fetches, st.integers(0, 60))
def test_what_was_known_is_answered_the_same_after_any_later_arrival(
    plan: list[list[tuple[str, str, int, str]]], asked: int
) -> None:
    """Fetch number n happens at hour 10 n; rows claim any hour up to then, so that late, stale and corrected mix."""
    log, askings = schema("news").to_frame(), dict[str, list[Asking]]()
    answers: list[tuple[datetime, list[Any]]] = []
    for number, rows in enumerate(plan, 1):
        at = T + 10 * number * HOUR
        claimed = [news(*row[:2], min(row[2], 10 * number), 10 * number, state=row[3]) for row in rows]
        before = log
        log = merge(log, pl.concat([log.clear(), *claimed]), askings)
        askings = {"wire": [Asking.for_everything(at)]}
        assert log.head(before.height).equals(before)
        for instant, answer in answers:
            assert as_of(log.lazy(), instant).collect().rows() == answer
        asking = min(T + asked * HOUR, at)
        answers.append((asking, as_of(log.lazy(), asking).collect().rows()))
    checked("news", log)
    assert log.group_by("record_id").agg(pl.col("known_at").is_unique().all())["known_at"].all()


@given(fetches)
def test_a_fetch_that_is_read_twice_adds_nothing(plan: list[list[tuple[str, str, int, str]]]) -> None:
    log = schema("news").to_frame()
    for number, rows in enumerate(plan, 1):
        claimed = [news(*row[:2], min(row[2], 10 * number), 10 * number, state=row[3]) for row in rows]
        fetched = pl.concat([log.clear(), *claimed])
        log = merge(log, fetched)
        newest = as_of(log.lazy(), T + 1000 * HOUR).collect()
        again = merge(log, log.sort("headline", "known_at"))
        assert again.equals(log)
        assert as_of(again.lazy(), T + 1000 * HOUR).collect().equals(newest)


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("no id", {"record_id": None}, "record_id is missing"),
    ("no time", {"ts": None}, "ts is missing"),
    ("an unknown state", {"state": "retracted"}, "state must be one of new, corrected, withdrawn"),
    ("known after the fetch", {"known_at": T + 9 * HOUR}, "what was fetched was known"),
    ("a column of another kind", {"likes": 3}, "no column likes"),
]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_no_version_is_refused(change: dict[str, Any], says: str) -> None:
    row = {"record_id": "1", "ts": T, "headline": "a", **change}
    with pytest.raises(BarSchemaError, match=says):
        versions("news", pl.DataFrame([row], schema_overrides={"ts": COMMON["ts"]}), "wire", T + HOUR)


def test_frames_of_two_kinds_are_not_merged() -> None:
    with pytest.raises(BarSchemaError, match="one kind"):
        merge(schema("news").to_frame(), schema("esg").to_frame())
    with pytest.raises(BarSchemaError, match=r"resources\.alternative\.base\.versions"):
        checked("esg", schema("news").to_frame())


def test_an_instant_needs_its_zone() -> None:
    with pytest.raises(ConfigError, match="no time zone"):
        as_of(schema("news").to_frame().lazy(), datetime(2024, 1, 1))
