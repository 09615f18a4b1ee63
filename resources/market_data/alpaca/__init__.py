"""Alpaca, through alpaca-py."""

from resources.market_data.alpaca.provider import Alpaca

__all__ = ["Alpaca"]
