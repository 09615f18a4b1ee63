"""The Binance provider at a venue whose answers fail: what passes costs nothing, what lasts is an error of its kind."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from resources.errors import AccessDeniedError, BadAnswerError, ProviderError, ProviderTimeoutError, RateLimitedError
from resources.market_data.binance import Binance
from resources.market_data.binance.client import PATIENCE_SECONDS
from resources.market_data.pacing import TokenBucket
from tests.resources.market_data.binance.binance_desk import (
    MINUTE,
    NOW,
    Desk,
    as_rows,
    bars_in,
    desks,
    minutes,
    moments,
    trades_in,
    trading,
)
from tests.venues.binance import Funding
from tests.venues.market import Fault, instant


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


FIRST = date(2024, 3, 1)
CLOCK_APART = '{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}'
STALE = '[[1709164800000, "1", "1", "1", "1", "1", 1709164859999, "1", 1, "1", "1", "0"]]'  # of the day before
FRESH = STALE.replace("17091648", "17092512")
TWICE = FRESH[:-1] + "," + FRESH[1:]
NO_NUMBER = FRESH.replace('"1"', '"x"')
ASKEW = FRESH.replace("1709251200000", "1709251200001")
FAULTS = [  # what the venue does, the error that it is in the end, what the message says
    ("429", Fault("status", 429), RateLimitedError, r"BTCUSDT: Binance refuses more requests \(429\)"),
    ("418", Fault("status", 418), RateLimitedError, r"refuses more requests \(418\)"),
    ("-1003", Fault("status", 400, body='{"code": -1003, "msg": "Too many."}'), RateLimitedError, "refuses more"),
    ("500", Fault("status", 500), BadAnswerError, "BTCUSDT: Binance answered 500: An unknown error"),
    ("504 after the read", Fault("applied", 504), BadAnswerError, "answered 504: Timeout waiting"),
    ("-1001", Fault("status", 400, body='{"code": -1001, "msg": "Inside."}'), BadAnswerError, "answered 400: Inside"),
    ("500 null", Fault("status", 500, body="null"), BadAnswerError, "a refusal that says nothing"),
    ("503 html", Fault("html", 503), BadAnswerError, "answered 503.*DOCTYPE"),
    ("html", Fault("html"), BadAnswerError, "no JSON.*DOCTYPE"),
    ("truncated", Fault("truncated"), BadAnswerError, "BTCUSDT: Binance sent no JSON"),
    ("cut off", Fault("cut off"), BadAnswerError, "BTCUSDT: Binance's answer broke off"),
    ("empty", Fault("empty"), BadAnswerError, "candles are not laid out as expected"),
    ("null", Fault("status", 200, body="null"), BadAnswerError, "candles are not laid out as expected"),
    ("an object", Fault("status", 200, body='{"code": 0}'), BadAnswerError, "candles are not laid out"),
    ("half a row", Fault("status", 200, body="[[1709251200000]]"), BadAnswerError, "candles are not laid out"),
    ("no number", Fault("status", 200, body=NO_NUMBER), BadAnswerError, "candles are not laid out"),
    ("a stale page", Fault("status", 200, body=STALE), BadAnswerError, "from before the page"),
    ("rows twice", Fault("status", 200, body=TWICE), BadAnswerError, "rows twice"),
    ("off the timeframe", Fault("status", 200, body=ASKEW), BadAnswerError, "does not begin on its timeframe"),
    ("dropped", Fault("drop"), BadAnswerError, "BTCUSDT: Binance's answer broke off"),
]  # fmt: skip
IDS = [fault[0] for fault in FAULTS]


@pytest.mark.parametrize(("fault", "error", "says"), [case[1:] for case in FAULTS], ids=IDS)
def test_a_lasting_fault_is_an_error_of_its_kind_after_a_bounded_number_of_tries(
    desk: Callable[..., Desk], fault: Fault, error: type[ProviderError], says: str
) -> None:
    at = desk()
    at.market.faults.add("klines", fault, times=None)
    with pytest.raises(error, match=says):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.asked("klines")) == 5
    assert len(at.pauses) == 4


@pytest.mark.parametrize("fault", [case[1] for case in FAULTS], ids=IDS)
def test_a_passing_fault_on_any_page_loses_and_doubles_nothing(desk: Callable[..., Desk], fault: Fault) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(2500))
    trades = trading(at, "ETHBTC", moments(instant(2024, 3, 1, 0, 59), 2500, timedelta(milliseconds=37)))
    for page in range(3):
        at.market.faults.add("klines", fault, times=2, skip=0 if page == 0 else 1)
        at.market.faults.add("aggTrades", fault, times=1, skip=0 if page == 0 else 1)
    frame = at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 2), "1m")
    assert bars_in(frame) == at.market.bars["BTCUSDT", "1m"]
    assert trades_in(at.binance().trades(["ETHBTC"], instant(2024, 3, 1), instant(2024, 3, 2))) == as_rows(trades)
    assert len(at.market.faults.fired) == 9


REQUESTS = [  # each read of the provider, and its path
    ("/api/v3/time", lambda binance: binance.bars(["BTCUSDT"], FIRST, FIRST, "1m").collect()),
    ("/api/v3/exchangeInfo", lambda binance: binance.instruments(["BTCUSDT", "BTCUSDT.P"])),
    ("/fapi/v1/exchangeInfo", lambda binance: binance.futures("BTCUSDT", date(2024, 3, 11))),
    ("/fapi/v1/klines", lambda binance: binance.bars(["BTCUSDT.P"], FIRST, FIRST, "1m").collect()),
    ("/fapi/v1/aggTrades", lambda binance: binance.trades(["BTCUSDT.P"], instant(2024, 3, 1), NOW).collect()),
    ("/fapi/v1/fundingRate", lambda binance: binance.funding_rates(["BTCUSDT.P"], FIRST, FIRST).collect()),
]


@pytest.mark.parametrize(("path", "ask"), REQUESTS, ids=[path for path, _ in REQUESTS])
@pytest.mark.parametrize("kinds", [("truncated", "drop", "html", "empty"), (429, 503, 504, "slow")], ids=str)
def test_every_request_overcomes_what_passes(
    desk: Callable[..., Desk], path: str, ask: Callable[[Binance], pl.DataFrame], kinds: tuple[Any, ...]
) -> None:
    at = desk(funding={"BTCUSDT.P": [Funding(instant(2024, 3, 1, 8), 1e-4, 60_000.0)]})
    for symbol in ("BTCUSDT", "BTCUSDT.P"):
        trading(at, symbol, moments(instant(2024, 3, 1, 1), 5, MINUTE))
        at.market.set_bars(symbol, "1m", minutes(5))
    good = ask(at.binance())
    for kind in kinds:
        at.market.faults.add(path, Fault(kind) if isinstance(kind, str) else Fault("applied", status=kind))
    again = ask(at.binance(timeout_seconds=0.3 if "slow" in kinds else 5.0))
    assert again.drop("fetched_at", strict=False).equals(good.drop("fetched_at", strict=False))
    assert len(at.market.faults.fired) == 4


def test_the_client_itself_never_asks_again(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    at = desk()
    at.market.faults.add("klines", Fault("status", 429, retry_after=1.0))
    with pytest.raises(BinanceAPIException):
        at.venue.client()().get_klines(symbol="BTCUSDT", interval="1m")
    assert len(at.asked("klines")) == 1


@pytest.mark.parametrize("status", [429, 418])
def test_retry_after_is_waited_for_before_anything_else_is_sent(desk: Callable[..., Desk], status: int) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", status, retry_after=30.0))
    before = at.market.clock.now()
    bars = bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))
    assert len(bars) == 5
    assert timedelta(seconds=30) <= at.market.clock.now() - before < timedelta(seconds=31)


def test_a_refusal_holds_up_every_thread_and_not_only_its_own(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", 429, retry_after=30.0))
    binance = at.binance(sleep=lambda _: None)  # whoever was refused does not wait itself: the bucket makes it
    assert len(bars_in(binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5
    assert sum(at.pauses) == pytest.approx(30.0, abs=1.0)


def test_a_ban_longer_than_our_patience_is_told_at_once(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("status", 418, retry_after=PATIENCE_SECONDS + 1))
    with pytest.raises(RateLimitedError, match="it asks to wait 121 s") as caught:
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert caught.value.retry_after == 121.0
    assert at.pauses == []


def test_the_weights_of_a_long_download_keep_within_the_limit(desk: Callable[..., Desk]) -> None:
    at = desk(limits=(60, 60))
    at.market.set_bars("BTCUSDT", "1m", minutes(14_400))
    at.market.set_bars("BTCUSDT.P", "1m", minutes(14_400))
    paces = {name: TokenBucket(0.9, 6, clock=at.seconds, sleep=at.sleep) for name in ("spot", "futures")}
    frame = at.binance(paces=paces).bars(["BTCUSDT", "BTCUSDT.P"], date(2024, 3, 1), date(2024, 3, 10), "1m")
    assert frame.collect().height == 28_800
    assert max(at.venue.used.values()) <= 60
    assert sum(at.pauses) > 60  # or nothing of it would have been seen


def test_weights_used_up_by_others_make_it_pause_until_they_are_free(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(14_400))
    minute = at.market.clock.now().replace(second=0, microsecond=0)
    at.venue.used["/api/v3/", minute] = 5750  # another program on this address
    frame = at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 10), "1m")
    assert bars_in(frame) == at.market.bars["BTCUSDT", "1m"]
    assert minute + MINUTE <= at.market.clock.now() < minute + MINUTE + timedelta(seconds=2)
    assert at.venue.used["/api/v3/", minute] < 5770


def test_a_stamp_refused_for_the_clock_is_set_right_once(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", 400, body=CLOCK_APART))
    binance = at.binance()
    assert len(bars_in(binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5
    assert len(at.asked("time")) == 2  # for the bars' own now, and to set the clock
    ahead = binance._venue._client.timestamp_offset / 1000
    assert abs(datetime.now(UTC).timestamp() + ahead - NOW.timestamp()) < 5
    assert at.pauses == []


def test_clocks_that_stay_apart_are_an_error(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("status", 400, body=CLOCK_APART), times=None)
    with pytest.raises(ProviderError, match="BTCUSDT: this machine's clock and Binance's are apart"):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.asked("klines")) == 2


DENIED = [
    (Fault("status", 401, body='{"code": -2015, "msg": "Invalid API-key, IP, or permissions."}'), "denies access"),
    (Fault("status", 400, body='{"code": -2014, "msg": "API-key format invalid."}'), "API-key format invalid"),
    (Fault("html", 403), r"denies access \(403"),
    (Fault("status", 451, body='{"code": 0, "msg": "restricted location"}'), "does not serve this location"),
]


@pytest.mark.parametrize(("fault", "says"), DENIED)
def test_a_denied_access_is_told_at_once(desk: Callable[..., Desk], fault: Fault, says: str) -> None:
    at = desk()
    at.market.faults.add("klines", fault, times=None)
    with pytest.raises(AccessDeniedError, match=says):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert at.pauses == []


def test_a_slow_answer_times_out(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("slow"), times=None)
    with pytest.raises(ProviderTimeoutError, match=r"BTCUSDT: Binance did not answer within 0\.5 s"):
        at.binance(timeout_seconds=0.5).bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.pauses) == 4


def test_a_venue_that_is_gone_is_one_clear_error() -> None:
    at = Desk()
    client = at.venue.client()
    with at.venue:
        pass
    with pytest.raises(ProviderError, match=r"Binance cannot be reached \(.*refused.*Check the network") as caught:
        Binance(client=client, sleep=at.sleep).bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1))
    assert type(caught.value) is ProviderError
    assert at.pauses == []


@pytest.mark.parametrize("fault", [Fault("status", 503), Fault("html"), Fault("drop"), Fault("status", 429)])
def test_a_fault_while_connecting_is_overcome(desk: Callable[..., Desk], fault: Fault) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("ping", fault, times=2)
    assert len(bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5


ECHOES = [
    Fault("status", 400, body='{"code": -1102, "msg": "key SECRET-KEY secret SECRET-SECRET"}'),
    Fault("status", 500, body="<html>X-MBX-APIKEY: SECRET-KEY SECRET-SECRET</html>"),
    Fault("status", 200, body="<html>X-MBX-APIKEY: SECRET-KEY SECRET-SECRET</html>"),
]


@pytest.mark.parametrize("fault", ECHOES)
def test_keys_are_sent_and_never_shown(
    desk: Callable[..., Desk], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    monkeypatch.setenv("BINANCE_API_KEY", "SECRET-KEY\n")
    monkeypatch.setenv("BINANCE_API_SECRET", "SECRET-SECRET")
    at.market.faults.add("klines", fault, times=None)
    binance = at.binance()
    with pytest.raises(ProviderError, match=r"\*\*\*") as caught:
        binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert at.venue.requests[-1].headers["x-mbx-apikey"] == "SECRET-KEY"
    shown = "".join(traceback.format_exception(caught.value)) + repr(binance) + repr(vars(binance))
    assert "SECRET" not in shown
