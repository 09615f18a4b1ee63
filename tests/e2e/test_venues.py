"""From the wire to the asset: each provider and asset class, by the real client, through the real graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resources.config import PROJECT
from tests.e2e.processes import wait_for
from tests.e2e.venue_world import CASES, HELD

pytestmark = pytest.mark.slow

KILLED = "alpaca shares over two months"


def start(case: str, folder: Path, *how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.e2e.venue_world", case, str(folder), *how],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]


@pytest.mark.parametrize("case", [name for name in CASES if name != KILLED])
def test_what_the_venue_said_is_what_the_lake_has(case: str, tmp_path: Path) -> None:
    finish(start(case, tmp_path))


def test_a_killed_download_goes_on_where_it_was(tmp_path: Path) -> None:
    held = start(KILLED, tmp_path, HELD)
    downloads = tmp_path / "home" / "downloads"
    try:
        wait_for(lambda: len(list(downloads.glob("*.parquet"))) == 2, "the first month of both symbols")
    finally:
        held.kill()
        held.communicate()
    assert not list((tmp_path / "home" / "lake").rglob("*.parquet")), "nothing was written"
    finish(start(KILLED, tmp_path, "again"))
    assert not list(downloads.glob("*")), "downloads are gone once they are written"
