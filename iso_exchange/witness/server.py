"""A witness over HTTP: ``POST /add-checkpoint`` of C2SP tlog-witness, and what it cosigned.

``GET /checkpoints/<hex SHA-256 of the origin>`` serves the last cosigned checkpoint, so that
anybody can compare it with the one a log shows them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import structlog

from iso_exchange.config import Listen
from iso_exchange.witness.state import WitnessState
from settlement.ledger.policy import Policy
from settlement.ledger.witness import REQUEST_BYTES_MAX, Refused, Status, judge

ADD_CHECKPOINT: Final = "/add-checkpoint"
CHECKPOINTS: Final = "/checkpoints/"
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05

log = structlog.get_logger("witness")


class WitnessServer:
    """Answers in threads; one lock makes judging, keeping and signing one step."""

    def __init__(
        self,
        *,
        listen: Listen,
        state: WitnessState,
        policy: Policy,
        now_seconds: Callable[[], int],
    ) -> None:
        """Bind; ``start`` answers.

        Args:
            policy: Its ``log`` lines say whose checkpoints are cosigned; the rest is ignored.
            now_seconds: POSIX time of a cosignature.

        Raises:
            OSError: the address cannot be bound.
        """
        witness = Witness(state=state, policy=policy, now_seconds=now_seconds)
        handler = type("WitnessHandler", (_Handler,), {"witness": witness})
        self._server = ThreadingHTTPServer((listen.host, listen.port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="iso-witness", daemon=True
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


class Witness:
    """The protocol without HTTP: a body in, a status and a body out."""

    def __init__(
        self, *, state: WitnessState, policy: Policy, now_seconds: Callable[[], int]
    ) -> None:
        """Keep the parts."""
        self._state = state
        self._policy = policy
        self._now_seconds = now_seconds
        self._lock = threading.Lock()

    def add_checkpoint(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer."""
        with self._lock:
            answer = judge(body, self._policy.log_keys, self._state.latest)
            if isinstance(answer, Refused):
                log.warning("refused", status=int(answer.status), detail=answer.detail)
                return _refusal(answer)
            lines = self._state.cosign(answer, self._now_seconds())
        checkpoint = answer.checkpoint
        log.info("cosigned", origin=checkpoint.origin, size=checkpoint.size)
        return HTTPStatus.OK, TEXT_TYPE, lines

    def checkpoint(self, name: str) -> bytes | None:
        """Last cosigned checkpoint under the hash of an origin."""
        with self._lock:
            return self._state.note(name)


def _refusal(refused: Refused) -> tuple[int, str, bytes]:
    if refused.status is Status.CONFLICT:
        return refused.status, SIZE_TYPE, f"{refused.size}\n".encode()
    return refused.status, TEXT_TYPE, f"{refused.detail}\n".encode()


class _Handler(BaseHTTPRequestHandler):
    witness: Witness
    protocol_version = "HTTP/1.1"
    server_version = "iso-witness"
    sys_version = ""
    timeout = _TIMEOUT_S

    def do_POST(self) -> None:
        """Judge a checkpoint."""
        length = self.headers.get("Content-Length", "")
        if self.path != ADD_CHECKPOINT:
            self._close(HTTPStatus.NOT_FOUND, b"POST /add-checkpoint is all there is\n")
        elif not (length.isascii() and length.isdigit()):
            self._close(HTTPStatus.LENGTH_REQUIRED, b"send a Content-Length\n")
        elif int(length) > REQUEST_BYTES_MAX:
            self._close(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"the request is too large\n")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._send(*self.witness.add_checkpoint(body))

    def do_GET(self) -> None:
        """Show a cosigned checkpoint, or that the witness lives."""
        if self.path == "/healthz":
            self._send(HTTPStatus.OK, TEXT_TYPE, b"ok\n")
            return
        found = None
        if self.path.startswith(CHECKPOINTS):
            found = self.witness.checkpoint(self.path.removeprefix(CHECKPOINTS))
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, TEXT_TYPE, b"not found\n")
        else:
            self._send(HTTPStatus.OK, TEXT_TYPE, found)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """One structured line, only where somebody looks for details."""
        log.debug("request", line=format % args, peer=self.client_address[0])

    def _close(self, status: HTTPStatus, body: bytes) -> None:
        """Answer without reading the body: what follows on the connection is no request."""
        self.close_connection = True
        self._send(status, TEXT_TYPE, body)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
