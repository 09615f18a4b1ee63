"""The platform's own code location, with a provider that can be made to wait.

While the file that QUANT_TEST_HOLD names is there, fetching corporate actions does not return: a run stands still in
its second step for as long as a test needs to look at it, or to kill it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.record import copy

from quant_assets import definitions
from quant_assets.partitions import SETTINGS
from resources.market_data import create


class Held:
    """The configured provider behind a gate."""

    def __init__(self) -> None:
        self._provider = create(SETTINGS)
        self._hold = Path(os.environ["QUANT_TEST_HOLD"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def corporate_actions(self, *asked: Any) -> Any:
        while self._hold.exists():
            self._hold.with_suffix(".reached").write_text(str(os.getpid()))
            time.sleep(0.05)
        return self._provider.corporate_actions(*asked)


defs = copy(
    definitions.defs,
    resources={**definitions.defs.resources, "provider": dg.ResourceDefinition.hardcoded_resource(Held())},
)
