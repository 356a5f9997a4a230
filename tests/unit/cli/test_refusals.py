"""Exit codes of every refusal."""

from __future__ import annotations

import pytest

from iso_exchange.cli.refusals import BadValue, exit_code_of, failure_of
from iso_exchange.client import (
    ClientError,
    IdentityError,
    Refused,
    ServerFault,
    Unavailable,
    UntrustedAnswer,
)
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.errors import STATUS

AUTHENTICATION = {
    Code.HEADER_MISMATCH,
    Code.WRONG_ORIGIN,
    Code.BAD_SIGNATURE,
    Code.KEY_REVOKED,
    Code.WRONG_ROLE,
    Code.NOT_OWNER,
}
NO_MATCH = {
    Code.UNKNOWN_PARTICIPANT,
    Code.NOT_FOUND,
    Code.UNKNOWN_SITE,
    Code.UNKNOWN_POOL,
    Code.UNKNOWN_CHIP_CLASS,
    Code.UNKNOWN_AUCTION,
    Code.NO_ELIGIBLE_POOL,
    Code.UNKNOWN_PARENT,
    Code.NO_COVER_POSSIBLE,
}
CONFLICT = {Code.REQUEST_CONFLICT, Code.ALREADY_EXISTS, Code.STALE_REVISION}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_its_exit_code(code: Code) -> None:
    expected = 3 if code in AUTHENTICATION else 4 if code in NO_MATCH else 1
    if code in CONFLICT:
        expected = 5
    assert exit_code_of(code.value) == expected
    assert exit_code_of(code.value, STATUS[code].name) == expected


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (BadValue("--limit", "a price", got="x"), "USAGE", 2),
        (Refused("UNAUTHENTICATED", status="UNAUTHENTICATED"), "UNAUTHENTICATED", 3),
        (Refused("SOMETHING_NEW", status="ABORTED"), "SOMETHING_NEW", 5),
        (IdentityError("cert.pem: missing"), "IDENTITY", 3),
        (Unavailable("away", attempts=6), "UNAVAILABLE", 1),
        (ServerFault("INTERNAL"), "SERVER_FAULT", 1),
        (UntrustedAnswer("forged"), "UNTRUSTED_ANSWER", 1),
        (ClientError("else"), "CLIENT_ERROR", 1),
    ],
)
def test_every_error_becomes_a_failure(
    error: ClientError | BadValue, code: str, exit_code: int
) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.exit_code) == (code, exit_code)
