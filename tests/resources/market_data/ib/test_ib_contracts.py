"""Instruments, option chains, futures and continuous series of the Interactive Brokers provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from types import SimpleNamespace

import polars as pl
import pytest

from resources.errors import BadAnswerError, ConfigError, NoDataError, NotOfferedError, UnknownSymbolError
from resources.market_data.base import BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.continuous import Held, back_adjusted
from resources.market_data.ib import translate as ib_translate
from tests.resources.market_data.ib.ib_desk import CHAIN, TUESDAY, WEDNESDAY, Desk, desks
from tests.venues.market import Bar, Listing, instant


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def test_instruments_of_every_class(desk: Callable[..., Desk]) -> None:
    names = ["AAPL", "AAPL240315C00170000", "BRK.B", "ES.202403", "EUR.USD", "USD.JPY", "VOD.LSE"]
    frame = desk().ib().instruments(names)
    assert frame.schema == INSTRUMENT_SCHEMA
    told = ("symbol", "asset_class", "venue", "calendar", "currency", "tick", "multiplier", "expiry", "strike", "right")
    march = date(2024, 3, 15)
    assert frame.select(*told, "underlying", "pip").rows() == [
        ("AAPL", "equity", "XNAS", "XNYS", "USD", 0.01, 1.0, None, None, None, None, None),
        ("AAPL240315C00170000", "option", "SMART", "XNYS", "USD", 0.01, 100.0, march, 170.0, "call", "AAPL", None),
        ("BRK.B", "equity", "XNYS", "XNYS", "USD", 0.01, 1.0, None, None, None, None, None),
        ("ES.202403", "future", "XCME", "CMES", "USD", 0.25, 50.0, march, None, None, "ES", None),
        ("EUR.USD", "forex", "IDEALPRO", "FX", "USD", 0.00005, 1.0, None, None, None, None, 0.0001),
        ("USD.JPY", "forex", "IDEALPRO", "FX", "JPY", 0.005, 1.0, None, None, None, None, 0.01),
        ("VOD.LSE", "equity", "XLON", "XLON", "GBP", 0.01, 1.0, None, None, None, None, None),
    ]
    assert frame["lot"].to_list() == [1.0, 1.0, 1.0, 1.0, 0.01, 1.0, 1.0]


def test_an_option_chain_holds_what_is_listed_and_not_every_strike_at_every_expiry(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().option_chain("AAPL", WEDNESDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("expiry", "strike", "right").rows() == CHAIN[1:]
    assert frame["symbol"][0] == "AAPL240315C00170000"
    with pytest.raises(NotOfferedError, match=r"ib has no option chains of the past \(2024-03-12\)"):
        at_desk.ib().option_chain("AAPL", TUESDAY)
    with pytest.raises(NoDataError, match=r"no options on BRK\.B"):
        at_desk.ib().option_chain("BRK.B", WEDNESDAY)


def test_futures_of_a_root_with_their_expiries(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().futures("ES", WEDNESDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "expiry").rows() == [
        ("ES.202403", date(2024, 3, 15)),
        ("ES.202406", date(2024, 6, 21)),
    ]
    before = at_desk.ib().futures("ES.CME", date(2023, 12, 1))["symbol"].to_list()
    assert before == ["ES.202312.CME", "ES.202403.CME", "ES.202406.CME"]  # expired ones are told for two years
    with pytest.raises(NoDataError, match="the last expired 2024-06-21"):
        at_desk.ib().futures("ES", date(2025, 1, 1))
    with pytest.raises(UnknownSymbolError, match="ib has no NQ"):
        at_desk.ib().futures("NQ", WEDNESDAY)


def flat(days: list[date], price: float) -> list[Bar]:
    """Futures' days at one price; Globex opens at 22:00 UTC of the day before in summer, 23:00 in winter."""
    return [Bar(row[1], price, price, price, price, 5.0) for day in days for row in CMES.filter(session=day).rows()]


CMES = ib_translate.sessions("CMES", date(2024, 2, 1), date(2024, 6, 28))


def test_a_continuous_series_is_back_adjusted_and_tells_its_rolls(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    days = [day for day in CMES["session"] if date(2024, 3, 1) <= day <= date(2024, 3, 20)]
    rising = [bar._replace(close=bar.close + at, high=bar.high + at) for at, bar in enumerate(flat(days, 5100.0))]
    at_desk.market.set_bars("ES.202403", "1d", rising[:11])
    at_desk.market.set_bars("ES.202406", "1d", flat(days, 5202.0 + 1 / 8))
    series = at_desk.ib(instant(2024, 3, 21)).continuous("ES", date(2024, 3, 4), date(2024, 3, 20))
    rolled, old = date(2024, 3, 8), 5105.0  # five sessions before 15 March, at the sixth bar
    factor = 5202.125 / old
    assert series.rolls.rows() == [(rolled, "ES.202403", "ES.202406", factor)]
    frame = series.bars.collect()
    assert frame.schema == BAR_SCHEMA
    assert frame["symbol"].unique().to_list() == ["ES.CONT"]
    assert frame["known_at"].dt.convert_time_zone("America/Chicago").dt.date().to_list() == days[1:]
    assert frame["close"].to_list() == [bar.close * factor for bar in rising[1:6]] + [5202.125] * 8
    assert frame["close"][4] == pytest.approx(5202.125)  # no jump where nobody gained


def test_the_factors_of_later_rolls_multiply() -> None:
    days = [date(2024, 3, day) for day in (4, 5, 6)]
    parts = [Held(name, day, day) for name, day in zip("ABC", days, strict=True)]

    def closes(price: float) -> pl.DataFrame:
        stamps = [datetime(day.year, day.month, day.day, 12) for day in days]
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        return pl.DataFrame({"known_at": stamps}).with_columns(
            pl.col("known_at").dt.replace_time_zone("UTC"),
            symbol=pl.lit(""),
            **{k: pl.lit(v) for k, v in prices.items()},
        )

    series = back_adjusted("X.CONT", parts, {"A": closes(1.0), "B": closes(2.0), "C": closes(6.0)}, "UTC")
    assert series.bars.collect()["close"].to_list() == [6.0, 6.0, 6.0]
    assert series.rolls["factor"].to_list() == [2.0, 3.0]


@pytest.mark.parametrize("ahead", [-1, 2.5])
def test_a_roll_is_a_whole_number_of_sessions_ahead(desk: Callable[..., Desk], ahead: int) -> None:
    with pytest.raises(ConfigError, match=rf"ahead is {ahead}; it must be a whole number of sessions, 0 or more"):
        desk().ib().continuous("ES", date(2024, 3, 4), date(2024, 3, 20), ahead=ahead)


def test_a_continuous_series_that_no_contract_covers_is_no_data(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib(instant(2024, 3, 14))
    with pytest.raises(NoDataError, match="no contract to hold from 2024-06-17 to 2024-06-20"):
        ib.continuous("ES", date(2024, 3, 11), date(2024, 6, 20))
    at_desk.market.set_bars("ES.202403", "1d", flat([date(2024, 3, 7), date(2024, 3, 8)], 5100.0))
    with pytest.raises(NoDataError, match=r"ib has no rows of ES\.202406"):
        ib.continuous("ES", date(2024, 3, 5), date(2024, 3, 13))
    at_desk.market.set_bars("ES.202406", "1d", flat([TUESDAY], 5200.0))
    with pytest.raises(NoDataError, match=r"ES\.202406 2024-03-08: no bar to roll at"):
        ib.continuous("ES", date(2024, 3, 8), date(2024, 3, 12))


def test_what_is_on_several_venues_must_be_named_with_its_venue(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    expiry = date(2024, 3, 15)
    at_desk.market.add(
        Listing("ES.202403.twin", "future", venue="QBALGO", expiry=expiry, underlying="ES"),
        Listing("ES.202403.other", "future", venue="EUREX", expiry=expiry, underlying="ES"),
    )
    with pytest.raises(ConfigError, match=r"ES\.202403 is 2 contracts.*on CME \(USD\), EUREX \(USD\).*ES\.202412\.CME"):
        at_desk.ib().instruments(["ES.202403"])
    with pytest.raises(ConfigError, match=r"ES has futures on CME, EUREX; name one: ES\.CME"):
        at_desk.ib().futures("ES", WEDNESDAY)
    assert at_desk.ib().instruments(["ES.202403.CME"])["venue"].to_list() == ["XCME"]


@pytest.mark.parametrize("symbol", ["", "aapl", "AAPL.XX.YY", "EUR.XXX", "^GSPC", "ES.2024", "AAPL240315X00170000"])
def test_a_malformed_symbol_names_the_field_and_examples(symbol: str) -> None:
    with pytest.raises(ConfigError, match=r"universe\.symbols: .*names nothing.*AAPL240315C00170000"):
        ib_translate.parse(symbol)


def test_two_contracts_of_a_month_are_named_by_their_day() -> None:
    def contract(month: str, last: str) -> SimpleNamespace:
        return SimpleNamespace(
            contractMonth=month, contract=SimpleNamespace(symbol="VIX", lastTradeDateOrContractMonth=last)
        )

    found = [contract("202403", "20240313"), contract("202403", "20240320 09:00"), contract("202404", "20240417")]
    assert ib_translate.future_names(found) == ["VIX.20240313", "VIX.20240320", "VIX.202404"]


def test_the_last_day_is_read_strictly() -> None:
    assert ib_translate.last_day("20241220 08:30 US/Central") == date(2024, 12, 20)
    with pytest.raises(BadAnswerError, match="'202412' for a last trading day"):
        ib_translate.last_day("202412")
