"""The stream job's work on an hour of the synthetic market: gateway, bars and lake. A part of benchmarks/streams.py."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

BEGINS = datetime(2020, 3, 9, 13, 30, tzinfo=UTC)
SYMBOLS = ["SYN0001", "SYN0002", "SYN0003", "SYN0004"]
SECONDS = 20
"""In which the hour goes by."""


def job(options: Any) -> None:
    """The lake's rows must be the market's; then another begins where this one was, and one rotates it all again."""
    from quant_assets.cleaned.aggregate import bars_of_trades
    from quant_assets.streams.station import Feed, Station, Task
    from quant_assets.streams.wiring import micros
    from resources.lake import Lake
    from resources.market_data.synthetic import Synthetic
    from resources.streams.base import Line
    from resources.streams.clock import SECOND, FastClock
    from resources.streams.patience import Patience
    from resources.streams.recording import Recorder, open_gaps, recorded
    from resources.streams.sources.recorded import Recorded

    until = BEGINS + timedelta(hours=1)
    market = Synthetic(ticks=max(1, options.events * 13 // (2 * 4 * 2)))  # an hour is a session's sixth or so
    trades, quotes = (ask(SYMBOLS, BEGINS, until).collect() for ask in (market.trades, market.quotes))
    events = trades.height + quotes.height
    lines = tuple(Line(symbol, kind) for symbol in SYMBOLS for kind in ("trade", "quote"))
    with tempfile.TemporaryDirectory() as folder:
        lake, clock = Lake(folder), FastClock(micros(BEGINS), 3600 / SECONDS)
        tape = Recorded(clock, trades=trades.lazy(), quotes=quotes.lazy())

        async def over() -> None:
            await tape.over.wait()
            await clock.wait(max(0, micros(until) - clock.now()) / SECOND + 3)

        task = Task(
            "synthetic", lines, micros(BEGINS), lambda newest: Feed(tape, clock, None, over), Patience(silence=1e9)
        )
        station = Station(task, lake)
        wall, cpu = time.perf_counter(), time.process_time()
        station.start()
        station.wait(600)
        station.stop()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        print(f"\nThe stream job on an hour of {events:,} trades and quotes of {len(SYMBOLS)} symbols ({load})")
        _line("gateway, bars of 1m and lake, of CPU", f"{events / cpu:,.0f} events/s", f"{cpu:.1f} s")
        _line("by the wall, at the market's own pace", f"{events / wall:,.0f} events/s", f"{wall:.1f} s")
        shared = [column for column in trades.columns if column not in ("fetched_at", "provider")]
        same = recorded(lake, "trades").select(shared).collect().equals(trades.select(shared))
        quoted = [column for column in quotes.columns if column not in ("fetched_at", "provider")]
        same = same and recorded(lake, "quotes").select(quoted).collect().equals(quotes.select(quoted))
        prices = ["symbol", "ts", "open", "high", "low", "close"]
        bars = bars_of_trades(trades.lazy(), "1m").select(prices).collect()
        same = same and recorded(lake, "bars").select(prices).collect().equals(bars)
        _line("rows and bars are the market's", str(same), f"{open_gaps(lake).height} gaps")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        _line("on the disk", f"{size / events:.1f} bytes an event", f"{size / 2**20:.1f} MiB")
        again, wall = Recorder(lake, "synthetic"), time.perf_counter()
        again.resume(lines, micros(BEGINS))
        _line("to find where it was, after a kill", f"{time.perf_counter() - wall:.2f} s", "")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        _line("most memory, market included", f"{peak:,.0f} MiB", f"{threading.active_count()} threads")


def _line(what: str, figure: str, more: str) -> None:
    print(f"  {what:46}{figure:>24}{more:>16}", flush=True)
