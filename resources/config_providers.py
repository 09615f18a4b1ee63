"""Where market data comes from: one settings model a provider, each with the fields of its own and no others.

Keys are never among them: they come from the environment (configs/.env.example).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Provider(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SampleSettings(_Provider):
    """Five US shares, daily, 2000 to 2013; inside the installation."""

    name: Literal["sample"] = Field(examples=["sample"])


class SyntheticSettings(_Provider):
    """A market made up from a seed."""

    name: Literal["synthetic"] = Field(examples=["synthetic"])
    seed: int = Field(default=7, ge=0, description="which market", examples=[7])


class FilesSettings(_Provider):
    """Your own Parquet or CSV files; docs/data.md has their columns."""

    name: Literal["files"] = Field(examples=["files"])
    path: Path = Field(description="bars: a folder, or one file", examples=["data/bars"])
    sectors: Path | None = Field(default=None, description="CSV with Symbol and Sector", examples=["data/sectors.csv"])
    instruments: Path | None = Field(
        default=None,
        description="one row a symbol: asset_class, multiplier, expiry and so on",
        examples=["data/instruments.csv"],
    )
    actions: Path | None = Field(default=None, description="splits and dividends", examples=["data/actions.parquet"])
    quotes: Path | None = Field(default=None, description="a folder, or one file", examples=["data/quotes"])
    trades: Path | None = Field(default=None, description="a folder, or one file", examples=["data/trades"])

    @field_validator("path")
    @classmethod
    def _named(cls, path: Path) -> Path:
        if path == Path():
            raise ValueError("it names no file and no folder")
        return path


class YahooSettings(_Provider):
    """Yahoo Finance. No key."""

    name: Literal["yahoo"] = Field(examples=["yahoo"])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class AlpacaSettings(_Provider):
    """Alpaca. ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment."""

    name: Literal["alpaca"] = Field(examples=["alpaca"])
    feed: Literal["sip", "iex"] = Field(
        default="sip", description="sip: all US exchanges, 15 minutes late on the free plan; iex: one", examples=["sip"]
    )
    paper: bool = Field(default=True, description="the keys are those of the paper account", examples=[True])
    delay_minutes: float | None = Field(
        default=None,
        ge=0,
        description="how old intraday data of shares must be; 16 for sip, 0 for iex; 0 with a paid plan",
        examples=[0],
    )
    requests_per_minute: float = Field(default=200.0, gt=0, description="200 on the free plan", examples=[200])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class BinanceSettings(_Provider):
    """Binance, spot and USD-margined futures. No key is needed."""

    name: Literal["binance"] = Field(examples=["binance"])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class InteractiveBrokersSettings(_Provider):
    """Interactive Brokers, through TWS or IB Gateway, where a person is logged in."""

    name: Literal["ib"] = Field(examples=["ib"])
    host: str = Field(default="127.0.0.1", min_length=1, examples=["127.0.0.1"])
    port: int = Field(
        default=4002, ge=1, le=65535, description="4002 Gateway on paper, 4001 live; 7497 and 7496 TWS", examples=[4002]
    )
    client_id: int = Field(default=17, ge=0, description="a number that no other program gives", examples=[17])
    timeout_seconds: float = Field(default=60.0, gt=0, description="how long one answer may take", examples=[60])


ProviderSettings = Annotated[
    SampleSettings
    | SyntheticSettings
    | FilesSettings
    | YahooSettings
    | AlpacaSettings
    | BinanceSettings
    | InteractiveBrokersSettings,
    Field(discriminator="name"),
]
