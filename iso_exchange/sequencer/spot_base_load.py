"""Base load in a run: nominated in full unless its holder released some of it (rule 8).

What is released is a recallable offer of the holder. A nomination that rises again is served
at once as far as nothing is bound to the released chips, and from the end of what is bound
otherwise. A grant is the other way round: what its beneficiary does not nominate is released,
and who gives it earns on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearing.types import Interval, Nomination, Offer, Segment, Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange.commands import RegisterEntitlement
from iso_exchange.sequencer.base_load import usable_cover
from iso_exchange.sequencer.capacity import carried_by_auctions, meets_any
from iso_exchange.sequencer.spot_curves import joined, without
from iso_exchange.sequencer.spot_market import RELEASE_PREFIX, SpotMarket
from iso_exchange.sequencer.state import NominationRecord, State

STANDING_PREFIX = "standing:"
RELEASE_PRICE = MicroUsdPerChipHour(0)


def base_load_in_run(
    state: State, market: SpotMarket, first: int
) -> tuple[tuple[Nomination, ...], tuple[Offer, ...], list[tuple[int, bytes]]]:
    """Base load of a run, what is released of it, and the log entries that say so.

    Args:
        state: At the gate.
        market: The market.
        first: Interval number of the run's interval 0.
    """
    window = Interval(
        start=market.interval(first).start,
        end=UnixSeconds((first + market.opened.look_ahead) * market.seconds),
    )
    pools = frozenset(market.pool_ids)
    carried = carried_by_auctions(state, window)
    nominations: list[Nomination] = []
    released: list[Offer] = []
    entries: list[tuple[int, bytes]] = []
    for entitlement in state.entitlements.values():
        period = entitlement.period
        met = period.start < window.end and window.start < period.end
        if entitlement.pool_id not in pools or not met:
            continue
        name = entitlement.entitlement_id
        record = state.nominations.get(f"{market.opened.market_id}/{name}")
        grant = state.grants.get(name)
        unsaid = 0 if grant else int(entitlement.chips)
        used, free = _split(market, entitlement, record, first, carried.get(name, []), unsaid)
        curves = tuple(_curve(record, first + place, left) for place, left in enumerate(free))
        if record is not None and any(used):
            entries.append((record.entry_index, record.leaf_hash))
        order_id = record.nomination.order_id if record else f"{STANDING_PREFIX}{name}"
        if any(used):
            nominations.append(_nomination(entitlement, order_id, used, pools))
        if any(curves):
            owner_id = grant.supplier_id if grant else entitlement.holder_id
            released.append(_release(entitlement, owner_id, curves))
    return tuple(nominations), tuple(released), entries


def nominated_at(segments: tuple[Segment, ...], number: int, full: int) -> int:
    """Chips that a spot nomination asks for in an interval.

    Between its first and last segment, what they leave out is released.

    Args:
        full: What is nominated outside of them: the whole entitlement, nothing of a grant.
    """
    if not segments[0].first <= number < segments[-1].stop:
        return full
    for segment in segments:
        if segment.first <= number < segment.stop:
            return segment.steps[0].chips
    return 0


def steps_at(segments: tuple[Segment, ...], number: int) -> tuple[Step, ...]:
    """Steps of an interval, none outside of the segments."""
    for segment in segments:
        if segment.first <= number < segment.stop:
            return segment.steps
    return ()


def released_at(segments: tuple[Segment, ...], number: int) -> int:
    """Chips that are released in an interval."""
    return sum(step.chips for step in steps_at(segments, number))


def _curve(record: NominationRecord | None, number: int, free: int) -> tuple[Step, ...]:
    """What is offered of released chips: what is sold already was the cheapest of them."""
    if not free:
        return ()
    if record is None or not record.released:
        return (Step(price=RELEASE_PRICE, chips=Chips(free)),)
    steps = tuple(sorted(steps_at(record.released, number), key=lambda step: step.price))
    return without(steps, sum(step.chips for step in steps) - free)


def _split(
    market: SpotMarket,
    entitlement: RegisterEntitlement,
    record: NominationRecord | None,
    first: int,
    elsewhere: list[Interval],
    unsaid: int,
) -> tuple[list[int], list[int]]:
    """Chips of an entitlement that its holder uses, and that it releases, per interval.

    Args:
        unsaid: Chips that are nominated where the holder said nothing.
    """
    released = f"{RELEASE_PREFIX}{entitlement.entitlement_id}"
    owed = market.supplied.get(entitlement.pool_id, {}).get(released, {})
    used: list[int] = []
    free: list[int] = []
    for number in range(first, first + market.opened.look_ahead):
        interval, period = market.interval(number), entitlement.period
        inside = period.start <= interval.start and interval.end <= period.end
        full, wanted = int(entitlement.chips), unsaid
        if not inside or meets_any(interval, elsewhere):
            full = wanted = 0
        elif record is not None and record.released:
            wanted = full - released_at(record.released, number)
        elif record is not None:
            wanted = nominated_at(record.nomination.segments, number, unsaid)
        bound = owed.get(number, 0)
        used.append(max(0, min(wanted, full - bound)))
        free.append(max(0, full - wanted - bound))
    return used, free


def _nomination(
    entitlement: RegisterEntitlement, order_id: str, used: list[int], pools: frozenset[str]
) -> Nomination:
    cover, backups = usable_cover(pools, entitlement)
    return Nomination(
        order_id=order_id,
        entitlement_id=entitlement.entitlement_id,
        participant_id=entitlement.holder_id,
        pool_id=entitlement.pool_id,
        segments=_flat(used, entitlement.contract_price),
        cover=cover,
        backup_pool_ids=backups,
    )


def _release(
    entitlement: RegisterEntitlement, owner_id: str, curves: Iterable[tuple[Step, ...]]
) -> Offer:
    return Offer(
        order_id=f"{RELEASE_PREFIX}{entitlement.entitlement_id}",
        participant_id=owner_id,
        pool_id=entitlement.pool_id,
        segments=joined(curves),
        recallable=True,
    )


def _flat(chips: list[int], price: MicroUsdPerChipHour) -> tuple[Segment, ...]:
    """Segments of one step each from chips per interval."""
    return joined(
        (Step(price=price, chips=Chips(quantity)),) if quantity else () for quantity in chips
    )
