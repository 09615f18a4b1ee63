"""The catalog's questions on millions of ticks: DuckDB over the lake beside ClickHouse's engine over its own tables.

    python benchmarks/warehouse.py [--ticks 5 20] [--repeat 3] [--threads 2]

A made-up market (seeded): 20 symbols, 25,000 ticks a symbol and day in the lake's files, half of them trades and half
quotes; more ticks are more days. Each question is asked of every number of ticks in turn, so that other work on the
machine tells on all alike, in a process of its own, `repeat` times, of which the quickest counts (the files are in the
system's cache by then, an engine's own caches full); memory is that process's highest, Python and polars included (an
idle one is in the table). Times are of CPU, all threads together, so that they hold on a machine with other work; the
wall clock's stand beside them. The answer is a polars frame in either case. ClickHouse runs inside the process (chDB):
a server's network comes on top.

ratio: the cost on the most ticks over that on the fewest; linear is the ratio of the ticks, and a question about one
moment or one hour of one symbol should have less. same: the answers of both engines are equal, row for row (by a hash
of each).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SYMBOLS = [f"S{number:02d}" for number in range(20)]
TICKS_A_DAY = 25_000
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ENGINES = ("duckdb", "clickhouse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=float, nargs="+", default=[5, 20], help="millions, in rising order")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, metavar=("ENGINE", "QUESTION"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options)))
        return
    engines = ENGINES if importlib.util.find_spec("chdb") else ENGINES[:1]
    if engines != ENGINES:
        print("chDB is not installed (pip install 'quant-assets[clickhouse]'): DuckDB alone")
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        markets = [made(Path(folder) / f"{millions:g}", millions) for millions in options.ticks]
        for question in ("load", "idle", *QUESTIONS):
            for engine in engines:
                if (engine, question) != ("duckdb", "load"):
                    runs = [asked(options, engine, question, market.folder, market.days) for market in markets]
                    found[engine, question] = runs
        for market in markets:
            print(f"{market.ticks:,} ticks: {mib(market.folder / 'engine'):,.0f} MiB in ClickHouse")
    show(found, [market.ticks for market in markets])


class Market(NamedTuple):
    folder: Path
    days: int
    ticks: int


def made(folder: Path, millions: float) -> Market:
    days = max(1, round(millions * 1e6 / (len(SYMBOLS) * TICKS_A_DAY)))
    ticks, began = days * len(SYMBOLS) * TICKS_A_DAY, time.process_time()
    make(folder / "lake", days)
    took = time.process_time() - began
    print(f"{ticks:,} ticks, {days} days: made in {took:.0f} s of CPU, {mib(folder):,.0f} MiB of Parquet", flush=True)
    return Market(folder, days, ticks)


def mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def asked(options: Any, engine: str, question: str, folder: Path, days: int) -> dict[str, Any]:
    """Figures of a question asked in a process of its own."""
    command = [sys.executable, __file__, "--child", engine, question, "--folder", folder, "--days", days]
    command += ["--repeat", options.repeat, "--threads", options.threads]
    environment = os.environ | {"POLARS_MAX_THREADS": str(options.threads)}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{engine}, {question}: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def show(found: dict[tuple[str, str], list[dict[str, Any]]], counts: list[int]) -> None:
    ticks = "".join(f"{count / 1e6:>8.1f} M" for count in counts)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; ticks: ratio {counts[-1] / counts[0]:.1f}")
    print(
        f"{'':26}{'s of CPU:':>11}{ticks}{'ratio':>8}   {'wall s:':8}{ticks}   {'peak MiB:':9}{ticks}{'rows':>13}  same"
    )
    for question in ("idle", "load", *QUESTIONS):
        for engine in ENGINES:
            if (engine, question) not in found:
                continue
            runs = found[engine, question]
            cpu = "".join(f"{run['cpu']:>10.3f}" for run in runs)
            wall = "".join(f"{run['wall']:>10.3f}" for run in runs)
            peak = "".join(f"{run['peak']:>10,.0f}" for run in runs)
            ratio = f"{runs[-1]['cpu'] / runs[0]['cpu']:>8.1f}" if question != "idle" else f"{'':8}"
            others = found.get((ENGINES[0], question), runs)
            same = "yes" if [run["hash"] for run in runs] == [run["hash"] for run in others] else "NO"
            told = f"{runs[-1]['rows']:>13,}  {same if engine == ENGINES[1] and question in QUESTIONS else ''}"
            print(f"{question:26}{engine:>11}{cpu}{ratio}   {'':8}{wall}   {'':9}{peak}{told}")


# --- in the process of a question


def measured(options: Any) -> dict[str, Any]:
    from resources.lake import Lake
    from resources.warehouse.clickhouse import ClickHouse
    from resources.warehouse.duckdb import DuckDB
    from resources.warehouse.loading import load

    engine, question = options.child
    lake = Lake(str(options.folder / "lake"))
    opened = {
        "duckdb": lambda: DuckDB(lake, threads=options.threads),
        "clickhouse": lambda: ClickHouse.embedded(options.folder / "engine", threads=options.threads),
    }[engine]
    answer = pl.DataFrame()
    rows, walls, cpus = 0, [], []
    with opened() as catalog:
        for _ in range(1 if question in ("load", "idle") else options.repeat):
            del answer
            wall, cpu = time.perf_counter(), time.process_time()
            if question == "load":
                assert isinstance(catalog, ClickHouse)
                rows = sum([load(lake, catalog, f"market_data/{name}").rows for name in ("trades", "quotes")])
                answer = pl.DataFrame()
            else:
                answer = QUESTIONS[question](catalog, options.days) if question != "idle" else pl.DataFrame()
                rows = answer.height
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hashes = answer.hash_rows(seed=0).to_numpy().tobytes() if answer.width else b""
    return {
        "cpu": min(cpus),
        "wall": min(walls),
        "peak": peak,
        "rows": rows,
        "hash": hashlib.blake2b(hashes, digest_size=12).hexdigest(),
    }


def whole(days: int) -> tuple[datetime, datetime]:
    return FIRST, FIRST + days * DAY


def noon(days: int) -> datetime:
    """Of the day in the middle."""
    return FIRST + days // 2 * DAY + DAY / 2


CALENDARS = pl.DataFrame({"symbol": SYMBOLS, "calendar": ["24/7"] * len(SYMBOLS)})

QUESTIONS: dict[str, Callable[[Any, int], pl.DataFrame]] = {
    "last quotes, 20 symbols": lambda catalog, days: catalog.last_quotes(SYMBOLS, noon(days)),
    "trades, 1 symbol, 1 hour": lambda catalog, days: catalog.rows(
        "market_data/trades", SYMBOLS[:1], noon(days), noon(days) + DAY / 24
    ),
    "quoted, 1 symbol, 1 day": lambda catalog, days: catalog.quoted_trades(SYMBOLS[:1], noon(days), noon(days) + DAY),
    "trades, all": lambda catalog, days: catalog.rows("market_data/trades", SYMBOLS, *whole(days)),
    "bars of 1m, all": lambda catalog, days: catalog.bars(SYMBOLS, "1m", *whole(days)),
    "bars of 1d, all": lambda catalog, days: catalog.bars(SYMBOLS, "1d", *whole(days), calendars=CALENDARS),
    "bars of 1m of quotes, all": lambda catalog, days: catalog.bars(SYMBOLS, "1m", *whole(days), of="quotes"),
    "quoted trades, all": lambda catalog, days: catalog.quoted_trades(SYMBOLS, *whole(days)),
}


# --- the market


def make(folder: Path, days: int) -> None:
    """A lake of trades and quotes; two in a hundred share their instant with the one before."""
    from resources.lake import Lake

    lake, random = Lake(str(folder)), np.random.default_rng(7)
    for table, of in (("trades", trades), ("quotes", quotes)):
        for day in range(days):
            begins = FIRST + day * DAY
            with lake.writing(["market_data", table]) as staging:
                staging.write(
                    [
                        ({"symbol": symbol, "date": f"{begins:%Y-%m-%d}"}, of(symbol, begins, random))
                        for symbol in SYMBOLS
                    ]
                )


def ticks(symbol: str, begins: datetime, random: np.random.Generator, **columns: Any) -> pl.DataFrame:
    many = TICKS_A_DAY // 2
    at = np.sort(random.integers(0, 86_400_000_000, many))
    shared = random.random(many) < 0.02
    at[1:][shared[1:]] = at[:-1][shared[1:]]
    stamps = pl.Series(np.sort(at) + int(begins.timestamp()) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"ts": stamps, **columns})
    return frame.with_columns(symbol=pl.lit(symbol), provider=pl.lit("made up"), fetched_at="ts", known_at="ts")


def walk(random: np.random.Generator) -> Any:
    return 100 + np.round(random.integers(-1, 2, TICKS_A_DAY // 2).cumsum() * 0.01, 2)


def trades(symbol: str, begins: datetime, random: np.random.Generator) -> pl.DataFrame:
    from resources.market_data.ticks import TRADE_SCHEMA

    size = np.round(random.exponential(100, TICKS_A_DAY // 2), 3) + 0.001
    frame = ticks(symbol, begins, random, price=walk(random), size=size)
    sides = pl.Series(random.integers(0, 2, frame.height)).replace_strict({0: "buy", 1: "sell"})
    identified = frame.with_columns(side=sides, trade_id=pl.int_range(pl.len()).cast(pl.String))
    return identified.select(TRADE_SCHEMA.names()).cast(dict(TRADE_SCHEMA))  # type: ignore[arg-type]


def quotes(symbol: str, begins: datetime, random: np.random.Generator) -> pl.DataFrame:
    from resources.market_data.ticks import QUOTE_SCHEMA

    bid, sizes = walk(random), random.integers(1, 100, (2, TICKS_A_DAY // 2)).astype(float)
    frame = ticks(symbol, begins, random, bid=bid, bid_size=sizes[0], ask=bid + 0.01, ask_size=sizes[1])
    return frame.select(QUOTE_SCHEMA.names()).cast(dict(QUOTE_SCHEMA))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
