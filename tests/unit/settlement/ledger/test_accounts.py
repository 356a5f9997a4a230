from __future__ import annotations

import pytest

from clearing.units import UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind

HOUR = UnixSeconds(3_600)

CHART = [
    (accounts.cash("lab-1"), "p:lab-1:cash", AccountKind.CASH, ("lab-1",)),
    (accounts.collateral("lab-1"), "p:lab-1:collateral", AccountKind.COLLATERAL, ("lab-1",)),
    (accounts.compute("lab-1"), "p:lab-1:compute", AccountKind.COMPUTE, ("lab-1",)),
    (accounts.pot("da", HOUR), "pot:da:3600", AccountKind.POT, ("da", "3600")),
    (accounts.order_pot("da"), "pot:da:0", AccountKind.POT, ("da", "0")),
    (accounts.cover("da", "p", HOUR), "cover:da:p:3600", AccountKind.COVER, ("da", "p", "3600")),
    (accounts.rent("s"), "rent:s", AccountKind.RENT, ("s",)),
    (accounts.link("l"), "link:l", AccountKind.LINK, ("l",)),
    (accounts.POOL, "pool", AccountKind.POOL, ()),
    (accounts.community("s"), "community:s", AccountKind.COMMUNITY, ("s",)),
    (accounts.OPERATOR_FEE, "operator:fee", AccountKind.OPERATOR_FEE, ()),
    (accounts.dispute("da/o/p/s"), "dispute:da/o/p/s", AccountKind.DISPUTE, ("da/o/p/s",)),
    (accounts.BANK, "bank", AccountKind.BANK, ()),
    (accounts.TREASURY, "treasury", AccountKind.TREASURY, ()),
    (accounts.team("t"), "team:t", AccountKind.TEAM, ("t",)),
]


@pytest.mark.parametrize(("name", "text", "kind", "parts"), CHART, ids=str)
def test_names_both_ways(name: str, text: str, kind: AccountKind, parts: tuple[str, ...]) -> None:
    assert name == text
    assert accounts.parse(name) == accounts.Account(kind=kind, parts=parts)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "p:a",
        "p::cash",
        "p:a:held",
        "pot:da",
        "pot:da:x",
        "pot:da:01",
        "pot:da:-1",
        "poo",
        "p:a:cash:b",
    ],
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(SettlementError) as caught:
        accounts.parse(name)
    assert caught.value.code is SettlementErrorCode.ACCOUNT_UNKNOWN


@pytest.mark.parametrize("identifier", ["", "a:b"])
def test_identifiers_that_would_collide_are_refused(identifier: str) -> None:
    with pytest.raises(SettlementError) as caught:
        accounts.cash(identifier)
    assert caught.value.code is SettlementErrorCode.IDENTIFIER_INVALID
