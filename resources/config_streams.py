"""What the stream job follows and keeps (docs/streams.md). The venue is that of the installation's provider."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from resources.streams.redis_url import check_url

STREAMED = ("alpaca", "binance", "ib", "yahoo")
"""Providers whose venues stream."""

PLAYED = ("synthetic", "files")
"""Providers whose trades and quotes can be played again."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ReplaySettings(_Settings):
    """A recorded market played again: the provider's trades and quotes, from `start` on."""

    start: AwareDatetime = Field(examples=["2020-03-09T13:30:00Z"])
    hours: float = Field(default=1.0, gt=0, le=24, examples=[1])
    speed: float = Field(default=1.0, gt=0, le=10_000, description="times as fast as it was", examples=[60])

    @field_validator("start")
    @classmethod
    def _in_utc(cls, start: datetime) -> datetime:
        return start.astimezone(UTC)


class KafkaSettings(_Settings):
    """A topic of Kafka on which the gateway's events go to other processes (docs/streams.md, Carriers).

    Name and password are never part of it: KAFKA_USERNAME and KAFKA_PASSWORD of the environment, with sasl_*.
    """

    servers: str = Field(
        default="localhost:9092", min_length=1, description="brokers as host:port, by commas",
        examples=["broker-1:9092,broker-2:9092"],
    )  # fmt: skip
    name: str = Field(
        default="market", pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="of the topic, which is for this gateway alone", examples=["us-trades"],
    )  # fmt: skip
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext", examples=["sasl_ssl"]
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="with sasl_*", examples=["SCRAM-SHA-512"]
    )
    ca_file: Path | None = Field(
        default=None, description="of the certificate that signed the brokers'", examples=["configs/ca.pem"]
    )
    compression: Literal["none", "lz4", "zstd"] = Field(default="lz4", examples=["zstd"])
    connect_seconds: float = Field(
        default=10.0, gt=0, le=86_400, description="a broker must answer within these at first", examples=[10]
    )
    outage_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="brokers that are away for longer end the run", examples=[600]
    )

    @field_validator("servers")
    @classmethod
    def _without_secrets(cls, servers: str) -> str:
        if "@" in servers:
            raise ValueError(
                "holds a name or password; put them into KAFKA_USERNAME and KAFKA_PASSWORD of the environment"
            )
        return servers


class RedisSettings(_Settings):
    """A Redis in which the newest of each symbol is kept for other processes (docs/streams.md, Cache).

    Name and password are never part of it: REDIS_USERNAME and REDIS_PASSWORD of the environment.
    """

    url: str = Field(
        default="redis://localhost:6379/0", description="rediss:// with TLS", examples=["redis://cache-1:6379/0"]
    )
    name: str = Field(default="market", min_length=1, description="begins all keys", examples=["us"])
    alive_seconds: float = Field(
        default=15.0,
        gt=0,
        le=86_400,
        description="without a word for so long the session counts as dead",
        examples=[15],
    )
    connect_seconds: float = Field(default=5.0, gt=0, le=86_400, description="for an answer", examples=[5])
    outage_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="the newest waits so long for Redis; then it begins anew",
        examples=[600],
    )  # fmt: skip

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        check_url(url)
        return url


class StreamSettings(_Settings):
    """Which lines are followed, when, and how often they are stored."""

    kinds: tuple[Literal["trade", "quote", "bar"], ...] = Field(
        default=("trade",), min_length=1, description="bar: the venue's own, of a minute", examples=[["trade", "quote"]]
    )
    symbols: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="the universe by default", examples=[["AAPL", "MSFT"]]
    )
    feed: Literal["iex", "sip", "crypto"] | None = Field(
        default=None, description="of Alpaca; the provider's by default", examples=["iex"]
    )
    timeframe: Literal["1m", "5m", "15m", "30m", "1h"] | None = Field(
        default="1m", description="of the bars that are made of the trades; null: none", examples=["1m"]
    )
    keep_alive: bool = Field(
        default=False,
        description="the supervisor starts the job for every session and again when it dies; else by hand",
        examples=[True],
    )
    before_minutes: float = Field(
        default=5.0, ge=0, le=720, description="how long before the session opens the job begins", examples=[5]
    )
    after_minutes: float = Field(
        default=5.0, ge=0, le=720, description="how long after the close it ends; the next session's job goes first",
        examples=[5],
    )  # fmt: skip
    flush_seconds: float = Field(
        default=5.0, gt=0, le=300, description="what came is stored so often", examples=[5]
    )  # fmt: skip
    flush_events: int = Field(default=100_000, ge=1, description="or when so many have come", examples=[100_000])
    rotate_minutes: float = Field(
        default=60.0, gt=0, le=1440, description="what is stored goes to its partitions so often", examples=[60]
    )
    rotate_rows: int = Field(default=5_000_000, ge=1, description="or when so many are stored", examples=[5_000_000])
    silence_seconds: float = Field(
        default=30.0, gt=0, description="a connection on which nothing came for so long is made again", examples=[30]
    )
    repair_delay_seconds: float = Field(
        default=2.0, ge=0, description="REST has an event so late; 960 for Alpaca's sip on the free plan", examples=[2]
    )
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=60, examples=[5])
    observe_seconds: float = Field(default=60.0, ge=60, le=3600, examples=[60])
    replay: ReplaySettings | None = Field(
        default=None, description="with a provider that does not stream", examples=[{"start": "2020-03-09T13:30:00Z"}]
    )

    kafka: KafkaSettings | None = Field(
        default=None, description="a topic that gets all that the gateway tells; else it stays in the process",
        examples=[{"servers": "broker-1:9092", "name": "us-trades"}],
    )  # fmt: skip
    cache: RedisSettings | None = Field(
        default=None, description="a Redis that holds the newest quote and trade of each symbol",
        examples=[{"url": "redis://localhost:6379/0", "name": "us"}],
    )  # fmt: skip

    @field_validator("symbols")
    @classmethod
    def _each_once(cls, symbols: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for at, symbol in enumerate(symbols or ()):
            if not symbol or symbol != symbol.strip() or symbol in (symbols or ())[:at]:
                raise ValueError(f"{symbol!r} is empty, has spaces around it or stands twice; for example [AAPL, MSFT]")
        return symbols

    @model_validator(mode="after")
    def _bars_once(self) -> StreamSettings:
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds: {list(self.kinds)} has one twice; for example [trade, quote]")
        if "bar" in self.kinds and "trade" in self.kinds and self.timeframe == "1m":
            raise ValueError(
                "kinds: bars of a minute come from the venue and are made of the trades as well; leave bar out of "
                "kinds, or set timeframe: null or longer than 1m"
            )
        return self

    def check(self, provider: str) -> None:
        """Raise ValueError where the provider of this name has nothing that could be followed so."""
        if provider not in STREAMED + PLAYED:
            raise ValueError(
                f"streams: provider {provider} has no trades and quotes; take one of {', '.join(STREAMED + PLAYED)}"
            )
        if provider in PLAYED and self.replay is None:
            raise ValueError(
                f"streams.replay: provider {provider} does not stream; say from when on it is played, for example "
                "replay: {start: 2020-03-09T13:30:00Z}"
            )
        if provider in STREAMED and self.replay is not None:
            raise ValueError(f"streams.replay: provider {provider} streams by itself; leave replay out")
        if provider != "alpaca" and self.feed is not None:
            raise ValueError(f"streams.feed: {self.feed!r} is one of Alpaca's, and the provider is {provider}")
        if self.replay is not None and "bar" in self.kinds:
            raise ValueError("streams.kinds: a replay has trades and quotes; bars are made of the trades (timeframe)")
