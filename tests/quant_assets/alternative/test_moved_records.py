"""Random histories of records whose event times move, over partitions that are fetched at times of their own.

The model is what a reader of the source would remember: of each record what was seen of it last, in the partitions that
were fetched then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.alternative.fetch import Asked, Elsewhere, bring
from quant_assets.alternative.verdicts import versions_in_order
from resources.alternative.base import Kind, as_of, checked, schema, versions
from resources.alternative.entities import ENTITY_SCHEMA, Matcher
from resources.alternative.histories import Asking, remembered_with

BEGIN = datetime(2022, 5, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FIRST = BEGIN + 200 * DAY
MONTHS = {
    "2022-05": (BEGIN, BEGIN + 31 * DAY),
    "2022-06": (BEGIN + 31 * DAY, BEGIN + 61 * DAY),
    "2022-07": (BEGIN + 61 * DAY, BEGIN + 92 * DAY),
}
MONTH = pl.col("ts").dt.strftime("%Y-%m")
MATCHER = Matcher(pl.DataFrame([("A", "A", "ticker", None, None, None)], ENTITY_SCHEMA, orient="row"))

Row = dict[str, Any]
Said = tuple[datetime, str]


@dataclass
class World:
    """A source of the newest versions (`rows`), a log in months, and what the model remembers (`seen`)."""

    now: datetime = FIRST
    kinds: tuple[Kind, ...] = ("news",)
    begins: datetime | None = None
    name: str = "wire"
    rows: dict[str, Row] = field(default_factory=dict)
    said: dict[str, list[Said]] = field(default_factory=dict)
    logs: dict[str, pl.DataFrame] = field(default_factory=dict)
    memory: dict[tuple[str, str], dict[str, tuple[Asking, ...]]] = field(default_factory=dict)
    seen: dict[str, Said | None] = field(default_factory=dict)

    def change(self, record: str, day: int, what: str, stamp: str) -> None:
        """The source says something new; a stamp never goes back behind that of the version before."""
        before, told = self.rows.get(record), self.said.setdefault(record, [])
        ts, text = BEGIN + day * DAY, f"text {len(told)}"
        if before and what == "correct":
            ts = before["ts"]
        if before and what in ("move", "withdraw"):
            text = before["headline"]
        if told and what == "return":
            ts, text = told[0]
        told.append((ts, text))
        last = before["known_at"] if before else min(ts, self.now)
        self.rows[record] = {
            "record_id": record, "ts": ts, "headline": text, "symbols_told": ["A"],
            "known_at": {"now": self.now, "unchanged": last, "backdated": last + (self.now - last) / 2}[stamp],
            "state": "withdrawn" if what == "withdraw" and before else "new",
        }  # fmt: skip

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        there = [row for row in self.rows.values() if start <= row["ts"] < end]
        frame = pl.DataFrame(there or None, None if there else {"record_id": pl.String, "ts": schema("news")["ts"]})
        return versions("news", frame, self.name, self.now).lazy()

    def log(self, months: Collection[str] = tuple(MONTHS)) -> pl.DataFrame:
        return pl.concat([schema("news").to_frame(), *(self.logs[each] for each in months if each in self.logs)])

    def fetch(self, months: list[str], cut: bool = False) -> datetime:
        """Ask for some months and a day on either side, and keep what lies in them. When the answer was there.

        A run that is cut has its rows stored, and no word of its asking.
        """
        span = (MONTHS[months[0]][0] - DAY, MONTHS[months[-1]][1] + DAY)
        held = self.log(months)
        mine: Asked = {key: asked for key, asked in self.memory.items() if key[0] in months}
        elsewhere = Elsewhere(
            lambda records: self.log(MONTHS.keys() - set(months)).filter(pl.col("record_id").is_in(records.implode())),
            lambda spots: {key: asked for key, asked in self.memory.items() if key in spots},
        )
        clock = lambda: self.now  # noqa: E731
        found = bring("news", [self], ["A"], span, held, mine, MATCHER, MONTH, months, clock, elsewhere)
        assert found.records.join(held, on=held.columns, how="semi", nulls_equal=True).height == held.height
        for month, (start, end) in MONTHS.items():
            if month in months:
                self.logs[month] = found.records.filter(month == MONTH)
                memory = self.memory.setdefault((month, "A"), {})
                asked = Asking(start - DAY, end + DAY, found.asked["wire"])
                if not cut:
                    memory["wire"] = remembered_with(memory.get("wire", ()), asked)
        self._remember(months, span)
        return found.asked["wire"]

    def _remember(self, months: list[str], span: tuple[datetime, datetime]) -> None:
        for record, row in self.rows.items():
            if span[0] <= row["ts"] < span[1]:
                before = self.seen.get(record)
                if f"{row['ts']:%Y-%m}" in months:
                    self.seen[record] = None if row["state"] == "withdrawn" else (row["ts"], row["headline"])
                elif before is not None and f"{before[0]:%Y-%m}" in months:
                    self.seen[record] = None  # it has left, to where this run keeps nothing


def told(log: pl.DataFrame, instant: datetime) -> dict[str, Said]:
    known = as_of(log.lazy(), instant).collect()
    return {record: (ts, text) for record, ts, text in known.select("record_id", "ts", "headline").iter_rows()}


def within(known: dict[str, Said], months: Collection[str]) -> dict[str, Said]:
    return {record: said for record, said in known.items() if f"{said[0]:%Y-%m}" in months}


changes = st.tuples(
    st.sampled_from("12"), st.sampled_from([0, 30, 31, 45, 60, 61, 80]),
    st.sampled_from(["move", "move", "return", "return", "correct", "withdraw"]),
    st.sampled_from(["now", "unchanged", "backdated"]),
)  # fmt: skip
runs = st.sampled_from([[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
steps = st.lists(
    st.tuples(st.lists(changes, max_size=2), runs, st.sampled_from([False, False, True])), min_size=3, max_size=7
)


@settings(max_examples=40)
@given(steps)
def test_a_record_has_one_history_over_all_partitions(plan: list[tuple[list[Any], list[int], bool]]) -> None:
    world, keys = World(), list(MONTHS)
    answers: list[tuple[datetime, list[str], dict[str, Said]]] = []
    for said, chosen, cut in plan:
        for each in said:
            world.change(*each)
            world.now += HOUR
        months = [keys[place] for place in chosen]
        asked, log = world.fetch(months, cut), world.log()
        assert told(log, asked) == {record: each for record, each in world.seen.items() if each is not None}
        for instant, where, answer in answers:
            assert within(told(log, instant), where) == answer, f"as of {instant} in {where}"
        for instant in (asked, asked - HOUR, asked - HOUR / 2, FIRST, BEGIN + 50 * DAY):
            # A partition that was just fetched is right by itself.
            assert told(world.log(months), instant) == within(told(log, instant), months)
            if not cut:
                answers.append((instant, months, within(told(log, instant), months)))
        world.fetch(months, cut)  # nothing has changed
        assert world.log().equals(log)
        checked("news", log)
        for alone in ([month] for month in MONTHS):
            assert versions_in_order(world.log(alone)).passed
        assert versions_in_order(world.log(months)).passed
        world.now += HOUR


@dataclass
class Archive(World):
    """A source of all versions: of each record that was in the window in one of them."""

    history: dict[str, list[Row]] = field(default_factory=dict)

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        met = [rows for rows in self.history.values() if any(start <= row["ts"] < end for row in rows)]
        there = [row for rows in met for row in rows]
        frame = pl.DataFrame(there or None, None if there else {"record_id": pl.String, "ts": schema("news")["ts"]})
        return versions("news", frame, self.name, self.now).lazy()


told_versions = st.lists(
    st.tuples(st.sampled_from([0, 31, 45, 60, 61, 80]), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(st.lists(told_versions, min_size=1, max_size=2), st.permutations([[0], [1], [2]]), st.booleans())
def test_partitions_fetched_apart_from_an_archive_are_the_whole(
    plan: list[list[Any]], order: list[list[int]], twice: bool
) -> None:
    history = {
        str(record): [
            {
                "record_id": str(record), "ts": BEGIN + day * DAY, "headline": text, "symbols_told": ["A"],
                "known_at": BEGIN + (100 + number) * DAY, "state": "withdrawn" if gone else "new",
            }
            for number, (day, text, gone) in enumerate(told)
        ]
        for record, told in enumerate(plan)
    }  # fmt: skip
    whole, apart = Archive(history=history), Archive(history=history)
    whole.fetch(list(MONTHS))
    for chosen in order * (1 + twice):
        apart.now += HOUR
        apart.fetch([list(MONTHS)[place] for place in chosen])
    logs = [each.log().drop("fetched_at").sort("record_id", "known_at") for each in (whole, apart)]
    assert logs[1].equals(logs[0])
