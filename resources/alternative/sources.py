"""The sources that a configuration names, made."""

from __future__ import annotations

from typing import Any

from resources.alternative.base import Kind
from resources.config import PROJECT, Settings

__all__ = ["create"]


def create(settings: Settings) -> dict[Kind, list[Any]]:
    """The sources that the configuration names, by the kinds of records that they have. Nothing is connected yet.

    Raises MissingSecretError where a source's keys are not in the environment, ConfigError on a file of areas that is
    none.
    """
    made = [(source.has, _made(source)) for source in settings.alternative.sources]
    return {kind: [source for has, source in made if kind in has] for kind in settings.alternative.kinds}


def _made(source: Any) -> Any:
    match source.name:
        case "synthetic":
            from resources.alternative.sample import Synthetic

            return Synthetic(source.seed)
        case "alpaca_news":
            from resources.alternative.alpaca_news import AlpacaNews

            return AlpacaNews(requests_per_minute=source.requests_per_minute, timeout_seconds=source.timeout_seconds)
        case "bluesky":
            from resources.alternative.bluesky import Bluesky

            return Bluesky(requests_per_minute=source.requests_per_minute, timeout_seconds=source.timeout_seconds)
        case "edgar":
            from resources.alternative.edgar import COMMON_CONCEPTS, Edgar

            concepts = None if source.all_concepts else COMMON_CONCEPTS
            return Edgar(ciks=source.ciks, concepts=concepts, timeout_seconds=source.timeout_seconds)
        case "yahoo":
            from resources.alternative.yahoo import Yahoo

            return Yahoo(source.timeout_seconds)
        case "satellite":
            return _satellite(source)
    raise AssertionError(f"{source.name} is a source without a client")


def _satellite(source: Any) -> Any:
    from resources.alternative.satellite import Satellite, read_areas

    return Satellite(
        source.url,
        read_areas(PROJECT / source.areas),
        index_name=source.index,
        collections=source.collections,
        assets=source.assets,
        cloudiest=source.cloudiest,
        clear_share=source.clear_share,
        timeout_seconds=source.timeout_seconds,
    )
