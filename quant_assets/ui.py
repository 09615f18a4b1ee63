"""Opens the Dagster UI (or MLflow's) on the installation's own data, bound to 127.0.0.1.

python -m quant_assets.ui [--port 3000] [--host 127.0.0.1] [--mlflow]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from resources.config import PROJECT, load
from resources.errors import QuantError
from resources.instance import prepare


def command(host: str, port: int) -> list[str]:
    """The UI and the daemon (schedules, sensors, backfills) in one."""
    return ["dagster", "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", host, "-p", str(port)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the UI on this installation's data.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; keep it local unless a proxy guards it")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--mlflow", action="store_true", help="open the MLflow UI instead (always on 127.0.0.1)")
    options = parser.parse_args()
    settings = load()
    # Both UIs start further programs by name: those of this environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.chdir(PROJECT)
    if options.mlflow:
        from resources.tracking import ui_command

        print(f"MLflow on http://127.0.0.1:{options.port}  (Ctrl-C ends it)", flush=True)
        os.execv("/bin/sh", ["sh", "-c", ui_command(settings, options.port)])
    prepare(settings)
    print(f"Dagster on http://{options.host}:{options.port}  (Ctrl-C ends it)", flush=True)
    chosen = command(options.host, options.port)
    os.execvp(chosen[0], chosen)


if __name__ == "__main__":
    try:
        main()
    except QuantError as error:
        sys.exit(f"{type(error).__name__}: {error}")
