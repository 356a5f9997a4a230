"""MeteringService: signed readings, one batch at a time or over a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

from iso_exchange.api.v1 import metering_service_pb2
from iso_exchange.api.v1.metering_service_pb2_grpc import MeteringServiceServicer
from iso_exchange.commands import SubmitReadings
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend


class MeteringService(MeteringServiceServicer):
    """A meter sends its own readings, under its own certificate and key."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def SubmitReadings(
        self, request: metering_service_pb2.SubmitReadingsRequest, context: Context
    ) -> metering_service_pb2.SubmitReadingsResponse:
        """Accept one batch."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, SubmitReadings)
        batch = command.batch
        return metering_service_pb2.SubmitReadingsResponse(
            receipt=receipt,
            summary=metering_service_pb2.ReadingSummary(
                reading_count=len(batch.readings),
                healthy_chip_seconds=sum(reading.healthy for reading in batch.readings),
                next_sequence_number=batch.sequence + 1,
            ),
        )

    async def StreamReadings(
        self,
        request_iterator: AsyncIterator[metering_service_pb2.StreamReadingsRequest],
        context: Context,
    ) -> AsyncIterator[metering_service_pb2.StreamReadingsResponse]:
        """Accept batches over one stream; each request is answered when its items are durable."""
        caller = self._backend.caller(context)
        async for request in request_iterator:
            results = await self._backend.mutations.many(caller, request.items, (SubmitReadings,))
            yield metering_service_pb2.StreamReadingsResponse(
                results=results, ledger_size=self._backend.size
            )
