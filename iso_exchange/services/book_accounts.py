"""Which accounts of the books belong to a participant."""

from __future__ import annotations

from iso_exchange.commands import Role
from iso_exchange.sequencer.state import State
from settlement.errors import SettlementError
from settlement.ledger import accounts


def accounts_of(state: State, participant_id: str) -> tuple[str, ...]:
    """Names of a participant's accounts: its own, its sites' surcharge, the operator's fee."""
    own = [
        accounts.cash(participant_id),
        accounts.collateral(participant_id),
        accounts.compute(participant_id),
    ]
    own.extend(
        accounts.community(site_id)
        for site_id, record in sorted(state.sites.items())
        if record.community_id == participant_id
    )
    participant = state.participants.get(participant_id)
    if participant is not None and Role.OPERATOR in participant.roles:
        own.append(accounts.OPERATOR_FEE)
    return tuple(own)


def is_account(name: str) -> bool:
    """Whether a text names an account of the chart."""
    try:
        accounts.parse(name)
    except SettlementError:
        return False
    return True
