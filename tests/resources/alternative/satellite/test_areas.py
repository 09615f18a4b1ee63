"""Areas, and degrees in metres."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from resources.alternative.satellite.areas import Area, read_areas
from resources.alternative.satellite.utm import bounds, projection
from resources.errors import ConfigError
from tests.venues.market import instant

CSV = """area,symbol,west,south,east,north,valid_from,valid_until
fremont,TSLA,-121.95,37.48,-121.93,37.50,2010-10-27,
leased,OLD,10,50,10.1,50.1,,2020-01-01
"""
YAML = """
- {area: fremont, symbol: TSLA, west: -121.95, south: 37.48, east: -121.93, north: 37.50, valid_from: 2010-10-27}
- {area: leased, symbol: OLD, west: 10, south: 50, east: 10.1, north: 50.1, valid_until: 2020-01-01}
"""


@pytest.mark.parametrize(("name", "text"), [("areas.csv", CSV), ("areas.yaml", YAML)])
def test_areas_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_areas(tmp_path / name) == (
        Area("fremont", "TSLA", (-121.95, 37.48, -121.93, 37.5), date(2010, 10, 27)),
        Area("leased", "OLD", (10.0, 50.0, 10.1, 50.1), None, date(2020, 1, 1)),
    )


def test_an_area_concerns_its_symbol_from_one_day_to_before_another() -> None:
    area = Area("a", "A", (0, 0, 1, 1), date(2020, 1, 1), date(2020, 2, 1))
    days = [instant(2019, 12, 31, 23), instant(2020, 1, 1), instant(2020, 1, 31, 23), instant(2020, 2, 1)]
    assert [area.concerns(day) for day in days] == [False, True, True, False]
    assert Area("a", "A", (0, 0, 1, 1)).concerns(instant(1900, 1, 1))


ODD = [
    ("a.csv", "area,symbol\nx,X\n", r"a\.csv, area 1: area, symbol, west"),
    ("a.csv", "area,symbol,west,south,east,north\nx,X,10,50,here,51\n", r"area 1 \(x\): .*here"),
    ("a.csv", "area,symbol,west,south,east,north\nx,X,10,50,9,51\n", r"area x: west 10, south 50, east 9.*no box"),
    ("a.csv", "area,symbol,west,south,east,north,size\nx,X,10,50,11,51,2\n", "size is no column"),
    ("a.yaml", "area: x", "a list of areas is needed"),
    ("a.yaml", "- x", "got x"),
    ("a.yaml", "- {area: x, symbol: X, west: 1, south: 1, east: 2, north: 2, valid_from: soon}", "soon"),
]


@pytest.mark.parametrize(("name", "text", "says"), ODD)
def test_a_file_that_is_none_is_told_so(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_areas(tmp_path / name)
    with pytest.raises(ConfigError, match="no such file"):
        read_areas(tmp_path / "other.csv")


PLACES = [  # longitude, latitude, EPSG, easting, northing
    # The CN Tower, as Wikipedia gives it under "Universal Transverse Mercator coordinate system": 17N 630084 4833438.
    (-(79 + 23 / 60 + 13.7 / 3600), 43 + 38 / 60 + 33.24 / 3600, 32617, 630_084, 4_833_438),
    (3.0, 0.0, 32631, 500_000, 0),
    (3.0, 0.0, 32731, 500_000, 10_000_000),
]


@pytest.mark.parametrize(("longitude", "latitude", "epsg", "east", "north"), PLACES)
def test_degrees_are_the_metres_of_their_zone(
    longitude: float, latitude: float, epsg: int, east: float, north: float
) -> None:
    project = projection(epsg)
    assert project is not None
    assert project(longitude, latitude) == pytest.approx((east, north), abs=1.0)


def test_south_of_the_equator_is_the_mirror_of_north_and_west_of_the_meridian_that_of_east() -> None:
    north, south = projection(32633), projection(32733)
    assert north is not None
    assert south is not None
    (east, up), (west, down) = north(16.5, 42.0), south(13.5, -42.0)
    assert east - 500_000 == pytest.approx(500_000 - west)
    assert up == pytest.approx(10_000_000 - down)


def test_a_box_in_metres_holds_the_whole_box_in_degrees() -> None:
    project = projection(32632)
    assert project is not None
    west, south, east, north = bounds((6.0, 50.0, 12.0, 51.0), project)
    assert (west, east) == pytest.approx((project(6.0, 50.0)[0], project(12.0, 50.0)[0]))
    assert south == pytest.approx(project(9.0, 50.0)[1])  # a parallel sags towards its middle
    assert north == pytest.approx(project(6.0, 51.0)[1])


@pytest.mark.parametrize("epsg", [0, 3857, 32600, 32661, 32761])
def test_other_reference_systems_are_not_known(epsg: int) -> None:
    assert projection(epsg) is None
