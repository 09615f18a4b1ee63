"""A ClickHouse to test against: its engine behind HTTP on loopback, one a test session."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from resources.config_warehouse import WarehouseSettings
from resources.warehouse.clickhouse import ClickHouse


class Front:
    """front.py running over a folder. Ended with the `with`; `kill` ends it at once, as a power cut does."""

    def __init__(self, folder: Path, *tls: Path) -> None:
        self._folder, self._tls = folder, tls
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        self._folder.mkdir(exist_ok=True)
        script = Path(__file__).with_name("front.py")
        command = [sys.executable, script, self._folder / "engine", port_file, *self._tls]
        self._process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE)
        until = time.monotonic() + 60
        while not port_file.exists():
            assert self._process.poll() is None, "the front ended before it listened"
            assert time.monotonic() < until, "the front does not listen"
            time.sleep(0.02)
        self.port = int(port_file.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def settings(self, **changed: object) -> WarehouseSettings:
        return WarehouseSettings.model_validate({"engine": "clickhouse", "port": self.port, **changed})


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    pytest.importorskip("chdb", reason="chDB, ClickHouse's engine, is not installed (extra clickhouse)")
    pytest.importorskip("clickhouse_connect")
    with Front(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def warehouse(front: Front, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """An empty database of the test's own."""
    name = "t_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name.lower())[:60]
    with ClickHouse.connect(front.settings(database=name)) as catalog:
        yield catalog
        catalog.command(f"DROP DATABASE `{name}` SYNC")
