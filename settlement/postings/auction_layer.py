"""The auction layer of one hour: award x auction price for everybody (SETTLEMENT R0, R1, R11).

Buyers' legs fill the hour's pot. Cover money goes on to the cover account of the pool whose
chips stand by: the own one for NODE cover, the backup's for SITE cover. A cover account
pays the discounts of its pool's interruptibles back into the pot and the spare chips'
earnings; power rent and suppliers are paid from the pot. Both accounts end at zero.

Where the two sides differ, because of whole-node rounding or free disposal:

- Too little cover money: spare chips share what is left after the discounts, which are
  inside a buyer's price and cannot shrink (SETTLEMENT D6). It is split over the two purposes
  by what they are due, then over holders; each pays its power first.
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
    energy_charge,
    split_largest_remainder,
)
from settlement.assignment import IntervalPrice
from settlement.ledger import accounts
from settlement.postings import reasons, terms
from settlement.postings.draft import Draft
from settlement.types import Contract, ContractHour, SpareHour, TransferCode


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHour:
    """What is settled in one pool and delivery interval; every tuple sorted by identifier.

    Attributes:
        spare: Chips that stand by in the pool, for either cover.
    """

    auction_id: str
    pool_id: str
    site_id: str
    interval: Interval
    price: IntervalPrice
    contracts: tuple[tuple[Contract, ContractHour], ...]
    spare: tuple[SpareHour, ...]
    reserve: tuple[SpareHour, ...]
    idle: tuple[SpareHour, ...]


def post_auction_layer(draft: Draft, hours: Sequence[PoolHour]) -> dict[str, dict[str, int]]:
    """Write the auction layer of pools that may hold each other's backups.

    Every cover account is full before it is emptied, so legs and cover money of all the
    pools come first.

    Args:
        draft: Written to.
        hours: Of one auction and delivery interval; the pool of every backup is among them.

    Returns:
        Per pool, micro-USD earned by each supplier (participant) in that hour: what
        SETTLEMENT R6 step 4 may fall back on.

    Raises:
        InvariantError: nothing stands by in a pool that is named as backup.
    """
    received = {hour.pool_id: _legs(draft, hour) for hour in hours}
    cover_money = dict.fromkeys(received, 0)
    for hour in hours:
        for backup, amount in _to_cover(draft, hour, received[hour.pool_id]).items():
            if backup not in cover_money:
                raise InvariantError(f"nothing stands by in {backup} for {hour.pool_id}")
            cover_money[backup] += amount
            received[hour.pool_id] -= amount
    for hour in hours:
        received[hour.pool_id] += _from_cover(draft, hour, cover_money[hour.pool_id])
    return {hour.pool_id: _from_pot(draft, hour, received[hour.pool_id]) for hour in hours}


def standby_transfer_id(held: SpareHour, *, reserve: bool) -> str:
    """Identifier of the payment for a spare hour, or for a reserve hour."""
    kind = "reserve" if reserve else _purpose("spare", site=held.site)
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
                terms.bill_account(contract),
                -amount,
                TransferCode.AUCTION_LEG,
                contract_id=contract.contract_id,
                start=hour.interval.start,
                quantity=terms.position(part),
                price=terms.leg_price(part.legs),
            )
        received -= _to_link(draft, hour, contract, part)
    return received


def _to_link(draft: Draft, hour: PoolHour, contract: Contract, part: ContractHour) -> int:
    """A link earns the spread between its ends, out of the leg of who is supplied over it."""
    if not contract.link_id:
        return 0
    amount = energy_charge(part.legs.link, terms.position(part))
    draft.post(
        f"link/{terms.hour_key(contract, part)}",
        accounts.pot(hour.auction_id, hour.interval.start),
        accounts.link(contract.link_id),
        amount,
        TransferCode.LINK_RENT,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=terms.position(part),
        price=part.legs.link,
    )
    return amount


def _to_cover(draft: Draft, hour: PoolHour, received: int) -> dict[str, int]:
    """Cover money of the covered load, pot to cover; rounding asks for no more than came in.

    Returns:
        What went to the cover account of each pool.
    """
    charged: dict[str, list[tuple[int, int]]] = {"": []}
    for contract, part in hour.contracts:
        entry = (terms.position(part), part.legs.cover)
        charged.setdefault(contract.backup_pool_id, []).append(entry)
    moved = {}
    for backup, parts in sorted(charged.items()):
        pool_id = backup or hour.pool_id
        amount = min(_rounded(sum(quantity * price for quantity, price in parts)), max(0, received))
        received -= amount
        draft.post(
            f"cover/{_key(hour)}/{backup}" if backup else f"cover/{_key(hour)}",
            accounts.pot(hour.auction_id, hour.interval.start),
            accounts.cover(hour.auction_id, pool_id, hour.interval.start),
            amount,
            TransferCode.COVER,
            start=hour.interval.start,
            quantity=sum(quantity for quantity, price in parts if price),
            price=hour.price.backup(backup) if backup else hour.price.cover,
        )
        moved[pool_id] = amount
    return moved


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
    total = min(left, owed)
    _share(draft, hour, TransferCode.AVAILABILITY, hour.reserve, money=total)
    left -= total
    left -= _to_spare(draft, hour, left)
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


def _to_spare(draft: Draft, hour: PoolHour, money: int) -> int:
    """Pay the chips that stand by up to their price, or let them share what there is.

    They draw power like busy ones: the site's rent comes out of their money first.

    Returns:
        What was paid.
    """
    start = hour.interval.start
    kinds = [tuple(item for item in hour.spare if item.site is site) for site in (False, True)]
    quantities = [sum(map(_quantity, holders)) for holders in kinds]
    rents = [_rounded(hour.price.power * quantity) for quantity in quantities]
    dues = [
        rent + _rounded(sum(max(0, item.price) * _quantity(item) for item in holders))
        for rent, holders in zip(rents, kinds, strict=True)
    ]
    total = min(money, sum(dues))
    parts = split_largest_remainder(total, dues, ("0", "1"))
    for site, holders, quantity, part, due in zip(
        (False, True), kinds, quantities, parts, rents, strict=True
    ):
        rent = min(part, due)
        draft.post(
            f"{_purpose('spare', site=site)}-power/{_key(hour)}",
            accounts.cover(hour.auction_id, hour.pool_id, start),
            accounts.rent(hour.site_id),
            rent,
            TransferCode.POWER_RENT,
            start=start,
            quantity=quantity,
            price=hour.price.power,
        )
        _share(draft, hour, TransferCode.SPARE, holders, money=part - rent)
    return total


def _share(
    draft: Draft,
    hour: PoolHour,
    code: TransferCode,
    holders: Sequence[SpareHour],
    *,
    money: int,
) -> None:
    """Split money from the cover account over holders, by what they are due."""
    start = hour.interval.start
    quantities = [_quantity(holder) for holder in holders]
    weights = [max(0, item.price) * q for item, q in zip(holders, quantities, strict=True)]
    keys = [item.order_id for item in holders]
    for item, quantity, part in zip(
        holders, quantities, split_largest_remainder(money, weights, keys), strict=True
    ):
        draft.post(
            standby_transfer_id(item, reserve=code is not TransferCode.SPARE),
            accounts.cover(hour.auction_id, hour.pool_id, start),
            accounts.cash(item.supplier_id),
            part,
            code,
            start=start,
            quantity=quantity,
            price=item.price,
        )


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


def _purpose(noun: str, *, site: bool) -> str:
    """What is held for SITE cover is named apart: an offer may hold both in one hour."""
    return f"site-{noun}" if site else noun


def _quantity(item: SpareHour) -> int:
    return chip_seconds(item.chips, item.interval.duration_s)


def _rounded(price_seconds: int) -> int:
    return divide_half_even(price_seconds, SECONDS_PER_HOUR)
