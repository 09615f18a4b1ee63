"""The stream job's work as an installation's settings describe it: lines, venue, clock, whom to ask for gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial

import polars as pl

from quant_assets.streams.station import Feed, Task
from quant_assets.streams.windows import Window, followed, window, windows_before
from quant_assets.streams.world import StreamWorld
from resources.config import PROJECT, Settings
from resources.config_providers import AlpacaSettings, InteractiveBrokersSettings
from resources.config_streams import KafkaSettings, RedisSettings, ReplaySettings
from resources.errors import ConfigError, NoDataError
from resources.instance import at_work
from resources.lake import Lake
from resources.market_data import create
from resources.market_data.base import Partial, Provider, no_rows
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from resources.streams.base import Line, Source
from resources.streams.cache import Cache, CacheSettings
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import Topic
from resources.streams.clock import SECOND, Clock, FastClock, SystemClock
from resources.streams.owed import Sessions
from resources.streams.patience import Patience
from resources.streams.repair import EPOCH, instant
from resources.streams.sources.recorded import Numbered, Recorded


def task(settings: Settings, window: Window, symbols: Sequence[str]) -> Task:
    """What a run of this window follows; `symbols` is the universe, for settings that name none of their own."""
    streams = followed(settings)
    names = streams.symbols or tuple(symbols)
    replay = streams.replay
    return Task(
        provider=settings.provider.name,
        lines=tuple(Line(name, kind) for kind in streams.kinds for name in names),
        owed=micros(window.owed),
        sessions=_sessions(settings, window),
        open=lambda newest: played(settings, replay, names, newest) if replay else venue(settings),
        patience=Patience(
            silence=1e9 if replay else streams.silence_seconds, repair_delay=streams.repair_delay_seconds
        ),
        timeframe=streams.timeframe if "trade" in streams.kinds else None,
        flush_seconds=streams.flush_seconds,
        flush_events=streams.flush_events,
        rotate_seconds=streams.rotate_minutes * 60,
        rotate_rows=streams.rotate_rows,
        topic=partial(topic, streams.kafka) if streams.kafka is not None else None,
        cache=partial(cache, streams.cache) if streams.cache is not None else None,
    )


def _sessions(settings: Settings, window: Window) -> Sessions | None:
    """When the window ends, and those before it; a replay's waits for whoever goes on with it."""
    if window.ends is None:
        return None

    def before(since: int) -> list[tuple[int, int]]:
        over = windows_before(settings, instant(since), window.owed)
        return [(micros(begin), micros(end)) for begin, end in over]

    return Sessions(micros(window.ends), before)


def topic(kafka: KafkaSettings, clock: Clock) -> Kafka:
    """The carrier of these settings."""
    return Kafka(
        Topic(
            servers=kafka.servers,
            name=kafka.name,
            security=kafka.security,
            mechanism=kafka.mechanism,
            ca_file="" if kafka.ca_file is None else str(PROJECT / kafka.ca_file),
            compression=kafka.compression,
            connect=kafka.connect_seconds,
            outage=kafka.outage_seconds,
        ),
        clock=clock,
    )


def cache(redis: RedisSettings, clock: Clock) -> Cache:
    """The cache of these settings."""
    kept = CacheSettings(
        url=redis.url,
        name=redis.name,
        alive=redis.alive_seconds,
        connect=redis.connect_seconds,
        outage=redis.outage_seconds,
    )
    return Cache(kept, clock=clock)


def micros(when: datetime) -> int:
    """An aware datetime as UTC microseconds."""
    return (when - EPOCH) // timedelta(microseconds=1)


def venue(settings: Settings) -> Feed:
    """The venue of the settings' provider, and the provider for what its stream missed."""
    named = settings.provider
    if isinstance(named, InteractiveBrokersSettings):  # it lets each client in once, and other runs ask as the first
        named = named.model_copy(update={"client_id": named.client_id + 2})
    provider = create(settings.model_copy(update={"provider": named}))
    return Feed(source(settings, provider), SystemClock(), history(settings, provider))


def source(settings: Settings, provider: Provider) -> Source:
    """The stream of the provider's venue. Raises MissingSecretError where its keys are not in the environment."""
    streams, named = followed(settings), settings.provider
    if isinstance(named, AlpacaSettings):
        from resources.streams.sources.alpaca import AlpacaStream

        return AlpacaStream(streams.feed or named.feed)
    if named.name == "binance":
        from resources.streams.sources.binance import BinanceStream

        return BinanceStream()
    if named.name == "yahoo":
        from resources.streams.sources.yahoo import YahooStream

        return YahooStream()
    if isinstance(named, InteractiveBrokersSettings):
        from resources.streams.sources.ib import IBStream

        return IBStream(named.host, named.port, named.client_id + 1)
    raise ConfigError(f"streams: provider {named.name} does not stream")


def history(settings: Settings, provider: Provider) -> Provider | None:
    """Whom to ask for what a stream missed; None where there is no history of ticks."""
    if settings.provider.name == "yahoo":
        return None
    if settings.provider.name == "ib":
        from resources.streams.sources.ib_alike import Counted

        return Counted(provider)
    return provider


class Until(Partial):
    """A provider's trades and quotes before an instant: of what is played nothing has happened after its end."""

    offers = "trades and quotes"

    def __init__(self, provider: Provider, until: datetime) -> None:
        self.name, self._provider, self._until = provider.name, provider, until

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As the provider's. Raises NoDataError where all that is asked for is later."""
        return self._provider.trades(symbols, start, self._end(symbols, start, end))

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As `trades`."""
        return self._provider.quotes(symbols, start, self._end(symbols, start, end))

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        raise self.not_offered("bars")

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        raise self.not_offered("splits and dividends")

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        raise self.not_offered("instruments")

    def _end(self, symbols: Sequence[str], start: datetime, end: datetime) -> datetime:
        if start >= self._until:
            raise no_rows(self.name, symbols, start.date(), end.date(), f"what was before {self._until}")
        return min(end, self._until)


def played(settings: Settings, replay: ReplaySettings, symbols: Sequence[str], newest: int | None) -> Feed:
    """The provider's rows of the replay's hours. One that goes on after another begins where that one had come to:
    the recorded market waited for it."""
    provider, until = create(settings), replay.start + timedelta(hours=replay.hours)
    begins = replay.start if newest is None else instant(newest)
    kinds = followed(settings).kinds

    def rows(kind: str) -> pl.LazyFrame | None:
        if kind not in kinds:
            return None
        ask, schema = (provider.trades, TRADE_SCHEMA) if kind == "trade" else (provider.quotes, QUOTE_SCHEMA)
        try:
            return ask(list(symbols), begins + timedelta(microseconds=newest is not None), until)
        except NoDataError:
            if newest is None:
                raise
            return pl.LazyFrame(schema=schema)  # the run before had come to its end

    clock = FastClock(micros(begins), replay.speed)
    tape = Recorded(clock, trades=rows("trade"), quotes=rows("quote"))

    async def over() -> None:
        await tape.over.wait()
        await clock.wait(max(0, micros(until) - clock.now()) / SECOND + TAIL_SECONDS)

    return Feed(tape, clock, Numbered(Until(provider, until)), over, begins=micros(begins))


TAIL_SECONDS = 3.0
"""A replay's clock goes on so long after its end: then its last bars are over."""


def wire(settings: Settings, lake: Lake, symbols: Callable[[], Sequence[str]]) -> StreamWorld:
    """The world that the settings describe. `symbols` gives the universe. Raises ConfigError without streams."""
    return StreamWorld(
        settings=followed(settings),
        lake=lake,
        window=lambda now: window(settings, now),
        task=lambda at: task(settings, at, symbols()),
        alone=lambda who: at_work(settings, who, lock="streams"),
    )
