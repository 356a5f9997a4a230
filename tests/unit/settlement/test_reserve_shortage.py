"""A block counted as reserve gets its availability even when cover money falls short."""

from __future__ import annotations

from clearing.types import Interval
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from settlement.assignment import IntervalPrice
from settlement.ledger import accounts
from settlement.postings.auction_layer import PoolHour, post_auction_layer
from settlement.postings.draft import Draft
from settlement.types import SpareHour, TransferCode

HOUR = Interval(start=UnixSeconds(0), end=UnixSeconds(3600))
AVAILABILITY = MicroUsdPerChipHour(300_000)


def settle(pool_balance: int) -> Draft:
    """Eight reserve chips at 0.30 with no covered load in the hour: 2.40 owed, nothing in."""
    reserve = SpareHour(
        auction_id="da",
        supplier_id="lab",
        order_id="gang",
        pool_id="p",
        site_id="s",
        interval=HOUR,
        chips=Chips(8),
        price=AVAILABILITY,
    )
    price = IntervalPrice(
        pool_id="p",
        interval=HOUR,
        energy=MicroUsdPerChipHour(2_000_000),
        power=MicroUsdPerChipHour(0),
        cover=MicroUsdPerChipHour(0),
        availability=AVAILABILITY,
        recall_discount=MicroUsdPerChipHour(0),
    )
    draft = Draft(pool_balance=pool_balance)
    post_auction_layer(
        draft,
        (
            PoolHour(
                auction_id="da",
                pool_id="p",
                site_id="s",
                interval=HOUR,
                price=price,
                contracts=(),
                spare=(),
                reserve=(reserve,),
                idle=(),
            ),
        ),
    )
    return draft


def paid(draft: Draft, account: str) -> int:
    return sum(item.amount for item in draft.transfers if item.credit == account)


def test_the_pool_pays_what_cover_money_lacks() -> None:
    draft = settle(pool_balance=6_000_000)
    assert paid(draft, accounts.cash("lab")) == 2_400_000
    assert draft.pool_balance == 3_600_000
    help_, availability = draft.transfers
    assert (help_.code, help_.debit) == (TransferCode.RESIDUAL, accounts.POOL)
    assert availability.code is TransferCode.AVAILABILITY


def test_an_empty_pool_is_never_overdrawn() -> None:
    draft = settle(pool_balance=1_000_000)
    assert paid(draft, accounts.cash("lab")) == 1_000_000
    assert draft.pool_balance == 0
