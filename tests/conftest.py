"""What every test shares: no network beyond this machine, an installation of its own, the shared market data."""

from __future__ import annotations

import gc
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

PROJECT = Path(__file__).resolve().parent.parent
SMALL = PROJECT / "tests" / "small.yaml"

# Before any import of quant_assets, which reads its configuration then: hide the user's installation behind one
# of the tests' own. Every xdist worker has its own.
for _name in list(os.environ):
    if _name.startswith("QUANT_") and _name not in ("QUANT_SHARED_DATA", "QUANT_SCREENSHOTS"):
        del os.environ[_name]
HOME = Path(tempfile.mkdtemp(prefix="quant-tests-"))
os.environ.update(QUANT_CONFIG=str(SMALL), QUANT_HOME=str(HOME), DAGSTER_DISABLE_TELEMETRY="1")


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays to the end: the collector of garbage need not walk it all again and
    again, which would take a quarter of the time of many tests."""
    gc.collect()
    gc.freeze()


# The same examples on every run and machine, and no failure because a machine is busy.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("project")


def _refuse_far_address(family: int, address: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = address[0]
    try:
        near = host in ("localhost", "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near:
        raise AssertionError(f"a test reached for {host}: tests talk to loopback only")


def _guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: socket.socket, address: Any, *rest: Any) -> Any:
        _refuse_far_address(self.family, address)
        return real(self, address, *rest)

    return call


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Refuse connections to anything but this machine.

    Python's sockets are guarded here. Clients in C (libcurl) are sent to a proxy that is not there,
    and those of curl_cffi besides take `tests.venues.yahoo.LoopbackSession`, which names the address it refuses.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
            patch.setenv(name.upper(), "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "localhost,127.0.0.1,::1")
        yield


@pytest.fixture(scope="session")
def installation() -> Path:
    """Home of the small installation with its whole graph materialized, once a session. Leave it as it is."""
    from quant_assets import launch

    launch.everything(progress=lambda line: None)
    return HOME


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for what a test puts on record itself: in the installation's it would count as tries of its strategies."""
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data: QUANT_SHARED_DATA, or `shared/data` beside the project; skips without it."""
    folder = Path(os.environ.get("QUANT_SHARED_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "sp500_daily.parquet").is_file():
        pytest.skip(f"no shared market data in {folder}; set QUANT_SHARED_DATA")
    return folder
