"""The guard itself: a test that reaches beyond this machine fails, in Python's sockets as in C clients."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

FAR = ("192.0.2.1", 80)  # set aside for documentation (RFC 5737): nobody is there


@pytest.mark.parametrize("host", ["192.0.2.1", "example.com", "2001:db8::1"])
def test_a_far_address_is_refused(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as plug, pytest.raises(AssertionError, match=f"reached for {host}"):
        plug.connect((host, 80))


def test_helpers_of_the_standard_library_are_guarded_too() -> None:
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        socket.create_connection(FAR, timeout=0.1)


@pytest.mark.parametrize("connect", [socket.socket.connect, socket.socket.connect_ex])
def test_loopback_is_open(connect: Callable[[socket.socket, tuple[str, int]], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as plug:
        assert not connect(plug, server.getsockname())


def test_unix_sockets_are_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as plug:
        server.bind(path)
        server.listen()
        assert plug.connect_ex(path) == 0


def test_a_client_in_c_reaches_nothing() -> None:
    requests = pytest.importorskip("curl_cffi.requests")
    with pytest.raises(requests.exceptions.RequestException, match="over proxy 127"):
        requests.get(f"http://{FAR[0]}/", timeout=5)


def test_the_users_installation_is_hidden() -> None:
    from resources.config import load

    settings = load()
    assert settings.name == "small"
    assert settings.home.name.startswith("quant-tests-")
    assert settings.lake_url == str(settings.home / "lake")
