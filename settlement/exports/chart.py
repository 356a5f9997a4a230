"""The chart of accounts as bookkeeping programs name it.

hledger takes the ledger's own names: they are hierarchies with colons already. Beancount
asks for one of five roots and for components that begin with a capital letter or a digit,
so there each name is rewritten, one to one.

Debits are positive in both, so what the exchange owes has a negative balance there: the
ledger's ``posted`` with the sign turned.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.types import USD

HELD: Final = "held"
PROMISED: Final = "promised"
"""Memorandum accounts of open holds, ``held:<debit account>`` and ``promised:<credit account>``."""

_ROOTS: Final[dict[AccountKind, tuple[str, tuple[str, ...]]]] = {
    AccountKind.CASH: ("Liabilities", ("Participant", "{0}", "Cash")),
    AccountKind.COLLATERAL: ("Liabilities", ("Participant", "{0}", "Collateral")),
    AccountKind.COMPUTE: ("Equity", ("Compute", "{0}")),
    AccountKind.POT: ("Liabilities", ("Pot", "{0}", "{1}")),
    AccountKind.COVER: ("Liabilities", ("Cover", "{0}", "{1}", "{2}")),
    AccountKind.RENT: ("Liabilities", ("Rent", "{0}")),
    AccountKind.LINK: ("Liabilities", ("Link", "{0}")),
    AccountKind.POOL: ("Equity", ("StopLossPool",)),
    AccountKind.COMMUNITY: ("Liabilities", ("Community", "{0}")),
    AccountKind.OPERATOR_FEE: ("Liabilities", ("OperatorFee",)),
    AccountKind.DISPUTE: ("Liabilities", ("Dispute", "{0}")),
    AccountKind.BANK: ("Assets", ("Bank",)),
    AccountKind.TREASURY: ("Equity", ("Treasury",)),
    AccountKind.TEAM: ("Liabilities", ("Team", "{0}")),
}
"""Root and path per kind: money of others is a liability of the clearing house."""

_HLEDGER_TYPE: Final = {"Assets": "A", "Liabilities": "L", "Equity": "E"}
_LITERAL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_ESCAPE: Final = "X"
_CREDIT: Final = "CREDIT:"


def hledger_account(account: str) -> str:
    """Name of an account in hledger; percent-encoded where it holds more than identifiers do.

    Example:
        >>> hledger_account("p:lab-1:cash")
        'p:lab-1:cash'
    """
    return quote(account, safe=":/._-")


def hledger_type(account: str) -> str:
    """Account type in hledger: ``A``, ``L`` or ``E``."""
    if _memorandum(account) is not None:
        return "E"
    return _HLEDGER_TYPE[_ROOTS[accounts.parse(account).kind][0]]


def hledger_commodity(asset: str) -> str:
    """Commodity symbol, quoted where it is not letters alone."""
    if asset.isascii() and asset.isalpha():
        return asset
    return f'"{quote(asset, safe=":._-")}"'


def beancount_account(account: str) -> str:
    """Name of an account in Beancount.

    Identifiers keep lower-case letters, digits and hyphens. The first letter becomes a
    capital one; every other character is ``X`` and two hexadecimal digits per byte of its
    UTF-8, so that different accounts keep different names.

    Example:
        >>> beancount_account("p:lab-1:cash"), beancount_account("community:Site_A")
        ('Liabilities:Participant:Lab-1:Cash', 'Liabilities:Community:X53iteX5FX41')
    """
    memorandum = _memorandum(account)
    if memorandum is not None:
        kind, inner = memorandum
        _, path = beancount_account(inner).split(":", 1)
        return f"Equity:{kind.capitalize()}:{path}"
    parsed = accounts.parse(account)
    root, path_parts = _ROOTS[parsed.kind]
    parts = [part.format(*map(_component, parsed.parts)) for part in path_parts]
    return ":".join((root, *parts))


def beancount_currency(asset: str) -> str:
    """Currency name: capital letters, digits and ``' . _ -`` only.

    ``TFLOP:<precision>`` keeps capital letters, ``CREDIT:<organisation>`` turns lower-case
    ones into capital ones; every other character is an apostrophe and hexadecimal digits.

    Example:
        >>> beancount_currency("TFLOP:BF16"), beancount_currency("CREDIT:acme")
        ('TFLOP.BF16', 'CREDIT.ACME')
    """
    if asset == USD:
        return asset
    head, _, name = asset.partition(":")
    lower = asset.startswith(_CREDIT)
    encoded = "".join(_symbol(character, lower=lower) for character in name)
    return f"{head}.{encoded}"


def _memorandum(account: str) -> tuple[str, str] | None:
    kind, _, inner = account.partition(":")
    return (kind, inner) if kind in {HELD, PROMISED} else None


def _component(identifier: str) -> str:
    first, rest = identifier[:1], identifier[1:]
    if first.isascii() and (first.isdigit() or (first.islower() and first != _ESCAPE.lower())):
        head = first.upper()
    else:
        head = _escaped(first, _ESCAPE)
    return head + "".join(
        character if character in _LITERAL else _escaped(character, _ESCAPE) for character in rest
    )


def _symbol(character: str, *, lower: bool) -> str:
    if character.isascii() and character.isdigit():
        return character
    if character.isascii() and (character.islower() if lower else character.isupper()):
        return character.upper()
    return _escaped(character, "'")


def _escaped(character: str, mark: str) -> str:
    return "".join(f"{mark}{byte:02X}" for byte in character.encode())
