"""The auction layer of one hour: award x auction price for everybody (SETTLEMENT R0, R1, R11).

Buyers' legs fill the hour's pot. Cover money goes on to the pool's cover account, which
pays the discounts of interruptibles back into the pot and the spare chips' earnings;
power rent and suppliers are paid from the pot. Both accounts end at zero.

Where the two sides differ, because of whole-node rounding or free disposal:

- Too little cover money: spare chips share what is left after the discounts, which are
  inside a buyer's price and cannot shrink (SETTLEMENT D6).
- Too little in the pot for the suppliers (discounts beyond the cover money; supply that
  was awarded at a price above zero but that no bid takes): ``pool`` gives what it has,
  then the pool's suppliers share what is there by largest remainder.
- Too much: ``pool`` receives it as a residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import (
    SECONDS_PER_HOUR,
    chip_seconds,
    divide_half_even,
    split_largest_remainder,
)
from settlement.assignment import IntervalPrice
from settlement.ledger import accounts
from settlement.postings import reasons, terms
from settlement.postings.draft import Draft
from settlement.types import Contract, ContractHour, SpareHour, TransferCode


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHour:
    """What is settled in one pool and delivery interval; every tuple sorted by identifier."""

    auction_id: str
    pool_id: str
    site_id: str
    interval: Interval
    price: IntervalPrice
    contracts: tuple[tuple[Contract, ContractHour], ...]
    spare: tuple[SpareHour, ...]
    reserve: tuple[SpareHour, ...]
    idle: tuple[SpareHour, ...]


def post_auction_layer(draft: Draft, hour: PoolHour) -> dict[str, int]:
    """Write one pool's auction layer.

    Returns:
        Micro-USD earned by each supplier (participant) in this pool and hour: what
        SETTLEMENT R6 step 4 may fall back on.
    """
    received = _legs(draft, hour)
    cover_money = _to_cover(draft, hour, received)
    received += _from_cover(draft, hour, cover_money) - cover_money
    return _from_pot(draft, hour, received)


def standby_transfer_id(held: SpareHour, *, reserve: bool) -> str:
    """Identifier of the payment for a spare hour, or for a reserve hour."""
    kind = "reserve" if reserve else "spare"
    return f"{kind}/{held.auction_id}/{held.pool_id}/{held.interval.start}/{held.order_id}"


def _legs(draft: Draft, hour: PoolHour) -> int:
    """Buyers' legs into the pot; a negative one is paid out of it."""
    received = 0
    pot = accounts.pot(hour.auction_id, hour.interval.start)
    for contract, part in hour.contracts:
        amount = terms.leg_amount(part)
        received += amount
        key = f"leg/{terms.hour_key(contract, part)}"
        if amount >= 0:
            draft.resolve(
                terms.leg_hold(contract, part),
                key,
                amount,
                TransferCode.AUCTION_LEG,
                quantity=terms.position(part),
                price=terms.leg_price(part.legs),
            )
        else:
            draft.post(
                key,
                pot,
                accounts.cash(contract.buyer_id),
                -amount,
                TransferCode.AUCTION_LEG,
                contract_id=contract.contract_id,
                start=hour.interval.start,
                quantity=terms.position(part),
                price=terms.leg_price(part.legs),
            )
    return received


def _to_cover(draft: Draft, hour: PoolHour, received: int) -> int:
    """Cover money of the covered load, pot to cover; rounding asks for no more than came in."""
    charged = [(terms.position(part), part.legs.cover) for _, part in hour.contracts]
    due = _rounded(sum(quantity * price for quantity, price in charged))
    amount = min(due, max(0, received))
    draft.post(
        f"cover/{_key(hour)}",
        accounts.pot(hour.auction_id, hour.interval.start),
        accounts.cover(hour.auction_id, hour.pool_id, hour.interval.start),
        amount,
        TransferCode.COVER,
        start=hour.interval.start,
        quantity=sum(quantity for quantity, price in charged if price),
        price=hour.price.cover,
    )
    return amount


def _from_cover(draft: Draft, hour: PoolHour, left: int) -> int:
    """Empty the cover account of what is left in it: discounts, reserve, spare, residual.

    Returns:
        What went back into the pot.
    """
    cover = accounts.cover(hour.auction_id, hour.pool_id, hour.interval.start)
    start = hour.interval.start
    discounts = [(terms.position(p), p.legs.discount) for _, p in hour.contracts]
    discount = min(left, _rounded(sum(quantity * price for quantity, price in discounts)))
    draft.post(
        f"availability/{_key(hour)}",
        cover,
        accounts.pot(hour.auction_id, start),
        discount,
        TransferCode.AVAILABILITY,
        start=start,
        quantity=sum(quantity for quantity, price in discounts if price),
    )
    left -= discount
    # A block's availability counts towards its limit, so it is owed like a discount; spare
    # shares what came in (R11). What whole-node rounding lacks was funded into ``pool``.
    owed = _rounded(sum(max(0, item.price) * _quantity(item) for item in hour.reserve))
    help_ = min(max(0, owed - left), draft.pool_balance)
    draft.post(
        f"cover-help/{_key(hour)}",
        accounts.POOL,
        cover,
        help_,
        TransferCode.RESIDUAL,
        reason=reasons.COVER_RESIDUAL,
        start=start,
    )
    left += help_
    left -= _share(draft, hour, TransferCode.AVAILABILITY, hour.reserve, money=left, power=0)
    power = hour.price.power
    left -= _share(draft, hour, TransferCode.SPARE, hour.spare, money=left, power=power)
    draft.post(
        f"cover-residual/{_key(hour)}",
        cover,
        accounts.POOL,
        left,
        TransferCode.RESIDUAL,
        reason=reasons.COVER_RESIDUAL,
        start=start,
    )
    return discount


def _share(
    draft: Draft,
    hour: PoolHour,
    code: TransferCode,
    holders: Sequence[SpareHour],
    *,
    money: int,
    power: int,
) -> int:
    """Pay holders up to their price, or let them share ``money`` if that is less.

    Spare chips draw power like busy ones: the site's rent comes out of their money first.

    Returns:
        What was paid.
    """
    start = hour.interval.start
    reserve = code is not TransferCode.SPARE
    cover = accounts.cover(hour.auction_id, hour.pool_id, start)
    quantities = [_quantity(holder) for holder in holders]
    weights = [max(0, item.price) * q for item, q in zip(holders, quantities, strict=True)]
    power_due = _rounded(power * sum(quantities))
    rent = min(money, power_due)
    draft.post(
        f"spare-power/{_key(hour)}",
        cover,
        accounts.rent(hour.site_id),
        rent,
        TransferCode.POWER_RENT,
        start=start,
        quantity=sum(quantities),
        price=power,
    )
    total = min(money - rent, _rounded(sum(weights)))
    keys = [item.order_id for item in holders]
    for item, quantity, part in zip(
        holders, quantities, split_largest_remainder(total, weights, keys), strict=True
    ):
        draft.post(
            standby_transfer_id(item, reserve=reserve),
            cover,
            accounts.cash(item.supplier_id),
            part,
            code,
            start=start,
            quantity=quantity,
            price=item.price,
        )
    return rent + total


def _from_pot(draft: Draft, hour: PoolHour, received: int) -> dict[str, int]:
    """Empty the pot: power rent, suppliers, residual. Returns suppliers' earnings."""
    pot = accounts.pot(hour.auction_id, hour.interval.start)
    start = hour.interval.start
    drawn = sum(terms.position(part) for _, part in hour.contracts)
    rent = _rounded(sum(terms.position(part) * part.legs.power for _, part in hour.contracts))
    claims = [
        (contract.supplier_id, contract.contract_id, terms.position(part), part.legs.energy)
        for contract, part in hour.contracts
    ] + [(item.supplier_id, item.order_id, _quantity(item), item.price) for item in hour.idle]
    weights = [quantity * price for _, _, quantity, price in claims]
    due = _rounded(sum(weights))
    lacking = max(0, due + rent - received)
    help_ = min(lacking, draft.pool_balance)
    if received + help_ < 0:
        raise InvariantError(f"{hour.pool_id} pays its buyers {-received} more than it collects")
    rent = min(rent, received + help_)
    draft.post(
        f"pot-help/{_key(hour)}",
        accounts.POOL,
        pot,
        help_,
        TransferCode.RESIDUAL,
        reason=reasons.POT_RESIDUAL,
        start=start,
    )
    draft.post(
        f"power/{_key(hour)}",
        pot,
        accounts.rent(hour.site_id),
        rent,
        TransferCode.POWER_RENT,
        start=start,
        quantity=drawn,
        price=hour.price.power,
    )
    money = received + help_ - rent
    paid = min(money, due)
    earned = _pay_suppliers(
        draft,
        hour,
        claims,
        split_largest_remainder(
            paid, weights, [f"{kind}/{index}" for index, (_, kind, _, _) in enumerate(claims)]
        ),
    )
    draft.post(
        f"pot-residual/{_key(hour)}",
        pot,
        accounts.POOL,
        money - paid,
        TransferCode.RESIDUAL,
        reason=reasons.POT_RESIDUAL,
        start=start,
    )
    return earned


def _pay_suppliers(
    draft: Draft,
    hour: PoolHour,
    claims: Sequence[tuple[str, str, int, int]],
    parts: Sequence[int],
) -> dict[str, int]:
    """One transfer per contract-hour or idle award."""
    earned: dict[str, int] = {}
    contracts = {contract.contract_id for contract, _ in hour.contracts}
    for (supplier_id, name, quantity, price), part in zip(claims, parts, strict=True):
        draft.post(
            f"supply/{name}/{hour.interval.start}"
            if name in contracts
            else f"supply/{_key(hour)}/{name}",
            accounts.pot(hour.auction_id, hour.interval.start),
            accounts.cash(supplier_id),
            part,
            TransferCode.SUPPLY,
            contract_id=name if name in contracts else "",
            start=hour.interval.start,
            quantity=quantity,
            price=price,
        )
        earned[supplier_id] = earned.get(supplier_id, 0) + part
    return earned


def _key(hour: PoolHour) -> str:
    return f"{hour.auction_id}/{hour.pool_id}/{hour.interval.start}"


def _quantity(item: SpareHour) -> int:
    return chip_seconds(item.chips, item.interval.duration_s)


def _rounded(price_seconds: int) -> int:
    return divide_half_even(price_seconds, SECONDS_PER_HOUR)
