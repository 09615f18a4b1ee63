"""vectorbt on the moving-average cross: `Portfolio.from_signals` over all symbols at once, each with an account.

A decision at one close fills at the next open, so signals and sizes are moved one row down. Machine code is compiled
before the time is taken. `simulation` is from_signals alone, which fills and keeps the cash, and again with the equity
of each bar, which vectorbt works out only when asked; `whole` adds orders, trades and each column's statistics.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import vectorbt as vbt
from handed import answer, best, read
from vectorbt._engine import is_rust_available

TIMES = 7


def main() -> None:
    bars, terms = read()
    wide = bars.set_index(["ts", "symbol"])[["open", "close", "entry", "exit", "size"]].unstack()
    moved = {name: wide[name].shift(1, fill_value=False).astype(bool) for name in ("entry", "exit")}
    size = wide["size"].shift(1, fill_value=0.0)

    def simulate(engine: str) -> Any:
        return vbt.Portfolio.from_signals(
            wide["close"],
            moved["entry"],
            moved["exit"],
            size=size,
            price=wide["open"],
            fees=terms["fee"],
            slippage=terms["slippage"],
            init_cash=terms["cash"],
            freq="1D",
            engine=engine,
        )

    def with_equity(engine: str) -> Any:
        portfolio = simulate(engine)
        portfolio.value()
        return portfolio

    def whole(engine: str) -> pd.DataFrame:
        portfolio = with_equity(engine)
        _ = portfolio.orders.records_readable, portfolio.trades.records_readable
        return portfolio.stats(agg_func=None)

    rows = []
    for engine in ["numba", "rust"] if is_rust_available() else ["numba"]:
        whole(engine)
        seconds, _ = best(partial(whole, engine), 2)
        for what, work in (("fills", simulate), ("fills and equity", with_equity)):
            simulation, portfolio = best(partial(work, engine), TIMES)
            rows.append(
                {
                    "what": f"vectorbt {engine}, {what}",
                    "simulation": simulation,
                    "whole": seconds,
                    "bars": len(bars),
                    "fills": int(portfolio.orders.count().sum()),
                    "profit": float(portfolio.value().iloc[-1].sum() - terms["cash"] * wide["close"].shape[1]),
                }
            )
    answer(["vectorbt", "numba", "numpy", "pandas"], rows)


if __name__ == "__main__":
    main()
