"""Composition root: every part of the exchange in one process, started and stopped in order.

``python -m iso_exchange.server --data var`` runs it; tests use ``async with Exchange(config)``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from iso_exchange import config as configuration
from iso_exchange import rotation
from iso_exchange.auctioneer.auctioneer import Auctioneer
from iso_exchange.auctioneer.credits import CreditAuctioneer
from iso_exchange.auctioneer.spot import SpotAuctioneer
from iso_exchange.bootstrap import OPERATOR_ID, BootstrapError, bootstrap
from iso_exchange.clock import MICROSECONDS, Clock, SimulatedClock, SystemClock
from iso_exchange.config import Config, ConfigError, Role
from iso_exchange.dispatcher.dispatcher import Dispatcher
from iso_exchange.gateway.calendar import advance_through_gates, reached_us
from iso_exchange.gateway.grpc_server import AddressInUseError, GrpcServer, Tls
from iso_exchange.gateway.http_server import HttpServer
from iso_exchange.gateway.journal import Journal
from iso_exchange.gateway.signatures import SignatureWorker, WorkerEndedError
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import (
    SIGNING_FILE,
    ExchangeAddress,
    signing_key,
    write_address,
    write_identity,
)
from iso_exchange.identity.names import is_identifier
from iso_exchange.observability import logs
from iso_exchange.publisher.process import publish_until
from iso_exchange.publisher.publication import FollowedPublication, Publication
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.publisher.witnesses import Witnesses
from iso_exchange.rotation import Rotated, RotationError
from iso_exchange.secrets_file import SEED_BYTES, load_or_create
from iso_exchange.sequencer.salts import Salts
from iso_exchange.sequencer.sequencer import LogKeyError, Sequencer, StoppedError
from iso_exchange.services.backend import Backend
from iso_exchange.services.mutations import Mutations
from iso_exchange.services.wiring import SERVICE_NAMES, registrations
from iso_exchange.settler.allocation import AllocationReporter
from iso_exchange.settler.settler import Settler
from iso_exchange.storage.embedded import Embedded, EmbeddedError
from iso_exchange.storage.migrate import MigrationError, migrate
from iso_exchange.storage.pool import UnsafeServerError
from iso_exchange.storage.postgres import PostgresStore
from iso_exchange.webhooks import Webhooks
from settlement.ledger.keys import NoteAlgorithm, NoteKey
from settlement.storage.store import LedgerStore, StoreError

EXIT_OK: Final = 0
EXIT_STOPPED: Final = 1
EXIT_REFUSED: Final = 2
FAILED_DRAIN_SECONDS: Final = 1.0
FAILED_STOP_SECONDS_MAX: Final = 10.0
"""A stop after a failure that takes longer ends the process where it is."""
WATCH_SECONDS: Final = 0.5
CLOCK_FILE: Final = "simulated-clock"


class LostError(RuntimeError):
    """What the exchange stands on is gone: its data directory or its database server."""


FROM_OUTSIDE: Final = (EmbeddedError, LostError, OSError, StoreError, WorkerEndedError)
"""What can end a part without a bug: one log line, no traceback."""

REFUSED_CODES: Final = frozenset({"ROLLED_BACK", "DAMAGED", "OTHER_ORIGIN"})
"""Of a store that a start again does not mend."""

STARTUP_ERRORS: Final = (
    AddressInUseError,
    BootstrapError,
    ConfigError,
    EmbeddedError,
    LogKeyError,
    MigrationError,
    OSError,
    RotationError,
    StoreError,
    UnsafeServerError,
)
"""What an operator can correct: one log line, no traceback."""

log = structlog.get_logger("server")


class Exchange:
    """The whole exchange as an asynchronous context manager."""

    def __init__(self, config: Config, *, store: LedgerStore | None = None) -> None:
        """Keep the configuration; entering the context starts everything.

        Args:
            store: Instead of PostgreSQL, for tests; not closed.
        """
        self._config = config
        self._given_store = store
        self._stack = AsyncExitStack()
        self._failure: asyncio.Future[None] | None = None
        self._embedded: Embedded | None = None
        self._policy = configuration.read_policy(config.witness_policy, config.origin)
        self._secret_files = config.data / "secrets"
        self._secrets = load_or_create(self._secret_files, second_signature=config.second_signature)
        self._authority = DevelopmentAuthority.load_or_create(
            config.data / "ca", origin=config.origin, now=datetime.now(UTC)
        )
        self.target = ""
        self.http_url = ""

    async def __aenter__(self) -> Self:
        """Start storage, sequencer, publisher, services and servers, in this order."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def stop(self) -> None:
        """Stop in the opposite order: refuse new calls, finish those in flight, publish, close.

        Stopping twice stops once.
        """
        await self._stack.aclose()

    @property
    def sequencer(self) -> Sequencer:
        """The sequencer, for tests and tools in this process."""
        return self._sequencer

    @property
    def log_vkey(self) -> str:
        """Verifier key of the log."""
        return NoteKey(
            name=self._config.origin,
            algorithm=NoteAlgorithm.ED25519,
            public=self._secrets.log_key.public,
        ).to_vkey()

    @property
    def second_log_vkey(self) -> str:
        """Verifier key of the second signature, empty where there is none."""
        second = self._secrets.second_log_key
        if second is None:
            return ""
        return NoteKey(
            name=self._config.origin, algorithm=NoteAlgorithm.ML_DSA_44, public=second.public
        ).to_vkey()

    def identity_directory(self, participant_id: str) -> Path:
        """Where the identity of a participant or meter is kept.

        Raises:
            ValueError: not an identifier.
        """
        if not is_identifier(participant_id):
            message = f"{participant_id!r} is no participant identifier"
            raise ValueError(message)
        return self._config.data / "identities" / participant_id

    def issue_identity(self, participant_id: str) -> Path:
        """Certificate, TLS key, signing key and address of a participant; returns its directory.

        An existing signing key is kept, the certificate is new.
        """
        directory = self.identity_directory(participant_id)
        signing_key(directory, secrets.token_bytes(SEED_BYTES))
        write_identity(
            directory,
            ca_pem=self._authority.certificate_pem,
            issued=self._authority.issue(participant_id, now=datetime.now(UTC)),
            address=self._address(),
        )
        return directory

    async def wait(self) -> None:
        """Return never; raise what ended a part that must not end.

        Raises:
            StoppedError: the sequencer stopped: the process must exit and be started again.
            Exception: whatever ended another part.
        """
        assert self._failure is not None, "the exchange is not started"
        await asyncio.shield(self._failure)

    async def _start(self) -> None:
        config = self._config
        self._failure = asyncio.get_running_loop().create_future()
        self._stack.callback(self._failure.cancel)
        store = self._given_store or await self._open_store()
        self._spawn("watch", self._watch())
        clock = self._make_clock()
        self._sequencer = Sequencer(
            store=store,
            clock=clock,
            origin=config.origin,
            log_key=self._secrets.log_key,
            next_log_key=rotation.next_key(self._secret_files, Rotated.LOG),
            new_salt=Salts(),
            code_version=code_version(),
        )
        await self._sequencer.start()
        # A crash between the entry of a rotation and the change of files is made good here.
        self._secrets = rotation.adopt(self._secret_files, self._secrets, self._sequencer.state)
        if isinstance(clock, SimulatedClock):
            clock.advance(self._sequencer.time_us)
        publisher = await self._start_publication(store, clock)
        self._spawn("sequencer", self._sequencer.run())
        await bootstrap(
            sequencer=self._sequencer,
            operator_key=lambda: signing_key(
                self.identity_directory(OPERATOR_ID), secrets.token_bytes(SEED_BYTES)
            ),
            service_key=self._secrets.service_key,
            origin=config.origin,
            clock=clock,
        )
        await rotation.submit(self._secret_files, self._sequencer)
        self._secrets = rotation.adopt(self._secret_files, self._secrets, self._sequencer.state)
        journal = Journal(sequencer=self._sequencer, store=store)
        await journal.refresh()
        self._spawn("publisher", publisher.run())
        if isinstance(publisher, Publisher):
            publisher.use_key(self._secrets.log_key)
            self._spawn("witnesses", publisher.run_witnesses())
            if config.timestamp_url:
                self._spawn("timestamps", self._stamp(publisher))
        self._spawn("journal", journal.run())
        self._spawn_market(clock, store, journal)
        await self._start_servers(store, clock, publisher, journal)

    async def _start_publication(
        self, store: LedgerStore, clock: Clock
    ) -> Publisher | FollowedPublication:
        """The publisher, or what shows what one in another process does."""
        config = self._config
        if config.role is Role.SEQUENCER:
            followed = FollowedPublication(store=store, directory=config.data / "log")
            await followed.start()
            return followed
        publisher = Publisher(
            store=store,
            origin=config.origin,
            key=self._secrets.log_key,
            directory=config.data / "log",
            second_key=self._secrets.second_log_key,
            witnesses=(
                Witnesses(policy=self._policy, seconds_max=config.witness_seconds)
                if self._policy is not None
                else None
            ),
            now_seconds=lambda: clock.now_us() // MICROSECONDS,
        )
        await publisher.start()
        self._stack.push_async_callback(self._publish_last, publisher)
        return publisher

    def _spawn_market(self, clock: Clock, store: LedgerStore, journal: Journal) -> None:
        """Auctioneers, dispatcher and settler: what moves auctions along."""
        config = self._config
        assert self._sequencer is not None  # started before
        auctioneer = Auctioneer(
            sequencer=self._sequencer, secrets=self._secrets, clock=clock, origin=config.origin
        )
        spot_auctioneer = SpotAuctioneer(
            sequencer=self._sequencer, secrets=self._secrets, clock=clock, origin=config.origin
        )
        credit_auctioneer = CreditAuctioneer(
            sequencer=self._sequencer, secrets=self._secrets, clock=clock, origin=config.origin
        )
        settler = Settler(
            sequencer=self._sequencer,
            secrets=self._secrets,
            clock=clock,
            origin=config.origin,
            spot_directory=config.data / "spot",
        )
        dispatcher = Dispatcher(
            sequencer=self._sequencer, secrets=self._secrets, clock=clock, origin=config.origin
        )
        reporter = AllocationReporter(
            sequencer=self._sequencer,
            store=store,
            secrets=self._secrets,
            clock=clock,
            origin=config.origin,
        )
        webhooks = Webhooks(
            sequencer=self._sequencer,
            store=store,
            journal=journal,
            allow_loopback=config.webhook_loopback,
        )
        self._spawn("webhooks", webhooks.run())
        self._spawn("auctioneer", auctioneer.run())
        self._spawn("spot auctioneer", spot_auctioneer.run())
        self._spawn("credits auctioneer", credit_auctioneer.run())
        self._spawn("dispatcher", dispatcher.run())
        self._spawn("settler", settler.run())
        self._spawn("allocation", reporter.run())

    async def _start_servers(
        self, store: LedgerStore, clock: Clock, publisher: Publication, journal: Journal
    ) -> None:
        config = self._config
        names = ("localhost", "127.0.0.1", "::1", config.grpc.host, *config.server_names)
        server = GrpcServer(
            tls=Tls(
                server=self._authority.issue_server(
                    tuple(dict.fromkeys(names)), now=datetime.now(UTC)
                ),
                client_roots_pem=self._authority.certificate_pem,
            ),
            listen=config.grpc,
            call_seconds_max=config.call_seconds_max,
            durable=self._sequencer.durable,
        )
        self.target = server.target
        signatures = SignatureWorker()
        await signatures.start()
        self._stack.push_async_callback(signatures.stop)
        self._spawn("signature worker", signatures.run())
        backend = Backend(
            sequencer=self._sequencer,
            store=store,
            publisher=publisher,
            journal=journal,
            mutations=Mutations(
                sequencer=self._sequencer, secrets=self._secrets, signatures=signatures
            ),
            clock=clock,
            advance_clock=(
                advance_through_gates(clock, self._sequencer, config.data / CLOCK_FILE)
                if isinstance(clock, SimulatedClock)
                else None
            ),
        )
        await server.start(registrations(backend), SERVICE_NAMES)
        self._stack.push_async_callback(self._drain, server, journal, publisher)
        http = HttpServer(listen=config.http, directory=config.data / "log")
        http.start()
        self._stack.push_async_callback(asyncio.to_thread, http.stop)
        self.http_url = http.url
        self._renew_addresses()
        if (self.identity_directory(OPERATOR_ID) / SIGNING_FILE).exists():
            self.issue_identity(OPERATOR_ID)
        log.info("exchange started", target=self.target, http=self.http_url, data=str(config.data))

    async def _stamp(self, publisher: Publisher) -> None:
        from iso_exchange.publisher.timestamps import Timestamps  # noqa: PLC0415 - an extra

        await Timestamps(
            publisher=publisher,
            url=self._config.timestamp_url,
            seconds=self._config.timestamp_seconds,
            directory=self._config.data / "log",
        ).run()

    async def _open_store(self) -> LedgerStore:
        url = self._config.database_url
        if url is None:
            server = Embedded(self._config.data / "postgres")
            embedded = await self._stack.enter_async_context(server)
            url = embedded.url
            self._embedded = embedded
        applied = await migrate(url)
        if applied:
            log.info("migrated", versions=applied)
        store = await PostgresStore.open(url, application_name="iso exchange")
        self._stack.push_async_callback(store.close)
        await store.bind_origin(self._config.origin, code_version())
        return store

    def _make_clock(self) -> Clock:
        start = self._config.simulated_start_us
        if start is None:
            return SystemClock()
        return SimulatedClock(max(start, reached_us(self._config.data / CLOCK_FILE)))

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run a part beside the others; none of them may ever end by itself."""
        task = asyncio.create_task(work, name=f"iso {name}")

        def ended(done: asyncio.Task[None]) -> None:
            if done.cancelled():
                return
            error = done.exception() or RuntimeError(f"the {name} ended")
            first = self._failure is not None and not self._failure.done()
            if first or _is_bug(error):
                log.error(
                    "a part of the exchange ended",
                    part=name,
                    reason=f"{type(error).__name__}: {error}",
                    exc_info=error if _is_bug(error) else None,
                )
            if self._failure is not None and first:
                self._failure.set_exception(error)
                # Whoever waits is told; nobody waiting is no mistake of asyncio's kind.
                self._failure.exception()

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(ended)
        self._stack.push_async_callback(end)

    async def _watch(self) -> None:
        """Return never; notice within a second that there is nothing left to work on.

        Without it an idle exchange would go on until its next write, and the publisher would
        put new files where the old log is missing.

        Raises:
            LostError: the database server ended, or the data directory is gone or another one.
        """
        places = [self._config.data / "secrets"]
        if self._embedded is not None:
            places.append(self._embedded.data)
        known = [_identity_of(place) for place in places]
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for place, identity in zip(places, known, strict=True):
                if _identity_of(place) != identity:
                    message = f"{place} is gone or was replaced while the exchange ran"
                    raise LostError(message)
            if self._embedded is not None and not self._embedded.running:
                message = f"the embedded PostgreSQL server ended: see {self._embedded.log}"
                raise LostError(message)

    async def _drain(self, server: GrpcServer, journal: Journal, publisher: Publication) -> None:
        failed = self._failure is not None and self._failure.done()
        await journal.stop()
        async with publisher.changed:
            publisher.changed.notify_all()
        await server.stop(FAILED_DRAIN_SECONDS if failed else self._config.drain_seconds)

    async def _publish_last(self, publisher: Publisher) -> None:
        """What was acknowledged is under a signed checkpoint when the process ends in order."""
        if self._failure is None or not self._failure.done():
            await publisher.catch_up()
            await publisher.publish()
            await publisher.collect()

    def _address(self) -> ExchangeAddress:
        return ExchangeAddress(
            target=self.target, origin=self._config.origin, log_vkey=self.log_vkey
        )

    def _renew_addresses(self) -> None:
        """Identities issued earlier find this start's address, which may be another port."""
        for directory in sorted((self._config.data / "identities").glob("*")):
            if (directory / "cert.pem").exists():
                write_address(directory, self._address())


def _identity_of(place: Path) -> tuple[int, int] | None:
    """Device and inode of a directory, None where there is none."""
    try:
        status = place.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_bug(error: BaseException) -> bool:
    """Whether the traceback of what ended a part is worth reading."""
    cause = error.__cause__ if isinstance(error, StoppedError) else error
    return cause is not None and not isinstance(cause, FROM_OUTSIDE)


def code_version() -> str:
    """Name and version of this code, as batch headers state it."""
    return f"iso-exchange {metadata.version('iso-exchange')}"


def serve(config: Config) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status.

    0 after an orderly stop; 1 when a part stopped by itself (start again); 2 when the exchange
    refuses to start as it is configured.
    """
    logs.configure(config.log_level)
    if not __debug__:
        log.error("refusing to start under python -O: checks of the exchange are assertions")
        return EXIT_REFUSED
    return asyncio.run(_serve(config))


async def _serve(config: Config) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        if config.role is Role.PUBLISHER:
            return await _publish(config, stop)
        async with Exchange(config) as exchange:
            waiting = {
                asyncio.create_task(stop.wait(), name="iso signal"),
                asyncio.create_task(exchange.wait(), name="iso failure"),
            }
            done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            failures = [task.exception() for task in done if task.exception() is not None]
            log.info("stopping", failed=bool(failures))
            if failures:
                _end_in(FAILED_STOP_SECONDS_MAX)
    except StoppedError as error:
        log.error("stopped while starting", reason=str(error))  # noqa: TRY400 - the cause is logged
        return EXIT_STOPPED
    except STARTUP_ERRORS as error:
        reason, kind = str(error), type(error).__name__
        log.error("the exchange does not start", reason=reason, kind=kind)  # noqa: TRY400 - no bug
        return EXIT_REFUSED
    return EXIT_STOPPED if failures else EXIT_OK


async def _publish(config: Config, stop: asyncio.Event) -> int:
    """The publisher's role; what a start again mends ends with ``EXIT_STOPPED``."""
    try:
        await publish_until(config, stop)
    except StoreError as error:
        if error.code in REFUSED_CODES:
            raise
        log.error("the publisher ended", reason=str(error))  # noqa: TRY400 - no bug
        return EXIT_STOPPED
    log.info("stopping", failed=False)
    return EXIT_OK


def _end_in(seconds: float) -> None:
    """End the process even where closing what failed never returns."""

    def end() -> None:
        log.error("the stop takes too long: ending at once", seconds=seconds)
        os._exit(EXIT_STOPPED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of ``python -m iso_exchange.server``."""
    try:
        config = configuration.parse(
            sys.argv[1:] if arguments is None else arguments, dict(os.environ)
        )
    except ConfigError as error:
        sys.stderr.write(f"iso serve: {error}\n")
        return EXIT_REFUSED
    return serve(config)


if __name__ == "__main__":
    sys.exit(main())
