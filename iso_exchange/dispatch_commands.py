"""Commands of dispatch: instructions, acknowledgements, receipts, time-outs, access keys.

Part of ``iso_exchange.commands``, which names them all. Rules: docs/reference/spot-rules.md,
rules 12 to 16. Nodes of a pool are numbered from 0 along its fabric; people and the wire call
them ``n0000`` and so on, as meters do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.units import UnixSeconds
from iso_exchange.header import Header

NODE_PREFIX: Final = "n"
NODE_DIGITS: Final = 4
REQUEST_DIGITS: Final = 16
"""Hex digits of a digest in a request id."""


def node_name(node: int) -> str:
    """Name of a node of a pool, such as ``n0007``."""
    return f"{NODE_PREFIX}{node:0{NODE_DIGITS}d}"


def node_number(name: str) -> int | None:
    """Number of a node by its name; None for what is no name of a node."""
    digits = name.removeprefix(NODE_PREFIX)
    if digits == name or not (digits.isascii() and digits.isdigit()):
        return None
    number = int(digits)
    return number if node_name(number) == name else None


def cover_request(run_id: str, pool_id: str, participant_id: str, at: int) -> str:
    """Request id of the notices of a call of cover, within the length that is allowed."""
    about = hashlib.sha256(f"{run_id} {pool_id} {participant_id} {at}".encode()).hexdigest()
    return f"cover/{about[:REQUEST_DIGITS]}"


class InstructionKind(Enum):
    """What a supplier is to do with nodes."""

    START = "START"
    STOP = "STOP"
    REPLACE = "REPLACE"
    HOLD_SPARE = "HOLD_SPARE"
    RELEASE_SPARE = "RELEASE_SPARE"


class ReceiptKind(Enum):
    """What a supplier says of nodes that it was to start."""

    HANDED_OVER = "HANDED_OVER"
    CANNOT = "CANNOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One thing to do with nodes of a pool.

    Attributes:
        sequence: Of the pool, from 1, without gaps.
        load_id: Order or entitlement that the nodes serve, empty for spare.
        buyer_id: Who gets access to them, or has it; empty for spare.
        contract_ids: Contracts that the load began with, sorted.
        nodes: Numbers, ascending.
        replaces: For REPLACE: failed nodes in whose place ``nodes`` start.
        carried: The buyer has the nodes already, for another of its orders: nothing restarts,
            and no receipt is asked for.
        at: When it takes effect.
        due: Last second of the receipt; 0 where none is asked for.
        access_key: Hex X25519 key that access details are sealed to; empty where the buyer
            registered none.
    """

    sequence: int
    kind: InstructionKind
    load_id: str
    buyer_id: str
    contract_ids: tuple[str, ...]
    nodes: tuple[int, ...]
    replaces: tuple[int, ...]
    carried: bool
    at: UnixSeconds
    due: UnixSeconds
    access_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolInstructions:
    """Instructions of one pool, by sequence number; never empty."""

    pool_id: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionBatch:
    """Document: everything that changes at one moment in the pools of the same suppliers.

    Attributes:
        supplier_ids: Who supply all of these pools, sorted.
        start: Start of the interval that is dispatched.
        at: When it takes effect: the start, or later where something broke.
        pools: Those in which something changes, sorted.
    """

    market_id: str
    supplier_ids: tuple[str, ...]
    start: UnixSeconds
    at: UnixSeconds
    pools: tuple[PoolInstructions, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructSuppliers:
    """Tell the suppliers of some pools what changes; its log index names the batch.

    Attributes:
        batch_sha256: Hex digest of the ``InstructionBatch``, which follows from the state.
    """

    header: Header
    market_id: str
    supplier_ids: tuple[str, ...]
    start: UnixSeconds
    at: UnixSeconds
    batch_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeBatch:
    """A supplier has received a batch of instructions.

    Attributes:
        batch_index: Log index of the batch.
    """

    header: Header
    batch_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignReceipt:
    """A supplier handed nodes of one START or REPLACE over to the buyer, or cannot.

    Attributes:
        sequence: Of the instruction, in its pool.
        nodes: Of the instruction, ascending, none receipted before.
        sealed_access: Access details sealed to the buyer (``iso_exchange.sealing``); empty for
            CANNOT, and where the buyer registered no access key.
        until: For CANNOT: expected end of what is wrong; 0 where the supplier does not know.
        reason: For CANNOT: why. Empty otherwise.
    """

    header: Header
    pool_id: str
    sequence: int
    kind: ReceiptKind
    nodes: tuple[int, ...]
    sealed_access: bytes = b""
    until: UnixSeconds = UnixSeconds(0)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareTimeout:
    """Nodes were not handed over in time: they count as failed (``PROVISIONING_TIMEOUT``).

    Attributes:
        sequence: START or REPLACE of the pool whose time is over.
        nodes: Those without a receipt.
    """

    header: Header
    pool_id: str
    sequence: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAccessKey:
    """Key that suppliers seal the signer's access details to; it replaces the one before.

    Attributes:
        public_key: Raw X25519 key, 32 bytes.
    """

    header: Header
    public_key: bytes


DispatchCommand = InstructSuppliers | AcknowledgeBatch | SignReceipt | DeclareTimeout | SetAccessKey
"""Any of these."""
