"""Exit codes, and what a refusal looks like to people and to programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iso_exchange.client.errors import (
    ClientError,
    IdentityError,
    Refused,
    ServerFault,
    Unavailable,
    UntrustedAnswer,
)

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
AUTHENTICATION: Final = 3
NO_MATCH: Final = 4
CONFLICT: Final = 5

_BY_CODE: Final[dict[str, int]] = {
    "HEADER_MISMATCH": AUTHENTICATION,
    "WRONG_ORIGIN": AUTHENTICATION,
    "UNKNOWN_PARTICIPANT": NO_MATCH,
    "BAD_SIGNATURE": AUTHENTICATION,
    "KEY_REVOKED": AUTHENTICATION,
    "WRONG_ROLE": AUTHENTICATION,
    "NOT_OWNER": AUTHENTICATION,
    "REQUEST_CONFLICT": CONFLICT,
    "ALREADY_EXISTS": CONFLICT,
    "STALE_REVISION": CONFLICT,
    "NOT_FOUND": NO_MATCH,
    "UNKNOWN_SITE": NO_MATCH,
    "UNKNOWN_POOL": NO_MATCH,
    "UNKNOWN_CHIP_CLASS": NO_MATCH,
    "UNKNOWN_AUCTION": NO_MATCH,
    "NO_ELIGIBLE_POOL": NO_MATCH,
    "UNKNOWN_PARENT": NO_MATCH,
    "NO_COVER_POSSIBLE": NO_MATCH,
}
_BY_STATUS: Final[dict[str, int]] = {
    "UNAUTHENTICATED": AUTHENTICATION,
    "PERMISSION_DENIED": AUTHENTICATION,
    "NOT_FOUND": NO_MATCH,
    "ALREADY_EXISTS": CONFLICT,
    "ABORTED": CONFLICT,
}


class BadValue(Exception):  # noqa: N818 - what the user typed, not a fault of the program
    """An option or argument that cannot be used; ends with exit code 2.

    Attributes:
        field: Option or argument, such as ``--limit``.
        advice: What was expected, one sentence.
        got: What was typed.
    """

    def __init__(self, field: str, advice: str, *, got: str = "") -> None:
        """Keep the parts."""
        super().__init__(field, advice, got)
        self.field = field
        self.advice = advice
        self.got = got


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a failed command says, and the exit code it ends with."""

    exit_code: int
    code: str
    field: str = ""
    advice: str = ""
    got: str = ""
    limit: str = ""

    def document(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "error": {
                "code": self.code,
                "field": self.field,
                "advice": self.advice,
                "got": self.got,
                "limit": self.limit,
                "exit_code": self.exit_code,
            }
        }


def exit_code_of(code: str, status: str = "") -> int:
    """Exit code of a refusal, by its stable code, then by its gRPC status."""
    return _BY_CODE.get(code) or _BY_STATUS.get(status) or FAILURE


def failure_of(error: ClientError | BadValue) -> Failure:
    """Failure of an expected error."""
    if isinstance(error, BadValue):
        return Failure(
            exit_code=USAGE, code="USAGE", field=error.field, advice=error.advice, got=error.got
        )
    if isinstance(error, Refused):
        return Failure(
            exit_code=exit_code_of(error.code, error.status),
            code=error.code,
            field=error.field,
            advice=error.advice,
            got=error.got,
            limit=error.limit,
        )
    if isinstance(error, IdentityError):
        return Failure(
            exit_code=AUTHENTICATION,
            code="IDENTITY",
            field="--as",
            advice=f"{error}; name an identity directory, or register the participant",
        )
    codes: dict[type[ClientError], str] = {
        Unavailable: "UNAVAILABLE",
        ServerFault: "SERVER_FAULT",
        UntrustedAnswer: "UNTRUSTED_ANSWER",
    }
    return Failure(
        exit_code=FAILURE, code=codes.get(type(error), "CLIENT_ERROR"), advice=str(error)
    )
