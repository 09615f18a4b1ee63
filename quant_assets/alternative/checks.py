"""Whether records are what they say they are, in an order that the past can be asked in.

Each check judges a run as a whole: a word about each partition, of seven assets, was half of what they cost to make.
"""

from collections.abc import Callable

import dagster as dg

from quant_assets.alternative.assets import KINDS, SPOKEN
from quant_assets.alternative.verdicts import versions_in_order
from quant_assets.checks import pure_check, run_rows, suite_check
from quant_assets.partitions import HISTORY
from quant_assets.quality import Verdict
from resources.alternative.base import Kind


def _in_order(kind: Kind) -> Callable[[dg.AssetCheckExecutionContext], Verdict]:
    rows = run_rows(("alternative", kind), HISTORY)
    return lambda context: versions_in_order(rows(context).collect())


def _checks_of(kind: Kind) -> list[dg.AssetChecksDefinition]:
    """The checks of a kind's asset."""
    asset = ("alternative", kind)
    return [
        suite_check(
            "alternative",
            run_rows(asset, HISTORY),
            asset=asset,
            partitions_def=HISTORY,
            required_resource_keys=["lake"],
        ),
        pure_check(
            asset,
            "versions_in_order",
            _in_order(kind),
            description="Each version of a record is known later than the one before it and says something else.",
            blocking=True,
            partitions_def=HISTORY,
            required_resource_keys=["lake"],
        ),
    ]


checks = [
    *(check for kind in KINDS for check in _checks_of(kind)),
    *(
        [
            suite_check(
                "sentiment",
                run_rows(("alternative", "sentiment"), HISTORY),
                partitions_def=HISTORY,
                required_resource_keys=["lake"],
            ),
            suite_check("entities", run_rows(("alternative", "entities"), None), required_resource_keys=["lake"]),
        ]
        if SPOKEN
        else []
    ),
]
