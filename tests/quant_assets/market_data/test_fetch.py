"""Downloads in parts: sized by memory, none asked for twice, each checked, and told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.market_data import assets as market_data_assets
from quant_assets.market_data import fetch
from quant_assets.partitions import SETTINGS
from resources.calendars import UTC_MICROS, sessions
from resources.config import CleaningSettings, ExcludedRow
from resources.config_providers import AlpacaSettings, YahooSettings
from resources.errors import BarSchemaError, ConfigError, NoDataError, NotOfferedError, ProviderTimeoutError
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, Partial
from resources.market_data.downloads import Downloads
from resources.market_data.ticks import TRADE_SCHEMA

EXCLUDED = ExcludedRow(symbol="AAPL", reason="a test")
FIRST, LAST = date(2024, 1, 29), date(2024, 3, 4)


class Source(Partial):
    """One bar a symbol and request; what was asked for; and errors to come."""

    name, offers = "source", "bars"

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], date, date]] = []
        self.errors: dict[int, Exception] = {}
        self.price = 10.0

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        self.asked.append((tuple(symbols), start, end))
        if error := self.errors.pop(len(self.asked), None):
            raise error
        opens = sessions("XNYS", start, end)["open"][0]
        rows = [
            (symbol, opens, *[self.price] * 4, 1.0, self.name, opens, opens + timedelta(hours=6)) for symbol in symbols
        ]
        return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row").lazy()

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        raise self.not_offered("corporate actions")


def collected(source: Source, symbols: Sequence[str], timeframe: str, kept: Downloads | None = None) -> pl.DataFrame:
    frames = fetch.bars(source, symbols, FIRST, LAST, timeframe, kept, lambda _: None)  # type: ignore[arg-type]
    return pl.concat(frames).collect()


SIZES = [  # symbols, first, last, timeframe, sizes of the groups
    (["A"] * 120, date(2000, 1, 1), date(2020, 1, 1), "1d", [50, 50, 20]),
    (["A"] * 120, date(2024, 1, 1), date(2024, 1, 31), "1m", [44, 44, 32]),
    (["A"] * 3, date(2020, 1, 1), date(2024, 1, 1), "1m", [1, 1, 1]),
    (["A"] * 7, date(2024, 1, 1), date(2024, 12, 31), "5m", [7]),
]


@pytest.mark.parametrize(("symbols", "first", "last", "timeframe", "sizes"), SIZES)
def test_groups_are_as_large_as_memory_allows(
    symbols: list[str], first: date, last: date, timeframe: str, sizes: list[int]
) -> None:
    assert [len(group) for group in fetch.groups(symbols, first, last, timeframe)] == sizes


def test_daily_bars_are_one_request_a_group_intraday_one_a_month() -> None:
    source = Source()
    collected(source, ["A", "B"], "1d")
    assert source.asked == [(("A", "B"), FIRST, LAST)]
    source = Source()
    frame = collected(source, ["A", "B"], "1h")
    assert [asked[1:] for asked in source.asked] == [
        (FIRST, date(2024, 1, 31)),
        (date(2024, 2, 1), date(2024, 2, 29)),
        (date(2024, 3, 1), LAST),
    ]
    assert frame["symbol"].to_list() == ["A"] * 3 + ["B"] * 3
    assert frame.equals(frame.sort("symbol", "ts"))


def test_after_a_failure_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    source = Source()
    source.errors[2] = ProviderTimeoutError("the second month")
    with pytest.raises(ProviderTimeoutError):
        collected(source, ["A", "B"], "1h", Downloads(tmp_path, "q"))
    source.price = 11.0
    frame = collected(source, ["A", "B", "C"], "1h", Downloads(tmp_path, "q"))
    assert source.asked[2:] == [
        (("C",), FIRST, date(2024, 1, 31)),  # a symbol that is new
        (("A", "B", "C"), date(2024, 2, 1), date(2024, 2, 29)),
        (("A", "B", "C"), date(2024, 3, 1), LAST),
    ]
    assert frame.filter(pl.col("symbol") == "A")["close"].to_list() == [10.0, 11.0, 11.0]
    assert frame.height == 9


def test_a_killed_daily_download_loses_its_last_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ASK_ROWS", 2 * 36)  # two symbols over these dates
    source = Source()
    source.errors[3] = ProviderTimeoutError("the third request")
    with pytest.raises(ProviderTimeoutError):
        collected(source, ["A", "B", "C", "D", "E", "F"], "1d", Downloads(tmp_path, "q"))
    frame = collected(source, ["A", "B", "C", "D", "E", "F"], "1d", Downloads(tmp_path, "q"))
    assert [asked[0] for asked in source.asked] == [("A", "B"), ("C", "D"), ("E", "F"), ("E", "F")]
    assert frame["symbol"].to_list() == ["A", "B", "C", "D", "E", "F"]


def test_a_slow_gateway_is_asked_symbol_by_symbol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "name", "ib")
    source = Source()
    collected(source, ["A", "B"], "1d", Downloads(tmp_path, "q"))
    assert [asked[0] for asked in source.asked] == [("A",), ("B",)]


def test_downloads_belong_to_the_settings_that_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    places = set()
    for changes in (
        {"provider": AlpacaSettings(name="alpaca", feed="sip")},
        {"provider": AlpacaSettings(name="alpaca", feed="iex")},
        {"provider": YahooSettings(name="yahoo")},
        {"provider": YahooSettings(name="yahoo"), "calendar": "24/7"},
        {"provider": YahooSettings(name="yahoo"), "cleaning": CleaningSettings(exclude=[EXCLUDED])},
    ):
        monkeypatch.setattr(market_data_assets, "SETTINGS", SETTINGS.model_copy(update=changes))
        for kind in ("bars 1d", "bars 1h"):
            kept = market_data_assets._kept(kind)
            assert kept is not None
            places.add(kept._path("AAPL 2024"))
    assert len(places) == 10


def test_without_a_place_nothing_is_kept(tmp_path: Path) -> None:
    source = Source()
    collected(source, ["A"], "1d")
    collected(source, ["A"], "1d")
    assert len(source.asked) == 2


def test_months_without_rows_are_remembered_as_such(tmp_path: Path) -> None:
    source, words = Source(), list[str]()
    source.errors[1] = NoDataError("listed in February")
    kept = Downloads(tmp_path, "q")
    for _ in range(2):
        frames = fetch.bars(source, ["A"], FIRST, LAST, "1h", kept, words.append)  # type: ignore[arg-type]
        assert pl.concat(frames).collect().height == 2
    assert len(source.asked) == 3
    assert "no rows: listed in February" in words
    assert any("downloaded before: not asked for again" in word for word in words)
    assert any("100% 3/3, 2 rows" in word for word in words)


def test_broken_rows_are_refused_and_not_kept(tmp_path: Path) -> None:
    source = Source()
    source.price = -1.0
    with pytest.raises(BarSchemaError, match=r"A 2024-01-29.*positive"):
        collected(source, ["A"], "1d", Downloads(tmp_path, "q"))
    assert not list(tmp_path.iterdir())


def test_a_provider_without_actions_says_so_and_nothing_is_adjusted() -> None:
    words: list[str] = []
    frames = fetch.corporate_actions(Source(), ["A"], FIRST, LAST, None, words.append)  # type: ignore[arg-type]
    frame = pl.concat(frames).collect()
    assert (frame.height, frame.schema) == (0, ACTION_SCHEMA)
    assert "no rows: source has no corporate actions; it has bars. Nothing will be adjusted" in words


# --- ticks


DAYS = [  # calendar, session, from, to
    ("XNYS", date(2024, 3, 8), "2024-03-08T05:00", "2024-03-09T05:00"),
    ("XNYS", date(2024, 3, 11), "2024-03-11T04:00", "2024-03-12T04:00"),  # the clock has gone forward
    ("24/7", date(2024, 3, 10), "2024-03-10T00:00", "2024-03-11T00:00"),
    ("CMES", date(2024, 3, 8), "2024-03-07T23:00", "2024-03-08T23:00"),  # opens at 17:00 in Chicago
    ("CMES", date(2024, 3, 11), "2024-03-10T22:00", "2024-03-11T22:00"),
]


@pytest.mark.parametrize(("calendar", "session", "since", "until"), DAYS)
def test_ticks_are_those_of_the_venues_day(calendar: str, session: date, since: str, until: str) -> None:
    asked: list[Any] = []

    def ask(symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        asked.append((list(symbols), start, end))
        return pl.LazyFrame(schema=TRADE_SCHEMA)

    [frame] = fetch.ticks(ask, ["A"], [[session]], calendar, TRADE_SCHEMA, None, lambda _: None)
    begin, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (since, until))
    assert asked == [(["A"], begin, end)]
    assert frame.collect_schema() == TRADE_SCHEMA


def one_trade(symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
    row = (symbols[0], start, 10.0, 1.0, "buy", "1", "source", end, start)
    return pl.DataFrame([row], schema=TRADE_SCHEMA, orient="row").lazy()


def test_a_frame_of_ticks_is_a_symbols_partition() -> None:
    windows = [[date(2024, 3, 7), date(2024, 3, 8)], [date(2024, 3, 11)]]
    frames = fetch.ticks(one_trade, ["A", "B"], windows, "XNYS", TRADE_SCHEMA, None, lambda _: None)
    shapes = [(frame["symbol"].unique().to_list(), frame.height) for frame in map(pl.LazyFrame.collect, frames)]
    assert shapes == [(["A"], 2), (["A"], 1), (["B"], 2), (["B"], 1)]


def test_more_ticks_than_memory_takes_are_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_TICKS", 1)
    windows = [[date(2024, 3, 7), date(2024, 3, 8)]]
    with pytest.raises(ConfigError, match=r"A 2024-03-08: more than 1 ticks since 2024-03-07.*grain: day"):
        list(fetch.ticks(one_trade, ["A"], windows, "XNYS", TRADE_SCHEMA, None, lambda _: None))


def test_the_schema_of_the_frames_is_what_the_lake_expects() -> None:
    assert BAR_SCHEMA["ts"] == UTC_MICROS
    with pytest.raises(NotOfferedError):
        Source().trades(["A"], datetime.now(UTC), datetime.now(UTC))
