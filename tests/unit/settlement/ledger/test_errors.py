from __future__ import annotations

import pickle

from settlement.ledger.errors import LedgerErrorCode, LedgerFormatError, TileError


def test_a_code_is_its_own_name() -> None:
    assert [code.value for code in LedgerErrorCode] == list(LedgerErrorCode.__members__)


def test_an_error_says_what_where_and_why() -> None:
    error = TileError(LedgerErrorCode.TILE_MISSING, "no such file", place="tile/0/000")
    assert str(error) == "TILE_MISSING at tile/0/000: no such file"
    assert isinstance(error, LedgerFormatError)
    assert isinstance(error, ValueError)
    assert str(LedgerFormatError(LedgerErrorCode.TREE_SIZE, "x")) == "TREE_SIZE: x"


def test_an_error_survives_the_way_between_processes() -> None:
    error = TileError(LedgerErrorCode.TILE_MISSING, "no such file", place="tile/0/000")
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copied), str(copied)) == (TileError, str(error))
    assert (copied.code, copied.place, copied.detail) == (error.code, error.place, error.detail)
