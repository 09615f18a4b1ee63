"""When the stream job runs, and what the settings make of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.streams.gaps import no_gaps_left
from quant_assets.streams.windows import window
from quant_assets.streams.wiring import micros, task, venue, wire
from resources.config import Settings
from resources.config_streams import StreamSettings
from resources.errors import ConfigError, NoDataError
from resources.lake import Lake
from resources.market_data.synthetic import Synthetic
from resources.streams.base import Line, Lost, Repaired
from resources.streams.clock import SystemClock
from resources.streams.recording import Recorder, open_gaps
from resources.streams.sources.alpaca import AlpacaStream
from resources.streams.sources.binance import BinanceStream
from resources.streams.sources.ib import IBStream
from resources.streams.sources.ib_alike import Counted
from tests.venues.market import instant


def made(provider: str = "yahoo", calendar: str = "XNYS", **streams: Any) -> Settings:
    return Settings.model_validate(
        {
            "name": "windows_test", "provider": {"name": provider}, "universe": {"symbols": ["AAA", "BBB"]},
            "dates": {"start": "2019-01-02"}, "model": {"start": "2020-01-02"}, "calendar": calendar,
            "strategies": [{"name": "moving_average_cross"}], "live": {"strategy": "moving_average_cross"},
            "grain": "day", "streams": streams,
        }
    )  # fmt: skip


OPEN, CLOSE = instant(2024, 3, 8, 14, 30), instant(2024, 3, 8, 21)
MINUTES = timedelta(minutes=5)
MONDAY = instant(2024, 3, 11, 13, 30)  # New York's clock moved
CASES = [
    ("in the session", OPEN + MINUTES, OPEN - MINUTES, CLOSE + MINUTES),
    ("before the open", OPEN - MINUTES, OPEN - MINUTES, CLOSE + MINUTES),
    ("after the close", CLOSE + MINUTES - timedelta(seconds=1), OPEN - MINUTES, CLOSE + MINUTES),
    ("on Saturday", CLOSE + timedelta(hours=12), MONDAY - MINUTES, MONDAY + timedelta(hours=6.5) + MINUTES),
]


@pytest.mark.parametrize(("what", "now", "begins", "ends"), CASES, ids=[case[0] for case in CASES])
def test_a_window_lies_around_a_session(what: str, now: datetime, begins: datetime, ends: datetime) -> None:
    at = window(made(), now)
    assert (at.begins, at.ends, at.owed) == (begins, ends, begins)
    assert at.waits(now) == (now < begins)
    assert not at.over(now)
    assert at.over(ends)


def test_windows_of_a_venue_that_never_closes_meet_and_owe_what_the_one_before_had_not_stored() -> None:
    settings = made("binance", "24/7")
    at = window(settings, instant(2024, 3, 9, 12))
    assert (at.begins, at.ends) == (instant(2024, 3, 8, 23, 55), instant(2024, 3, 9, 23, 55))
    assert at.owed == instant(2024, 3, 7, 23, 55)
    assert window(settings, instant(2024, 3, 9, 23, 55)).session == instant(2024, 3, 10).date()


def test_sessions_that_were_over_are_those_of_the_calendar() -> None:
    settings = made()
    at = window(settings, instant(2024, 4, 2, 15))  # after Good Friday and Easter
    sessions = task(settings, at, ["AAA"]).sessions
    assert sessions is not None
    assert sessions.ends == micros(at.ends or OPEN)
    thursday, monday = (instant(2024, 3, 28, 13, 30), instant(2024, 4, 1, 13, 30))
    hours = timedelta(hours=6.5)
    found = [(micros(opens - MINUTES), micros(opens + hours + MINUTES)) for opens in (thursday, monday)]
    assert sessions.before(micros(thursday + hours)) == found, "also the one that was going on"
    assert sessions.before(micros(thursday + hours + MINUTES)) == found[1:]
    assert sessions.before(micros(at.begins)) == []


def test_of_a_venue_that_never_closes_the_sessions_before_are_those_before_what_is_owed() -> None:
    settings = made("binance", "24/7")
    sessions = task(settings, window(settings, instant(2024, 3, 9, 12)), ["AAA"]).sessions
    assert sessions is not None
    assert sessions.before(micros(instant(2024, 3, 6))) == [
        (micros(instant(2024, 3, day, 23, 55)), micros(instant(2024, 3, day + 1, 23, 55))) for day in (5, 6)
    ]


def test_a_replay_waits_for_whoever_goes_on_with_it() -> None:
    settings = made("synthetic", symbols=["SYN0001"], replay={"start": "2020-03-09T13:30:00Z"})
    assert task(settings, window(settings, OPEN), []).sessions is None


def test_a_task_follows_each_kind_of_each_symbol() -> None:
    settings = made(kinds=["trade", "quote"], repair_delay_seconds=960)
    at = window(settings, OPEN)
    found = task(settings, at, ["AAA", "BBB"])
    assert set(found.lines) == {Line(name, kind) for name in ("AAA", "BBB") for kind in ("trade", "quote")}
    assert found.owed == micros(at.owed)
    assert (found.timeframe, found.patience.repair_delay) == ("1m", 960)
    assert task(made(kinds=["quote"]), at, ["AAA"]).timeframe is None
    assert {line.symbol for line in task(made(symbols=["CCC"]), at, ["AAA"]).lines} == {"CCC"}


def test_the_venue_is_that_of_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.setenv(name, "key")
    alpaca = venue(made("alpaca", feed="iex"))
    assert isinstance(alpaca.source, AlpacaStream)
    assert alpaca.source.name == "alpaca iex"
    assert isinstance(alpaca.clock, SystemClock)
    assert isinstance(venue(made("binance", "24/7")).source, BinanceStream)
    yahoo = venue(made("yahoo"))
    assert yahoo.source.name == "yahoo"
    assert yahoo.provider is None, "Yahoo has no history of trades"
    ib = venue(made("ib"))
    assert isinstance(ib.source, IBStream)
    assert isinstance(ib.provider, Counted)
    assert "client_id=19" in repr(ib.provider._provider._connection)  # type: ignore[attr-defined]


def test_of_a_replay_nothing_happened_after_its_end() -> None:
    begins = instant(2020, 3, 9, 13, 30)
    settings = made("synthetic", symbols=["SYN0001"], replay={"start": begins.isoformat(), "hours": 0.5, "speed": 60})
    provider = task(settings, window(settings, begins), []).open(None).provider
    assert provider is not None
    whole = Synthetic().trades(["SYN0001"], begins, begins + timedelta(hours=2)).collect()
    asked = provider.trades(["SYN0001"], begins, begins + timedelta(hours=2)).collect()
    ends = begins + timedelta(minutes=30)
    assert asked["ts"].to_list() == whole.filter(pl.col("ts") < ends)["ts"].to_list()
    with pytest.raises(NoDataError, match="it holds what was before 2020-03-09 14:00"):
        provider.quotes(["SYN0001"], ends, ends + timedelta(hours=1))


REFUSED = [
    ("sample", {}, "provider sample has no trades and quotes"),
    ("synthetic", {}, "provider synthetic does not stream; say from when on it is played"),
    ("yahoo", {"replay": {"start": "2020-03-09T13:30:00Z"}}, "provider yahoo streams by itself; leave replay out"),
    ("yahoo", {"feed": "iex"}, "'iex' is one of Alpaca's, and the provider is yahoo"),
    ("alpaca", {"kinds": ["trade", "bar"]}, "bars of a minute come from the venue and are made of the trades as well"),
    ("alpaca", {"kinds": ["trade", "trade"]}, "has one twice"),
    ("alpaca", {"kinds": []}, "at least 1 item"),
    ("alpaca", {"observe_seconds": 5}, "greater than or equal to 60"),
    ("synthetic", {"replay": {"start": "2020-03-09T13:30:00"}}, "timezone"),
    ("synthetic", {"kinds": ["bar"], "replay": {"start": "2020-03-09T13:30:00Z"}}, "a replay has trades and quotes"),
]


@pytest.mark.parametrize(("provider", "streams", "said"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_what_does_not_fit_together_is_refused(provider: str, streams: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        made(provider, **streams)


def test_without_streams_there_is_no_world() -> None:
    settings = made().model_copy(update={"streams": None})
    with pytest.raises(ConfigError, match="windows_test follows no stream"):
        wire(settings, Lake("none"), list)
    assert StreamSettings().keep_alive is False


def test_the_check_names_what_is_left_with_its_interval_and_reason(tmp_path: Path) -> None:
    lake, ts = Lake(str(tmp_path)), micros(OPEN)
    second = 1_000_000
    lost = [Lost("AAA", ts + at * second, "trade", ts + (at + 1) * second, 2, "sequence") for at in (0, 10, 20)]
    over = [
        Repaired("AAA", ts, "trade", ts + second, 2, 0),
        Repaired("AAA", ts + 10 * second, "trade", ts + 11 * second, 1, 1, "1 of 2 are not to be had over REST"),
    ]
    Recorder(lake, "test").store([*lost, *over])
    verdict = no_gaps_left(open_gaps(lake))
    assert not verdict.passed
    assert verdict.facts == {"gaps": 3, "repaired": 1, "given up": 1, "open": 1}
    assert verdict.findings["problem"].to_list() == [
        "given up: trade from 2024-03-08 14:30:10.000000+00:00 until 2024-03-08 14:30:11.000000+00:00 "
        "(1 of 2 are not to be had over REST)",
        "open: trade from 2024-03-08 14:30:20.000000+00:00 until 2024-03-08 14:30:21.000000+00:00 (sequence)",
    ]
    assert no_gaps_left(open_gaps(Lake(str(tmp_path / "none")))).passed
