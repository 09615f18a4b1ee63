"""The satellite source at a loopback STAC API: scenes, what they show of an area, since when, and what goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from resources.alternative.base import as_of, merge, schema
from resources.alternative.satellite import Area, Satellite
from resources.alternative.satellite.index import overlap
from resources.alternative.satellite.scenes import scene
from resources.alternative.satellite.utm import projection
from resources.errors import (
    BadAnswerError,
    ConfigError,
    NoDataError,
    NotOfferedError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
)
from resources.market_data.pacing import TokenBucket
from tests.venues.edgar import FAULTS
from tests.venues.market import Fault, Market, VenueClock, instant
from tests.venues.stac import StacVenue, geotiff, item

pytest.importorskip("pystac_client", reason="pystac-client is not installed")

NOW = instant(2024, 6, 1)
START, END = instant(2024, 1, 1), instant(2024, 6, 1)
WIDE = (10.0, 49.0, 11.0, 50.0)  # a scene
BOX = (10.2, 49.4, 10.4, 49.6)  # an area in it
FIELD = Area("field", "AGRI", BOX)
TAKEN, UPDATED = "2024-05-01T10:00:00Z", "2024-05-01T18:30:00Z"
SCALED = {"raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]}
TRIES = 5


class Desk:
    def __init__(self, venue: StacVenue) -> None:
        self.venue, self.market, self.pauses = venue, venue.market, list[float]()

    def satellite(self, *areas: Area, **options: Any) -> Satellite:
        settings: dict[str, Any] = {
            "collections": ("scenes",), "timeout_seconds": 5.0, "clock": self.market.clock.now,
            "sleep": self.pauses.append, "chance": lambda: 1.0,
            "bucket": TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=lambda _: None), **options,
        }  # fmt: skip
        return Satellite(self.venue.address, areas or (FIELD,), **settings)

    def activity(self, *areas: Area, **options: Any) -> pl.LazyFrame:
        symbols = sorted({area.symbol for area in areas or (FIELD,)})
        return self.satellite(*areas, **options).activity(symbols, START, END)

    def leaves(self, name: str = "scene-1", taken: str = TAKEN, clouds: bool = True, **told: Any) -> dict[str, Any]:
        """A scene of reflectances, red and near infrared, with a cloud over the area's western half."""
        grid = {"west": WIDE[0], "north": WIDE[3], "size": 0.01}
        nir, red, classes = np.full((100, 100), 5000, "u2"), np.full((100, 100), 2000, "u2"), np.full((50, 50), 4, "u1")
        nir[:, 30:40], nir[45, 35] = 6000, 0  # the eastern half of the area, and a pixel without a value
        classes[:, :15] = 9
        assets = {
            "nir": self.venue.put(f"{name}-nir.tif", geotiff(nir, **grid, tile=32, predictor=2), **SCALED),
            "red": self.venue.put(f"{name}-red.tif", geotiff(red, **grid, tile=32, predictor=2), **SCALED),
        }
        if clouds:
            scl = geotiff(classes, west=WIDE[0], north=WIDE[3], size=0.02, tile=16)
            assets["scl"] = self.venue.put(f"{name}-scl.tif", scl, **{"raster:bands": [{"nodata": 0}]})
        made = item(name, taken, WIDE, assets=assets, **{"updated": UPDATED, "eo__cloud_cover": 20.0, **told})
        self.venue.add(made)
        return made

    def lights(self, name: str, span: tuple[str, str], mean: float, box: Any = BOX, **told: Any) -> dict[str, Any]:
        statistics = {"mean": mean, "minimum": 0, "maximum": 90, "stddev": 3, "valid_percent": 100, **told}
        asset = self.venue.put(
            f"{name}.tif", b"not read", **{"raster:bands": [{"statistics": statistics, "unit": "nW"}]}
        )
        made = item(name, span, box, assets={"avg_rad": asset}, created="2024-03-05T00:00:00Z")
        self.venue.add(made)
        return made


@pytest.fixture
def desk() -> Iterator[Desk]:
    with StacVenue(Market(VenueClock(NOW))) as venue:
        yield Desk(venue)


def said(frame: pl.LazyFrame, *columns: str) -> list[tuple[Any, ...]]:
    return frame.select(columns).collect().rows()


READY = {"assets": {"index": "avg_rad"}, "index_name": "night_lights"}
FEBRUARY = ("2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z")


def test_statistics_of_a_scene_cut_to_the_area_are_the_areas(desk: Desk) -> None:
    desk.lights("feb", FEBRUARY, 12.5)
    found = desk.activity(**READY)
    assert found.collect_schema() == schema("activity")
    columns = ("symbol", "ts", "known_at", "area", "index", "value", "cloud_cover", "item_id", "collection")
    assert said(found, *columns) == [
        ("AGRI", instant(2024, 2, 29, 23, 59, 59), instant(2024, 3, 5), "field", "night_lights", 12.5, None, "feb",
         "scenes"),
    ]  # fmt: skip
    assert desk.venue.asked("/files/") == []


def test_statistics_of_a_larger_scene_are_not_taken_its_pixels_are(desk: Desk) -> None:
    made = desk.lights("feb", FEBRUARY, 12.5, box=WIDE)
    shining = np.zeros((100, 100), "f4")
    shining[40:60, 20:40] = 7.0
    desk.venue.put("feb.tif", geotiff(shining, west=10.0, north=50.0, size=0.01, tile=16, predictor=3))
    assert said(desk.activity(**READY), "value") == [(7.0,)]
    assert overlap(WIDE, BOX) == pytest.approx(0.04)
    made["assets"]["avg_rad"]["raster:bands"] = [{"scale": 2.0, "offset": 1.0}]
    assert said(desk.activity(**READY), "value") == [(15.0,)]


def test_statistics_of_few_valid_pixels_are_no_value(desk: Desk) -> None:
    desk.lights("feb", FEBRUARY, 12.5, valid_percent=40)
    assert said(desk.activity(**READY), "value") == [(None,)]
    assert said(desk.activity(**READY, clear_share=0.4), "value") == [(12.5,)]


def test_vegetation_is_that_of_the_clear_pixels_of_the_area(desk: Desk) -> None:
    desk.leaves()
    found = desk.activity(clear_share=0.49)
    east = (0.5 - 0.1) / (0.5 + 0.1)  # reflectance: 0.0001 * number - 0.1
    assert said(found, "value", "cloud_cover", "ts", "known_at") == [
        (pytest.approx(east), 20.0, instant(2024, 5, 1, 10), instant(2024, 5, 1, 18, 30)),
    ]
    assert said(desk.activity(), "value") == [(None,)]  # less than half of it is clear: one pixel has no value


def test_a_pixel_at_the_areas_edge_has_the_class_that_it_lies_in(desk: Desk) -> None:
    desk.leaves()
    # The middles of the outermost classes, at 10.33, 49.43 and so on, lie outside the area; those of the pixels inside.
    edges = Area("edges", "AGRI", (10.3349, 49.4349, 10.3851, 49.4451))
    assert said(desk.activity(edges, clear_share=1.0), "value") == [(pytest.approx(0.4 / 0.6),)]


def test_without_an_asset_of_classes_every_pixel_counts(desk: Desk) -> None:
    desk.leaves(clouds=False)
    west, east = (0.4 - 0.1) / (0.4 + 0.1), (0.5 - 0.1) / (0.5 + 0.1)
    assert said(desk.activity(), "value") == [(pytest.approx((200 * west + 199 * east) / 399),)]


@pytest.mark.parametrize(("west", "inside"), [(9.9, 0.5), (9.85, 0.25), (10.0, 1.0)])
def test_what_of_an_area_lies_beyond_the_scene_is_not_clear(desk: Desk, west: float, inside: float) -> None:
    desk.leaves(clouds=False)
    area = Area("edge", "AGRI", (west, 49.6, west + 0.2, 49.8))
    seen = pytest.approx((0.4 - 0.1) / (0.4 + 0.1))
    assert said(desk.activity(area, clear_share=inside), "value") == [(seen,)]
    assert said(desk.activity(area, clear_share=min(1.0, inside + 0.01)), "value") == [(seen if inside == 1 else None,)]


def test_statistics_count_for_so_much_of_the_area_as_the_scene_covers(desk: Desk) -> None:
    west, south, east, north = BOX
    desk.lights("feb", FEBRUARY, 12.5, box=(west, south, east - 0.05 * (east - west), north))
    assert said(desk.activity(**READY, clear_share=0.95), "value") == [(12.5,)]
    assert said(desk.activity(**READY, clear_share=0.96), "value") == [(None,)]


def test_an_offset_that_is_worked_in_already_is_not_applied(desk: Desk) -> None:
    desk.leaves(clouds=False, earthsearch__boa_offset_applied=True)
    west, east = (0.5 - 0.2) / (0.5 + 0.2), (0.6 - 0.2) / (0.6 + 0.2)
    assert said(desk.activity(), "value") == [(pytest.approx((200 * west + 199 * east) / 399),)]


def test_a_scene_in_metres_is_read_where_the_area_lies(desk: Desk) -> None:
    project = projection(32632)
    assert project is not None
    x, y = project(10.3, 49.5)
    ground = np.zeros((300, 300), "f4")
    ground[145:156, 145:156] = 3.0  # eleven pixels of 100 m around the area's middle
    middle = geotiff(ground, west=x - 15_050, north=y + 15_050, size=100.0, epsg=32632, tile=64)
    desk.venue.add(item("utm", TAKEN, WIDE, assets={"rad": desk.venue.put("utm.tif", middle)}))
    area = Area("mill", "MILL", (10.297, 49.498, 10.303, 49.502))  # some 430 by 440 m
    options = {"assets": {"radiance": "rad"}, "index_name": "night_lights"}
    assert said(desk.activity(area, **options), "value") == [(3.0,)]
    away = Area("away", "MILL", (10.357, 49.498, 10.363, 49.502))  # 4.3 km to the east
    assert said(desk.activity(away, **options), "value") == [(0.0,)]


def test_too_many_clouds_are_no_value_and_no_pixels_are_fetched(desk: Desk) -> None:
    desk.leaves(eo__cloud_cover=60.1)
    assert said(desk.activity(), "value", "cloud_cover") == [(None, 60.1)]
    assert desk.venue.asked("/files/") == []


@pytest.mark.parametrize("methods", [("POST", "GET"), ("GET",)])
def test_every_page_of_scenes_is_read_and_those_outside_the_span_are_left_out(
    desk: Desk, methods: tuple[str, ...]
) -> None:
    desk.venue.page, desk.venue.methods = 2, methods
    for month in range(1, 8):
        desk.lights(f"m{month}", (f"2024-{month:02d}-01T00:00:00Z", f"2024-{month:02d}-27T00:00:00Z"), float(month))
    desk.market.clock.truth = instant(2024, 9, 1)
    assert [name for (name,) in said(desk.activity(**READY), "item_id")] == ["m1", "m2", "m3", "m4", "m5"]
    assert [each.method for each in desk.venue.asked("/search")] == [methods[0]] * 3


def test_an_area_concerns_the_symbols_that_held_it_at_the_time(desk: Desk) -> None:
    desk.lights("feb", FEBRUARY, 1.0)
    desk.lights("mar", ("2024-03-01T00:00:00Z", "2024-03-31T00:00:00Z"), 2.0)
    sold = date(2024, 3, 15)
    areas = (Area("plant", "OLD", BOX, None, sold), Area("plant", "NEW", BOX, sold), Area("plant", "BOTH", BOX))
    found = desk.activity(*areas, **READY)
    assert sorted(said(found, "symbol", "item_id")) == [
        ("BOTH", "feb"),
        ("BOTH", "mar"),
        ("NEW", "mar"),
        ("OLD", "feb"),
    ]
    assert len(desk.venue.asked("/search")) == 1
    only = desk.satellite(*areas, **READY).activity(["NEW"], START, END)
    assert said(only, "symbol") == [("NEW",)]


def test_a_scene_that_is_worked_up_again_is_a_version_since_its_update_and_a_deprecated_one_is_withdrawn(
    desk: Desk,
) -> None:
    made = desk.lights("feb", FEBRUARY, 12.5)
    log = desk.activity(**READY).collect()
    steps = [(instant(2024, 6, 3), "2024-06-02T00:00:00Z", 14.0, {}),
             (instant(2024, 6, 9), "2024-06-08T00:00:00Z", 14.0, {"deprecated": True})]  # fmt: skip
    for now, updated, mean, told in steps:
        desk.market.clock.truth = now
        made["properties"] |= {"updated": updated, **told}
        made["assets"]["avg_rad"]["raster:bands"][0]["statistics"]["mean"] = mean
        log = merge(log, desk.activity(**READY).collect())
    assert log.select("value", "known_at", "state").rows() == [
        (12.5, instant(2024, 3, 5), "new"),
        (14.0, instant(2024, 6, 2), "corrected"),
        (None, instant(2024, 6, 8), "withdrawn"),
    ]
    moments = [instant(2024, 3, 4), instant(2024, 6, 1), instant(2024, 6, 2), instant(2024, 6, 8)]
    assert [said(as_of(log.lazy(), at), "value") for at in moments] == [[], [(12.5,)], [(14.0,)], []]


KNOWN = [  # the item's properties, and since when it is known
    ({"datetime": TAKEN, "created": UPDATED}, instant(2024, 5, 1, 18, 30)),
    ({"datetime": TAKEN, "created": UPDATED, "updated": "2024-05-03T00:00:00+02:00"}, instant(2024, 5, 2, 22)),
    ({"datetime": TAKEN, "created": "2020-01-01T00:00:00Z"}, instant(2024, 5, 1, 10)),
    ({"datetime": TAKEN}, None),
]


@pytest.mark.parametrize(("properties", "known_at"), KNOWN)
def test_since_when_a_scene_is_known(properties: dict[str, Any], known_at: datetime | None) -> None:
    made = item("a", TAKEN, WIDE)
    made["properties"] = properties
    assert scene(made).known_at == known_at


def test_a_scene_that_says_no_time_of_its_own_is_known_since_the_fetch_and_no_scene_later_than_it(desk: Desk) -> None:
    made = desk.lights("feb", FEBRUARY, 12.5)
    del made["properties"]["created"]
    assert said(desk.activity(**READY), "known_at") == [(NOW,)]
    made["properties"]["updated"] = "2031-01-01T00:00:00Z"
    assert said(desk.activity(**READY), "known_at") == [(NOW,)]


def test_bands_as_stac_tells_them_since_1_1() -> None:
    asset = {"href": "h", "nodata": -1, "raster:scale": 0.5, "bands": [{"raster:offset": 2, "statistics": {"mean": 3}}]}
    found = scene(item("a", TAKEN, WIDE, assets={"x": asset}) | {"bbox": [10, 49, 0, 11, 50, 900]})
    band = found.bands["x"]
    assert (band.scale, band.offset, band.nodata, band.mean) == (0.5, 2.0, -1.0, 3.0)
    assert found.box == WIDE  # heights are left out


ERRORS = [
    ("429", RateLimitedError, r"STAC catalogue refuses more requests \(429\) for 1 s"),
    ("500", BadAnswerError, "STAC catalogue answered 500"),
    ("html", BadAnswerError, "else than its documented format.*DOCTYPE"),
    ("truncated", BadAnswerError, "else than its documented format"),
    ("cut off", BadAnswerError, "broke off"),
    ("hung up", BadAnswerError, "broke off"),
    ("null", BadAnswerError, "else than its documented format.*no JSON object"),
    ("slow", ProviderTimeoutError, r"within 0\.3 s"),
]


@pytest.mark.parametrize(("name", "error", "says"), ERRORS, ids=[name for name, _, _ in ERRORS])
def test_a_lasting_fault_of_the_search_is_an_error_and_a_passing_one_costs_nothing(
    desk: Desk, name: str, error: type[ProviderError], says: str
) -> None:
    desk.venue.page = 1
    for month in range(1, 4):
        desk.lights(f"m{month}", (f"2024-{month:02d}-01T00:00:00Z", f"2024-{month:02d}-27T00:00:00Z"), float(month))
    options = {**READY, "timeout_seconds": 0.3 if name == "slow" else 5.0}
    good = desk.activity(**options).collect()
    desk.market.faults.add("/search", FAULTS[name], times=1, skip=1)
    assert desk.activity(**options).collect().equals(good)
    desk.market.faults.add("/search", FAULTS[name], times=None, skip=1)
    if name == "slow":
        return
    asked = len(desk.venue.asked("/search"))
    with pytest.raises(error, match=says):
        desk.activity(**options)
    assert len(desk.venue.asked("/search")) == asked + 1 + TRIES


@pytest.mark.parametrize("name", ["429", "500", "html", "truncated", "cut off", "hung up"])
def test_a_passing_fault_of_a_raster_costs_nothing(desk: Desk, name: str) -> None:
    desk.leaves()
    good = desk.activity(clear_share=0.4).collect()
    for asset in ("nir", "scl"):
        desk.market.faults.add(f"-{asset}.tif", FAULTS[name], times=2, skip=1 if name == "truncated" else 0)
    assert desk.activity(clear_share=0.4).collect().equals(good)
    assert len(desk.market.faults.fired) == 4


def test_a_host_that_does_not_serve_parts_of_files_is_told(desk: Desk) -> None:
    desk.leaves()
    desk.venue.ranges = False
    with pytest.raises(BadAnswerError, match=r"answered 200 and not 206.*\(Range\)"):
        desk.activity()


def test_the_key_goes_to_the_catalogue_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAC_API_KEY", "opensesame")
    desk.leaves()
    desk.activity()
    shown = {each.path.split("/")[1]: each.headers.get("authorization") for each in desk.venue.requests}
    assert shown == {"": "Bearer opensesame", "search": "Bearer opensesame", "files": None}


def wrong(desk: Desk, **changed: Any) -> None:
    made = desk.leaves()
    made["assets"]["nir"] |= changed


OUT = [  # what is odd, the error, what the message says
    (
        lambda desk: wrong(desk, href="s3://bucket/nir.tif"),
        NotOfferedError,
        "s3://bucket/nir.tif: only addresses of the web",
    ),
    (lambda desk: wrong(desk, href=f"{desk.venue.address}/files/none.tif"), NoDataError, r"none\.tif.*\(404\)"),
    (
        lambda desk: desk.leaves()["assets"].pop("red"),
        NotOfferedError,
        "scene-1: the scene has no asset 'red'; it has nir",
    ),
    (lambda desk: desk.leaves().pop("assets"), BadAnswerError, "scene-1: it is not laid out as a STAC item"),
    (lambda desk: setattr(desk.venue, "conforms", ()), ConfigError, "no STAC item search"),
    (lambda desk: setattr(desk.venue, "landing", {"type": "Feature"}), ConfigError, "is no STAC API.*landing page"),
    (lambda desk: setattr(desk.venue, "landing", {"links": [{"rel": "search"}]}), ConfigError, "is no STAC API"),
    (lambda desk: setattr(desk.venue, "loops", bool(desk.leaves())), BadAnswerError, "the same page twice"),
]


@pytest.mark.parametrize(("change", "error", "says"), OUT)
def test_what_cannot_be_read_is_told_by_name(desk: Desk, change: Any, error: type[Exception], says: str) -> None:
    change(desk)
    with pytest.raises(error, match=says):
        desk.activity()


RASTERS = [
    ({"epsg": 3857}, NotOfferedError, r"scene-1, area field: .*nir\.tif is not read: it is in EPSG:3857"),
    ({"compression": 5}, NotOfferedError, r"nir\.tif is not read: compressed by LZW"),
    ({"size": 0.005}, NotOfferedError, "red and nir are not of one grid"),
]


@pytest.mark.parametrize(("how", "error", "says"), RASTERS)
def test_a_raster_that_is_not_read_is_told_by_name(
    desk: Desk, how: dict[str, Any], error: type[Exception], says: str
) -> None:
    desk.leaves()
    grid = {"west": WIDE[0], "north": WIDE[3], "size": 0.01, **how}
    desk.venue.put("scene-1-nir.tif", geotiff(np.ones((200, 200), "u2"), **grid))
    with pytest.raises(error, match=says):
        desk.activity()
    desk.venue.put("scene-1-nir.tif", b"<html>" * 9)
    with pytest.raises(BadAnswerError, match=r"nir\.tif is no GeoTIFF"):
        desk.activity()


SETTINGS = [
    ({"index_name": "noise"}, "index: 'noise' is no index; there are vegetation, night_lights"),
    ({"assets": {"nir": "nir"}}, "vegetation: assets name none for red"),
]


@pytest.mark.parametrize(("options", "says"), SETTINGS)
def test_settings_that_make_no_index_are_refused(desk: Desk, options: dict[str, Any], says: str) -> None:
    desk.leaves()
    with pytest.raises(ConfigError, match=says):
        desk.activity(**options)
    with pytest.raises(ConfigError, match="areas: there are none"):
        Satellite(desk.venue.address, ())
    with pytest.raises(ConfigError, match=r"areas: field is two boxes.*name them apart"):
        Satellite(desk.venue.address, (FIELD, Area("field", "AGRI", WIDE)))


def test_without_its_package_it_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystac_client", None)
    with pytest.raises(ConfigError, match="satellite needs the package pystac-client"):
        desk.activity()


def test_a_refusal_for_long_is_not_waited_for(desk: Desk) -> None:
    desk.market.faults.add("/search", Fault("status", status=429, retry_after=3600), times=None)
    with pytest.raises(RateLimitedError, match="for 3600 s"):
        desk.activity(**READY)
    assert desk.pauses == []


def test_a_composite_has_been_seen_when_its_last_picture_has() -> None:
    first, last = "2022-05-01T00:00:00Z", "2022-05-31T00:00:00Z"
    made = item("a", TAKEN, WIDE)
    made["properties"] = {"datetime": first, "end_datetime": last, "created": first}
    assert scene(made).ts == scene(made).known_at == instant(2022, 5, 31)
