"""A second opinion on every balance while orders are taken, in whole micro-dollars.

It knows what clients meant, not how the exchange works: it reads no body, no transfer and no
state. What was accepted is told to it in the order of the log.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

HOURS = 2


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money for a participant."""

    who: str
    amount: int


@dataclass(frozen=True, slots=True)
class Bid:
    """Chips for both hours of the auction, at most at a price per chip-hour."""

    who: str
    order: str
    revision: int
    price: int
    chips: int

    @property
    def cost(self) -> int:
        """What it can cost."""
        return self.price * self.chips * HOURS


@dataclass(frozen=True, slots=True)
class Cancel:
    """A bid withdrawn."""

    who: str
    order: str


@dataclass(frozen=True, slots=True)
class CancelAll:
    """All bids of a participant withdrawn by the operator."""

    who: str


Intent = Deposit | Bid | Cancel | CancelAll


@dataclass(slots=True)
class Model:
    """Deposits, and bids that stand."""

    deposits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bids: dict[str, Bid] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def held(self, who: str) -> int:
        """What the bids of a participant can cost together."""
        return sum(bid.cost for bid in self.bids.values() if bid.who == who)

    def free(self, who: str) -> int:
        """What a participant can still commit."""
        return self.deposits[who] - self.held(who)

    def accept(self, intent: Intent) -> None:
        """What the exchange accepted.

        Raises:
            AssertionError: it should not have.
        """
        match intent:
            case Deposit(who, amount):
                self.deposits[who] += amount
            case Bid(who, order, revision):
                before = self.bids.get(order)
                assert order not in self.gone, f"{order} was cancelled before"
                assert revision == (before.revision + 1 if before else 1), f"revision of {order}"
                assert before is None or before.who == who, f"{order} belongs to {before}"
                self.bids[order] = intent
                assert self.free(who) >= 0, f"{who} committed more than it has"
            case Cancel(who, order):
                assert self.bids[order].who == who, f"{order} is not {who}'s"
                self.gone.add(order)
                del self.bids[order]
            case CancelAll(who):
                for order in [name for name, bid in self.bids.items() if bid.who == who]:
                    self.gone.add(order)
                    del self.bids[order]

    def balances(self, auction_id: str) -> dict[str, tuple[int, int, int]]:
        """Every account that is not empty: posted, held out of it, promised to it."""
        found = {f"p:{who}:collateral": (money, 0, 0) for who, money in self.deposits.items()}
        found["bank"] = (-sum(self.deposits.values()), 0, 0)
        for who in {bid.who for bid in self.bids.values()}:
            found[f"p:{who}:cash"] = (0, self.held(who), 0)
        promised = sum(bid.cost for bid in self.bids.values())
        found[f"pot:{auction_id}:0"] = (0, 0, promised)
        return {account: cells for account, cells in found.items() if any(cells)}
