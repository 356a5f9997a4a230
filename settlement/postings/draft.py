"""A document of transfers while it is being written."""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing.errors import InvariantError
from clearing.units import ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from settlement.ledger import accounts
from settlement.types import USD, Phase, Transfer, TransferCode

NO_START = UnixSeconds(0)
NONE = ChipSeconds(0)
NO_PRICE = MicroUsdPerChipHour(0)


@dataclass(slots=True, kw_only=True)
class Draft:
    """Transfers in order, and what they leave in the stop-loss pool.

    Attributes:
        pool_balance: Posted balance of ``pool`` after the transfers written so far.
    """

    pool_balance: int = 0
    transfers: list[Transfer] = field(default_factory=list)

    def post(
        self,
        transfer_id: str,
        debit: str,
        credit: str,
        amount: int,
        code: TransferCode,
        *,
        asset: str = USD,
        reason: str = "",
        contract_id: str = "",
        start: UnixSeconds = NO_START,
        quantity: int = 0,
        price: int = 0,
    ) -> None:
        """Write a posted transfer; nothing for an amount of zero or within one account.

        Raises:
            InvariantError: the amount is negative, or ``pool`` would be overdrawn.
        """
        if amount < 0:
            raise InvariantError(f"{transfer_id} would move {amount}")
        if amount == 0 or debit == credit:
            return
        if debit == accounts.POOL:
            self.pool_balance -= amount
            if self.pool_balance < 0:
                raise InvariantError(f"{transfer_id} overdraws the pool by {-self.pool_balance}")
        elif credit == accounts.POOL:
            self.pool_balance += amount
        self.transfers.append(
            Transfer(
                transfer_id=transfer_id,
                asset=asset,
                debit=debit,
                credit=credit,
                amount=amount,
                phase=Phase.POSTED,
                code=code,
                reason=reason,
                contract_id=contract_id,
                interval_start=start,
                quantity=ChipSeconds(quantity),
                price=MicroUsdPerChipHour(price),
            )
        )

    def resolve(
        self,
        hold: Transfer | None,
        transfer_id: str,
        amount: int,
        code: TransferCode,
        *,
        reason: str = "",
        quantity: int = 0,
        price: int = 0,
    ) -> None:
        """Post part of a hold and void the rest, or void it; nothing where there is no hold.

        Raises:
            InvariantError: the amount is outside 0 .. hold.
        """
        held = 0 if hold is None else hold.amount
        if not 0 <= amount <= held:
            raise InvariantError(f"{transfer_id} would post {amount} of {held}")
        if hold is None:
            return
        if hold.credit == accounts.POOL:
            self.pool_balance += amount
        self.transfers.append(
            Transfer(
                transfer_id=transfer_id,
                asset=hold.asset,
                debit=hold.debit,
                credit=hold.credit,
                amount=amount,
                phase=Phase.POST_PENDING if amount else Phase.VOID_PENDING,
                code=code if amount else hold.code,
                pending_id=hold.transfer_id,
                reason=reason,
                contract_id=hold.contract_id,
                interval_start=hold.interval_start,
                quantity=ChipSeconds(quantity),
                price=MicroUsdPerChipHour(price),
            )
        )


def hold_of(
    transfer_id: str,
    debit: str,
    credit: str,
    amount: int,
    code: TransferCode,
    *,
    contract_id: str = "",
    start: UnixSeconds = NO_START,
    quantity: int = 0,
    price: int = 0,
) -> Transfer | None:
    """A pending transfer, or None where there is nothing to hold."""
    if amount <= 0 or debit == credit:
        return None
    return Transfer(
        transfer_id=transfer_id,
        asset=USD,
        debit=debit,
        credit=credit,
        amount=amount,
        phase=Phase.PENDING,
        code=code,
        contract_id=contract_id,
        interval_start=start,
        quantity=ChipSeconds(quantity),
        price=MicroUsdPerChipHour(price),
    )
