"""An HTTP/1.1 server on loopback that carries out a market's faults; a front gives the good answers.

    class Front(HttpVenue):
        def answer(self, request: Request) -> Answer: ...

    with Front(market) as front:
        client = Client(url_override=front.address)

`front.requests` are the requests as they came, faults included. A fault's name for a rule is "METHOD /path".
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.venues.market import Fault, Market

HTML = "<!DOCTYPE html><html><body>Will be right back...</body></html>"


@dataclass(frozen=True)
class Request:
    """A request: `path` decoded and without its query, `query` (the last of a name that comes twice), `body` raw."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    raw_query: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def as_json(content: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


class HttpVenue:
    """A front over HTTP, a context manager."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.requests: list[Request] = []
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: Request) -> Answer:
        """The good answer, or the venue's own refusal, of a request."""
        raise NotImplementedError

    def fault_answer(self, fault: Fault) -> Answer:
        """The body of a `status` fault in the venue's own words; a front may say it otherwise."""
        return Answer(fault.status, (fault.body or f'{{"message": "fault {fault.status}"}}').encode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _respond(self, request: Request) -> tuple[Answer | None, int | None]:
        """The answer (None: hang up without one), and how many bytes of it are sent before hanging up (None: all)."""
        self.requests.append(request)
        fault = self.market.faults.take(request.name)
        if fault is None:
            return self.answer(request), None
        match fault.kind:
            case "status":
                return _after(self.fault_answer(fault), fault), None
            case "applied":
                self.answer(request)
                return _after(self.fault_answer(fault), fault), None
            case "html":
                return Answer(fault.status or 200, HTML.encode(), {"Content-Type": "text/html"}), None
            case "empty":
                return Answer(fault.status or 200, b""), None
            case "drop":
                return None, None
            case "slow":
                self._closing.wait(fault.seconds)
                return self.answer(request), None
        good = self.answer(request)
        half = len(good.body) // 2
        if fault.kind == "truncated":
            return Answer(good.status, good.body[:half], good.headers), None
        if fault.kind == "cut off":
            return good, half
        raise ValueError(f"{request.name}: fault {fault.kind!r} is not one of HTTP")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # headers and body leave together

            def respond(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                request = Request(self.command, unquote(parts.path), query, headers, body, parts.query)
                answer, sent = venue._respond(request)
                self.close_connection = answer is None or sent is not None or self.close_connection
                if answer is None:
                    return
                with contextlib.suppress(ConnectionError):  # a client that gave up waiting is gone
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body[:sent])
                    self.wfile.flush()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client keeps its connection open for longer than the test lasts

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error of the venue's; anything else is shown."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _after(answer: Answer, fault: Fault) -> Answer:
    if fault.retry_after is None:
        return answer
    return Answer(answer.status, answer.body, {**answer.headers, "Retry-After": f"{fault.retry_after:g}"})
