"""Handing the books of a market to the process that clears them: only what changed.

Fifty thousand orders cost more to send than to look at, and most of them were in the book before.
The sender numbers the orders that it sends and names those that the other side has by number, so
there they are the same objects from run to run, which is what a ``clearing.session.Session`` needs.
The receiver that missed a turn (its process was replaced, or a job was given up) says so, and gets
everything.
"""

from __future__ import annotations

import dataclasses
import pickle
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clearing import codec
from clearing.session import Session
from iso_exchange.auctioneer.work import Cleared, Failed, Job, work
from iso_exchange.sequencer.spot_binding import Gate

_ORDERS: Final = ("offers", "step_bids", "block_bids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A job, less what the receiver has.

    Attributes:
        market_id: Whose books these are.
        turn: Number of the parcel since the sender began, from 0.
        rest: The job without orders, and without what its gate knows of bids.
        fresh: What the receiver has not, by number.
        gone: Numbers that are not used any more.
        orders: Numbers of the book's offers, step bids and block bids.
        standing: Numbers of what the gate knows of bids.
    """

    market_id: str
    turn: int
    rest: Job
    fresh: Sequence[tuple[int, Any]]
    gone: Sequence[int]
    orders: Sequence[array[int]]
    standing: array[int]


class Missed:
    """The receiver has not what the parcel counts on: send everything."""


@dataclass(slots=True)
class Sender:
    """Makes parcels of the jobs of one market."""

    market_id: str
    _numbers: dict[int, tuple[int, object]] = field(default_factory=dict)
    _next: int = 0
    _turn: int = 0

    def reset(self) -> None:
        """Begin again: the next parcel holds everything."""
        self._numbers = {}
        self._turn = 0

    def pack(self, job: Job) -> bytes:
        """A parcel, pickled: a job of the market, whose book was frozen at a gate."""
        with codec.collector_paused():
            return pickle.dumps(self._parcel(job))

    def _parcel(self, job: Job) -> Parcel:
        assert job.gate is not None  # of a run
        used: dict[int, tuple[int, object]] = {}
        fresh: list[tuple[int, Any]] = []
        orders = [
            self._named(((order, order) for order in getattr(job.book, name)), used, fresh)
            for name in _ORDERS
        ]
        standing = self._named(
            ((item, (name, item)) for name, item in job.gate.standing.items()), used, fresh
        )
        gone = [number for key, (number, _) in self._numbers.items() if key not in used]
        self._numbers = used
        parcel = Parcel(
            market_id=self.market_id,
            turn=self._turn,
            rest=dataclasses.replace(
                job,
                book=dataclasses.replace(job.book, offers=(), step_bids=(), block_bids=()),
                gate=dataclasses.replace(job.gate, standing={}),
            ),
            fresh=fresh,
            gone=gone,
            orders=orders,
            standing=standing,
        )
        self._turn += 1
        return parcel

    def _named(
        self,
        items: Iterable[tuple[object, Any]],
        used: dict[int, tuple[int, object]],
        fresh: list[tuple[int, Any]],
    ) -> array[int]:
        """Numbers of objects; what is sent of those that have none yet goes to ``fresh``."""
        known, numbers = self._numbers, array("q")
        for thing, sent in items:
            key = id(thing)
            pair = used.get(key) or known.get(key)
            if pair is None:
                pair = self._next, thing
                self._next += 1
                fresh.append((pair[0], sent))
            used[key] = pair
            numbers.append(pair[0])
        return numbers


@dataclass(slots=True)
class Receiver:
    """Opens the parcels of one market."""

    session: Session = field(default_factory=Session)
    _things: dict[int, Any] = field(default_factory=dict)
    _turn: int = 0

    def open(self, parcel: Parcel) -> Job | Missed:
        """The job of a parcel, its orders the same objects as before where they are the same."""
        if parcel.turn == 0:
            self._things, self._turn = {}, 0
        if parcel.turn != self._turn:
            return Missed()
        self._turn += 1
        for number in parcel.gone:
            del self._things[number]
        self._things.update(parcel.fresh)
        things, rest = self._things, parcel.rest
        assert rest.gate is not None  # of a run
        offers, step_bids, block_bids = (
            tuple([things[number] for number in numbers]) for numbers in parcel.orders
        )
        gate: Gate = dataclasses.replace(
            rest.gate, standing=dict([things[number] for number in parcel.standing])
        )
        book = dataclasses.replace(
            rest.book, offers=offers, step_bids=step_bids, block_bids=block_bids
        )
        return dataclasses.replace(rest, book=book, gate=gate)


_RECEIVERS: Final[dict[str, Receiver]] = {}
"""Of this process, by market."""


def parcel_of(packed: bytes) -> Parcel:
    """What ``Sender.pack`` made in another process of this exchange."""
    with codec.collector_paused():
        parcel = pickle.loads(packed)  # noqa: S301 - of our own process
    assert isinstance(parcel, Parcel)  # nothing else is sent
    return parcel


def work_on(packed: bytes) -> Cleared | Failed | Missed:
    """Clear a run in the process that has the orders of the runs before."""
    parcel = parcel_of(packed)
    receiver = _RECEIVERS.setdefault(parcel.market_id, Receiver())
    job = receiver.open(parcel)
    return job if isinstance(job, Missed) else work(job, receiver.session)
