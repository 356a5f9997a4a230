"""Grants: capacity for non-profits and universities at zero price.

A grant is base load with a contract price of zero: its beneficiary nominates it. Where a spot
market sells chips of its pool, what is not nominated is interruptible supply of its runs, until
it is: then it is recalled with notice, and who gives the grant earned on it meanwhile. Where
there is none, a grant that is not nominated is used in full. Who gives it pays what base load
pays here (SETTLEMENT R7): surcharge, fee, power and cover; the beneficiary has accounts of its
own and is billed nothing.
"""

from __future__ import annotations

from clearing.types import Cover
from clearing.units import MicroUsdPerChipHour
from iso_exchange.commands import (
    RegisterEntitlement,
    Role,
)
from iso_exchange.money_commands import (
    RegisterGrant,
)
from iso_exchange.sequencer.base_load import register_entitlement
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State


def register_grant(state: State, command: RegisterGrant, meta: Meta) -> Accepted | Rejected:
    """Set chips of a pool aside for a beneficiary, as an entitlement of the grant's name."""
    signer = state.participants[command.header.signer_id]
    if signer.participant_id != command.supplier_id and Role.OPERATOR not in signer.roles:
        return Rejected(
            code=Code.NOT_OWNER,
            field="supplier_id",
            advice="a supplier gives its own capacity, or the operator records it",
            got=signer.participant_id,
            limit=command.supplier_id,
        )
    if not command.purpose:
        return Rejected(code=Code.INVALID_VALUE, field="purpose", advice="say what it is for")
    answer = register_entitlement(
        state,
        RegisterEntitlement(
            header=command.header,
            entitlement_id=command.grant_id,
            holder_id=command.beneficiary_id,
            supplier_id=command.supplier_id,
            pool_id=command.pool_id,
            period=command.period,
            chips=command.chips,
            contract_price=MicroUsdPerChipHour(0),
            cover=Cover.NONE,
        ),
        meta,
    )
    if isinstance(answer, Accepted):
        state.grants[command.grant_id] = command
        return Accepted()
    return answer


def is_left_to_spot(state: State, entitlement: RegisterEntitlement) -> bool:
    """Whether an entitlement that nobody nominated is for the runs of a spot market to sell."""
    return entitlement.entitlement_id in state.grants and any(
        entitlement.pool_id in market.pool_ids and not market.is_closed
        for market in state.markets.values()
    )


def payers_of(state: State) -> dict[str, str]:
    """Who pays the bills of each grant, by its entitlement."""
    return {name: grant.supplier_id for name, grant in state.grants.items()}
