"""Billing rows of one buyer after FOCUS 1.2, the FinOps Open Cost and Usage Specification.

One row per posted transfer of the buyer's cash account that is a charge or a refund of
something bought, so every cost is exact to the micro-dollar and the rows add up to what
moved the account. Deposits, payouts and what a buyer earns as a supplier are no charges.

There is no list price in an auction and nothing is amortised: billed, effective, contracted
and list cost are the same amount. Prices per chip-hour stand in ``x_UnitPrice``: times
``PricingQuantity`` they give the cost only before its one rounding, while FOCUS asks a
``ContractedUnitPrice`` to give it exactly.

Source: https://focus.finops.org/focus-specification/v1-2/ (columns, numeric, date-time and
unit formats, custom columns).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from clearing.types import Interval, ServiceClass
from clearing.units import SECONDS_PER_HOUR, MicroUsdPerChipHour, UnixSeconds
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import OPERATOR_ID, Extract, Movement, name_of, site_of
from settlement.exports.tables import Column, Kind, Table, Value
from settlement.exports.texts import chip_hours, decimal_text
from settlement.ledger import accounts
from settlement.types import USD, Contract, Phase, Transfer, TransferCode

VERSION: Final = "1.2"
SECONDS_PER_DAY: Final = 86_400

USAGE: Final = "Usage"
CREDIT: Final = "Credit"
ADJUSTMENT: Final = "Adjustment"

CATEGORIES: Final[dict[TransferCode, tuple[str, str, str]]] = {
    TransferCode.AUCTION_LEG: (USAGE, "Chip-hours awarded", "Compute"),
    TransferCode.SURCHARGE: (USAGE, "Chip-hours delivered", "Community surcharge"),
    TransferCode.FEE: (USAGE, "Chip-hours delivered", "Operator fee"),
    TransferCode.FAILURE_CREDIT: (CREDIT, "Chip-hours failed", "Credit for failed supply"),
    TransferCode.GAP_REFUND: (CREDIT, "Chip-hours unread", "Refund of a meter gap"),
    TransferCode.MAKE_WHOLE: (ADJUSTMENT, "", "Make-whole payment"),
    TransferCode.SPOT_PURCHASE: (USAGE, "Chip-hours bought at spot", "Compute at spot"),
    TransferCode.RECALL: (USAGE, "Chip-hours recalled", "Recalled base load"),
    TransferCode.RECLAIM: (CREDIT, "Chip-hours reclaimed", "Credit for reclaimed compute"),
    TransferCode.WITHDRAWAL: (CREDIT, "Chip-hours given back", "Compute sold back at spot"),
    TransferCode.CALL_FAILURE: (ADJUSTMENT, "", "Cover repaid"),
    TransferCode.REBATE: (ADJUSTMENT, "", "Rebate"),
}
"""Charge category, meter and name of what buyers are charged and credited for."""

BILLED_CODES: Final = frozenset(CATEGORIES)

DYNAMIC_CODES: Final = frozenset(
    {TransferCode.AUCTION_LEG, TransferCode.SPOT_PURCHASE, TransferCode.RECALL}
)
"""Priced by an auction; surcharge and fee are agreed before."""

MANDATORY: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
)
"""Columns that FOCUS 1.2 requires of every provider."""


def _column(name: str, kind: Kind, meaning: str) -> Column:
    return Column(name=name, kind=kind, meaning=meaning)


COLUMNS: Final = (
    _column("BilledCost", Kind.MICRO, "Amount of the transfer; negative when the buyer received."),
    _column("BillingAccountId", Kind.TEXT, "Participant id of the buyer."),
    _column("BillingAccountName", Kind.TEXT, "Its display name."),
    _column("BillingAccountType", Kind.TEXT, "`Participant`."),
    _column("BillingCurrency", Kind.TEXT, "`USD`."),
    _column("BillingPeriodEnd", Kind.TIME, "End of the delivery period (exclusive)."),
    _column("BillingPeriodStart", Kind.TIME, "Start of the auction's delivery period."),
    _column("ChargeCategory", Kind.TEXT, "`Usage`, `Credit` or `Adjustment`, see below."),
    _column("ChargeClass", Kind.TEXT, "`Correction` for a transfer that corrects another."),
    _column("ChargeDescription", Kind.TEXT, "One line for people."),
    _column("ChargeFrequency", Kind.TEXT, "`Usage-Based`, `One-Time` for adjustments."),
    _column("ChargePeriodEnd", Kind.TIME, "End of the delivery hour (exclusive)."),
    _column("ChargePeriodStart", Kind.TIME, "Start of the delivery hour."),
    _column("ConsumedQuantity", Kind.TEXT, "Chip-seconds of a usage row."),
    _column("ConsumedUnit", Kind.TEXT, "`Chip-Seconds`."),
    _column("ContractedCost", Kind.MICRO, "As billed."),
    _column("EffectiveCost", Kind.MICRO, "As billed: nothing is amortised."),
    _column("InvoiceId", Kind.TEXT, "Statement that carries the transfer; empty until issued."),
    _column("InvoiceIssuerName", Kind.TEXT, "Operator of the exchange."),
    _column("ListCost", Kind.MICRO, "As billed: an auction has no list price."),
    _column("PricingCategory", Kind.TEXT, "`Dynamic`, `Standard` for surcharge and fee."),
    _column("PricingQuantity", Kind.TEXT, "Chip-hours, nine digits after the point."),
    _column("PricingUnit", Kind.TEXT, "`Chip-Hours`."),
    _column("ProviderName", Kind.TEXT, "Operator of the exchange."),
    _column("PublisherName", Kind.TEXT, "Supplier of the contract, else the operator."),
    _column("RegionId", Kind.TEXT, "Region of the contract's site."),
    _column("RegionName", Kind.TEXT, "The same."),
    _column("ResourceId", Kind.TEXT, "Contract."),
    _column("ResourceName", Kind.TEXT, "Order that the contract serves."),
    _column("ResourceType", Kind.TEXT, "`Contract`."),
    _column("ServiceCategory", Kind.TEXT, "`Compute`."),
    _column("ServiceName", Kind.TEXT, "Chip class, such as `nvidia.h100-sxm5-80gb`."),
    _column("SkuId", Kind.TEXT, "What is charged, of which chip class and service class."),
    _column("SkuMeter", Kind.TEXT, "What the quantity counts."),
    _column("x_ChipSeconds", Kind.INTEGER, "Quantity, exact."),
    _column("x_Code", Kind.TEXT, "Transfer code of the ledger."),
    _column("x_EntryIndex", Kind.INTEGER, "Log entry that carried the transfer."),
    _column("x_PoolId", Kind.TEXT, "Pool of the contract."),
    _column("x_Reason", Kind.TEXT, "Reason of a failure, gap or correction."),
    _column("x_ServiceClass", Kind.TEXT, "`FIRM`, `INTERRUPTIBLE` or `BASE_LOAD`."),
    _column("x_SiteId", Kind.TEXT, "Site of the contract."),
    _column("x_TransferId", Kind.TEXT, "Transfer, unique in the ledger."),
    _column("x_UnitPrice", Kind.MICRO, "US dollars per chip-hour, where there is one price."),
)


@dataclass(slots=True, kw_only=True)
class _Facts:
    """What rows look up again and again."""

    extract: Extract
    buyer_id: str
    account: str
    invoices: dict[str, str] = field(default_factory=dict)
    invoice_periods: dict[str, Interval] = field(default_factory=dict)
    ends: dict[int, UnixSeconds] = field(default_factory=dict)


def focus_table(extract: Extract, buyer_id: str, period: Interval | None = None) -> Table:
    """Billing rows of a buyer, in order of the ledger.

    Args:
        extract: The ledger.
        buyer_id: Participant.
        period: Of the delivery hours that the charges are for; None for all.

    Raises:
        ExportError: ``PARTY_UNKNOWN``, ``SITE_UNKNOWN``, ``HISTORY_INCOMPLETE``: a transfer
            of a contract that the extract does not hold.
    """
    if buyer_id not in extract.parties:
        raise ExportError(ExportErrorCode.PARTY_UNKNOWN, buyer_id, "is not registered")
    facts = _facts(extract, buyer_id)
    rows = []
    for movement in extract.movements:
        if not is_charge(movement, facts.account):
            continue
        start = movement.transfer.interval_start or movement.time
        if period is None or period.start <= start < period.end:
            rows.append(_row(facts, movement))
    return Table(name="focus", columns=COLUMNS, rows=tuple(rows))


def is_charge(movement: Movement, account: str) -> bool:
    """Whether a transfer charges or refunds the owner of a cash account as a buyer."""
    transfer = movement.transfer
    return (
        transfer.asset == USD
        and transfer.code in BILLED_CODES
        and transfer.phase is not Phase.PENDING
        and movement.applied != 0
        and account in {transfer.debit, transfer.credit}
    )


def _facts(extract: Extract, buyer_id: str) -> _Facts:
    facts = _Facts(extract=extract, buyer_id=buyer_id, account=accounts.cash(buyer_id))
    for issued in extract.statements:
        made = issued.statement
        if made.account != facts.account or made.asset != USD:
            continue
        for line in made.lines:
            for transfer_id in line.transfer_ids:
                facts.invoices[transfer_id] = made.statement_id
                facts.invoice_periods[transfer_id] = made.period
    for contract in extract.contracts.values():
        for hour in contract.hours:
            facts.ends[hour.interval.start] = hour.interval.end
    return facts


def _row(facts: _Facts, movement: Movement) -> tuple[Value, ...]:
    transfer = movement.transfer
    cost = movement.applied if transfer.debit == facts.account else -movement.applied
    category, meter, _ = CATEGORIES[transfer.code]
    contract = _contract(facts, transfer)
    charged, billing = _periods(facts, movement, contract)
    usage = category == USAGE
    operator = name_of(OPERATOR_ID, facts.extract.parties)
    values: dict[str, Value] = {
        "BilledCost": cost,
        "BillingAccountId": facts.buyer_id,
        "BillingAccountName": name_of(facts.buyer_id, facts.extract.parties),
        "BillingAccountType": "Participant",
        "BillingCurrency": USD,
        "BillingPeriodEnd": billing.end,
        "BillingPeriodStart": billing.start,
        "ChargeCategory": category,
        "ChargeClass": "Correction" if transfer.corrects else None,
        "ChargeDescription": _description(transfer, contract),
        "ChargeFrequency": "One-Time" if category == ADJUSTMENT else "Usage-Based",
        "ChargePeriodEnd": charged.end,
        "ChargePeriodStart": charged.start,
        "ConsumedQuantity": str(transfer.quantity) if usage else None,
        "ConsumedUnit": "Chip-Seconds" if usage else None,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceId": facts.invoices.get(transfer.transfer_id),
        "InvoiceIssuerName": operator,
        "ListCost": cost,
        "PricingCategory": _pricing_category(transfer, category),
        "PricingQuantity": chip_hours(transfer.quantity) if transfer.quantity else None,
        "PricingUnit": "Chip-Hours" if transfer.quantity else None,
        "ProviderName": operator,
        "PublisherName": _publisher(facts, transfer, contract),
        "ServiceCategory": "Compute",
        "ServiceName": contract.chip_class if contract else "Exchange",
        "SkuMeter": meter or None,
        "x_ChipSeconds": transfer.quantity,
        "x_Code": transfer.code.value,
        "x_EntryIndex": movement.entry_index,
        "x_Reason": transfer.reason or None,
        "x_TransferId": transfer.transfer_id,
        "x_UnitPrice": transfer.price if transfer.quantity and transfer.price else None,
    }
    if contract is not None:
        region = site_of(contract.site_id, facts.extract.sites).region or None
        values |= {
            "RegionId": region,
            "RegionName": region,
            "ResourceId": contract.contract_id,
            "ResourceName": contract.order_id,
            "ResourceType": "Contract",
            "SkuId": _sku(transfer, contract),
            "x_PoolId": contract.pool_id,
            "x_ServiceClass": contract.service_class.value,
            "x_SiteId": contract.site_id,
        }
    return tuple(values.get(column.name) for column in COLUMNS)


def _contract(facts: _Facts, transfer: Transfer) -> Contract | None:
    if not transfer.contract_id:
        return None
    contract = facts.extract.contracts.get(transfer.contract_id)
    if contract is None:
        raise ExportError(
            ExportErrorCode.HISTORY_INCOMPLETE,
            transfer.transfer_id,
            f"is of contract {transfer.contract_id}, which the extract does not hold",
        )
    return contract


def _periods(
    facts: _Facts, movement: Movement, contract: Contract | None
) -> tuple[Interval, Interval]:
    """Delivery hour charged for, and the period that it is billed in."""
    transfer = movement.transfer
    start = transfer.interval_start or movement.time
    end = facts.ends.get(start, UnixSeconds(start + SECONDS_PER_HOUR))
    charged = Interval(start=start, end=end)
    billing = facts.invoice_periods.get(transfer.transfer_id)
    if contract is not None:
        billing = facts.extract.periods.get(contract.auction_id, billing)
    if billing is None:
        day = start - start % SECONDS_PER_DAY
        billing = Interval(start=UnixSeconds(day), end=UnixSeconds(day + SECONDS_PER_DAY))
    return charged, billing


def _pricing_category(transfer: Transfer, category: str) -> str | None:
    """Auction prices are dynamic; surcharge and fee are agreed before."""
    if category != USAGE:
        return None
    return "Dynamic" if transfer.code in DYNAMIC_CODES else "Standard"


def _publisher(facts: _Facts, transfer: Transfer, contract: Contract | None) -> str:
    """Who made what is paid for: the supplier, the site's community, else the operator."""
    parties = facts.extract.parties
    if contract is None or transfer.code is TransferCode.FEE:
        return name_of(OPERATOR_ID, parties)
    if transfer.code is TransferCode.SURCHARGE:
        site = site_of(contract.site_id, facts.extract.sites)
        return name_of(site.community_id, parties)
    return name_of(contract.supplier_id, parties)


def _sku(transfer: Transfer, contract: Contract) -> str:
    if transfer.code is TransferCode.SURCHARGE:
        return f"{transfer.code.value}/{contract.site_id}"
    if transfer.code is TransferCode.FEE:
        return TransferCode.FEE.value
    return f"{transfer.code.value}/{contract.chip_class}/{contract.service_class.value}"


def _description(transfer: Transfer, contract: Contract | None) -> str:
    name = CATEGORIES[transfer.code][2]
    parts = [name]
    if contract is not None:
        parts.append(f"{contract.chip_class} {_words(contract.service_class)}")
        parts.append(f"pool {contract.pool_id} at {contract.site_id}")
    if transfer.quantity:
        quantity = f"{chip_hours(transfer.quantity)} chip-hours"
        price = MicroUsdPerChipHour(transfer.price)
        parts.append(f"{quantity} at {decimal_text(price)} USD" if price else quantity)
    if transfer.reason:
        parts.append(transfer.reason)
    return ", ".join(parts)


def _words(service_class: ServiceClass) -> str:
    return service_class.value.lower().replace("_", " ")
