"""Opens the Dagster UI, or MLflow's, on the installation's own data. The process becomes the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from resources.config import PROJECT, load
from resources.instance import prepare


def dagster(host: str, port: int) -> None:
    """The UI and the daemon (schedules, sensors, backfills) in one."""
    prepare(load())
    _own_programs_first()
    print(f"Dagster on http://{host}:{port}  (Ctrl-C ends it)", flush=True)
    workspace = str(PROJECT / "workspace.yaml")
    os.execvp("dagster", ["dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)])


def mlflow(port: int) -> None:
    """MLflow's pages over the models and their runs, on 127.0.0.1."""
    from resources.tracking import ui_command

    command = ui_command(load(), port)
    _own_programs_first()
    print(f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
    os.execv("/bin/sh", ["sh", "-c", command])


def _own_programs_first() -> None:
    """Both servers start further programs by name: those of this environment, from the project's folder."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.chdir(PROJECT)
