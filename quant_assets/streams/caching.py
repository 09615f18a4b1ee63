"""The cache that a stream job keeps beside what it stores: trouble with Redis neither ends the run nor holds it up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from resources.streams.base import Batch
from resources.streams.cache import Cache, CacheError, FollowedError
from resources.streams.carriers.memory import SlowReaderError
from resources.streams.gateway import first_of

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""So long after it was given up the cache is tried again."""

LAST_SECONDS = 2.0
"""So long the end of a run waits for Redis to take what was told last."""

Events = Callable[[], AsyncGenerator[Batch, None]]


@asynccontextmanager
async def kept(cache: Cache | None, events: Events) -> AsyncGenerator[None, None]:
    """Within it the cache, if there is one, follows what `events` begins to tell. It is left when the events have
    ended: then the last of them are tried to be written once, and no longer than `LAST_SECONDS`."""
    if cache is None:
        yield
        return
    over = asyncio.Event()
    following = asyncio.create_task(_keep(cache, events, over))
    try:
        yield
    finally:
        over.set()
        try:
            await asyncio.wait([following], timeout=LAST_SECONDS)
        finally:
            if following.cancel():
                LOG.error("The cache does not hold what was told last: Redis did not take it in %g s", LAST_SECONDS)


async def _keep(cache: Cache, events: Events, over: asyncio.Event) -> None:
    """Follow until the events end. What goes wrong with Redis is logged, and then it is followed anew, unless all is
    `over`; for good it ends where another follows, or by what ended the events."""
    while not over.is_set():
        try:
            await cache.follow(events())
            return
        except Exception as error:  # what ended the gateway is raised by the run itself
            if isinstance(error, FollowedError) or not isinstance(error, CacheError | SlowReaderError):
                LOG.error("The cache is not kept by this run any more: %s", error)
                return
            again = "" if over.is_set() else f". It is tried again every {PAUSE_SECONDS:g} s"
            LOG.error("The cache is not kept: %s%s", error, again)
        await first_of(over.wait(), asyncio.sleep(PAUSE_SECONDS))
