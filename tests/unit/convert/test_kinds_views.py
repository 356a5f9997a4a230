"""What owners and everybody see of backups, supply runs and backup prices."""

from __future__ import annotations

from dataclasses import replace

from clearing.codec import decode, encode
from clearing.outcome import Outcome, SupplyRun
from clearing.types import Book, Cover, ServiceClass
from clearing.units import Chips, MicroUsdPerChipHour, PriceSeconds
from iso_exchange.convert import views
from iso_exchange.publication import PricesDocument, award_notice, prices_document
from tests.golden.clearing.books import bid, book, committed, gang, offer, pool, site, work
from tests.unit.settlement.outcomes import assigned, award, backup_price, outcome, pool_price

HOURS = 3


def market() -> Book:
    """Firm load at A with backups at B and C, supply at B that is on or off, a profile."""
    return book(
        offer("SA", (8, "2"), stop=HOURS),
        offer("SB", (8, "2"), at="B", stop=HOURS, commitment=committed("1")),
        offer("SC", (8, "2"), at="C", stop=HOURS),
        bid("F", (6, "9"), at=("A", "B", "C"), cover=Cover.SITE, stop=HOURS),
        bid("I", (3, "4"), at=("B",), service_class=ServiceClass.INTERRUPTIBLE, notice_s=900),
        gang("g", 4, "3", latest_start=1, duration=2, profile=(Chips(1), Chips(4))),
        work("w", 2, "1", first=1, stop=3, rate=1),
        sites=(site("sA"), site("sB"), site("sC")),
        pools=(pool("A", "sA"), pool("B", "sB"), pool("C", "sC")),
        intervals=HOURS,
    )


BOOK = market()


def result() -> Outcome:
    found = outcome(
        BOOK,
        tuple(
            pool_price(name, t, energy=2_000_000, site_spare=3_000_000 if name == "B" else 0)
            for name in ("A", "B", "C")
            for t in range(HOURS)
        ),
        (
            award(BOOK, "F", "A", 6, 6, 6, backups={"B": (4, 4, 6), "C": (2, 2, 0)}),
            award(BOOK, "I", "B", 3, site_reserve=(3,)),
            award(BOOK, "SA", "A", 6, 6, 6),
            award(BOOK, "SB", "B", 3, 0, 0, reserve=(1, 0, 0), site_reserve=(1, 4, 6)),
            award(BOOK, "SC", "C", 0, 0, 0, site_reserve=(2, 2, 0)),
        ),
        backup_prices=(
            backup_price("sA", "B", 0, 2_000_000),
            backup_price("sC", "B", 0, 1_000_000),
        ),
    )
    return replace(
        found,
        seed="00" * 32,
        certificate=replace(found.certificate, restart_kept=PriceSeconds(7)),
        runs=(SupplyRun(order_id="SB", first=0, stop=1), SupplyRun(order_id="SB", first=2, stop=3)),
    )


RESULT = result()


def test_an_award_says_where_its_backup_is_and_what_stands_by() -> None:
    by_order = {item.order_id: item for item in RESULT.awards}
    firm = views.award_view(by_order["F"], BOOK.spec.intervals)
    assert [
        (part.end_time.seconds // 3_600, [(b.pool_id, b.chip_count) for b in part.backups])
        for part in firm.segments
    ] == [(2, [("B", 4), ("C", 2)]), (3, [("B", 6)])]
    supply = views.award_view(by_order["SB"], BOOK.spec.intervals)
    assert [
        (part.chip_count, part.reserve_chip_count, part.site_reserve_chip_count)
        for part in supply.segments
    ] == [(3, 1, 1), (0, 0, 4), (0, 0, 6)]
    assert len(views.award_view(by_order["SC"], BOOK.spec.intervals).segments) == 1


def test_public_prices_list_backups_by_lost_site() -> None:
    document = prices_document(BOOK, RESULT)
    assert decode(encode(document), PricesDocument) == document
    prices = {
        (price.pool_id, price.start_time.seconds // 3_600): price
        for price in views.document_prices(document)
    }
    at_b = prices["B", 0]
    assert [(item.site_id, item.price_micro_usd_per_chip_hour) for item in at_b.backups] == [
        ("sA", 2_000_000),
        ("sC", 1_000_000),
    ]
    assert at_b.site_spare_micro_usd_per_chip_hour == 3_000_000
    assert (at_b.spare_chip_count, at_b.site_spare_chip_count) == (1, 1)
    assert not prices["A", 0].backups
    assert document.totals.restart_kept == 7
    assert views.result_view(RESULT, 0).restart_kept == "7"


def test_a_document_without_the_new_kinds_keeps_its_bytes() -> None:
    plain = replace(RESULT, backup_prices=(), awards=(), runs=())
    plain = replace(plain, certificate=replace(plain.certificate, restart_kept=PriceSeconds(0)))
    text = encode(prices_document(BOOK, plain))
    for name in (b"backup_prices", b"restart_kept", b"site_spare_chip"):
        assert name not in text


def test_curves_show_a_profile_as_much_as_it_may_want_in_an_interval() -> None:
    demand = [
        {point.price: point.chips for point in curve.demand}
        for curve in prices_document(BOOK, RESULT).curves
    ]
    # Starts in interval 0 or 1: one chip first, then four.
    limit, rate = MicroUsdPerChipHour(3_000_000), MicroUsdPerChipHour(1_000_000)
    assert [found.get(limit, Chips(0)) for found in demand] == [1, 4, 4]
    assert [found.get(rate, Chips(0)) for found in demand] == [0, 1, 1]


def test_a_supplier_is_told_when_its_offer_is_on() -> None:
    notice = award_notice(RESULT, assigned(BOOK, RESULT), "of SB")
    assert [(run.first, run.stop) for run in notice.runs] == [(0, 1), (2, 3)]
    assert award_notice(RESULT, assigned(BOOK, RESULT), "of SA").runs == ()
