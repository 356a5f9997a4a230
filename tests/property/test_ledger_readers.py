"""Readers of the ledger's formats under arbitrary and nearly valid bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.ledger_readers import ENVELOPE, READERS, read, respelled

NAMES = sorted(READERS)


@st.composite
def nearly(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample with a few bytes changed, taken away, repeated or put in."""
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 40)))
        part = bytes(data[start:stop])
        data[start:stop] = draw(
            st.one_of(
                st.binary(min_size=len(part), max_size=len(part)),
                st.just(b""),
                st.just(part + part),
                st.binary(max_size=4).map(part.__add__),
            )
        )
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_is_read(name: str) -> None:
    assert read(name, READERS[name][1])


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_in_order_or_read_rightly(name: str, data: bytes) -> None:
    read(name, data)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_nearly_valid_bytes(name: str, data: st.DataObject) -> None:
    read(name, data.draw(nearly(READERS[name][1])))


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_of_a_sample(name: str) -> None:
    sample = READERS[name][1]
    for position in range(0, len(sample), max(1, len(sample) // 400)):
        for bit in (0, 3, 7):
            changed = bytearray(sample)
            changed[position] ^= 1 << bit
            read(name, bytes(changed))


def test_an_envelope_may_be_spelled_otherwise() -> None:
    assert respelled(ENVELOPE) != ENVELOPE
    assert read("envelope", respelled(ENVELOPE))
