"""Registry commands: participants, keys, sites, pools, meters, chip tables, deposits."""

from __future__ import annotations

from clearing.types import MAX_CHIPS, MAX_PRICE_MICRO_USD_PER_CHIP_HOUR, Pool, Site
from clearing.units import PPM
from iso_exchange.commands import (
    PublishChipTable,
    RecordDeposit,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    ReinstateParticipant,
    RevokeKey,
    Role,
    SuspendParticipant,
)
from iso_exchange.sequencer.effects import Accepted, Meta, active_participant, post
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Meter, Participant, PoolRecord, SiteRecord, State
from settlement.ledger import accounts
from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import key_id, load_public_key
from settlement.metering import chip_table
from settlement.postings.deposits import deposit
from settlement.types import Postings

IDENTIFIER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
IDENTIFIER_LENGTH_MAX = 64
DEPOSIT_MAX_MICRO_USD = 10**17
COLLATERAL_MAX_MICRO_USD = 10**18
"""Far below 2**63, in which the wire says what is available."""
RESERVED_IDENTIFIERS = frozenset({"sequencer"})
"""The sequencer submits batch headers under its own name, with request ids of its own."""

_ALONE = frozenset({Role.OPERATOR, Role.EXCHANGE, Role.AUDITOR})
"""Roles of those who run or check the market: whoever has one trades and earns nothing in it."""
_TRADING = frozenset({Role.SUPPLIER, Role.BUYER, Role.COMMUNITY})
_NEVER_WITHOUT_KEY = frozenset({Role.OPERATOR, Role.EXCHANGE})


def register_participant(
    state: State, command: RegisterParticipant, _: Meta
) -> Accepted | Rejected:
    """Admit a participant; the very first one is the operator, signed by itself."""
    refused = _refuse_identifier("participant_id", command.participant_id) or refuse_key(
        command.public_key
    )
    if refused:
        return refused
    if command.participant_id in state.participants:
        return _exists("participant_id", command.participant_id)
    refused = _refuse_roles(state, command)
    if refused:
        return refused
    if not state.participants and Role.OPERATOR not in command.roles:
        return Rejected(
            code=Code.WRONG_ROLE,
            field="roles",
            advice="the first participant of an exchange is its operator",
        )
    if is_key_known(state, command.public_key):
        return _exists("public_key", command.public_key.hex())
    state.participants[command.participant_id] = Participant(
        participant_id=command.participant_id,
        display_name=command.display_name,
        roles=frozenset(command.roles),
        keys={key_id(command.public_key): command.public_key},
        country=command.country,
    )
    return Accepted()


def revoke_key(state: State, command: RevokeKey, _: Meta) -> Accepted | Rejected:
    """Move a key to the revoked ones; what it signed before stays valid."""
    participant = state.participants.get(command.participant_id)
    if participant is None:
        return _unknown("participant_id", command.participant_id, Code.UNKNOWN_PARTICIPANT)
    if command.key_id not in participant.keys:
        return _unknown("key_id", command.key_id, Code.NOT_FOUND)
    for role in sorted(participant.roles & _NEVER_WITHOUT_KEY, key=lambda role: role.value):
        left = sum(len(other.keys) for other in state.participants.values() if role in other.roles)
        if left == 1:
            return Rejected(
                code=Code.WRONG_STATE,
                field="key_id",
                advice="the exchange would stop for good: admit a successor first",
                got=command.key_id,
                limit=f"one key of role {role.value} in force",
            )
    participant.revoked[command.key_id] = participant.keys.pop(command.key_id)
    return Accepted()


def suspend_participant(state: State, command: SuspendParticipant, _: Meta) -> Accepted | Rejected:
    """Refuse new orders of a participant; its open orders stay (see CancelAllOrders)."""
    participant = state.participants.get(command.participant_id)
    if participant is None:
        return _unknown("participant_id", command.participant_id, Code.UNKNOWN_PARTICIPANT)
    if not command.reason:
        return Rejected(code=Code.INVALID_VALUE, field="reason", advice="give a reason")
    if participant.suspended:
        return Rejected(
            code=Code.WRONG_STATE, field="participant_id", advice="it is suspended already"
        )
    participant.suspended = command.reason
    return Accepted()


def reinstate_participant(
    state: State, command: ReinstateParticipant, _: Meta
) -> Accepted | Rejected:
    """Lift a suspension."""
    participant = state.participants.get(command.participant_id)
    if participant is None:
        return _unknown("participant_id", command.participant_id, Code.UNKNOWN_PARTICIPANT)
    if not participant.suspended:
        return Rejected(code=Code.WRONG_STATE, field="participant_id", advice="it is not suspended")
    participant.suspended = ""
    return Accepted()


def register_site(state: State, command: RegisterSite, _: Meta) -> Accepted | Rejected:
    """Add a site; one without a surcharge is refused, zero must be said."""
    refused = _refuse_identifier("site_id", command.site_id)
    if refused:
        return refused
    if command.surcharge is None:
        return Rejected(
            code=Code.SITE_WITHOUT_SURCHARGE,
            field="surcharge_micro_usd_per_chip_hour",
            advice="state the community surcharge of the site, 0 if its community asks for none",
        )
    if not 0 <= command.surcharge <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="surcharge_micro_usd_per_chip_hour",
            advice="state it in micro-USD per chip-hour, from 0 to 1,000 US dollars",
            got=str(command.surcharge),
        )
    if command.power_limit is not None and command.power_limit <= 0:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="power_limit_watts",
            advice="state watts above zero, or leave it out when power never binds",
            got=str(command.power_limit),
        )
    if command.community_id not in state.participants:
        return _unknown("community_id", command.community_id, Code.UNKNOWN_PARTICIPANT)
    if Role.COMMUNITY not in state.participants[command.community_id].roles:
        return Rejected(
            code=Code.WRONG_ROLE,
            field="community_id",
            advice="a surcharge goes to a participant with role COMMUNITY",
            got=command.community_id,
            limit=Role.COMMUNITY.value,
        )
    if command.site_id in state.sites:
        return _exists("site_id", command.site_id)
    state.sites[command.site_id] = SiteRecord(
        site=Site(
            site_id=command.site_id,
            surcharge=command.surcharge,
            power_limit=command.power_limit,
            region=command.region,
            country=command.country,
            data_residency=tuple(sorted(command.data_residency)),
            legal_controls=tuple(sorted(command.legal_controls)),
            certifications=tuple(sorted(command.certifications)),
        ),
        community_id=command.community_id,
        subdivision=command.subdivision,
        carbon_grams_per_kwh=command.carbon_grams_per_kwh,
    )
    return Accepted()


def register_pool(state: State, command: RegisterPool, _: Meta) -> Accepted | Rejected:
    """Add a pool of a known site and a chip class of the table in force."""
    refused = (
        _refuse_identifier("pool_id", command.pool_id)
        or _refuse_pool_references(state, command)
        or _refuse_pool_figures(command)
    )
    if refused:
        return refused
    if command.pool_id in state.pools:
        return _exists("pool_id", command.pool_id)
    state.pools[command.pool_id] = PoolRecord(
        pool=Pool(
            pool_id=command.pool_id,
            site_id=command.site_id,
            chip_class=command.chip_class,
            chips_per_node=command.chips_per_node,
            capacity=command.capacity,
            chip_power=command.chip_power,
            node_spare_ppm=command.node_spare_ppm,
            fabric=command.fabric,
        ),
        supplier_ids=frozenset(command.supplier_ids),
        derate_ppm=command.derate_ppm,
        precision=command.precision,
    )
    return Accepted()


def register_meter(state: State, command: RegisterMeter, _: Meta) -> Accepted | Rejected:
    """Add the meter of a pool: one key per pool; a new one once that of the last is revoked."""
    refused = _refuse_identifier("meter_id", command.meter_id) or refuse_key(command.public_key)
    if refused:
        return refused
    if command.pool_id not in state.pools:
        return _unknown("pool_id", command.pool_id, Code.UNKNOWN_POOL)
    if command.meter_id in state.participants:
        return _exists("meter_id", command.meter_id)
    present = state.meter_of_pool.get(command.pool_id)
    if present is not None and state.participants[present].keys:
        return _exists("pool_id", command.pool_id)
    if is_key_known(state, command.public_key):
        return _exists("public_key", command.public_key.hex())
    state.participants[command.meter_id] = Participant(
        participant_id=command.meter_id,
        display_name=f"meter of {command.pool_id}",
        roles=frozenset((Role.METER,)),
        keys={key_id(command.public_key): command.public_key},
    )
    state.meters[command.meter_id] = Meter(meter_id=command.meter_id, pool_id=command.pool_id)
    state.meter_of_pool[command.pool_id] = command.meter_id
    return Accepted()


def publish_chip_table(state: State, command: PublishChipTable, _: Meta) -> Accepted | Rejected:
    """Put a version of the chip table in force."""
    try:
        table = chip_table.parse(command.document)
    except chip_table.ChipTableError as error:
        return Rejected(code=Code.INVALID_VALUE, field="document", advice=str(error))
    if table.version != command.version:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="version",
            advice="the version must be the one the document names",
            got=command.version,
            limit=table.version,
        )
    if command.version in state.chip_tables:
        return _exists("version", command.version)
    state.chip_tables[command.version] = table
    state.chip_table_version = command.version
    return Accepted()


def record_deposit(state: State, command: RecordDeposit, meta: Meta) -> Accepted | Rejected:
    """Book collateral received; one bank reference counts once."""
    if command.participant_id not in state.participants:
        return _unknown("participant_id", command.participant_id, Code.UNKNOWN_PARTICIPANT)
    if not 0 < command.amount <= DEPOSIT_MAX_MICRO_USD:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="amount_micro_usd",
            advice="a deposit is above zero and at most 100 billion US dollars",
            got=str(command.amount),
        )
    if not command.bank_reference:
        return Rejected(
            code=Code.INVALID_VALUE, field="bank_reference", advice="name the bank transfer"
        )
    if command.bank_reference in state.bank_references:
        return _exists("bank_reference", command.bank_reference)
    held = state.books.posted(accounts.collateral(command.participant_id))
    if held + command.amount > COLLATERAL_MAX_MICRO_USD:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="amount_micro_usd",
            advice="collateral of one participant is at most a million million US dollars",
            got=str(command.amount),
            limit=str(COLLATERAL_MAX_MICRO_USD - held),
        )
    applied = post(
        state,
        meta,
        Postings(
            postings_id=f"deposit/{command.bank_reference}",
            transfers=(deposit(command.participant_id, command.amount, command.bank_reference),),
        ),
    )
    if isinstance(applied, Rejected):
        return applied
    state.bank_references.add(command.bank_reference)
    return Accepted(owners=(command.participant_id,), transfers=applied)


def _refuse_roles(state: State, command: RegisterParticipant) -> Rejected | None:
    """Whoever runs or checks the market takes no part in it; there is one set of services."""
    roles = set(command.roles)
    if not roles:
        return Rejected(code=Code.INVALID_VALUE, field="roles", advice="name at least one role")
    advice = ""
    if roles & _ALONE and roles & _TRADING:
        advice = "who operates, serves or audits the exchange neither trades nor earns in it"
    elif Role.METER in roles:
        advice = "register a meter with its pool (RegisterMeter)"
    elif Role.EXCHANGE in roles and len(roles) > 1:
        advice = "the exchange's services have no other role"
    elif Role.EXCHANGE in roles and any(
        Role.EXCHANGE in other.roles for other in state.participants.values()
    ):
        advice = "the exchange's services are registered already"
    if not advice:
        return None
    return Rejected(
        code=Code.INVALID_VALUE,
        field="roles",
        advice=advice,
        got=",".join(sorted(role.value for role in roles)),
    )


def _refuse_pool_references(state: State, command: RegisterPool) -> Rejected | None:
    if command.site_id not in state.sites:
        return _unknown("site_id", command.site_id, Code.UNKNOWN_SITE)
    table = state.chip_table()
    if table is None or command.chip_class not in table.chip_classes():
        return _unknown("chip_class", command.chip_class, Code.UNKNOWN_CHIP_CLASS)
    precisions = sorted(peak.precision.value for peak in table.get(command.chip_class).peaks)
    accounted = {
        record.precision
        for record in state.pools.values()
        if record.pool.chip_class == command.chip_class
    }
    if command.precision not in precisions or accounted - {command.precision}:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="precision",
            advice="choose a precision of the chip table, the same in all pools of a chip class",
            got=command.precision,
            limit=",".join(sorted(accounted) or precisions),
        )
    for supplier_id in command.supplier_ids:
        supplier = active_participant(state, supplier_id, Role.SUPPLIER)
        if isinstance(supplier, Rejected):
            return supplier
    return None


def _refuse_pool_figures(command: RegisterPool) -> Rejected | None:
    if command.chips_per_node <= 0 or not 0 < command.capacity <= MAX_CHIPS:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="capacity_chips",
            advice="state chips per node and capacity above zero",
            got=f"{command.capacity} in nodes of {command.chips_per_node}",
        )
    if command.capacity % command.chips_per_node:
        return Rejected(
            code=Code.NOT_NODE_MULTIPLE,
            field="capacity_chips",
            advice="capacity is whole nodes",
            got=str(command.capacity),
            limit=f"multiple of {command.chips_per_node}",
        )
    if not 0 < command.derate_ppm <= PPM or not 0 <= command.node_spare_ppm <= PPM:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="derate_ppm",
            advice="shares are parts per million: derate 1 to 1,000,000, spare 0 to 1,000,000",
            got=f"{command.derate_ppm}, {command.node_spare_ppm}",
        )
    if command.chip_power < 0:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="chip_power_watts",
            advice="power is zero or more",
            got=str(command.chip_power),
        )
    return None


def is_key_known(state: State, public_key: bytes) -> bool:
    """Whether a key is, or was, somebody's: a participant's, the root key or a log key."""
    if public_key == state.root_key or public_key in state.log_keys:
        return True
    wanted = key_id(public_key)
    return any(
        wanted in participant.keys or wanted in participant.revoked
        for participant in state.participants.values()
    )


def _refuse_identifier(field: str, value: str) -> Rejected | None:
    well_formed = (
        0 < len(value) <= IDENTIFIER_LENGTH_MAX
        and set(value) <= IDENTIFIER_CHARACTERS
        and bool(value.strip("."))
    )
    if well_formed and value not in RESERVED_IDENTIFIERS:
        return None
    return Rejected(
        code=Code.INVALID_VALUE,
        field=field,
        advice="use 1 to 64 of a-z, 0-9, dot, dash and underscore, not only dots, no reserved name",
        got=value[:IDENTIFIER_LENGTH_MAX],
    )


def refuse_key(public_key: bytes, field: str = "public_key") -> Rejected | None:
    """Refuse what is no usable Ed25519 public key."""
    try:
        load_public_key(public_key)
    except KeyFormatError as error:
        return Rejected(
            code=Code.INVALID_VALUE,
            field=field,
            advice="send the raw Ed25519 public key, 32 bytes",
            got=str(error),
        )
    return None


def _exists(field: str, value: str) -> Rejected:
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field=field,
        advice="choose another, or use what is there",
        got=value,
    )


def _unknown(field: str, value: str, code: Code) -> Rejected:
    return Rejected(
        code=code, field=field, advice="register it first, or check the spelling", got=value
    )
