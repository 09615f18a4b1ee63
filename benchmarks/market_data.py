"""How fast market data comes in and is cleaned: downloads over loopback, daily cleaning, bars made of ticks.

    python benchmarks/market_data.py [--part alpaca|binance|cleaning|ticks] [--config configs/sp500.yaml]

Downloads go through the real client libraries from a server in a process of its own; beside them stands what the
client gives by itself, measured in the same run: its answer as Python objects, before anything is checked or made a
frame. Cleaning is measured on one process's time and peak memory, ticks on one thread. Each is repeated on 1x, 2x and
4x the rows: cost is linear where the rate stays. Cleaning skips where the file of the configuration is absent.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

BARS_A_DAY = 390
FIRST, LAST, NOW = date(2024, 3, 1), date(2024, 12, 30), (2024, 12, 31, 22)
SYMBOLS = [f"S{number:02d}" for number in range(20)]
DAYS = 260
"""Of minutes of each symbol: 20 symbols x 100,000 bars."""

BINANCE_SYMBOLS = [f"{letter}USDT" for letter in "ABCD"]
BINANCE_BARS = 200_000
TICKS = 1_250_000
TIMES = (1, 2, 4)
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="one part alone; all by default")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "sp500.yaml")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child[0]](*options.child[1:])
        return
    os.environ["QUANT_CONFIG"] = str(options.config.resolve())
    for name in [options.part] if options.part else PARTS:
        PARTS[name]()


def row(what: str, rows: int, seconds: float, more: str = "") -> None:
    print(f"{what:54}{rows:>12,}{seconds:>9.2f} s{rows / seconds:>14,.0f} /s  {more}".rstrip(), flush=True)


def best(work: Callable[[], int]) -> tuple[int, float]:
    """What `work` counted, and its shortest time of REPEATS."""
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        count = work()
        took.append(time.perf_counter() - began)
    return count, min(took)


# --- downloads


def alpaca() -> None:
    print(f"\nAlpaca, 1-minute bars over loopback (best of {REPEATS})")
    with Child("serve_alpaca") as address:
        from resources.market_data.alpaca import Alpaca
        from tests.venues.alpaca import KEY, SECRET

        os.environ.update(ALPACA_API_KEY=KEY, ALPACA_SECRET_KEY=SECRET)
        now = datetime(*NOW, tzinfo=UTC)
        ours = Alpaca(data_url=address, trading_url=address, clock=lambda: now, requests_per_minute=1e9)
        quarter = len(SYMBOLS) // 4
        for times in TIMES:
            names = SYMBOLS[: quarter * times]
            count, seconds = best(lambda names=names: ours.bars(names, FIRST, LAST, "1m").collect().height)  # type: ignore[misc]
            row(f"ours: checked bars in a frame, {times}x", count, seconds)
        for what, raw in (("the client alone: a dictionary a bar", True), ("the client alone: its own models", False)):
            names = SYMBOLS[: quarter if raw else 1]
            count, took = best(lambda names=names, raw=raw: _alpaca_client(address, names, raw))  # type: ignore[misc]
            row(
                what,
                count,
                took,
                f"ours / the client's = {len(SYMBOLS) * DAYS * BARS_A_DAY / seconds / (count / took):.2f}",
            )


def _alpaca_client(address: str, symbols: Sequence[str], raw: bool) -> int:
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.requests import StockBarsRequest
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

    from tests.venues.alpaca import KEY, SECRET

    client = StockHistoricalDataClient(KEY, SECRET, raw_data=raw, url_override=address)
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (FIRST, LAST))
    minute = TimeFrame(1, TimeFrameUnit.Minute)
    request = StockBarsRequest(symbol_or_symbols=list(symbols), start=start, end=end, timeframe=minute)
    answer: Any = client.get_stock_bars(request)
    return sum(map(len, (answer if raw else answer.data).values()))


def serve_alpaca() -> None:
    from tests.venues.alpaca import AlpacaVenue
    from tests.venues.market import Listing, Market, VenueClock, every, instant, seeded_bars

    market = Market(clock=VenueClock(instant(*NOW)))
    opens = every(instant(2024, 3, 1, 14, 30), timedelta(days=1), DAYS)
    one = seeded_bars(1, [at for opening in opens for at in every(opening, timedelta(minutes=1), BARS_A_DAY)])
    for symbol in SYMBOLS:
        market.add(Listing(symbol))
        market.set_bars(symbol, "1m", one)
    front = AlpacaVenue(market)
    for symbol in SYMBOLS:
        front._encoded("bars", symbol, "1m")  # so that no request waits for it
    _serve(front)


def binance() -> None:
    print(f"\nBinance, 1-minute candles over loopback, without its limits (best of {REPEATS})")
    with Child("serve_binance") as address:
        from binance.client import Client

        from resources.market_data.binance import Binance
        from resources.market_data.pacing import TokenBucket

        here = {"API_URL": f"{address}/api", "FUTURES_URL": f"{address}/fapi"}
        client = type("LoopbackClient", (Client,), here)
        free = {name: TokenBucket(1e9, 1e9) for name in ("spot", "futures", "funding")}
        for times in TIMES:
            names, ours = BINANCE_SYMBOLS[:times], Binance(client=client, threads=4, paces=free)
            count, seconds = best(
                lambda names=names, ours=ours: (
                    ours.bars(names, date(2024, 1, 1), date(2024, 5, 18), "1m").collect().height
                )  # type: ignore[misc]
            )
            row(f"ours: checked bars in a frame, {times}x", count, seconds)
        alone = client()
        count, took = best(lambda: _binance_client(alone))
        row(
            "the client alone: a list a candle, one thread",
            count,
            took,
            f"{4 * BINANCE_BARS / seconds / (count / took):.2f}",
        )


def _binance_client(client: Any) -> int:
    first = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
    pages = range(first, first + 100 * 60_000_000, 60_000_000)
    return sum(
        len(client.get_klines(symbol=BINANCE_SYMBOLS[0], interval="1m", startTime=page, limit=1000)) for page in pages
    )


def serve_binance() -> None:
    from tests.venues.binance import BinanceVenue
    from tests.venues.market import Listing, Market, VenueClock, every, instant, seeded_bars

    market = Market(clock=VenueClock(instant(2026, 1, 1)))
    one = seeded_bars(1, every(instant(2024, 1, 1), timedelta(minutes=1), BINANCE_BARS), price=60_000.0)
    for symbol in BINANCE_SYMBOLS:
        market.add(Listing(symbol, "crypto", currency="USDT", underlying=symbol[0]))
        market.set_bars(symbol, "1m", one)
    front = BinanceVenue(market)
    front.used = Unweighed()
    for symbol in BINANCE_SYMBOLS:
        front._candles(symbol, "1m")
    _serve(front)


class Unweighed(Counter[tuple[str, datetime]]):
    """Weights that stay at none: near the limit of 6,000 a minute, 50,000 candles a second, the adapter would wait."""

    def __setitem__(self, key: tuple[str, datetime], value: int) -> None:
        pass


def _serve(front: Any) -> None:
    with front:
        print(front.address, flush=True)
        sys.stdin.readline()


# --- cleaning


def cleaning() -> None:
    from resources.config import load

    source = getattr(load().provider, "path", None)
    print("\nCleaning daily bars of 505 stocks, with splits and dividends (a process each)")
    if source is None or not source.exists():
        print(f"skipped: {source} is not here; name a file of your own with --config")
        return
    for times in TIMES:
        rows, seconds, cpu, peak = Child("clean", str(times)).answer().split()
        row(
            f"{times}x: wall time",
            int(rows),
            float(seconds),
            f"cpu {float(cpu):.1f} s, peak memory {float(peak):.2f} GB",
        )


def clean_child(times: str) -> None:
    from datetime import date as day

    from quant_assets.cleaned import clean
    from resources.config import load
    from resources.market_data import create, universe

    settings = load()
    provider, symbols = create(settings), universe(settings)
    symbols = symbols[: len(symbols) * int(times) // 4]
    dates = settings.dates.start, settings.dates.end or day.today()
    bars = provider.bars(symbols, *dates).collect()
    actions, instruments = provider.corporate_actions(symbols, *dates).collect(), provider.instruments(symbols)
    clean(bars.head(1000).lazy(), actions.lazy(), instruments).bars.collect()
    began, cpu = time.perf_counter(), time.process_time()
    rows = clean(bars.lazy(), actions.lazy(), instruments, settings.cleaning).bars.collect().height
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    print(rows, took, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


# --- ticks


def ticks() -> None:
    print("\nTrades: normalised, faults found and left out, made 1-minute bars (one thread)")
    for times in TIMES:
        rows, normalised, judged, made, peak = Child("trades", str(times), POLARS_MAX_THREADS="1").answer().split()
        total = float(normalised) + float(made)
        row(f"{times}x: normalised and aggregated", int(rows), total, f"peak memory {float(peak):.2f} GB")
        row(f"{times}x: the same with its faults found", int(rows), total + float(judged))


def trades_child(times: str) -> None:
    import numpy as np
    import polars as pl

    from quant_assets.cleaned.aggregate import bars_of_trades
    from quant_assets.cleaned.ticks import faults, without
    from resources.market_data.ticks import trades

    count, rng = TICKS * int(times), np.random.default_rng(7)
    start = datetime(2024, 3, 4, tzinfo=UTC)
    gaps = rng.exponential(40_000, count).astype("int64")
    raw = pl.DataFrame(
        {
            "symbol": pl.repeat("BTCUSDT", count, eager=True),
            "ts": pl.Series(gaps.cumsum()).cast(pl.Duration("us")) + start,
            "price": 100 * np.exp(rng.normal(0, 1e-5, count).cumsum()),
            "size": rng.integers(1, 500, count).astype(float),
            "side": rng.choice(["buy", "sell"], count),
            "trade_id": np.arange(count).astype(str),
        }
    )
    calendars = pl.DataFrame({"symbol": ["BTCUSDT"], "calendar": ["24/7"]})
    began = time.perf_counter()
    rows = trades(raw.lazy(), provider="benchmark", fetched_at=datetime(2026, 1, 1, tzinfo=UTC), source="benchmark")
    frame = rows.collect()
    normalised = time.perf_counter()
    found = faults(frame.lazy(), calendars)
    judged = time.perf_counter()
    bars_of_trades(without(frame.lazy(), found), "1m", calendars).collect()
    made = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(count, normalised - began, judged - normalised, made - judged, peak)


class Child:
    """This file as another process: one that serves (a context manager giving its address), or one that answers."""

    def __init__(self, name: str, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def answer(self) -> str:
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(self._process.returncode)
        return out.splitlines()[-1]

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.communicate("\n")


PARTS: dict[str, Callable[[], None]] = {"alpaca": alpaca, "binance": binance, "cleaning": cleaning, "ticks": ticks}
CHILDREN: dict[str, Callable[..., None]] = {
    "serve_alpaca": serve_alpaca,
    "serve_binance": serve_binance,
    "clean": clean_child,
    "trades": trades_child,
}

if __name__ == "__main__":
    main()
