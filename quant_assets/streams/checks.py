"""Whether anything is missing of what the stream job followed.

Without the machinery of quant_assets.checks, which loads the features: the live location stays a light one.
"""

import dagster as dg

from quant_assets.metadata import preview
from quant_assets.streams.assets import FINDINGS_KEY
from quant_assets.streams.gaps import DESCRIPTION, NO_GAPS, judged


@dg.asset_check(asset=FINDINGS_KEY, name=NO_GAPS, description=DESCRIPTION, required_resource_keys={"lake"})
def no_gaps(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    verdict = judged(context.resources.lake)
    metadata = {**verdict.facts, "findings": preview(verdict.findings, 20)}
    return dg.AssetCheckResult(passed=verdict.passed, metadata=metadata)


checks = [no_gaps]
