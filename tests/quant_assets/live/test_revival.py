"""Which code locations are started again, and how often; with real servers: test_live_processes.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from quant_assets.live import revival
from quant_assets.live.revival import AGAIN_SECONDS, dead, revive


def workspace(**locations: str | None) -> dict[str, Any]:
    """The UI's answer where each location is loaded (""), still loading (None), or failed with that class of error."""
    found = [
        {"name": name, "locationOrLoadError": None if error is None else {"className": error} if error else {}}
        for name, error in locations.items()
    ]
    return {"workspaceOrError": {"locationEntries": found}}


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (workspace(quant="", live=""), []),
        (workspace(quant="", live="DagsterUserCodeUnreachableError"), ["live"]),
        (workspace(quant="DagsterUserCodeLoadError", live=None), []),
        ({"workspaceOrError": {}}, []),
    ],
    ids=["all is well", "one is dead", "code that does not load, and a location still loading", "no workspace yet"],
)
def test_only_servers_that_cannot_be_reached_are_dead(answer: dict[str, Any], names: list[str]) -> None:
    assert dead(answer) == names


@pytest.fixture
def page() -> Iterator[tuple[str, list[str]]]:
    """The address of a UI on which `live` is dead for good, and the names it was asked to reload."""
    asked: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["variables"]:
                asked.append(body["variables"]["name"])
            answer = {"data": workspace(quant="", live=revival.UNREACHABLE)}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_dead_location_is_reloaded_once_and_then_left_time_to_come_back(page: tuple[str, list[str]]) -> None:
    url, asked = page
    reloaded: dict[str, float] = {}
    for _ in range(3):
        revive(url, reloaded)
    assert asked == ["live"]
    reloaded["live"] -= AGAIN_SECONDS
    revive(url, reloaded)
    assert asked == ["live", "live"]
