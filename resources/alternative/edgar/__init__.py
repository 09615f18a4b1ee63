"""Filings with the United States' Securities and Exchange Commission, from EDGAR's own JSON and XML."""

from resources.alternative.edgar.facts import COMMON_CONCEPTS
from resources.alternative.edgar.source import Edgar

__all__ = ["COMMON_CONCEPTS", "Edgar"]
