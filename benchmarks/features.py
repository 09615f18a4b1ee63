"""How fast features are computed: Alpha158 beside qlib's own handler, all technical indicators, and bar by bar.

    python benchmarks/features.py [--part alpha158|technical|streaming] [--qlib PYTHON]

Alpha158 runs over every row of ../shared/data/sp500_daily.parquet from 2005 on, ours and qlib's each in a process of
its own, on the same adjusted bars; `--qlib` (or QLIB_PYTHON) names a Python in which pyqlib is installed. Wall time
leaves out imports, machine code loaded from its cache, and qlib's conversion of the bars to its own files. Memory is
the share (PSS) of the process and its children, sampled; CPU time is theirs too, and says more than wall time where
others use the cores. Indicators run over a quarter, a half and all of the symbols: cost is linear where the rate stays.
Both parts skip where the file is absent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SOURCE = PROJECT.parent / "shared" / "data" / "sp500_daily.parquet"
FIRST = date(2005, 1, 1)
FIELDS = ("open", "high", "low", "close", "volume")
PROCESSES = 2
TIMES = (1, 2, 4)
COMPARED = ("AAPL", "MSFT", "XOM")
UPDATES, EDGE, STREAMED = 100_000, 10_000, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="one part alone; all by default")
    parser.add_argument("--qlib", default=os.environ.get("QLIB_PYTHON", ""), help="a Python with pyqlib installed")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child[0]](*options.child[1:])
        return
    os.environ["QLIB_PYTHON"] = options.qlib
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} in the last minute")
    for name in [options.part] if options.part else PARTS:
        PARTS[name]()


# --- alpha158


def alpha158() -> None:
    from quant_assets.features import GROUPS

    features = len(GROUPS["alpha158"])
    with tempfile.TemporaryDirectory() as folder:
        rows = plain_bars(Path(folder))
        print(f"\nAlpha158: {features} features of {rows:,} daily bars from {FIRST.year} on")
        if not rows:
            return
        print(f"{'':46}{'wall':>8}{'cpu':>8}{'memory':>10}{'M values/s':>12}{'x qlib':>8}{'cpu x':>8}")
        theirs = qlib_measured(Path(folder))

        def line(what: str, wall: float, cpu: float, memory: float) -> None:
            ratio = f"{theirs[0] / wall:8.1f}{theirs[1] / cpu:8.1f}" if theirs else f"{'-':>8}{'-':>8}"
            speed = rows * features / wall / 1e6
            print(f"{what:46}{wall:6.1f} s{cpu:6.1f} s{memory:7.2f} GB{speed:12.1f}{ratio}", flush=True)

        if theirs:
            line(f"qlib's Alpha158 handler, {PROCESSES} processes", *theirs)
        line("ours, 64 bits, handed on in batches", *measured(sys.executable, "ours", folder, "batches"))
        line("ours, one frame of 32 bits, as qlib's", *measured(sys.executable, "ours", folder, "frame"))
        if theirs:
            agreement(Path(folder))


def plain_bars(folder: Path) -> int:
    """Write adjusted bars as plain ones; how many, 0 where the data is absent."""
    import polars as pl

    if not SOURCE.exists():
        print(f"\nskipped: {SOURCE} is not here")
        return 0
    factor = pl.col("adjusted_close") / pl.col("close")
    bars = (
        pl.scan_parquet(SOURCE)
        .filter(pl.col("date") >= FIRST)
        .unique(["symbol", "date"], keep="first", maintain_order=True)
        .sort("symbol", "date")
        .select(
            "symbol",
            pl.col("date").cast(pl.Datetime("us", "UTC")).alias("ts"),
            *[pl.col(name) * factor for name in FIELDS[:4]],
            pl.col("volume").cast(pl.Float64),
        )
        .collect()
    )
    bars.write_parquet(folder / "bars.parquet")
    return bars.height


def ours_child(folder: str, how: str) -> None:
    import polars as pl

    from quant_assets.features import GROUPS, compute

    features, bars = GROUPS["alpha158"], pl.scan_parquet(Path(folder) / "bars.parquet")
    compute(bars.head(500), features).collect()
    lazy = compute(bars, features)
    began = start()
    if how == "batches":
        rows = sum(frame.height for frame in lazy.collect_batches())
    else:
        rows = lazy.with_columns(pl.col(features.names).cast(pl.Float32)).collect(engine="streaming").height
    finish(began, rows)
    if how == "batches":
        few = lazy.filter(pl.col("symbol").is_in(COMPARED)).drop("symbol")
        few.collect().write_parquet(Path(folder) / "ours.parquet")


def qlib_measured(folder: Path) -> tuple[float, float, float] | None:
    """qlib's wall time, CPU time and memory; None where it is absent."""
    python = os.environ["QLIB_PYTHON"]
    if not python or subprocess.run([python, "-c", "import qlib"], capture_output=True, check=False).returncode:
        print(f"qlib is absent ({python or 'no --qlib given'}): no comparison")
        return None
    qlib_files(folder)
    found: tuple[float, float, float] = measured(python, "qlib", str(folder))
    return found


def qlib_files(folder: Path) -> None:
    """The bars in qlib's own format: 32-bit floats, a file a symbol and field, led by the first bar's place."""
    import numpy as np
    import polars as pl

    bars = pl.read_parquet(folder / "bars.parquet")
    days = bars["ts"].dt.date().unique().sort()
    bars = bars.with_columns(place=days.search_sorted(bars["ts"].dt.date()))
    for name in ("calendars", "instruments", "features"):
        (folder / "qlib" / name).mkdir(parents=True)
    (folder / "qlib" / "calendars" / "day.txt").write_text("".join(f"{day}\n" for day in days))
    listed = []
    for (symbol,), own in bars.group_by("symbol", maintain_order=True):
        first, last = own["place"][0], own["place"][-1]
        listed.append(f"{symbol}\t{days[first]}\t{days[last]}\n")
        home = folder / "qlib" / "features" / str(symbol).lower()
        home.mkdir()
        typical = own.with_columns(vwap=(pl.col("high") + pl.col("low") + pl.col("close")) / 3)
        for field in (*FIELDS, "vwap"):
            values = np.full(last - first + 2, np.nan, dtype="<f4")
            values[0] = first
            values[1 + own["place"].to_numpy() - first] = typical[field].to_numpy()
            values.tofile(home / f"{field}.day.bin")
    (folder / "qlib" / "instruments" / "all.txt").write_text("".join(listed))


def qlib_child(folder: str) -> None:
    import qlib
    from qlib.contrib.data.handler import Alpha158

    qlib.init(provider_uri=str(Path(folder) / "qlib"), region="us", kernels=PROCESSES, logging_level=40)
    days = (Path(folder) / "qlib" / "calendars" / "day.txt").read_text().split()
    began = start()
    handler = Alpha158(
        instruments="all", start_time=days[0], end_time=days[-1], learn_processors=[], infer_processors=[]
    )
    frame = handler.fetch(col_set="feature")
    finish(began, len(frame))
    frame.loc[(slice(None), list(COMPARED)), :].reset_index().to_parquet(Path(folder) / "qlib.parquet")


def agreement(folder: Path) -> None:
    """How many of both's values of a few symbols agree, beyond the first bars."""
    import numpy as np
    import polars as pl

    ours = pl.read_parquet(folder / "ours.parquet")
    theirs = pl.read_parquet(folder / "qlib.parquet").sort("instrument", "datetime")
    names = [name for name in ours.columns if name.startswith("alpha158_")]
    mine = ours.select(names).to_numpy()
    other = theirs.drop("datetime", "instrument").to_numpy()
    size = np.nanmedian(np.abs(mine), axis=0)
    both = np.isfinite(mine) & np.isfinite(other)
    close = np.abs(mine - other) <= 1e-4 * np.maximum(np.abs(mine), size)
    print(
        f"{close[both].mean():.4%} of {both.sum():,} values of {', '.join(COMPARED)} agree to 1e-4 (qlib's are 32 bits)"
    )


# --- technical


def technical() -> None:
    from quant_assets.features import GROUPS

    features = len(GROUPS["technical"])
    with tempfile.TemporaryDirectory() as folder:
        if not plain_bars(Path(folder)):
            return
        print(f"\nTechnical: all {features} indicators, handed on in batches")
        print(f"{'':46}{'wall':>8}{'cpu':>8}{'memory':>10}{'M values/s':>12}{'/ cpu s':>10}{'x 1x':>8}")
        base = 0.0
        for times in TIMES:
            wall, cpu, memory, rows = measured(sys.executable, "technical", folder, str(times), rows=True)
            values = rows * features / 1e6
            base = base or values / wall
            figures = f"{values / wall:12.1f}{values / cpu:10.1f}{values / wall / base:8.2f}"
            print(f"{f'{times}x: {rows:,} rows':46}{wall:6.1f} s{cpu:6.1f} s{memory:7.2f} GB{figures}", flush=True)


def technical_child(folder: str, times: str) -> None:
    import polars as pl

    from quant_assets.features import GROUPS, compute

    features, bars = GROUPS["technical"], pl.scan_parquet(Path(folder) / "bars.parquet")
    compute(bars.head(2000), features).collect()
    symbols = bars.select(pl.col("symbol").unique().sort()).collect()["symbol"]
    some = symbols[: len(symbols) * int(times) // TIMES[-1]]
    lazy = compute(bars.filter(pl.col("symbol").is_in(some.implode())), features)
    began = start()
    finish(began, sum(frame.height for frame in lazy.collect_batches()))


# --- streaming


def streaming() -> None:
    print(f"\nStreaming: {STREAMED} features of several groups, one bar at a time, {UPDATES:,} bars of one symbol")
    print(subprocess.run([sys.executable, __file__, "--child", "streaming"], capture_output=True, text=True,
                         check=True).stdout, end="")  # fmt: skip


def streaming_child() -> None:
    import numpy as np
    import psutil

    from quant_assets.features import stream

    names = list(mixed(STREAMED))
    print(", ".join(names))
    bars = made_up_minutes(UPDATES + 2000)
    history = [next(bars) for _ in range(2000)]
    import polars as pl

    live = stream(names, pl.DataFrame(history))
    wall, cpu, memory = np.empty(UPDATES), np.empty(UPDATES), []
    for count in range(UPDATES):
        bar = next(bars)
        spent, began = time.thread_time_ns(), time.perf_counter_ns()
        live.update(bar)
        wall[count] = time.perf_counter_ns() - began
        cpu[count] = time.thread_time_ns() - spent
        if count in (EDGE, UPDATES - 1):
            memory.append(psutil.Process().memory_info().rss / 1e6)
    wall, cpu = wall / 1000, cpu / 1000
    print(f"{'microseconds':46}{'p50':>10}{'p99':>10}{'largest':>10}{'cpu p50':>10}{'cpu p99':>10}")
    parts = {"all": slice(None), f"first {EDGE:,}": slice(EDGE), f"last {EDGE:,}": slice(-EDGE, None)}
    for what, part in parts.items():
        figures = [np.median(wall[part]), np.quantile(wall[part], 0.99), wall[part].max()]
        figures += [np.median(cpu[part]), np.quantile(cpu[part], 0.99)]
        print(f"{what:46}" + "".join(f"{each:10.1f}" for each in figures))
    last, first = np.median(wall[-EDGE:]), np.median(wall[:EDGE])
    print(
        f"last / first p50 {last / first:.2f}; memory {memory[0]:.0f} MB after {EDGE:,}, {memory[1]:.0f} MB at the end"
    )


def mixed(count: int) -> Iterator[str]:
    """Features with a compiled streaming form, from every group in turn, spread evenly over each."""
    from quant_assets.features import GROUPS

    every = {name: [each.name for each in group if each.streaming == "compiled"] for name, group in GROUPS.items()}
    groups = [names for names in every.values() if names]
    for at in range(count):
        names, turn = groups[at % len(groups)], at // len(groups)
        turns = -(-count // len(groups))
        yield names[(turn * len(names) // turns + len(names) // 7) % len(names)]


def made_up_minutes(count: int) -> Iterator[dict[str, Any]]:
    from datetime import UTC, datetime, timedelta

    import numpy as np

    random = np.random.default_rng(1)
    steps = random.normal(0, 5e-4, (count, 4))
    close, ts = 100.0, datetime(2024, 1, 1, tzinfo=UTC)
    for a, b, c, d in steps.tolist():
        opened, close, ts = close, close * (1 + a), ts + timedelta(minutes=1)
        high, low = max(opened, close) * (1 + abs(b)), min(opened, close) * (1 - abs(c))
        yield {"symbol": "A", "ts": ts, "session": ts.date(), "open": opened, "high": high, "low": low,
               "close": close, "volume": float(round(1e5 * (1 + abs(d) * 1000)))}  # fmt: skip


# --- processes


def start() -> float:
    print("began", flush=True)
    return time.perf_counter()


def finish(began: float, rows: int) -> None:
    print(f"done {time.perf_counter() - began} {rows}", flush=True)


def measured(python: str, *child: str, rows: bool = False) -> Any:
    """Wall seconds, CPU seconds and peak memory in GB of a child between its `began` and `done`, and its rows."""
    process = subprocess.Popen([python, __file__, "--child", *child], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    watch, answer = Watch(process.pid), ""
    for line in process.stdout:
        if line.startswith("began"):
            watch.start()
        if line.startswith("done"):
            watch.stop()
            answer = line
    if process.wait() or not answer:
        raise SystemExit(f"{' '.join(child)} failed")
    _, wall, count = answer.split()
    found = (float(wall), watch.cpu, watch.peak / 1e9)
    return (*found, int(count)) if rows else found


class Watch(threading.Thread):
    """Samples the memory and CPU time of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended = pid, threading.Event()
        self._spent: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self.peak = 0.0

    def start(self) -> None:
        self._sample()
        self._before, self.peak = dict(self._spent), 0.0
        super().start()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self._sample()

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._sample()

    @property
    def cpu(self) -> float:
        return sum(self._spent.values()) - sum(self._before.values())

    def _sample(self) -> None:
        import psutil

        memory = 0.0
        try:
            parent = psutil.Process(self._pid)
            for each in [parent, *parent.children(recursive=True)]:
                memory += each.memory_full_info().pss
                times = each.cpu_times()
                self._spent[each.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            pass
        self.peak = max(self.peak, memory)


PARTS: dict[str, Callable[[], None]] = {"alpha158": alpha158, "technical": technical, "streaming": streaming}
CHILDREN: dict[str, Callable[..., None]] = {
    "ours": ours_child,
    "qlib": qlib_child,
    "technical": technical_child,
    "streaming": streaming_child,
}

if __name__ == "__main__":
    main()
