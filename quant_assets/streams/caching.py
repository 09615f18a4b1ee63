"""The cache that a stream job keeps beside what it stores: trouble with Redis does not end the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from resources.streams.base import Batch
from resources.streams.cache import Cache, CacheError, FollowedError

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""So long after it was given up the cache is tried again."""


async def keep(cache: Cache, events: Callable[[], AsyncGenerator[Batch, None]]) -> None:
    """Follow what `events` begins to tell until it ends; raises whatever ended it.

    What goes wrong with Redis is logged, and then it is followed anew; for good it ends where another follows.
    """
    while True:
        try:
            return await cache.follow(events())
        except FollowedError as error:
            LOG.error("The cache is not kept by this run any more: %s", error)
            return None
        except CacheError as error:
            LOG.error("The cache is not kept: %s. It is tried again every %g s", error, PAUSE_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
