"""When a call is sent again, and how long it waits before."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc

from iso_exchange.client import errors
from iso_exchange.client.errors import Unavailable

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

_UNKNOWN_OUTCOME: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
)
_CHANCE: Final = secrets.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Bounded exponential back-off with full jitter.

    Attributes:
        attempts: How often a call is sent in all, >= 1.
        first_delay_s: Upper bound of the first wait, seconds.
        delay_s_max: Upper bound of every wait, seconds.
    """

    attempts: int = 6
    first_delay_s: float = 0.1
    delay_s_max: float = 5.0

    def delay_s(self, attempt: int) -> float:
        """Wait after failed attempt number ``attempt``, counted from 1; drawn by chance.

        Half of the bound is always waited, so that a restart is not met by a stampede.
        """
        bound = min(self.delay_s_max, self.first_delay_s * float(1 << (attempt - 1)))
        return bound / 2 + _CHANCE.uniform(0, bound / 2)


async def call(
    attempt: Callable[[], Awaitable[T]], retry: Retry, sleep: Sleep = asyncio.sleep
) -> T:
    """Run ``attempt`` until it answers, is refused, or the attempts are used up.

    Args:
        attempt: Sends the same bytes each time.
        retry: How often and how fast.
        sleep: Waits; a test passes its own.

    Raises:
        Refused: The exchange said no.
        Unavailable: Every attempt ended without an answer.
        ServerFault: The exchange failed otherwise.
    """
    for number in range(1, retry.attempts + 1):
        try:
            return await attempt()
        except grpc.aio.AioRpcError as error:
            asked = errors.retry_delay_s(error)
            if error.code() not in _UNKNOWN_OUTCOME and asked is None:
                raise errors.from_call(error) from error
            if number == retry.attempts:
                if error.code() not in _UNKNOWN_OUTCOME:
                    raise errors.from_call(error) from error
                detail = f"{error.code().name}: {error.details() or 'no details'}"
                raise Unavailable(detail, attempts=number) from error
            await sleep(retry.delay_s(number) if asked is None else asked)
    message = f"a call is sent at least once, attempts is {retry.attempts}"
    raise ValueError(message)
