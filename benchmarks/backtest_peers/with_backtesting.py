"""backtesting.py on the moving-average cross: one Backtest after the other, a symbol each.

Signals are columns of the data, so that no indicator is computed. Its spread is paid on entries only; slippage is
therefore booked as a commission. `whole` is Backtest.run(), `simulation` is that without the statistics at its end. One
symbol runs before the time is taken.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import backtesting.backtesting as library
from backtesting import Backtest, Strategy
from handed import answer, read

FIELDS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}


class Cross(Strategy):
    """Buys `Size` units on `Entry`, closes on `Exit`; both fill at the next open."""

    def init(self) -> None:
        """Nothing to prepare."""

    def next(self) -> None:
        if self.data.Entry[-1]:
            self.buy(size=int(self.data.Size[-1]))
        elif self.data.Exit[-1]:
            self.position.close()


def main() -> None:
    bars, terms = read()
    warnings.filterwarnings("ignore", message="Some trades remain open")
    statistics = 0.0
    plain = library.compute_stats

    def compute_stats(*given: Any, **named: Any) -> Any:
        nonlocal statistics
        began = time.process_time()
        result = plain(*given, **named)
        statistics += time.process_time() - began
        return result

    library.compute_stats = compute_stats
    library._tqdm = lambda rows, **_: rows
    prepared = []
    for _, own in bars.groupby("symbol"):
        frame = own.set_index("ts").rename(columns=FIELDS | {"entry": "Entry", "exit": "Exit", "size": "Size"})
        rate = terms["fee"] + terms["slippage"]
        prepared.append(Backtest(frame.drop(columns="symbol"), Cross, cash=terms["cash"], commission=rate))
    prepared[0].run()
    statistics = 0.0
    began = time.process_time()
    results = [each.run() for each in prepared]
    whole = time.process_time() - began
    profit = sum(result["Equity Final [$]"] - terms["cash"] for result in results)
    fills = sum(2 * len(result["_trades"]) + len(result["_strategy"].trades) for result in results)
    row = {"what": "backtesting.py", "simulation": whole - statistics, "whole": whole, "bars": len(bars)}
    answer(["backtesting", "numpy", "pandas"], [row | {"fills": fills, "profit": float(profit)}])


if __name__ == "__main__":
    main()
