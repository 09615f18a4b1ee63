"""Orders on a root become orders on contracts: which one, when it is left, and what the roll sends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests.market.futures import RollError, rolled, with_margin
from resources.calendars import sessions
from resources.errors import NoDataError

DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "multi_asset"
CHAIN = pl.DataFrame(
    {
        "symbol": ["ESZ13", "ESH14", "ESM14", "AAPL"],
        "asset_class": ["future", "future", "future", "equity"],
        "underlying": ["ES", "ES", "ES", None],
        "expiry": [date(2013, 12, 20), date(2014, 3, 21), date(2014, 6, 20), None],
    }
)
LEFT = date(2013, 12, 13)  # five sessions before the 20th: 16, 17, 18, 19, 20
HOURS = {row[0]: row[1:] for row in sessions("CMES", date(2013, 10, 1), date(2014, 7, 1)).rows()}
END = date(2014, 2, 28)


def close(day: date) -> datetime:
    return HOURS[day][1]


def order(ts: datetime, symbol: str = "ES", **fields: Any) -> dict[str, Any]:
    return {"ts": ts, "symbol": symbol, **fields}


def sent(*orders: dict[str, Any], end: date = END, ahead: int = 5) -> list[tuple[Any, ...]]:
    frame = rolled(pl.DataFrame(orders, infer_schema_length=None), CHAIN, end, calendar="CMES", ahead=ahead)
    amount = "target_position" if "target_position" in frame.columns else "target_weight"
    return frame.select("ts", "symbol", amount, pl.col("tag") if "tag" in frame.columns else pl.lit(None)).rows()


START = close(date(2013, 11, 1))


def test_a_roll_closes_the_old_contract_and_opens_the_new_one_at_the_same_close() -> None:
    assert sent(order(START, target_position=2.0)) == [
        (START, "ESZ13", 2.0, None),
        (close(LEFT), "ESZ13", 0.0, "roll"),
        (close(LEFT), "ESH14", 2.0, "roll"),
    ]


def test_a_weight_is_rolled_as_the_weight_and_again_at_the_next_roll() -> None:
    spring = close(date(2014, 3, 14))
    assert sent(order(START, target_weight=-0.5), end=date(2014, 4, 1)) == [
        (START, "ESZ13", -0.5, None),
        (close(LEFT), "ESZ13", 0.0, "roll"),
        (close(LEFT), "ESH14", -0.5, "roll"),
        (spring, "ESH14", 0.0, "roll"),
        (spring, "ESM14", -0.5, "roll"),
    ]


def test_the_last_target_before_the_roll_is_the_one_that_is_rolled() -> None:
    later = close(date(2013, 12, 12))
    assert sent(order(START, target_position=2.0), order(later, target_position=-1.0))[1:] == [
        (later, "ESZ13", -1.0, None),
        (close(LEFT), "ESZ13", 0.0, "roll"),
        (close(LEFT), "ESH14", -1.0, "roll"),
    ]


def test_nothing_is_rolled_where_nothing_is_held() -> None:
    flat = close(date(2013, 12, 12))
    assert [row[3] for row in sent(order(START, target_position=2.0), order(flat, target_position=0.0))] == [None, None]


def test_a_target_sent_at_the_roll_itself_goes_to_the_new_contract_alone() -> None:
    assert sent(order(START, target_position=2.0), order(close(LEFT), target_position=3.0)) == [
        (START, "ESZ13", 2.0, None),
        (close(LEFT), "ESZ13", 0.0, "roll"),
        (close(LEFT), "ESH14", 3.0, None),
    ]


def test_a_target_within_the_first_session_comes_after_the_roll() -> None:
    inside = datetime(2013, 12, 16, 15, tzinfo=UTC)
    assert sent(order(START, target_position=2.0), order(inside, target_position=3.0))[2:] == [
        (close(LEFT), "ESH14", 2.0, "roll"),
        (inside, "ESH14", 3.0, None),
    ]


def test_a_first_target_after_the_roll_rolls_nothing() -> None:
    late = close(date(2014, 1, 6))
    assert sent(order(late, target_position=1.0)) == [(late, "ESH14", 1.0, None)]


@pytest.mark.parametrize(("ahead", "day"), [(0, date(2013, 12, 20)), (1, date(2013, 12, 19)), (5, LEFT)])
def test_a_contract_is_left_so_many_sessions_before_its_last(ahead: int, day: date) -> None:
    assert sent(order(START, target_position=1.0), ahead=ahead)[1][0] == close(day)


def test_no_roll_is_sent_beyond_the_end_of_the_bars() -> None:
    assert len(sent(order(START, target_position=1.0), end=date(2013, 12, 13))) == 1
    assert len(sent(order(START, target_position=1.0), end=date(2013, 12, 16))) == 3


def test_orders_on_shares_and_on_contracts_pass_unchanged() -> None:
    share = order(START, "AAPL", quantity=5.0, side="buy", type="limit", limit_price=500.0)
    contract = order(START, "ESZ13", quantity=1.0, side="sell", type="market", limit_price=None)
    given = pl.DataFrame([share, contract])
    assert rolled(given, CHAIN, END, calendar="CMES").equals(given)


def test_the_orders_of_a_roll_have_ids_where_orders_have() -> None:
    frame = rolled(
        pl.DataFrame([order(START, target_position=1.0, order_id="a", type="market_on_close", tif="day")]),
        CHAIN, END, calendar="CMES",
    )  # fmt: skip
    assert frame["order_id"].to_list() == ["a", "roll:ESZ13:2013-12-13:close", "roll:ESH14:2013-12-13:open"]
    assert frame["type"].to_list() == ["market_on_close", "market", "market"]
    assert frame["tif"].to_list() == ["day", "gtc", "gtc"]


REFUSED = [
    (order(START, quantity=1.0, side="buy"), "needs target_weight or target_position"),
    (order(START, target_position=1.0, target_weight=0.1), "needs target_weight or target_position"),
    (order(START, target_position=1.0, type="limit", limit_price=1700.0), "type is limit"),
    (order(START, target_position=1.0, stop_loss=1600.0), "stop_loss is 1600.0"),
    (order(START, target_position=1.0, action="cancel"), "action is cancel"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_rolled_without_knowing_the_fills_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RollError, match=f"ES 2013-11-01.*{message}"):
        sent(row)


def test_without_a_contract_that_lasts_there_is_an_error() -> None:
    with pytest.raises(NoDataError, match="no contract to hold from 2014-06-16"):
        sent(order(START, target_position=1.0), end=date(2014, 7, 30))


def test_the_margin_of_a_contract_is_its_roots_on_that_day() -> None:
    margins = pl.DataFrame({"symbol": ["ES"] * 3, "date": [date(2013, 1, 1), date(2013, 9, 1), date(2014, 1, 1)],
                            "initial": [4000.0, 4500.0, 5000.0]})  # fmt: skip
    found = with_margin(CHAIN, margins, date(2013, 11, 1))
    assert found["margin_per_unit"].to_list() == [4500.0, 4500.0, 4500.0, None]
    assert with_margin(CHAIN, margins, date(2012, 1, 1))["margin_per_unit"].null_count() == 4


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data is not there")
def test_the_real_margin_of_the_sp500_future_in_october_2013() -> None:
    margins = pl.read_parquet(DATA / "futures_margins.parquet")
    known = margins.filter((pl.col("symbol") == "ES") & (pl.col("date") <= date(2013, 10, 7))).sort("date")
    found = with_margin(CHAIN, margins, date(2013, 10, 7))["margin_per_unit"]
    assert found[0] == known["initial"][-1]
    assert 3_000 < found[0] < 7_000


def test_the_calendar_is_the_one_that_the_contracts_name() -> None:
    given = pl.DataFrame([order(START, target_position=1.0)])
    named = CHAIN.with_columns(calendar=pl.when(pl.col("asset_class") == "future").then(pl.lit("CMES")))
    assert rolled(given, named, END).equals(rolled(given, CHAIN, END, calendar="CMES"))
    with pytest.raises(RollError, match="ES: its contracts name no calendar"):
        rolled(given, CHAIN, END)


@pytest.mark.parametrize("seed", range(8))
def test_after_every_session_one_contract_alone_has_the_last_target(seed: int) -> None:
    random = Random(seed)
    days = [day for day in HOURS if date(2013, 11, 1) <= day <= date(2014, 5, 30)]
    instants = sorted(random.choice(HOURS[day]) - timedelta(hours=random.choice([0, 0, 5])) for day in days[::9])
    targets = [order(ts, target_position=float(random.randint(-2, 2))) for ts in instants]
    end = days[-1]
    sent = rolled(pl.DataFrame(targets), CHAIN, end, calendar="CMES", ahead=random.randint(0, 9))
    for day in days:
        before = pl.col("ts") <= HOURS[day][1]
        held = (
            sent.filter(before)
            .group_by("symbol")
            .agg(pl.col("target_position").last())
            .filter(pl.col("target_position") != 0)
        )
        asked = [row["target_position"] for row in targets if row["ts"] <= HOURS[day][1]]
        wanted = asked[-1:] if asked and asked[-1] != 0 else []
        assert held["target_position"].to_list() == wanted, day


def test_a_contract_cannot_be_left_after_its_last_session() -> None:
    with pytest.raises(RollError, match="ahead is -1"):
        sent(order(START, target_position=1.0), ahead=-1)
