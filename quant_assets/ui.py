"""Opens the Dagster UI, or MLflow's, on the installation's own data. The process becomes the server."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from quant_assets.live import revival
from resources.config import PROJECT, load
from resources.errors import QuantError
from resources.instance import prepare


class PortError(QuantError):
    """A server cannot listen where it was told to."""


def dagster(host: str, port: int) -> None:
    """The UI and the daemon (schedules, sensors, backfills) in one. Raises PortError before anything starts."""
    _refuse_taken(host, port, "make ui PORT")
    prepare(load())
    _own_programs_first()
    print(f"Dagster on http://{host}:{port}  (Ctrl-C ends it)", flush=True)
    workspace = str(PROJECT / "workspace.yaml")
    own = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    revival.watch(f"http://{own}:{port}")  # dagster dev does not restart a code server that was killed
    os.execvp("dagster", ["dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)])


def mlflow(port: int) -> None:
    """MLflow's pages over the models and their runs, on 127.0.0.1. Raises PortError before anything starts."""
    from resources.tracking import ui_command

    settings = load()
    command = ui_command(settings, port)
    if "mlflow server" in command:  # and not the pages of a server that runs elsewhere
        _refuse_taken("127.0.0.1", port, "make mlflow MLFLOW_PORT")
        prepare(settings)
    _own_programs_first()
    print(f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
    os.execv("/bin/sh", ["sh", "-c", command])


def _refuse_taken(host: str, port: int, mend: str) -> None:
    """Dagster's daemon would go on, without pages, where its webserver finds the port taken."""
    if fault := _fault(host, port):
        free = next((other for other in range(port + 1, port + 100) if not _fault(host, other)), 3000)
        raise PortError(f"port {port} on {host}: {fault}. Take another, for example {mend}={free}")


def _fault(host: str, port: int) -> str | None:
    """Why nothing can listen there; None where something can."""
    if not 0 < port < 65_536:
        return "there are ports 1 to 65535"
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(*address[:3]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed one lingers
            probe.bind(address[4])
    except OSError as error:
        return error.strerror or str(error)
    return None


def _own_programs_first() -> None:
    """Both servers start further programs by name: those of this environment, from the project's folder."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.chdir(PROJECT)
