"""Salts are long enough and never repeat, whatever lengths are asked for."""

from __future__ import annotations

from unittest.mock import patch

from iso_exchange.sequencer.salts import PORTION_BYTES, Salts


def test_no_byte_is_given_out_twice() -> None:
    drawn = iter([bytes(range(256)) * 32, bytes(9_000), b"x" * PORTION_BYTES])
    lengths = []

    def token_bytes(length: int) -> bytes:
        lengths.append(length)
        return next(drawn)

    salts = Salts()
    with patch("iso_exchange.sequencer.salts.secrets.token_bytes", token_bytes):
        first = b"".join(salts(32) for _ in range(PORTION_BYTES // 32))
        assert first == bytes(range(256)) * 32
        assert salts(9_000) == bytes(9_000)
        assert salts(1) == b"x"
    assert lengths == [PORTION_BYTES, 9_000, PORTION_BYTES]


def test_salts_differ() -> None:
    salts = Salts()
    found = [salts(32) for _ in range(1_000)]
    assert {len(salt) for salt in found} == {32}
    assert len(set(found)) == 1_000
