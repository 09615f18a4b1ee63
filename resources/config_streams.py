"""What the stream job follows and keeps (docs/streams.md). The venue is that of the installation's provider."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

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
