"""Postings: what is transferred when orders are accepted, auctions published and hours closed."""

from settlement.postings.award import award_postings, award_postings_id
from settlement.postings.deposits import deposit, payable, payout
from settlement.postings.hour import (
    contract_hours,
    hour_postings,
    hour_postings_id,
    stand_in_prices,
)
from settlement.postings.orders import order_hold, order_hold_id, release_hold

__all__ = [
    "award_postings",
    "award_postings_id",
    "contract_hours",
    "deposit",
    "hour_postings",
    "hour_postings_id",
    "order_hold",
    "order_hold_id",
    "payable",
    "payout",
    "release_hold",
    "stand_in_prices",
]
