"""Laws of the spot layer on random hours: adversarial prices, moves, outages and corrections."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from clearing.codec import decode, digest, encode
from clearing.types import Cover, ServiceClass
from settlement.ledger import accounts
from settlement.metering.billable import metering_intervals
from settlement.postings import hour_postings
from settlement.spot.pot import Payer, Receiver, empty_pot
from settlement.spot.result import SpotResult
from settlement.types import Contract
from tests.unit.settlement.builders import (
    HOUR,
    World,
    assignment,
    contract,
    legs,
    price,
    standby,
)
from tests.unit.settlement.spot_world import (
    UNREAD,
    at,
    bought,
    close,
    correct,
    derate,
    fund_pool,
    meter,
    purchase,
    recall,
    reclaim,
    replacement,
    sale,
    spot,
    withdrawal,
)

CELLS = (0, 1, 7)


class Hour:
    """A random hour: one pool's uniform prices, its contracts, and what spot did to them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        # Suppliers earn more than buyers pay for power: what is reclaimed without a cause (the
        # rest of a gang) is found in their earnings.
        self.energy = energy = random.randint(1_000_000, 5_000_000)
        power = random.choice((0, 300_000))
        cover, discount = random.randint(0, 900_000), random.randint(0, energy)
        shared = {"surcharge": random.randint(0, 900_000), "fee": random.randint(0, 30_000)}
        self.shared = shared
        self.firm = [
            contract(
                f"F{n}",
                random.choice((8, 16, 24)),
                legs(energy, power=power, cover=cover, **shared),
                buyer=random.choice(("F", "G")),
                supplier=random.choice(("S1", "S2")),
                cover=Cover.NODE,
                stop_loss_ppm=random.choice((0, 500_000, 1_000_000)),
            )
            for n in range(random.randint(1, 3))
        ]
        self.soft = [
            contract(
                f"I{n}",
                random.choice((8, 16)),
                legs(energy, power=power, discount=discount, **shared),
                buyer="I",
                supplier=random.choice(("S1", "S3", "H")),
                service_class=ServiceClass.INTERRUPTIBLE,
            )
            for n in range(random.randint(1, 3))
        ]
        self.settled = assignment(
            *self.firm,
            *self.soft,
            prices=(price(energy, power=power, cover=cover, availability=discount),),
            spare=(standby("offer-spare", "spare", 8, random.randint(0, 500_000)),),
            released=("offer-H",),
        )
        self.healthy: dict[tuple[str, str, int], int] = {}
        self.pool_start = random.choice((0, 0, 500_000, 50_000_000))
        self.results = tuple(self.cell(index) for index in CELLS)

    def cell(self, index: int) -> SpotResult:
        """Moves of one interval that balance; quantities in whole chips."""
        random = self.random
        at_spot = at(
            random.choice((0, 500_000, 3_000_000, 9_000_000, 30_000_000)),
            power=random.choice((0, 250_000)),
            availability=random.choice((0, 400_000)),
            cover=random.choice((0, 100_000)),
        )
        given_up, moves = 0, _no_moves()
        left = {item.contract_id: int(item.hours[0].chips) for item in (*self.firm, *self.soft)}
        for item in self.soft:
            if random.random() < 0.6:
                chips = random.randint(1, item.hours[0].chips)
                left[item.contract_id] -= chips
                given_up += chips
                move = reclaim(item, chips, restart=random.choice((0, self.energy // 20)))
                moves["reclaims"].append(move)
        first = self.firm[0]
        if random.random() < 0.3 and left[first.contract_id] > 1:
            left[first.contract_id] -= 1
            given_up += 1
            moves["withdrawals"].append(withdrawal(first, 1))
        if random.random() < 0.4:
            extra = random.randint(1, 8)
            given_up += extra
            moves["supply"].append(sale("S3", extra))
        taken: dict[str, tuple[object, ...]] = {}
        replaced = []
        if random.random() < 0.5 and left[first.contract_id]:
            chips = min(left[first.contract_id], 8)
            replaced.append(replacement(first, chips, by="spare", order="offer-spare"))
        elif given_up and left[first.contract_id]:
            chips = min(left[first.contract_id], given_up, random.randint(1, 8))
            given_up -= chips
            replaced.append(replacement(first, chips, by="S2"))
        if given_up and random.random() < 0.6:
            chips = random.randint(1, given_up)
            given_up -= chips
            spike = bought(
                f"n{index}",
                chips,
                legs(at_spot.energy, power=at_spot.power, **self.shared),
                buyer="N",
                supplier="S3",
                index=index,
            )
            taken["purchases"] = (purchase(spike, at_spot.energy + random.randint(0, 4_000_000)),)
        if given_up and random.random() < 0.6:
            back = bought(
                f"h{index}",
                random.randint(1, given_up),
                legs(0, contract=2_000_000, **self.shared),
                buyer="H",
                supplier="U",
                index=index,
                service_class=ServiceClass.BASE_LOAD,
            )
            taken["recalls"] = (recall(back, "offer-H"),)
        for item in (*self.firm[1:], *self.soft):
            self.read(item, index, left[item.contract_id])
        if len(self.firm) > 1 and random.random() < 0.3 and left[self.firm[1].contract_id]:
            taken["derates"] = (derate(self.firm[1], 1),)
        return spot(
            index,
            at_spot,
            replacements=tuple(replaced),
            **{name: tuple(items) for name, items in moves.items()},
            **taken,
        )

    def read(self, item: Contract, index: int, chips: int) -> None:
        """Sometimes less than its position, sometimes nothing."""
        chance = self.random.random()
        if chance < 0.3:
            key = ("pool-a", item.contract_id, index)
            self.healthy[key] = self.random.choice((0, 1, chips * 150, UNREAD))

    def world(self) -> World:
        world = World(self.settled)
        if self.pool_start:
            fund_pool(world, self.pool_start)
        close(world, *self.results, healthy=self.healthy, tflops=7)
        return world


def _no_moves() -> dict[str, list[object]]:
    return {"reclaims": [], "withdrawals": [], "supply": []}


@given(st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_laws_hold_on_random_spot_hours(random: Random) -> None:
    world = Hour(random).world()
    assert world.broken() == []
    assert world.books.open_holds() == ()
    assert world.posted(accounts.POOL) >= 0
    pots = [b for b in world.books.balances() if accounts.is_pot(b.account)]
    assert not [b for b in pots if b.posted or b.pending_debit or b.pending_credit]


@given(st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_corrections_end_where_a_recomputation_begins(random: Random) -> None:
    """Law 11: gaps that are read later, twice; the balances are those of the latest readings."""
    hour = Hour(random)
    hour.pool_start = 1_000_000_000
    world = hour.world()
    for share in (2, 1):
        healthy = {
            key: value // share if value != UNREAD else 0 for key, value in hour.healthy.items()
        }
        correct(world, *hour.results, healthy=healthy, pool_before=hour.pool_start, tflops=7)
    assert world.broken() == []
    fresh = Hour.__new__(Hour)
    fresh.settled, fresh.results, fresh.healthy = hour.settled, hour.results, healthy
    fresh.pool_start = hour.pool_start
    assert {(b.account, b.asset): b.posted for b in world.books.balances() if b.posted} == {
        (b.account, b.asset): b.posted for b in fresh.world().books.balances() if b.posted
    }


@given(st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_order_changes_no_digest_and_documents_round_trip(random: Random) -> None:
    hour = Hour(random)
    readings = meter(hour.settled, hour.results, hour.healthy)
    postings = hour_postings(hour.settled, HOUR, readings, pool_balance=10**9, results=hour.results)
    shuffled = [
        replace(
            result,
            reclaims=tuple(random.sample(result.reclaims, len(result.reclaims))),
            supply=tuple(reversed(result.supply)),
        )
        for result in random.sample(hour.results, len(hour.results))
    ]
    again = hour_postings(
        hour.settled,
        HOUR,
        random.sample(readings, len(readings)),
        pool_balance=10**9,
        results=shuffled,
    )
    assert digest(postings) == digest(again)
    for result in hour.results:
        assert decode(encode(result), SpotResult) == result


@given(st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_failures_alone_cost_what_they_cost_without_a_spot_layer(random: Random) -> None:
    """Twin: a spot result that only states prices, against the hour without results."""
    hour = Hour(random)
    energy = random.randint(0, 20_000_000)
    cells = metering_intervals(HOUR)
    bare = [spot(index, at(energy)) for index in range(len(cells))]
    readings = meter(hour.settled, tuple(bare), hour.healthy)
    plain = hour_postings(
        hour.settled,
        HOUR,
        readings,
        pool_balance=10**9,
        spot=[price(energy, held=cell) for cell in cells],
    )
    layered = hour_postings(hour.settled, HOUR, readings, pool_balance=10**9, results=tuple(bare))
    sums = []
    for document in (plain, layered):
        found: dict[tuple[str, str], int] = {}
        for item in document.transfers:
            for account, sign in ((item.debit, -1), (item.credit, 1)):
                key = (account, item.asset)
                found[key] = found.get(key, 0) + sign * item.amount
        sums.append(found)
    # Pots share by largest remainder, failures alone round each credit: one unit per interval.
    for key in sums[0].keys() | sums[1].keys():
        assert abs(sums[0].get(key, 0) - sums[1].get(key, 0)) <= 12 * len(hour.settled.contracts)


@given(st.data())
def test_a_pot_pays_out_what_came_in(data: st.DataObject) -> None:
    amounts = st.integers(0, 10**9)
    payers = [
        Payer(
            key=f"k{n}",
            amount=data.draw(amounts),
            quantity=data.draw(st.integers(0, 10_000)),
            room=data.draw(amounts),
            withheld=data.draw(amounts),
        )
        for n in range(data.draw(st.integers(0, 4)))
    ]
    receivers = []
    for n in range(data.draw(st.integers(0, 4))):
        due = data.draw(st.integers(0, 10**12))
        receivers.append(
            Receiver(
                key=f"p:r{n}:cash",
                due=due,
                floor=data.draw(st.integers(0, due)),
                steps_in=data.draw(st.booleans()),
            )
        )
    pool = data.draw(amounts)
    earnings = {name: data.draw(amounts) for name in ("S1", "S2")}
    done = empty_pot(payers, receivers, pool_balance=pool, earnings=earnings, failing={"S2"})
    assert sum(done.paid) + sum(done.from_suppliers.values()) == sum(done.received) + done.to_pool
    assert pool + done.to_pool >= 0
    assert all(share <= earnings[name] for name, share in done.from_suppliers.items())
    for payer, paid in zip(payers, done.paid, strict=True):
        most = payer.amount + (payer.room if payer.quantity else 0)
        assert payer.amount <= paid <= most
    for receiver, received in zip(receivers, done.received, strict=True):
        assert received <= -(-receiver.due // 3600)
        if not receiver.steps_in and not done.short:
            assert received >= receiver.floor // 3600 - 1
