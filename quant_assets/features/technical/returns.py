"""Returns of the adjusted close: over several horizons, overnight and within the session."""

from __future__ import annotations

import math

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import kernel


@kernel(inputs=["adj_close"], parameters=["window", "skip"])
def return_between(x, p, out):  # type: ignore[no-untyped-def]
    """Close of `skip` bars ago over that of `window` bars ago, less 1."""
    close, window, skip = x[0], int(p[0]), int(p[1])
    for i in range(window, close.size):
        out[0, i] = close[i - skip] / close[i - window] - 1.0


@kernel(inputs=["adj_open", "adj_close"], outputs=["gap", "intraday"])
def session_return(x, p, out):  # type: ignore[no-untyped-def]
    """gap: open over the close before, less 1; intraday: close over open, less 1."""
    opened, close = x[0], x[1]
    for i in range(close.size):
        out[1, i] = close[i] / opened[i] - 1.0
        if i:
            out[0, i] = opened[i] / close[i - 1] - 1.0


_BOUNDS = (-1.0, math.inf)

RETURNS = (
    *(
        Feature(
            f"return_{window}",
            "returns",
            f"Return over {window} session{'s' * (window > 1)}",
            return_between,
            {"window": window, "skip": 0},
            lookback=window,
            bounds=_BOUNDS,
        )
        for window in (1, 5, 10, 21, 63, 126, 252)
    ),
    Feature(
        "return_252_21",
        "returns",
        "Return over 252 sessions without the last 21",
        return_between,
        {"window": 252, "skip": 21},
        lookback=252,
        bounds=_BOUNDS,
        source="Jegadeesh and Titman (1993), Returns to Buying Winners and Selling Losers",
    ),
    Feature("gap", "returns", "Return overnight", session_return, lookback=1, bounds=_BOUNDS, output="gap"),
    Feature(
        "intraday_return",
        "returns",
        "Return from open to close",
        session_return,
        lookback=0,
        bounds=_BOUNDS,
        output="intraday",
    ),
)
