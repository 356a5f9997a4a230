"""Laws of the wire: a body says exactly its command, and no body makes the exchange fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange.convert import body_of, command_from, payload_of
from iso_exchange.convert.bodies import CONVERTERS
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Rejected
from tests.property.commands_at_random import STRATEGIES

PROTOBUF_KINDS = tuple(
    command for command, kind in ENTRY_KINDS.items() if kind.payload_type.endswith("+protobuf")
)


def test_every_protobuf_kind_has_a_converter_and_a_strategy() -> None:
    assert set(CONVERTERS) == set(PROTOBUF_KINDS) == set(STRATEGIES)


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_body_reads_back_as_its_command(kind: type, data: st.DataObject) -> None:
    command = data.draw(STRATEGIES[kind])
    payload_type, payload = payload_of(command)
    assert payload_type == ENTRY_KINDS[kind].payload_type
    assert payload == body_of(command)
    assert command_from(payload_type, payload) == command


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(payload=st.binary(max_size=200))
def test_any_bytes_are_answered(kind: type, payload: bytes) -> None:
    answer = command_from(ENTRY_KINDS[kind].payload_type, payload)
    if isinstance(answer, Rejected):
        assert answer.advice
    else:
        assert command_from(ENTRY_KINDS[kind].payload_type, body_of(answer)) == answer


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_damaged_body_is_answered(kind: type, data: st.DataObject) -> None:
    payload = bytearray(body_of(data.draw(STRATEGIES[kind])))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    answer = command_from(ENTRY_KINDS[kind].payload_type, bytes(payload))
    if isinstance(answer, Rejected):
        assert answer.advice
    else:
        assert command_from(ENTRY_KINDS[kind].payload_type, body_of(answer)) == answer
