from __future__ import annotations

import pytest

from clearing.types import Interval
from clearing.units import MicroUsd, UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.books import Applied
from settlement.postings import payable
from settlement.statements import statement
from settlement.types import Statement, TransferCode
from tests.unit.settlement.builders import (
    DOLLAR,
    World,
    assignment,
    contract,
    legs,
    metered,
    price,
)

PERIOD = Interval(start=UnixSeconds(0), end=UnixSeconds(86_400))


@pytest.fixture
def world() -> World:
    firm = contract("bid", 8, legs(3 * DOLLAR, power=400_000))
    made = World(assignment(firm, prices=(price(3 * DOLLAR, power=400_000),)))
    made.close(metered(firm, failed={0: 1_800}, gap=2_400))
    return made


def of(world: World, account: str, *, opening: int = 0, payout: int = 0) -> Statement:
    touching: list[Applied] = [
        item
        for item in world.applied
        if account in {item.transfer.debit, item.transfer.credit} and item.transfer.asset == "USD"
    ]
    return statement(
        party_id="x",
        account=account,
        asset="USD",
        period=PERIOD,
        opening=MicroUsd(opening),
        applied=touching,
        payout=MicroUsd(payout),
    )


def test_lines_add_up_to_the_balance(world: World) -> None:
    for account in ("p:F:cash", "p:S1:cash", "community:site-a", accounts.OPERATOR_FEE):
        made = of(world, account, opening=11)
        assert made.closing == 11 + sum(line.amount for line in made.lines)
        assert made.closing == 11 + world.posted(account)


def test_one_line_per_code_contract_and_hour(world: World) -> None:
    made = of(world, "p:S1:cash")
    lines = {line.code: line for line in made.lines}
    assert len(lines) == len(made.lines)
    assert lines[TransferCode.SUPPLY].amount == 24_000_000
    assert lines[TransferCode.SUPPLY].quantity == 28_800
    assert lines[TransferCode.SUPPLY].price == 3_000_000
    failure = lines[TransferCode.FAILURE]
    # 1.50 kept back from earnings and .20 out of the stop-loss hold, for 1,800 chip-seconds.
    assert (failure.amount, failure.quantity, len(failure.transfer_ids)) == (-1_700_000, 1_800, 2)
    assert failure.counterparty.startswith("pot:")
    assert TransferCode.STOP_LOSS_HOLD not in lines


def test_payout_is_whole_cents_of_the_closing_balance(world: World) -> None:
    community = of(world, "community:site-a")
    amount = payable(world.books.balance("community:site-a"))
    assert of(world, "community:site-a", payout=amount).payout == amount
    for wrong in (amount + 10_000, 1, -10_000):
        with pytest.raises(SettlementError) as caught:
            of(world, "community:site-a", payout=wrong)
        assert caught.value.code is SettlementErrorCode.PAYOUT_NOT_WHOLE_CENTS
    assert community.payout == 0


def test_a_foreign_transfer_is_refused(world: World) -> None:
    with pytest.raises(SettlementError) as caught:
        statement(
            party_id="F", account="p:F:cash", asset="USD", period=PERIOD, opening=MicroUsd(0),
            applied=world.applied, payout=MicroUsd(0),
        )  # fmt: skip
    assert caught.value.code is SettlementErrorCode.STATEMENT_MISMATCH
