"""Plain HTTP: metrics for Prometheus and the public log as static files.

Nothing here is secret and nothing can be changed: ``GET`` and ``HEAD`` of ``/metrics``,
``/healthz``, ``/log/checkpoint``, ``/log/checkpoint.witnessed``, ``/log/tile/...`` (C2SP
tlog-tiles), ``/log/proof/<index>.tlog-proof`` and ``/log/timestamps/<size>.tsr``. Put TLS and
caching in front of it.
"""

from __future__ import annotations

import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from iso_exchange.config import Listen
from settlement.ledger.checkpoint import parse_checkpoint, parse_note
from settlement.ledger.errors import TileError
from settlement.ledger.proofs import LogProof, encode_proof
from settlement.ledger.tiles import TileReader, parse_path

_LOG: Final = "/log/"
_STAMP: Final = re.compile(r"/log/timestamps/[1-9][0-9]{0,18}\.(?:tsr|checkpoint)", re.ASCII)
_PROOF: Final = re.compile(r"/log/proof/(0|[1-9][0-9]{0,18})\.tlog-proof", re.ASCII)
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.05
"""How often the thread looks whether it is to stop."""

log = structlog.get_logger("http")


class HttpServer:
    """A small server in a thread of its own, so that a slow reader holds up nobody."""

    def __init__(self, *, listen: Listen, directory: Path) -> None:
        """Bind; ``start`` answers.

        Args:
            directory: The publisher's directory.

        Raises:
            OSError: the address cannot be bound.
        """
        handler = type("LogHandler", (_Handler,), {"directory": directory})
        self._server = ThreadingHTTPServer((listen.host, listen.port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="iso-http", daemon=True
        )
        self.url = f"http://{listen.host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and release the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    directory: Path
    protocol_version = "HTTP/1.1"
    server_version = "iso-exchange"
    sys_version = ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with the body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without it."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """One structured line, only where somebody looks for details."""
        log.debug("request", line=format % args, peer=self.client_address[0])

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(generate_latest(), CONTENT_TYPE_LATEST, "no-store", with_body=with_body)
        elif path == "/healthz":
            self._send(b"ok\n", "text/plain", "no-store", with_body=with_body)
        elif path in (f"{_LOG}checkpoint", f"{_LOG}checkpoint.witnessed"):
            name = path.removeprefix(_LOG)
            self._file(name, "text/plain; charset=utf-8", "no-cache", with_body=with_body)
        elif (match := _PROOF.fullmatch(path)) is not None:
            self._proof(int(match[1]), with_body=with_body)
        elif _STAMP.fullmatch(path) is not None:
            name = path.removeprefix(_LOG)
            self._file(name, "application/timestamp-reply", _IMMUTABLE, with_body=with_body)
        else:
            self._tile(path, with_body=with_body)

    def _proof(self, index: int, *, with_body: bool) -> None:
        """Proof of one entry under the checkpoint of this moment, made from the files.

        A checkpoint that witnesses cosigned is preferred where it covers the entry.
        """
        for name in ("checkpoint.witnessed", "checkpoint"):
            try:
                note = (self.directory / name).read_bytes()
            except FileNotFoundError:
                continue
            checkpoint = parse_checkpoint(parse_note(note).text)
            if index >= checkpoint.size:
                continue
            reader = TileReader(self._read, size=checkpoint.size, root=checkpoint.root)
            try:
                proof = LogProof(index=index, path=reader.inclusion_proof(index), checkpoint=note)
            except TileError as error:
                log.error("no proof", index=index, reason=str(error))  # noqa: TRY400 - no bug
                continue
            body = encode_proof(proof)
            self._send(body, "text/plain; charset=utf-8", "no-cache", with_body=with_body)
            return
        self._missing(with_body=with_body)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def _tile(self, path: str, *, with_body: bool) -> None:
        """Serve a tile or bundle; a path has one spelling, so none leads out of the directory."""
        try:
            tile = parse_path(path.removeprefix(_LOG))
        except TileError:
            self._missing(with_body=with_body)
            return
        self._file(tile.path, "application/octet-stream", _IMMUTABLE, with_body=with_body)

    def _file(self, name: str, content_type: str, cache: str, *, with_body: bool) -> None:
        try:
            content = (self.directory / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self._missing(with_body=with_body)
            return
        self._send(content, content_type, cache, with_body=with_body)

    def _missing(self, *, with_body: bool) -> None:
        self._send(
            b"not found\n",
            "text/plain",
            "no-store",
            with_body=with_body,
            status=HTTPStatus.NOT_FOUND,
        )

    def _send(
        self,
        content: bytes,
        content_type: str,
        cache: str,
        *,
        with_body: bool,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", cache)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(content)
