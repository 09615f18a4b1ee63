"""The connection to a STAC API: pystac-client's search over our own reads, with their pace, retries and errors.

pystac-client's own retries take no word of Retry-After from a 429 on a POST, and its one error says of a time-out, a
page of HTML and a refusal the same; so it is given a wire of ours, which hands on only what is a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from resources.alternative.satellite.areas import Box
from resources.alternative.satellite.tiff import Fetch
from resources.alternative.web import Web
from resources.errors import BadAnswerError, ConfigError, NotOfferedError

PAGE = 100


class Catalogue:
    """A STAC API at an address (its landing page), and the `files` that it tells of. Raises as `Web.read` does."""

    def __init__(self, url: str, web: Web, files: Web) -> None:
        self._url, self._web, self._files = url, web, files
        self._client: Any = None

    def items(self, collections: Sequence[str], box: Box, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        """The items of collections that meet a box and the span from start to end, as they are, each once.

        Raises ConfigError on a catalogue without search and where pystac-client is not installed, BadAnswerError on
        a catalogue that gives a page twice.
        """
        client = self._opened()
        from pystac_client.warnings import DoesNotConformTo

        try:
            # Not every API takes searches by POST; one that does says so.
            offered = {str(link.extra_fields.get("method", "GET")).upper() for link in client.get_links("search")}
            found = client.search(
                method="POST" if "POST" in offered else "GET", collections=list(collections), bbox=list(box),
                datetime=[start, end], limit=PAGE,
            )  # fmt: skip
        except (DoesNotConformTo, NotImplementedError) as error:
            raise ConfigError(
                f"{self._url} has no STAC item search ({error}); give the landing page of an API"
            ) from error
        seen: set[tuple[str, str]] = set()
        for page in found.pages_as_dicts():
            fresh = {(str(item.get("collection")), str(item.get("id"))): item for item in page["features"]}
            if not fresh.keys() - seen:
                raise BadAnswerError(f"{self._web.name} gave the same page twice. Try later.")
            yield from (item for key, item in fresh.items() if key not in seen)
            seen |= fresh.keys()

    def reader(self, href: str) -> Fetch:
        """A reader of parts of a file. Raises NotOfferedError on an address that is not of the web."""
        if not href.startswith(("https://", "http://")):
            raise NotOfferedError(
                f"{href}: only addresses of the web (https) are read. Choose a catalogue that has them."
            )

        def fetch(start: int, count: int) -> bytes:
            def whole(content: bytes) -> bytes:
                if start and len(content) != count:  # at the head the file itself may be shorter
                    raise ValueError(f"{len(content)} bytes of {count}")
                return content

            part = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
            return self._files.read(href, href, whole, headers=part, partial=True)

        return fetch

    def _opened(self) -> Any:
        if self._client is None:
            try:
                from pystac_client import Client
                from pystac_client.errors import ClientTypeError
            except ImportError as error:
                raise ConfigError(
                    "alternative.sources: satellite needs the package pystac-client, which is not installed: "
                    f"pip install pystac-client ({error})"
                ) from error
            try:
                self._client = Client.open(self._url, stac_io=_wire(self._web))
            except (ClientTypeError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise ConfigError(
                    f"{self._url} is no STAC API ({error!r}); give its landing page, for example "
                    "https://earth-search.aws.element84.com/v1"
                ) from error
        return self._client


def _wire(web: Web) -> Any:
    from pystac_client.stac_api_io import StacApiIO

    class Wire(StacApiIO):
        def request(
            self, href: str, method: str | None = None, headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:  # fmt: skip
            if (method or "GET").upper() == "POST":
                return web.read(href, href, _object, method="POST", headers=headers, body=parameters)
            return web.read(href, href, _object, headers=headers, params=parameters)

    return Wire(max_retries=None)


def _object(content: bytes) -> str:
    text = content.decode()
    told = json.loads(text)
    if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.get("features") or ()):
        raise ValueError("no JSON object, or one of other features than objects")
    return text
