"""Base load that its holder gives up in a spot market, and takes back.

A release stands until it is replaced, by another one or by a nomination of the same entitlement.
Runs offer its curves to interruptible work (``spot_base_load``); everything else of the entitlement
is nominated. A recall makes the release smaller, from its dearest step on.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearing.types import MAX_PRICE_MICRO_USD_PER_CHIP_HOUR, Nomination, Segment, Step
from clearing.units import Chips
from iso_exchange.commands import Recall, RegisterEntitlement, Release
from iso_exchange.sequencer.base_load import usable_cover
from iso_exchange.sequencer.effects import Accepted, Meta, unknown_pool
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_base_load import released_at, steps_at
from iso_exchange.sequencer.spot_curves import joined, without
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.spot_orders import numbered_segments, refuse_market
from iso_exchange.sequencer.state import NominationRecord, ReleaseRecord, State


def release(state: State, command: Release, meta: Meta) -> Accepted | Rejected:
    """Give up a part of an entitlement in a market; a later release or nomination replaces it."""
    entitlement = _own(state, command.entitlement_id, command.header.signer_id)
    if isinstance(entitlement, Rejected):
        return entitlement
    market = state.markets.get(command.auction_id)
    if market is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="auction_id",
            advice="base load is released in spot markets: name one",
            got=command.auction_id,
        )
    curves = numbered_segments(market, command.segments, meta.now)
    if isinstance(curves, Rejected):
        return curves
    refused = (
        refuse_market(market)
        or _refuse_identifier(state, command.release_id)
        or _refuse_curves(state, market, entitlement, curves)
    )
    if refused:
        return refused
    name = f"{command.auction_id}/{command.entitlement_id}"
    replaced = state.nominations.get(name)
    if replaced is not None:
        del market.nominated[replaced.nomination.order_id]
    market.nominated[command.release_id] = command.entitlement_id
    state.releases[command.release_id] = ReleaseRecord(
        market_id=command.auction_id, entitlement_id=command.entitlement_id
    )
    _keep(state, command.release_id, curves, meta)
    return Accepted(owners=tuple(sorted({entitlement.holder_id, entitlement.supplier_id})))


def recall(state: State, command: Recall, meta: Meta) -> Accepted | Rejected:
    """Take released chips back, after the notice that whoever works on them may need."""
    found = state.releases.get(command.release_id)
    if found is None:
        return Rejected(
            code=Code.NOT_FOUND,
            field="release_id",
            advice="name a release of your own",
            got=command.release_id,
        )
    entitlement = _own(state, found.entitlement_id, command.header.signer_id)
    if isinstance(entitlement, Rejected):
        return entitlement
    market = state.markets[found.market_id]
    record = state.nominations[f"{found.market_id}/{found.entitlement_id}"]
    if record.nomination.order_id != command.release_id:
        return Rejected(
            code=Code.WRONG_STATE,
            field="release_id",
            advice="it was replaced: recall from the release, or change the nomination, in force",
            got=command.release_id,
            limit=record.nomination.order_id,
        )
    taken = numbered_segments(market, command.segments, meta.now)
    if isinstance(taken, Rejected):
        return taken
    refused = refuse_market(market, halted_ok=True) or _refuse_recall(
        state, market, record, taken, meta
    )
    if refused:
        return refused
    _keep(state, command.release_id, _less(record.released, taken), meta)
    return Accepted(owners=tuple(sorted({entitlement.holder_id, entitlement.supplier_id})))


def _keep(state: State, release_id: str, curves: tuple[Segment, ...], meta: Meta) -> None:
    """What the holder releases from now on; all the rest is nominated."""
    found = state.releases[release_id]
    entitlement = state.entitlements[found.entitlement_id]
    market = state.markets[found.market_id]
    cover, backups = usable_cover(frozenset(market.pool_ids), entitlement)
    step = Step(price=entitlement.contract_price, chips=entitlement.chips)
    length = market.seconds
    period = entitlement.period
    state.nominations[f"{found.market_id}/{found.entitlement_id}"] = NominationRecord(
        nomination=Nomination(
            order_id=release_id,
            entitlement_id=entitlement.entitlement_id,
            participant_id=entitlement.holder_id,
            pool_id=entitlement.pool_id,
            segments=(
                Segment(
                    first=period.start // length,
                    stop=max(period.start // length + 1, period.end // length),
                    steps=(step,),
                ),
            ),
            cover=cover,
            backup_pool_ids=backups,
        ),
        auction_id=found.market_id,
        entry_index=meta.index,
        leaf_hash=meta.leaf_hash,
        released=curves,
    )


def _own(state: State, entitlement_id: str, signer_id: str) -> RegisterEntitlement | Rejected:
    entitlement = state.entitlements.get(entitlement_id)
    if entitlement is None:
        return Rejected(
            code=Code.NOT_FOUND,
            field="entitlement_id",
            advice="register the entitlement first",
            got=entitlement_id,
        )
    if entitlement.holder_id != signer_id:
        return Rejected(
            code=Code.NOT_OWNER,
            field="entitlement_id",
            advice="only its holder releases and recalls",
        )
    if entitlement_id in state.grants:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="entitlement_id",
            advice="what nobody nominates of a grant is its supplier's to sell: nominate instead",
            got=entitlement_id,
        )
    return entitlement


def _refuse_identifier(state: State, release_id: str) -> Rejected | None:
    """A recall names nothing but the release, so its identifier is used once."""
    named = any(release_id in market.nominated for market in state.markets.values())
    if not named and release_id not in state.releases and release_id not in state.orders:
        return None
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field="release_id",
        advice="an order, a nomination or another release has this identifier",
        got=release_id,
    )


def _refuse_curves(
    state: State,
    market: SpotMarket,
    entitlement: RegisterEntitlement,
    curves: tuple[Segment, ...],
) -> Rejected | None:
    if entitlement.pool_id not in market.pool_ids:
        return unknown_pool(state, "entitlement_id", entitlement.pool_id)
    node = state.pools[entitlement.pool_id].pool.chips_per_node
    period, spec = entitlement.period, market.opened
    for curve in curves:
        inside = (
            period.start <= curve.first * market.seconds
            and curve.stop * market.seconds <= period.end
        )
        chips = sum(step.chips for step in curve.steps)
        if not inside or chips > entitlement.chips:
            return _refuse_quantity(chips, entitlement.chips)
        for step in curve.steps:
            if step.chips <= 0 or step.chips % node:
                return Rejected(
                    code=Code.NOT_NODE_MULTIPLE,
                    field="segments",
                    advice="releases are whole nodes, above zero",
                    got=str(step.chips),
                    limit=f"multiple of {node}",
                )
            if not 0 <= step.price <= min(spec.price_cap, MAX_PRICE_MICRO_USD_PER_CHIP_HOUR):
                return Rejected(
                    code=Code.PRICE_OUTSIDE_LIMITS,
                    field="segments",
                    advice="choose a price from zero to the market's cap",
                    got=str(step.price),
                    limit=f"0 to {spec.price_cap}",
                )
            if step.price % spec.tick:
                return Rejected(
                    code=Code.PRICE_NOT_ON_TICK,
                    field="segments",
                    advice=f"prices are multiples of {spec.tick} micro-USD",
                    got=str(step.price),
                )
    return None


def _refuse_recall(
    state: State,
    market: SpotMarket,
    record: NominationRecord,
    taken: tuple[Segment, ...],
    meta: Meta,
) -> Rejected | None:
    earliest = meta.now + market.opened.tariff.site_cover_notice_s
    node = state.pools[record.nomination.pool_id].pool.chips_per_node
    for segment in taken:
        (step,) = segment.steps
        if segment.first * market.seconds < earliest:
            return Rejected(
                code=Code.WINDOW_IN_PAST,
                field="segments",
                advice="chips come back after the recall time of the tariff at the earliest",
                got=str(segment.first * market.seconds),
                limit=str(earliest),
            )
        least = min(released_at(record.released, n) for n in range(segment.first, segment.stop))
        if step.chips > least:
            return _refuse_quantity(step.chips, least)
        if step.chips % node:
            return Rejected(
                code=Code.NOT_NODE_MULTIPLE,
                field="segments",
                advice="recalls are whole nodes",
                got=str(step.chips),
                limit=f"multiple of {node}",
            )
    return None


def _refuse_quantity(chips: int, limit: int) -> Rejected:
    return Rejected(
        code=Code.QUANTITY_ABOVE_CAPACITY,
        field="segments",
        advice="stay inside what there is to give or to take back, and inside its period",
        got=str(chips),
        limit=str(limit),
    )


def _less(released: tuple[Segment, ...], taken: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Curves less what is taken back: the dearest chips, which are the last to be sold."""
    first = min(segment.first for segment in released)
    stop = max(segment.stop for segment in released)
    curves = joined(_left(released, taken, range(first, stop)))
    return tuple(
        Segment(first=first + part.first, stop=first + part.stop, steps=part.steps)
        for part in curves
    )


def _left(
    released: tuple[Segment, ...], taken: tuple[Segment, ...], numbers: range
) -> Iterable[tuple[Step, ...]]:
    for number in numbers:
        dearest = sorted(steps_at(released, number), key=lambda step: -step.price)
        kept = without(tuple(dearest), Chips(released_at(taken, number)))
        yield tuple(sorted(kept, key=lambda step: step.price))
