"""Pictures for the UI: they are PNG, small, and draw whatever a partition holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets import plots

START = date(2012, 1, 2)


def bars(symbols: int, days: int = 60, raw: bool = False) -> pl.DataFrame:
    noise = np.random.default_rng(1)
    dates = [START + timedelta(number) for number in range(days)]
    frames = []
    for number in range(symbols):
        prices = 50 * np.exp(np.cumsum(noise.normal(0, 0.01, days)))
        stamps = [datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in dates]
        columns = {"ts": stamps, "close": prices} if raw else {"session": dates, "adj_close": prices}
        frames.append(pl.DataFrame({"symbol": f"S{number}", **columns}))
    return pl.concat(frames)


def features(count: int) -> pl.DataFrame:
    noise = np.random.default_rng(2)
    columns = {f"feature_{number}": noise.normal(0, 10.0 ** -(number % 3), 100) for number in range(count)}
    frame = pl.DataFrame({"symbol": "A", **columns})
    return frame.with_columns(feature_0=pl.lit(None, pl.Float64), feature_1=pl.lit(3.0)) if count > 1 else frame


def scores(count: int, column: str = "session") -> pl.DataFrame:
    noise = np.random.default_rng(3)
    days = [START + timedelta(number) for number in range(count)]
    return pl.DataFrame(
        {column: days, "ic": noise.normal(0.02, 0.1, count)}, schema={column: pl.Date, "ic": pl.Float64}
    )


NOTHING = pl.lit(None, pl.Float64)


def health(count: int) -> pl.DataFrame:
    noise = np.random.default_rng(4)
    numbers = {name: noise.exponential(1.0, count) for name in ("null_share", "psi", "by_chance")}
    return pl.DataFrame({"feature": [f"feature_{number}" for number in range(count)], **numbers})


PICTURES: list[tuple[str, Callable[[], bytes]]] = [
    ("one symbol", lambda: plots.price_picture(bars(1))),
    ("one bar", lambda: plots.price_picture(bars(1, days=1))),
    ("raw bars", lambda: plots.price_picture(bars(3, raw=True).lazy())),
    ("many symbols", lambda: plots.price_picture(bars(12))),
    ("no bars", lambda: plots.price_picture(bars(1).clear())),
    ("coverage of few", lambda: plots.coverage_picture(bars(5, days=200))),
    ("coverage of one month", lambda: plots.coverage_picture(bars(1, days=3))),
    ("coverage of raw bars", lambda: plots.coverage_picture(bars(2, raw=True))),
    ("coverage of many", lambda: plots.coverage_picture(bars(45).lazy())),
    ("coverage of none", lambda: plots.coverage_picture(bars(1).clear())),
    ("features", lambda: plots.feature_picture(features(12))),
    ("one feature", lambda: plots.feature_picture(features(1).lazy())),
    ("no features", lambda: plots.feature_picture(pl.DataFrame({"symbol": ["A"], "close": [1.0]}))),
    ("features without rows", lambda: plots.feature_picture(features(3).clear())),
    ("health", lambda: plots.health_picture(health(40))),
    ("health of few", lambda: plots.health_picture(health(2))),
    ("health without a year", lambda: plots.health_picture(health(5).with_columns(psi=NOTHING, by_chance=NOTHING))),
    ("no health", lambda: plots.health_picture(health(5).clear())),
    ("coefficients of sessions", lambda: plots.ic_picture(scores(500))),
    ("coefficients of folds", lambda: plots.ic_picture(scores(5, "cutoff"))),
    ("coefficients by the session known", lambda: plots.ic_picture(scores(70, "known_session").lazy())),
    ("no coefficients", lambda: plots.ic_picture(scores(0))),
]


@pytest.mark.parametrize(("what", "draw"), PICTURES, ids=[name for name, _ in PICTURES])
def test_every_picture_is_a_small_png(what: str, draw: Callable[[], bytes]) -> None:
    png = draw()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    assert width == 700
    assert (height == 120) == (what.startswith("no ") or what.endswith(("of none", "without rows")))
    assert 120 <= height <= 480
    assert len(png) < 40_000


def test_many_features_make_a_taller_picture() -> None:
    few, many = plots.feature_picture(features(10)), plots.feature_picture(features(60))
    assert int.from_bytes(many[20:24]) > int.from_bytes(few[20:24]) == 320


def test_the_same_frame_gives_the_same_picture() -> None:
    assert plots.price_picture(bars(3)) == plots.price_picture(bars(3))


def test_importing_the_module_does_not_load_matplotlib() -> None:
    code = "import sys, quant_assets.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
