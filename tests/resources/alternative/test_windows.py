"""Windows that meet at an instant have each record of a source once, and none is lost between them.

What a table says of one source is played against its venue on loopback: each row is a spot, and whether it lies in the
first window, the second or neither. Windows are [start, end), told in UTC or in New York.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from resources.alternative.alpaca_news import AlpacaNews
from resources.alternative.bluesky import Bluesky
from resources.alternative.satellite import Area, Satellite
from resources.alternative.yahoo import Yahoo
from resources.market_data.pacing import TokenBucket
from tests.venues.alpaca import KEY, SECRET
from tests.venues.alpaca_news import AlpacaNewsVenue
from tests.venues.bluesky import HANDLE, PASSWORD, BlueskyVenue
from tests.venues.edgar import NEW_YORK
from tests.venues.market import Market, VenueClock, instant
from tests.venues.stac import StacVenue, item
from tests.venues.yahoo_reports import Figure, YahooReports, transaction

NOW = instant(2024, 6, 1)
START, BORDER, END = (datetime(2024, 3, day, tzinfo=NEW_YORK) for day in (8, 10, 12))  # clocks change on the 10th
MICRO, MILLI, SECOND, DAY = (timedelta(**{name: 1}) for name in ("microseconds", "milliseconds", "seconds", "days"))

Told = list[tuple[str, datetime]]
SPOTS: list[tuple[str, timedelta, datetime, int | None]] = [
    ("just before it begins", -MILLI, START, None),
    ("as it begins", 0 * DAY, START, 0),
    ("a microsecond later", MICRO, START, 0),
    ("in the evening of the first", -3 * 3600 * SECOND, BORDER, 0),
    ("just before the border", -MILLI, BORDER, 0),
    ("a microsecond before the border", -MICRO, BORDER, 0),
    ("at the border", 0 * DAY, BORDER, 1),
    ("just after the border", MILLI, BORDER, 1),
    ("in the hour that is left out", 2 * 3600 * SECOND, BORDER, 1),
    ("a second before the end", -SECOND, END, 1),
    ("a microsecond before the end", -MICRO, END, 1),
    ("at the end", 0 * DAY, END, None),
]
SHIFTS = {"midnight": 0 * DAY, "a time with microseconds": timedelta(hours=9, microseconds=123_456)}
ZONES: dict[str, Any] = {"utc": UTC, "new york": NEW_YORK}


@pytest.fixture(params=[(name, zone) for name in SHIFTS for zone in ZONES], ids=" in ".join)
def case(request: pytest.FixtureRequest) -> tuple[timedelta, Any]:
    return SHIFTS[request.param[0]], ZONES[request.param[1]]


def each_once(ask: Callable[[datetime, datetime], Any], case: tuple[timedelta, Any], names: dict[str, str]) -> None:
    """Both windows, asked for on their own; `names` gives a record's spot."""
    shift, zone = case
    borders = [(border.astimezone(UTC) + shift).astimezone(zone) for border in (START, BORDER, END)]
    windows = [ask(*borders[place : place + 2]).collect() for place in (0, 1)]
    found = [[names[record] for record in window["record_id"]] for window in windows]
    assert [sorted(each) for each in found] == [
        sorted(name for name, _, _, window in SPOTS if window == place) for place in (0, 1)
    ]


def spots(shift: timedelta) -> Iterator[tuple[str, datetime]]:
    for name, offset, border, _ in SPOTS:
        yield name, border.astimezone(UTC) + shift + offset


def test_articles(monkeypatch: pytest.MonkeyPatch, case: tuple[timedelta, Any]) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", SECRET)
    monkeypatch.setattr("alpaca.common.rest.time", SimpleNamespace(sleep=None))
    with AlpacaNewsVenue(Market(clock=VenueClock(NOW))) as venue:
        names = {}
        for number, (name, at) in enumerate(spots(case[0])):
            venue.publish(number, at, name, "AAPL")
            names[str(number)] = name
        source = AlpacaNews(requests_per_minute=1e9, data_url=venue.address, clock=venue.market.clock.now)
        each_once(lambda *window: source.news(["AAPL"], *window), case, names)


def test_posts(monkeypatch: pytest.MonkeyPatch, case: tuple[timedelta, Any]) -> None:
    monkeypatch.setenv("BLUESKY_IDENTIFIER", HANDLE)
    monkeypatch.setenv("BLUESKY_APP_PASSWORD", PASSWORD)
    with BlueskyVenue(Market(clock=VenueClock(NOW))) as venue:
        names = {venue.write(at, f"$AAPL {name}"): name for name, at in spots(case[0])}
        source = Bluesky(requests_per_minute=1e9, service=venue.address, clock=venue.market.clock.now)
        each_once(lambda *window: source.social(["AAPL"], *window), case, names)


def satellite(venue: StacVenue) -> Satellite:
    return Satellite(
        venue.address, [Area("field", "AGRI", (10.2, 49.4, 10.4, 49.6))], index_name="night_lights",
        assets={"index": "light"}, collections=("scenes",), clock=venue.market.clock.now,
        bucket=TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=lambda _: None),
    )  # fmt: skip


def lights(venue: StacVenue, name: str, taken: str | tuple[str, str], **told: Any) -> str:
    statistics = {"raster:bands": [{"statistics": {"mean": 1.0, "valid_percent": 100}}]}
    asset = venue.put(f"{name}.tif", b"not read", **statistics)
    venue.add(item(name, taken, (10.2, 49.4, 10.4, 49.6), assets={"light": asset}, **told))
    return f"scenes/{name}/field/night_lights"


def test_scenes(case: tuple[timedelta, Any]) -> None:
    pytest.importorskip("pystac_client", reason="pystac-client is not installed")
    with StacVenue(Market(VenueClock(NOW))) as venue:
        told = enumerate(spots(case[0]))
        names = {lights(venue, f"scene-{number}", at.isoformat()): name for number, (name, at) in told}
        each_once(lambda *window: satellite(venue).activity(["AGRI"], *window), case, names)


@pytest.mark.parametrize("dated", ["by its span alone", "by its first picture", "by its middle"])
@pytest.mark.parametrize("days", [1.5, 31, 366])
def test_a_composite_is_of_the_window_in_which_it_ended(dated: str, days: float) -> None:
    """However its catalogue dates it, which searches by that date where there is one."""
    pytest.importorskip("pystac_client", reason="pystac-client is not installed")
    with StacVenue(Market(VenueClock(NOW))) as venue:
        names = {}
        for number, (name, end) in enumerate(spots(0 * DAY)):
            begin = end - timedelta(days=days)
            told = {"start_datetime": begin.isoformat(), "end_datetime": end.isoformat()}
            dates = {"by its first picture": begin, "by its middle": begin + (end - begin) / 2}
            taken: Any = dates[dated].isoformat() if dated in dates else (begin.isoformat(), end.isoformat())
            names[lights(venue, f"composite-{number}", taken, **(told if dated in dates else {}))] = name
        each_once(lambda *window: satellite(venue).activity(["AGRI"], *window), (0 * DAY, UTC), names)


def yahoo(venue: YahooReports) -> Yahoo:
    return Yahoo(
        5.0, venue.session(), concepts=("TotalRevenue",), clock=venue.market.clock.now,
        bucket=TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=lambda _: None),
    )  # fmt: skip


DAYS: list[tuple[str, tuple[datetime, datetime, datetime]]] = [
    ("at midnight in UTC", (instant(2024, 3, 8), instant(2024, 3, 10), instant(2024, 3, 12))),
    ("at midnight in New York", (START, BORDER, END)),
    ("at a microsecond past midnight", (instant(2024, 3, 8) + MICRO, instant(2024, 3, 10) + MICRO,
                                       instant(2024, 3, 12) + MICRO)),
    ("at a microsecond to midnight", (instant(2024, 3, 8) - MICRO, instant(2024, 3, 10) - MICRO,
                                      instant(2024, 3, 12) - MICRO)),
]  # fmt: skip


@pytest.mark.parametrize("borders", [case[1] for case in DAYS], ids=[case[0] for case in DAYS])
def test_days_of_yahoo_are_those_whose_midnight_in_utc_lies_in_the_window(borders: tuple[datetime, ...]) -> None:
    days = [instant(2024, 3, day) for day in range(6, 15)]
    with YahooReports(Market(VenueClock(NOW))) as venue:
        venue.figures["AAPL"] = {"annualTotalRevenue": [Figure(day.date(), 1.0, "12M") for day in days]}
        rows = [transaction(day.date(), "COOK", 1, "Sale") for day in days]
        venue.summaries["AAPL"] = {"insiderTransactions": {"transactions": rows}}
        for kind in ("fundamentals", "insider"):
            for start, end in pairwise(borders):
                found = getattr(yahoo(venue), kind)(["AAPL"], start, end).collect()["ts"].to_list()
                assert sorted(found) == [day for day in days if start <= day < end]
