"""One running platform for all end-to-end tests: a copy of the small installation, with webserver and daemon.

Its universe is a file with a symbol more than the installation holds, so that the daemon's first tick finds it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.e2e.processes import Dagster, Place, copy_of, dagster


@dataclass
class Platform:
    dagster: Dagster
    hold: Path
    """While this file is there, fetching corporate actions waits."""

    @property
    def reached(self) -> Path:
        """This file tells that a run waits there; the worker's process id is in it."""
        return self.hold.with_suffix(".reached")


@pytest.fixture(scope="session")
def platform(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    universe, config, hold = folder / "universe.txt", folder / "small.yaml", folder / "hold"
    universe.write_text("AAPL\nIBM\nMSFT\nGOOG\n")
    listed = "universe: {symbols: [AAPL, IBM, MSFT]}"
    assert listed in SMALL.read_text()
    config.write_text(SMALL.read_text().replace(listed, f"universe: {{file: {universe}}}"))
    place = copy_of(installation, folder / "home")
    place.config, place.extra = config, {"QUANT_TEST_HOLD": str(hold)}
    with dagster(place, daemon=True, module="tests.e2e.held_location") as running:
        yield Platform(running, hold)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_place(tmp_path: Path) -> Place:
    """An installation in which nothing was ever run."""
    return Place(tmp_path / "home", SMALL)
