"""Makes reference.parquet: what qlib's own operators give for the 158 expressions of its Alpha158 handler.

    PYTHON_WITH_QLIB tests/quant_assets/features/alpha158/make_reference.py

Runs only where pyqlib is installed (made with 0.9.7). The bars are made up and fed to qlib's expression engine as
float64. In daily use qlib stores bars as float32, subtracts, divides and takes logs in float32, keeps its rolling sums
in float64, and returns float32; here only its formulas are wanted, so nothing is rounded on the way.

Prices are in cents, so that ties are common. B is halted for 12 bars (one price, no volume) and has two more bars
without volume.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from qlib.config import C
from qlib.contrib.data.loader import Alpha158DL
from qlib.data.base import Feature
from qlib.data.data import LocalExpressionProvider
from qlib.data.ops import register_all_ops

COUNT = 120


def bars(seed: int, price: float, halted: bool) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(random.normal(0, 0.02, COUNT))), 2)
    opened = np.round(close * np.exp(random.normal(0, 0.01, COUNT)), 2)
    high = np.round(np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.005, COUNT))), 2)
    low = np.round(np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.005, COUNT))), 2)
    volume = np.round(random.lognormal(9, 0.6, COUNT))
    if halted:
        still = slice(85, 97)
        for prices in (opened, high, low, close):
            prices[still] = close[84]
        volume[still] = volume[20] = volume[110] = 0.0
    vwap = np.round((opened + high + low + close) / 4, 3)
    found = {"open": opened, "high": high, "low": low, "close": close, "vwap": vwap, "volume": volume}
    return pd.DataFrame(found)


def main() -> None:
    C.set("client")
    C["kernels"] = 1
    register_all_ops(C)
    engine = LocalExpressionProvider()
    parts = []
    fields, names = Alpha158DL.get_feature_config()
    for symbol, made in {"A": bars(1, 4.0, False), "B": bars(2, 90.0, True)}.items():
        Feature._load_internal = lambda self, *_, made=made: made[str(self)[1:]]
        found = made.copy()
        found.insert(0, "symbol", symbol)
        for name, field in zip(names, fields, strict=True):
            expression = engine.get_expression_instance(field)
            found = pd.concat([found, expression._load_internal(symbol, 0, COUNT - 1, "day").rename(name)], axis=1)
        parts.append(found)
    everything = pd.concat(parts, ignore_index=True)
    everything.to_parquet(Path(__file__).with_name("reference.parquet"), compression="zstd", index=False)


if __name__ == "__main__":
    main()
