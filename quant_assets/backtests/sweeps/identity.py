"""What a sweep is: a name that changes with anything that could change a result, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from quant_assets.backtests.sweeps.grid import Maker, Parameters, SweepError
from quant_assets.backtests.sweeps.runs import Prepared
from quant_assets.backtests.sweeps.store import digest
from quant_assets.code_identity import CodeError
from quant_assets.versions import code_of


def identity(shared: Prepared, sets: Sequence[Parameters]) -> str:
    """Of a sweep over a market, with features, by a strategy's code, under settings, of these parameter sets.

    Raises SweepError where the strategy's code has no identity.
    """
    from resources.exchange.compiled import sources
    from resources.lake import content_version

    past = shared.past
    frames = [shared.features, shared.benchmark, shared.instruments]
    return digest(
        *(array.tobytes() for array in past.market),
        json.dumps(past.symbols),
        repr(past.listings),
        *("" if frame is None else content_version(frame) for frame in frames),
        shared.settings.model_dump_json(),
        json.dumps(list(sets)),
        _code_of(shared.maker),
        str(sources()),
        _simulation(),
    )


def _code_of(maker: Maker) -> str:
    try:
        return code_of(maker)
    except CodeError as error:
        raise SweepError(f"folder: a sweep is kept under a name of its strategy's code, and {error}") from error


@cache
def _simulation() -> str:
    """Of the platform's own code between a strategy and its figures, but for the exchange's."""
    from quant_assets import backtests, risk, strategies

    rooms, rules = Path(backtests.__path__[0]), Path(strategies.__path__[0])
    files = [rooms / "engine.py", rooms / "sweeps" / "runs.py", rooms / "sweeps" / "preparing.py"]
    files += [rules / f"{name}.py" for name in ("base", "orders", "windows")]
    files += [Path(risk.__path__[0]) / "limits.py"]
    files += [path for room in ("market", "simulation", "metrics") for path in sorted((rooms / room).glob("*.py"))]
    return digest(*(path.read_bytes() for path in files))
