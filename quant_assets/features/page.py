"""Every feature on one page: formula, source, look-back, and a small picture of it on real data. Offline, one file.

    python -m quant_assets.features.page docs/features.html

The picture is of one of the embedded stocks; a feature whose records or ticks the sample does not have has none.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_assets.cleaned import clean
from quant_assets.features import GROUPS, compute
from quant_assets.features.definition import Feature

if TYPE_CHECKING:
    from jinja2 import Template

SYMBOL = "AAPL"
FIRST, LAST = date(2008, 1, 2), date(2013, 3, 1)
SHOWN = 250
"""Sessions in a picture: the last year or so."""

WIDTH, HEIGHT = 250, 44


def write_page(target: Path) -> None:
    """Write the page of the whole catalogue. A killed run leaves the page before."""
    rows = sample_values()
    groups = [
        {"name": group.name, "count": len(group), "features": [_entry(each, rows) for each in group]}
        for group in GROUPS.values()
        if len(group)
    ]
    text = _template().render(
        groups=groups,
        count=sum(len(group) for group in GROUPS.values()),
        symbol=SYMBOL,
        first=rows["session"][0],
        last=rows["session"][-1],
    )
    with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".html", delete=False, encoding="utf-8") as staged:
        staged.write(text)
    Path(staged.name).chmod(0o644)
    os.replace(staged.name, target)


def sample_values() -> pl.DataFrame:
    """session and every feature of one stock of the embedded sample, over the sessions that are shown."""
    from resources.market_data.sample import SYMBOLS, Sample

    sample = Sample()
    asked = (list(SYMBOLS), FIRST, LAST)
    instruments = sample.instruments(list(SYMBOLS))
    bars = clean(sample.bars(*asked), sample.corporate_actions(*asked), instruments).bars
    values = compute(bars, instruments=instruments).filter(pl.col("symbol") == SYMBOL)
    return values.drop("symbol", "ts", "known_at").collect().tail(SHOWN)


def _entry(feature: Feature, rows: pl.DataFrame) -> dict[str, Any]:
    values = rows[feature.name].to_numpy()
    lower, upper = (_number(bound) for bound in feature.bounds)
    return {
        "name": feature.name,
        "family": feature.family,
        "description": feature.description,
        "formula": feature.formula,
        "parameters": json.dumps(dict(feature.parameters)).strip("{}").replace('"', ""),
        "inputs": ", ".join(name.removeprefix("adj_") for name in feature.inputs),
        "lookback": feature.lookback,
        "range": "any" if feature.bounds == (-math.inf, math.inf) else f"{lower} to {upper}",
        "scope": feature.scope,
        "streaming": feature.streaming,
        "source": feature.source,
        "picture": picture(values),
        "least": _number(float(np.nanmin(values))) if np.isfinite(values).any() else "",
        "most": _number(float(np.nanmax(values))) if np.isfinite(values).any() else "",
    }


def picture(values: np.ndarray) -> dict[str, Any] | None:
    """The line of a small SVG picture: its path, and the height of zero where the values pass it. None without values.

    Example: `picture(np.array([1.0, 2.0, np.nan, 1.5]))["path"]`
    """
    known = np.isfinite(values)
    if known.sum() < 2:
        return None
    least, most = float(values[known].min()), float(values[known].max())
    spread = most - least or 1.0
    across = np.linspace(1, WIDTH - 1, values.size)
    down = 3 + (HEIGHT - 6) * (1 - (values - least) / spread)
    steps, drawn = [], False
    for x, y, there in zip(across, down, known, strict=True):
        if there:
            steps.append(f"{'L' if drawn else 'M'}{x:.0f} {y:.1f}")
        drawn = bool(there)
    zero = 3 + (HEIGHT - 6) * (1 - (0 - least) / spread)
    return {"path": "".join(steps), "zero": f"{zero:.1f}" if least < 0 < most else ""}


def _number(value: float) -> str:
    return str(value).replace("inf", "∞") if math.isinf(value) else f"{value:.4g}"


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("quant_assets.features", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m quant_assets.features.page", description=__doc__.split("\n")[0])
    parser.add_argument("target", type=Path, help="where to write it, for example docs/features.html")
    write_page(parser.parse_args(arguments).target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
