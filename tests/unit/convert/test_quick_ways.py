"""What is read the quick way is what the long way would read."""

from __future__ import annotations

import itertools
import random
from unittest.mock import patch

import pytest

from clearing import codec
from iso_exchange.api.v1 import meter_pb2
from iso_exchange.audit.bundle import Opening, read_opening
from iso_exchange.convert import meters
from iso_exchange.convert.fields import Reader, RefusedBodyError
from settlement.ledger import envelope, proofs
from settlement.ledger.envelope import Envelope
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import SigningKey

KEYS = tuple(SigningKey.from_seed(bytes([number]) * 32) for number in range(2))
NODES = ("n1", "n2", "n3", "", "n" * 128, "n" * 129, "a\x00", "b\n", "\u2028", "é", "🙂", "n1")


def _mutants(data: bytes, draw: random.Random) -> list[bytes]:
    found = [data]
    for _ in range(60):
        place = draw.randrange(len(data))
        byte = draw.choice(b'{}[]":,=+/A0af \\n\xff')
        found.append(data[:place] + bytes([byte]) + data[place + 1 :])
        found.append(data[:place] + data[place + 1 :])
        found.append(data[:place] + bytes([byte]) + data[place:])
    return found


def _decoded(data: bytes) -> Envelope | str:
    try:
        return envelope.decode(data, allow_unsigned=True)
    except LedgerFormatError as error:
        return str(error)


def test_compact_envelopes_mean_the_same_the_long_way() -> None:
    draw = random.Random(1)
    quick = 0
    for keys, length in itertools.product(((), KEYS[:1], KEYS), (0, 1, 2, 3, 50)):
        payload = draw.randbytes(length)
        data = envelope.sign("a/b", payload, keys) if keys else envelope.unsigned("a/b", payload)
        for mutant in _mutants(data, draw):
            found = _decoded(mutant)
            quick += envelope._decode_compact(mutant) is not None
            with patch.object(envelope, "_decode_compact", lambda _: None):
                assert _decoded(mutant) == found
    assert quick > 10


def test_commitment_leaves_are_read_the_same() -> None:
    draw = random.Random(2)
    for number in range(5):
        commitment = draw.randbytes(32)
        leaf = proofs.commitment_leaf(commitment)
        assert proofs.parse_commitment_leaf(leaf) == commitment
        for mutant in _mutants(leaf, draw)[1:]:
            if mutant == leaf:
                continue
            try:
                found = proofs.parse_commitment_leaf(mutant)
            except LedgerFormatError:
                continue
            assert proofs.commitment_leaf(found) == mutant, number


def test_openings_are_read_the_same() -> None:
    draw = random.Random(3)
    quick = 0
    for number in range(6):
        opening = Opening(
            index=number * 10**number,
            kind="ORDER",
            salt=draw.randbytes(32),
            envelope="aGFsbG8=",
            documents=() if number % 2 else ("ab" * 32,),
        )
        for mutant in _mutants(codec.encode(opening), draw):
            found = read_opening(mutant)
            if found is not None:
                quick += 1
                assert codec.decode(mutant.removesuffix(b"\n"), Opening) == found
    assert quick > 10


@pytest.mark.parametrize("seed", range(40))
def test_readings_are_read_the_same_by_columns_and_by_rows(seed: int) -> None:
    draw = random.Random(seed)
    names = draw.sample(NODES[: draw.choice((3, 4, 12))], draw.randrange(1, 4))
    group = meter_pb2.ContractReadings(
        contract_id="c",
        nodes=[
            meter_pb2.NodeReading(
                node_id=name,
                healthy_chip_seconds=draw.choice((0, 1, 2_400, 2**62, 2**63 - 1, -1)),
                observed_tflop=draw.choice((0, 5)),
                energy_joules=draw.choice((0, 7, 7, 7, -1)),
            )
            for name in names
        ],
    )
    fields = meters._NODE_FIELDS
    if not meters._are_sound(Reader(group).rows("nodes", fields, most=99)):
        return
    by_rows = meters._read_rows(Reader(group), "c")
    batch = meter_pb2.MeterBatch(contracts=[group])
    with pytest.raises(RefusedBodyError):  # it has no header; the readings come first
        meters.read_meter_batch(Reader(batch))
    assert [row.node_id for row in by_rows] == names


def test_sound_readings_exist() -> None:
    rows = [("n1", 1, 2, 3), ("n2", 0, 0, 0)]
    assert meters._are_sound(rows)
    for place, wrong in ((0, "n2"), (0, ""), (0, "a\n"), (0, "n" * 129), (1, -1), (2, -1), (3, -1)):
        row = [*rows[0]]
        row[place] = wrong
        assert not meters._are_sound([tuple(row), rows[1]])
