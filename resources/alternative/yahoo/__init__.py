"""Yahoo Finance's statements, insiders' transactions and ESG ratings, through yfinance's connection."""

from resources.alternative.yahoo.source import Yahoo

__all__ = ["Yahoo"]
