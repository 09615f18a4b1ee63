"""What happened in a simulation as polars frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.market.history import History
from quant_assets.backtests.simulation.book import Book
from quant_assets.backtests.simulation.limited import explained
from quant_assets.backtests.simulation.money import Booked, booked
from quant_assets.backtests.simulation.simulate import Outcome
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings
from resources.exchange.layout import NOWHERE, Integers, Log
from resources.exchange.words import (
    BORROW,
    CANNOT_CARRY,
    CASH,
    DIVIDENDS,
    EQUITY,
    FILL_REASONS,
    FUNDING,
    GROSS,
    INTEREST,
    KINDS,
    MARGIN,
    NET,
    ORDER_REASONS,
    STATES,
    SUBMIT,
    TIFS,
    VALUE,
)

EQUITY_SCHEMA = pl.Schema(
    {"session": pl.Date(), "ts": UTC_MICROS}
    | dict.fromkeys(
        ("cash", "positions_value", "equity", "gross_exposure", "net_exposure", "margin", "return", "dividends",
         "borrow_cost", "funding", "interest"),
        pl.Float64(),
    )
)  # fmt: skip

_SIDES = pl.Series(["sell", None, "buy"])


def tables(outcome: Outcome, past: History, pending: Book, settings: BacktestSettings) -> dict[str, pl.DataFrame]:
    """The frames of a BacktestResult by name."""
    sessions = pl.Series(past.session)
    opens = pl.Series(past.market.opens).cast(UTC_MICROS)
    symbols = pl.Series(past.symbols, dtype=pl.String)
    money = booked(outcome, past)
    return {
        "equity": _equity(outcome.log, sessions, opens, settings.cash),
        "fills": _fills(outcome, past, sessions, opens, symbols, pending, money),
        "positions": _positions(outcome.log, past, sessions, opens, symbols, money),
        "orders": explained(_orders(outcome, pending, symbols, settings.max_gross), outcome.refused),
    }


def _equity(log: Log, sessions: pl.Series, opens: pl.Series, cash: float) -> pl.DataFrame:
    account = log.account
    before = pl.col("equity").shift(1, fill_value=cash)
    exposure = pl.when(pl.col("equity") > 0)
    return pl.DataFrame(
        {
            "session": sessions.gather(log.step),
            "ts": opens.gather(log.step),
            "cash": account[:, CASH],
            "positions_value": account[:, VALUE],
            "equity": account[:, EQUITY],
            "gross": account[:, GROSS],
            "net": account[:, NET],
            "margin": account[:, MARGIN],
            "dividends": account[:, DIVIDENDS],
            "borrow_cost": account[:, BORROW],
            "funding": account[:, FUNDING],
            "interest": account[:, INTEREST],
        }
    ).select(
        "session",
        "ts",
        "cash",
        "positions_value",
        "equity",
        exposure.then(pl.col("gross") / pl.col("equity")).alias("gross_exposure"),
        exposure.then(pl.col("net") / pl.col("equity")).alias("net_exposure"),
        "margin",
        # After equity has been lost altogether a return means nothing, also where it comes back.
        pl.when(before.cum_min() > 0).then(pl.col("equity") / before - 1).alias("return"),
        "dividends",
        "borrow_cost",
        "funding",
        "interest",
    )


def _fills(
    outcome: Outcome,
    past: History,
    sessions: pl.Series,
    opens: pl.Series,
    symbols: pl.Series,
    pending: Book,
    money: Booked,
) -> pl.DataFrame:
    done = outcome.fills
    corporate = done["order"] == NOWHERE
    # Corporate actions have no order; any row stands in until the event's own id replaces it.
    row = np.where(corporate, 0, done["order"])
    known, tags = (values if len(values) else pl.Series([""]) for values in (pending.ids, pending.tags))
    frame = pl.DataFrame(
        {
            "order_id": known.gather(row),
            "ts": opens.gather(done["step"]),
            "session": sessions.gather(done["step"]),
            "symbol": symbols.gather(done["symbol"]),
            "side": _SIDES.gather(done["side"] + 1),
            "quantity": done["quantity"],
            "price": done["price"],
            "reference_price": done["reference"],
            "spread_cost": done["spread"],
            "slippage_cost": done["slippage"],
            "commission": done["commission"],
            "reason": pl.Series(FILL_REASONS).gather(done["reason"]),
            "ambiguous": done["ambiguous"] != 0,
            "tag": tags.gather(row),
            "realised": money.realised,
            "multiplier": money.multiplier,
            "paid": np.array([listing.paid for listing in past.listings])[done["symbol"]],
            "corporate": corporate,
        },
        schema_overrides={"order_id": pl.String, "side": pl.String, "symbol": pl.String, "tag": pl.String},
    )
    event = pl.format("{}:{}:{}", "reason", "symbol", "session")
    number = pl.int_range(1, pl.len() + 1).over(event)
    unique = pl.when(number > 1).then(pl.format("{}#{}", event, number)).otherwise(event)
    return frame.with_columns(
        order_id=pl.when("corporate").then(unique).otherwise("order_id"),
        tag=pl.when("corporate").then(pl.lit("")).otherwise("tag"),
    ).drop("corporate")


def _positions(
    log: Log, past: History, sessions: pl.Series, opens: pl.Series, symbols: pl.Series, money: Booked
) -> pl.DataFrame:
    row, column = np.nonzero(log.held["position"])
    held = log.held[row, column]
    quantity, price, average = held["position"], held["mark"], held["average"]
    multipliers = np.array([listing.multiplier for listing in past.listings])
    factor = log.factor[row, column] if log.factor.size else multipliers[column]
    step = log.step[row]
    unrealised = quantity * (price - average) * factor
    for number, (steps, cost) in money.cost.items():
        mine = column == number
        spent = cost[np.searchsorted(steps, step[mine], side="right") - 1]
        unrealised[mine] = quantity[mine] * price[mine] * factor[mine] - spent
    return pl.DataFrame(
        {
            "session": sessions.gather(step),
            "ts": opens.gather(step),
            "symbol": symbols.gather(column),
            "quantity": quantity,
            "average_price": average,
            "price": price,
            "market_value": quantity * price * factor,
            "unrealised": unrealised,
        }
    )


def _orders(outcome: Outcome, pending: Book, symbols: pl.Series, max_gross: float) -> pl.DataFrame:
    first, now = _current(outcome, pending)
    records = outcome.records
    exposure = pl.col("detail").round_sig_figs(4)
    limit = pl.lit(f"{max_gross:g}")
    carried = pl.format("{}: margin would be {} x equity, above max_gross {}", "reason", exposure, limit)
    prices = {name: pl.Series(records[column][now]).fill_nan(None) for name, column in _PRICES.items()}
    return (
        pl.DataFrame(
            {
                "order_id": pending.ids.gather(first),
                "ts": pl.Series(records["submitted"][first]).cast(UTC_MICROS),
                "symbol": symbols.gather(records["symbol"][first]),
                "side": _SIDES.gather(records["side"][now] + 1),
                "quantity": records["quantity"][now],
                "type": pl.Series([kind.value for kind in KINDS]).gather(records["kind"][now]),
                "tif": pl.Series([tif.value for tif in TIFS]).gather(records["tif"][now]),
                **prices,
                "state": pl.Series([state.value for state in STATES]).gather(records["state"][now]),
                "filled": records["filled"][now],
                "reason": pl.Series(ORDER_REASONS).gather(records["reason"][now]),
                "tag": pending.tags.gather(first),
                "detail": records["detail"][now],
                "code": records["reason"][now],
            },
            schema_overrides={"order_id": pl.String, "side": pl.String, "symbol": pl.String, "tag": pl.String},
        )
        .with_columns(reason=pl.when(pl.col("code") == CANNOT_CARRY).then(carried).otherwise("reason"))
        .drop("detail", "code")
    )


_PRICES = {"limit_price": "limit", "stop_price": "stop", "trail": "trail"}


def _current(outcome: Outcome, pending: Book) -> tuple[Integers, npt.NDArray[np.int64]]:
    """By order, the row it was submitted in, and the row it stands in after what replaced it."""
    rows = np.arange(pending.origin.size)
    own = pending.origin == rows
    current = rows.copy()
    took_over = ~own & (outcome.records["action"] == SUBMIT)
    current[pending.origin[took_over]] = rows[took_over]
    return rows[own], current[own]
