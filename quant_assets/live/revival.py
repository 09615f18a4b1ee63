"""Starts the code server of a location again when it was killed, for as long as the Dagster UI runs.

`dagster dev` restarts its own processes, and not the code server that a code location's definitions live in. Once
that is dead its sensors tick no more, until somebody presses Reload. For the live location that is the supervisor
itself: nobody would be left to replace a trader killed along with it. This process presses Reload.

Only a server that cannot be reached is started again; code that does not load is the user's to mend.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException
from typing import Any

UNREACHABLE = "DagsterUserCodeUnreachableError"
"""How Dagster names a location whose code server does not answer; it says so about 10 s after the server's death."""

LOOK_SECONDS = 5.0

AGAIN_SECONDS = 60.0
"""How long a location that was reloaded is left alone: its error stands for a while after its server is back."""

TIMEOUT_SECONDS = 120.0
"""A reload answers once the location's modules are imported."""

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    name locationOrLoadError { ... on PythonError { className } } } } } }"""
_RELOAD = "mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"


def watch(url: str) -> None:
    """Begin to watch the UI at `url` from a process of its own, which ends with the calling process."""
    subprocess.Popen([sys.executable, "-m", "quant_assets.live.revival", url], stdin=subprocess.DEVNULL)


def dead(workspace: dict[str, Any]) -> list[str]:
    """Names of the locations in the UI's answer whose code servers cannot be reached."""
    entries = workspace["workspaceOrError"].get("locationEntries") or []
    return [entry["name"] for entry in entries if (entry["locationOrLoadError"] or {}).get("className") == UNREACHABLE]


def revive(url: str, reloaded: dict[str, float]) -> None:
    """One look: reload what is dead. `reloaded` says when each location last was, and is kept up to date."""
    for name in dead(_ask(url, _LOCATIONS)):
        if time.monotonic() - reloaded.get(name, -AGAIN_SECONDS) < AGAIN_SECONDS:
            continue
        reloaded[name] = time.monotonic()
        print(f"code location {name}: its code server is gone; starting it again", flush=True)
        _ask(url, _RELOAD, name=name)


def _ask(url: str, query: str, **variables: str) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        data: dict[str, Any] = json.load(answer).get("data") or {"workspaceOrError": {}}
        return data


def main() -> None:
    url, parent = sys.argv[1], os.getppid()
    reloaded: dict[str, float] = {}
    while os.getppid() == parent:
        with contextlib.suppress(OSError, HTTPException, ValueError):  # the UI is not up yet, or just going down
            revive(url, reloaded)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit()
