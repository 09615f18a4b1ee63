"""The servers that `make ui` and `make mlflow` become: refused, before anything starts, where they cannot listen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets import ui
from resources.config import PROJECT
from resources.errors import ConfigError


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the process would have become, and a home that nothing may touch before."""
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    calls: list[object] = []
    monkeypatch.setattr(os, "execvp", lambda program, command: calls.append(command))
    monkeypatch.setattr(os, "execv", lambda program, command: calls.append(command))
    return calls


def test_a_taken_port_is_refused_before_anything_starts(started: list[object], busy: int, tmp_path: Path) -> None:
    with pytest.raises(ui.PortError, match=rf"^port {busy} on 127\.0\.0\.1: Address already in use\. .*make ui PORT="):
        ui.dagster("127.0.0.1", busy)
    with pytest.raises(ui.PortError, match=rf"^port {busy} .* in use\. Take another, for example make mlflow MLFLOW_P"):
        ui.mlflow(busy)
    assert started == []
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no such host", 3000)])
def test_what_no_server_can_listen_on_is_refused(started: list[object], host: str, port: int) -> None:
    with pytest.raises(ui.PortError, match=f"^port {port} on {host}: "):
        ui.dagster(host, port)
    assert started == []


def test_a_free_port_is_served(started: list[object], busy: int) -> None:
    free = next(port for port in range(busy + 1, 65_536) if ui._fault("127.0.0.1", port) is None)
    ui.dagster("127.0.0.1", free)
    ui.mlflow(free)
    assert len(started) == 2
    assert str(free) in str(started[0])
    assert f"--port {free}" in str(started[1])


def test_pages_of_a_server_elsewhere_need_no_port(
    started: list[object], busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ui.mlflow(busy)
    assert len(started) == 1


def test_a_home_that_cannot_be_made_is_named(started: list[object], busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_HOME", f"{__file__}/home")
    free = next(port for port in range(busy + 1, 65_536) if ui._fault("127.0.0.1", port) is None)
    for call in (lambda: ui.dagster("127.0.0.1", free), lambda: ui.mlflow(free)):
        with pytest.raises(ConfigError, match=r"^QUANT_HOME: "):
            call()
    assert started == []


def test_make_ends_in_one_line(busy: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quant_assets", "ui", "--port", str(busy)],
        cwd=PROJECT, env=os.environ | {"QUANT_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"PortError: port {busy} on 127.0.0.1: ")
    assert done.stderr.count("\n") == 1
