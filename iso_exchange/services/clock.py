"""ClockService: shows the exchange's clock, and moves it where it is simulated."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from iso_exchange.api.v1 import clock_service_pb2
from iso_exchange.api.v1.clock_service_pb2_grpc import ClockServiceServicer
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import Role
from iso_exchange.convert.fields import INSTANT_MAX, timestamp_of_us
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.errors import refuse


class ClockService(ClockServiceServicer):
    """Reads for everybody; a move is the operator's and makes no log entry by itself."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def GetTime(
        self, request: clock_service_pb2.GetTimeRequest, context: Context
    ) -> clock_service_pb2.GetTimeResponse:
        """Read the clock."""
        self._backend.caller(context)
        return clock_service_pb2.GetTimeResponse(
            current_time=timestamp_of_us(self._backend.clock.now_us()),
            simulated=self._backend.advance_clock is not None,
            ledger_size=self._backend.size,
        )

    async def AdvanceTime(
        self, request: clock_service_pb2.AdvanceTimeRequest, context: Context
    ) -> clock_service_pb2.AdvanceTimeResponse:
        """Move a simulated clock forward; what falls due on the way happens first."""
        caller = self._backend.caller(context)
        if not request.request_id:
            raise refuse(Code.REQUEST_ID_REQUIRED, "request_id", "choose an identifier")
        if not caller.is_operator:
            raise refuse(
                Code.WRONG_ROLE,
                "",
                "only the operator moves the clock",
                got=",".join(sorted(role.value for role in caller.roles)),
                limit=Role.OPERATOR.value,
            )
        if self._backend.advance_clock is None:
            raise refuse(
                Code.WRONG_STATE,
                "",
                "this exchange runs on a real clock; start it with --clock simulated:<time>",
            )
        target_us = _target_us(request.target_time)
        now_us = self._backend.clock.now_us()
        if target_us < now_us:
            raise refuse(
                Code.INVALID_VALUE,
                "target_time",
                "the clock never goes back",
                got=str(target_us),
                limit=f"{now_us} or later, in microseconds",
            )
        reached_us = await self._backend.advance_clock(target_us)
        return clock_service_pb2.AdvanceTimeResponse(
            current_time=timestamp_of_us(reached_us), ledger_size=self._backend.size
        )


def _target_us(target: Timestamp) -> int:
    if not 0 < target.seconds <= INSTANT_MAX or target.nanos != 0:
        raise refuse(
            Code.INVALID_VALUE,
            "target_time",
            "give whole seconds since 1970-01-01T00:00:00Z",
            got=f"{target.seconds}.{target.nanos:09}",
        )
    return target.seconds * MICROSECONDS
