"""Bank details of parties, checked as far as their form allows.

They are no part of the ledger: the operator keeps them in a table of its own and hands
them in when a payment file is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from settlement.exports.errors import ExportError, ExportErrorCode

NAME_LENGTH_MAX: Final = 140
IBAN_MODULUS: Final = 97
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}", re.ASCII)
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./-]{0,33}", re.ASCII)
_CLEARING_SYSTEM: Final = re.compile(r"[A-Z]{5}", re.ASCII)
_MEMBER: Final = re.compile(r"[A-Za-z0-9]{1,35}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BankDetails:
    """Where a party is paid; the field names are the columns of the operator's table.

    Attributes:
        party_id: Participant.
        name: Holder of the account.
        iban: Or empty; then ``account_number``.
        account_number: National account number.
        bic: BIC of the bank, or empty; then ``clearing_system`` and ``clearing_member``.
        clearing_system: Code of ISO 20022 external code set, such as ``USABA``.
        clearing_member: Number of the bank there, such as an ABA routing number.
        country: Of the holder, ISO 3166-1 alpha-2, or empty.
        town: Of the holder, or empty.
        postcode: Of the holder, or empty.
        street: Of the holder, or empty.
    """

    party_id: str
    name: str
    iban: str = ""
    account_number: str = ""
    bic: str = ""
    clearing_system: str = ""
    clearing_member: str = ""
    country: str = ""
    town: str = ""
    postcode: str = ""
    street: str = ""


COLUMNS: Final = tuple(field.name for field in fields(BankDetails))


def bank_table(rows: Iterable[Mapping[str, str]]) -> dict[str, BankDetails]:
    """Bank details by party.

    Args:
        rows: Columns of ``COLUMNS``; those left out are empty. Spaces in an IBAN are taken
            out, spaces around any value too.

    Raises:
        ExportError: ``BANK_DETAILS_INVALID``: a column that is not known, a party twice, or
            details with which nobody can be paid.
    """
    found: dict[str, BankDetails] = {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(COLUMNS))
        if unknown:
            raise _invalid(f"row {number}", f"unknown column {unknown[0]}")
        values = {name: row.get(name, "").strip() for name in COLUMNS}
        values["iban"] = values["iban"].replace(" ", "").upper()
        details = BankDetails(**values)
        _check(details, f"row {number}")
        if details.party_id in found:
            raise _invalid(details.party_id, "stands in the bank table twice")
        found[details.party_id] = details
    return found


def _check(details: BankDetails, place: str) -> None:
    party = details.party_id or place
    if not details.party_id:
        raise _invalid(place, "names no party_id")
    if not 1 <= len(details.name) <= NAME_LENGTH_MAX:
        raise _invalid(party, f"name must have 1 to {NAME_LENGTH_MAX} characters")
    for field, longest in (("town", 35), ("postcode", 16), ("street", 70), ("name", 140)):
        value = getattr(details, field)
        if len(value) > longest or _TEXT.fullmatch(value) is None:
            raise _invalid(party, f"{field} is longer than {longest} or holds control characters")
    if details.country and _COUNTRY.fullmatch(details.country) is None:
        raise _invalid(party, "country is no ISO 3166-1 code of two letters")
    if bool(details.iban) == bool(details.account_number):
        raise _invalid(party, "needs either an iban or an account_number")
    if details.iban and not is_iban(details.iban):
        raise _invalid(party, "the check digits of the IBAN do not hold")
    if details.account_number and _ACCOUNT.fullmatch(details.account_number) is None:
        raise _invalid(party, "account_number has more than 34 characters, or others than allowed")
    if details.bic and _BIC.fullmatch(details.bic) is None:
        raise _invalid(party, "bic has another form than a BIC")
    if bool(details.clearing_system) != bool(details.clearing_member):
        raise _invalid(party, "clearing_system and clearing_member belong together")
    if details.clearing_system and not (
        _CLEARING_SYSTEM.fullmatch(details.clearing_system)
        and _MEMBER.fullmatch(details.clearing_member)
    ):
        raise _invalid(party, "clearing_system is a code such as USABA, clearing_member a number")
    if details.account_number and not (details.bic or details.clearing_system):
        raise _invalid(party, "an account_number needs a bic, or clearing_system and _member")


def is_iban(text: str) -> bool:
    """Whether a text without spaces has the form and the check digits of an IBAN (ISO 13616).

    Example:
        >>> is_iban("DE89370400440532013000"), is_iban("DE88370400440532013000")
        (True, False)
    """
    if _IBAN.fullmatch(text) is None:
        return False
    digits = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return int(digits) % IBAN_MODULUS == 1


def _invalid(subject: str, detail: str) -> ExportError:
    return ExportError(ExportErrorCode.BANK_DETAILS_INVALID, subject, detail)
