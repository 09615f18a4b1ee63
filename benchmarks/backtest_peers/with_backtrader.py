"""backtrader on the moving-average cross: one Cerebro after the other, a symbol each, on the first few symbols.

Signals are extra lines of the feed, so that no indicator is computed; observers are off. `whole` is Cerebro.run(),
`simulation` is from the strategy's start to its stop, without loading the feed. One symbol runs before the time is
taken.
"""

from __future__ import annotations

import time
from typing import Any

import backtrader as bt
from handed import answer, read

SYMBOLS = 10


class Signals(bt.feeds.PandasData):
    lines = ("entry", "exit", "size")
    params = (("entry", -1), ("exit", -1), ("size", -1))


class Cross(bt.Strategy):
    """Buys `size` units on `entry`, closes on `exit`; both fill at the next open."""

    def start(self) -> None:
        self.fills, self.began = 0, time.process_time()

    def stop(self) -> None:
        self.seconds = time.process_time() - self.began

    def notify_order(self, order: Any) -> None:
        self.fills += order.status == order.Completed

    def next(self) -> None:
        if self.data.entry[0]:
            self.buy(size=self.data.size[0])
        elif self.data.exit[0]:
            self.close()


def prepared(own: Any, terms: dict[str, float]) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(Signals(dataname=own.set_index("ts").drop(columns="symbol").astype(float)))
    cerebro.addstrategy(Cross)
    cerebro.broker.setcash(terms["cash"])
    cerebro.broker.setcommission(commission=terms["fee"])
    cerebro.broker.set_slippage_perc(terms["slippage"], slip_open=True, slip_out=True)
    return cerebro


def main() -> None:
    bars, terms = read()
    bars["ts"] = bars["ts"].dt.tz_localize(None)
    few = [own for _, own in bars.groupby("symbol")][:SYMBOLS]
    prepared(few[0], terms).run()
    engines = [prepared(own, terms) for own in few]
    began = time.process_time()
    strategies = [engine.run()[0] for engine in engines]
    whole = time.process_time() - began
    row = {
        "what": f"backtrader, {SYMBOLS} symbols",
        "simulation": sum(strategy.seconds for strategy in strategies),
        "whole": whole,
        "bars": sum(map(len, few)),
        "symbols": SYMBOLS,
        "fills": sum(strategy.fills for strategy in strategies),
        "profit": sum(engine.broker.getvalue() - terms["cash"] for engine in engines),
    }
    answer(["backtrader", "pandas"], [row])


if __name__ == "__main__":
    main()
