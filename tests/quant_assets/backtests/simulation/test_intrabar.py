"""Finer bars decide inside coarser ones: which of stop and target came first, and what an entry inside a bar meets."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import history, run
from resources.errors import BarSchemaError
from tests.quant_assets.backtests.worlds import CLOSES_AFTER, cleaned, sent, sized
from tests.resources.exchange.cases import account, bar, flat, opens

Prices = tuple[float, float, float, float]

WIDE = bar(100, 110, 90, 105)
"""Reaches a stop at 95 and a target at 108, nobody knows in which order."""
UP_FIRST: list[Prices] = [(100, 110, 99, 109), (109, 109, 90, 105)]
DOWN_FIRST: list[Prices] = [(100, 101, 90, 92), (92, 110, 92, 105)]
BRACKET = sized(0, "X", "buy", 10, order_id="e", take_profit=108.0, stop_loss=95.0)


def inner(session: int, halves: list[Prices], symbol: str = "X", volume: float = 1e6) -> list[dict]:
    """Bars that share a session in equal parts."""
    length = CLOSES_AFTER / len(halves)
    return [
        {
            "symbol": symbol,
            "ts": opens(session) + number * length,
            "known_at": opens(session) + (number + 1) * length,
            **dict(zip(("open", "high", "low", "close"), map(float, prices), strict=True)),
            "volume": volume,
        }
        for number, prices in enumerate(halves)
    ]


def fills(bars: pl.DataFrame, orders: pl.DataFrame, finer: list[dict] | None, **terms) -> list[tuple]:
    result = run(bars, orders, account(**terms), intrabar=None if finer is None else pl.DataFrame(finer))
    return result.fills.select("order_id", "ts", "reference_price", "reason", "ambiguous").rows()


def at(session: int, part: int = 0, of: int = 1) -> datetime:
    return opens(session) + part * CLOSES_AFTER / of


DECIDED = [
    ("nobody knows: the stop, flagged", None, ("e:stop_loss", at(1), 95, "stop", True)),
    ("up first: the target", UP_FIRST, ("e:take_profit", at(1, 0, 2), 108, "limit", False)),
    ("down first: the stop", DOWN_FIRST, ("e:stop_loss", at(1, 0, 2), 95, "stop", False)),
    ("a gap between finer bars", [(100, 107, 99, 107), (93, 110, 90, 105)],
     ("e:stop_loss", at(1, 1, 2), 93, "gap", False)),
    ("both inside one finer bar: the stop, flagged", [(100, 104, 99, 100), (100, 110, 90, 105)],
     ("e:stop_loss", at(1, 1, 2), 95, "stop", True)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "halves", "expected"), DECIDED, ids=[case[0] for case in DECIDED])
def test_stop_or_target(name, halves, expected):
    finer = None if halves is None else inner(1, halves)
    done = fills(cleaned({"X": [flat(100), WIDE, flat(105)]}), sent(BRACKET), finer)
    assert done == [("e", at(1), 100, "open", False), expected]


def test_the_better_path_is_taken_only_where_nobody_knows():
    bars = cleaned({"X": [flat(100), WIDE, flat(105)]})
    assert fills(bars, sent(BRACKET), None, ambiguous="better")[1][0] == "e:take_profit"
    assert fills(bars, sent(BRACKET), inner(1, DOWN_FIRST), ambiguous="better")[1][0] == "e:stop_loss"


def test_an_exit_may_follow_an_entry_inside_the_coarse_bar():
    """The entry fills inside the first finer bar: the second is after it, while the coarse bar could prove nothing."""
    entry = sized(0, "X", "buy", 10, order_id="e", type="limit", limit_price=98.0, take_profit=108.0, stop_loss=80.0)
    bars = cleaned({"X": [flat(100), bar(100, 110, 95, 105), flat(105)]})
    assert fills(bars, sent(entry), None) == [("e", at(1), 98, "limit", False)]
    halves: list[Prices] = [(100, 100, 95, 99), (99, 110, 99, 105)]
    assert fills(bars, sent(entry), inner(1, halves)) == [
        ("e", at(1, 0, 2), 98, "limit", False),
        ("e:take_profit", at(1, 1, 2), 108, "limit", False),
    ]


def test_a_trailing_stop_follows_the_finer_bars():
    bars = cleaned({"X": [flat(100), flat(100), bar(100, 110, 99, 104), flat(104)]})
    orders = sent(sized(0, "X", "buy", 10), sized(1, "X", "sell", 10, order_id="t", type="trailing_stop", trail=5.0))
    assert fills(bars, orders, None)[1:] == [("t", at(3), 104, "gap", False)]
    halves: list[Prices] = [(100, 110, 99, 109), (109, 109, 104, 104)]
    assert fills(bars, orders, inner(2, halves))[1:] == [("t", at(2, 1, 2), 105, "stop", False)]


def test_sessions_without_finer_bars_use_the_coarse_ones():
    bars = cleaned({"X": [flat(100), flat(100), WIDE, flat(105)], "Y": [flat(50)] * 4})
    orders = sent(BRACKET, sized(0, "Y", "buy", 1, order_id="y"), sized(1, "Y", "sell", 1, order_id="z"))
    finer = inner(1, [(100, 100, 100, 100)] * 2) + inner(2, [(50, 50, 50, 50)] * 2, "Y")
    assert fills(bars, orders, finer) == [
        ("e", at(1), 100, "open", False),
        ("y", at(1), 50, "open", False),
        ("z", at(2), 50, "open", False),
        ("e:stop_loss", at(2), 95, "stop", True),
    ]


def test_orders_for_session_and_auction_mean_the_coarse_session():
    bars = cleaned({"X": [flat(100), bar(100, 110, 90, 105), flat(105)]})
    orders = sent(
        sized(0, "X", "buy", 1, order_id="close", type="market_on_close"),
        sized(0, "X", "buy", 1, order_id="day", type="limit", limit_price=91.0, tif="day"),
        sized(0, "X", "buy", 1, order_id="open", type="market_on_open"),
    )
    assert fills(bars, orders, inner(1, UP_FIRST)) == [
        ("open", at(1), 100, "open", False),
        ("day", at(1, 1, 2), 91, "limit", False),
        ("close", at(1, 1, 2), 105, "close", False),
    ]


def test_a_split_and_a_dividend_take_effect_once():
    bars = cleaned({"X": [flat(100), bar(100, 110, 90, 105), flat(50, split=2.0, dividend=1.0)]})
    finer = inner(1, UP_FIRST) + inner(2, [(50, 50, 50, 50)] * 3)
    result = run(bars, sent(sized(0, "X", "buy", 10)), account(), intrabar=pl.DataFrame(finer))
    assert result.positions["quantity"].to_list() == [10, 10, 20, 20, 20]
    assert result.equity["dividends"].to_list() == [0, 0, 0, 20, 0, 0]
    assert result.equity["session"].n_unique() == 3


CONTRADICTIONS = [
    ("above", [(100, 111, 99, 109), (109, 109, 90, 105)]),
    ("below", [(100, 110, 99, 109), (109, 109, 89, 105)]),
    ("another adjustment", [(50, 55, 49, 54), (54, 54, 45, 52)]),
]


@pytest.mark.parametrize(("name", "halves"), CONTRADICTIONS, ids=[case[0] for case in CONTRADICTIONS])
def test_finer_bars_that_contradict_theirs_are_refused(name, halves):
    with pytest.raises(BarSchemaError, match=r"X 2024-01-09 .*leaves the range of the bar at 2024-01-09 14:30"):
        fills(cleaned({"X": [flat(100), WIDE]}), sent(BRACKET), inner(1, halves))


def test_finer_bars_obey_the_same_checks():
    twice = inner(1, UP_FIRST) + inner(1, UP_FIRST)[:1]
    with pytest.raises(BarSchemaError, match=r"X .*more than one bar"):
        fills(cleaned({"X": [flat(100), WIDE]}), sent(BRACKET), twice)
    with pytest.raises(BarSchemaError, match=r"volume is -1\.0"):
        fills(cleaned({"X": [flat(100), WIDE]}), sent(BRACKET), inner(1, UP_FIRST, volume=-1.0))


def test_finer_bars_outside_every_coarse_bar_change_nothing():
    bars = cleaned({"X": [flat(100), WIDE, flat(105)]})
    night = [row | {"ts": row["ts"] + timedelta(hours=8), "known_at": row["known_at"] + timedelta(hours=8)}
             for row in inner(1, UP_FIRST)]  # fmt: skip
    assert fills(bars, sent(BRACKET), night) == fills(bars, sent(BRACKET), None)


PARTS = [
    ("only the morning", [(100, 110, 99, 109)]),
    ("without the low", [(100, 110, 99, 109), (109, 109, 99, 105)]),
    ("without the high", [(100, 104, 99, 100), (100, 105, 90, 105)]),
    ("another close", [(100, 110, 99, 109), (109, 109, 90, 104)]),
    ("another open", [(101, 110, 99, 109), (109, 109, 90, 105)]),
]


@pytest.mark.parametrize(("name", "halves"), PARTS, ids=[case[0] for case in PARTS])
def test_a_bar_that_finer_ones_do_not_cover_stays_coarse_and_is_counted(name, halves):
    bars, finer = cleaned({"X": [flat(100), WIDE, flat(105)]}), inner(1, halves)
    with pytest.warns(UserWarning, match=r"1 bars keep to the rules of coarse bars.*do not cover them"):
        assert fills(bars, sent(BRACKET), finer) == fills(bars, sent(BRACKET), None)
    with pytest.warns(UserWarning, match="1 bars"):
        past = history(bars, intrabar=pl.DataFrame(finer))
    assert past.stayed_coarse == 1
    assert past.frame().select("low", "close").row(1) == (90, 105), "the day keeps its low and its close"


def test_a_bar_whose_volume_the_finer_ones_lack_stays_coarse():
    bars = cleaned({"X": [flat(100), WIDE]}).with_columns(volume=1e6)
    with pytest.warns(UserWarning, match="1 bars"):
        assert history(bars, intrabar=pl.DataFrame(inner(1, UP_FIRST, volume=2.4e5))).stayed_coarse == 1
    assert history(bars, intrabar=pl.DataFrame(inner(1, UP_FIRST, volume=2.6e5))).stayed_coarse == 0


def test_a_little_beside_the_prices_still_covers_the_bar():
    """The closing auction often prints beside the last trade: a thousandth of the price is no gap."""
    bars = cleaned({"X": [flat(100), WIDE]})
    near: list[Prices] = [(100.09, 109.9, 99, 109), (109, 109, 90.08, 105.1)]
    assert history(bars, intrabar=pl.DataFrame(inner(1, near))).stayed_coarse == 0


def test_finer_bars_of_a_symbol_without_bars_are_refused():
    with pytest.raises(BarSchemaError, match="intrabar: Z has finer bars but no bars"):
        history(cleaned({"X": [flat(100), WIDE]}), intrabar=pl.DataFrame(inner(1, UP_FIRST, "Z")))
