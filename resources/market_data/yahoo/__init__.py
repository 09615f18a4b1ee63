"""Yahoo Finance, through yfinance."""

from resources.market_data.yahoo.provider import Yahoo

__all__ = ["Yahoo"]
