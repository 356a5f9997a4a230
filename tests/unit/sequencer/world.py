"""A small registered world for tests of the state machine: no envelopes, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clearing.types import (
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import MicroUsd, MicroUsdPerChipHour, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.reference import read_default, read_default_bytes
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State

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

    def header(self, signer: str) -> c.Header:
        self.requests += 1
        return c.Header(
            origin=ORIGIN,
            signer_id=signer,
            request_id=f"r{self.requests}",
            create_time=UnixSeconds(self.now),
        )

    def apply(
        self, command: c.Command, documents: Mapping[bytes, bytes] | None = None
    ) -> Accepted | Rejected:
        meta = Meta(
            time_us=self.now * 1_000_000,
            index=self.index,
            leaf_hash=hashlib.sha256(str(self.index).encode()).digest(),
            documents=documents or {},
        )
        result = apply(self.state, command, meta)
        if isinstance(result, Accepted):
            self.index += 1
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
                    start=UnixSeconds(FIRST),
                    end=UnixSeconds(FIRST + 4 * 3600),
                    steps=(
                        Step(price=MicroUsdPerChipHour(2_000_000), chips=changes.pop("chips", 48)),
                    ),
                ),
            ),
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
