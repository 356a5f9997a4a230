"""``iso deposit`` and ``iso balance``: collateral and money."""

from __future__ import annotations

from typing import Annotated

import typer

from iso_exchange.cli import output, values
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    receipt_document,
    send,
)
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import RecordDeposit


def deposit(
    context: typer.Context,
    participant: Annotated[str, typer.Argument(help="Whose collateral it is.")],
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT-USD", help="US dollars, such as 250000.00.")
    ],
    reference: Annotated[
        str, typer.Option("--reference", help="Reference of the bank transfer; booked once.")
    ],
    as_json: Json = False,
) -> None:
    """Book collateral received at the bank. Signed by the operator."""
    micro_usd = values.parse_amount(amount, "AMOUNT-USD")
    command = RecordDeposit(
        header=BLANK_HEADER, participant_id=participant, amount=micro_usd, bank_reference=reference
    )
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, participant_id=participant, amount_micro_usd=micro_usd),
        accepted(f"Booked {output.money_text(micro_usd)} for {participant}", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso --as {participant} balance", as_json=as_json)


def balance(
    context: typer.Context,
    participant: Annotated[
        str, typer.Option("--participant", help="Whose; others only for auditors. Default: own.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show balances in every asset, and the collateral free for new orders."""
    found = call(context, lambda client: client.balance(participant), as_json=as_json)
    rows = [
        (
            item.account,
            item.asset,
            _amount(item.posted, item.asset),
            _amount(item.pending_debit, item.asset),
            _amount(item.pending_credit, item.asset),
        )
        for item in found.balances
    ]
    output.answer(
        output.plain(found),
        output.table(("ACCOUNT", "ASSET", "POSTED", "HELD", "PROMISED"), rows),
        f"\nFree for new orders: {output.money_text(found.available_micro_usd)}",
        as_json=as_json,
    )


def _amount(text: str, asset: str) -> str:
    return output.money_text(int(text)) if asset == "USD" else text
