"""A small registered world for tests of the state machine: no envelopes, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clearing import codec
from clearing.types import (
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import MicroUsd, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.reference import read_default, read_default_bytes
from iso_exchange.sequencer.auctions import book_root
from iso_exchange.sequencer.capacity import running
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State
from settlement.postings.award import award_postings
from settlement.storage.store import AppliedTransfer
from tests.unit.settlement.outcomes import assigned, award, outcome, pool_price

ORIGIN = "test.example/log"
H100 = "nvidia.h100-sxm5-80gb"
NOW = 1_000_000 * 3600
GATE = NOW + 3600
FIRST = NOW + 2 * 3600
SEED_COMMITMENT = hashlib.sha256(b"seed").hexdigest()


def span(start: int, end: int) -> Interval:
    return Interval(start=UnixSeconds(start), end=UnixSeconds(end))


@dataclass
class World:
    """State plus the bookkeeping a sequencer would do."""

    state: State = field(default_factory=lambda: State(origin=ORIGIN))
    now: int = NOW
    index: int = 0
    requests: int = 0
    moved: list[AppliedTransfer] = field(default_factory=list)

    def header(self, signer: str) -> c.Header:
        self.requests += 1
        return c.Header(
            origin=ORIGIN,
            signer_id=signer,
            request_id=f"r{self.requests}",
            create_time=UnixSeconds(self.now),
        )

    def apply(
        self,
        command: c.Command,
        documents: Mapping[bytes, bytes] | None = None,
        values: Mapping[bytes, object] | None = None,
    ) -> Accepted | Rejected:
        meta = Meta(
            time_us=self.now * 1_000_000,
            index=self.index,
            leaf_hash=hashlib.sha256(str(self.index).encode()).digest(),
            documents=documents or {},
            values=values or {},
        )
        result = apply(self.state, command, meta)
        if isinstance(result, Accepted):
            self.index += 1
            self.moved.extend(result.transfers)
        return result

    def must(self, command: c.Command) -> Accepted:
        result = self.apply(command)
        assert isinstance(result, Accepted), result
        return result

    def refused(self, command: c.Command) -> Rejected:
        before = repr(self.state)
        result = self.apply(command)
        assert isinstance(result, Rejected), result
        assert result.advice
        assert repr(self.state) == before, "a refusal changed the state"
        assert self.apply(command) == result, "a refusal is not the same on retry"
        return result

    def participant(self, name: str, role: c.Role) -> c.RegisterParticipant:
        return c.RegisterParticipant(
            header=self.header("operator"),
            participant_id=name,
            display_name=name,
            roles=(role,),
            public_key=hashlib.sha256(name.encode()).digest(),
        )

    def site(self, **changes: Any) -> c.RegisterSite:
        values: dict[str, Any] = {
            "header": self.header("operator"),
            "site_id": "tx-1",
            "community_id": "town",
            "surcharge": 500_000,
            "power_limit": None,
            "region": "us-south",
            "country": "US",
        }
        return c.RegisterSite(**{**values, **changes})

    def pool(self, **changes: Any) -> c.RegisterPool:
        values: dict[str, Any] = {
            "header": self.header("operator"),
            "pool_id": "tx-1-h100",
            "site_id": "tx-1",
            "supplier_ids": ("acme",),
            "chip_class": H100,
            "chips_per_node": 8,
            "capacity": 64,
            "chip_power": 1_000,
            "node_spare_ppm": 10_000,
            "fabric": "INFINIBAND_NDR",
        }
        return c.RegisterPool(**{**values, **changes})

    def auction(self, **changes: Any) -> c.CreateAuction:
        values: dict[str, Any] = {
            "header": self.header("operator"),
            "auction_id": "da-1",
            "product": "DAY_AHEAD",
            "close_time": GATE,
            "first_interval_start": FIRST,
            "interval_seconds": 3600,
            "interval_count": 4,
            "price_floor": 0,
            "price_cap": 100_000_000,
            "tick": 1_000,
            "operator_fee": 20_000,
            "pricing_rule": PricingRule.MAKE_WHOLE,
            "tie_credit": 100,
            "seed_commitment": SEED_COMMITMENT,
            "tariff": Tariff(),
        }
        return c.CreateAuction(**{**values, **changes})

    def deposit(self, participant_id: str, dollars: int) -> c.RecordDeposit:
        return c.RecordDeposit(
            header=self.header("operator"),
            participant_id=participant_id,
            amount=MicroUsd(dollars * 1_000_000),
            bank_reference=f"wire-{participant_id}-{self.requests}",
        )

    def offer(self, **changes: Any) -> c.SubmitOrder:
        terms = c.OfferTerms(
            pool_id=str(changes.pop("pool_id", "tx-1-h100")),
            segments=(
                c.TimedSegment(
                    start=UnixSeconds(changes.pop("start", FIRST)),
                    end=UnixSeconds(changes.pop("end", FIRST + 4 * 3600)),
                    steps=(
                        Step(price=MicroUsdPerChipHour(2_000_000), chips=changes.pop("chips", 48)),
                    ),
                ),
            ),
            commitment=changes.pop("commitment", None),
        )
        return self._order("acme", "offer-1", terms, changes)

    def bid(self, **changes: Any) -> c.SubmitOrder:
        terms = c.StepBidTerms(
            conditions=c.BidConditions(
                where=changes.pop("where", Eligibility(chip_classes=(H100,))),
                service_class=ServiceClass.FIRM,
                cover=changes.pop("cover", Cover.NODE),
            ),
            segments=(
                c.TimedSegment(
                    start=changes.pop("start", FIRST),
                    end=changes.pop("end", FIRST + 3600),
                    steps=(
                        Step(
                            price=changes.pop("price", 4_000_000),
                            chips=changes.pop("chips", 8),
                        ),
                    ),
                ),
            ),
        )
        return self._order("lab", "bid-1", terms, changes)

    def gang(self, **changes: Any) -> c.SubmitOrder:
        """Eight chips for an hour, from the first hour on."""
        start = changes.pop("start", FIRST)
        values: dict[str, Any] = {
            "earliest_start": start,
            "latest_start": start,
            "duration_s": 3600,
            "chips": 8,
            "limit_price": 4_000_000,
            "min_fill_ppm": 1_000_000,
        }
        ties = ("exclusive_group", "parent_order_id", "initial_pool_id", "restart_cost")
        values |= {
            name: changes.pop(name) for name in (*values, "profile", *ties) if name in changes
        }
        conditions = c.BidConditions(
            where=changes.pop("where", Eligibility(chip_classes=(H100,))),
            service_class=ServiceClass.FIRM,
            cover=changes.pop("cover", Cover.NODE),
        )
        terms = c.BlockBidTerms(conditions=conditions, **values)
        return self._order("lab", "gang-1", terms, changes)

    def work(self, **changes: Any) -> c.SubmitOrder:
        """Sixteen chip-hours in the four hours of the auction, eight chips at a time."""
        values: dict[str, Any] = {
            "start": FIRST,
            "deadline": FIRST + 4 * 3600,
            "work": 16 * 3600,
            "max_chips": 8,
            "limit_price": 3_000_000,
        }
        for name in tuple(values):
            values[name] = changes.pop(name, values[name])
        conditions = c.BidConditions(
            where=changes.pop("where", Eligibility(chip_classes=(H100,))),
            service_class=ServiceClass.INTERRUPTIBLE,
            cover=Cover.NONE,
            notice_s=Seconds(300),
        )
        terms = c.WorkBidTerms(conditions=conditions, **values)
        return self._order("lab", "work-1", terms, changes)

    def cancel(self, order_id: str, who: str = "lab") -> c.CancelOrder:
        return c.CancelOrder(header=self.header(who), order_id=order_id)

    def two_sites(self) -> None:
        """A second site with a pool like the first one's, and an auction over both."""
        self.must(self.site(site_id="no-1", region="eu-north", country="NO"))
        self.must(self.pool(pool_id="no-1-h100", site_id="no-1"))
        self.must(self.auction(auction_id="both"))

    def _order(
        self, who: str, order_id: str, terms: c.OrderTerms, changes: dict[str, Any]
    ) -> c.SubmitOrder:
        values: dict[str, Any] = {
            "header": self.header(who),
            "order_id": order_id,
            "auction_id": "da-1",
            "participant_id": who,
            "revision": 1,
            "terms": terms,
        }
        return c.SubmitOrder(**{**values, **changes})

    def entitlement(self, **changes: Any) -> c.RegisterEntitlement:
        values: dict[str, Any] = {
            "header": self.header("lab"),
            "entitlement_id": "ent-1",
            "holder_id": "lab",
            "supplier_id": "acme",
            "pool_id": "tx-1-h100",
            "period": span(FIRST, FIRST + 4 * 3600),
            "chips": 16,
            "contract_price": 1_500_000,
            "cover": Cover.NODE,
        }
        return c.RegisterEntitlement(**{**values, **changes})


def registered() -> World:
    """Operator, one supplier with a pool, one lab with a deposit, an open auction."""
    world = World()
    world.must(world.participant("operator", c.Role.OPERATOR))
    world.must(
        c.PublishChipTable(
            header=world.header("operator"),
            version=read_default().version,
            document=read_default_bytes(),
        )
    )
    world.must(world.participant("acme", c.Role.SUPPLIER))
    world.must(world.participant("lab", c.Role.BUYER))
    world.must(world.participant("town", c.Role.COMMUNITY))
    world.must(world.site())
    world.must(world.pool())
    world.must(
        c.RegisterMeter(
            header=world.header("operator"),
            meter_id="meter-1",
            pool_id="tx-1-h100",
            public_key=hashlib.sha256(b"meter").digest(),
        )
    )
    world.must(world.deposit("lab", 1_000))
    world.must(world.deposit("acme", 1_000))
    world.must(world.auction())
    return world


def run_until_first_hour(world: World, chips: int) -> None:
    """An auction for the hour before gives the lab some chips, and is published."""
    name, early = "before", {"start": FIRST - 3600, "end": FIRST}
    world.must(world.auction(auction_id=name, first_interval_start=FIRST - 3600, interval_count=1))
    world.must(world.offer(auction_id=name, order_id="supply", chips=chips, **early))
    world.must(world.bid(auction_id=name, order_id="first", chips=chips, **early))
    auction = world.state.auctions[name]
    world.now = GATE
    count, root = book_root(world.state, auction)
    exchange = world.header("exchange")
    world.must(
        c.CloseAuction(
            header=exchange,
            auction_id=name,
            order_count=count,
            book_root=root,
            book_commitment="00" * 32,
        )
    )
    book = auction.book
    assert book is not None
    found = replace(
        outcome(
            book,
            (pool_price("tx-1-h100", 0, energy=2_000_000),),
            (award(book, "first", "tx-1-h100", chips), award(book, "supply", "tx-1-h100", chips)),
        ),
        book_sha256=codec.digest(book),
    )
    settled = assigned(book, found)
    holds = {key: world.state.orders[key].hold for key in ("first", "supply")}
    postings = award_postings(settled, {key: hold for key, hold in holds.items() if hold})
    documents = [codec.encode(value) for value in (book, found, settled, postings)]
    digests = [hashlib.sha256(body) for body in documents]
    result = c.PublishResult(
        header=exchange,
        auction_id=name,
        book_sha256=digests[0].hexdigest(),
        book_salt="00" * 32,
        outcome_sha256=digests[1].hexdigest(),
        assignment_sha256=digests[2].hexdigest(),
        postings_sha256=digests[3].hexdigest(),
    )
    bodies = {item.digest(): body for item, body in zip(digests, documents, strict=True)}
    assert isinstance(world.apply(result, bodies), Accepted)
    assert running(world.state, "lab", "tx-1-h100", FIRST - 1) == 0, "not published yet"
    world.must(
        c.PublishPrices(
            header=exchange, auction_id=name, prices_sha256="00" * 32, certified_gap_ppb=0
        )
    )
