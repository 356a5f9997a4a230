from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from clearing.types import Interval
from clearing.units import UnixSeconds
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import Movement
from settlement.exports.focus import CATEGORIES, COLUMNS, MANDATORY, focus_table
from settlement.exports.tables import csv_text
from settlement.ledger import accounts
from settlement.ledger.books import Applied
from settlement.types import Phase, TransferCode
from tests.unit.exports.hand import (
    extract_of,
    movements,
    settled_extract,
    settled_world,
    transfer,
)
from tests.unit.settlement.builders import HOUR

Row = dict[str, str]


def rows(*, buyer: str = "F", period: Interval | None = None) -> list[Row]:
    text = csv_text(focus_table(settled_extract(), buyer, period))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def by_code() -> dict[str, Row]:
    found = {row["x_Code"]: row for row in rows()}
    assert len(found) == len(rows())
    return found


def test_costs_by_hand() -> None:
    costs = {code: row["BilledCost"] for code, row in by_code().items()}
    assert costs == {
        "AUCTION_LEG": "27.200000",  # 8 chip-hours at 3.40
        "SURCHARGE": "3.416667",  # 24,600 chip-seconds at 0.50
        "FEE": "0.136667",  # at 0.02
        "FAILURE_CREDIT": "-1.700000",  # 1,800 chip-seconds at 3.40
        "GAP_REFUND": "-2.266667",  # 2,400 chip-seconds at 3.40
    }


def test_rows_add_up_to_what_moved_the_account() -> None:
    world, _ = settled_world()
    total = sum(Decimal(row["BilledCost"]) for row in rows())
    assert total == Decimal("26.786667")
    assert total == -Decimal(world.cash("F")).scaleb(-6)


def test_all_costs_of_a_row_are_the_same() -> None:
    for row in rows():
        costs = {row[name] for name in ("BilledCost", "EffectiveCost", "ListCost")}
        assert costs == {row["ContractedCost"]}


def test_mandatory_columns_are_there_and_filled() -> None:
    names = [column.name for column in COLUMNS]
    assert set(MANDATORY) <= set(names)
    assert len(MANDATORY) == 21
    assert names == sorted(names, key=lambda name: (name.startswith("x_"), name))
    nullable = {"ChargeClass", "PricingQuantity", "PricingUnit"}
    for row in rows():
        assert all(row[name] for name in set(MANDATORY) - nullable), row


def test_a_usage_row_in_full() -> None:
    row = by_code()["AUCTION_LEG"]
    assert row | {"x_TransferId": ""} == {
        "BilledCost": "27.200000",
        "BillingAccountId": "F",
        "BillingAccountName": "Lab F",
        "BillingAccountType": "Participant",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": "2023-11-15T00:00:00Z",
        "BillingPeriodStart": "2023-11-14T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": (
            "Compute, nvidia.h100-sxm5-80gb firm, pool pool-a at site-a,"
            " 8.000000000 chip-hours at 3.400000 USD"
        ),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2023-11-14T23:00:00Z",
        "ChargePeriodStart": "2023-11-14T22:00:00Z",
        "ConsumedQuantity": "28800",
        "ConsumedUnit": "Chip-Seconds",
        "ContractedCost": "27.200000",
        "EffectiveCost": "27.200000",
        "InvoiceId": f"statement/p:F:cash/USD/{1_699_920_000}-{1_700_006_400}",
        "InvoiceIssuerName": "Compute Exchange",
        "ListCost": "27.200000",
        "PricingCategory": "Dynamic",
        "PricingQuantity": "8.000000000",
        "PricingUnit": "Chip-Hours",
        "ProviderName": "Compute Exchange",
        "PublisherName": "Supplier One",
        "RegionId": "us-south",
        "RegionName": "us-south",
        "ResourceId": "da-1/bid/pool-a/offer-S1",
        "ResourceName": "bid",
        "ResourceType": "Contract",
        "ServiceCategory": "Compute",
        "ServiceName": "nvidia.h100-sxm5-80gb",
        "SkuId": "AUCTION_LEG/nvidia.h100-sxm5-80gb/FIRM",
        "SkuMeter": "Chip-hours awarded",
        "x_ChipSeconds": "28800",
        "x_Code": "AUCTION_LEG",
        "x_EntryIndex": "10",
        "x_PoolId": "pool-a",
        "x_Reason": "",
        "x_ServiceClass": "FIRM",
        "x_SiteId": "site-a",
        "x_TransferId": "",
        "x_UnitPrice": "3.400000",
    }


def test_categories_follow_the_transfer_code() -> None:
    found = by_code()
    assert {code: row["ChargeCategory"] for code, row in found.items()} == {
        "AUCTION_LEG": "Usage",
        "SURCHARGE": "Usage",
        "FEE": "Usage",
        "FAILURE_CREDIT": "Credit",
        "GAP_REFUND": "Credit",
    }
    # Who is behind a charge: supplier, community, operator.
    publishers = {code: row["PublisherName"] for code, row in found.items()}
    assert publishers["SURCHARGE"] == "Town of Site A"
    assert publishers["FEE"] == "Compute Exchange"
    assert found["SURCHARGE"]["PricingCategory"] == "Standard"
    # FOCUS: a consumed quantity on usage rows only.
    assert [row["ConsumedQuantity"] != "" for row in found.values()] == [
        row["ChargeCategory"] == "Usage" for row in found.values()
    ]


def test_a_period_chooses_delivery_hours() -> None:
    assert len(rows(period=HOUR)) == 5
    after = Interval(start=HOUR.end, end=UnixSeconds(HOUR.end + 3_600))
    assert rows(period=after) == []


def test_what_a_supplier_earns_is_no_charge() -> None:
    assert rows(buyer="S1") == []


def test_an_unknown_buyer_is_refused() -> None:
    with pytest.raises(ExportError) as caught:
        rows(buyer="nobody")
    assert caught.value.code is ExportErrorCode.PARTY_UNKNOWN


def test_a_transfer_of_an_unknown_contract_is_refused() -> None:
    world, _ = settled_world()
    with pytest.raises(ExportError) as caught:
        focus_table(extract_of(movements(world.applied)), "F")
    assert caught.value.code is ExportErrorCode.HISTORY_INCOMPLETE


def test_a_correction_and_a_make_whole_share_without_contract() -> None:
    cash = accounts.cash("F")
    share = transfer("m", cash, "p:S1:cash", 203_733, code=TransferCode.MAKE_WHOLE, hour=HOUR.start)
    back = transfer(
        "c", "p:S1:cash", cash, 3, code=TransferCode.MAKE_WHOLE, hour=HOUR.start, corrects="m"
    )
    found: tuple[Movement, ...] = movements([Applied(share, 203_733), Applied(back, 3)])
    text = csv_text(focus_table(extract_of(found), "F"))
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert (first["BilledCost"], first["ChargeCategory"]) == ("0.203733", "Adjustment")
    assert (first["ChargeClass"], second["ChargeClass"]) == ("", "Correction")
    assert second["BilledCost"] == "-0.000003"
    assert (first["PricingQuantity"], first["InvoiceId"]) == ("", "")
    # Without contract and statement: the UTC day of the hour.
    assert first["BillingPeriodStart"] == "2023-11-14T00:00:00Z"
    assert first["BillingPeriodEnd"] == "2023-11-15T00:00:00Z"


def test_holds_are_no_charges() -> None:
    hold = transfer(
        "h", accounts.cash("F"), "pot:x:0", 5, phase=Phase.PENDING, code=TransferCode.AUCTION_LEG
    )
    assert focus_table(extract_of(movements([Applied(hold, 5)])), "F").rows == ()
    assert TransferCode.DEPOSIT not in CATEGORIES
    assert TransferCode.PAYOUT not in CATEGORIES
