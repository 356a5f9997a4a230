"""What each order is told: how much was accepted, why, and what would have changed it.

The facts (surplus, what a rejected block forwent, how far a limit missed) are those that
the published rules define, so they are read with the verifier's own definitions; this
module chooses words for them.
"""

from __future__ import annotations

from clearing.outcome import Fill, OrderOutcome, Reason
from clearing.types import Nomination, Offer
from clearing.units import (
    SECONDS_PER_HOUR,
    MicroUsdPerChipHour,
    PriceSeconds,
    divide_half_even,
    usd_text,
)
from clearing.verify_bound import Charges, charges_at_prices, cheapest
from clearing.verify_reasons import allowed_reasons, fill_of, foregone_of, shortfall_of
from clearing.verify_view import Bid, View


def explain(view: View) -> tuple[OrderOutcome, ...]:
    """One outcome per order of the book, sorted by order."""
    charges = charges_at_prices(view)
    foregone = foregone_of(view, charges)
    made_whole = {name for payment in view.outcome.make_whole for name in payment.order_ids}
    answers = []
    for name in view.order_ids():
        reasons = allowed_reasons(
            view, charges, name, made_whole=name in made_whole, foregone=name in foregone
        )
        answers.append(_answer(view, charges, name, min(reasons, key=_rank), foregone))
    return tuple(answers)


def _rank(reason: Reason) -> int:
    return list(Reason).index(reason)


def _answer(
    view: View, charges: Charges, name: str, reason: Reason, foregone: dict[str, int]
) -> OrderOutcome:
    order = view.offers.get(name) or view.nominations.get(name) or view.bids[name]
    draft = OrderOutcome(
        order_id=name,
        participant_id=order.participant_id,
        fill=fill_of(view, name),
        reason=reason,
        surplus=PriceSeconds(view.surplus_of[name]),
        shortfall=MicroUsdPerChipHour(0),
        foregone=PriceSeconds(foregone.get(name, 0)),
        detail="",
    )
    shortfall = shortfall_of(view, charges, draft)
    return OrderOutcome(
        order_id=name,
        participant_id=order.participant_id,
        fill=draft.fill,
        reason=reason,
        surplus=draft.surplus,
        shortfall=MicroUsdPerChipHour(shortfall),
        foregone=draft.foregone,
        detail=_detail(view, charges, draft, shortfall, order),
    )


def _detail(
    view: View,
    charges: Charges,
    answer: OrderOutcome,
    shortfall: int,
    order: Offer | Nomination | Bid,
) -> str:
    """One sentence for people."""
    match answer.reason:
        case Reason.OUT_OF_THE_MONEY:
            return _missed(view, charges, shortfall, order)
        case Reason.PARADOXICALLY_REJECTED:
            missed = usd_text(divide_half_even(answer.foregone, SECONDS_PER_HOUR), places=2)
            return (
                f"At the prices it would gain {missed} USD, but it is indivisible and accepting "
                "it would cost others more; a smaller minimum fill would have helped."
            )
        case Reason.MADE_WHOLE:
            loss = usd_text(divide_half_even(-answer.surplus, SECONDS_PER_HOUR), places=2)
            return f"Accepted; it loses {loss} USD at the prices, which is paid back."
        case Reason.NO_ELIGIBLE_POOL:
            return "No pool meets all its conditions; drop or widen one of them."
        case Reason.LARGER_THAN_ANY_POOL:
            return (
                "Its least quantity is more than any eligible pool offers throughout; a smaller "
                "quantity or minimum fill would have helped."
            )
        case Reason.AT_THE_PRICE:
            if answer.fill is Fill.FULL:
                return "Its limit equals the price; it was filled."
            return "Its limit equals the price; a better limit by one tick would have filled it."
        case Reason.IN_THE_MONEY:
            return "Its limit is better than the price; it was filled as far as it asked."
        case Reason.WHOLE_NODE:
            return "Nodes are sold whole: it is less than one node off what the price calls for."
        case Reason.COVER_SHORTAGE:
            return "Served in full, but the pool lacks spare nodes to cover all of it."
        case Reason.BASE_SERVED:
            return "Nominated base load, served in full."
        case Reason.BASE_SHORTFALL:
            return "Site power does not carry all nominated base load; the rest was curtailed."


def _missed(view: View, charges: Charges, shortfall: int, order: Offer | Nomination | Bid) -> str:
    gap = f"{usd_text(shortfall)} USD per chip-hour"
    if isinstance(order, Offer):
        return f"{gap} above what pool {order.pool_id} pays."
    if isinstance(order, Nomination):
        return "Nothing was nominated."
    table = charges.products[view.products[order.order_id]]
    pools = view.eligible(order.where)
    nearest = min(pools, key=lambda name: (min(table[name]), name))
    if not cheapest(view, charges, order):
        return f"{gap} below the price."
    return f"{gap} below the cheapest eligible pool, {nearest}."
