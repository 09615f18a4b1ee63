"""Binance, through python-binance."""

from resources.market_data.binance.provider import Binance

__all__ = ["Binance"]
