"""The client: signs commands, sends them so that each is done once, and follows events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from clearing.units import UnixSeconds
from iso_exchange import convert
from iso_exchange.api.v1 import (
    auction_pb2,
    auction_service_pb2,
    clock_service_pb2,
    delivery_service_pb2,
    dispatch_pb2,
    dispatch_service_pb2,
    event_pb2,
    market_service_pb2,
    metering_service_pb2,
    order_pb2,
    receipt_pb2,
)
from iso_exchange.client import errors
from iso_exchange.client.calls import Rpc, rpc_of
from iso_exchange.client.errors import Refused, Unavailable
from iso_exchange.client.identity import Identity, load_exchange, load_identity
from iso_exchange.client.reads import Reads, microseconds
from iso_exchange.client.retry import Retry, Sleep, call
from iso_exchange.client.signing import (
    MICROSECONDS,
    Receipt,
    Sealed,
    complete,
    receipt_of,
    seal,
)
from iso_exchange.commands import CancelOrder, Command, SubmitOrder, SubmitReadings
from settlement.ledger.keys import SigningKey

BATCH_ITEMS_MAX: Final = 100
RECONNECT_MS_FIRST: Final = 200
RECONNECT_MS_MAX: Final = 2_000
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
EVENT_IDS_KEPT: Final = 4_096
_ITEM_UNAVAILABLE: Final = "UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Events of one log entry that concern the caller.

    Attributes:
        events: Never empty; none that this watch reported before.
        entry_index: Log entry they belong to.
        cursor: Where to resume: keep it after the events are dealt with.
        ledger_size: Entries that the answer reflects.
    """

    events: tuple[event_pb2.Event, ...]
    entry_index: int
    cursor: int
    ledger_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedAuction:
    """An auction after a change; ``cursor`` is where to resume."""

    auction: auction_pb2.Auction
    entry_index: int
    cursor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedBatch:
    """Instructions that came at one moment; ``cursor`` is where to resume."""

    batch: dispatch_pb2.InstructionBatch
    cursor: int


class Client(Reads):
    """One identity connected to one exchange over mutual TLS.

    Use it as an async context manager, or call ``close``. One client may be shared by any
    number of tasks of one event loop.
    """

    def __init__(
        self,
        target: str,
        identity: Identity,
        origin: str,
        *,
        retry: Retry | None = None,
        timeout_s: float = 30.0,
        sleep: Sleep = asyncio.sleep,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Open the channel (lazily: nothing is sent before the first call).

        Args:
            target: ``host:port`` of the gateway.
            identity: Signs and authenticates everything.
            origin: Log origin of the exchange, part of every signed header.
            retry: Back-off of calls without an answer; None for the default.
            timeout_s: Deadline of each attempt, seconds; a watch has none.
            sleep: Waits between attempts; a test passes its own.
            channel: Open channel to use instead of an own one, such as a test's.
        """
        self._channel = channel or _open(target, identity)
        super().__init__(self._channel, retry=retry or Retry(), timeout_s=timeout_s, sleep=sleep)
        self.identity = identity
        self.origin = origin
        self._rpcs: dict[type, tuple[Rpc, Callable[..., Awaitable[Any]]]] = {}
        self._simulated: bool | None = None
        self._latest_us = 0

    @classmethod
    def from_directory(cls, directory: Path, *, retry: Retry | None = None) -> Self:
        """Client of an identity directory, for the exchange that its ``exchange.json`` names.

        Raises:
            IdentityError: the directory cannot be used.
        """
        exchange = load_exchange(directory)
        return cls(exchange.target, load_identity(directory), exchange.origin, retry=retry)

    @property
    def participant_id(self) -> str:
        """Who this client is."""
        return self.identity.participant_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in flight end."""
        await self._channel.close()

    # Sending ------------------------------------------------------------------------

    async def send(self, command: Command, *, cosigners: Sequence[SigningKey] = ()) -> Receipt:
        """Sign a command and send it until it is accepted or refused.

        Args:
            command: Empty parts of its header are filled in; ``BLANK_HEADER`` is all empty.
            cosigners: Further keys that sign, such as the supplier's of an entitlement.

        Raises:
            Refused: the exchange said no; nothing was changed.
            Unavailable: no answer; send the same ``Sealed`` again (see ``prepare``).
            ServerFault: the exchange failed otherwise.
            ValueError: a command that only the exchange's own services send.
        """
        return await self.send_sealed(await self.prepare(command, cosigners=cosigners))

    async def prepare(self, command: Command, *, cosigners: Sequence[SigningKey] = ()) -> Sealed:
        """Sign a command without sending it, to store it first and send it any number of times."""
        now = command.header.create_time or await self._now()
        completed = complete(
            command, origin=self.origin, signer_id=self.participant_id, now=UnixSeconds(now)
        )
        return seal(completed, (self.identity.signing_key, *cosigners))

    async def send_sealed(self, sealed: Sealed) -> Receipt:
        """Send a prepared command; sending it again returns the first receipt."""
        rpc, method = self._method(type(sealed.command))
        request = rpc.request(request_id=sealed.request_id, envelope=sealed.envelope)
        response = await self._ask(method, request)
        self._saw(response.receipt)
        return receipt_of(sealed, response.receipt, response)

    async def send_many(
        self, commands: Sequence[Command], *, in_flight: int = 1
    ) -> list[Receipt | Refused]:
        """Send many commands; each is judged by itself.

        Orders and cancellations travel in batches of up to 100, meter batches too, everything
        else one by one.

        Args:
            commands: In the order in which they shall be judged.
            in_flight: Batches sent at a time; with more than 1 only the order inside a batch
                is kept.

        Returns:
            One receipt or refusal per command, in the order given.

        Raises:
            Unavailable: no answer for some; repeat all with the same request ids.
        """
        sealed = [await self.prepare(command) for command in commands]
        gate = asyncio.Semaphore(in_flight)

        async def send(batch: list[Sealed]) -> list[Receipt | Refused]:
            async with gate:
                return await self._send_batch(batch)

        if in_flight == 1:
            answers = [await self._send_batch(batch) for batch in _batches(sealed)]
        else:
            answers = await asyncio.gather(*(send(batch) for batch in _batches(sealed)))
        return [answer for batch in answers for answer in batch]

    async def preview(self, command: SubmitOrder) -> market_service_pb2.PreviewOrderResponse:
        """Price an order without submitting it: worst case, fees, eligible pools and why not."""
        completed = complete(
            command,
            origin=self.origin,
            signer_id=self.participant_id,
            now=UnixSeconds(await self._now()),
        )
        order = order_pb2.Order.FromString(convert.body_of(completed))
        request = market_service_pb2.PreviewOrderRequest(order=order)
        return await self._ask(self._market.PreviewOrder, request)

    async def seed_commitment(self, auction_id: str) -> str:
        """What the exchange commits to as tie seed of an auction to be, lower-case hex SHA-256."""
        request = auction_service_pb2.GetSeedCommitmentRequest(auction_id=auction_id)
        answer = await self._ask(self._auctions.GetSeedCommitment, request)
        return answer.seed_commitment.hex()

    async def advance_time(self, to: UnixSeconds) -> int:
        """Move a simulated clock; everything that falls due happens first.

        Returns:
            Time of the exchange after the move, microseconds since the epoch.
        """
        request = clock_service_pb2.AdvanceTimeRequest(
            request_id=uuid.uuid4().hex, target_time=Timestamp(seconds=to)
        )
        answer = await self._ask(self._clock.AdvanceTime, request)
        self._latest_us = max(self._latest_us, microseconds(answer.current_time))
        return microseconds(answer.current_time)

    # Following ----------------------------------------------------------------------

    async def watch(
        self, cursor: int = 0, *, kinds: Sequence[event_pb2.EventKind.ValueType] = ()
    ) -> AsyncIterator[Watched]:
        """Follow everything that concerns this identity, for ever, across interruptions.

        Args:
            cursor: First log entry to report: 0 from the beginning, -1 from now on, or the
                cursor of the last update that was dealt with.
            kinds: Only these kinds; empty for all.

        Raises:
            Unavailable: the exchange stayed away longer than the back-off allows.
        """
        seen: OrderedDict[str, None] = OrderedDict()

        def start(position: int) -> Any:  # noqa: ANN401 - a gRPC call object
            return self._delivery.WatchEvents(
                delivery_service_pb2.WatchEventsRequest(start_entry_index=position, kinds=kinds)
            )

        async for message in self._follow(start, cursor):
            fresh = []
            for event in message.events:
                if event.event_id not in seen:
                    seen[event.event_id] = None
                    fresh.append(event)
            while len(seen) > EVENT_IDS_KEPT:
                seen.popitem(last=False)
            if fresh:
                yield Watched(
                    events=tuple(fresh),
                    entry_index=message.entry_index,
                    cursor=message.next_entry_index,
                    ledger_size=message.ledger_size,
                )

    async def watch_auctions(
        self, cursor: int = 0, *, auction_id: str = ""
    ) -> AsyncIterator[WatchedAuction]:
        """Follow state changes of auctions, or of one, like ``watch``."""

        def start(position: int) -> Any:  # noqa: ANN401 - a gRPC call object
            return self._auctions.WatchAuctions(
                auction_service_pb2.WatchAuctionsRequest(
                    start_entry_index=position, auction_id=auction_id
                )
            )

        async for message in self._follow(start, cursor):
            if message.HasField("auction"):
                yield WatchedAuction(
                    auction=message.auction,
                    entry_index=message.entry_index,
                    cursor=message.next_entry_index,
                )

    async def watch_instructions(self, cursor: int = 0) -> AsyncIterator[WatchedBatch]:
        """Follow own instructions, like ``watch``; a batch may come again after a resume."""

        def start(position: int) -> Any:  # noqa: ANN401 - a gRPC call object
            return self._dispatch.WatchInstructions(
                dispatch_service_pb2.WatchInstructionsRequest(start_entry_index=position)
            )

        async for message in self._follow(start, cursor):
            if message.HasField("batch"):
                yield WatchedBatch(batch=message.batch, cursor=message.next_entry_index)

    # ----------------------------------------------------------------------------------

    async def _follow(self, start: Callable[[int], Any], cursor: int) -> AsyncIterator[Any]:
        failures = 0
        while True:
            stream = start(cursor)
            try:
                async for message in stream:
                    failures = 0
                    cursor = message.next_entry_index
                    yield message
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise errors.from_call(error) from error
                failures += 1
                if failures >= self._retry.attempts:
                    raise Unavailable(error.details() or "", attempts=failures) from error
            else:
                failures += 1  # the exchange closed the stream, as it does on shutdown
                if failures >= self._retry.attempts:
                    raise Unavailable("the stream ended", attempts=failures)
            finally:
                stream.cancel()
            await self._sleep(self._retry.delay_s(failures))

    async def _send_batch(self, batch: list[Sealed]) -> list[Receipt | Refused]:
        kind = _batch_kind(batch[0])
        if kind == "orders":
            return await self._send_items(batch, self._submit_orders)
        if kind == "readings":
            return await self._send_items(batch, self._submit_readings)
        try:
            return [await self.send_sealed(batch[0])]
        except Refused as refused:
            return [refused]

    async def _send_items(
        self,
        batch: list[Sealed],
        submit: Callable[[list[receipt_pb2.SignedItem]], Awaitable[Any]],
    ) -> list[Receipt | Refused]:
        """Send a batch, and again those items that were answered with no verdict."""
        answers: dict[str, Receipt | Refused] = {}
        waiting = batch
        for attempt in range(1, self._retry.attempts + 1):
            items = [
                receipt_pb2.SignedItem(request_id=sealed.request_id, envelope=sealed.envelope)
                for sealed in waiting
            ]
            response = await call(partial(submit, items), self._retry, self._sleep)
            for sealed, result in zip(waiting, response.results, strict=True):
                if result.HasField("receipt"):
                    answers[sealed.request_id] = receipt_of(sealed, result.receipt)
                    self._saw(result.receipt)
                elif result.refusal.reason != _ITEM_UNAVAILABLE:
                    answers[sealed.request_id] = errors.from_item(result.refusal)
            waiting = [sealed for sealed in waiting if sealed.request_id not in answers]
            if not waiting:
                return [answers[sealed.request_id] for sealed in batch]
            if attempt < self._retry.attempts:
                await self._sleep(self._retry.delay_s(attempt))
        raise Unavailable(f"{len(waiting)} items without a verdict", attempts=self._retry.attempts)

    async def _submit_orders(self, items: list[receipt_pb2.SignedItem]) -> Any:  # noqa: ANN401
        request = market_service_pb2.SubmitOrdersRequest(items=items)
        return await self._market.SubmitOrders(request, timeout=self._timeout_s)

    async def _submit_readings(self, items: list[receipt_pb2.SignedItem]) -> Any:  # noqa: ANN401
        async def requests() -> AsyncIterator[metering_service_pb2.StreamReadingsRequest]:
            yield metering_service_pb2.StreamReadingsRequest(items=items)

        async for response in self._metering.StreamReadings(requests(), timeout=self._timeout_s):
            return response
        message = "the exchange ended the stream without an answer"
        raise Unavailable(message, attempts=1)

    def _method(self, command_type: type) -> tuple[Rpc, Callable[..., Awaitable[Any]]]:
        known = self._rpcs.get(command_type)
        if known is None:
            rpc = rpc_of(command_type)
            method = self._channel.unary_unary(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
            known = self._rpcs[command_type] = (rpc, method)
        return known

    async def _now(self) -> int:
        """Seconds for ``create_time``: the host's clock, or the latest simulated time seen."""
        if self._simulated is None:
            clock = await self.time()
            self._simulated = clock.simulated
            self._latest_us = clock.now_us
        return self._latest_us // MICROSECONDS if self._simulated else int(time.time())

    def _saw(self, receipt: receipt_pb2.Receipt) -> None:
        self._latest_us = max(self._latest_us, microseconds(receipt.accept_time))


def _batches(sealed: Sequence[Sealed]) -> list[list[Sealed]]:
    """Cut into runs that one call carries, keeping the order."""
    batches: list[list[Sealed]] = []
    for item in sealed:
        kind = _batch_kind(item)
        if (
            batches
            and kind
            and kind == _batch_kind(batches[-1][0])
            and len(batches[-1]) < BATCH_ITEMS_MAX
        ):
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def _batch_kind(sealed: Sealed) -> str:
    if isinstance(sealed.command, SubmitOrder | CancelOrder):
        return "orders"
    return "readings" if isinstance(sealed.command, SubmitReadings) else ""


def _open(target: str, identity: Identity) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        target,
        grpc.ssl_channel_credentials(
            root_certificates=identity.ca_pem,
            private_key=identity.private_key_pem,
            certificate_chain=identity.certificate_pem,
        ),
        options=(
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.enable_retries", 0),  # this client retries, with the same bytes
            # A restart takes a second; gRPC's default back-off would outlast it by far.
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_FIRST),
        ),
    )
