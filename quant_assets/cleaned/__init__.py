"""From bars as the provider gave them to bars that research may trust: aligned, adjusted, every doubt flagged."""

from quant_assets.cleaned.aggregate import bars_of_quotes, bars_of_trades
from quant_assets.cleaned.clean import CLEANED_SCHEMA, CleanResult, clean
from quant_assets.cleaned.rules import FINDING_SCHEMA
from quant_assets.cleaned.sessions import by_session

__all__ = [
    "CLEANED_SCHEMA",
    "FINDING_SCHEMA",
    "CleanResult",
    "bars_of_quotes",
    "bars_of_trades",
    "by_session",
    "clean",
]
