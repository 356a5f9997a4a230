"""The gRPC server: mutual TLS, limits, keep-alive, health, reflection."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from iso_exchange.config import Listen
from iso_exchange.gateway.interceptor import CallInterceptor, Durable
from iso_exchange.identity.ca import IssuedCertificate

MESSAGE_BYTES_MAX: Final = 4 * 2**20
CALLS_MAX: Final = 10_000
STREAMS_PER_CONNECTION_MAX: Final = 1_000

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Lists have pages of at most 1,000 items; a document comes in pieces of 1 MiB.
    ("grpc.max_send_message_length", 16 * 2**20),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client may ping as often as we do; more often is an attack or a mistake.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Two servers on one port would split the calls between two exchanges.
    ("grpc.so_reuseport", 0),
)

Registration = Callable[[grpc.aio.Server], None]


class AddressInUseError(RuntimeError):
    """Another process listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What mutual TLS needs.

    Attributes:
        client_roots_pem: Roots of client certificates.
    """

    server: IssuedCertificate
    client_roots_pem: bytes


class GrpcServer:
    """One listening server; ``start`` once, ``stop`` once."""

    def __init__(
        self, *, tls: Tls, listen: Listen, call_seconds_max: float, durable: Durable
    ) -> None:
        """Make the server and bind it; nothing is answered before ``start``.

        Args:
            durable: Returns when everything that can be read now is committed.

        Raises:
            AddressInUseError: the port is taken.
        """
        interceptor = CallInterceptor(
            call_seconds_max=call_seconds_max,
            new_id=lambda: uuid.uuid4().hex,
            durable=durable,
        )
        self._server = grpc.aio.server(
            interceptors=(interceptor,), options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX
        )
        self._health = health.aio.HealthServicer()
        credentials = grpc.ssl_server_credentials(
            [(tls.server.private_key_pem, tls.server.certificate_pem)],
            root_certificates=tls.client_roots_pem,
            require_client_auth=True,
        )
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        try:
            port = self._server.add_secure_port(f"{host}:{listen.port}", credentials)
        except RuntimeError as error:
            message = f"cannot listen on {host}:{listen.port}: choose another port with --listen"
            raise AddressInUseError(message) from error
        self.target = f"{host}:{port}"

    async def start(self, registrations: Sequence[Registration], names: Sequence[str]) -> None:
        """Add the services and answer from now on.

        Args:
            registrations: Add one servicer each.
            names: Full names of the services, for reflection and health.
        """
        for register in registrations:
            register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self, drain_seconds: float) -> None:
        """Report not serving, refuse new calls, let those in flight finish, then end them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_seconds)
