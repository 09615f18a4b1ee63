"""How fast backtests run, beside vectorbt, backtesting.py and backtrader, and beside a plain Python loop.

    python benchmarks/backtest.py [--part cross|portfolio|start]
        [--vectorbt PYTHON] [--backtesting PYTHON] [--backtrader PYTHON]

A bar is one symbol in one session. Every engine runs in a process of its own, held to one core; the flags (or
VECTORBT_PYTHON, …) name a Python in which that peer is installed. Seconds are of CPU time, which is wall time where
nothing else runs; the best of several where one takes less than seconds. Imports, reading files and compilation are
left out: everything measured has run once before. `simulation` is prices and orders (or signals, computed before) in,
fills and account out; `whole` is what a user calls, frames in, frames and statistics out. `ours x` is how much faster
this project is in the same column, per bar.

cross       SMA 20/50 cross of 100 symbols of ../shared/data/sp500_daily.parquet from 2010, fee and slippage on. All
            get the same (adjusted) prices, decisions and units; fills must be as many, and profit agree to 1e-9 of the
            value traded, or it stops. (vectorbt and backtrader charge the fee on the price after slippage, the others
            before it; over purchases and sales that nearly cancels.) The peers have an account a symbol, this project
            one account for all, with its margin. Skipped where the file is absent.
portfolio   500 made-up symbols, 20 years, one account, a target weight of every symbol at every close; a quarter and
            a half of the symbols show how cost grows. The equity of the plain loop must agree in every session.
start       wall seconds from starting Python to the end of its first backtest, with machine code kept and without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PEERS = PROJECT / "benchmarks" / "backtest_peers"
sys.path[:0] = [str(PROJECT), str(PEERS)]

NAMES = ("vectorbt", "backtesting", "backtrader")
SIZES, SESSIONS = (125, 250, 500), 20 * 252
EQUAL = 1e-9
BUSY = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="one part alone; all by default")
    for name in NAMES:
        known = os.environ.get(f"{name.upper()}_PYTHON", "")
        parser.add_argument(f"--{name}", default=known, help=f"a Python in which {name} is installed")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        from backtest_ours import CHILDREN

        print(json.dumps(CHILDREN[options.child[0]](*options.child[1:])))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} in the last minute, Python {sys.version.split()[0]}")
    if load > BUSY:
        print("others use the cores: CPU times are a little long, wall times (start) worthless")
    for name in [options.part] if options.part else PARTS:
        PARTS[name](options)


# --- cross


def cross(options: argparse.Namespace) -> None:
    from backtest_worlds import SOURCE, TERMS, write_cross

    if not SOURCE.exists():
        print(f"\ncross skipped: {SOURCE} is not here")
        return
    with tempfile.TemporaryDirectory() as folder:
        bars, orders = write_cross(Path(folder))
        print(f"\nSMA 20/50 cross: {bars:,} daily bars, {orders:,} orders, {TERMS['fee']:.2%} fee and slippage each")
        ours = answer([sys.executable, __file__, "--child", "cross", folder])
        print(f"{'':34}{'simulation':>12}{'M bars/s':>10}{'ours x':>9}{'whole':>11}{'ours x':>9}", end="")
        print(f"{'fills':>8}{'profit':>13}")
        print(cross_line(ours | {"fills": sum(ours["fills"]), "profit": sum(ours["profit"])}, ours))
        for name in NAMES:
            peer(name, getattr(options, name), Path(folder), ours)


def peer(name: str, python: str, folder: Path, ours: dict[str, Any]) -> None:
    """Run a peer, check that it did what ours did, and print its rows; aloud where it is absent."""
    if not python or subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode:
        print(f"{name} is absent ({python or f'no --{name} given'}): no comparison")
        return
    found = answer([python, str(PEERS / f"with_{name}.py"), str(folder)])
    for row in found["rows"]:
        check(row, ours)
        print(cross_line(row, ours))
    print(f"    {found['versions']}")


def cross_line(row: dict[str, Any], ours: dict[str, Any]) -> str:
    ratios = [row[what] / row["bars"] / (ours[what] / ours["bars"]) for what in ("simulation", "whole")]
    speed = row["bars"] / row["simulation"] / 1e6
    return (
        f"{row['what']:34}{row['simulation'] * 1e3:9.1f} ms{speed:10.2f}{ratios[0]:9.1f}"
        f"{row['whole'] * 1e3:8.0f} ms{ratios[1]:9.1f}{row['fills']:8,}{row['profit']:13,.2f}"
    )


def check(row: dict[str, Any], ours: dict[str, Any]) -> None:
    """Stop where a peer did other work than ours; its symbols may be the first few of ours."""
    few = slice(None, row.get("symbols"))
    fills, profit, traded = (sum(ours[name][few]) for name in ("fills", "profit", "traded"))
    apart = abs(row["profit"] - profit) / traded
    if row["fills"] != fills or apart > EQUAL:
        raise SystemExit(
            f"{row['what']} did other work: {row['fills']} fills, profit {row['profit']:.6f}; "
            f"ours {fills}, {profit:.6f}"
        )


# --- portfolio


def portfolio(options: argparse.Namespace) -> None:
    from backtest_worlds import write_portfolio

    print(f"\nPortfolio: one account, {SESSIONS:,} sessions, every symbol to its target weight in each")
    print(f"{'':34}{'simulation':>12}{'M bars/s':>10}{'x 1x':>7}{'whole':>11}{'M bars/s':>10}{'x 1x':>7}{'memory':>11}")
    base: dict[str, Any] = {}
    for symbols in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_portfolio(Path(folder), symbols, SESSIONS)
            largest = "compare" if symbols == SIZES[-1] else ""
            found = answer([sys.executable, __file__, "--child", "portfolio", folder, largest])
        base = base or found
        what = f"{symbols} symbols, {found['fills']:,} fills"
        line = f"{what:34}"
        for seconds, once in ((found["simulation"], base["simulation"]), (found["whole"], base["whole"])):
            line += f"{seconds:10.2f} s{found['bars'] / seconds / 1e6:10.2f}{seconds / once:7.2f}"
        print(f"{line}{found['memory']:7,.0f} MiB", flush=True)
    print(f"(of the memory, {found['before']:,.0f} MiB are the last row's own frames and the libraries)")
    print(
        f"{'plain loop over dictionaries':34}{found['plain']:10.2f} s, "
        f"{found['plain'] / found['simulation']:.1f} times ours; equity {found['apart']:.0e} apart"
    )
    if found["apart"] > EQUAL:
        raise SystemExit(f"engine and plain loop disagree by {found['apart']:.2e} in some session")


# --- start


def start(options: argparse.Namespace) -> None:
    print("\nFrom starting Python to the end of the first backtest (20 sessions of 2 symbols)")
    with tempfile.TemporaryDirectory() as empty:
        print(start_line("no machine code kept: all compiled", [started(NUMBA_CACHE_DIR=empty)]))
    started()
    print(start_line("machine code kept", [started() for _ in range(5)]))


def started(**environment: str) -> dict[str, Any]:
    return answer([sys.executable, __file__, "--child", "start", str(time.time())], **environment)


def start_line(what: str, runs: list[dict[str, Any]]) -> str:
    whole = [run["whole"] for run in runs]
    spread = f" to {max(whole):.2f} s" if len(runs) > 1 else ""
    return f"{what:34}{min(whole):10.2f} s{spread}, of which the backtest {min(run['run'] for run in runs):.2f} s"


# --- processes


def answer(command: list[str], **environment: str) -> dict[str, Any]:
    """What a child held to one core answers in its last line."""
    one = dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=hold, env=os.environ | one | environment
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def hold() -> None:
    """Keep this process to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"cross": cross, "portfolio": portfolio, "start": start}

if __name__ == "__main__":
    main()
