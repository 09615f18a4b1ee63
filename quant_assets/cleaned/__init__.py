"""From bars as the provider gave them to bars that research may trust: aligned, adjusted, every doubt flagged."""

from quant_assets.cleaned.clean import CLEANED_SCHEMA, CleanResult, clean
from quant_assets.cleaned.rules import FINDING_SCHEMA

__all__ = ["CLEANED_SCHEMA", "FINDING_SCHEMA", "CleanResult", "clean"]
