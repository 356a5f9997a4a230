"""Base-load commands: register an entitlement, nominate what will be used of it."""

from __future__ import annotations

from clearing.types import MAX_PRICE_MICRO_USD_PER_CHIP_HOUR, Cover, Nomination, Segment, Step
from iso_exchange.commands import Nominate, RegisterEntitlement, Role
from iso_exchange.sequencer.capacity import Taken, carried_elsewhere, meets_any
from iso_exchange.sequencer.effects import Accepted, Meta, active_participant, unknown_pool
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.spot_orders import numbered_segments, refuse_market
from iso_exchange.sequencer.state import Auction, AuctionState, NominationRecord, State
from iso_exchange.sequencer.strips import sells_strips
from iso_exchange.sequencer.windows import segments


def register_entitlement(
    state: State, command: RegisterEntitlement, meta: Meta
) -> Accepted | Rejected:
    """Set chips of a pool aside for a holder; holder and supplier both signed."""
    for participant_id, role in (
        (command.holder_id, Role.BUYER),
        (command.supplier_id, Role.SUPPLIER),
    ):
        participant = active_participant(state, participant_id, role)
        if isinstance(participant, Rejected):
            return participant
    record = state.pools.get(command.pool_id)
    if record is None:
        return Rejected(
            code=Code.UNKNOWN_POOL, field="pool_id", advice="list the pools", got=command.pool_id
        )
    if command.supplier_id not in record.supplier_ids:
        return Rejected(
            code=Code.NOT_OWNER,
            field="supplier_id",
            advice="the supplier is not registered for this pool",
            got=command.supplier_id,
        )
    if command.entitlement_id in state.entitlements:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="entitlement_id",
            advice="choose another identifier",
            got=command.entitlement_id,
        )
    if command.period.end <= command.period.start or command.period.start < meta.now:
        return Rejected(
            code=Code.WINDOW_IN_PAST,
            field="period",
            advice="the period starts in the future and ends after it starts",
            got=f"[{command.period.start}, {command.period.end})",
        )
    if not 0 <= command.contract_price <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR:
        return Rejected(
            code=Code.PRICE_OUTSIDE_LIMITS,
            field="contract_price_micro_usd_per_chip_hour",
            advice="from 0 to 1,000 US dollars per chip-hour",
            got=str(command.contract_price),
        )
    refused = _refuse_chips(state, command) or _refuse_backups(state, command)
    if refused:
        return refused
    state.entitlements[command.entitlement_id] = command
    return Accepted(owners=tuple(sorted({command.holder_id, command.supplier_id})))


def nominate(state: State, command: Nominate, meta: Meta) -> Accepted | Rejected:
    """Say what of an entitlement will be used; a later nomination replaces an earlier one."""
    entitlement = state.entitlements.get(command.entitlement_id)
    if entitlement is None:
        return Rejected(
            code=Code.NOT_FOUND,
            field="entitlement_id",
            advice="register the entitlement first",
            got=command.entitlement_id,
        )
    if entitlement.holder_id != command.header.signer_id:
        return Rejected(
            code=Code.NOT_OWNER, field="entitlement_id", advice="only its holder nominates"
        )
    market = state.markets.get(command.auction_id)
    if market is not None:
        return _nominate_in_spot(state, market, entitlement, command, meta)
    auction = state.auctions.get(command.auction_id)
    if auction is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="auction_id",
            advice="list the auctions",
            got=command.auction_id,
        )
    if auction.state is not AuctionState.OPEN or meta.now >= auction.created.close_time:
        return Rejected(
            code=Code.GATE_CLOSED,
            field="auction_id",
            advice="nominations are taken until gate closure",
            got=auction.state.value,
        )
    if sells_strips(auction):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="auction_id",
            advice="strips carry no base load: nominate day ahead, or in a spot market",
            got=command.auction_id,
        )
    curves = segments(auction.spec, command.segments, meta.now)
    if isinstance(curves, Rejected):
        return curves
    refused = (
        _refuse_identifier(state, auction, command)
        or _refuse_nomination(state, auction, entitlement, curves)
        or _refuse_named(state, auction, entitlement, command)
    )
    if refused:
        return refused
    name = f"{command.auction_id}/{command.entitlement_id}"
    replaced = state.nominations.get(name)
    if replaced is None:
        auction.nomination_ids.append(name)
    else:
        del auction.nominated[replaced.nomination.order_id]
    auction.nominated[command.nomination_id] = command.entitlement_id
    state.nominations[name] = NominationRecord(
        nomination=_nomination(auction, entitlement, command, curves),
        auction_id=command.auction_id,
        entry_index=meta.index,
        leaf_hash=meta.leaf_hash,
    )
    return Accepted(owners=tuple(sorted({entitlement.holder_id, entitlement.supplier_id})))


def _nominate_in_spot(
    state: State,
    market: SpotMarket,
    entitlement: RegisterEntitlement,
    command: Nominate,
    meta: Meta,
) -> Accepted | Rejected:
    """A standing nomination: what it leaves out between its first and last segment is released.

    Outside of them the entitlement is nominated in full. The next run is the first that sees it.
    """
    curves = numbered_segments(market, command.segments, meta.now)
    if isinstance(curves, Rejected):
        return curves
    refused = (
        refuse_market(market)
        or _refuse_spot_identifier(state, market, command)
        or _refuse_spot_curves(state, market, entitlement, curves)
    )
    if refused:
        return refused
    if command.backup_pool_ids:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="backup_pool_ids",
            advice="a run uses every backup pool of the entitlement: leave them out",
            got=",".join(command.backup_pool_ids),
        )
    name = f"{command.auction_id}/{command.entitlement_id}"
    replaced = state.nominations.get(name)
    if replaced is not None:
        del market.nominated[replaced.nomination.order_id]
    market.nominated[command.nomination_id] = command.entitlement_id
    cover, backups = usable_cover(frozenset(market.pool_ids), entitlement)
    state.nominations[name] = NominationRecord(
        nomination=Nomination(
            order_id=command.nomination_id,
            entitlement_id=entitlement.entitlement_id,
            participant_id=entitlement.holder_id,
            pool_id=entitlement.pool_id,
            segments=curves,
            cover=cover,
            backup_pool_ids=backups,
        ),
        auction_id=command.auction_id,
        entry_index=meta.index,
        leaf_hash=meta.leaf_hash,
    )
    return Accepted(owners=tuple(sorted({entitlement.holder_id, entitlement.supplier_id})))


def _refuse_spot_identifier(state: State, market: SpotMarket, command: Nominate) -> Rejected | None:
    holder = market.nominated.get(command.nomination_id, command.entitlement_id)
    if holder == command.entitlement_id and command.nomination_id not in state.orders:
        return None
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field="nomination_id",
        advice="an order or another nomination has this identifier",
        got=command.nomination_id,
    )


def _refuse_spot_curves(
    state: State,
    market: SpotMarket,
    entitlement: RegisterEntitlement,
    curves: tuple[Segment, ...],
) -> Rejected | None:
    if entitlement.pool_id not in market.pool_ids:
        return Rejected(
            code=Code.UNKNOWN_POOL,
            field="entitlement_id",
            advice="its pool was registered after this market was opened",
            got=entitlement.pool_id,
        )
    node = state.pools[entitlement.pool_id].pool.chips_per_node
    for curve in curves:
        chips = curve.steps[0].chips
        inside = (
            entitlement.period.start <= curve.first * market.seconds
            and curve.stop * market.seconds <= entitlement.period.end
        )
        if len(curve.steps) != 1 or not inside or not 0 < chips <= entitlement.chips:
            return Rejected(
                code=Code.QUANTITY_ABOVE_CAPACITY,
                field="segments",
                advice="one quantity per segment, inside the entitlement and its period",
                got=str(sum(step.chips for step in curve.steps)),
                limit=str(entitlement.chips),
            )
        if chips % node:
            return _refuse_nodes(chips, node)
    return None


def _refuse_nodes(chips: int, node: int) -> Rejected:
    return Rejected(
        code=Code.NOT_NODE_MULTIPLE,
        field="segments",
        advice="nominations are whole nodes",
        got=str(chips),
        limit=f"multiple of {node}",
    )


def _nomination(
    auction: Auction,
    entitlement: RegisterEntitlement,
    command: Nominate,
    curves: tuple[Segment, ...],
) -> Nomination:
    """What the book holds: the quantities that were named, at the registered price."""
    cover, backup_pool_ids = cover_of(auction, entitlement, command.backup_pool_ids)
    return Nomination(
        order_id=command.nomination_id,
        entitlement_id=entitlement.entitlement_id,
        participant_id=entitlement.holder_id,
        pool_id=entitlement.pool_id,
        segments=tuple(
            Segment(
                first=curve.first,
                stop=curve.stop,
                steps=(Step(price=entitlement.contract_price, chips=curve.steps[0].chips),),
            )
            for curve in curves
        ),
        cover=cover,
        backup_pool_ids=backup_pool_ids,
    )


def cover_of(
    auction: Auction, entitlement: RegisterEntitlement, named: tuple[str, ...] = ()
) -> tuple[Cover, tuple[str, ...]]:
    """Cover and backup pools of an entitlement's nomination in one auction.

    A backup pool that was registered after the auction was created has no part in it. Where
    none is left there is no cover: base load is served all the same.

    Args:
        auction: The auction.
        entitlement: The entitlement.
        named: Those of its backup pools that may be used; empty for all.
    """
    return usable_cover(frozenset(auction.pool_ids), entitlement, named)


def usable_cover(
    pools: frozenset[str], entitlement: RegisterEntitlement, named: tuple[str, ...] = ()
) -> tuple[Cover, tuple[str, ...]]:
    """Cover and backup pools of an entitlement over a grid of pools; see ``cover_of``."""
    usable = tuple(name for name in named or entitlement.backup_pool_ids if name in pools)
    if entitlement.cover is Cover.SITE and not usable:
        return Cover.NONE, ()
    return entitlement.cover, usable


def _refuse_backups(state: State, command: RegisterEntitlement) -> Rejected | None:
    if command.cover is not Cover.SITE:
        if not command.backup_pool_ids:
            return None
        return Rejected(
            code=Code.INVALID_VALUE,
            field="backup_pool_ids",
            advice="only SITE cover has backup pools: leave them out",
        )
    if not command.backup_pool_ids:
        return Rejected(
            code=Code.NO_COVER_POSSIBLE,
            field="backup_pool_ids",
            advice="name a pool of the same chip class and node size at another site",
        )
    pool = state.pools[command.pool_id].pool
    for name in command.backup_pool_ids:
        record = state.pools.get(name)
        if record is None:
            return Rejected(
                code=Code.UNKNOWN_POOL, field="backup_pool_ids", advice="list the pools", got=name
            )
        backup = record.pool
        alike = (backup.chip_class, backup.chips_per_node) == (pool.chip_class, pool.chips_per_node)
        if backup.site_id == pool.site_id or not alike:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="backup_pool_ids",
                advice="a backup is at another site, of the same chip class and node size",
                got=name,
            )
    return None


def _refuse_named(
    state: State, auction: Auction, entitlement: RegisterEntitlement, command: Nominate
) -> Rejected | None:
    """Backup pools that a nomination names are the entitlement's and take part in the auction."""
    for name in command.backup_pool_ids:
        if name not in entitlement.backup_pool_ids:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="backup_pool_ids",
                advice="name backup pools of the entitlement, or none for all of them",
                got=name,
                limit=",".join(entitlement.backup_pool_ids),
            )
        if name not in auction.pool_ids:
            return unknown_pool(state, "backup_pool_ids", name)
    return None


def _refuse_chips(state: State, command: RegisterEntitlement) -> Rejected | None:
    pool = state.pools[command.pool_id].pool
    if command.chips <= 0 or command.chips % pool.chips_per_node:
        return Rejected(
            code=Code.NOT_NODE_MULTIPLE,
            field="chips",
            advice="an entitlement is whole nodes, above zero",
            got=str(command.chips),
            limit=f"multiple of {pool.chips_per_node}",
        )
    taken = Taken(state, command.pool_id, command.period).most(command.period)
    if taken + command.chips > pool.capacity:
        # Without the sum: other suppliers' open offers are in it.
        return Rejected(
            code=Code.QUANTITY_ABOVE_CAPACITY,
            field="chips",
            advice="entitlements and offers of a pool must fit its capacity",
            got=str(command.chips),
            limit=f"{pool.capacity} less what is offered, sold and set aside",
        )
    return None


def _refuse_identifier(state: State, auction: Auction, command: Nominate) -> Rejected | None:
    """Orders and nominations of a book share one space of identifiers."""
    holder = auction.nominated.get(command.nomination_id, command.entitlement_id)
    order = state.orders.get(command.nomination_id)
    is_order = order is not None and order.submitted.auction_id == command.auction_id
    if holder == command.entitlement_id and not is_order:
        return None
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field="nomination_id",
        advice="an order or another nomination in this auction has this identifier",
        got=command.nomination_id,
    )


def _refuse_nomination(
    state: State, auction: Auction, entitlement: RegisterEntitlement, curves: tuple[Segment, ...]
) -> Rejected | None:
    if entitlement.pool_id not in auction.pool_ids:
        return Rejected(
            code=Code.UNKNOWN_POOL,
            field="entitlement_id",
            advice="its pool was registered after this auction was created",
            got=entitlement.pool_id,
        )
    node = state.pools[entitlement.pool_id].pool.chips_per_node
    carried = carried_elsewhere(state, auction).get(entitlement.entitlement_id, ())
    for curve in curves:
        if any(
            meets_any(interval, carried)
            for interval in auction.spec.intervals[curve.first : curve.stop]
        ):
            return Rejected(
                code=Code.QUANTITY_ABOVE_CAPACITY,
                field="segments",
                advice="another auction carries the entitlement in these hours",
                got=f"{curve.first}-{curve.stop}",
            )
        inside = (
            entitlement.period.start <= auction.spec.intervals[curve.first].start
            and auction.spec.intervals[curve.stop - 1].end <= entitlement.period.end
        )
        if len(curve.steps) != 1 or not inside or not 0 < curve.steps[0].chips <= entitlement.chips:
            return Rejected(
                code=Code.QUANTITY_ABOVE_CAPACITY,
                field="segments",
                advice="one quantity per segment, inside the entitlement and its period",
                got=str(sum(step.chips for step in curve.steps)),
                limit=str(entitlement.chips),
            )
        if curve.steps[0].chips % node:
            return _refuse_nodes(curve.steps[0].chips, node)
    return None
