"""A market made up from a seed."""

from resources.market_data.synthetic.provider import Synthetic

__all__ = ["Synthetic"]
