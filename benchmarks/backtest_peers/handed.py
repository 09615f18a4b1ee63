"""What a peer is handed, and how it answers: plain files and JSON, so that each runs in an environment of its own.

`bars.parquet` has a row a symbol and day, sorted: symbol, ts, open, high, low, close, volume, and the decisions made
at that close: entry and exit (booleans) and size (units to buy). `terms.json` has fee and slippage (fractions of the
price, on every fill) and cash (what each symbol's account starts with).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read() -> tuple[Any, dict[str, float]]:
    """Bars (a pandas frame) and terms from the folder named on the command line."""
    import pandas as pd

    folder = Path(sys.argv[1])
    return pd.read_parquet(folder / "bars.parquet"), json.loads((folder / "terms.json").read_text())


def best(work: Callable[[], T], times: int) -> tuple[float, T]:
    """The best of several CPU times in seconds, and the last result."""
    fastest = float("inf")
    for _ in range(times):
        began = time.process_time()
        result = work()
        fastest = min(fastest, time.process_time() - began)
    return fastest, result


def answer(packages: list[str], rows: list[dict[str, Any]]) -> None:
    """Print versions and what was measured, for the benchmark.

    A row has: what, simulation and whole (CPU seconds), bars, fills, profit, and symbols (how many, if not all).
    """
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print(json.dumps({"versions": f"{versions}, Python {sys.version.split()[0]}", "rows": rows}))
