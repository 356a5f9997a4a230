"""Auctions and their public results: states, totals, prices, curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from clearing.errors import InvariantError
from clearing.outcome import BackupPrice, Outcome, PoolPrice
from clearing.types import Interval
from clearing.units import PPM
from iso_exchange.api.v1 import auction_pb2, order_pb2, price_pb2
from iso_exchange.commands import CloseAuction, PublishPrices
from iso_exchange.convert import enums
from iso_exchange.convert.auctions import write_auction_spec
from iso_exchange.convert.fields import timestamp, timestamp_of_us
from iso_exchange.publication import Curve, CurvePoint, PricesDocument, Volume, volumes
from iso_exchange.sequencer.state import Auction, AuctionState

AUCTION_STATES: Final[dict[AuctionState, auction_pb2.AuctionState.ValueType]] = {
    AuctionState.OPEN: auction_pb2.AUCTION_STATE_OPEN,
    AuctionState.HALTED: auction_pb2.AUCTION_STATE_HALTED,
    AuctionState.CLOSED: auction_pb2.AUCTION_STATE_CLOSED,
    AuctionState.FAILED: auction_pb2.AUCTION_STATE_FAILED,
    AuctionState.CLEARED: auction_pb2.AUCTION_STATE_CLEARED,
    AuctionState.PUBLISHED: auction_pb2.AUCTION_STATE_PUBLISHED,
    AuctionState.SETTLED: auction_pb2.AUCTION_STATE_SETTLED,
}
"""SCHEDULED and CLEARING are stages that this exchange does not record."""

PUBLIC_STATES: Final = frozenset({AuctionState.PUBLISHED, AuctionState.SETTLED})


def is_published(auction: Auction) -> bool:
    """Whether everybody may see the auction's prices and each owner its outcome."""
    return auction.state in PUBLIC_STATES


def auction_view(
    auction: Auction,
    *,
    closed: CloseAuction | None = None,
    published: PublishPrices | None = None,
    publish_time_us: int | None = None,
    state_time_us: int | None = None,
    halt_reason: str = "",
    entry_index: int | None = None,
) -> auction_pb2.Auction:
    """An auction as it stands now; its result only once it is published.

    Args:
        auction: The auction.
        closed: Gate closure from the log, for the root of the order set.
        published: Publication from the log, for the digest of the prices document.
        publish_time_us: When that was accepted.
        state_time_us: When the auction entered its present state.
        halt_reason: Why it is halted.
        entry_index: Log entry of its spec.
    """
    reason = ""
    if auction.state is AuctionState.HALTED:
        reason = halt_reason
    elif auction.state is AuctionState.FAILED:
        reason = auction.failures[-1]
    view = auction_pb2.Auction(
        spec=write_auction_spec(auction.created),
        state=AUCTION_STATES[auction.state],
        state_time=None if state_time_us is None else timestamp_of_us(state_time_us),
        reason=reason,
        entry_index=entry_index,
        settled_interval_count=len(auction.settled),
        statement_count=len(auction.statements),
    )
    if is_published(auction):
        result = result_view(_outcome(auction), auction.certified_gap_ppb)
        if closed is not None:
            result.order_count = closed.order_count
            result.book_root = bytes.fromhex(closed.book_root)
        if published is not None:
            result.prices_sha256 = bytes.fromhex(published.prices_sha256)
        if publish_time_us is not None:
            result.publish_time.CopyFrom(timestamp_of_us(publish_time_us))
        view.result.CopyFrom(result)
    return view


def result_view(outcome: Outcome, certified_gap_ppb: int) -> auction_pb2.AuctionResult:
    """What everybody may see of a published outcome; all figures are sums over all orders."""
    certificate, cash = outcome.certificate, outcome.cash
    return auction_pb2.AuctionResult(
        order_count=len(outcome.orders),
        seed=bytes.fromhex(outcome.seed),
        certified_gap_ppb=certified_gap_ppb,
        welfare=str(certificate.welfare),
        welfare_bound=str(certificate.bound),
        lost_opportunity=str(certificate.lost_opportunity),
        gains=str(certificate.gains),
        restart_kept=str(certificate.restart_kept),
        totals=auction_pb2.AuctionTotals(
            buyers_micro_usd=cash.buyers,
            suppliers_micro_usd=cash.suppliers,
            spare_micro_usd=cash.spare,
            community_micro_usd=cash.community,
            operator_fee_micro_usd=cash.operator_fee,
            link_rent_micro_usd=cash.link_rent,
            power_rent_micro_usd=cash.power_rent,
            residual_micro_usd=cash.residual,
            make_whole_micro_usd=cash.make_whole,
        ),
        make_whole_count=len(outcome.make_whole),
        engine=outcome.engine,
        run_status=enums.RUN_STATUS.number(outcome.status),
    )


def auction_prices(auction: Auction) -> tuple[price_pb2.Price, ...]:
    """Prices and volumes of a published auction, by interval, then pool.

    Raises:
        InvariantError: the auction is not published.
    """
    outcome = _outcome(auction)
    if auction.book is None or not is_published(auction):
        raise InvariantError(f"prices of {auction.created.auction_id} are not public")
    return _prices(
        outcome.auction_id,
        auction.spec.intervals,
        outcome.prices,
        volumes(auction.book, outcome),
        outcome.backup_prices,
    )


def document_prices(document: PricesDocument) -> tuple[price_pb2.Price, ...]:
    """The same from the public prices document."""
    return _prices(
        document.auction_id,
        document.intervals,
        document.prices,
        document.volumes,
        document.backup_prices,
    )


def curve_views(document: PricesDocument) -> tuple[price_pb2.Curve, ...]:
    """Anonymised curves of the public prices document, ascending by interval."""
    return tuple(
        curve_view(document.auction_id, document.intervals[curve.interval], curve)
        for curve in document.curves
    )


def curve_view(auction_id: str, interval: Interval, curve: Curve) -> price_pb2.Curve:
    """Curves of one interval."""
    return price_pb2.Curve(
        auction_id=auction_id,
        start_time=timestamp(interval.start),
        end_time=timestamp(interval.end),
        supply_steps=_steps(curve.supply),
        demand_steps=_steps(curve.demand),
    )


def _prices(
    auction_id: str,
    intervals: tuple[Interval, ...],
    prices: Iterable[PoolPrice],
    sold: Iterable[Volume],
    backups: Iterable[BackupPrice],
) -> tuple[price_pb2.Price, ...]:
    by_place = {(volume.pool_id, volume.interval): volume for volume in sold}
    charged: dict[tuple[str, int], list[BackupPrice]] = defaultdict(list)
    for backup in sorted(backups, key=lambda backup: backup.site_id):
        charged[backup.pool_id, backup.interval].append(backup)
    return tuple(
        _price(
            auction_id,
            intervals[price.interval],
            price,
            by_place[price.pool_id, price.interval],
            charged.get((price.pool_id, price.interval), ()),
        )
        for price in sorted(prices, key=lambda price: (price.interval, price.pool_id))
    )


def _price(
    auction_id: str,
    interval: Interval,
    price: PoolPrice,
    volume: Volume,
    backups: Iterable[BackupPrice],
) -> price_pb2.Price:
    awarded = volume.firm + volume.interruptible + volume.base_load
    return price_pb2.Price(
        auction_id=auction_id,
        pool_id=price.pool_id,
        start_time=timestamp(interval.start),
        end_time=timestamp(interval.end),
        energy_micro_usd_per_chip_hour=price.energy,
        power_micro_usd_per_chip_hour=price.power,
        node_cover_micro_usd_per_chip_hour=price.node_cover,
        spare_micro_usd_per_chip_hour=price.spare,
        availability_micro_usd_per_chip_hour=price.availability,
        recall_discount_micro_usd_per_chip_hour=price.recall_discount,
        surcharge_micro_usd_per_chip_hour=price.surcharge,
        operator_fee_micro_usd_per_chip_hour=price.fee,
        firm_micro_usd_per_chip_hour=price.firm,
        firm_uncovered_micro_usd_per_chip_hour=price.firm_uncovered,
        interruptible_micro_usd_per_chip_hour=price.interruptible,
        interruptible_uncounted_micro_usd_per_chip_hour=price.interruptible_uncounted,
        indicative=price.indicative,
        low_micro_usd_per_chip_hour=price.low,
        high_micro_usd_per_chip_hour=price.high,
        firm_chip_count=volume.firm,
        interruptible_chip_count=volume.interruptible,
        base_load_chip_count=volume.base_load,
        supplied_chip_count=volume.supplied,
        spare_chip_count=volume.spare,
        utilization_ppm=awarded * PPM // volume.capacity if volume.capacity else 0,
        capacity_chip_count=volume.capacity,
        site_spare_micro_usd_per_chip_hour=price.site_spare,
        backups=[
            price_pb2.BackupPrice(
                site_id=backup.site_id, price_micro_usd_per_chip_hour=backup.price
            )
            for backup in backups
        ],
        site_spare_chip_count=volume.site_spare,
    )


def _steps(points: Iterable[CurvePoint]) -> list[order_pb2.Step]:
    return [
        order_pb2.Step(price_micro_usd_per_chip_hour=point.price, chip_count=point.chips)
        for point in points
    ]


def _outcome(auction: Auction) -> Outcome:
    if auction.outcome is None:
        raise InvariantError(f"{auction.created.auction_id} has no outcome")
    return auction.outcome
