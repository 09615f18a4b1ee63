"""A window of a GeoTIFF, read where it lies: its header, then the few tiles that the window touches.

No library for rasters is asked for (they bring a hundred megabytes of their own). Read are north-up rasters in strips
or tiles, of integers or floats, plain or deflated, with any predictor: what most cloud-optimised GeoTIFFs of the public
catalogues are. Anything else is refused by name.

Sources: TIFF 6.0; Adobe TIFF Technical Note 3 (floating point predictor); OGC GeoTIFF 1.1 (19-008r4); BigTIFF.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.alternative.satellite.areas import Box
from resources.errors import NotOfferedError

Fetch = Callable[[int, int], bytes]
"""The bytes of a file from a place on, so many or fewer at its end."""

HEAD = 16_384
LARGEST_TILES = 64
"""A window of more is refused: its area is too large for this resolution."""

WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, PLANAR, PREDICTOR, FORMAT = 256, 257, 258, 259, 277, 284, 317, 339
STRIP_OFFSETS, STRIP_ROWS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = (
    273,
    278,
    279,
    322,
    323,
    324,
    325,
)
PIXEL_SCALE, TIEPOINT, GEO_KEYS, NODATA = 33550, 33922, 34735, 42113
RASTER_TYPE, GEOGRAPHIC, PROJECTED = 1025, 2048, 3072
DEFLATED = (8, 32946)
COMPRESSIONS = {5: "LZW", 7: "JPEG", 34887: "LERC", 50000: "Zstandard", 50001: "WebP"}
TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
KINDS = {1: "u", 2: "i", 3: "f"}


@dataclass(frozen=True, slots=True)
class Raster:
    """A raster's header. `x` and `y` are its upper left corner, `dx` and `dy` a pixel's size, in units of `epsg`."""

    width: int
    height: int
    dtype: np.dtype[Any]
    samples: int
    deflated: bool
    predictor: int
    tile: tuple[int, int]
    padded: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    x: float
    y: float
    dx: float
    dy: float
    epsg: int
    nodata: float | None


@dataclass(frozen=True, slots=True)
class Window:
    """Values of pixels, NaN where there are none, with the coordinates of their centres: `x` by column, `y` by row.

    `dx` and `dy` are a pixel's size; `wanted` is how many pixels were asked for, beyond the raster's edge too.
    """

    values: np.ndarray
    x: np.ndarray
    y: np.ndarray
    dx: float
    dy: float
    wanted: int

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The values of the pixels that a grid of points lies in, NaN beyond the window's edge."""
        found = np.full((y.size, x.size), np.nan)
        if not self.values.size:
            return found
        columns = np.rint((x - self.x[0]) / self.dx).astype(int)
        rows = np.rint((self.y[0] - y) / self.dy).astype(int)
        across = np.flatnonzero((columns >= 0) & (columns < self.x.size))
        down = np.flatnonzero((rows >= 0) & (rows < self.y.size))
        found[np.ix_(down, across)] = self.values[np.ix_(rows[down], columns[across])]
        return found


def header(fetch: Fetch) -> Raster:
    """The header of a file's first image, which is the one of full resolution.

    Raises ValueError on what is no GeoTIFF, and NotOfferedError on one that is not read here.
    """
    tags = _tags(fetch)
    tiled = TILE_WIDTH in tags
    offsets, counts = (tags[name] for name in ((TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)))
    width, height = tags[WIDTH][0], tags[HEIGHT][0]
    rows = min(tags.get(STRIP_ROWS, (height,))[0], height)
    compression = tags.get(COMPRESSION, (1,))[0]
    if compression != 1 and compression not in DEFLATED:
        raise NotOfferedError(
            f"compressed by {COMPRESSIONS.get(compression, compression)}; only deflate and none are read"
        )
    samples = tags.get(SAMPLES, (1,))[0]
    if samples > 1 and tags.get(PLANAR, (1,))[0] != 1:
        raise NotOfferedError("its bands lie one after the other; give each band an asset of its own")
    x, y, dx, dy, epsg = _place(tags)
    told = tags.get(NODATA)
    return Raster(
        width, height, np.dtype(f"{tags[0]}{KINDS[tags.get(FORMAT, (1,))[0]]}{tags[BITS][0] // 8}"), samples,
        compression in DEFLATED, tags.get(PREDICTOR, (1,))[0],
        (tags[TILE_WIDTH][0], tags[TILE_HEIGHT][0]) if tiled else (width, rows), tiled, offsets, counts,
        x, y, dx, dy, epsg, float(told[0].rstrip(b"\0 ").decode()) if told else None,
    )  # fmt: skip


def window(raster: Raster, fetch: Fetch, box: Box) -> Window:
    """The first band's pixels whose centres lie in a box (of the raster's own coordinates).

    Of a box so small that it holds no centre it is the pixel that the box's middle lies in.

    Raises NotOfferedError where that would be too many tiles, ValueError on tiles that are not as the header says.
    """
    asked = (
        _span(box[0] - raster.x, box[2] - raster.x, raster.dx),
        _span(raster.y - box[3], raster.y - box[1], raster.dy),
    )
    columns, rows = (_within(span, count) for span, count in zip(asked, (raster.width, raster.height), strict=True))
    across, down = raster.tile
    wanted = [
        (row, column)
        for row in range(rows.start // down, -(-rows.stop // down))
        for column in range(columns.start // across, -(-columns.stop // across))
        if len(rows) and len(columns)
    ]
    if len(wanted) > LARGEST_TILES:
        raise NotOfferedError(
            f"the area touches {len(wanted)} tiles of it, and {LARGEST_TILES} are read at most; choose a smaller area"
        )
    values = np.full((len(rows), len(columns)), np.nan)
    per_row = -(-raster.width // across)
    for row, column in wanted:
        tile = _tile(raster, fetch, row * per_row + column, row)
        if tile is None:
            continue
        first, left = row * down, column * across
        ys = slice(max(rows.start, first), min(rows.stop, first + tile.shape[0]))
        xs = slice(max(columns.start, left), min(columns.stop, left + across))
        values[ys.start - rows.start : ys.stop - rows.start, xs.start - columns.start : xs.stop - columns.start] = tile[
            ys.start - first : ys.stop - first, xs.start - left : xs.stop - left
        ]
    if raster.nodata is not None:
        values[values == raster.nodata] = np.nan
    centres = (np.array(columns) + 0.5) * raster.dx + raster.x, raster.y - (np.array(rows) + 0.5) * raster.dy
    return Window(values, *centres, raster.dx, raster.dy, len(asked[0]) * len(asked[1]))


def _span(low: float, high: float, size: float) -> range:
    """The pixels of an endless raster whose centres lie from `low` to `high`; else the one that holds the middle."""
    first, last = math.ceil(low / size - 0.5), math.floor(high / size - 0.5)
    if last < first:
        first = last = math.floor((low + high) / 2 / size)
    return range(first, last + 1)


def _within(span: range, count: int) -> range:
    """What of a span a raster of so many pixels has."""
    return range(min(max(span.start, 0), count), min(max(span.stop, 0), count))


def _tile(raster: Raster, fetch: Fetch, at: int, row: int) -> np.ndarray | None:
    """The first band of a tile or strip as floats; None of one that the file leaves out."""
    if not raster.counts[at]:
        return None
    content = fetch(raster.offsets[at], raster.counts[at])
    if len(content) != raster.counts[at]:
        raise ValueError(f"tile {at} has {len(content)} bytes of {raster.counts[at]}")
    try:
        plain = zlib.decompress(content) if raster.deflated else content
    except zlib.error as error:
        raise ValueError(f"tile {at}: {error}") from error
    width, down = raster.tile
    height = down if raster.padded else min(down, raster.height - row * down)
    return _predicted(plain, raster, height, width)[:, :, 0].astype(float)


def _predicted(plain: bytes, raster: Raster, height: int, width: int) -> np.ndarray:
    """Numbers from bytes that say each by its difference to the one before. Raises ValueError on a wrong length."""
    shape, samples, size = (height, width, raster.samples), raster.samples, raster.dtype.itemsize
    if raster.predictor == 3:  # a row's highest bytes first, then the next ones
        rows = np.frombuffer(plain, np.uint8).reshape(height, width * size, samples)
        planes = np.cumsum(rows, axis=1, dtype=np.uint8).reshape(height, size, width * samples)
        return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(raster.dtype.newbyteorder(">")).reshape(shape)
    values = np.frombuffer(plain, raster.dtype).reshape(shape)
    if raster.predictor == 2:
        native = raster.dtype.newbyteorder("=")
        return np.cumsum(values.astype(native), axis=1, dtype=native)
    return values


def _tags(fetch: Fetch) -> dict[int, Any]:
    """The values of the first directory's tags; under 0 the order of bytes."""
    head = fetch(0, HEAD)

    def held(start: int, count: int) -> bytes:
        content = head[start : start + count] if start + count <= len(head) else fetch(start, count)
        if len(content) != count:
            raise ValueError("the file ends within its header")
        return content

    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise ValueError(f"no TIFF: it begins {head[:8]!r}")
    version = struct.unpack(f"{order}H", held(2, 2))[0]
    if version not in (42, 43):
        raise ValueError(f"no TIFF: its version is {version}")
    big = version == 43
    word, entry = ("Q", 20) if big else ("I", 12)
    (start,) = struct.unpack(f"{order}{word}", held(8 if big else 4, 8 if big else 4))
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", held(start, 8 if big else 2))[0]
    entries = held(start + (8 if big else 2), entry * count)
    tags: dict[int, Any] = {0: order}
    for at in range(0, len(entries), entry):
        tag, kind, many = struct.unpack(f"{order}HH{word}", entries[at : at + entry - (8 if big else 4)])
        if kind not in TYPES:
            continue
        layout = f"{order}{many}{TYPES[kind]}"
        size = struct.calcsize(layout)
        inside = entries[at + entry - (8 if big else 4) : at + entry]
        value = inside[:size] if size <= len(inside) else held(struct.unpack(f"{order}{word}", inside)[0], size)
        tags[tag] = struct.unpack(layout, value)
    return tags


def _place(tags: dict[int, Any]) -> tuple[float, float, float, float, int]:
    """The upper left corner, the size of a pixel and the reference system."""
    if PIXEL_SCALE not in tags or TIEPOINT not in tags or GEO_KEYS not in tags:
        raise NotOfferedError(
            "it does not say where on Earth it lies, or lies askew; a GeoTIFF with north up is needed"
        )
    keys = {key: value for key, _, _, value in zip(*[iter(tags[GEO_KEYS][4:])] * 4, strict=True)}
    dx, dy = tags[PIXEL_SCALE][:2]
    column, row, _, x, y, _ = tags[TIEPOINT][:6]
    middle = 0.5 if keys.get(RASTER_TYPE, 1) == 2 else 0.0  # the point tells a pixel's centre
    return x - (column + middle) * dx, y + (row + middle) * dy, dx, dy, keys.get(PROJECTED) or keys.get(GEOGRAPHIC, 0)
