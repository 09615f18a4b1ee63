"""Binance's instruments, futures and funding rates, against a venue on loopback, and what it does not offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest

from resources.errors import NoDataError, NotOfferedError, UnknownSymbolError
from resources.market_data.base import ACTION_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.binance import translate
from resources.market_data.binance.translate import FUNDING_SCHEMA
from tests.resources.market_data.binance.binance_desk import HOUR, Desk, desks
from tests.venues.binance import Funding
from tests.venues.market import every, instant


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def test_instruments_come_from_the_exchange_filters(desk: Callable[..., Desk]) -> None:
    frame = desk(onboard={"BTCUSDT.P": date(2019, 9, 8)}).binance().instruments(["ETHBTC", "BTCUSDT.P", "BTCUSDT"])
    assert frame.schema == INSTRUMENT_SCHEMA
    names = (
        "symbol",
        "asset_class",
        "currency",
        "underlying",
        "tick",
        "lot",
        "minimum_notional",
        "perpetual",
        "listed",
    )
    assert frame.select(names).rows() == [
        ("BTCUSDT", "crypto", "USDT", "BTC", 0.01, 1e-05, 5.0, False, None),
        ("BTCUSDT.P", "future", "USDT", "BTC", 0.1, 0.001, 100.0, True, date(2019, 9, 8)),
        ("ETHBTC", "crypto", "BTC", "ETH", 1e-05, 0.0001, 0.0001, False, None),
    ]
    assert frame.select("venue", "calendar", "multiplier").unique().rows() == [("BINANCE", "24/7", 1.0)]


def test_the_older_name_of_the_notional_filter_and_rules_that_are_off() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.00000000"},
        {"filterType": "MIN_NOTIONAL", "minNotional": "10.00000000"},
    ]
    listed = {"symbols": [{"symbol": "OLDBTC", "baseAsset": "OLD", "quoteAsset": "BTC", "filters": filters}]}
    row = translate.instruments("spot", listed).row(0, named=True)
    assert (row["tick"], row["lot"], row["minimum_notional"]) == (None, None, 10.0)


def test_futures_are_the_dated_contracts_with_their_expiry(desk: Callable[..., Desk]) -> None:
    at = desk(onboard={"BTCUSDT.240628": date(2024, 1, 5)})
    columns = ("symbol", "expiry", "perpetual", "asset_class")
    assert at.binance().futures("BTCUSDT", date(2024, 3, 11)).select(columns).rows() == [
        ("BTCUSDT.240329", date(2024, 3, 29), False, "future"),
        ("BTCUSDT.240628", date(2024, 6, 28), False, "future"),
    ]
    assert at.binance().futures("BTCUSDT", date(2024, 1, 4))["symbol"].to_list() == ["BTCUSDT.240329"]
    assert at.binance().futures("BTCUSDT", date(2024, 4, 1))["symbol"].to_list() == ["BTCUSDT.240628"]


def test_futures_of_a_day_whose_contracts_are_gone_are_not_offered(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NotOfferedError, match="delivered on 2023-12-29 are no longer listed"):
        desk().binance().futures("BTCUSDT", date(2023, 12, 29))
    assert len(desk().binance().futures("BTCUSDT", date(2023, 12, 30))) == 2


def test_a_pair_without_dated_futures_and_one_that_is_unknown(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="no dated futures"):
        desk().binance().futures("SOLUSDT", date(2024, 3, 11))
    with pytest.raises(UnknownSymbolError, match="binance has no ES"):
        desk().binance().futures("ES", date(2024, 3, 11))


def test_funding_rates_of_perpetuals(desk: Callable[..., Desk]) -> None:
    stamps = every(instant(2023, 1, 1), 8 * HOUR, 1200)
    paid = [
        Funding(ts + timedelta(milliseconds=at % 5), (at - 600) / 1e7, None if at < 10 else 60_000.5)
        for at, ts in enumerate(stamps)
    ]
    at = desk(funding={"BTCUSDT.P": paid})
    frame = at.binance().funding_rates(["BTCUSDT.P"], date(2023, 1, 1), date(2024, 12, 31))
    assert frame.collect_schema() == FUNDING_SCHEMA
    assert frame.select("ts", "rate", "mark_price").collect().rows() == paid
    one_day = at.binance().funding_rates(["BTCUSDT.P"], date(2023, 1, 2), date(2023, 1, 2)).collect()
    assert one_day["ts"].to_list() == [each.ts for each in paid[3:6]]
    with pytest.raises(NotOfferedError, match=r"no funding rates of BTCUSDT: only perpetuals, BTCUSDT\.P"):
        at.binance().funding_rates(["BTCUSDT"], date(2023, 1, 1), date(2023, 1, 2))
    with pytest.raises(NoDataError):
        at.binance().funding_rates(["SOLUSDT.P"], date(2023, 1, 1), date(2023, 1, 2))


def test_what_binance_does_not_have_it_says_by_name(desk: Callable[..., Desk]) -> None:
    binance = desk().binance()
    with pytest.raises(NotOfferedError, match="binance has no history of quotes; it has bars of 1m, 5m"):
        binance.quotes(["BTCUSDT"], instant(2024, 3, 1), instant(2024, 3, 2))
    with pytest.raises(NotOfferedError, match="binance has no option chains"):
        binance.option_chain("BTC", date(2024, 3, 1))
    with pytest.raises(NotOfferedError, match="binance has no bars of '2h'; it has 1m, 5m, 15m, 30m, 1h, 4h, 1d"):
        binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "2h")


def test_corporate_actions_of_a_listed_symbol_are_none(desk: Callable[..., Desk]) -> None:
    actions = desk().binance().corporate_actions(["BTCUSDT", "BTCUSDT.P"], date(2020, 1, 1), date(2024, 1, 1))
    assert actions.collect_schema() == ACTION_SCHEMA
    assert actions.collect().is_empty()
