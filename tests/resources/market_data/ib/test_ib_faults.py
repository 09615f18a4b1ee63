"""What goes wrong at Interactive Brokers, fault by fault: nothing is lost, nothing doubled, nothing silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    NoDataError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.ib import InteractiveBrokers
from resources.market_data.ib import translate as ib_translate
from resources.market_data.pacing import TokenBucket
from tests.resources.market_data.ib.ib_desk import (
    EVENING,
    MONDAY,
    OPENS,
    TUESDAY,
    Desk,
    bars_of,
    desks,
    stamps,
    the_minutes,
    wait_until,
)
from tests.venues.market import Fault, seeded_trades


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


PACING = "Historical Market Data Service error message:Historical data request pacing violation"
REFUSALS = [  # code, text, error, what it says, whether another try is made
    (162, PACING, RateLimitedError, "162.*pacing violation.*60 historical requests", True),
    (100, "Max rate of messages per second has been exceeded", RateLimitedError, "Ask less often", True),
    (162, "HMDS query returned no data: AAPL@SMART Trades", NoDataError, "ib has no rows of AAPL", False),
    (162, "No market data permissions for ISLAND STK", AccessDeniedError, "Subscribe to this market data", False),
    (162, "API historical data query cancelled", BadAnswerError, "162.*cancelled", True),
    (200, "No security definition has been found", UnknownSymbolError, "ib has no AAPL: No security", False),
    (203, "The security is not available or allowed for this account", AccessDeniedError, "may not trade it", False),
    (354, "Requested market data is not subscribed", AccessDeniedError, "354.*Subscribe", False),
    (10089, "Requested market data requires additional subscription", AccessDeniedError, "10089", False),
    (10167, "Requested market data is not subscribed. Displaying delayed", AccessDeniedError, "10167", False),
    (321, "Error validating request", ProviderError, "AAPL: Interactive Brokers answered 321", False),
]
IDS = [f"{case[0]} {case[1][-20:]}" for case in REFUSALS]


@pytest.mark.parametrize(("code", "text", "error", "says", "again"), REFUSALS, ids=IDS)
def test_an_error_message_is_an_error_and_never_an_empty_answer(
    desk: Callable[..., Desk], code: int, text: str, error: type[ProviderError], says: str, again: bool
) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=code, body=text), times=None)
    with pytest.raises(error, match=says):
        at_desk.ib(tries=3).bars(["AAPL"], MONDAY, TUESDAY)
    assert at_desk.count("reqHistoricalData AAPL") == (3 if again else 1)
    if error is RateLimitedError:
        assert min(at_desk.pauses) >= ib_translate.PACE


def test_a_passing_pacing_violation_costs_nothing(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=162, body=PACING), times=2, skip=1)
    waits: list[float] = []
    bucket = TokenBucket(1.0, 60, clock=lambda: 0.0, sleep=waits.append)
    assert bars_of(at_desk.minutes(at_desk.ib(bucket=bucket))) == the_minutes(at_desk)
    assert waits == [16.0, 17.0]  # 15 s of silence and a token; the clock of this test stands still


def test_the_pace_stays_under_60_in_any_ten_minutes() -> None:
    now, spent = [0.0], []
    bucket = InteractiveBrokers(clock=lambda: EVENING)._bucket
    paced = TokenBucket(
        bucket.per_second, bucket.burst, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
    )
    for _ in range(200):
        paced.take()
        spent.append(now[0])
    assert max(sum(at <= other < at + 600 for other in spent) for at in spent) <= 60
    assert max(sum(at <= other < at + 2 for other in spent) for at in spent) < 6


def test_a_silent_data_farm_is_a_time_out_and_never_an_empty_success(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistorical", Fault("silent"), times=None)
    ib = at_desk.ib(timeout=0.05, tries=2)
    with ib:
        at_desk.gateway.say(2105, "HMDS data farm connection is broken:ushmds")
        with pytest.raises(ProviderTimeoutError, match=r"AAPL.*within 0\.05 s \(HMDS data farm connection is broken"):
            at_desk.minutes(ib)
        assert at_desk.pauses  # asked again first
        with pytest.raises(ProviderTimeoutError, match="AAPL"):
            ib.quotes(["AAPL"], OPENS[1], OPENS[2])
    assert at_desk.count("cancelHistoricalData") == 2


def test_a_late_second_answer_does_not_double_rows(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("duplicated"), times=None)
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)


@pytest.mark.parametrize("kind", ["dropped", "cut off", "silent"])
@pytest.mark.parametrize("window", [0, 1])
def test_a_loss_in_the_middle_of_a_download_loses_and_doubles_nothing(
    desk: Callable[..., Desk], kind: str, window: int
) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault(kind), times=2, skip=window)
    assert bars_of(at_desk.minutes(at_desk.ib(timeout=0.1))) == the_minutes(at_desk)
    assert at_desk.count("reqHistoricalData AAPL") == 4
    assert at_desk.gateway.clients == {} or wait_until(lambda: not at_desk.gateway.clients)


def test_a_loss_between_pages_of_ticks_loses_and_doubles_nothing(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(*(700,) * 4)))
    at_desk.market.faults.add("reqHistoricalTicks", Fault("cut off"), times=1, skip=2)
    assert at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect().height == 2800


def test_lost_connectivity_1100_is_waited_out_and_the_request_asked_again_after_1102(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=1100, body="Connectivity lost"), skip=1)
    at_desk.meanwhile = lambda: at_desk.gateway.say(1102, "Connectivity restored - data maintained")
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)
    assert at_desk.count("reqHistoricalData AAPL") == 3  # 1102 alone brings no answer
    assert min(at_desk.pauses) >= 20


def test_connectivity_that_stays_lost_is_an_error_that_names_it(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=1100, body="Connectivity lost"))
    with pytest.raises(ProviderTimeoutError, match=r"lost Interactive Brokers' servers \(1100: Connectivity lost\)"):
        at_desk.minutes(at_desk.ib(tries=3))
    assert len(at_desk.pauses) == 2
    assert at_desk.count("reqHistoricalData AAPL") == 1  # the others were not sent into the void


def test_the_nightly_restart_of_the_gateway_is_outlasted(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("dropped"), skip=1)

    def meanwhile() -> None:  # gone at the first pause, back at the third
        if len(at_desk.pauses) == 1:
            at_desk.gateway.stop()
        if len(at_desk.pauses) == 3:
            at_desk.gateway.start()

    at_desk.meanwhile = meanwhile
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)
    assert len(at_desk.pauses) == 3


@pytest.mark.parametrize(("tells_taken", "says"), [(True, r"already \(326\)"), (False, "hung up while we connected")])
def test_a_client_id_in_use_is_one_clear_error(desk: Callable[..., Desk], tells_taken: bool, says: str) -> None:
    at_desk = desk(tells_taken=tells_taken)
    with at_desk.ib(), pytest.raises(ProviderError, match=rf"{says}.*client_id 17.*provider\.client_id: 18"):
        at_desk.ib().instruments(["AAPL"])
    assert wait_until(lambda: not at_desk.gateway.clients)
    assert at_desk.ib().instruments(["AAPL"]).height == 1  # free again: the first has hung up


def test_a_gateway_that_does_not_let_us_in_is_a_time_out_that_names_client_id(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("connect", Fault("silent"))
    with pytest.raises(ProviderTimeoutError, match=r"did not let us in within 0\.1 s.*client_id 17"):
        at_desk.ib(connect_seconds=0.1).instruments(["AAPL"])


def test_no_gateway_is_an_error_that_says_where(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.gateway.stop()
    with pytest.raises(ProviderError, match=rf"127\.0\.0\.1:{at_desk.gateway.port} cannot be reached.*provider\.port"):
        at_desk.ib().instruments(["AAPL"])
    assert at_desk.pauses == []
