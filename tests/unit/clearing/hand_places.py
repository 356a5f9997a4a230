"""Sites, pools and small orders that outcomes worked out by hand share."""

from __future__ import annotations

from dataclasses import replace

from clearing.types import Book, Cover, Eligibility, Nomination, Offer, Segment, Site, Step, StepBid
from clearing.units import Chips
from tests.unit.clearing.hand import curve, firm, offer, pool, spec, usd

CAP = "100"


def site(name: str = "z", surcharge: str = "0") -> Site:
    return Site(site_id=name, surcharge=usd(surcharge))


def at(*pool_ids: str) -> Eligibility:
    return Eligibility(pool_ids=pool_ids)


def hourly(name: str, *steps: tuple[int, str]) -> Offer:
    """An offer with one step in each hour."""
    return replace(
        offer(name, (1, "1")),
        segments=tuple(
            Segment(first=t, stop=t + 1, steps=(Step(price=usd(price), chips=Chips(chips)),))
            for t, (chips, price) in enumerate(steps)
        ),
    )


def base(name: str, chips: int, where: str, backups: tuple[str, ...]) -> Nomination:
    """Base load with SITE cover."""
    return Nomination(
        order_id=name,
        entitlement_id=f"entitlement-{name}",
        participant_id="holder",
        pool_id=where,
        segments=curve((chips, "3")),
        cover=Cover.SITE,
        backup_pool_ids=backups,
    )


def two_sites(**orders: object) -> Book:
    """Pools a and b at sites A and B, of one class."""
    return Book(
        spec=spec(),
        sites=(site("A"), site("B")),
        pools=(pool("a", site="A"), pool("b", site="B")),
        **orders,  # type: ignore[arg-type]
    )


def covered_by_site(name: str, chips: int, price: str) -> StepBid:
    return replace(firm(name, (chips, price), cover=Cover.SITE), where=at("a", "b"))
