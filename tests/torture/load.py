"""Signed commands without end: deposits, orders, amendments and cancellations of three labs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from clearing.types import Cover, ServiceClass
from clearing.units import MicroUsd
from iso_exchange import convert
from iso_exchange.commands import (
    CancelOrder,
    Command,
    RecordDeposit,
    RegisterEntitlement,
    StepBidTerms,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.signer import EXCHANGE_ID
from settlement.ledger import envelope
from tests.integration import market_day
from tests.integration.market_day import header, key_of

LABS = ("lab-1", "lab-2", "lab-3")


def sealed(signer: str, command: Command) -> bytes:
    """The envelope that a participant sends, again and again if need be."""
    signers = [key_of(signer)]
    if isinstance(command, RegisterEntitlement):
        signers.append(key_of(command.supplier_id))
    kind = ENTRY_KINDS[type(command)]
    return envelope.sign(kind.payload_type, convert.body_of(command), signers)


def opening() -> Iterator[bytes]:
    """Registry, deposits and the auction: what must be there before anybody orders."""
    secrets = ExchangeSecrets(
        log_key=key_of("log"), service_key=key_of(EXCHANGE_ID), derivation=b"d" * 32
    )
    for command in market_day.registry(secrets):
        yield sealed("operator", command)


def deposit(lab: str, number: int, chance: random.Random) -> bytes:
    """Money that the operator books."""
    return sealed(
        "operator",
        RecordDeposit(
            header=header("operator", f"load/{number}"),
            participant_id=lab,
            amount=MicroUsd(chance.randrange(1, 10**9)),
            bank_reference=f"load-{number}",
        ),
    )


def deposits(chance: random.Random) -> Iterator[bytes]:
    """Deposits only: none of them is ever refused."""
    for number in itertools.count(10**6):
        yield deposit(chance.choice(LABS), number, chance)


def endless(chance: random.Random) -> Iterator[bytes]:
    """Deposits, bids, amended and cancelled bids; an order's commands stand in their order."""
    conditions = market_day._conditions(ServiceClass.INTERRUPTIBLE, Cover.NONE)
    number = 0
    while True:
        number += 1
        lab = chance.choice(LABS)
        if chance.random() < 0.3:
            yield deposit(lab, number, chance)
            continue
        name = f"load-{number}"
        for revision in range(1, chance.randrange(1, 4)):
            price, chips = 1_000 * chance.randrange(1, 3_000), 8 * chance.randrange(1, 9)
            terms = StepBidTerms(
                conditions=conditions, segments=(market_day._segment((price, chips)),)
            )
            yield sealed(*market_day.order(lab, name, terms, revision=revision))
        if chance.randrange(2):
            yield sealed(lab, CancelOrder(header=header(lab, f"cancel/{name}"), order_id=name))
