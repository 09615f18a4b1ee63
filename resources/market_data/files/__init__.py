"""Your own Parquet and CSV files."""

from resources.market_data.files.provider import Files

__all__ = ["Files"]
