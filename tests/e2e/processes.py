"""A real Dagster on loopback: code server, webserver and daemon on a home of its own, all gone at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

from resources.config import PROJECT

SECONDS = 180.0
"""How long anything may take on a busy machine. Waits end as soon as what they wait for is there."""

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = SECONDS) -> T:
    """What `look` gives as soon as it is neither None nor False."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Place:
    """An installation's home, and the environment in which its processes run."""

    home: Path
    config: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "QUANT_HOME": str(self.home),
            "QUANT_CONFIG": str(self.config),
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "1",
            "DAGSTER_EVENT_BATCH_SIZE": "1000",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(PROJECT),
            **self.extra,
        }

    def prepare(self) -> None:
        """What resources.instance.prepare does for the user's commands, for a home that is not this process's."""
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "configs" / "dagster.yaml", self.dagster_home / "dagster.yaml")

    def python(self, code: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a program against this installation."""
        return subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, env=self.environment, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip


@dataclass
class Dagster:
    """A running Dagster: its GraphQL door, and its processes."""

    place: Place
    port: int
    processes: list[subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        body = answer.json()
        assert "errors" not in body, body
        return dict(body["data"])

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """Runs, newest first; `wanted` is GraphQL's RunsFilter."""
        query = """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
            runId jobName status tags { key value } stepKeysToExecute } } } }"""
        results = self.graphql(query, filter=wanted)["runsOrError"]["results"]
        return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in results]

    def finished(self, run_id: str, seconds: float = SECONDS) -> str:
        """The run's status once it has ended."""

        def look() -> str | None:
            [run] = self.runs(runIds=[run_id])
            return str(run["status"]) if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return wait_for(look, f"the end of run {run_id}", seconds)

    def materializations(self, asset: str) -> dict[str, int]:
        """How often each partition of an asset was materialized."""
        query = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
            assetMaterializations(limit: 10000) { partition } } } }"""
        found = self.graphql(query, key={"path": asset.split("/")})["assetOrError"].get("assetMaterializations", [])
        counts: dict[str, int] = {}
        for event in found:
            counts[event["partition"]] = counts.get(event["partition"], 0) + 1
        return counts

    def workers(self) -> list[psutil.Process]:
        """The processes that execute runs: children of the code server."""
        return [
            child
            for process in self.processes
            for child in _family(process.pid)
            if any("execute_run" in part or "spawn_main" in part for part in _command(child))
        ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _family(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def dagster(place: Place, *, daemon: bool = False, module: str = "quant_assets.definitions") -> Iterator[Dagster]:
    """Start one code server for the webserver and, where asked, the daemon; kill everything at the end."""
    place.prepare()
    code_port, port = free_port(), free_port()
    workspace = place.home / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: quant}}\n")
    python = [sys.executable, "-m"]
    commands = [
        [*python, "dagster", "api", "grpc", "-m", module, "-h", "127.0.0.1", "-p", str(code_port), "-d", str(PROJECT)],
        [*python, "dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)],
    ]
    if daemon:
        commands.append([*python, "dagster._daemon", "run", "-w", str(workspace)])
    running: list[subprocess.Popen[bytes]] = []
    log = (place.home / "processes.log").open("ab")
    try:
        for number, command in enumerate(commands):
            running.append(
                subprocess.Popen(
                    command, cwd=PROJECT, env=place.environment, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )  # fmt: skip
            if number == 0:
                wait_for(lambda: _listens(code_port, running, log.name), "the code server")
        made = Dagster(place, port, running)
        wait_for(lambda: _serves(made, log.name), "the webserver to know the code location")
        yield made
    finally:
        stop(running)
        log.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Let a process of a session of its own end as Ctrl-C does, in 30 s; then kill what is left of that session."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    stop([process])


def stop(running: list[subprocess.Popen[bytes]]) -> None:
    """Kill the processes with their children and grandchildren, and wait until they are gone."""
    family = [child for process in running for child in _family(process.pid)]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for child in family:
        with contextlib.suppress(psutil.Error):
            child.kill()
    for process in running:
        process.wait(10)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"left behind: {alive}"


def _listens(port: int, running: list[subprocess.Popen[bytes]], log: str) -> bool:
    _check_alive(running, log)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _check_alive(running: list[subprocess.Popen[bytes]], log: str) -> None:
    for process in running:
        assert process.poll() is None, f"{process.args} ended:\n{Path(log).read_text()[-3000:]}"


def _serves(made: Dagster, log: str) -> bool:
    _check_alive(made.processes, log)
    query = """{ workspaceOrError { ... on Workspace { locationEntries {
        loadStatus locationOrLoadError { __typename } } } } }"""
    with contextlib.suppress(requests.RequestException):
        entries = made.graphql(query)["workspaceOrError"]["locationEntries"]
        kinds = [entry["locationOrLoadError"]["__typename"] for entry in entries if entry["locationOrLoadError"]]
        assert "PythonError" not in kinds, Path(log).read_text()[-3000:]
        return kinds == ["RepositoryLocation"]
    return False


def copy_of(home: Path, target: Path, environment: Mapping[str, str] | None = None) -> Place:
    """An installation like another one, free to be changed."""
    from tests.conftest import SMALL

    shutil.copytree(home, target, ignore=shutil.ignore_patterns("*.log", "workspace.yaml"))
    return Place(target, SMALL, dict(environment or {}))
