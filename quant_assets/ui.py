"""Opens the Dagster UI (or MLflow's) on the installation's own data, bound to 127.0.0.1.

    python -m quant_assets.ui [--port 3000] [--host 127.0.0.1] [--mlflow]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from resources.config import PROJECT, load
from resources.errors import QuantError
from resources.instance import prepare


def command(host: str, port: int) -> list[str]:
    """The UI and the daemon (schedules, sensors, backfills) in one."""
    return [_tool("dagster"), "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", host, "-p", str(port)]


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the UI on this installation's data.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; keep it local unless a proxy guards it")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--mlflow", action="store_true", help="open the MLflow UI instead")
    options = parser.parse_args()
    settings = load()
    if options.mlflow:
        from resources.tracking import ui_command

        chosen = ui_command(settings, options.host, options.port)
    else:
        prepare(settings)
        chosen = command(options.host, options.port)
    print(f"{'MLflow' if options.mlflow else 'Dagster'} on http://{options.host}:{options.port}  (Ctrl-C ends it)", flush=True)
    # The folder matters: `dagster dev` resolves modules from where it stands.
    os.chdir(PROJECT)
    os.execv(chosen[0], chosen)


if __name__ == "__main__":
    try:
        main()
    except QuantError as error:
        sys.exit(f"{type(error).__name__}: {error}")
