"""The whole graph on 505 symbols x 20 years: time and peak memory of each stage, a daily increment, the event log.

    python benchmarks/pipeline.py [--config configs/sp500.yaml] [--keep FOLDER]

Needs the files that the configuration names; without them it says so and ends. Each stage is one range run in a
process of its own, so that its peak memory is its own. Beside the history stage stands what the same
computation costs without Dagster, lake and checks: the ratio is what lineage and partitions cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

STAGE = """
import json, resource, sys, time
began = time.perf_counter()
from quant_assets import launch
loaded = time.perf_counter() - began
{body}
print(json.dumps(dict(seconds=time.perf_counter() - began - loaded, load=loaded,
    gigabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform != "darwin" else 1e9))))
"""

TIER = """
with launch.open_instance(launch.SETTINGS) as instance:
    launch.register_symbols(instance)
    tier = launch.tiers(instance)[{number}]
    launch.advance(instance, launch.defs.resolve_asset_graph(), tier, lambda line: None)
"""

INCREMENT = """
from quant_assets.partitions import PARTITIONS, SETTINGS
with launch.open_instance(SETTINGS) as instance:
    symbols = launch.register_symbols(instance)
last = SETTINGS.dates.end or launch.utc_now().date()
launch.history(PARTITIONS.date_key(last), PARTITIONS.date_key(last), symbols)
launch.partition(["features/panel", "features/labels", "models/predictions", "signals/daily"], last.isoformat())
"""

BARE = """
from quant_assets.cleaned import clean
from quant_assets.features import compute
from quant_assets.partitions import SETTINGS
from resources.market_data import create, universe
provider, symbols = create(SETTINGS), universe(SETTINGS)
for first in range(0, len(symbols), 50):
    group = symbols[first : first + 50]
    asked = (group, SETTINGS.dates.start, SETTINGS.dates.end)
    cleaned = clean(provider.bars(*asked), provider.corporate_actions(*asked), provider.instruments(group)).bars
    compute(cleaned).collect()
"""

NAMES = (
    *("instruments", "bars to features", "quality page", "panel and labels"),
    *("models", "predictions and signals", "reports"),
)


def measure(body: str) -> dict[str, float]:
    """Run a stage in its own process."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE.format(body=body)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"a stage failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def row(name: str, figures: dict[str, float], note: str = "") -> None:
    print(f"{name:26} {figures['seconds']:8.1f} s {figures['gigabytes']:7.2f} GB  {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the whole graph.")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "sp500.yaml")
    parser.add_argument("--keep", type=Path, help="folder for the data, instead of a temporary one")
    options = parser.parse_args()
    os.environ["QUANT_CONFIG"] = str(options.config.resolve())
    from resources.config import load

    source = getattr(load().provider, "path", None)
    if source is not None and not source.exists():
        print(f"skipped: {source} is not here; name a file of your own with --config")
        return
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["QUANT_HOME"] = str(options.keep or scratch)
        run(Path(os.environ["QUANT_HOME"]))


def run(home: Path) -> None:
    began = time.perf_counter()
    print(f"{'stage':26} {'wall':>10} {'peak memory':>10}")
    for number, name in enumerate(NAMES):
        figures = measure(TIER.format(number=number))
        row(name, figures)
        if name == "bars to features":
            bare = measure(BARE)
            row("  the same, bare", bare, f"graph / bare = {figures['seconds'] / bare['seconds']:.1f}x")
    print(f"{'whole graph':26} {time.perf_counter() - began - bare['seconds']:8.1f} s")
    row("one daily increment", measure(INCREMENT))
    events = sum(file.stat().st_size for file in (home / "dagster").rglob("*.db*"))
    lake = sum(file.stat().st_size for file in (home / "lake").rglob("*.parquet"))
    print(f"{'import and load':26} {measure('')['load']:8.1f} s")
    print(f"{'event log':26} {events / 1e6:8.1f} MB\n{'lake':26} {lake / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
