"""What the stream job leaves for people to look at. Materialized by the job alone, when rows go to their partitions."""

import dagster as dg

from quant_assets.metadata import columns
from resources.config_streams import StreamSettings
from resources.streams.rows import BARS, FINDINGS, QUOTES, TRADES

PREFIX = "streams"
FINDINGS_KEY = dg.AssetKey([PREFIX, "findings"])

DAYS = dg.DailyPartitionsDefinition("2000-01-01", end_offset=1)
"""Days in UTC. In the lake each is cut by symbol as well, like market_data/trades."""

_ASSETS = {
    "trades": (TRADES, (), "Trades as the venue told them while they happened, each once, missed ones repaired."),
    "quotes": (QUOTES, (), "Quotes as the venue told them while they happened, each once, missed ones repaired."),
    "bars": (BARS, ("trades",), "Bars of the trades (or the venue's own), each as it was told last."),
    "findings": (
        FINDINGS,
        ("trades", "quotes"),
        "What was not delivered, what became of it, and how connections were.",
    ),
}


def names(settings: StreamSettings) -> list[str]:
    """The tables that these settings fill."""
    made = [name for kind, name in (("trade", "trades"), ("quote", "quotes")) if kind in settings.kinds]
    bars = "bar" in settings.kinds or ("trade" in settings.kinds and settings.timeframe is not None)
    return [*made, *(["bars"] if bars else []), "findings"]


def specs(settings: StreamSettings) -> list[dg.AssetSpec]:
    """The external assets streams/trades, quotes, bars and findings, partitioned by day."""
    there = names(settings)
    return [
        dg.AssetSpec(
            dg.AssetKey([PREFIX, name]),
            deps=[dg.AssetKey([PREFIX, other]) for other in deps if other in there],
            description=description,
            group_name="streams",
            kinds={"polars", "parquet"},
            owners=["team:data"],
            partitions_def=DAYS,
            metadata=columns(schema),
        )
        for name, (schema, deps, description) in _ASSETS.items()
        if name in there
    ]
