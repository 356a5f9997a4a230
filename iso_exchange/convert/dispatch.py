"""What suppliers answer to instructions, and access keys."""

from __future__ import annotations

from typing import Final

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import dispatch_pb2
from iso_exchange.convert.enums import HANDOVER_KIND
from iso_exchange.convert.fields import BodyError, Reader, malformed, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.outages import NODE_COUNT_MAX
from iso_exchange.dispatch_commands import (
    AcknowledgeBatch,
    ReceiptKind,
    SetAccessKey,
    SignReceipt,
    node_name,
    node_number,
)
from iso_exchange.sealing import SEALED_BYTES_MAX

KEY_BYTES: Final = 32
REASON_LENGTH_MAX: Final = 500


def read_acknowledgement(body: Reader) -> AcknowledgeBatch:
    """A batch was received."""
    return AcknowledgeBatch(
        header=read_header(body), batch_index=body.bounded("batch_entry_index", 0)
    )


def write_acknowledgement(command: AcknowledgeBatch) -> dispatch_pb2.BatchAcknowledgement:
    """Body of an acknowledgement."""
    return dispatch_pb2.BatchAcknowledgement(
        header=write_header(command.header), batch_entry_index=command.batch_index
    )


def read_handover(body: Reader) -> SignReceipt:
    """Nodes were handed over, or cannot be."""
    kind = body.choice("kind", HANDOVER_KIND)
    handed_over = kind is ReceiptKind.HANDED_OVER
    return SignReceipt(
        header=read_header(body),
        pool_id=body.reference("pool_id"),
        sequence=body.bounded("sequence_number", 1),
        kind=kind,
        nodes=_nodes(body),
        sealed_access=(
            body.octets_up_to("sealed_access", most=SEALED_BYTES_MAX) if handed_over else b""
        ),
        until=(
            UnixSeconds(0) if handed_over else body.instant_or_none("until_time") or UnixSeconds(0)
        ),
        reason=("" if handed_over else body.text("reason", longest=REASON_LENGTH_MAX, shortest=0)),
    )


def write_handover(command: SignReceipt) -> dispatch_pb2.Handover:
    """Body of a receipt.

    Raises:
        BodyError: a field that the kind does not have.
    """
    handed_over = command.kind is ReceiptKind.HANDED_OVER
    if command.sealed_access and not handed_over:
        raise BodyError("sealed_access", "only nodes that were handed over have access details")
    if handed_over and (command.until or command.reason):
        raise BodyError("reason", "only nodes that cannot be handed over have a reason and an end")
    return dispatch_pb2.Handover(
        header=write_header(command.header),
        pool_id=command.pool_id,
        sequence_number=command.sequence,
        kind=HANDOVER_KIND.number(command.kind),
        node_ids=[node_name(node) for node in command.nodes],
        sealed_access=command.sealed_access,
        until_time=timestamp(command.until) if command.until else None,
        reason=command.reason,
    )


def read_access_key(body: Reader) -> SetAccessKey:
    """Key that access details are sealed to."""
    return SetAccessKey(
        header=read_header(body), public_key=body.octets("public_key", length=KEY_BYTES)
    )


def write_access_key(command: SetAccessKey) -> dispatch_pb2.AccessKey:
    """Body of an access key."""
    return dispatch_pb2.AccessKey(
        header=write_header(command.header), public_key=command.public_key
    )


def _nodes(body: Reader) -> tuple[int, ...]:
    """Numbers of the named nodes, ascending."""
    names = body.references("node_ids", most=NODE_COUNT_MAX, least=1)
    numbers: list[int] = []
    for position, name in enumerate(names):
        number = node_number(name)
        if number is None or (numbers and number < numbers[-1]):
            raise malformed(
                body.path(f"node_ids[{position}]"),
                "name nodes as the instruction does, ascending: n0000, n0001, ...",
                got=name,
            )
        numbers.append(number)
    return tuple(numbers)
