"""SITE cover from awards to cash on random hours: every chip and every cent has its place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clearing.codec import decode, digest, encode
from clearing.outcome import Award, Outcome
from clearing.types import Book, Cover, ServiceClass
from settlement.assignment import Assignment
from settlement.ledger import accounts
from settlement.postings import hour_postings
from settlement.types import TransferCode
from tests.golden.clearing.books import bid, book, nomination, offer, pool, site
from tests.unit.settlement.builders import World, metered
from tests.unit.settlement.outcomes import (
    Order,
    assigned,
    award,
    backup_price,
    outcome,
    pool_price,
)

POOLS = ("A", "B", "C")
CHIPS = st.integers(1, 40)
PRICES = st.integers(0, 9_000_000)


def grid() -> Book:
    """One hour, three pools of one chip a node at three sites, an order of every sort in each."""
    orders: list[Order] = []
    for name in POOLS:
        others = tuple(pool_id for pool_id in POOLS if pool_id != name)
        orders += [
            offer(f"s1-{name}", (1_000, "2"), at=name),
            offer(f"s2-{name}", (1_000, "2"), at=name),
            bid(f"site-{name}", (1_000, "90"), at=POOLS, cover=Cover.SITE),
            bid(f"node-{name}", (1_000, "90"), at=(name,), cover=Cover.NODE),
            bid(
                f"int-{name}",
                (1_000, "90"),
                at=(name,),
                service_class=ServiceClass.INTERRUPTIBLE,
                notice_s=900,
            ),
            nomination(f"base-{name}", 40, at=name, cover=Cover.SITE, backups=others),
        ]
    return book(
        *orders,
        sites=tuple(site(f"s{name}", surcharge="0.5") for name in POOLS),
        pools=tuple(pool(name, f"s{name}") for name in POOLS),
    )


BOOK = grid()


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """Awards that add up in every pool; backups name only pools where chips stand by."""
    awards: list[Award] = []
    for name in POOLS:
        others = [pool_id for pool_id in POOLS if pool_id != name]
        backed = {other: (draw(CHIPS),) for other in draw(st.sets(st.sampled_from(others)))}
        taken = sum(chips for (chips,) in backed.values())
        if backed:
            awards.append(award(BOOK, f"site-{name}", name, taken, backups=backed))
        for order_id in (f"node-{name}", f"int-{name}"):
            if draw(st.booleans()):
                chips = draw(CHIPS)
                awards.append(award(BOOK, order_id, name, chips))
                taken += chips
        first = draw(st.integers(0, taken))
        idle = draw(st.integers(0, 3))
        held = (draw(st.integers(0, 8)),), (draw(CHIPS),)
        awards.append(award(BOOK, f"s1-{name}", name, first, reserve=held[0], site_reserve=held[1]))
        awards.append(award(BOOK, f"s2-{name}", name, taken - first + idle))
        if draw(st.booleans()):
            covered = {other: (draw(st.integers(1, 20)),) for other in others}
            served = sum(chips for (chips,) in covered.values()) + draw(st.integers(0, 9))
            awards.append(award(BOOK, f"base-{name}", name, served, backups=covered))
    prices = tuple(
        pool_price(
            name,
            0,
            energy=draw(PRICES),
            power=draw(st.integers(0, 400_000)),
            node_cover=draw(st.integers(0, 100_000)),
            spare=draw(st.integers(0, 3_000_000)),
            site_spare=draw(st.integers(0, 3_000_000)),
            surcharge=500_000,
        )
        for name in POOLS
    )
    charged = tuple(
        backup_price(f"s{name}", other, 0, draw(st.integers(1, 3_000_000)))
        for name in POOLS
        for other in POOLS
        if name != other and draw(st.booleans())
    )
    return outcome(BOOK, prices, tuple(awards), backup_prices=charged)


@given(outcomes())
def test_every_awarded_chip_has_a_contract_with_its_backup(found: Outcome) -> None:
    settled = assigned(BOOK, found)
    wanted: Counter[tuple[str, str]] = Counter()
    for item in found.awards:
        if item.order_id.startswith("s1") or item.order_id.startswith("s2"):
            continue
        left = int(sum(item.chips))
        for backup in item.backups:
            wanted[item.order_id, backup.pool_id] += sum(backup.chips)
            left -= sum(backup.chips)
        wanted[item.order_id, ""] += left
    got: Counter[tuple[str, str]] = Counter()
    for contract in settled.contracts:
        got[contract.order_id, contract.backup_pool_id] += sum(h.chips for h in contract.hours)
        backed = bool(contract.backup_pool_id)
        assert (contract.cover is Cover.SITE) == backed
        assert contract.contract_id.endswith(f"/{contract.backup_pool_id}") == backed
    assert got == +wanted
    assert decode(encode(settled), Assignment) == settled


@given(outcomes())
def test_cover_money_reaches_the_pool_that_stands_by_and_nothing_is_left(found: Outcome) -> None:
    world = World(assigned(BOOK, found))
    (hour,) = BOOK.spec.intervals
    postings = world.close(held=hour)
    assert world.broken() == []
    assert world.books.open_holds() == ()
    into: Counter[str] = Counter()
    for item in postings.transfers:
        if item.code is TransferCode.COVER:
            into[item.credit] += item.amount
    due: Counter[str] = Counter()
    charges = {(p.site_id, p.pool_id): p.price for p in found.backup_prices}
    node = {price.pool_id: price.node_cover for price in found.prices}
    for award_ in found.awards:
        for backup in award_.backups:
            price = charges.get((f"s{award_.pool_id}", backup.pool_id), 0)
            due[accounts.cover("own", backup.pool_id, hour.start)] += price * sum(backup.chips)
        if award_.cover is Cover.NODE:
            name = accounts.cover("own", award_.pool_id, hour.start)
            due[name] += node[award_.pool_id] * sum(award_.chips)
    assert into == +due


@given(outcomes(), st.randoms(use_true_random=False))
def test_the_order_of_awards_and_prices_changes_no_byte(found: Outcome, random: Random) -> None:
    mixed = replace(
        found,
        awards=tuple(random.sample(found.awards, len(found.awards))),
        backup_prices=tuple(random.sample(found.backup_prices, len(found.backup_prices))),
    )
    settled = assigned(BOOK, found)
    assert digest(assigned(BOOK, mixed)) == digest(settled)
    (hour,) = BOOK.spec.intervals
    readings = [metered(item, hour) for item in settled.contracts]
    postings = hour_postings(settled, hour, readings, pool_balance=1_000)
    random.shuffle(readings)
    shuffled = replace(
        settled,
        contracts=tuple(random.sample(settled.contracts, len(settled.contracts))),
        spare_hours=tuple(random.sample(settled.spare_hours, len(settled.spare_hours))),
    )
    again = hour_postings(shuffled, hour, readings, pool_balance=1_000)
    assert digest(again) == digest(postings)
