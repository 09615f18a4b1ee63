"""What the live job leaves for people to look at. Observed, never materialized: only trading itself makes them."""

import dagster as dg

from quant_assets.live.frames import EQUITY, EXECUTIONS, POSITIONS
from quant_assets.metadata import columns

_ASSETS = {
    "executions": (EXECUTIONS, "Every fill of the session, once, as the venue reported it."),
    "positions": (POSITIONS, "What is held, at the venue's last price."),
    "equity": (EQUITY, "Cash and equity at each observation of the session."),
}


def specs(sessions: dg.PartitionsDefinition) -> list[dg.AssetSpec]:
    """The external assets live/executions, live/positions and live/equity, partitioned by session."""
    return [
        dg.AssetSpec(
            dg.AssetKey(["live", name]),
            deps=[dg.AssetKey(["signals", "daily"])],
            description=f"{description} Observed by the live job, about once a minute and at its end.",
            group_name="live",
            kinds={"polars", "parquet"},
            owners=["team:trading"],
            partitions_def=sessions,
            metadata=columns(schema),
        )
        for name, (schema, description) in _ASSETS.items()
    ]
