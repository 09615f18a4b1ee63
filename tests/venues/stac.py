"""A STAC API on loopback (landing page, item search by POST and GET, pages), and the GeoTIFFs that its items tell of.

    with StacVenue(market) as venue:
        asset = venue.put("red.tif", geotiff(values, west=10.0, north=50.0, size=0.01))
        venue.add(item("scene-1", "2024-05-01T10:00:00Z", (10, 49, 11, 50), assets={"red": asset}))
        source = Satellite(venue.address, areas, ...)

As catalogues do, the venue gives its items the newest first, by pages of `page`, each with the link to the next one;
and serves parts of files (Range). Formats: STAC 1.0.0 and its API 1.0.0, TIFF 6.0, GeoTIFF 1.1, Adobe's floating point
predictor. Names of requests for fault rules: "POST /search", "GET /files/red.tif".
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import numpy as np

from tests.venues.market import Market
from tests.venues.server import Answer, HttpVenue, Request, as_json

CONFORMS = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
FORMATS = {"u": 1, "i": 2, "f": 3}


class StacVenue(HttpVenue):
    """`methods`: of searching. `ranges`: whether parts of files are served. `loops`: the last page leads back to the
    first. `landing`: what the landing page says otherwise.
    """

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.items: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.page, self.ranges, self.loops = 10, True, False
        self.methods = ("POST", "GET")
        self.conforms = CONFORMS
        self.landing: dict[str, Any] = {}

    def add(self, *items: dict[str, Any]) -> None:
        self.items.update({each["id"]: each for each in items})

    def put(self, name: str, content: bytes, **told: Any) -> dict[str, Any]:
        """Keep a file; the asset that tells of it."""
        self.files[name] = content
        href = f"{self.address}/files/{name}"
        return {"href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized", **told}

    def asked(self, part: str) -> list[Request]:
        return [each for each in self.requests if part in each.path]

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/files/"):
            return self._file(request.path.removeprefix("/files/"), request.headers.get("range"))
        if request.path in ("", "/"):
            return as_json(self._landing())
        if request.path == "/search":
            if request.method not in self.methods:
                return as_json({"code": "MethodNotAllowed"}, 405)
            return self._search(request)
        return as_json({"code": "NotFoundError", "description": "no such path"}, 404)

    def _landing(self) -> dict[str, Any]:
        links = [{"rel": rel, "type": "application/json", "href": self.address} for rel in ("self", "root")]
        links += [
            {"rel": "search", "type": "application/geo+json", "href": f"{self.address}/search", "method": method}
            for method in self.methods
        ]
        return {
            "type": "Catalog", "stac_version": "1.0.0", "id": "loopback", "description": "Scenes made up for tests",
            "conformsTo": list(self.conforms), "links": links, **self.landing,
        }  # fmt: skip

    def _search(self, request: Request) -> Answer:
        posted = request.method == "POST"
        asked: dict[str, Any] = json.loads(request.body) if posted else dict(request.query)
        if not posted:
            asked |= {
                "bbox": list(map(float, asked["bbox"].split(","))),
                "collections": asked["collections"].split(","),
            }
        west, south, east, north = asked["bbox"]
        since, until = (datetime.fromisoformat(each) for each in asked["datetime"].split("/"))
        found = [
            each
            for each in sorted(self.items.values(), key=lambda one: _span(one)[0], reverse=True)
            if each["collection"] in asked["collections"]
            and each["bbox"][0] <= east and each["bbox"][2] >= west
            and each["bbox"][1] <= north and each["bbox"][3] >= south
            and _span(each)[0] <= until and _span(each)[1] >= since
        ]  # fmt: skip
        at = int(asked.get("token", 0))
        shown, then = found[at : at + self.page], at + self.page
        links = [{"rel": "self", "href": f"{self.address}/search"}]
        if then < len(found) or self.loops:
            token = {"token": str(then if then < len(found) else 0)}
            onward: dict[str, Any] = (
                {"method": "POST", "href": f"{self.address}/search", "body": {**asked, **token}, "merge": False}
                if posted
                else {"method": "GET", "href": f"{self.address}/search?{urlencode({**request.query, **token})}"}
            )
            links.append({"rel": "next", "type": "application/geo+json", **onward})
        return as_json({
            "type": "FeatureCollection", "features": shown, "links": links, "numberMatched": len(found),
            "numberReturned": len(shown),
        })  # fmt: skip

    def _file(self, name: str, part: str | None) -> Answer:
        if name not in self.files:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
        content = self.files[name]
        if part is None or not self.ranges:
            return Answer(200, content, {"Content-Type": "image/tiff"})
        first, last = (int(each) for each in part.removeprefix("bytes=").split("-"))
        if first >= len(content):
            return Answer(416, b"")
        told = {"Content-Type": "image/tiff", "Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return Answer(206, content[first : last + 1], told)


def _span(each: dict[str, Any]) -> tuple[datetime, datetime]:
    said = each["properties"]
    if said["datetime"]:
        return (datetime.fromisoformat(said["datetime"]),) * 2
    return datetime.fromisoformat(said["start_datetime"]), datetime.fromisoformat(said["end_datetime"])


def item(
    name: str,
    taken: str | tuple[str, str],
    bbox: Iterable[float],
    *,
    collection: str = "scenes",
    assets: dict[str, Any] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """A STAC item; `taken` is an instant, or the span of a composite. A property eo__cloud_cover is eo:cloud_cover."""
    when = {"datetime": taken} if isinstance(taken, str) else {
        "datetime": None, "start_datetime": taken[0], "end_datetime": taken[1],
    }  # fmt: skip
    west, south, east, north = bbox = [float(each) for each in bbox]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, "bbox": bbox,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {**when, **{key.replace("__", ":"): value for key, value in properties.items()}},
        "links": [], "assets": assets or {},
    }  # fmt: skip


def geotiff(
    values: Any,
    *,
    west: float,
    north: float,
    size: float,
    epsg: int = 4326,
    tile: int | None = None,
    rows: int | None = None,
    predictor: int = 1,
    deflate: bool = True,
    nodata: float | None = None,
    order: str = "<",
    big: bool = False,
    centre: bool = False,
    compression: int | None = None,
    sparse: Iterable[int] = (),
) -> bytes:
    """A GeoTIFF with north up: in tiles of `tile`, or in strips of `rows`. `values` are rows by columns (by bands).

    `predictor` 2 for integers, 3 for floats; `big`: BigTIFF; `centre`: the tie point is a pixel's centre;
    `compression`: what is told in place of the truth; `sparse`: tiles that are left out.
    """
    values = np.asarray(values)
    height, width = values.shape[:2]
    bands = 1 if values.ndim == 2 else values.shape[2]
    values = values.reshape(height, width, bands)
    down, across = (tile, tile) if tile else (rows or height, width)
    chunks = []
    for at, (top, left) in enumerate((top, left) for top in range(0, height, down) for left in range(0, width, across)):
        part = values[top : top + down, left : left + across]
        if tile:
            part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
        plain = _encoded(part, predictor, order)
        chunks.append(b"" if at in sparse else zlib.compress(plain) if deflate else plain)
    geo = (1, 1, 0, 3, 1024, 0, 1, 2 if epsg == 4326 else 1, 1025, 0, 1, 2 if centre else 1,
           2048 if epsg == 4326 else 3072, 0, 1, epsg)  # fmt: skip
    shift = size / 2 if centre else 0.0
    offset_kind = 16 if big else 4
    tags: dict[int, tuple[int, Any]] = {
        256: (3, (width,)), 257: (3, (height,)), 258: (3, (values.dtype.itemsize * 8,) * bands),
        259: (3, (compression or (8 if deflate else 1),)), 262: (3, (1,)), 277: (3, (bands,)), 284: (3, (1,)),
        317: (3, (predictor,)), 339: (3, (FORMATS[values.dtype.kind],) * bands), 33550: (12, (size, size, 0.0)),
        33922: (12, (0.0, 0.0, 0.0, west + shift, north - shift, 0.0)), 34735: (3, geo),
    }  # fmt: skip
    if tile:
        tags |= {322: (3, (tile,)), 323: (3, (tile,))}
    else:
        tags[278] = (3, (down,))
    if nodata is not None:
        tags[42113] = (2, f"{nodata:g}\0".encode())
    places, counts = ((324, 325) if tile else (273, 279))  # fmt: skip
    tags |= {places: (offset_kind, (0,) * len(chunks)), counts: (offset_kind, tuple(map(len, chunks)))}
    start = len(_directory(tags, order, big))
    at = [start + sum(map(len, chunks[:one])) for one in range(len(chunks))]
    tags[places] = (offset_kind, tuple(one if chunk else 0 for one, chunk in zip(at, chunks, strict=True)))
    return _directory(tags, order, big) + b"".join(chunks)


def _encoded(part: np.ndarray, predictor: int, order: str) -> bytes:
    height, width, bands = part.shape
    if predictor == 3:
        raw = part.astype(part.dtype.newbyteorder(">")).tobytes()
        planes = np.frombuffer(raw, np.uint8).reshape(height, width * bands, part.dtype.itemsize).transpose(0, 2, 1)
        rows = planes.reshape(height, width * part.dtype.itemsize, bands)
        return np.diff(rows, axis=1, prepend=np.zeros((height, 1, bands), np.uint8)).astype(np.uint8).tobytes()
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=np.zeros((height, 1, bands), part.dtype)).astype(part.dtype)
    return part.astype(part.dtype.newbyteorder(order)).tobytes()


def _directory(tags: dict[int, tuple[int, Any]], order: str, big: bool) -> bytes:
    """Header, directory and the values that do not fit into it; the tiles follow."""
    kinds = {2: "s", 3: "H", 4: "I", 12: "d", 16: "Q"}
    word, entry, room = ("Q", 20, 8) if big else ("I", 12, 4)
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    head = (b"II" if order == "<" else b"MM") + head
    outside = len(head) + (8 if big else 2) + entry * len(tags) + room
    entries, values = b"", b""
    for tag, (kind, told) in sorted(tags.items()):
        raw = told if kind == 2 else struct.pack(f"{order}{len(told)}{kinds[kind]}", *told)
        place = raw.ljust(room, b"\0") if len(raw) <= room else struct.pack(f"{order}{word}", outside + len(values))
        values += b"" if len(raw) <= room else raw
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(told)) + place
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    return head + count + entries + bytes(room) + values
