"""Activity in areas of the Earth, measured in the scenes of a STAC catalogue."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import polars as pl

from resources.alternative.base import Kind, versions
from resources.alternative.rows import framed
from resources.alternative.satellite.areas import Area
from resources.alternative.satellite.catalogue import Catalogue
from resources.alternative.satellite.index import ROLES, index, measure
from resources.alternative.satellite.scenes import Scene, scene
from resources.alternative.web import ODD, Web
from resources.errors import BadAnswerError, ConfigError
from resources.market_data.base import Clock, utc_now
from resources.market_data.pacing import TokenBucket

LOG = logging.getLogger(__name__)

LONGEST = timedelta(days=366)
"""Of composites. Catalogues may date one by its first picture, and search by that date; here it is of its last one."""


class Satellite:
    """Source of an index per area from a STAC API, for example https://earth-search.aws.element84.com/v1.

    `areas`: where to look, and which symbols it concerns. `index`: vegetation or night_lights. `collections`: those of
    the catalogue, for example sentinel-2-c1-l2a. `assets`: the names of assets by role, where they are not the usual
    ones: nir, red, clouds; radiance; or index, an asset that holds the index itself. `cloudiest`: scenes with more
    cloud, in percent, have no value. `clear_share`: how much of an area must be clear for a value. STAC_API_KEY in the
    environment, if set, is sent to the catalogue alone. The rest is for tests.
    """

    name = "satellite"
    kinds: ClassVar[tuple[Kind, ...]] = ("activity",)
    begins: datetime | None = None

    def __init__(
        self,
        url: str,
        areas: Sequence[Area],
        *,
        index_name: str = "vegetation",
        collections: Sequence[str] = ("sentinel-2-c1-l2a",),
        assets: Mapping[str, str] | None = None,
        cloudiest: float = 60.0,
        clear_share: float = 0.5,
        timeout_seconds: float = 30.0,
        bucket: TokenBucket | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._index, self._roles = index(index_name), dict(assets or ROLES[index_name])
        if not areas:
            raise ConfigError("areas: there are none; a satellite source needs where to look")
        boxes = {area.name: area.box for area in areas}
        for area in areas:
            if boxes[area.name] != area.box:
                raise ConfigError(
                    f"areas: {area.name} is two boxes, {area.box} and {boxes[area.name]}; name them apart"
                )
        self._areas, self._collections = tuple(areas), tuple(collections)
        self._cloudiest, self._clear_share, self._clock = cloudiest, clear_share, clock
        key = os.environ.get("STAC_API_KEY", "").strip()
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        pace = bucket or TokenBucket(per_second=10.0, burst=10.0, sleep=sleep)
        wired = partial(Web, bucket=pace, timeout_seconds=timeout_seconds, sleep=sleep, chance=chance)
        # Rasters lie with others than the catalogue: they are not shown its key.
        self._catalogue = Catalogue(
            url, wired("the STAC catalogue", headers=bearer), wired("the host of the scenes")
        )  # fmt: skip

    def activity(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """A record for each scene, area and symbol concerned at the time, of scenes taken in [start, end).

        `ts` is when the scene was taken (of a composite: the end of its span), `known_at` when the catalogue says it
        was updated or created, else the fetch. The value is null where clouds hide the area. Raises NotOfferedError
        on rasters that are not read, ConfigError on assets that do not make the index, and as `Web.read` does.
        """
        mine = [area for area in self._areas if area.symbol in symbols]
        found: list[dict[str, Any]] = []
        for name in dict.fromkeys(area.name for area in mine):
            held = [area for area in mine if area.name == name]
            for each in self._scenes(held[0], start, end):
                concerned = [area for area in held if area.concerns(each.ts)]
                if concerned:
                    value = self._value(each, held[0])
                    found += [self._row(each, area, value) for area in concerned]
        hidden = sum(row["value"] is None for row in found)
        if hidden:
            LOG.info("%d of %d scenes of areas are hidden by clouds, withdrawn or empty", hidden, len(found))
        fetched_at = self._clock()
        capped = [{**row, "known_at": min(row["known_at"] or fetched_at, fetched_at)} for row in found]
        return versions("activity", framed("activity", self.name, capped), self.name, fetched_at).lazy()

    def _scenes(self, area: Area, start: datetime, end: datetime) -> Iterator[Scene]:
        for item in self._catalogue.items(self._collections, area.box, start - LONGEST, end):
            try:
                found = scene(item)
            except ODD as error:
                raise BadAnswerError(
                    f"satellite, area {area.name}, {item.get('id')}: it is not laid out as a STAC item is ({error!r}). "
                    "Try later."
                ) from error
            if start <= found.ts < end:
                yield found

    def _value(self, each: Scene, area: Area) -> float | None:
        if each.withdrawn or (each.cloud_cover or 0.0) > self._cloudiest:
            return None
        return measure(self._index, each, area, self._roles, self._catalogue.reader, self._clear_share)

    def _row(self, each: Scene, area: Area, value: float | None) -> dict[str, Any]:
        return {
            "symbol": area.symbol, "record_id": f"{each.collection}/{each.id}/{area.name}/{self._index.name}",
            "ts": each.ts, "known_at": each.known_at, "state": "withdrawn" if each.withdrawn else "new",
            "area": area.name, "index": self._index.name, "value": value, "cloud_cover": each.cloud_cover,
            "item_id": each.id, "collection": each.collection,
        }  # fmt: skip
