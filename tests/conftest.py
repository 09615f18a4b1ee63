"""What every test shares: no network beyond this machine, no installation of the user's, the shared market data."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

PROJECT = Path(__file__).resolve().parent.parent

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


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide the user's installation: no QUANT_ variable reaches a test but the place of the shared data."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("QUANT_") and name != "QUANT_SHARED_DATA":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data: QUANT_SHARED_DATA, or `shared/data` beside the project; skips without it."""
    folder = Path(os.environ.get("QUANT_SHARED_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "sp500_daily.parquet").is_file():
        pytest.skip(f"no shared market data in {folder}; set QUANT_SHARED_DATA")
    return folder
