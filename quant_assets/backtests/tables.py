"""What happened in a simulation, written down session by session and turned into polars frames."""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_assets.backtests.inputs import Book, History
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings
from resources.exchange.layout import (
    BORROW,
    CANNOT_CARRY,
    CASH,
    DIVIDENDS,
    EQUITY,
    FILL,
    FILL_REASONS,
    GROSS,
    INTEREST,
    KINDS,
    ORDER_REASONS,
    STATES,
    VALUE,
    Desk,
    Integers,
    Records,
)

EQUITY_SCHEMA = pl.Schema(
    {"session": pl.Date(), "ts": UTC_MICROS}
    | dict.fromkeys(
        ("cash", "positions_value", "equity", "gross_exposure", "net_exposure", "return", "dividends", "borrow_cost",
         "interest"),
        pl.Float64(),
    )
)  # fmt: skip

_SIDES = pl.Series(["sell", None, "buy"])


class Recorder:
    """Collects the account and the positions at each close, and the fills between."""

    def __init__(self, sessions: int, symbols: int, start: int) -> None:
        self.start = start
        self.account = np.zeros((sessions - start, 8))
        self.position = np.zeros((sessions - start, symbols))
        self.mark = np.zeros((sessions - start, symbols))
        self._fills: list[Records] = []
        self._sessions: list[Integers] = []

    def fills(self, number: int, done: Records) -> None:
        if done.size:
            self._fills.append(done)
            self._sessions.append(np.full(done.size, number))

    def close(self, number: int, desk: Desk) -> None:
        row = number - self.start
        self.account[row] = desk.account
        self.position[row] = desk.position
        self.mark[row] = desk.mark

    def all_fills(self) -> tuple[Records, Integers]:
        """Every fill, and the number of its session."""
        if not self._fills:
            return np.zeros(0, FILL), np.zeros(0, np.int64)
        return np.concatenate(self._fills), np.concatenate(self._sessions)


def tables(recorder: Recorder, past: History, pending: Book, settings: BacktestSettings) -> dict[str, pl.DataFrame]:
    """The frames of a BacktestResult by name."""
    sessions = pl.Series(past.sessions, dtype=pl.Date)
    opens = pl.Series(past.opens, dtype=pl.Int64).cast(UTC_MICROS)
    symbols = pl.Series(past.symbols, dtype=pl.String)
    return {
        "equity": _equity(recorder, sessions, opens, settings.cash),
        "fills": _fills(recorder, sessions, opens, symbols, pending.ids),
        "positions": _positions(recorder, sessions, symbols),
        "orders": _orders(pending, symbols, settings.max_gross),
    }


def _equity(recorder: Recorder, sessions: pl.Series, opens: pl.Series, cash: float) -> pl.DataFrame:
    account, start = recorder.account, recorder.start
    before = pl.col("equity").shift(1, fill_value=cash)
    exposure = pl.when(pl.col("equity") > 0)
    return pl.DataFrame(
        {
            "session": sessions[start:],
            "ts": opens[start:],
            "cash": account[:, CASH],
            "positions_value": account[:, VALUE],
            "equity": account[:, EQUITY],
            "gross": account[:, GROSS],
            "dividends": account[:, DIVIDENDS],
            "borrow_cost": account[:, BORROW],
            "interest": account[:, INTEREST],
        }
    ).select(
        "session",
        "ts",
        "cash",
        "positions_value",
        "equity",
        gross_exposure=exposure.then(pl.col("gross") / pl.col("equity")),
        net_exposure=exposure.then(pl.col("positions_value") / pl.col("equity")),
        # After equity has been lost altogether a return means nothing.
        **{"return": pl.when(before > 0).then(pl.col("equity") / before - 1)},
        dividends="dividends",
        borrow_cost="borrow_cost",
        interest="interest",
    )


def _fills(
    recorder: Recorder, sessions: pl.Series, opens: pl.Series, symbols: pl.Series, ids: pl.Series
) -> pl.DataFrame:
    done, number = recorder.all_fills()
    corporate = done["order"] < 0
    # Corporate actions have no order; any id stands in until the event's own replaces it.
    known = ids if len(ids) else pl.Series([""])
    frame = pl.DataFrame(
        {
            "order_id": known.gather(np.where(corporate, 0, done["order"])),
            "ts": opens.gather(number),
            "session": sessions.gather(number),
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
            "corporate": corporate,
        },
        schema_overrides={"order_id": pl.String, "side": pl.String, "symbol": pl.String},
    )
    event = pl.format("{}:{}:{}", "reason", "symbol", "session")
    return frame.with_columns(order_id=pl.when("corporate").then(event).otherwise("order_id")).drop("corporate")


def _positions(recorder: Recorder, sessions: pl.Series, symbols: pl.Series) -> pl.DataFrame:
    row, column = np.nonzero(recorder.position)
    quantity, price = recorder.position[row, column], recorder.mark[row, column]
    return pl.DataFrame(
        {
            "session": sessions.gather(row + recorder.start),
            "symbol": symbols.gather(column),
            "quantity": quantity,
            "price": price,
            "market_value": quantity * price,
        }
    )


def _orders(pending: Book, symbols: pl.Series, max_gross: float) -> pl.DataFrame:
    records = pending.records
    exposure = pl.col("detail").round_sig_figs(4)
    limit = pl.lit(f"{max_gross:g}")
    carried = pl.format("{}: gross exposure would be {} x equity, above max_gross {}", "reason", exposure, limit)
    return (
        pl.DataFrame(
            {
                "order_id": pending.ids,
                "ts": pl.Series(records["submitted"]).cast(UTC_MICROS),
                "symbol": symbols.gather(records["symbol"]),
                "side": _SIDES.gather(records["side"] + 1),
                "quantity": records["quantity"],
                "type": pl.Series([kind.value for kind in KINDS]).gather(records["kind"]),
                "state": pl.Series([state.value for state in STATES]).gather(records["state"]),
                "filled": records["filled"],
                "reason": pl.Series(ORDER_REASONS).gather(records["reason"]),
                "detail": records["detail"],
                "code": records["reason"],
            },
            schema_overrides={"order_id": pl.String, "side": pl.String, "symbol": pl.String},
        )
        .with_columns(reason=pl.when(pl.col("code") == CANNOT_CARRY).then(carried).otherwise("reason"))
        .drop("detail", "code")
    )
