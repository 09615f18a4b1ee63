"""Interactive Brokers, through ib_insync or its fork ib_async."""

from resources.market_data.ib.provider import InteractiveBrokers

__all__ = ["InteractiveBrokers"]
