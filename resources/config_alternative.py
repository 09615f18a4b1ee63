"""What is known beyond prices: the sources of records, one settings model each, and who judges their texts.

Keys are never among them: they come from the environment (configs/.env.example). docs/alternative.md says what each
source has and needs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from resources.alternative.base import KINDS, Kind

MADE_UP = ("sample", "synthetic")
"""Providers beside which made-up records may stand."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SyntheticRecords(_Settings):
    """Made-up records of every kind, which say so; beside provider sample or synthetic only."""

    has: ClassVar[tuple[Kind, ...]] = KINDS
    begins: ClassVar[datetime | None] = None
    name: Literal["synthetic"] = Field(examples=["synthetic"])
    seed: int = Field(default=7, ge=0, description="which records", examples=[7])


class AlpacaNewsSettings(_Settings):
    """Benzinga's articles by Alpaca. ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment."""

    has: ClassVar[tuple[Kind, ...]] = ("news",)
    begins: ClassVar[datetime | None] = datetime(2015, 1, 1, tzinfo=UTC)
    name: Literal["alpaca_news"] = Field(examples=["alpaca_news"])
    requests_per_minute: float = Field(default=200.0, gt=0, description="200 on the free plan", examples=[200])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class BlueskySettings(_Settings):
    """Posts on Bluesky. BLUESKY_IDENTIFIER and BLUESKY_APP_PASSWORD in the environment."""

    has: ClassVar[tuple[Kind, ...]] = ("social",)
    begins: ClassVar[datetime | None] = datetime(2023, 7, 1, tzinfo=UTC)
    name: Literal["bluesky"] = Field(examples=["bluesky"])
    requests_per_minute: float = Field(default=300.0, gt=0, description="3,000 in 5 minutes at most", examples=[300])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class EdgarSettings(_Settings):
    """Facts and insiders' transactions of the SEC's EDGAR. SEC_USER_AGENT (who asks) in the environment."""

    has: ClassVar[tuple[Kind, ...]] = ("fundamentals", "insider")
    begins: ClassVar[datetime | None] = datetime(2003, 6, 30, tzinfo=UTC)
    name: Literal["edgar"] = Field(examples=["edgar"])
    ciks: dict[str, int] = Field(
        default_factory=dict,
        description="companies by their number, where today's list of tickers lacks a symbol or gives it to another",
        examples=[{"TWTR": 1418091}],
    )
    all_concepts: bool = Field(
        default=False, description="every fact of XBRL, and not only the common ones", examples=[True]
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class YahooRecordsSettings(_Settings):
    """Statements, insiders and ESG ratings of Yahoo Finance, known since they were fetched. No key."""

    has: ClassVar[tuple[Kind, ...]] = ("fundamentals", "insider", "esg")
    begins: ClassVar[datetime | None] = None
    name: Literal["yahoo"] = Field(examples=["yahoo"])
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


class SatelliteSettings(_Settings):
    """An index of areas in the scenes of a STAC catalogue. STAC_API_KEY in the environment where it wants one."""

    has: ClassVar[tuple[Kind, ...]] = ("activity",)
    begins: ClassVar[datetime | None] = None
    name: Literal["satellite"] = Field(examples=["satellite"])
    url: str = Field(
        min_length=1, description="landing page of the API", examples=["https://earth-search.aws.element84.com/v1"]
    )
    areas: Path = Field(
        description="CSV or YAML: area, symbol, west, south, east, north, valid_from, valid_until",
        examples=["configs/areas.csv"],
    )
    index: Literal["vegetation", "night_lights"] = Field(default="vegetation", examples=["vegetation"])
    collections: tuple[str, ...] = Field(
        default=("sentinel-2-c1-l2a",), min_length=1, description="of the catalogue", examples=[["sentinel-2-c1-l2a"]]
    )
    assets: dict[str, str] | None = Field(
        default=None,
        description="names of assets by role (nir, red, clouds; radiance; or index), where they are not the usual ones",
        examples=[{"nir": "B08", "red": "B04", "clouds": "SCL"}],
    )
    cloudiest: float = Field(
        default=60.0, ge=0, le=100, description="scenes with more cloud, in percent, have no value", examples=[60]
    )
    clear_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="how much of the whole area must be seen and clear for a value",
        examples=[0.5],
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long one request may take", examples=[30])


AnySource = (
    SyntheticRecords | AlpacaNewsSettings | BlueskySettings | EdgarSettings | YahooRecordsSettings | SatelliteSettings
)


class SentimentSettings(_Settings):
    """Who judges texts."""

    scorer: str = Field(
        default="finance_words",
        min_length=1,
        description="finance_words, loughran_mcdonald, or the address of a class, module:Class",
        examples=["finance_words"],
    )
    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"model": "ProsusAI/finbert"}])


class AlternativeSettings(_Settings):
    """Without sources there are no assets of alternative data."""

    sources: tuple[Annotated[AnySource, Field(discriminator="name")], ...] = Field(
        default=(), description="where records come from", examples=[[{"name": "alpaca_news"}]]
    )
    entities: Path | None = Field(
        default=None,
        description="CSV with names of your own: name, symbol, kind, valid_from, valid_until, known_at",
        examples=["configs/names.csv"],
    )
    sentiment: SentimentSettings = Field(default_factory=SentimentSettings)

    @field_validator("sources", mode="before")
    @classmethod
    def _known(cls, sources: Any) -> Any:
        there = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(AnySource)]
        for source in sources if isinstance(sources, list | tuple) else []:
            name = source.get("name") if isinstance(source, dict) else source
            if isinstance(name, str | int | None) and name not in there:
                raise ValueError(
                    f"{name!r} is no source; there are {', '.join(there)}; for example [{{name: {there[0]}}}]"
                )
        return sources

    @model_validator(mode="after")
    def _once(self) -> AlternativeSettings:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"each source once; got {', '.join(names)}")
        return self

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of records that the sources have, in the order of KINDS."""
        return tuple(kind for kind in KINDS if any(kind in source.has for source in self.sources))

    def since(self, start: date) -> dict[str, datetime]:
        """From when on the sources of each kind have records: the history's start, or the first source's, if later."""
        begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
        return {
            kind: min(max(begin, source.begins or begin) for source in self.sources if kind in source.has)
            for kind in self.kinds
        }

    def check_beside(self, provider: str) -> None:
        """Raises ValueError where made-up records would stand beside a real market's prices."""
        if provider not in MADE_UP and any(source.name == "synthetic" for source in self.sources):
            raise ValueError(
                f"alternative.sources: the records of synthetic are made up; provider {provider} has real prices. "
                f"They go with provider {' and '.join(MADE_UP)} only"
            )
