"""How many streams one client may hold: a stream costs work at every commit, and a call slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.services.errors import Refused


class StreamLimit:
    """Counts open streams by the names of the client's certificate, over all connections."""

    def __init__(self, count_max: int) -> None:
        """Start without streams.

        Args:
            count_max: Streams that one client may hold at a time.
        """
        self._count_max = count_max
        self._open: Counter[tuple[bytes, ...]] = Counter()

    @contextmanager
    def held(self, names: Iterable[bytes]) -> Iterator[None]:
        """Count one stream while it is open.

        Raises:
            Refused: RESOURCE_EXHAUSTED: the client holds as many as it may.
        """
        client = tuple(names)
        if self._open[client] >= self._count_max:
            raise Refused(
                Rejected(
                    code=Code.TOO_MANY_STREAMS,
                    field="",
                    advice="end a stream first: one watch of each kind tells everything",
                    limit=str(self._count_max),
                )
            )
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
