from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.types import Interval
from clearing.units import UnixSeconds
from settlement.exports.community import CommunityReport, community_report
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import Extract
from settlement.ledger.books import Applied
from settlement.types import Phase, TransferCode
from tests.unit.exports.hand import (
    DAY,
    extract_of,
    movements,
    settled_extract,
    transfer,
)
from tests.unit.settlement.builders import HOUR

TOWN = "community:site-a"


def surcharge(name: str, amount: int, hour: int) -> Applied:
    made = transfer(name, "p:F:cash", TOWN, amount, code=TransferCode.SURCHARGE, hour=hour)
    return Applied(made, amount)


def paid_out(name: str, amount: int) -> Applied:
    return Applied(transfer(name, TOWN, "bank", amount, code=TransferCode.PAYOUT), amount)


def of(*applied: Applied, period: Interval) -> CommunityReport:
    return community_report(extract_of(movements(applied)), "site-a", period)


def test_a_report_by_hand() -> None:
    report = community_report(settled_extract(), "site-a", DAY)
    assert report.community_name == "Town of Site A"
    assert (report.delivered, report.earned) == (24_600, 3_416_667)
    assert (report.paid, report.pending, report.balance) == (3_410_000, 6_667, 6_667)
    assert report.recomputes
    ((hour,),) = [day.hours for day in report.days]
    assert (hour.start, hour.rates, hour.entry_index) == (HOUR.start, (500_000,), 10)
    assert (hour.earned, hour.recomputed) == (3_416_667, 3_416_667)
    assert [item.entry_index for item in report.totals] == [13]
    assert report.rate == 500_000


def test_before_the_payout_everything_is_pending() -> None:
    report = community_report(settled_extract(paid=False), "site-a", DAY)
    assert (report.earned, report.paid, report.pending) == (3_416_667, 0, 3_416_667)
    assert report.payouts == ()


def test_payouts_settle_the_oldest_hours_first() -> None:
    first = Interval(start=UnixSeconds(0), end=UnixSeconds(7_200))
    second = Interval(start=UnixSeconds(7_200), end=UnixSeconds(10_800))
    applied = (
        surcharge("a", 100_000, 3_600),
        surcharge("b", 50_000, 7_200),
        paid_out("x", 120_000),
    )
    one, other = of(*applied, period=first), of(*applied, period=second)
    assert (one.earned, one.paid, one.pending) == (100_000, 100_000, 0)
    assert (other.earned, other.paid, other.pending) == (50_000, 20_000, 30_000)
    assert one.balance == other.balance == 30_000
    assert one.paid + other.paid == one.paid_ever


def test_a_correction_is_part_of_what_was_earned() -> None:
    back = transfer(
        "c", TOWN, "p:F:cash", 30_000, code=TransferCode.SURCHARGE, hour=3_600, corrects="a"
    )
    period = Interval(start=UnixSeconds(0), end=UnixSeconds(7_200))
    report = of(surcharge("a", 100_000, 3_600), Applied(back, 30_000), period=period)
    assert (report.earned, report.other, report.pending) == (70_000, 70_000, 70_000)


def test_holds_of_coming_hours_are_promised_not_earned() -> None:
    hold = transfer("h", "p:F:cash", TOWN, 500, phase=Phase.PENDING, hour=3_600)
    other = transfer("o", "p:F:cash", "pool", 900, phase=Phase.PENDING, hour=3_600)
    post = transfer(
        "q", "p:F:cash", TOWN, 400, phase=Phase.POST_PENDING, pending="h",
        code=TransferCode.SURCHARGE, hour=3_600,
    )  # fmt: skip
    period = Interval(start=UnixSeconds(0), end=UnixSeconds(7_200))
    before = of(Applied(hold, 500), Applied(other, 900), period=period)
    assert (before.promised, before.earned) == (500, 0)
    after = of(Applied(hold, 500), Applied(other, 900), Applied(post, 400), period=period)
    assert (after.promised, after.earned) == (0, 400)


def test_an_hour_that_does_not_recompute_shows() -> None:
    extract = settled_extract()
    changed = tuple(
        replace(item, applied=item.applied + 1)
        if item.transfer.code is TransferCode.SURCHARGE
        else item
        for item in extract.movements
    )
    report = community_report(replace(extract, movements=changed), "site-a", DAY)
    assert not report.recomputes
    assert report.earned == 3_416_668


def test_an_empty_period_and_an_unknown_site() -> None:
    extract: Extract = settled_extract()
    after = Interval(start=DAY.end, end=UnixSeconds(DAY.end + 3_600))
    report = community_report(extract, "site-a", after)
    assert (report.delivered, report.earned, report.days, report.totals) == (0, 0, (), ())
    assert report.balance == 6_667
    with pytest.raises(ExportError) as caught:
        community_report(extract, "site-x", DAY)
    assert caught.value.code is ExportErrorCode.SITE_UNKNOWN
