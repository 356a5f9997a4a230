from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from clearing.types import Interval
from clearing.units import MicroUsd, UnixSeconds
from iso_exchange.exports.bank_file import read_bank_table
from settlement.exports.bank import COLUMNS, BankDetails, bank_table, is_iban
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import owner_of
from settlement.exports.pain001 import NAMESPACE, PaymentFile, payment_file
from settlement.exports.payouts import Payout, end_to_end_id, payout_id, payouts, posted_payouts
from settlement.ledger import accounts
from settlement.ledger.books import Applied, Books, Rejected
from settlement.postings.deposits import deposit
from settlement.types import Phase
from tests.unit.exports.hand import DAY, SETTLED, extract_of, settled_extract, transfer

NEXT = Interval(start=DAY.end, end=UnixSeconds(DAY.end + 86_400))
CREATED = UnixSeconds(1_791_277_200)


def books_with(**earned: int) -> Books:
    """Books in which accounts earned from the bank; names with ``__`` for a colon."""
    books = Books()
    for name, amount in earned.items():
        account = name.replace("__", ":").replace("_", "-")
        result = books.apply(transfer(f"earn/{account}", "bank", account, amount))
        assert isinstance(result, Applied), result
    return books


def pay(books: Books, period: Interval) -> dict[str, int]:
    made = payouts(books, period)
    for item in made:
        assert isinstance(books.apply(item), Applied)
    return {item.debit: item.amount for item in made}


def test_payouts_are_floored_to_the_cent_and_the_remainder_stays() -> None:
    books = books_with(community__site_a=3_645_556, p__s1__cash=9_999, p__s2__cash=20_000)
    assert pay(books, DAY) == {"community:site-a": 3_640_000, "p:s2:cash": 20_000}
    assert books.balance("community:site-a").posted == 5_556
    assert books.balance("p:s1:cash").posted == 9_999


def test_a_remainder_is_paid_when_it_has_become_a_cent() -> None:
    books = books_with(community__site_a=3_645_556)
    pay(books, DAY)
    assert isinstance(books.apply(transfer("more", "bank", "community:site-a", 4_444)), Applied)
    assert pay(books, NEXT) == {"community:site-a": 10_000}
    assert books.balance("community:site-a").posted == 0


def test_payouts_are_made_once_per_account_and_period() -> None:
    books = books_with(p__s1__cash=50_000)
    first = payouts(books, DAY)
    assert payouts(books, DAY) == first  # pure: asking pays nothing
    assert isinstance(books.apply(first[0]), Applied)
    again = books.apply(first[0])
    assert isinstance(again, Rejected)
    assert again.code.value == "DUPLICATE_TRANSFER"
    assert isinstance(books.apply(transfer("late", "bank", "p:s1:cash", 70_000)), Applied)
    assert payouts(books, DAY) == ()  # this period was paid; the rest waits for the next
    assert pay(books, NEXT) == {"p:s1:cash": 70_000}


def test_a_payout_has_the_identifier_of_its_statements_payout() -> None:
    account = accounts.community("site-a")
    posted = posted_payouts(settled_extract().movements, settled_extract().sites)
    assert [item.transfer_id for item in posted] == [f"payout/{payout_id(account, DAY)}"]
    assert payouts(books_with(community__site_a=10_000), DAY)[0].transfer_id == (
        posted[0].transfer_id
    )


def test_held_money_collateral_and_shared_accounts_are_not_paid() -> None:
    books = books_with(p__s1__cash=80_000, pool=90_000, rent__site_a=90_000, operator__fee=90_000)
    assert isinstance(books.apply(deposit("s2", MicroUsd(90_000), "wire")), Applied)
    hold = transfer("h", "p:s1:cash", "pot:x:0", 25_000, phase=Phase.PENDING)
    assert isinstance(books.apply(hold), Applied)
    assert {item.debit: item.amount for item in payouts(books, DAY)} == {"p:s1:cash": 50_000}
    # A deposit that carries the hold frees the cash.
    assert isinstance(books.apply(deposit("s1", MicroUsd(25_000), "wire-2")), Applied)
    assert {item.debit: item.amount for item in payouts(books, DAY)} == {"p:s1:cash": 80_000}


def test_posted_payouts_of_a_period() -> None:
    extract = settled_extract()
    (found,) = posted_payouts(extract.movements, extract.sites)
    assert (found.party_id, found.amount, found.entry_index) == ("town", 3_410_000, 12)
    assert found.payment_id == end_to_end_id(found.transfer_id)
    assert len(found.payment_id) <= 35
    until = Interval(start=UnixSeconds(0), end=SETTLED)
    assert posted_payouts(extract.movements, extract.sites, until) == ()
    since = Interval(start=SETTLED, end=UnixSeconds(SETTLED + 1))
    assert posted_payouts(extract.movements, extract.sites, since) == (found,)


def test_accounts_that_belong_to_nobody_have_no_owner() -> None:
    sites = settled_extract().sites
    owners = ("p:S1:cash", "p:S1:collateral", "operator:fee", "community:site-a")
    assert [owner_of(name, sites) for name in owners] == ["S1", "S1", "operator", "town"]
    with pytest.raises(ExportError) as caught:
        owner_of("rent:site-a", sites)
    assert caught.value.code is ExportErrorCode.PARTY_UNKNOWN
    with pytest.raises(ExportError) as caught:
        owner_of("community:elsewhere", sites)
    assert caught.value.code is ExportErrorCode.SITE_UNKNOWN


# ------------------------------------------------------------------------------ bank details

ROW = {"party_id": "s1", "name": "Supplier", "iban": "DE89 3704 0044 0532 0130 00"}
US = {
    "party_id": "s1",
    "name": "Supplier",
    "account_number": "0001234",
    "clearing_system": "USABA",
    "clearing_member": "021000021",
}


def test_bank_table() -> None:
    table = bank_table([ROW, US | {"party_id": "s2"}])
    assert table["s1"].iban == "DE89370400440532013000"
    assert table["s2"].clearing_member == "021000021"


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        (ROW | {"iban": "DE88370400440532013000"}, "check digits"),
        (ROW | {"iban": "nonsense"}, "check digits"),
        (ROW | {"account_number": "1"}, "either an iban or an account_number"),
        (ROW | {"iban": ""}, "either an iban or an account_number"),
        (ROW | {"bic": "SHORT"}, "form than a BIC"),
        (ROW | {"name": ""}, "1 to 140"),
        (ROW | {"name": "x" * 141}, "1 to 140"),
        (ROW | {"name": "a\x07b"}, "control characters"),
        (ROW | {"country": "Germany"}, "ISO 3166"),
        (ROW | {"town": "x" * 36}, "town is longer"),
        (ROW | {"party_id": ""}, "names no party_id"),
        (ROW | {"swift": "X"}, "unknown column swift"),
        (US | {"clearing_member": ""}, "belong together"),
        (US | {"clearing_system": "", "clearing_member": ""}, "needs a bic"),
        (US | {"clearing_system": "usaba"}, "USABA"),
        (US | {"account_number": "x" * 35}, "34 characters"),
    ],
)
def test_unusable_bank_details_are_refused(row: Mapping[str, str], detail: str) -> None:
    with pytest.raises(ExportError, match=detail) as caught:
        bank_table([row])
    assert caught.value.code is ExportErrorCode.BANK_DETAILS_INVALID


def test_a_party_stands_in_the_table_once() -> None:
    with pytest.raises(ExportError, match="twice"):
        bank_table([ROW, US])


def test_iban_check_digits_find_any_changed_digit() -> None:
    good = "GB82WEST12345698765432"
    assert is_iban(good)
    for place in range(len(good)):
        for digit in "0123456789":
            if good[place].isdigit() and digit != good[place]:
                assert not is_iban(good[:place] + digit + good[place + 1 :])


def test_bank_files_are_csv_or_json() -> None:
    page = io.StringIO(newline="")
    writer = csv.DictWriter(page, COLUMNS, restval="")
    writer.writeheader()
    writer.writerow(ROW)
    table = read_bank_table(page.getvalue(), "banks.csv")
    text = '[{"party_id":"s1","name":"Supplier","iban":"DE89370400440532013000"}]'
    assert read_bank_table(text, "banks.json") == table


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("party_id,name\ns1\n", "b.csv"),
        ("party_id,name\ns1,a,b\n", "b.csv"),
        ('party_id,name\n"s1,a\n', "b.csv"),
        ("{", "b.json"),
        ("{}", "b.json"),
        ("[1]", "b.json"),
        ('[{"party_id": 1}]', "b.json"),
    ],
)
def test_unreadable_bank_files_are_refused(text: str, name: str) -> None:
    with pytest.raises(ExportError) as caught:
        read_bank_table(text, name)
    assert caught.value.code is ExportErrorCode.BANK_DETAILS_INVALID


# ------------------------------------------------------------------------------ payment file

BANKS = bank_table(
    [
        US | {"party_id": "exchange", "name": "Compute Exchange", "country": "US"},
        ROW | {"party_id": "town", "name": "Town & Köln <A>", "town": "Köln", "country": "DE"},
        US | {"party_id": "S1", "bic": "CHASUS33XXX"},
    ]
)


def due(party: str, amount: int, number: int = 1) -> Payout:
    return Payout(
        payment_id=end_to_end_id(f"payout/{number}"),
        transfer_id=f"payout/{number}",
        account=f"p:{party}:cash",
        party_id=party,
        amount=MicroUsd(amount),
        entry_index=number,
        time=SETTLED,
    )


def made(
    *found: Payout,
    banks: Mapping[str, BankDetails] = BANKS,
    period: Interval = DAY,
    complete_until: int = DAY.end,
) -> PaymentFile:
    return payment_file(
        origin="iso-exchange.example/hand",
        period=period,
        payouts=found,
        debtor=banks["exchange"],
        banks=banks,
        created=CREATED,
        execution=UnixSeconds(CREATED + 86_400),
        complete_until=UnixSeconds(complete_until),
    )


def texts(content: bytes, path: str) -> list[str]:
    root: Element = fromstring(content)  # noqa: S314 - written two lines above
    return [item.text or "" for item in root.iterfind(path, {"": NAMESPACE})]


def test_a_payment_file_by_hand() -> None:
    content = made(due("town", 3_410_000, 1), due("S1", 120_000_000, 2)).content
    assert texts(content, "CstmrCdtTrfInitn/GrpHdr/NbOfTxs") == ["2"]
    assert texts(content, "CstmrCdtTrfInitn/GrpHdr/CtrlSum") == ["123.41"]
    assert texts(content, "CstmrCdtTrfInitn/GrpHdr/CreDtTm") == ["2026-10-06T09:00:00Z"]
    information = "CstmrCdtTrfInitn/PmtInf"
    assert texts(content, f"{information}/CtrlSum") == ["123.41"]
    assert texts(content, f"{information}/ReqdExctnDt/Dt") == ["2026-10-07"]
    assert texts(content, f"{information}/Dbtr/Nm") == ["Compute Exchange"]
    assert texts(content, f"{information}/DbtrAcct/Id/Othr/Id") == ["0001234"]
    transfers = f"{information}/CdtTrfTxInf"
    assert texts(content, f"{transfers}/Amt/InstdAmt") == ["3.41", "120.00"]
    assert texts(content, f"{transfers}/Cdtr/Nm") == ["Town & Köln <A>", "Supplier"]
    assert texts(content, f"{transfers}/CdtrAcct/Id/IBAN") == ["DE89370400440532013000"]
    assert texts(content, f"{transfers}/PmtId/EndToEndId") == [
        end_to_end_id("payout/1"),
        end_to_end_id("payout/2"),
    ]


def test_the_same_payouts_give_the_same_bytes_and_others_another_message() -> None:
    one, other = due("town", 3_410_000, 1), due("town", 3_410_000, 2)
    assert made(one) == made(one)
    assert made(one).message_id != made(one, other).message_id
    assert made(one).message_id != made(one, period=HALF).message_id
    assert len(made(one).message_id) <= 35


HALF = Interval(start=DAY.start, end=UnixSeconds(DAY.end - 3_600))


def test_every_party_without_bank_details_is_named() -> None:
    with pytest.raises(ExportError) as caught:
        made(due("z", 10_000, 1), due("town", 10_000, 2), due("a", 10_000, 3))
    assert caught.value.code is ExportErrorCode.BANK_DETAILS_MISSING
    assert caught.value.subject == "a, z"


def test_the_operators_fee_stays_unless_the_table_names_its_account() -> None:
    fee = due("operator", 50_000, 3)
    file = made(due("town", 10_000), fee)
    assert (len(file.payments), file.kept) == (1, (fee,))
    banks = dict(BANKS) | {"operator": replace(BANKS["S1"], party_id="operator")}
    file = made(due("town", 10_000), fee, banks=banks)
    assert (len(file.payments), file.kept) == (2, ())


def test_nothing_to_pay_is_no_file() -> None:
    with pytest.raises(ExportError) as caught:
        made()
    assert caught.value.code is ExportErrorCode.NOTHING_TO_PAY


def test_a_period_that_goes_on_is_refused() -> None:
    with pytest.raises(ExportError) as caught:
        made(due("town", 10_000), complete_until=DAY.end - 1)
    assert caught.value.code is ExportErrorCode.PERIOD_OPEN
    assert made(due("town", 10_000), complete_until=DAY.end).payments


def test_an_extract_without_payouts_pays_nobody() -> None:
    extract = extract_of(())
    assert posted_payouts(extract.movements, extract.sites) == ()
