"""Fills become round trips, and round trips figures: worked by hand, and against plain loops."""

from __future__ import annotations

import math
import statistics as plain
from collections import deque
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import run
from quant_assets.backtests.trades import statistics as trades
from quant_assets.backtests.trades.statistics import ROUND_TRIPS, round_trips, trade_statistics
from resources.config import BacktestSettings

FIRST = datetime(2024, 1, 8, 14, 30, tzinfo=UTC)


def at(day: float) -> datetime:
    return FIRST + timedelta(days=day)


def fill(day: float, side: str, quantity: float, price: float, **more: Any) -> dict[str, Any]:
    """Costs of 1, 2 and 3 unless said otherwise."""
    base = {
        "ts": at(day), "symbol": "X", "side": side, "quantity": float(quantity), "price": float(price),
        "reference_price": float(price), "spread_cost": 1.0, "slippage_cost": 2.0, "commission": 3.0, "reason": "open",
    }  # fmt: skip
    return base | more


def frame(*fills: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(fills))


def bars(*rows: tuple[float, ...], symbol: str = "X", split: dict[int, float] | None = None) -> pl.DataFrame:
    """Open, high, low, close from the first day on."""
    return pl.DataFrame(
        [
            {"symbol": symbol, "ts": at(day), "split": (split or {}).get(day, 1.0), "volume": 1000.0}
            | dict(zip(("open", "high", "low", "close"), map(float, row), strict=True))
            for day, row in enumerate(rows)
        ]
    )


def only(trips: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return trips.select(columns).rows()


MONEY = ("side", "quantity", "entry_price", "exit_price", "pnl", "costs")


def test_a_long_trade() -> None:
    trips = round_trips(frame(fill(0, "buy", 10, 100), fill(3, "sell", 10, 110)))
    assert dict(trips.schema) == ROUND_TRIPS
    assert only(trips, *MONEY) == [("long", 10, 100, 110, 94, 12)]
    assert only(trips, "symbol", "entry_ts", "exit_ts", "holding", "open") == [
        ("X", at(0), at(3), timedelta(days=3), False)
    ]
    assert trips["return"][0] == pytest.approx(94 / 1000)
    assert only(trips, "mae", "mfe", "bars") == [(None, None, None)], "not without bars"


def test_a_short_trade() -> None:
    trips = round_trips(frame(fill(0, "sell", 10, 100), fill(3, "buy", 10, 110)))
    assert only(trips, *MONEY) == [("short", 10, 100, 110, -106, 12)]


SCALED = (
    fill(0, "buy", 10, 100),
    fill(1, "buy", 30, 104),
    fill(2, "sell", 20, 110),
    fill(3, "sell", 20, 108),
)


def test_from_flat_to_flat_however_often_it_was_added_to() -> None:
    assert only(round_trips(frame(*SCALED)), *MONEY) == [("long", 40, 103, 109, 240 - 12, 24)]


def test_first_in_first_out() -> None:
    trips = round_trips(frame(*SCALED), method="fifo")
    assert only(trips, "entry_ts", "exit_ts", "quantity", "entry_price", "exit_price") == [
        (at(0), at(2), 10, 100, 110),
        (at(1), at(2), 10, 104, 110),
        (at(1), at(3), 20, 104, 108),
    ]
    assert trips["pnl"].to_list() == pytest.approx([100 - 3 - 1.5, 60 - 1 - 1.5, 80 - 2 - 3])
    assert trips["costs"].to_list() == pytest.approx([6 + 3, 2 + 3, 4 + 6])


@pytest.mark.parametrize("method", ["flat", "fifo"])
def test_a_fill_that_flips_ends_one_trade_and_begins_the_next(method: Any) -> None:
    fills = frame(fill(0, "buy", 10, 100), fill(1, "sell", 30, 110), fill(2, "buy", 20, 105))
    trips = round_trips(fills, method=method)
    assert only(trips, *MONEY[:4]) == [("long", 10, 100, 110), ("short", 20, 110, 105)]
    assert trips["pnl"].to_list() == pytest.approx([100 - 3 - 1, 100 - 2 - 3])
    assert trips["costs"].sum() == 18


def test_symbols_and_trades_do_not_mix() -> None:
    fills = frame(
        fill(0, "buy", 10, 100), fill(0, "sell", 5, 50, symbol="A"), fill(1, "sell", 10, 101),
        fill(1, "buy", 5, 49, symbol="A"), fill(2, "buy", 1, 90),
    )  # fmt: skip
    trips = round_trips(fills)
    assert only(trips, "symbol", "side", "open") == [("A", "short", False), ("X", "long", False), ("X", "long", True)]
    assert only(round_trips(fills.sample(fraction=1, shuffle=True, seed=3)), "symbol", "pnl") == only(
        trips, "symbol", "pnl"
    )


def test_an_open_trade_is_marked_at_the_last_close() -> None:
    fills = frame(fill(0, "buy", 10, 100), fill(1, "sell", 4, 110))
    path = bars((100, 105, 99, 104), (110, 112, 108, 109), (109, 121, 107, 120))
    for method, pnl in (("flat", 4 * 10 + 6 * 20 - 6), ("fifo", 6 * 20 - 1.8)):
        last = round_trips(fills, path, method=method).tail(1)  # type: ignore[arg-type]
        assert only(last, "exit_ts", "exit_price", "holding", "open") == [(None, None, None, True)]
        assert last["pnl"][0] == pytest.approx(pnl)
        assert last["mfe"][0] == pytest.approx({"flat": (40 + 6 * 21) / 1000, "fifo": 21 / 100}[method])
        assert last["bars"][0] == 2
    assert round_trips(fills)["pnl"].to_list() == [None], "without bars nobody knows"


def test_a_split_in_between_changes_units_and_not_profit() -> None:
    path = bars((100, 101, 99, 100), (52, 53, 51, 52), (55, 56, 54, 55), split={1: 2.0})
    fills = frame(fill(0, "buy", 10, 100), fill(2, "sell", 20, 55))
    for method in ("flat", "fifo"):
        trips = round_trips(fills, path, method=method)  # type: ignore[arg-type]
        assert only(trips, *MONEY) == [("long", 20, 50, 55, 94, 12)]
        assert only(trips, "mae", "mfe") == [(pytest.approx(-0.01), pytest.approx(0.1))]
    assert round_trips(fills)["side"].to_list() == ["long", "short"], "without bars no split is known"


def test_a_third_of_a_share_closes_to_the_last_bit() -> None:
    path = bars(*[(30, 31, 29, 30)] * 4, split={1: 3.0, 2: 7.0, 3: 1 / 3})
    trips = round_trips(frame(fill(0, "buy", 0.1, 30), fill(3, "sell", 0.1 * 7, 30)), path)
    assert trips["open"].to_list() == [False]


EXCURSIONS = [  # day, price, reason of entry and exit; lowest and highest price provably seen
    ("open to open", (0, 100, "open"), (2, 110, "open"), 95, 112),
    ("open to inside", (0, 100, "open"), (2, 115, "limit"), 95, 115),
    ("inside to open", (0, 98, "limit"), (2, 110, "open"), 98, 112),
    ("open to close", (0, 100, "open"), (1, 109, "close"), 95, 112),
    ("inside to inside, one bar", (1, 108, "limit"), (1, 111, "limit"), 108, 111),
    ("open to close, one bar", (0, 100, "open"), (0, 104, "close"), 95, 106),
    ("close to gap", (0, 104, "close"), (2, 110, "gap"), 104, 112),
    ("a limit that gapped is at the open", (0, 100, "limit"), (2, 110, "stop"), 95, 112),
    ("delisted after the last bar", (1, 107, "open"), (9, 113, "delisting"), 90, 116),
]


@pytest.mark.parametrize(("entry", "leaving", "low", "high"), [case[1:] for case in EXCURSIONS], ids=[
    case[0] for case in EXCURSIONS
])  # fmt: skip
@pytest.mark.parametrize("method", ["flat", "fifo"])
def test_excursions_are_of_prices_seen_while_held(
    entry: tuple[float, float, str], leaving: tuple[float, float, str], low: float, high: float, method: Any
) -> None:
    path = bars((100, 106, 95, 104), (107, 112, 106, 109), (110, 116, 90, 113))
    for opening, closing in (("buy", "sell"), ("sell", "buy")):
        first = fill(entry[0], opening, 10, entry[1], reason=entry[2])
        last = fill(leaving[0], closing, 10, leaving[1], reason=leaving[2])
        trip = round_trips(frame(first, last), path, method=method).row(0, named=True)
        up, down = high / entry[1] - 1, low / entry[1] - 1
        worst, best = (down, up) if opening == "buy" else (-up, -down)
        assert (trip["mae"], trip["mfe"]) == (pytest.approx(worst), pytest.approx(best))


def test_excursions_of_a_position_that_was_reduced_count_what_was_realised() -> None:
    path = bars((100, 100, 100, 100), (110, 110, 110, 110), (80, 80, 80, 80), (90, 90, 90, 90))
    trips = round_trips(frame(fill(0, "buy", 10, 100), fill(1, "sell", 5, 110), fill(3, "sell", 5, 90)), path)
    assert only(trips, "mae", "mfe") == [(pytest.approx((50 - 100) / 1000), pytest.approx(0.1))]


def test_a_multiplier_scales_money_and_not_fractions() -> None:
    fills = frame(fill(0, "buy", 2, 100, commission=0.0), fill(1, "sell", 2, 110, commission=0.0))
    trips = round_trips(fills, multipliers={"X": 50.0})
    assert only(trips, "pnl", "return") == [(1000, pytest.approx(0.1))]
    with pytest.raises(ValueError, match="X: multiplier is 0; it must be positive"):
        round_trips(fills, multipliers={"X": 0})


def test_bars_of_another_symbol_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="X: there are fills but no bars of it"):
        round_trips(frame(fill(0, "buy", 2, 100)), bars((1, 1, 1, 1), symbol="Y"))


def test_no_fills_no_trades() -> None:
    empty = frame(fill(0, "buy", 1, 1)).clear()
    assert dict(round_trips(empty).schema) == ROUND_TRIPS
    figures = trade_statistics(round_trips(empty))
    assert {name for name, value in figures.items() if value is not None} == {"trades", "open_trades"}


def random_fills(seed: int, count: int = 400) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return frame(
        *(
            fill(day // 3, str(draw.choice(["buy", "sell"])), int(draw.integers(1, 6)), float(draw.integers(90, 110)),
                 symbol=str(draw.choice(["A", "B"])))
            for day in range(count)
        )
    )  # fmt: skip


def by_queue(fills: pl.DataFrame) -> dict[str, list[tuple[float, float, float]]]:
    """Lots by symbol, each (signed quantity, entry price, exit price), matched with nothing but a queue."""
    found: dict[str, list[tuple[float, float, float]]] = {"A": [], "B": []}
    for symbol, lots in found.items():
        queue: deque[list[float]] = deque()
        for row in fills.filter(pl.col("symbol") == symbol).iter_rows(named=True):
            left = row["quantity"] * (1 if row["side"] == "buy" else -1)
            while queue and left * queue[0][0] < 0:
                part = min(abs(left), abs(queue[0][0])) * (1 if queue[0][0] > 0 else -1)
                lots.append((part, queue[0][1], row["price"]))
                left += part
                queue[0][0] -= part
                if queue[0][0] == 0:
                    queue.popleft()
            if left:
                queue.append([left, row["price"]])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_lots_against_a_queue_and_both_methods_against_each_other(seed: int) -> None:
    fills = random_fills(seed)
    lots = round_trips(fills, method="fifo")
    for symbol, expected in by_queue(fills).items():
        mine = lots.filter((pl.col("symbol") == symbol) & ~pl.col("open"))
        assert [
            (quantity if side == "long" else -quantity, entry, leaving)
            for side, quantity, entry, leaving in only(mine, "side", "quantity", "entry_price", "exit_price")
        ] == expected
    priced = bars(*[(100, 111, 89, 100)] * 140)
    path = pl.concat([priced.with_columns(symbol=pl.lit(name)) for name in ("A", "B")])
    for column in ("pnl", "costs"):
        totals = [round_trips(fills, path, method=method)[column].sum() for method in ("flat", "fifo")]  # type: ignore[arg-type]
        assert totals[0] == pytest.approx(totals[1])


def test_the_profit_of_all_trades_is_the_money_that_came_of_the_fills() -> None:
    fills = random_fills(9)
    path = pl.concat([bars(*[(100, 111, 89, 100)] * 140, symbol=name) for name in ("A", "B")])
    signed = fills["quantity"] * fills["side"].replace_strict({"buy": 1, "sell": -1})
    cash = -(signed * fills["price"]).sum() - fills["commission"].sum()
    assert round_trips(fills, path)["pnl"].sum() == pytest.approx(cash + signed.sum() * 100)


PROFITS = [100.0, -50.0, 30.0, 20.0, -10.0, 0.0, -40.0, -5.0]


def made(profits: list[float]) -> pl.DataFrame:
    """Trades one after the other, each a day longer than the one before."""
    rows = [
        {"symbol": "X", "side": "long", "entry_ts": at(number * 20), "exit_ts": at(number * 20 + number + 1),
         "pnl": profit, "return": profit / 1000, "mae": -0.01 * number, "mfe": 0.02, "open": False,
         "holding": timedelta(days=number + 1)}
        for number, profit in enumerate(profits)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_trade_statistics_by_hand() -> None:
    mean, deviation = plain.mean(PROFITS), plain.stdev(PROFITS)
    payoff = 50 / (105 / 4)
    assert trade_statistics(made(PROFITS)) == pytest.approx(
        {
            "trades": 8, "open_trades": 0, "win_rate": 3 / 8, "profit_factor": 150 / 105, "expectancy": mean,
            "average_trade_return": mean / 1000, "average_winning_trade": 50, "average_losing_trade": -105 / 4,
            "largest_winning_trade": 100, "largest_losing_trade": -50, "trade_payoff_ratio": payoff,
            "kelly_fraction": 3 / 8 - 4 / 8 / payoff, "sqn": math.sqrt(8) * mean / deviation,
            "winning_trades_in_a_row": 2, "losing_trades_in_a_row": 2, "average_holding_days": 4.5,
            "average_mae": -0.035, "average_mfe": 0.02,
        }
    )  # fmt: skip


def test_open_trades_are_counted_and_left_out() -> None:
    trips = made(PROFITS).with_columns(open=pl.col("pnl") == 100)
    figures = trade_statistics(trips)
    assert (figures["trades"], figures["open_trades"], figures["largest_winning_trade"]) == (7, 1, 30)


def test_without_a_loss_there_is_no_payoff() -> None:
    figures = trade_statistics(made([1.0, 2.0]))
    unknown = ("profit_factor", "trade_payoff_ratio", "kelly_fraction", "average_losing_trade", "largest_losing_trade")
    assert [figures[name] for name in unknown] == [None] * 5
    assert figures["win_rate"] == 1


def account(sessions: int = 4) -> pl.DataFrame:
    days = [date(2024, 1, 8) + timedelta(days=number) for number in range(sessions)]
    return pl.DataFrame(
        {
            "session": days, "ts": [at(number) for number in range(sessions)], "equity": 10_000.0,
            "gross_exposure": [0.0, 0.2, 0.1, 0.0], "net_exposure": [0.0, 0.2, -0.1, 0.0], "dividends": 1.0,
            "borrow_cost": 2.0, "interest": 3.0, "funding": 4.0,
        }
    )  # fmt: skip


def test_activity_costs_exposure_and_capacity() -> None:
    fills = frame(
        fill(1, "buy", 20, 100), fill(2, "sell", 30, 110), fill(3, "buy", 10, 105, reason="delisting", commission=0.0)
    )  # fmt: skip
    fills = fills.with_columns(session=pl.col("ts").dt.date(), ambiguous=pl.Series([True, False, False]))
    positions = pl.DataFrame(
        {"ts": [at(1), at(2)], "session": [date(2024, 1, 9), date(2024, 1, 10)], "symbol": ["X", "X"],
         "quantity": [20.0, -10.0]}
    )  # fmt: skip
    orders = pl.DataFrame({"state": ["filled", "filled", "rejected"]})
    path = bars(*[(100, 111, 99, 100)] * 4)
    figures = trades.statistics(account(), fills, positions, orders, bars=path)
    share = (20 / 1000 * 2000 + 30 / 1000 * 3300) / 5300
    expected = {
        "orders": 3, "orders_rejected": 1, "fills": 2, "ambiguous_share": 0.5, "amount_traded": 5300,
        "turnover": 5300 / 10_000 / 2 * 252 / 4, "costs": 12, "spread_cost": 2, "slippage_cost": 4, "commission": 6,
        "costs_bps": 12 / 5300 * 1e4, "cost_drag": (12 + 4 * 9) / 10_000 * 252 / 4, "dividends": 4, "borrow_cost": 8,
        "funding": 16, "interest": 12, "gross_exposure": 0.075, "max_gross_exposure": 0.2, "net_exposure": 0.025,
        "time_in_market": 0.5, "average_positions": 0.5, "holdings": 2, "holding_sessions": 1,
        "participation": share, "capacity": 10_000 * 0.01 / share, "trades": 2,
    }  # fmt: skip
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    without = trades.statistics(account(), fills, positions, orders)
    assert without.keys() == figures.keys()
    assert (without["capacity"], without["average_mae"]) == (None, None)
    scaled = trades.statistics(account(), fills, positions, orders, multipliers={"X": 10.0})
    assert scaled["amount_traded"] == 53_000


def test_capacity_without_volume_is_unknown() -> None:
    path = bars(*[(100, 111, 99, 100)] * 4).with_columns(volume=0.0)
    assert math.isnan(trades.capacity(account(), frame(fill(1, "buy", 20, 100)), path)["capacity"])


def test_trades_of_a_backtest_add_up_to_what_its_account_earned() -> None:
    """Long and short, with splits on the way, in two symbols: the venue books profit by average cost, we by pairing."""
    draw = np.random.default_rng(4)
    paths = {}
    for symbol in ("X", "Y"):
        close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, 60)))
        path = [(value * 0.999, value * 1.01, value * 0.99, value) for value in close]
        paths[symbol] = bars(*path, symbol=symbol, split={20: 2.0, 41: 3.0} if symbol == "X" else {})
        paths[symbol] = paths[symbol].with_columns(volume=1e9)
    market = pl.concat(list(paths.values()))
    when = market.filter(pl.Series(draw.random(market.height) < 0.5)).select("symbol", pl.col("ts").dt.offset_by("7h"))
    weights = pl.Series("target_weight", draw.choice([-0.3, 0.0, 0.2, 0.4], when.height))
    result = run(market, when.with_columns(weights).sort("ts"), BacktestSettings(cash=1e6))
    last = result.positions.filter(pl.col("ts") == market["ts"].max())
    earned = result.fills["realised"].sum() + last["unrealised"].sum() - result.fills["commission"].sum()
    assert result.fills.height > 30
    for method in ("flat", "fifo"):
        trips = round_trips(result.fills, market, method=method)  # type: ignore[arg-type]
        assert trips["pnl"].sum() == pytest.approx(earned)
        costs = result.fills.select(pl.sum_horizontal("spread_cost", "slippage_cost", "commission").sum()).item()
        assert trips["costs"].sum() == pytest.approx(costs)
    assert round_trips(result.fills, market).height == result.metrics["holdings"]
