"""A paper venue: the simulated exchange of the backtests, fed with recorded bars, with a memory of its own.

feed.py     a session's bars as the day goes by, and the clock of the replayed day
ledger.py   the venue's books in one SQLite file, which outlive whoever trades there
calls.py    what the exchange is told, written down and told again
broker.py   the broker protocol on top of both
"""

from resources.brokers.paper.broker import PaperBroker
from resources.brokers.paper.feed import Feed
from resources.brokers.paper.ledger import PaperVenueError

__all__ = ["Feed", "PaperBroker", "PaperVenueError"]
