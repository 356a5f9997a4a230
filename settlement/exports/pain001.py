"""Payment file of a period's payouts: ISO 20022 ``pain.001.001.09``.

One credit transfer per payout, in US dollars, whole cents. The debtor is the exchange, the
creditors are suppliers, communities and whoever else the ledger paid. Message and payments
are named after what they pay, so the same file made again carries the same names and a
bank that looks for duplicates finds one.

Source: ISO 20022 message definition CustomerCreditTransferInitiationV09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from clearing.types import Interval
from clearing.units import UnixSeconds
from settlement.exports.bank import BankDetails
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import OPERATOR_ID
from settlement.exports.payouts import Payout
from settlement.exports.texts import cents_text, date_text, short_id, time_text

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
CURRENCY: Final = "USD"
REMITTANCE_LENGTH_MAX: Final = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFile:
    """A payment file and what is in it.

    Attributes:
        content: The XML, UTF-8.
        payments: Payouts in it.
        kept: Payouts of the operator's own fee that are left out, because the bank table
            has no account of the operator other than the one that pays.
    """

    message_id: str
    content: bytes
    payments: tuple[Payout, ...]
    kept: tuple[Payout, ...]


def payment_file(
    *,
    origin: str,
    period: Interval,
    payouts: Sequence[Payout],
    debtor: BankDetails,
    banks: Mapping[str, BankDetails],
    created: UnixSeconds,
    execution: UnixSeconds,
    complete_until: UnixSeconds,
) -> PaymentFile:
    """Payment file of payouts that the ledger posted.

    Args:
        origin: Name of the log; part of the message's identity.
        period: The payouts'.
        payouts: From ``posted_payouts``.
        debtor: The exchange's account.
        banks: Of every party that is paid.
        created: Time stated as the file's.
        execution: On its UTC day the bank is asked to pay.
        complete_until: Before this time no payout can be added any more (``Extract.end``).

    Raises:
        ExportError: ``PERIOD_OPEN``, ``NOTHING_TO_PAY``, ``BANK_DETAILS_MISSING`` (names every
            party).
    """
    if period.end > complete_until:
        raise ExportError(
            ExportErrorCode.PERIOD_OPEN,
            f"{time_text(period.start)}..{time_text(period.end)}",
            f"the ledger is complete until {time_text(complete_until)} only: a file of the same"
            " period made later would pay the same payouts again",
        )
    kept = tuple(
        item for item in payouts if item.party_id == OPERATOR_ID and OPERATOR_ID not in banks
    )
    paid = tuple(item for item in payouts if item not in kept)
    missing = sorted({item.party_id for item in paid} - set(banks))
    if missing:
        raise ExportError(
            ExportErrorCode.BANK_DETAILS_MISSING,
            ", ".join(missing),
            "the bank table has no account to pay to",
        )
    if not paid:
        raise ExportError(
            ExportErrorCode.NOTHING_TO_PAY,
            f"{time_text(period.start)}..{time_text(period.end)}",
            "the ledger posted no payout in this period",
        )
    message_id = _message_id(origin, period, paid)
    document = Element("Document", {"xmlns": NAMESPACE})
    root = SubElement(document, "CstmrCdtTrfInitn")
    header = SubElement(root, "GrpHdr")
    _text(header, "MsgId", message_id)
    _text(header, "CreDtTm", time_text(created))
    _sums(header, paid)
    _text(SubElement(header, "InitgPty"), "Nm", debtor.name)
    information = _information(root, message_id, paid, debtor, execution)
    for item in paid:
        _transfer(information, item, banks[item.party_id])
    indent(document)
    content = tostring(document, encoding="utf-8", xml_declaration=True) + b"\n"
    return PaymentFile(message_id=message_id, content=content, payments=paid, kept=kept)


def _message_id(origin: str, period: Interval, paid: Sequence[Payout]) -> str:
    """The payments are part of the name: a file of more payouts is another message."""
    name = (origin, time_text(period.start), time_text(period.end))
    return short_id("M-", "\n".join((*name, *(item.payment_id for item in paid))))


def _information(
    root: Element,
    message_id: str,
    paid: Sequence[Payout],
    debtor: BankDetails,
    execution: UnixSeconds,
) -> Element:
    """What all payments have in common; the payments themselves follow in it."""
    information = SubElement(root, "PmtInf")
    _text(information, "PmtInfId", message_id)
    _text(information, "PmtMtd", "TRF")
    _sums(information, paid)
    _text(SubElement(information, "ReqdExctnDt"), "Dt", date_text(execution))
    _party(information, "Dbtr", debtor)
    _account(information, "DbtrAcct", debtor)
    _agent(information, "DbtrAgt", debtor)
    _text(information, "ChrgBr", "SHAR")
    return information


def _sums(parent: Element, paid: Sequence[Payout]) -> None:
    _text(parent, "NbOfTxs", str(len(paid)))
    _text(parent, "CtrlSum", cents_text(sum(item.amount for item in paid)))


def _transfer(parent: Element, item: Payout, bank: BankDetails) -> None:
    element = SubElement(parent, "CdtTrfTxInf")
    identity = SubElement(element, "PmtId")
    _text(identity, "InstrId", item.payment_id)
    _text(identity, "EndToEndId", item.payment_id)
    amount = SubElement(SubElement(element, "Amt"), "InstdAmt", {"Ccy": CURRENCY})
    amount.text = cents_text(item.amount)
    _agent(element, "CdtrAgt", bank)
    _party(element, "Cdtr", bank)
    _account(element, "CdtrAcct", bank)
    remittance = f"{item.account} entry {item.entry_index}"
    _text(SubElement(element, "RmtInf"), "Ustrd", remittance[:REMITTANCE_LENGTH_MAX])


def _party(parent: Element, tag: str, bank: BankDetails) -> None:
    element = SubElement(parent, tag)
    _text(element, "Nm", bank.name)
    address = [
        (name, value)
        for name, value in (
            ("StrtNm", bank.street),
            ("PstCd", bank.postcode),
            ("TwnNm", bank.town),
            ("Ctry", bank.country),
        )
        if value
    ]
    if address:
        place = SubElement(element, "PstlAdr")
        for name, value in address:
            _text(place, name, value)


def _account(parent: Element, tag: str, bank: BankDetails) -> None:
    identity = SubElement(SubElement(parent, tag), "Id")
    if bank.iban:
        _text(identity, "IBAN", bank.iban)
    else:
        _text(SubElement(identity, "Othr"), "Id", bank.account_number)


def _agent(parent: Element, tag: str, bank: BankDetails) -> None:
    institution = SubElement(SubElement(parent, tag), "FinInstnId")
    if bank.bic:
        _text(institution, "BICFI", bank.bic)
    if bank.clearing_system:
        member = SubElement(institution, "ClrSysMmbId")
        _text(SubElement(member, "ClrSysId"), "Cd", bank.clearing_system)
        _text(member, "MmbId", bank.clearing_member)
    if not (bank.bic or bank.clearing_system):
        # An IBAN alone names the bank; the element itself may not be left out.
        _text(SubElement(institution, "Othr"), "Id", "NOTPROVIDED")


def _text(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
