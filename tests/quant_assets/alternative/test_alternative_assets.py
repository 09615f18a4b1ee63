"""The assets, run by Dagster on a lake of their own: what each run adds, and what it remembers of having asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.alternative import assets
from quant_assets.alternative.askings import ASKED
from quant_assets.alternative.assets import alternative_assets
from quant_assets.partitions import SETTINGS, SYMBOLS
from resources.alternative.base import KINDS, Kind, as_of, versions
from resources.alternative.sample import Synthetic
from resources.errors import ProviderTimeoutError
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.market_data.sample import Sample

JUNE = datetime(2011, 6, 1, 15, tzinfo=UTC)
NEWS = ("alternative", "news")
STAMP = pl.Datetime("us", "UTC")


class Wire:
    """A source of news that says what the test has put down, on the clock of the machine."""

    name = "wire"
    kinds: tuple[Kind, ...] = ("news",)
    begins = None

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.broken = False

    def say(self, record: str, headline: str, known_at: datetime = JUNE, *symbols: str) -> None:
        row = {"record_id": record, "ts": JUNE, "known_at": known_at, "headline": headline}
        self.rows = [each for each in self.rows if each["record_id"] != record]
        self.rows.append({**row, "symbols_told": list(symbols or ["IBM"])})

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        if self.broken:
            raise ProviderTimeoutError("wire: no answer within 30 s. Try later.")
        assert start < JUNE < end
        frame = pl.DataFrame(self.rows or None, schema=None if self.rows else {"record_id": pl.String, "ts": STAMP})
        return versions("news", frame, self.name, datetime.now(UTC)).lazy()


class Desk:
    """A lake, an instance and a wire, and runs of one partition of news."""

    def __init__(self, lake: Lake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance, self.wire = lake, instance, Wire()
        with lake.writing(("market_data", "instruments")) as staging:
            staging.write([({}, Sample().instruments(["AAPL", "IBM"]))])

    def run(
        self, *names: str, symbol: str = "IBM", date: str = "2011", expect: bool = True
    ) -> dg.ExecuteInProcessResult:
        resources: dict[str, Any] = {
            "alternative": {kind: [self.wire] if kind == "news" else [Synthetic()] for kind in KINDS},
            "lake": self.lake,
            "io_manager": LakeIOManager(self.lake, SETTINGS.calendar),
        }
        result = dg.materialize(
            [*alternative_assets, dg.AssetSpec(["market_data", "instruments"])],
            selection=dg.AssetSelection.assets(*(f"alternative/{name}" for name in names)),
            partition_key=dg.MultiPartitionKey({"date": date, "symbol": symbol}) if "entities" not in names else None,
            instance=self.instance,
            resources=resources,
            raise_on_error=False,
        )
        assert result.success is expect
        return result

    def log(self, symbol: str = "IBM", date: str = "2011") -> pl.DataFrame:
        return self.lake.read(NEWS, {"symbol": symbol, "date": date})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM"])
        made = Desk(Lake(str(tmp_path / "lake")), instance)
        made.run("entities")
        yield made


def test_a_run_adds_versions_and_changes_none(desk: Desk) -> None:
    desk.wire.say("1", "a loss")
    desk.run("news")
    first = desk.log()
    assert first.select("record_id", "known_at", "state").rows() == [("1", JUNE, "new")]
    asked = datetime.now(UTC)
    desk.wire.say("1", "a gain", JUNE + timedelta(hours=1))
    desk.run("news")
    log = desk.log()
    assert log.head(1).equals(first)
    # It is stamped before the first run, and was not there then.
    assert log["known_at"][1] >= asked
    assert as_of(log.lazy(), asked).collect()["headline"].to_list() == ["a loss"]
    desk.run("news")
    assert desk.log().equals(log)


def test_a_run_that_brought_nothing_is_remembered(desk: Desk) -> None:
    result = desk.run("news")
    (event,) = result.asset_materializations_for_node("alternative__news")
    ((_, _, at),) = json.loads(json.dumps(event.metadata[ASKED].value))["wire"]
    asked = datetime.fromisoformat(at)
    assert desk.log().height == 0
    desk.wire.say("1", "from the archive, as if it had been there")
    desk.run("news")
    assert desk.log()["known_at"][0] > asked > JUNE


def test_a_partition_that_was_never_asked_for_takes_the_stamps_as_they_are(desk: Desk) -> None:
    desk.wire.say("1", "a story of both", JUNE, "IBM", "AAPL")
    desk.run("news", symbol="IBM")
    desk.run("news", symbol="AAPL")
    assert desk.log("AAPL")["known_at"].to_list() == desk.log("IBM")["known_at"].to_list() == [JUNE]


class Filed(Wire):
    """A wire that gives what lies in the window, and says from which day each record is."""

    def file(self, record: str, day: date) -> None:
        at = datetime(day.year, day.month, day.day, 15, tzinfo=UTC)
        self.say(record, f"story {record}", at)
        self.rows[-1]["ts"] = at

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        if not self.rows:
            return versions("news", pl.DataFrame(schema={"record_id": pl.String, "ts": STAMP}), "wire", JUNE).lazy()
        frame = pl.DataFrame(self.rows).filter(pl.col("ts").is_between(start, end, closed="left"))
        return versions("news", frame, self.name, datetime.now(UTC)).lazy()


def end_on(monkeypatch: pytest.MonkeyPatch, end: date) -> None:
    dates = SETTINGS.dates.model_copy(update={"end": end})
    monkeypatch.setattr(assets, "SETTINGS", SETTINGS.model_copy(update={"dates": dates}))


def known(desk: Desk) -> dict[str, datetime]:
    return dict(desk.log().select("record_id", "known_at").iter_rows())


def test_only_what_lies_in_a_window_that_was_asked_for_arrives_late(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history's end moves within the year, ahead and back: what was never asked for is as old as it says."""
    desk.wire = wire = Filed()
    for number, month in enumerate((2, 4, 8), 1):
        wire.file(str(number), date(2011, month, 15))
    stamps = {row["record_id"]: row["known_at"] for row in wire.rows}
    end_on(monkeypatch, date(2011, 3, 31))
    desk.run("news")
    assert known(desk) == {"1": stamps["1"]}
    wire.file("late in March", date(2011, 3, 1))
    end_on(monkeypatch, date(2011, 6, 30))
    asked = datetime.now(UTC)
    desk.run("news")
    assert known(desk)["2"] == stamps["2"]
    assert known(desk)["late in March"] > asked
    end_on(monkeypatch, date(2011, 3, 31))
    desk.run("news")
    # June was asked for in the second run, July never was.
    wire.file("late in June", date(2011, 6, 1))
    wire.file("in July", date(2011, 7, 5))
    end_on(monkeypatch, date(2011, 12, 31))
    asked = datetime.now(UTC)
    desk.run("news")
    assert known(desk)["late in June"] > asked
    assert known(desk)["in July"] == datetime(2011, 7, 5, 15, tzinfo=UTC)
    assert known(desk)["3"] == stamps["3"]


def test_a_record_that_moves_to_another_year_and_back_has_one_history(desk: Desk) -> None:
    """Each year is fetched in runs of its own, which write nothing else."""
    desk.wire = wire = Filed()
    there, away, asked = date(2011, 6, 1), date(2012, 3, 1), list[datetime]()
    for day, year in [(there, "2011"), (away, "2012"), (there, "2011"), (away, "2012")]:
        wire.file("1", day)
        desk.run("news", date=year)
        asked.append(datetime.now(UTC))
    stood = [as_of(pl.concat([desk.log(), desk.log(date="2012")]).lazy(), at).collect()["ts"].dt.date() for at in asked]
    assert [each.to_list() for each in stood] == [[there], [away], [there], [away]]
    alone = [as_of(desk.log(date="2012").lazy(), at).collect().height for at in asked]
    assert alone == [0, 1, 0, 1]
    desk.run("news", date="2011")
    assert [as_of(desk.log().lazy(), at).collect().height for at in asked] == [1, 0, 1, 0]
    states = [desk.log(date=year)["state"].to_list() for year in ("2011", "2012")]
    assert states == [["new", "withdrawn", "corrected", "withdrawn"], ["new", "withdrawn", "corrected"]]
    logs = [desk.log(date=year) for year in ("2011", "2012")]
    for year, log in zip(("2011", "2012"), logs, strict=True):
        desk.run("news", date=year)
        assert desk.log(date=year).equals(log)


def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end when the lake has their rows, before Dagster hears of it."""

    def killed(*_: Any) -> None:
        raise KeyError("killed")

    monkeypatch.setattr(LakeIOManager, "_report", killed)


def test_a_run_that_was_cut_before_dagster_heard_of_it_has_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run doubles nothing and changes nothing, and what came in between is known from when it came."""
    desk.wire.say("1", "a loss")
    with monkeypatch.context() as torn:
        cut(torn)
        desk.run("news", expect=False)
    log, asked = desk.log(), datetime.now(UTC)
    assert log["record_id"].to_list() == ["1"]
    desk.run("news")
    assert desk.log().equals(log)
    desk.wire.say("1", "a gain")
    desk.wire.say("2", "from the archive")
    with monkeypatch.context() as torn:
        cut(torn)
        desk.run("news", expect=False)
    log = desk.log()
    assert log.filter(pl.col("known_at") > asked)["headline"].to_list() == ["a gain", "from the archive"]
    desk.run("news")
    desk.run("news")
    assert desk.log().equals(log)


class Overtaken(Wire):
    """A wire during whose first answer another run begins and ends."""

    def __init__(self, desk: Desk, others: Wire) -> None:
        super().__init__()
        self.desk, self.others, self.rows = desk, others, list(desk.wire.rows)

    def news(self, symbols: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        answer = super().news(symbols, start, end)
        if self.desk.wire is self:
            self.desk.wire = self.others
            self.desk.run("news")
        return answer


def test_a_run_that_was_overtaken_by_another_overwrites_nothing(desk: Desk) -> None:
    desk.wire.say("1", "a loss")
    desk.run("news")
    others = Wire()
    others.say("1", "a gain", JUNE + timedelta(hours=1))
    others.say("2", "a second story")
    desk.wire = Overtaken(desk, others)
    (failure,) = [event for event in desk.run("news", expect=False).all_events if event.is_step_failure]
    assert "another run fetched IBM of 2011 while this one was under way" in str(failure.step_failure_data.error)
    log = desk.log()
    assert log["headline"].to_list() == ["a loss", "a gain", "a second story"]
    desk.run("news")
    assert desk.log().equals(log)


@pytest.mark.parametrize("first", [True, False], ids=["of a partition never fetched", "of a log that stays as it is"])
def test_an_asking_that_brought_nothing_is_not_overwritten_either(desk: Desk, first: bool) -> None:
    """What comes between the two with an old stamp would else pass for known by then."""
    if not first:
        desk.run("news")
    desk.wire = Overtaken(desk, Wire())
    desk.run("news", expect=False)
    asked = datetime.now(UTC)
    desk.wire.say("1", "from the archive")
    desk.run("news")
    assert desk.log()["known_at"][0] > asked


def test_a_damaged_log_is_named_and_nothing_is_fetched_over_it(desk: Desk) -> None:
    desk.wire.say("1", "a story")
    desk.run("news")
    path = Path(desk.lake.path(NEWS, {"symbol": "IBM", "date": "2011"}))
    damaged = path.read_bytes()[:-50]
    path.write_bytes(damaged)
    desk.wire.broken = True  # it is not even asked
    (failure,) = [event for event in desk.run("news", expect=False).all_events if event.is_step_failure]
    said = str(failure.step_failure_data.error)
    assert "alternative/news: what was known of IBM to IBM cannot be read" in said
    assert "symbol=IBM/date=2011/part.parquet" in said
    assert "Restore the damaged file from a backup, or remove it" in said
    assert path.read_bytes() == damaged


def test_a_partition_whose_file_is_gone_begins_anew(desk: Desk) -> None:
    desk.wire.say("1", "a story")
    desk.run("news")
    Path(desk.lake.path(NEWS, {"symbol": "IBM", "date": "2011"})).unlink()
    desk.wire.say("2", "another one")
    desk.run("news")
    assert known(desk) == {"1": JUNE, "2": JUNE}


def test_a_source_that_does_not_answer_fails_the_run_and_leaves_the_log(desk: Desk) -> None:
    desk.wire.say("1", "a story")
    desk.run("news")
    log = desk.log()
    desk.wire.broken = True
    desk.run("news", expect=False)
    assert desk.log().equals(log)


def test_a_tag_taken_off_withdraws_the_record(desk: Desk) -> None:
    desk.wire.say("1", "a story of both", JUNE, "IBM", "AAPL")
    desk.run("news")
    desk.wire.say("1", "a story of one", JUNE + timedelta(days=1), "AAPL")
    desk.run("news")
    assert desk.log()["state"].to_list() == ["new", "withdrawn"]


@pytest.mark.xdist_group("installation")
def test_every_kind_lies_in_the_lake_with_its_rows_in_their_partition(installation: Path) -> None:
    lake = Lake(str(installation / "lake"))
    for kind in (*KINDS, "sentiment"):
        held = lake.partitions(("alternative", kind))
        assert len(held) == 9
        assert lake.scan(("alternative", kind), held).select(pl.len()).collect().item() > 20
        for part in held:
            rows = lake.read(("alternative", kind), part)
            assert rows.filter(pl.col("symbol") != part["symbol"]).height == 0
            year = pl.col("ts").dt.convert_time_zone("America/New_York").dt.strftime("%Y")
            assert rows.filter(year != part["date"]).height == 0


@pytest.mark.xdist_group("installation")
def test_the_checks_of_the_installation_pass(installation: Path) -> None:
    """Nulls and drift of made-up news are for a person to look at, and are warnings."""
    from quant_assets.definitions import defs
    from resources.instance import instance as open_instance

    keys = [
        key
        for key in defs.resolve_asset_graph().asset_check_keys
        if key.asset_key.path[0] == "alternative" or key.asset_key.path == ["features", "alternative"]
    ]
    with open_instance(SETTINGS) as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    judged = {key.to_user_string(): record.evaluation for key, record in records.items()}
    assert len(judged) == len(keys) > 18
    failing = {name for name, found in judged.items() if found is None or not found.passed}
    assert failing <= {"features/alternative:drift", "features/alternative:nulls_after_warmup"}


@pytest.mark.xdist_group("installation")
def test_the_stored_features_are_those_of_the_past_alone(installation: Path) -> None:
    """Of the features in the panel: dropping what became known after a session changes none up to it."""
    from quant_assets.features import compute
    from quant_assets.features.alternative.said import with_records

    lake = Lake(str(installation / "lake"))
    bars = lake.scan(("cleaned", "bars"), lake.partitions(("cleaned", "bars"))).sort("symbol", "ts").collect()
    said = lake.scan(("alternative", "sentiment"), lake.partitions(("alternative", "sentiment"))).collect()
    panel = lake.scan(("features", "panel"), lake.partitions(("features", "panel")))
    names = ["news_sentiment_7d", "news_count_7d"]
    for day in (date(2010, 12, 31), date(2011, 1, 14), date(2012, 3, 30)):
        mine = panel.filter(pl.col("session") == day).sort("symbol").select("symbol", "known_at", *names).collect()
        known = said.filter(pl.col("known_at") <= mine["known_at"][0])
        rows = with_records(bars, known, SETTINGS.alternative.since(SETTINGS.dates.start))
        again = compute(rows, names).filter(pl.col("session") == day).sort("symbol").select(mine.columns).collect()
        assert again.equals(mine)
        assert mine["news_count_7d"].sum() > 0
