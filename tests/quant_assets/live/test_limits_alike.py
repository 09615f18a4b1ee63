"""Each limit binds in a backtest and in the paper session alike: the same orders refused, for the same reasons.

Every case is two sessions of one strategy. The live trader plans each from the signals of the session before, and
trades it at the paper venue; the backtest is given the same targets at the same closes. A limit just wide enough
refuses nothing, in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import run
from quant_assets.backtests.market.instruments import listings_of
from quant_assets.live.journal import Journal
from quant_assets.live.planning import order_id
from quant_assets.live.trader import Assignment, Hooks, Trader
from resources.brokers.base import Side
from resources.brokers.paper import Feed, PaperBroker
from resources.calendars import UTC_MICROS
from resources.config import LimitSettings, LiveSettings
from resources.exchange import Listing
from tests.resources.exchange.cases import account

FRIDAY, MONDAY, TUESDAY = date(2013, 2, 22), date(2013, 2, 25), date(2013, 2, 26)
SIGNALS = {MONDAY: FRIDAY, TUESDAY: MONDAY}
"""By session traded, the session whose signals it trades."""

INSTRUMENTS = pl.DataFrame(
    {
        "symbol": ["AAA", "BBB", "CCC", "AAA_CALL"],
        "sector": ["tech", "tech", "health", "tech"],
        "asset_class": ["equity", "equity", "equity", "option"],
        "multiplier": [1.0, 1.0, 1.0, 100.0],
        "strike": [None, None, None, 120.0],
        "right": [None, None, None, "call"],
        "underlying": [None, None, None, "AAA"],
        "expiry": [None, None, None, date(2013, 6, 21)],
    }
)
LISTINGS: dict[str, Listing] = dict(
    zip(INSTRUMENTS["symbol"], listings_of(INSTRUMENTS["symbol"].to_list(), INSTRUMENTS), strict=True)
)
CLOSES = {"AAA": 100.0, "BBB": 50.0, "CCC": 20.0, "AAA_CALL": 2.0}
TERMS = account(cash=100_000, max_gross=5)
WIDE = LimitSettings(
    gross=10, net=10, single_name=10, order_notional=10, orders_per_session=100, drawdown_stop=1,
    sector=10, leverage=100, turnover=100,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    limit: str
    tight: float
    """The bound that refuses."""
    wide: float
    """The next one, which does not."""
    monday: dict[str, float]
    """Target weights by symbol."""
    refused: dict[tuple[date, str], str]
    """By session and symbol, the reason with the tight bound."""
    tuesday: dict[str, float] = field(default_factory=dict)
    closes: Mapping[str, float] = field(default_factory=dict)
    """Monday's closes, where a price moves inside the day."""
    exits: float | None = None
    """How far take-profit and stop-loss of Monday's orders are from the price, as a fraction; they rest on Tuesday."""

    def fractions(self, session: date) -> dict[str, float | None]:
        far = self.exits if session == MONDAY else None
        return {"take_profit_fraction": far, "stop_loss_fraction": far}


CASES = [
    Case("order_notional", 0.29, 0.3, {"AAA": 0.3, "BBB": 0.2}, {(MONDAY, "AAA"): "0.3 exceeds 0.29"}),
    Case("single_name", 0.39, 0.4, {"AAA": 0.3}, {(TUESDAY, "AAA"): "0.4 exceeds 0.39"}, {"AAA": 0.4}),
    Case("single_name", 0.39, 0.4, {"AAA": -0.3}, {(TUESDAY, "AAA"): "0.4 exceeds 0.39"}, {"AAA": -0.4}),
    Case("gross", 0.99, 1.0, {"AAA": 0.5, "BBB": -0.5}, {(MONDAY, "BBB"): "1 exceeds 0.99"}),
    Case("gross", 0.99, 1.0, {"AAA": 0.5}, {(TUESDAY, "CCC"): "1 exceeds 0.99"}, {"CCC": 0.5}),
    Case("net", 0.59, 0.6, {"AAA": 0.5, "BBB": -0.2, "CCC": 0.3}, {(MONDAY, "CCC"): "0.6 exceeds 0.59"}),
    Case("net", 0.49, 0.5, {"AAA": -0.5}, {(MONDAY, "AAA"): "0.5 exceeds 0.49"}),
    Case("sector", 0.49, 0.5, {"AAA": 0.3, "BBB": -0.2, "CCC": 0.4}, {(MONDAY, "BBB"): "tech 0.5 exceeds 0.49"}),
    Case("sector", 0.49, 0.5, {"AAA": 0.3, "CCC": 0.4}, {(TUESDAY, "BBB"): "tech 0.5 exceeds 0.49"}, {"BBB": 0.2}),
    Case("leverage", 1.99, 2.0, {"AAA": 1.0, "CCC": 1.0}, {(MONDAY, "CCC"): "2 exceeds 1.99"}),
    # a call at 2 on a hundred shares at 100: 10 of them cost 2,000 and control 100,000
    Case("leverage", 0.99, 1.0, {"AAA_CALL": 0.02}, {(MONDAY, "AAA_CALL"): "1 exceeds 0.99"}),
    Case("turnover", 0.79, 0.8, {"AAA": 0.5, "CCC": 0.3}, {(MONDAY, "CCC"): "0.8 exceeds 0.79"}),
    Case("turnover", 0.79, 0.8, {"AAA": 0.5}, {(TUESDAY, "CCC"): "0.8 exceeds 0.79"}, {"AAA": 0.0, "CCC": 0.3}),
    Case("orders_per_session", 1, 2, {"AAA": 0.1, "BBB": 0.1}, {(MONDAY, "BBB"): "2 exceeds 1"}),
    # half in a name that loses a fifth: the account is down a tenth
    Case("drawdown_stop", 0.1, 0.11, {"AAA": 0.5}, {(TUESDAY, "CCC"): "drawdown 0.1 has reached 0.1"}, {"CCC": 0.1},
         {"AAA": 80.0}),
    Case("drawdown_stop", 0.1, 0.11, {"AAA": 0.5}, {}, {"AAA": 0.2}, {"AAA": 80.0}),
    # a reversal beside exits that rest may fill after one of them has ended what it was to end
    Case("single_name", 0.79, 0.8, {"AAA": -0.3}, {(TUESDAY, "AAA"): "0.8 exceeds 0.79"}, {"AAA": 0.5}, exits=0.4),
    Case("net", 0.79, 0.8, {"AAA": 0.3}, {(TUESDAY, "AAA"): "0.8 exceeds 0.79"}, {"AAA": -0.5}, exits=0.4),
    # what is sold makes room for what is bought beside it, and none where exits may leave it short
    Case("gross", 0.49, 0.5, {"AAA": 0.4}, {(TUESDAY, "BBB"): "0.5 exceeds 0.49"}, {"AAA": 0.0, "BBB": 0.5}, exits=0.4),
    Case("gross", 0.59, 0.6, {"AAA": 0.4}, {(TUESDAY, "BBB"): "0.6 exceeds 0.59"}, {"AAA": 0.1, "BBB": 0.3}, exits=0.4),
]  # fmt: skip


def opens(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)


def closes(session: date) -> datetime:
    return opens(session) + timedelta(hours=6.5)


def bars(case: Case, session: date) -> pl.DataFrame:
    rows = []
    for symbol, price in CLOSES.items():
        after = case.closes.get(symbol, price)
        open_, close = (price, after) if session == MONDAY else (after, after) if session == TUESDAY else (price, price)
        row = {"symbol": symbol, "session": session, "ts": opens(session), "known_at": closes(session)}
        prices = {"open": open_, "high": max(open_, close), "low": min(open_, close), "close": close}
        rows.append({**row, **prices, "volume": 1e9, "split": 1.0, "dividend": 0.0})
    return pl.DataFrame(rows, schema_overrides={"ts": UTC_MICROS, "known_at": UTC_MICROS})


Outcome = tuple[dict[str, str], dict[str, float]]
"""Reason by id of what was refused; signed units by id of what was filled."""


def in_the_paper_session(folder: Path, case: Case, limits: LimitSettings) -> Outcome:
    at = 0.0

    def sleep(seconds: float) -> None:
        nonlocal at
        at += seconds

    def now() -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=at)

    journal = Journal(folder / "journal.sqlite", now)
    settings = LiveSettings(strategy="test", limits=limits)
    refused: dict[str, str] = {}
    filled: dict[str, float] = {}
    for session, weights in ((MONDAY, case.monday), (TUESDAY, case.tuesday)):
        if not weights:
            continue
        feed = Feed(lambda session: bars(case, session), 1.0, lambda: at)
        venue = PaperBroker(folder / "paper.sqlite", feed, TERMS, replay=True, listings=LISTINGS)
        journal.take_lease(session, 1, "run")
        venue.begin(session, opens(session))
        before = SIGNALS[session]
        wishes = {"symbol": list(weights), "target_weight": list(weights.values())}
        signals = pl.DataFrame(wishes).with_columns(session=before, strategy=pl.lit("test"), order_intent=pl.lit("buy"))
        signals = signals.with_columns(
            pl.lit(far, pl.Float64).alias(name) for name, far in case.fractions(session).items()
        )
        prices = dict(bars(case, before).select("symbol", "close").iter_rows())
        task = Assignment(session, signals, prices, dict, LISTINGS)
        hooks = Hooks(
            now, sleep, venue.now, venue.ready, venue.closed, lambda: None, lambda doing: None, lambda seen: None
        )
        refused |= Trader(task, venue, journal, settings, hooks).run().refused
        for fill in journal.fills(session):
            filled[fill.order_id] = fill.quantity if fill.side is Side.BUY else -fill.quantity
        venue.close()
    journal.close()
    return refused, filled


def in_the_backtest(case: Case, limits: LimitSettings) -> Outcome:
    wishes = [
        {
            "ts": closes(SIGNALS[session]),
            "symbol": symbol,
            "target_weight": weight,
            "reduce_only": weight == 0.0,
            "order_id": order_id(session, "test", symbol),
            **case.fractions(session),
        }
        for session, weights in ((MONDAY, case.monday), (TUESDAY, case.tuesday))
        for symbol, weight in weights.items()
    ]
    history = pl.concat([bars(case, session) for session in (FRIDAY, MONDAY, TUESDAY)])
    numbers = dict.fromkeys(case.fractions(MONDAY), pl.Float64())
    orders = pl.DataFrame(wishes, schema_overrides={"ts": UTC_MICROS, **numbers})
    result = run(history, orders, TERMS.model_copy(update={"limits": limits}), INSTRUMENTS)
    rejected = result.orders.filter(pl.col("state") == "rejected")
    signed = pl.when(pl.col("side") == "buy").then("quantity").otherwise(-pl.col("quantity"))
    return dict(rejected.select("order_id", "reason").iter_rows()), dict(
        result.fills.select("order_id", signed).iter_rows()
    )


def label(case: Case) -> str:
    return f"{case.limit} {case.monday} then {case.tuesday}" + (f", exits at {case.exits}" if case.exits else "")


@pytest.mark.parametrize("case", CASES, ids=label)
def test_a_limit_binds_in_a_backtest_as_in_the_paper_session(case: Case, tmp_path: Path) -> None:
    limits = WIDE.model_copy(update={case.limit: case.tight})
    refused, filled = in_the_paper_session(tmp_path, case, limits)
    assert refused == {
        order_id(session, "test", symbol): f"limit {case.limit}: {why}"
        for (session, symbol), why in case.refused.items()
    }
    assert (refused, filled) == in_the_backtest(case, limits)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_just_inside_the_limit_all_is_traded_in_both(case: Case, tmp_path: Path) -> None:
    limits = WIDE.model_copy(update={case.limit: case.wide})
    refused, filled = in_the_paper_session(tmp_path, case, limits)
    assert refused == {}
    assert len(filled) == len(case.monday) + len(case.tuesday)
    assert (refused, filled) == in_the_backtest(case, limits)


def test_every_limit_has_its_case() -> None:
    assert {case.limit for case in CASES} == set(LimitSettings.model_fields)


def test_without_limits_a_backtest_refuses_nothing() -> None:
    case: Any = CASES[0]
    orders = pl.DataFrame({"ts": [closes(FRIDAY)], "symbol": ["AAA"], "target_weight": [4.0]})
    assert run(bars(case, FRIDAY).vstack(bars(case, MONDAY)), orders, TERMS).fills["quantity"].to_list() == [4_000]
