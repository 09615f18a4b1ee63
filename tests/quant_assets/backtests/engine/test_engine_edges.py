"""What attackers found: ends of bars, calendars, large numbers, coarse ticks, compiled strategies out of bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import OnBar, history, run
from resources.errors import BarSchemaError, ConfigError
from resources.exchange import OrderError
from resources.exchange.reacting import submit
from resources.exchange.words import LIMIT
from tests.quant_assets.backtests.worlds import cleaned, closes, sent, sized
from tests.resources.exchange.cases import account, bar, flat, opens


def raw(starts: list[datetime], prices: list[float], symbol: str = "X") -> pl.DataFrame:
    """Bars without known_at, each from one price to the next."""
    return pl.DataFrame(
        {
            "ts": pl.Series(starts, dtype=pl.Datetime("us", "UTC")),
            "symbol": symbol,
            "open": prices,
            "high": prices,
            "low": prices,
            "close": prices,
            "volume": 1e6,
        }
    )


def test_months_end_as_the_next_begins_and_no_february_shortens_them():
    months = raw([datetime(2023, month, 1, tzinfo=UTC) for month in range(1, 6)], [100, 100, 200, 200, 200])
    asked = sent(sized(datetime(2023, 3, 30, tzinfo=UTC), "X", "buy", None, notional=10_000.0))
    assert run(months, asked, account(cash=1e6)).orders["quantity"].to_list() == [100]


def test_gaps_to_come_do_not_move_the_end_of_a_bar():
    hours = [datetime(2024, 1, 8, hour, tzinfo=UTC) for hour in (14, 15, 16, 17)]
    bars = raw([*hours, hours[-1] + timedelta(minutes=1)], [100, 200, 200, 200, 200])
    asked = sent(sized(hours[1] + timedelta(minutes=30), "X", "buy", None, notional=10_000.0))
    sizes = [run(some, asked, account(cash=1e6)).orders["quantity"][0] for some in (bars, bars.head(4))]
    assert sizes == [100, 100]


@pytest.mark.parametrize(("kind", "filled"), [("market", 0), ("market_on_open", 0), ("market_on_close", 0)])
def test_rule_16_the_calendar_ends_an_order_whose_session_has_no_bar(kind, filled):
    a = cleaned({"A": [flat(100), None, flat(100)]})
    other = cleaned({"C": [flat(50)] * 3})
    known = pl.DataFrame({"symbol": ["A", "C"], "calendar": ["XNYS", "XNYS"]})
    tif = "day" if kind == "market" else "gtc"
    asked = sent(sized(opens(1) - timedelta(hours=1), "A", "buy", 1, type=kind, tif=tif))
    result = run(pl.concat([a, other]), asked, account(), instruments=known)
    assert (result.fills.height, result.orders["state"].to_list()) == (filled, ["expired"])


@pytest.mark.parametrize("volume", [1e12, 1e20])
def test_rule_10_large_volumes_in_small_lots(volume):
    bars = cleaned({"X": [flat(1e-5, volume), flat(1e-5, volume)]})
    known = pl.DataFrame({"symbol": ["X"], "lot": [1e-8]})
    result = run(bars, sent(sized(0, "X", "buy", 1.0)), account(participation=0.1), instruments=known)
    assert result.fills["quantity"].to_list() == [1]


def test_rule_10_a_tick_above_the_price_rounds_nothing_against_the_order():
    bars = cleaned({"X": [flat(0.03), bar(0.03, 0.04, 0.02, 0.03)]})
    known = pl.DataFrame({"symbol": ["X"], "tick": [0.05]})
    asked = sent(sized(0, "X", "sell", 1), sized(0, "X", "buy", 1, type="limit", limit_price=0.03))
    assert run(bars, asked, account(), instruments=known).fills["price"].to_list() == [0.03, 0.03]


def test_a_reaction_out_of_bounds_harms_nothing_and_its_orders_are_judged():
    def wild(view):
        if view.memory[0, 0] == 0.0:
            view.memory[0, 0] = 1.0
            submit(view, 100_000_000, 1, 5.0)
            submit(view, -1, 1, 5.0)
            submit(view, 0, 1, 0.5)
            submit(view, 0, 1, -5.0)
            submit(view, 0, 1, 5.0).kind = LIMIT
            submit(view, 0, 1, 2.0)

    result = run(cleaned({"X": [flat(100)] * 3}), OnBar(wild, memory=1), account())
    assert result.fills["quantity"].to_list() == [2]
    assert result.orders["state"].to_list() == ["rejected", "rejected", "rejected", "filled"]


def test_a_replace_below_what_is_filled_leaves_the_order_as_it_was():
    bars = cleaned({"X": [flat(100, 10)] * 5})
    asked = sent(
        sized(0, "X", "buy", 20, order_id="x"),
        {"ts": closes(1), "symbol": "X", "action": "replace", "order_id": "x", "quantity": 5.0},
    )
    assert run(bars, asked, account()).orders.select("filled", "quantity", "state").rows() == [(20, 20, "filled")]


REFUSED = [
    ({"symbol": "Y", "action": "replace", "limit_price": 99.0}, "symbol is not that of order x"),
    ({"symbol": "Y", "action": "cancel"}, "symbol is not that of order x"),
    ({"symbol": "X", "action": "replace", "side": "sell", "limit_price": 99.0}, "a side cannot be replaced"),
]


@pytest.mark.parametrize(("request_", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_request_that_does_not_fit_its_order_is_refused(request_, reason):
    bars = cleaned({"X": [flat(100)] * 3, "Y": [flat(100)] * 3})
    first = sized(0, "X", "buy", 1, order_id="x", type="limit", limit_price=90.0)
    with pytest.raises(OrderError, match=reason):
        run(bars, sent(first, {"ts": closes(1), "order_id": "x", **request_}), account())


def test_a_history_refuses_what_it_would_ignore():
    bars, asked = cleaned({"X": [flat(100)] * 3}), sent(sized(0, "X", "buy", 1))
    known = pl.DataFrame({"symbol": ["X"], "lot": [10.0]})
    with pytest.raises(ConfigError, match=r"instruments.*a History has its own"):
        run(history(bars), asked, account(), instruments=known)
    with pytest.raises(ConfigError, match="intrabar_timeframe is 1h, and no finer bars are given"):
        run(bars, asked, account().model_copy(update={"intrabar_timeframe": "1h"}))


def test_a_misspelt_column_is_named():
    with pytest.raises(OrderError, match="column stop_los is not read; stop_loss is"):
        run(cleaned({"X": [flat(100)] * 3}), sent(sized(0, "X", "buy", 1, stop_los=90.0)), account())


@pytest.mark.parametrize(
    ("column", "value"), [("margin_per_unit", -5.0), ("tick", -0.25), ("lot", float("inf")), ("minimum_notional", -1.0)]
)
def test_an_instrument_that_cannot_be_is_refused(column, value):
    known = pl.DataFrame({"symbol": ["X"], column: [value]})
    with pytest.raises(BarSchemaError, match=f"X: {column} is {value}"):
        run(cleaned({"X": [flat(100)] * 3}), sent(sized(0, "X", "buy", 1)), account(), instruments=known)


def test_what_is_no_frame_and_no_number_is_refused():
    bars, asked = cleaned({"X": [flat(100)] * 3}), sent(sized(0, "X", "buy", 1))
    with pytest.raises(BarSchemaError, match="from_pandas"):
        run(bars.to_pandas(), asked, account())  # type: ignore[arg-type]
    with pytest.raises(OrderError, match="ten"):
        run(bars, asked.with_columns(quantity=pl.lit("ten")), account())
    with pytest.raises(BarSchemaError, match="known_at is"):
        run(bars.with_columns(known_at=pl.col("ts") - pl.duration(hours=1)), asked, account())


def test_rule_17_a_fraction_of_a_contract_is_settled_at_the_last_price():
    """Of a future only changes in price are paid: nothing is due for a fraction that a split leaves over."""
    bars = cleaned({"X": [flat(100), flat(100), flat(60, split=1.5), flat(60)]})
    known = pl.DataFrame({"symbol": ["X"], "asset_class": ["future"]})
    result = run(bars, sent(sized(0, "X", "buy", 1)), account(cash=1000), instruments=known)
    gone = (100 / 1.5 - 60) * 1
    assert result.fills["reason"].to_list() == ["open", "cash_in_lieu"]
    assert result.equity["cash"].to_list()[-1] == pytest.approx(1000 - gone)


def test_a_share_whose_first_day_is_a_friday_has_days():
    """Beside a coin that trades on Saturday: what the share closed at on Friday is known by then, cut or not."""
    friday = datetime(2024, 1, 12, tzinfo=UTC)
    share = raw([friday + timedelta(days=day) for day in (0, 3, 4)], [100, 200, 200])
    coin = raw([friday + timedelta(days=day) for day in range(5)], [10] * 5).with_columns(symbol=pl.lit("C"))
    both = pl.concat([share, coin])
    asked = sent(sized(friday + timedelta(days=1, hours=12), "X", "buy", None, notional=10_000.0))
    parts = (both, both.filter(pl.col("ts") < friday + timedelta(days=3)))
    assert [run(some, asked, account(cash=1e6)).orders["quantity"][0] for some in parts] == [100, 100]


def test_a_bar_that_outlasts_its_session_is_known_at_its_own_end():
    """Four hours from 20:00, of which the session in New York has one: 24:00 is not known at 21:30."""
    evening = datetime(2024, 1, 9, 20, tzinfo=UTC)
    bars = raw([evening + timedelta(hours=4 * number) for number in (-6, -5, 0, 1)], [100, 100, 100, 100])
    bars = bars.with_columns(close=pl.when(pl.col("ts") == evening).then(200.0).otherwise("close"), high=pl.lit(200.0))
    known = pl.DataFrame({"symbol": ["X"], "calendar": ["XNYS"]})
    asked = sent(sized(evening + timedelta(hours=1.5), "X", "buy", None, notional=10_000.0))
    assert run(bars, asked, account(cash=1e6), instruments=known).orders["quantity"].to_list() == [100]
