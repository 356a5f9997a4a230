"""Laws of settlement on random contracts, readings and prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from clearing.codec import decode, digest, encode
from clearing.types import Cover, Interval, ServiceClass
from clearing.units import UnixSeconds, chip_seconds
from settlement.assignment import Assignment, IntervalPrice
from settlement.ledger import accounts
from settlement.ledger.books import Books, Rejected
from settlement.metering.billable import MeteredHour, metering_intervals
from settlement.postings import award_postings, hour_postings
from settlement.types import Contract, Phase, Postings, SpareHour, Transfer, TransferCode
from tests.unit.settlement.builders import (
    World,
    assignment,
    contract,
    interval,
    legs,
    metered,
    plan,
    price,
    standby,
)

T = TypeVar("T")

POOLS = ("pool-a", "pool-b")
SUPPLIERS = ("S1", "S2", "S3")
PRICES = st.integers(0, 9_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    settled: Assignment
    hours: tuple[Interval, ...]
    readings: tuple[tuple[MeteredHour, ...], ...]
    spot: tuple[tuple[IntervalPrice, ...], ...]
    pool_start: int
    limits: dict[str, int]


@st.composite
def auction_prices(draw: st.DrawFn, pool: str, held: Interval) -> IntervalPrice:
    return price(
        draw(PRICES),
        power=draw(st.integers(0, 400_000)),
        cover=draw(st.integers(0, 100_000)),
        availability=draw(st.integers(0, 1_000_000)),
        recall_discount=draw(st.integers(0, 300_000)),
        pool=pool,
        held=held,
        backups={name: draw(st.integers(0, 2_000_000)) for name in POOLS if name != pool},
    )


@st.composite
def contracts_at(
    draw: st.DrawFn,
    prices: dict[tuple[str, UnixSeconds], IntervalPrice],
    hours: tuple[Interval, ...],
) -> tuple[Contract, ...]:
    items = []
    for index in range(draw(st.integers(1, 5))):
        pool = draw(st.sampled_from(POOLS))
        kind = draw(st.sampled_from(tuple(ServiceClass)))
        cover = Cover.NONE
        if kind is not ServiceClass.INTERRUPTIBLE:
            cover = draw(st.sampled_from(tuple(Cover)))
        (other,) = (name for name in POOLS if name != pool)
        registered = draw(PRICES)
        base = contract(
            f"bid-{index}",
            draw(st.integers(1, 64)),
            legs(0),
            buyer=draw(st.sampled_from(("F1", "F2", "S1"))),
            supplier=draw(st.sampled_from(SUPPLIERS)),
            pool=pool,
            site=f"site-{pool}",
            service_class=kind,
            cover=cover,
            backup=other if cover is Cover.SITE else "",
            hours=draw(st.sampled_from((hours, hours[:1], hours[-1:]))),
            stop_loss_ppm=draw(st.sampled_from((0, 500_000, 1_000_000, 3_000_000))),
        )
        surcharge, fee = draw(st.integers(0, 900_000)), draw(st.integers(0, 30_000))
        parts = []
        for hour in base.hours:
            at = prices[pool, hour.interval.start]
            charged = {Cover.NONE: 0, Cover.NODE: at.cover, Cover.SITE: at.backup(other)}[cover]
            if kind is ServiceClass.BASE_LOAD:
                terms = legs(
                    0,
                    power=at.power,
                    cover=charged,
                    surcharge=surcharge,
                    fee=fee,
                    contract=registered,
                )
            else:
                most = at.energy + at.power
                wanted = at.availability + at.recall_discount
                discount = min(most, wanted) if kind is ServiceClass.INTERRUPTIBLE else 0
                terms = legs(
                    at.energy,
                    power=at.power,
                    cover=charged,
                    discount=discount,
                    surcharge=surcharge,
                    fee=fee,
                )
            parts.append(replace(hour, legs=terms))
        items.append(replace(base, hours=tuple(parts)))
    return tuple(items)


@st.composite
def spare_at(
    draw: st.DrawFn, hours: tuple[Interval, ...], items: tuple[Contract, ...]
) -> tuple[SpareHour, ...]:
    """Chips that stand by: for either cover, and in every pool that is named as backup."""
    found = draw(
        st.lists(
            st.tuples(
                st.sampled_from(SUPPLIERS),
                st.integers(1, 32),
                st.integers(0, 2_000_000),
                st.sampled_from(POOLS),
                st.booleans(),
            ),
            max_size=3,
            unique_by=lambda item: (item[0], item[4]),
        )
    )
    held = [
        replace(standby(f"spare-{name}", name, chips, earns, pool=pool, site=site), interval=at)
        for name, chips, earns, pool, site in found
        for at in hours[:1]
    ]
    named = {(item.backup_pool_id, h.interval.start) for item in items for h in item.hours}
    for at in hours:
        for pool in POOLS:
            if (pool, at.start) in named:
                backup = standby("backup", "S3", 8, draw(PRICES), pool=pool, site=True)
                held.append(replace(backup, interval=at))
    return tuple(held)


@st.composite
def reading_of(draw: st.DrawFn, item: Contract, held: Interval) -> MeteredHour:
    hour = next(hour for hour in item.hours if hour.interval == held)
    cells = metering_intervals(held)
    failed: dict[int, int] = {}
    gap = 0
    for index in draw(st.sets(st.integers(0, len(cells) - 1), max_size=4)):
        position = chip_seconds(hour.chips, cells[index].duration_s)
        if draw(st.booleans()):
            gap += position
        else:
            failed[index] = draw(st.integers(0, position))
    return metered(item, held, failed=failed, gap=gap, tflops=draw(st.integers(0, 2_000)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    duration = draw(st.sampled_from((3600, 1800, 700)))
    hours = (interval(0, duration), interval(1, duration))
    prices = {
        (pool, held.start): draw(auction_prices(pool, held)) for pool in POOLS for held in hours
    }
    items = draw(contracts_at(prices, hours))
    families = draw(st.booleans())
    shares = {"S2": draw(st.integers(1, 5_000_000)), "rent:site-pool-a": 7, items[0].buyer_id: 3}
    plans = (plan("bid-0", items[0].buyer_id, sum(shares.values()), shares, items[0]),)
    settled = assignment(
        *items,
        prices=tuple(prices[key] for key in sorted(prices)),
        spare=draw(spare_at(hours, items)),
        intervals=hours,
        make_whole=plans if families else (),
    )
    readings = tuple(
        tuple(
            draw(reading_of(item, held))
            for item in items
            if any(hour.interval == held for hour in item.hours)
        )
        for held in hours
    )
    spot = tuple(
        tuple(
            price(
                draw(st.integers(0, 30_000_000)),
                power=draw(st.integers(0, 500_000)),
                cover=draw(st.integers(0, 500_000)),
                pool=pool,
                held=held,
            )
            for pool in POOLS
        )
        if draw(st.booleans())
        else ()
        for held in hours
    )
    limits = {
        item.order_id: max(h.legs.contract + h.legs.surcharge + h.legs.fee for h in item.hours)
        for item in items
        if item.service_class is not ServiceClass.BASE_LOAD
    }
    return Case(
        settled=settled,
        hours=hours,
        readings=readings,
        spot=spot,
        pool_start=draw(st.sampled_from((0, 1, 500_000, 50_000_000))),
        limits=limits,
    )


def run(case: Case) -> World:
    world = World(case.settled)
    if case.pool_start:
        fund(world, case.pool_start)
    for held, readings, spot in zip(case.hours, case.readings, case.spot, strict=True):
        world.close(*readings, held=held, spot=spot)
    return world


def fund(world: World, amount: int) -> None:
    world.transfer(
        Transfer(
            transfer_id="pool-start",
            asset="USD",
            debit=accounts.BANK,
            credit=accounts.POOL,
            amount=amount,
            phase=Phase.POSTED,
            code=TransferCode.RESIDUAL,
        )
    )


@given(cases())
def test_all_invariants_hold(case: Case) -> None:
    world = run(case)
    assert world.broken(case.limits) == []
    assert not [
        balance
        for balance in world.books.balances()
        if accounts.is_pot(balance.account)
        and (balance.posted or balance.pending_debit or balance.pending_credit)
    ]
    assert world.books.open_holds() == ()
    assert world.books.balance(accounts.POOL).posted >= 0


@given(cases())
def test_the_only_money_is_what_participants_communities_operator_rent_and_pool_hold(
    case: Case,
) -> None:
    world = run(case)
    total = sum(b.posted for b in world.books.balances() if b.asset == "USD")
    assert total == 0
    assert {b.account for b in world.books.balances() if b.posted} <= {
        b.account
        for b in world.books.balances()
        if b.account.startswith(("p:", "community:", "rent:"))
        or b.account in {accounts.POOL, accounts.OPERATOR_FEE, accounts.BANK}
    }


@given(cases(), st.randoms(use_true_random=False))
def test_permutation_changes_no_digest(case: Case, random: Random) -> None:
    def shuffled(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(random.sample(items, len(items)))

    mixed = replace(
        case.settled,
        contracts=shuffled(case.settled.contracts),
        spare_hours=shuffled(case.settled.spare_hours),
        prices=shuffled(case.settled.prices),
    )
    assert digest(award_postings(case.settled, {})) == digest(award_postings(mixed, {}))
    for index, held in enumerate(case.hours[:1]):
        given_ = hour_of(case.settled, held, case.readings[index], case.spot[index])
        again = hour_of(mixed, held, shuffled(case.readings[index]), shuffled(case.spot[index]))
        assert digest(given_) == digest(again)


def hour_of(
    settled: Assignment,
    held: Interval,
    readings: tuple[MeteredHour, ...],
    spot: tuple[IntervalPrice, ...],
) -> Postings:
    return hour_postings(
        replace(settled, make_whole=()), held, readings, pool_balance=1_000, spot=spot
    )


@given(cases())
@settings(max_examples=20)
def test_documents_round_trip(case: Case) -> None:
    assert decode(encode(case.settled), Assignment) == case.settled
    for document in run(case).documents:
        assert decode(encode(document), Postings) == document


@given(cases(), st.data())
def test_a_changed_posting_is_refused_or_breaks_a_named_invariant(
    case: Case, data: st.DataObject
) -> None:
    """Mutation of results: one micro-USD more or less anywhere in an hour's money."""
    world = World(case.settled)
    if case.pool_start:
        fund(world, case.pool_start)
    before = len(world.applied)
    honest = world.close(*case.readings[0], held=case.hours[0], spot=case.spot[0])
    money = [
        index
        for index, item in enumerate(honest.transfers)
        if item.code.value in {"AUCTION_LEG", "SUPPLY", "SURCHARGE", "FEE", "COVER", "GAP_REFUND"}
        and item.amount > 1
        and item.asset == "USD"
    ]
    if not money:
        return
    index = data.draw(st.sampled_from(money))
    changed = list(honest.transfers)
    changed[index] = replace(changed[index], amount=changed[index].amount - 1)
    books = Books()
    for item in world.applied[:before]:
        assert not isinstance(books.apply(item.transfer), Rejected)
    result = books.apply_all(replace(honest, transfers=tuple(changed)))
    if isinstance(result, Rejected):
        return
    world.applied = [*world.applied[:before], *result]
    assert world.broken(case.limits)
