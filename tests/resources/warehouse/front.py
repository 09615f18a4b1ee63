"""ClickHouse's HTTP interface on loopback, in a process of its own, with ClickHouse's engine (chDB) behind it.

    python front.py FOLDER PORT_FILE [CERTIFICATE KEY]

chDB is the engine without the server: this stands in for the server's HTTP alone. It takes what clickhouse-connect
sends (query in the body, the address or a form; param_ values; settings; rows in Arrow; Basic credentials) and answers
with the engine's own bytes, or its exception with code and text. Everything else, SQL included, is the real thing.
USERS are those it lets in, of whom READERS may only read. Tables live in FOLDER: after a kill it can be started on them
again.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import ssl
import sys
import tempfile
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

USERS = {"default": "", "quant": "right horse", "reader": ""}
READERS = {"reader": "2"}
"""By user, the `readonly` of its profile."""

_NO_SETTINGS = {"query", "database", "wait_end_of_query", "client_protocol_version", "query_id", "session_id"}
_NO_SETTINGS |= {"enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
_INSERT = re.compile(rb"INSERT INTO [^\n]* FORMAT (\w+)\n")


class Engine:
    """The one engine of this process. Queries run one after the other, each with settings of its own."""

    def __init__(self, folder: str) -> None:
        import chdb

        self._open = functools.partial(chdb.connect, folder)
        self._keep = self._open()  # the engine ends with its last connection
        self._lock = threading.Lock()

    def answer(self, user: str, query: dict[str, str], body: bytes) -> bytes:
        """The engine's bytes. Raises RuntimeError with its exception."""
        values = {name[6:]: value for name, value in query.items() if name.startswith("param_")}
        settings = {n: v for n, v in query.items() if n not in _NO_SETTINGS and not n.startswith("param_")}
        settings["readonly"] = settings.pop("readonly", "0")  # the last: once it only reads, none can be set
        database, text = query.get("database") or "default", query.get("query", "")
        with self._lock, contextlib.closing(self._open()) as connection:
            if user in READERS:
                self._run(connection, f"SET readonly = {READERS[user]}", {})
            self._run(connection, f"USE `{database}`", {})
            for name, value in settings.items():
                if (name, value) != ("readonly", "0"):
                    self._run(connection, f"SET {name} = '{value}'", {})
            insert = _INSERT.match(body)
            if insert is None:
                return self._run(connection, text or body.decode(), values)
            with tempfile.NamedTemporaryFile() as file:
                file.write(body[insert.end() :])
                file.flush()
                into = insert[0].decode().rpartition(" FORMAT ")[0]
                return self._run(connection, f"{into} FROM INFILE '{file.name}' FORMAT {insert[1].decode()}", values)

    def _run(self, connection: Any, text: str, values: dict[str, str]) -> bytes:
        return bytes(connection.query(text, "TabSeparated", params=values).bytes() or b"")


class Handler(BaseHTTPRequestHandler):
    engine: Engine
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            query, body = query | _fields(kind, body), b""
        user, password = self._credentials()
        if USERS.get(user) != password:
            told = (
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user"
            )
            self._send(403, f"{told} with such name. (AUTHENTICATION_FAILED)\n".encode(), code=516)
            return
        try:
            self._send(200, self.engine.answer(user, query, body))
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            self._send(500, f"{error}\n".encode(), code=int(code[1]) if code else 1)

    do_GET = do_POST

    def _credentials(self) -> tuple[str, str]:
        scheme, _, content = self.headers.get("Authorization", "").partition(" ")
        user, _, password = (
            base64.b64decode(content).decode().partition(":") if scheme == "Basic" else ("default", "", "")
        )
        return user, password

    def _send(self, status: int, body: bytes, code: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


def _fields(kind: str, body: bytes) -> dict[str, str]:
    """The fields of a form."""
    parts: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
    found = {}
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        found[name] = part.get_payload(decode=True).decode()
    return found


def _end_with_parent() -> None:
    """Whoever started this holds its input open; when that process is gone, however it went, so is this one."""
    sys.stdin.read()
    os._exit(0)


def main(folder: str, port_file: str, certificate: str = "", key: str = "") -> None:
    os.environ["TZ"] = "UTC"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Handler.engine = Engine(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    ready = Path(port_file)
    ready.with_suffix(".part").write_text(str(server.server_address[1]))
    ready.with_suffix(".part").rename(ready)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
