"""What nobody read: refunded to the buyer at contract price, without damages (SETTLEMENT R8)."""

from __future__ import annotations

from clearing.units import MicroUsdPerChipHour, energy_charge
from settlement.ledger import accounts
from settlement.postings import reasons, terms
from settlement.postings.draft import Draft
from settlement.postings.parts import Part
from settlement.types import TransferCode


def post_gap(draft: Draft, pot: str, part: Part) -> None:
    """Buyer's refund of what nobody read, and the excess to ``pool`` (R8)."""
    contract, hour, read = part.contract, part.hour, part.metered.delivered
    key = terms.hour_key(contract, hour)
    if not read.gap:
        return
    price = MicroUsdPerChipHour(max(0, hour.legs.contract))
    refund = energy_charge(price, read.gap)
    draft.post(
        f"gap-refund/{key}",
        pot,
        accounts.cash(contract.buyer_id),
        refund,
        TransferCode.GAP_REFUND,
        reason=reasons.METER_GAP,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=read.gap,
        price=price,
    )
    draft.post(
        f"gap-residual/{key}",
        pot,
        accounts.POOL,
        energy_charge(terms.gap_price(contract, hour), read.gap) - refund,
        TransferCode.RESIDUAL,
        reason=reasons.METER_GAP,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=read.gap,
    )
