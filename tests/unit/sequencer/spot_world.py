"""A spot market over the small registered world, and its runs without envelopes or I/O."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from clearing import codec
from clearing.types import Cover, Eligibility, PricingRule, ServiceClass, Step, Tariff
from clearing.units import MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.auctioneer.work import Cleared, Job, work
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.spot_binding import Stops
from iso_exchange.sequencer.spot_book import run_book
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.spot_parts import Parts
from iso_exchange.sequencer.state import Auction
from iso_exchange.signer import make_document, read_back, read_result, with_value
from tests.unit.sequencer.world import FIRST, World, registered

SPOT = "spot"
STEP = 300
POOL = "tx-1-h100"
BASE = b"\x07" * 32
CHAIN = 50
USD = 1_000_000


def seed(run: int) -> bytes:
    """Seed that the n-th run reveals, from 1."""
    value = BASE
    for _ in range(CHAIN - run):
        value = hashlib.sha256(value).digest()
    return value


def market_terms(world: World, **changes: Any) -> c.OpenSpotMarket:
    values: dict[str, Any] = {
        "header": world.header("operator"),
        "market_id": SPOT,
        "first_start": FIRST,
        "interval_seconds": STEP,
        "look_ahead": 12,
        "gate_lead_s": 2,
        "price_floor": 0,
        "price_cap": 100 * USD,
        "tick": 1_000,
        "operator_fee": 20_000,
        "pricing_rule": PricingRule.MAKE_WHOLE,
        "tie_credit": 0,
        "seed_anchor": hashlib.sha256(seed(1)).hexdigest(),
        "chain_length": CHAIN,
        "tariff": Tariff(),
    }
    return c.OpenSpotMarket(**{**values, **changes})


def opened(**changes: Any) -> World:
    world = registered()
    world.must(market_terms(world, **changes))
    return world


def market_of(world: World) -> SpotMarket:
    return world.state.markets[SPOT]


def offer(world: World, order_id: str = "supply", chips: int = 64, **changes: Any) -> None:
    """Chips at two dollars for a day."""
    world.must(
        world._order(
            "acme",
            order_id,
            c.OfferTerms(
                pool_id=changes.pop("pool_id", POOL),
                segments=(
                    c.TimedSegment(
                        start=UnixSeconds(changes.pop("start", FIRST)),
                        end=UnixSeconds(changes.pop("end", FIRST + 86_400)),
                        steps=(
                            Step(
                                price=MicroUsdPerChipHour(changes.pop("price", 2 * USD)),
                                chips=chips,  # type: ignore[arg-type]
                            ),
                        ),
                    ),
                ),
            ),
            {"auction_id": SPOT, **changes},
        )
    )


def conditions(notice_s: int | None, where: Eligibility | None) -> c.BidConditions:
    firm = notice_s is None
    return c.BidConditions(
        where=where or Eligibility(pool_ids=(POOL,)),
        service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        cover=Cover.NONE,
        notice_s=Seconds(notice_s or 0),
    )


def gang_terms(world: World, order_id: str, **changes: Any) -> c.SubmitOrder:
    """Chips for an hour from the first run on; interruptible with a notice of 300 s."""
    start = changes.pop("start", FIRST)
    terms = c.BlockBidTerms(
        conditions=conditions(changes.pop("notice_s", 300), changes.pop("where", None)),
        earliest_start=start,
        latest_start=changes.pop("latest", start + 3_600),
        duration_s=changes.pop("duration_s", 3_600),
        chips=changes.pop("chips", 16),
        limit_price=changes.pop("limit", 4 * USD),
        min_fill_ppm=changes.pop("min_fill_ppm", 1_000_000),
        restart_cost=changes.pop("restart_cost", 0),
    )
    return world._order("lab", order_id, terms, {"auction_id": SPOT, **changes})


def steps_terms(world: World, order_id: str, **changes: Any) -> c.SubmitOrder:
    """Divisible chips for a day; interruptible with a notice of 300 s."""
    terms = c.StepBidTerms(
        conditions=conditions(changes.pop("notice_s", 300), changes.pop("where", None)),
        segments=(
            c.TimedSegment(
                start=changes.pop("start", FIRST),
                end=changes.pop("end", FIRST + 86_400),
                steps=(Step(price=changes.pop("limit", 4 * USD), chips=changes.pop("chips", 16)),),
            ),
        ),
    )
    return world._order("lab", order_id, terms, {"auction_id": SPOT, **changes})


def close(world: World, start: int) -> Auction:
    """Gate and book root of a run."""
    world.now = start - 2
    exchange = world.header("exchange")
    world.must(c.CloseRun(header=exchange, market_id=SPOT, start=UnixSeconds(start)))
    run = world.state.runs[f"{SPOT}/{start}"]
    assert run.frozen is not None
    check_book(world, run)
    world.must(
        c.CloseAuction(
            header=exchange,
            auction_id=run.spec.auction_id,
            order_count=run.frozen[0],
            book_root=run.frozen[1],
            book_commitment="00" * 32,
        )
    )
    return run


def check_book(world: World, run: Auction) -> None:
    """What was remembered of earlier runs changes nothing: a book from scratch is the same."""
    market = dataclasses.replace(market_of(world), parts=Parts())
    again = run_book(world.state, market, run.spec.intervals[0].start)
    assert run.book == again.book
    assert run.gate is not None
    assert run.gate.standing == again.standing
    assert run.frozen == again.count_and_root()


def job_of(world: World, run: Auction) -> Job:
    """What the worker is given of a closed run."""
    state, market = world.state, market_of(world)
    assert run.book is not None
    return Job(
        book=run.book,
        seed=seed(market.revealed_count + 1),
        derates={name: record.derate_ppm for name, record in state.pools.items()},
        precisions={record.pool.chip_class: record.precision for record in state.pools.values()},
        nomination_suppliers={name: item.supplier_id for name, item in state.entitlements.items()},
        order_holds={},
        gate=run.gate,
    )


def publish(world: World, run: Auction, *, beside: bool = False) -> Cleared:
    """Clear a closed run, and publish what the worker says.

    Args:
        beside: The documents come with their values, as the auctioneer hands them in.
    """
    cleared = work(job_of(world, run))
    assert isinstance(cleared, Cleared), cleared
    documents = [
        run.written_book(),
        cleared.outcome,
        cleared.assignment,
        cleared.postings,
        cleared.stops,
    ]
    digests = [hashlib.sha256(body) for body in documents]
    exchange = world.header("exchange")
    result = world.apply(
        c.PublishResult(
            header=exchange,
            auction_id=run.spec.auction_id,
            book_sha256=digests[0].hexdigest(),
            book_salt="00" * 32,
            outcome_sha256=digests[1].hexdigest(),
            assignment_sha256=digests[2].hexdigest(),
            postings_sha256=digests[3].hexdigest(),
            stops_sha256=digests[4].hexdigest(),
        ),
        {digest.digest(): body for digest, body in zip(digests, documents, strict=True)},
        values_of(cleared) if beside else {},
    )
    assert isinstance(result, Accepted), result
    world.must(
        c.PublishPrices(
            header=exchange,
            auction_id=run.spec.auction_id,
            prices_sha256=hashlib.sha256(cleared.prices).hexdigest(),
            certified_gap_ppb=cleared.gap_ppb,
        )
    )
    assert codec.digest(run.book) == digests[0].hexdigest()
    return cleared


def values_of(cleared: Cleared) -> dict[bytes, object]:
    """What the auctioneer hands in beside a result's documents."""
    late = LateOutcome(book_sha256=cleared.book_sha256, seed=cleared.seed, body=cleared.outcome)
    written = (
        with_value(make_document("OUTCOME", cleared.outcome), late),
        *read_result(cleared.assignment, cleared.postings),
        read_back("STOPS", cleared.stops, Stops),
    )
    return {document.sha256: document.value for document in written}


def run_at(world: World, start: int) -> Auction:
    """A whole run."""
    run = close(world, start)
    publish(world, run)
    return run


def positions(world: World, order_id: str) -> dict[int, int]:
    """Chips that are bound, by intervals after the first run's first."""
    found: dict[int, int] = {}
    for places in market_of(world).bound.get(order_id, {}).values():
        for number, chips in places.items():
            place = number - FIRST // STEP
            found[place] = found.get(place, 0) + chips
    return dict(sorted(found.items()))
