"""The backtest report: one HTML page that opens anywhere without a network, and a small picture of the same.

daily.py       the account by session and the charts of it     market.py   prices with the fills on them
evidence.py    tests, intervals and overfitting                 heatmaps.py monthly returns, a sweep's parameters
rows.py        tiles, costs, trades, where it comes from        geometry.py lines and axes as SVG
document.py    puts the page together, thumbnail.py the PNG; page.html.j2 and what it includes is the page itself
"""

from __future__ import annotations

from quant_assets.backtests.report.document import page
from quant_assets.backtests.report.thumbnail import picture
from quant_assets.backtests.verdict.caveats import Provenance, caveats, verdict

__all__ = ["Provenance", "caveats", "page", "picture", "verdict"]
