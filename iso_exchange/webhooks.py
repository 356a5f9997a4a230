"""Notices and instructions posted to participants: the log's signed envelope, at least once.

What is posted is the DSSE envelope of the ``NOTICE`` or ``INSTRUCTIONS`` entry itself, signed by
the exchange: the receiver checks it with the key of the participant ``exchange``, and it is the
very leaf that the log committed to. A receiver that gets the same entry twice
(``Iso-Entry-Index``) has it already. What a batch of instructions says is read from the stream at
that index. After a restart every notice that is still in force and every batch that nobody
acknowledged come again.

Participants choose the addresses, so nothing inside the exchange's own network is ever
called: only public hosts over TLS, connected by the address that was checked, without redirects.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

import structlog

from clearing.types import Offer
from iso_exchange.commands import GiveNotices, InstructSuppliers
from iso_exchange.dispatch_commands import cover_request
from iso_exchange.gateway.journal import Journal
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.observability import metrics
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.spot_market import COVER_CALLED
from iso_exchange.services.errors import Refused
from iso_exchange.signer import EXCHANGE_ID
from settlement.storage.store import Entry, LedgerStore

ATTEMPTS_MAX: Final = 6
FIRST_DELAY_SECONDS: Final = 0.5
"""Doubled after each attempt: 15 seconds in all."""
POST_SECONDS_MAX: Final = 5.0
OK_FIRST, OK_LAST = 200, 299
KINDS: Final = frozenset(ENTRY_KINDS[kind].name for kind in (GiveNotices, InstructSuppliers))

log = structlog.get_logger("webhooks")


class WebhookError(Exception):
    """A post that did not succeed, and why."""


class Webhooks:
    """Follows the log and posts each notice, and each batch, to its owners."""

    def __init__(
        self, *, sequencer: Sequencer, store: LedgerStore, journal: Journal, allow_loopback: bool
    ) -> None:
        """Wire the parts.

        Args:
            allow_loopback: Hosts of this machine may be called, without TLS: for a laptop.
        """
        self._sequencer = sequencer
        self._store = store
        self._journal = journal
        self._allow_loopback = allow_loopback
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Post what is in force, then what comes, for ever."""
        start = self._sequencer.size
        try:
            for request_id in sorted(set(self._in_force())):
                entry = await self._store.find_request(EXCHANGE_ID, request_id)
                if entry is not None and entry.index < start:
                    self._send(entry)
            for index in sorted(self._sequencer.state.dispatch.batches):
                for entry in await self._store.entries(index, 1) if index < start else ():
                    self._send(entry)
            async for found in self._journal.follow(start):
                if found is not None and found.kind in KINDS:
                    self._send(found)
        except Refused:
            # The exchange is stopping, and ends every part of it in its turn.
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()

    def _in_force(self) -> Iterator[str]:
        state = self._sequencer.state
        for market in state.markets.values():
            for notice in market.notices.values():
                run_id = market.run_id(notice.run_start)
                bid = state.orders[notice.order_id].order
                if notice.reason == COVER_CALLED and not isinstance(bid, Offer):
                    at = notice.deadline - bid.notice_s
                    yield cover_request(run_id, notice.pool_id, notice.participant_id, at)
                else:
                    yield f"notice/{run_id}/{notice.participant_id}"

    def _send(self, entry: Entry) -> None:
        for participant_id in entry.owners:
            url = self._sequencer.state.webhooks.get(participant_id)
            if url is None:
                continue
            task = asyncio.create_task(self._deliver(url, entry, participant_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, url: str, entry: Entry, participant_id: str) -> None:
        delay = FIRST_DELAY_SECONDS
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                await asyncio.to_thread(
                    post, url, entry.envelope, entry.index, allow_loopback=self._allow_loopback
                )
            except WebhookError as error:
                reason = str(error)
            else:
                metrics.webhooks.labels("delivered").inc()
                return
            log.info(
                "webhook refused",
                participant_id=participant_id,
                entry_index=entry.index,
                attempt=attempt,
                reason=reason,
            )
            if attempt < ATTEMPTS_MAX:
                await asyncio.sleep(delay)
                delay *= 2
        metrics.webhooks.labels("given up").inc()
        log.warning("webhook given up", participant_id=participant_id, entry_index=entry.index)


def post(url: str, body: bytes, entry_index: int, *, allow_loopback: bool = False) -> None:
    """Post one envelope; returns when the receiver answered with a status of 200 to 299.

    Raises:
        WebhookError: the address may not be called, nobody answered, or with another status.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = _address_of(parts, allow_loopback=allow_loopback)
    connection: http.client.HTTPConnection
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            host, port, timeout=POST_SECONDS_MAX, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=POST_SECONDS_MAX)
    try:
        # The address that was checked, not one that is looked up again.
        plain = socket.create_connection((address, port), timeout=POST_SECONDS_MAX)
        connection.sock = (
            context.wrap_socket(plain, server_hostname=host) if parts.scheme == "https" else plain
        )
        target = parts.path or "/"
        connection.request(
            "POST",
            f"{target}?{parts.query}" if parts.query else target,
            body=body,
            headers={
                "Content-Type": "application/json",
                "Iso-Entry-Index": str(entry_index),
                "User-Agent": "iso-exchange",
            },
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if not OK_FIRST <= status <= OK_LAST:
        raise WebhookError(f"status {status}")


def _address_of(parts: SplitResult, *, allow_loopback: bool) -> str:
    """Address of the host, if it may be called."""
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebhookError(f"no address of {host}: {error}") from error
    address = str(found[0][4][0])
    parsed = ipaddress.ip_address(address)
    if allow_loopback and parsed.is_loopback:
        return address
    if parts.scheme != "https" or not parsed.is_global:
        raise WebhookError(f"{host} is no public host over https")
    return address
