"""Random histories of a source, played against the log: what was answered once is answered the same for ever.

Records appear, late or in time, are corrected, withdrawn and come back, under stamps that are new, old or unchanged;
the window that is asked for moves, and runs are cut before their asking is noted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.alternative.fetch import bring
from quant_assets.alternative.sentiment import scored, scorer
from quant_assets.alternative.verdicts import versions_in_order
from resources.alternative.base import Kind, as_of, checked, schema, versions
from resources.alternative.entities import ENTITY_SCHEMA, Matcher
from resources.alternative.histories import Asking, remembered_with

BEGIN = datetime(2022, 5, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FIRST = BEGIN + 200 * DAY
"""The first fetch is after all that takes place: a history that is backfilled."""
MONTHS = {"2022-05": (BEGIN, BEGIN + 31 * DAY), "2022-06": (BEGIN + 31 * DAY, BEGIN + 61 * DAY)}
MATCHER = Matcher(pl.DataFrame([("A", "A", "ticker", None, None, None)], ENTITY_SCHEMA, orient="row"))

Span = tuple[datetime, datetime]
Row = dict[str, Any]


@dataclass
class World:
    """A source, whose rows are what it says now, and what its user has done."""

    now: datetime = FIRST
    kinds: tuple[Kind, ...] = ("news",)
    begins: datetime | None = None
    name: str = "wire"
    rows: dict[str, Row] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    log: pl.DataFrame = field(default_factory=lambda: schema("news").to_frame())
    memory: dict[tuple[str, str], dict[str, tuple[Asking, ...]]] = field(default_factory=dict)
    answers: list[tuple[datetime, Span, pl.DataFrame]] = field(default_factory=list)
    torn: bool = False
    """Whether a run was cut whose rows are stored: it may have asked for anything."""
    pending: list[tuple[datetime, Span, pl.DataFrame]] = field(default_factory=list)

    def change(self, record: str, place: int, what: str, stamp: str) -> None:
        """The source says something new; a stamp never goes back behind that of the version before."""
        before = self.rows.get(record)
        ts = before["ts"] if before else BEGIN + place * DAY
        last = before["known_at"] if before else ts
        known_at = {"now": self.now, "unchanged": last, "backdated": last + (self.now - last) / 2}[stamp]
        texts = self.said.setdefault(record, [])
        text = texts[0] if what == "return" and texts else f"text {len(texts)}"
        texts.append(text)
        state = "withdrawn" if what == "withdraw" and before else "new"
        self.rows[record] = {
            "record_id": record, "ts": ts, "known_at": known_at, "headline": text, "state": state,
            "symbols_told": ["A"],
        }  # fmt: skip

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        there = [row for row in self.rows.values() if start <= row["ts"] < end]
        frame = pl.DataFrame(there or None, None if there else {"record_id": pl.String, "ts": schema("news")["ts"]})
        return versions("news", frame, self.name, self.now).lazy()

    def fetch(self, span: Span, cut: bool) -> None:
        """Ask for a window; a run that is cut has its rows stored, and no word of its asking."""
        before = self.log
        month = pl.col("ts").dt.strftime("%Y-%m")
        found = bring(
            "news", [self], ["A"], span, self.log, self.memory, MATCHER, month, tuple(MONTHS), lambda: self.now
        )
        self.log = found.records
        assert self.log.join(before, on=before.columns, how="semi", nulls_equal=True).height == before.height
        if not cut:
            for key, (start, end) in MONTHS.items():
                held = self.memory.setdefault((key, "A"), {})
                new = Asking(max(start, span[0]), min(end, span[1]), found.asked["wire"])
                held["wire"] = remembered_with(held.get("wire", ()), new)

    def known(self, instant: datetime, span: Span) -> pl.DataFrame:
        return within(as_of(self.log.lazy(), instant).select("record_id", "ts", "headline", "known_at").collect(), span)

    def now_said(self, span: Span) -> dict[str, str]:
        rows = [row for row in self.rows.values() if span[0] <= row["ts"] < span[1] and row["state"] != "withdrawn"]
        return {row["record_id"]: row["headline"] for row in rows}


def within(rows: pl.DataFrame, span: Span) -> pl.DataFrame:
    return rows.filter(pl.col("ts").is_between(*span, closed="left"))


changes = st.tuples(
    st.sampled_from("12"), st.sampled_from([0, 20, 45]), st.sampled_from(["new", "return", "withdraw"]),
    st.sampled_from(["now", "unchanged", "backdated"]),
)  # fmt: skip
fetches = st.tuples(st.sampled_from([0, 15, 40]), st.sampled_from([30, 46, 61]), st.sampled_from([False, False, True]))
steps = st.lists(st.tuples(st.lists(changes, max_size=2), fetches), min_size=3, max_size=7)


@settings(max_examples=200)
@given(steps)
def test_what_was_answered_once_is_answered_the_same(plan: list[tuple[list[tuple[str, int, str, str]], Any]]) -> None:
    world = World()
    for said, (first, days, cut) in plan:
        for each in said:
            world.change(*each)
            world.now += HOUR
        span = (BEGIN + first * DAY, BEGIN + max(days, first + 1) * DAY)
        held, asked = world.log, [each for memory in world.memory.values() for each in memory["wire"]]
        world.fetch(span, cut)
        if not world.torn:
            _stamps_stand(world, world.log.join(held, on="record_id", how="anti"), asked)
        assert dict(world.known(world.now, span).select("record_id", "headline").iter_rows()) == world.now_said(span)
        if not cut:
            world.answers += [(at, _both(span, where), within(told, span)) for at, where, told in world.pending]
            world.pending.clear()
        for instant, where, answer in world.answers:
            assert world.known(instant, where).equals(answer), f"as of {instant} in {where}"
        answers = [(at, span, world.known(at, span)) for at in (world.now, world.now - HOUR, FIRST, BEGIN + 50 * DAY)]
        if not cut:
            world.answers += answers
        elif world.log.height > held.height:  # what a run was cut before it stored is not done
            world.pending += answers
            world.torn = True
        world.now += HOUR
    checked("news", world.log)
    assert versions_in_order(world.log).passed
    scores = scored({"news": world.log}, scorer("finance_words"))
    assert scores.select("record_id", "known_at").equals(world.log.select("record_id", "known_at"))


def _both(one: Span, other: Span) -> Span:
    """What two windows share: the next whole run notes its own, and what a cut one asked for beside it is forgotten."""
    return max(one[0], other[0]), min(one[1], other[1])


def _stamps_stand(world: World, first_told: pl.DataFrame, asked: list[Asking]) -> None:
    """What lies where nothing was asked for before is known when it is stamped; what else is new now, since now."""
    for record, ts, known_at in first_told.select("record_id", "ts", "known_at").iter_rows():
        stamp = world.rows[record]["known_at"]
        late = any(each.start <= ts < each.end and stamp <= each.at for each in asked)
        assert known_at == (world.now if late else stamp)
