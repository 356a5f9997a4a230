"""What a supplier signs about a batch, and access details that only their buyer opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import dispatch_pb2
from iso_exchange.client import BLANK_HEADER, IdentityError
from iso_exchange.client.access_key import access_key
from iso_exchange.client.agents.supplier import Provisioned, answers
from iso_exchange.commands import AcknowledgeBatch, SignReceipt
from iso_exchange.convert import body_of
from iso_exchange.convert.fields import timestamp
from iso_exchange.dispatch_commands import ReceiptKind, node_name, node_number
from iso_exchange.sealing import ACCESS_BYTES_MAX, SealError, open_access, seal_access

KEY = X25519PrivateKey.generate()
RAW = KEY.public_key().public_bytes_raw()
WHERE = {"origin": "test.example/log", "pool_id": "no-1", "buyer_id": "lab"}


def instruction(sequence: int, *nodes: int, waits: bool = True) -> dispatch_pb2.Instruction:
    return dispatch_pb2.Instruction(
        pool_id="no-1",
        sequence_number=sequence,
        node_ids=[node_name(node) for node in nodes],
        due_time=timestamp(UnixSeconds(100)) if waits else None,
    )


def test_a_batch_is_acknowledged_and_each_start_answered_node_by_node() -> None:
    batch = dispatch_pb2.InstructionBatch(
        batch_entry_index=7,
        instructions=[instruction(1, 4, waits=False), instruction(2, 0, 3), instruction(3, 5)],
    )

    def provision(item: dispatch_pb2.Instruction) -> Provisioned:
        return Provisioned(ready=("n0000",), sealed_access=b"s", reason=f"{item.sequence_number}")

    first, *receipts = answers(batch, provision, BLANK_HEADER)
    assert first == AcknowledgeBatch(header=BLANK_HEADER, batch_index=7)
    found = []
    for item in receipts:
        assert isinstance(item, SignReceipt)
        assert body_of(item)
        found.append((item.sequence, item.kind, item.nodes, item.sealed_access, item.reason))
    assert found == [
        (2, ReceiptKind.HANDED_OVER, (0,), b"s", ""),
        (2, ReceiptKind.CANNOT, (3,), b"", "2"),
        (3, ReceiptKind.CANNOT, (5,), b"", "3"),
    ]


@pytest.mark.parametrize("name", ["", "n", "7", "n7", "n00007", "n-001", "n00\u0661", "x0007"])
def test_what_is_no_name_of_a_node_has_no_number(name: str) -> None:
    assert node_number(name) is None


@pytest.mark.parametrize("node", [0, 7, 9_999, 10_000])
def test_a_node_is_called_by_its_number(node: int) -> None:
    assert node_number(node_name(node)) == node


def test_only_the_buyer_opens_and_only_for_its_instruction() -> None:
    sealed = seal_access(b"secret", RAW, sequence=3, **WHERE)
    assert open_access(sealed, KEY, sequence=3, **WHERE) == b"secret"
    assert b"secret" not in sealed
    other = X25519PrivateKey.generate()
    for bad, key, sequence, where in (
        (sealed, other, 3, WHERE),
        (sealed, KEY, 4, WHERE),
        (sealed, KEY, 3, {**WHERE, "buyer_id": "other"}),
        (sealed, KEY, 3, {**WHERE, "pool_id": "no-2"}),
        (sealed, KEY, 3, {**WHERE, "origin": "other.example/log"}),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), KEY, 3, WHERE),
        (b"", KEY, 3, WHERE),
    ):
        with pytest.raises(SealError):
            open_access(bad, key, sequence=sequence, **where)


def test_details_are_bounded_and_sealed_to_a_key() -> None:
    assert seal_access(bytes(ACCESS_BYTES_MAX), RAW, sequence=1, **WHERE)
    with pytest.raises(SealError, match="at most"):
        seal_access(bytes(ACCESS_BYTES_MAX + 1), RAW, sequence=1, **WHERE)
    with pytest.raises(SealError, match="X25519"):
        seal_access(b"x", b"short", sequence=1, **WHERE)


def test_an_access_key_is_made_once_and_kept(tmp_path: Path) -> None:
    made = access_key(tmp_path).private_bytes_raw()
    assert access_key(tmp_path).private_bytes_raw() == made
    path = tmp_path / "access.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(IdentityError, match="X25519"):
        access_key(tmp_path)
    path.write_bytes(b"no key")
    with pytest.raises(IdentityError):
        access_key(tmp_path)
