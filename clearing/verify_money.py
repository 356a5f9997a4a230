"""Checks of money: limits, make-whole and its funding, cash, welfare and the certificate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from clearing.outcome import Cash
from clearing.units import SECONDS_PER_HOUR, MicroUsd, divide_half_even, divide_up
from clearing.verify_bound import bound, lost_opportunity, read_duals
from clearing.verify_view import View, payment, receipts, spare_power, welfare

RENT = "rent:"


def check_limits(view: View) -> Iterator[str]:
    """LIMITS: no accepted bid pays more than its limit, no offer receives less than it asked.

    Net of make-whole received, and of make-whole funded: nobody is pushed past a limit
    to help another. Exact, in price-seconds. Base load has no limit. Source: DESIGN 4.2.
    """
    received: dict[str, int] = defaultdict(int)
    for made in view.outcome.make_whole:
        for name in made.order_ids[:1]:
            received[name] += made.amount
        for share in made.funding:
            received[share.source] -= share.amount
    for name in view.awards_of:
        if name in view.nominations:
            continue
        net = view.surplus_of[name] + SECONDS_PER_HOUR * received.get(name, 0)
        if net < 0:
            yield f"{name} ends {-net} price-seconds past its limit"


def check_make_whole(view: View) -> Iterator[str]:
    """MAKE_WHOLE: every loss is paid back, rounded up to a micro-USD; nothing else is.

    A negative residual of the cash identity is paid in the same way, by an entry without
    orders.

    Shares add up, are positive and name each source once. No source gives more than it
    has: a site its power rent, an order its positive surplus. Power rent is spent first,
    then surpluses, pro rata within one micro-USD per payment, and nominations last.
    Source: DESIGN 4.2; SETTLEMENT R14.
    """
    losses: dict[tuple[str, ...], int] = {
        (name,): divide_up(-view.surplus_of[name], SECONDS_PER_HOUR)
        for name in view.awards_of
        if name not in view.nominations and view.surplus_of[name] < 0
    }
    if view.outcome.cash.residual < 0:
        losses[()] = -view.outcome.cash.residual
    paid = {made.order_ids: made.amount for made in view.outcome.make_whole}
    for family in sorted(losses.keys() | paid.keys()):
        if losses.get(family) != paid.get(family):
            yield f"{family} loses {losses.get(family, 0)}, is paid {paid.get(family, 0)}"
    given: dict[str, int] = defaultdict(int)
    for made in view.outcome.make_whole:
        sources = [share.source for share in made.funding]
        if len(set(sources)) != len(sources) or sources != sorted(sources):
            yield f"{made.order_ids} names its sources out of order or twice"
        if any(share.amount <= 0 for share in made.funding):
            yield f"{made.order_ids} has a share that is not positive"
        if sum(share.amount for share in made.funding) != made.amount:
            yield f"{made.order_ids} has shares that do not add up to {made.amount}"
        for share in made.funding:
            given[share.source] += share.amount
    yield from _funding(view, dict(given))


def _funding(view: View, given: dict[str, int]) -> Iterator[str]:
    rents = {
        RENT + site_id: rent // SECONDS_PER_HOUR
        for site_id, rent in rent_of_sites(view).items()
        if rent >= SECONDS_PER_HOUR
    }
    gains = {
        name: view.surplus_of[name] // SECONDS_PER_HOUR
        for name in view.awards_of
        if name not in view.nominations and view.surplus_of[name] >= SECONDS_PER_HOUR
    }
    for source, amount in sorted(given.items()):
        if source in view.nominations:
            continue
        most = rents.get(source, gains.get(source, 0))
        if amount > most:
            yield f"{source} gives {amount}, it has {most}"
    from_rents = sum(given.get(source, 0) for source in rents)
    from_gains = sum(given.get(source, 0) for source in gains)
    from_base = sum(given.get(name, 0) for name in view.nominations)
    if from_gains + from_base and from_rents != sum(rents.values()):
        yield f"power rent of {sum(rents.values())} is not spent first: {from_rents}"
    if from_base and from_gains != sum(gains.values()):
        yield f"base load pays before surpluses of {sum(gains.values())} are spent"
    weight = sum(gains.values())
    tolerance = len(view.outcome.make_whole)
    for name, gain in gains.items():
        if from_gains and abs(given.get(name, 0) * weight - from_gains * gain) > tolerance * weight:
            yield f"{name} gives {given.get(name, 0)}, not its part of {from_gains}"


def rent_of_sites(view: View) -> dict[str, int]:
    """Power rent per site, price-seconds: what delivered, base and spare chips pay for power."""
    rents: dict[str, int] = {}
    for site_id in view.sites:
        total = 0
        for name in view.pools_of_site.get(site_id, ()):
            totals, prices = view.totals[name], view.prices[name]
            for t in range(view.intervals):
                total += prices[t].power * (totals.delivered[t] + totals.base[t])
                total += spare_power(view, name, t)
        rents[site_id] = total * view.duration_s
    return rents


def cash_of(view: View) -> Cash:
    """Cash identity of the awards at the prices, before make-whole moves anything.

    Each line is the exact sum of its price-seconds, rounded half-even once; the residual is
    what the other lines leave, so the identity holds to the micro-USD.
    """
    delivered = {name: sum(t.delivered) + sum(t.base) for name, t in view.totals.items()}
    adders = {name: view.sites[pool.site_id].surcharge for name, pool in view.pools.items()}
    fee = view.book.spec.operator_fee
    spare = sum(view.spare_shares.values())
    buyers = _money(-sum(_paid(view)))
    suppliers = _money(sum(_earned(view)))
    community = _money(view.duration_s * sum(delivered[n] * adders[n] for n in view.pools))
    operator = _money(view.duration_s * fee * sum(delivered.values()))
    rent = _money(sum(rent_of_sites(view).values()))
    held = _money(spare)
    return Cash(
        buyers=buyers,
        suppliers=suppliers,
        spare=held,
        community=community,
        operator_fee=operator,
        link_rent=MicroUsd(0),
        power_rent=rent,
        residual=MicroUsd(buyers - suppliers - held - community - operator - rent),
        make_whole=MicroUsd(sum(made.amount for made in view.outcome.make_whole)),
    )


def _money(price_seconds: int) -> MicroUsd:
    return MicroUsd(divide_half_even(price_seconds, SECONDS_PER_HOUR))


def _paid(view: View) -> Iterator[int]:
    for name in (*view.bids, *view.nominations):
        yield -payment(view, name)


def _earned(view: View) -> Iterator[int]:
    for name in view.offers:
        yield receipts(view, name) - view.spare_shares.get(name, 0)


def check_cash(view: View) -> Iterator[str]:
    """CASH: every line is recomputed, and buyers equal what everybody else receives.

    Why: the operator retains its published fee and nothing else. Source: DESIGN 4.3.
    """
    published, expected = view.outcome.cash, cash_of(view)
    for line in Cash.__dataclass_fields__:
        if getattr(published, line) != getattr(expected, line):
            yield f"{line} is {getattr(published, line)}, computed {getattr(expected, line)}"


def check_welfare(view: View) -> Iterator[str]:
    """WELFARE: values minus costs, fees and surcharges of the awards, exactly.

    Gains from trade are the same without base load, at least 1: base load has no value in
    the objective, so the two differ only in that floor. Source: DESIGN 4.3.
    """
    certificate = view.outcome.certificate
    expected = welfare(view)
    if certificate.welfare != expected:
        yield f"welfare is {certificate.welfare}, computed {expected}"
    if certificate.gains != max(1, expected):
        yield f"gains are {certificate.gains}, computed {max(1, expected)}"


def check_bound(view: View) -> Iterator[str]:
    """BOUND: the published bound follows from the published duals, and no welfare exceeds it.

    Also the lost opportunity at the prices. Source: DESIGN 4.3; ``clearing.verify_bound``.
    """
    certificate = view.outcome.certificate
    problems: list[str] = []
    duals = read_duals(view, certificate.duals, problems.append)
    yield from problems
    expected = bound(view, duals)
    if certificate.bound != expected:
        yield f"bound is {certificate.bound}, its duals give {expected}"
    if certificate.welfare > certificate.bound:
        yield f"welfare {certificate.welfare} exceeds the bound {certificate.bound}"
    lost = lost_opportunity(view)
    if certificate.lost_opportunity != lost:
        yield f"lost opportunity is {certificate.lost_opportunity}, computed {lost}"
