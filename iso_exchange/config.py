"""Configuration of the server: command line and environment, parsed once into a frozen value."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from settlement.ledger.errors import KeyFormatError, PolicyError
from settlement.ledger.keys import check_key_name
from settlement.ledger.policy import Policy, parse_policy

ORIGIN_DEFAULT: Final = "iso-exchange.example/dev"
GRPC_LISTEN_DEFAULT: Final = "127.0.0.1:7443"
HTTP_LISTEN_DEFAULT: Final = "127.0.0.1:7080"
DATABASE_URL_VARIABLE: Final = "ISO_DATABASE_URL"
PORT_MAX: Final = 65_535
DRAIN_SECONDS_DEFAULT: Final = 10.0
WITNESS_SECONDS_DEFAULT: Final = 2.0
TIMESTAMP_SECONDS_DEFAULT: Final = 3600.0
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


class Role(Enum):
    """What a process of the exchange does."""

    ALL = "all"
    SEQUENCER = "sequencer"
    """Everything but the publisher: order entry, auctions, settlement, the gRPC services."""
    PUBLISHER = "publisher"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and says what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where a server listens; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the server is told from outside.

    Attributes:
        data: Directory of database, secrets, certificates, identities and the public log.
        origin: Name of the log, first line of its checkpoints.
        grpc: Where the gRPC server listens.
        http: Where metrics and log files are served.
        server_names: Further host names and addresses of the server certificate.
        database_url: PostgreSQL server; None runs an embedded one below ``data``.
        simulated_start_us: Start of a simulated clock, microseconds since the epoch; None for the
            system clock.
        drain_seconds: How long calls in flight may take to finish when the server stops.
        call_seconds_max: Limit of a call whose client sets no deadline, and of every unary call.
        log_level: Least level that is logged.
        witness_policy: C2SP tlog-policy file; None asks no witness.
        witness_seconds: How long witnesses may take to answer.
        timestamp_url: RFC 3161 authority that stamps checkpoints; empty for none.
        timestamp_seconds: Between two stamps.
        second_signature: Whether a new exchange gets an ML-DSA-44 log key too; one that has
            the key keeps signing with it.
        role: What this process does; apart, the processes share database and data directory.
        webhook_loopback: Webhooks may call this machine, and without TLS: for a laptop.
    """

    data: Path
    origin: str = ORIGIN_DEFAULT
    grpc: Listen = Listen(host="127.0.0.1", port=7443)
    http: Listen = Listen(host="127.0.0.1", port=7080)
    server_names: tuple[str, ...] = ()
    database_url: str | None = None
    simulated_start_us: int | None = None
    drain_seconds: float = DRAIN_SECONDS_DEFAULT
    call_seconds_max: float = 60.0
    log_level: str = "INFO"
    witness_policy: Path | None = None
    witness_seconds: float = WITNESS_SECONDS_DEFAULT
    timestamp_url: str = ""
    timestamp_seconds: float = TIMESTAMP_SECONDS_DEFAULT
    second_signature: bool = True
    webhook_loopback: bool = False
    role: Role = Role.ALL

    def __post_init__(self) -> None:
        """Refuse what could only fail later.

        Raises:
            ConfigError: an origin that cannot name a log, a limit that is not above zero.
        """
        try:
            check_key_name(self.origin)
        except KeyFormatError as error:
            message = f"--origin {self.origin!r}: {error}"
            raise ConfigError(message) from error
        if self.role is not Role.ALL and self.database_url is None:
            message = "--role: processes apart share a PostgreSQL server: give --database-url"
            raise ConfigError(message)
        if self.timestamp_url and find_spec("rfc3161_client") is None:
            message = "--timestamp-url: install 'iso-exchange[timestamps]'"
            raise ConfigError(message)
        if self.timestamp_seconds <= 0:
            message = "the time between two timestamps is above zero"
            raise ConfigError(message)
        if self.drain_seconds < 0 or self.call_seconds_max <= 0 or self.witness_seconds <= 0:
            message = (
                "the drain time is zero or more, the longest call and the witness time above zero"
            )
            raise ConfigError(message)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Read the command line.

    The database URL may come from the environment, because it holds a password.

    Raises:
        ConfigError: a value that cannot be used.
        SystemExit: ``--help``, or an unknown option.
    """
    options = _parser().parse_args(arguments)
    return Config(
        data=Path(options.data),
        origin=options.origin,
        grpc=parse_listen(options.listen),
        http=parse_listen(options.http_listen),
        server_names=tuple(options.server_name),
        database_url=options.database_url or environment.get(DATABASE_URL_VARIABLE) or None,
        simulated_start_us=parse_clock(options.clock),
        drain_seconds=options.drain_seconds,
        log_level=options.log_level,
        witness_policy=Path(options.witness_policy) if options.witness_policy else None,
        witness_seconds=options.witness_seconds,
        timestamp_url=options.timestamp_url,
        timestamp_seconds=options.timestamp_seconds,
        second_signature=options.ml_dsa,
        webhook_loopback=options.webhook_loopback,
        role=Role(options.role),
    )


def read_policy(path: Path | None, origin: str) -> Policy | None:
    """Read the witness policy of an exchange.

    Raises:
        ConfigError: it cannot be read, or asks for cosignatures of witnesses without a URL.
    """
    if path is None:
        return None
    try:
        policy = parse_policy(path.read_bytes())
    except (OSError, PolicyError) as error:
        message = f"--witness-policy {path}: {error}"
        raise ConfigError(message) from error
    if policy.logs and not policy.log_keys(origin):
        message = f"--witness-policy {path}: it lists logs, but not {origin}"
        raise ConfigError(message)
    if not policy.is_quorum(witness.key for witness in policy.witnesses if witness.url):
        message = f"--witness-policy {path}: witnesses with a URL do not make the quorum"
        raise ConfigError(message)
    return policy


def parse_listen(text: str) -> Listen:
    """Read ``host:port``.

    Raises:
        ConfigError: no host, or a port that is none.

    Example:
        >>> parse_listen("127.0.0.1:0").port
        0
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        message = f"{text!r} is no host:port such as {GRPC_LISTEN_DEFAULT}"
        raise ConfigError(message)
    return Listen(host=host, port=int(port))


def parse_clock(text: str) -> int | None:
    """Read ``system`` or ``simulated:<RFC 3339 time>``; microseconds since the epoch, or None.

    Raises:
        ConfigError: neither of them, or a time without a zone.

    Example:
        >>> parse_clock("simulated:1970-01-01T00:00:01Z")
        1000000
    """
    if text == "system":
        return None
    kind, _, start = text.partition(":")
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        moment = None
    if kind != "simulated" or moment is None or moment.tzinfo is None:
        message = f"--clock {text!r}: use system, or simulated:2026-01-01T00:00:00Z"
        raise ConfigError(message)
    elapsed = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iso serve", description="Run the whole exchange in one process group."
    )
    parser.add_argument("--data", default="var", help="data directory (default: var)")
    parser.add_argument("--origin", default=ORIGIN_DEFAULT, help=f"default: {ORIGIN_DEFAULT}")
    parser.add_argument(
        "--listen", default=GRPC_LISTEN_DEFAULT, help=f"gRPC (default: {GRPC_LISTEN_DEFAULT})"
    )
    parser.add_argument(
        "--http-listen",
        default=HTTP_LISTEN_DEFAULT,
        help=f"metrics and log files (default: {HTTP_LISTEN_DEFAULT})",
    )
    parser.add_argument(
        "--server-name",
        action="append",
        default=[],
        help="further host name or address of the server certificate; may be repeated",
    )
    parser.add_argument(
        "--database-url",
        default="",
        help=f"PostgreSQL server; better given as {DATABASE_URL_VARIABLE} (default: embedded)",
    )
    parser.add_argument(
        "--clock", default="system", help="system, or simulated:<RFC 3339 time> (default: system)"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=DRAIN_SECONDS_DEFAULT,
        help=f"time for calls in flight when the server stops (default: {DRAIN_SECONDS_DEFAULT:g})",
    )
    parser.add_argument(
        "--witness-policy", default="", help="C2SP tlog-policy file: witnesses and their quorum"
    )
    parser.add_argument(
        "--witness-seconds",
        type=float,
        default=WITNESS_SECONDS_DEFAULT,
        help=f"time for witnesses to answer (default: {WITNESS_SECONDS_DEFAULT:g})",
    )
    parser.add_argument(
        "--timestamp-url", default="", help="RFC 3161 authority that stamps checkpoints"
    )
    parser.add_argument(
        "--timestamp-seconds",
        type=float,
        default=TIMESTAMP_SECONDS_DEFAULT,
        help=f"time between two stamps (default: {TIMESTAMP_SECONDS_DEFAULT:g})",
    )
    parser.add_argument(
        "--no-ml-dsa",
        dest="ml_dsa",
        action="store_false",
        help="a new exchange gets no ML-DSA-44 log key",
    )
    parser.add_argument(
        "--webhook-loopback",
        action="store_true",
        help="let webhooks call this machine, without TLS (for a laptop)",
    )
    roles = [role.value for role in Role]
    parser.add_argument("--role", choices=roles, default="all", help="what it does (default: all)")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="INFO", help="default: INFO")
    return parser
