"""Links of an auction as pairing sees them: supply of one pool that serves bids of another.

A flow asks the supply of the pool it comes from like a bid, and is supply where it goes to.
Pools that flows come from are paired first, so that every carried chip is known by its offer.
A contract over a link earns its supplier the price of its own pool; the spread is the link's
(SETTLEMENT R14). Power, cover and surcharge follow the pool of the bid.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import MicroUsdPerChipHour
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.matching import Lot
from settlement.types import Legs

_MARK = "\0link\0"
"""Between an offer and the link that carries it, in the identifier of a lot."""


@dataclass(slots=True, kw_only=True)
class Links:
    """Flows of one outcome, and what they were found to carry.

    Attributes:
        leaving: Chips by pool they leave, link and interval.
        entering: Pool that each link's flow of an interval enters.
        carried: Chips by pool they enter, then (offer, link), then interval.
        origins: Pool that a link's carried offers stand in.
    """

    leaving: dict[str, dict[str, dict[int, int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    entering: dict[tuple[str, int], str] = field(default_factory=dict)
    carried: dict[str, dict[tuple[str, str], dict[int, int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    origins: dict[tuple[str, str], str] = field(default_factory=dict)

    def order(self, pool_ids: list[str]) -> list[str]:
        """Pools in the order in which they are paired."""
        known = sorted({*pool_ids, *self.leaving, *self.entering.values()})
        return sorted(known, key=lambda pool_id: (pool_id not in self.leaving, pool_id))

    def demands(self, pool_id: str) -> list[Lot]:
        """What leaves a pool, as demand."""
        return [
            Lot(order_id=f"{_MARK}{link_id}", left=dict(chips))
            for link_id, chips in sorted(self.leaving.get(pool_id, {}).items())
        ]

    def supplies(self, pool_id: str) -> list[Lot]:
        """What enters a pool, as supply, by offer."""
        return [
            Lot(order_id=f"{offer_id}{_MARK}{link_id}", left=dict(chips))
            for (offer_id, link_id), chips in sorted(self.carried.get(pool_id, {}).items())
        ]

    def carry(self, pool_id: str, lot_id: str, offer_id: str, chips: dict[int, int]) -> bool:
        """Note that an offer serves a flow; False where the lot is no flow."""
        if not lot_id.startswith(_MARK):
            return False
        link_id = lot_id.removeprefix(_MARK)
        for t, quantity in chips.items():
            self.carried[self.entering[link_id, t]][offer_id, link_id][t] = quantity
        self.origins[offer_id, link_id] = pool_id
        return True

    def split(self, supply_id: str) -> tuple[str, str, str]:
        """Offer, link and pool of the offer; the latter two empty for supply of the pool itself."""
        offer_id, _, link_id = supply_id.partition(_MARK)
        return offer_id, link_id, self.origins[offer_id, link_id] if link_id else ""


def links_of(book: Book, outcome: Outcome) -> Links:
    """Flows of an outcome.

    Raises:
        SettlementError: ``LINKS_NOT_SETTLED``, a pool passes on what it receives.
    """
    links = {link.link_id: link for link in book.links}
    found = Links()
    for flow in outcome.flows:
        link = links[flow.link_id]
        for t, chips in enumerate(flow.chips):
            if chips:
                ends = (link.from_pool_id, link.to_pool_id)
                source, target = ends if chips > 0 else (ends[1], ends[0])
                found.leaving[source][flow.link_id][t] = abs(chips)
                found.entering[flow.link_id, t] = target
    for (link_id, t), target in sorted(found.entering.items()):
        if any(t in chips for chips in found.leaving.get(target, {}).values()):
            raise SettlementError(
                SettlementErrorCode.LINKS_NOT_SETTLED,
                link_id,
                f"{target} passes on in interval {t} what it receives",
            )
    return found


def over_link(legs: Legs, link_id: str, supplied_at: MicroUsdPerChipHour) -> Legs:
    """Legs of a bid's product, supplied over a link at the price of the other pool.

    Raises:
        SettlementError: ``LINKS_NOT_SETTLED``, the flow goes towards the lower price.
    """
    spread = legs.energy - supplied_at
    if spread < 0:
        raise SettlementError(
            SettlementErrorCode.LINKS_NOT_SETTLED, link_id, f"its owner would earn {spread}"
        )
    return replace(legs, energy=supplied_at, link=MicroUsdPerChipHour(spread))
