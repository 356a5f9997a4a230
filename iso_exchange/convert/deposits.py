"""Deposits."""

from __future__ import annotations

from typing import Final

from clearing.units import MicroUsd
from iso_exchange.api.v1 import deposit_pb2
from iso_exchange.commands import RecordDeposit
from iso_exchange.convert.fields import Reader
from iso_exchange.convert.headers import read_header, write_header

BANK_REFERENCE_LENGTH_MAX: Final = 140


def read_deposit(body: Reader) -> RecordDeposit:
    """Collateral received."""
    return RecordDeposit(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        amount=MicroUsd(body.integer("amount_micro_usd")),
        bank_reference=body.text("bank_reference", longest=BANK_REFERENCE_LENGTH_MAX),
    )


def write_deposit(command: RecordDeposit) -> deposit_pb2.Deposit:
    """Body of a deposit."""
    return deposit_pb2.Deposit(
        header=write_header(command.header),
        participant_id=command.participant_id,
        amount_micro_usd=command.amount,
        bank_reference=command.bank_reference,
    )
