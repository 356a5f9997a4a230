"""Compute accounts: every FLOP-hour was delivered by one supplier to one buyer, once."""

from __future__ import annotations

from collections import defaultdict

from settlement.ledger import accounts
from settlement.postings.draft import Draft
from settlement.postings.parts import Part
from settlement.types import TransferCode


def post_compute(draft: Draft, part: Part) -> None:
    """Transfer a contract-hour's rated compute, each part from who served it to the buyer."""
    contract, read = part.contract, part.metered.delivered
    key = f"{contract.contract_id}/{read.interval.start}"
    others: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for item in read.served:
        if item.supplier_id != contract.supplier_id:
            others[item.supplier_id][0] += item.compute
            others[item.supplier_id][1] += item.quantity
    rest = read.compute - sum(compute for compute, _ in others.values())
    own = read.delivered - sum(quantity for _, quantity in others.values())
    for supplier_id, compute, quantity in (
        (contract.supplier_id, rest, own),
        *((name, amounts[0], amounts[1]) for name, amounts in sorted(others.items())),
    ):
        draft.post(
            f"compute/{key}" + ("" if supplier_id == contract.supplier_id else f"/{supplier_id}"),
            accounts.compute(supplier_id),
            accounts.compute(contract.buyer_id),
            compute,
            TransferCode.COMPUTE,
            asset=f"TFLOP:{contract.precision}",
            contract_id=contract.contract_id,
            start=read.interval.start,
            quantity=quantity,
        )
