"""A small auction, cleared and published, with everything the views are made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange import commands as c
from iso_exchange.auctioneer.work import Cleared, Job, work
from iso_exchange.publication import PricesDocument, prices_document
from iso_exchange.sequencer.auctions import book_root
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.state import Auction
from tests.unit.sequencer.world import FIRST, GATE, World, registered

NAME = "da-1"


@dataclass(frozen=True)
class Published:
    world: World
    closed: c.CloseAuction
    prices: c.PublishPrices
    document: PricesDocument

    @property
    def auction(self) -> Auction:
        return self.world.state.auctions[NAME]


def cleared() -> tuple[World, c.CloseAuction]:
    """Offer of 48, a firm bid of 8 for one hour, one of 16 below the ask, an entitlement of 16."""
    world = registered()
    world.must(world.entitlement())
    world.must(world.offer())
    world.must(world.bid())
    world.must(world.bid(order_id="bid-2", price=1_000_000, chips=16))
    world.must(world.bid(order_id="bid-3"))
    world.must(c.CancelOrder(header=world.header("lab"), order_id="bid-3"))
    auction = world.state.auctions[NAME]
    count, root = book_root(world.state, auction)
    world.now = GATE
    closed = c.CloseAuction(
        header=world.header("exchange"),
        auction_id=NAME,
        order_count=count,
        book_root=root,
        book_commitment="00" * 32,
    )
    world.must(closed)
    result = work(_job(world, auction))
    assert isinstance(result, Cleared), result
    bodies = (auction.written_book(), result.outcome, result.assignment, result.postings)
    book, outcome, assignment, postings = (hashlib.sha256(body) for body in bodies)
    accepted = world.apply(
        c.PublishResult(
            header=world.header("exchange"),
            auction_id=NAME,
            book_sha256=book.hexdigest(),
            book_salt="00" * 32,
            outcome_sha256=outcome.hexdigest(),
            assignment_sha256=assignment.hexdigest(),
            postings_sha256=postings.hexdigest(),
        ),
        {hashlib.sha256(body).digest(): body for body in bodies},
    )
    assert isinstance(accepted, Accepted), accepted
    return world, closed


def published() -> Published:
    """The same with its prices public."""
    world, closed = cleared()
    auction = world.state.auctions[NAME]
    assert auction.book is not None
    assert auction.outcome is not None
    document = prices_document(auction.book, auction.outcome)
    prices = c.PublishPrices(
        header=world.header("exchange"),
        auction_id=NAME,
        prices_sha256=codec.digest(document),
        certified_gap_ppb=auction.outcome.certificate.gap_ppb,
    )
    world.must(prices)
    return Published(world=world, closed=closed, prices=prices, document=document)


def hour(index: int) -> UnixSeconds:
    return UnixSeconds(FIRST + index * 3600)


def _job(world: World, auction: Auction) -> Job:
    assert auction.book is not None
    state = world.state
    return Job(
        book=auction.book,
        seed=b"seed",
        derates={name: record.derate_ppm for name, record in state.pools.items()},
        precisions={record.pool.chip_class: record.precision for record in state.pools.values()},
        nomination_suppliers={
            name: entitlement.supplier_id for name, entitlement in state.entitlements.items()
        },
        order_holds={
            name: hold
            for name in auction.order_ids
            if (hold := state.orders[name].hold) is not None
        },
    )
