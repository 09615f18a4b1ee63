"""Windows of GeoTIFFs against the pixels that were written, and against Pillow where it can read and write them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from resources.alternative.satellite.tiff import HEAD, header, window
from resources.errors import NotOfferedError
from tests.venues.stac import geotiff

WEST, NORTH, SIZE = 10.0, 50.0, 0.5
PLACE: dict[str, Any] = {"west": WEST, "north": NORTH, "size": SIZE}


def reader(content: bytes, asked: list[tuple[int, int]] | None = None) -> Callable[[int, int], bytes]:
    def fetch(start: int, count: int) -> bytes:
        if asked is not None:
            asked.append((start, count))
        return content[start : start + count]

    return fetch


def box(columns: range, rows: range) -> tuple[float, float, float, float]:
    """The box of these pixels."""
    return (
        WEST + columns.start * SIZE,
        NORTH - rows.stop * SIZE,
        WEST + columns.stop * SIZE,
        NORTH - rows.start * SIZE,
    )


def picture(dtype: str, height: int = 37, width: int = 53) -> np.ndarray:
    rng = np.random.default_rng(5)
    drawn = rng.normal(0, 1000, (height, width)) if dtype[0] == "f" else rng.integers(0, 200, (height, width))
    return drawn.astype(dtype)


LAYOUTS = [  # dtype, and how it is written
    ("u1", {}),
    ("u2", {"tile": 16, "predictor": 2}),
    ("i2", {"rows": 5, "predictor": 2}),
    ("u2", {"tile": 16, "predictor": 2, "order": ">"}),
    ("f4", {"tile": 32, "predictor": 3}),
    ("f8", {"rows": 7, "predictor": 3, "big": True}),
    ("f4", {"rows": 4, "deflate": False, "order": ">"}),
    ("i4", {"tile": 16, "deflate": False, "big": True}),
    ("u4", {"tile": 64}),
    ("f4", {"tile": 16, "centre": True}),
]
NAMES = [f"{dtype} {' '.join(f'{name} {value}' for name, value in how.items())}" for dtype, how in LAYOUTS]


@pytest.mark.parametrize(("dtype", "how"), LAYOUTS, ids=NAMES)
def test_a_window_is_the_pixels_that_were_written(dtype: str, how: dict[str, Any]) -> None:
    values = picture(dtype)
    fetch = reader(geotiff(values, **PLACE, **how))
    columns, rows = range(11, 40), range(3, 30)
    found = window(header(fetch), fetch, box(columns, rows))
    np.testing.assert_array_equal(found.values, values[3:30, 11:40].astype(float))
    np.testing.assert_allclose(found.x, [WEST + (each + 0.5) * SIZE for each in columns])
    np.testing.assert_allclose(found.y, [NORTH - (each + 0.5) * SIZE for each in rows])


PILLOW = [("u1", {"tile": 16}), ("u2", {"tile": 16, "predictor": 2}), ("f4", {"tile": 16, "predictor": 3}),
          ("f4", {"rows": 4}), ("f4", {"rows": 4, "predictor": 3})]  # fmt: skip


@pytest.mark.parametrize(("dtype", "how"), PILLOW)
def test_what_the_venue_writes_pillow_reads(dtype: str, how: dict[str, Any]) -> None:
    values = picture(dtype)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(geotiff(values, **PLACE, **how)))), values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(("compression", "predicted"), [("raw", False), ("tiff_adobe_deflate", False),
                                                        ("tiff_adobe_deflate", True)])  # fmt: skip
def test_what_pillow_writes_is_read(dtype: str, compression: str, predicted: bool) -> None:
    values = picture(dtype)
    told = TiffImagePlugin.ImageFileDirectory_v2()
    told[33550], told[33922] = (SIZE, SIZE, 0.0), (0.0, 0.0, 0.0, WEST, NORTH, 0.0)
    told.tagtype[34735], told[34735] = 3, (1, 1, 0, 1, 2048, 0, 1, 4326)
    if predicted:
        told[317] = 3 if dtype == "f4" else 2
    written = io.BytesIO()
    Image.fromarray(values).save(written, "TIFF", compression=compression, tiffinfo=told)
    fetch = reader(written.getvalue())
    found = window(header(fetch), fetch, box(range(53), range(37)))
    np.testing.assert_array_equal(found.values, values.astype(float))


SPANS = st.tuples(st.integers(-4, 30), st.integers(0, 30)).map(lambda pair: range(pair[0], sum(pair)))


@given(SPANS, SPANS, st.sampled_from([None, 8]))
def test_a_window_at_the_edge_is_what_lies_inside(columns: range, rows: range, tile: int | None) -> None:
    values = picture("f4", 20, 25)
    fetch = reader(geotiff(values, **PLACE, tile=tile))
    held = box(columns, rows)
    found = window(header(fetch), fetch, (held[0], held[1], held[2], held[3]))
    if len(columns) and len(rows):
        inside = values[max(rows.start, 0) : max(rows.stop, 0), max(columns.start, 0) : max(columns.stop, 0)]
        np.testing.assert_array_equal(found.values, inside)


def test_an_area_smaller_than_a_pixel_is_the_pixel_it_lies_in() -> None:
    values = picture("f4")
    fetch = reader(geotiff(values, **PLACE))
    found = window(
        header(fetch), fetch, (WEST + 5.05 * SIZE, NORTH - 3.2 * SIZE, WEST + 5.1 * SIZE, NORTH - 3.1 * SIZE)
    )
    assert found.values.tolist() == [[values[3, 5]]]


def test_only_the_header_and_the_tiles_of_the_window_are_fetched() -> None:
    values = np.random.default_rng(1).normal(size=(512, 512)).astype("f4")
    content, asked = geotiff(values, **PLACE, tile=64), list[tuple[int, int]]()
    fetch = reader(content, asked)
    found = window(header(fetch), fetch, box(range(70, 140), range(200, 210)))
    np.testing.assert_array_equal(found.values, values[200:210, 70:140])
    assert asked[0] == (0, HEAD)
    assert len(asked) == 3  # columns 70 to 140 lie in two tiles of one row
    assert sum(count for _, count in asked) < len(content) / 10


def test_a_directory_beyond_the_head_is_fetched_as_well() -> None:
    values = np.zeros((1024, 1024), "u1")
    content = geotiff(values, **PLACE, tile=16, deflate=False)  # 4096 tiles: 16 KiB of places, and as much of counts
    fetch = reader(content)
    assert window(header(fetch), fetch, box(range(1000, 1010), range(1000, 1010))).values.sum() == 0.0
    with pytest.raises(ValueError, match="ends within its header"):
        header(reader(content[:20_000]))


def test_no_data_and_tiles_left_out_are_no_values() -> None:
    values = np.ones((32, 32), "f4")
    values[3, 4] = -9999
    fetch = reader(geotiff(values, **PLACE, tile=16, nodata=-9999, sparse=[3]))
    found = window(header(fetch), fetch, box(range(32), range(32))).values
    assert np.isnan(found[3, 4])
    assert np.isnan(found[16:, 16:]).all()
    assert np.nansum(found) == 3 * 256 - 1


def test_the_first_of_several_bands_is_read() -> None:
    values = np.stack([picture("u2"), picture("u2") + 1000], axis=2).astype("u2")
    fetch = reader(geotiff(values, **PLACE, tile=16, predictor=2))
    np.testing.assert_array_equal(window(header(fetch), fetch, box(range(53), range(37))).values, values[:, :, 0])


def test_points_take_the_pixel_that_they_lie_in() -> None:
    fetch = reader(geotiff(np.array([[1.0, 2.0], [3.0, 4.0]], "f4"), **PLACE))
    found = window(header(fetch), fetch, box(range(2), range(2)))
    x = WEST + np.array([-0.1, 0.1, 0.9, 1.1, 2.1]) * SIZE
    y = NORTH - np.array([0.1, 1.9, 2.6]) * SIZE
    nan = np.nan
    np.testing.assert_array_equal(found.at(x, y), [[nan, 1, 1, 2, nan], [nan, 3, 3, 4, nan], [nan] * 5])
    one = window(header(fetch), fetch, box(range(1), range(1)))
    np.testing.assert_array_equal(one.at(x, y), [[nan, 1, 1, nan, nan], [nan] * 5, [nan] * 5])


GOOD = geotiff(picture("f4"), **PLACE, tile=16)
REFUSED = [
    (b"<!DOCTYPE html>", ValueError, "no TIFF"),
    (b"", ValueError, "no TIFF"),
    (b"II\x2b", ValueError, "ends within its header"),
    (geotiff(picture("f4"), **PLACE, compression=5), NotOfferedError, "LZW"),
    (geotiff(picture("f4"), **PLACE, compression=50000), NotOfferedError, "Zstandard"),
    (GOOD.replace(b"\x0e\x83", b"\x0f\x83", 1), NotOfferedError, "where on Earth"),
]


@pytest.mark.parametrize(("content", "error", "says"), REFUSED)
def test_what_is_not_read_is_refused_by_name(content: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        header(reader(content))


def test_a_broken_tile_and_too_many_of_them_are_refused() -> None:
    fetch = reader(GOOD[:-40])
    with pytest.raises(ValueError, match="bytes of"):
        window(header(fetch), fetch, box(range(53), range(37)))
    wide = reader(geotiff(np.zeros((160, 160), "u1"), **PLACE, tile=16))
    with pytest.raises(NotOfferedError, match="100 tiles of it, and 64 are read at most"):
        window(header(wide), wide, box(range(160), range(160)))
