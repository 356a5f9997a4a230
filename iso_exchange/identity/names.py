"""Participant names in certificates: SPIFFE identifiers as URI subject alternative names.

``spiffe://<origin>/participant/<participant id>``: the exchange's origin is trust domain and
the beginning of the path, so that a certificate of one exchange names nobody at another.

Source: SPIFFE ID and X.509-SVID specifications (github.com/spiffe/spiffe).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from iso_exchange.sequencer.registry import IDENTIFIER_CHARACTERS, IDENTIFIER_LENGTH_MAX

SCHEME: Final = "spiffe://"
PARTICIPANT: Final = "/participant/"


def participant_uri(origin: str, participant_id: str) -> str:
    """URI that names a participant (or meter) of an exchange.

    Example:
        >>> participant_uri("exchange.example/log", "lab-1")
        'spiffe://exchange.example/log/participant/lab-1'
    """
    return f"{SCHEME}{origin}{PARTICIPANT}{participant_id}"


def participant_of(origin: str, alternative_names: Iterable[str]) -> str | None:
    """Participant that a certificate names, or None when it names none of this exchange.

    A certificate with several SPIFFE identifiers is no valid SVID and names nobody.

    Args:
        alternative_names: Every subject alternative name; those that are no SPIFFE URI are ignored.
    """
    found = [name for name in alternative_names if name.startswith(SCHEME)]
    prefix = participant_uri(origin, "")
    if len(found) != 1 or not found[0].startswith(prefix):
        return None
    participant_id = found[0].removeprefix(prefix)
    return participant_id if is_identifier(participant_id) else None


def is_identifier(value: str) -> bool:
    """Whether a text can be a participant identifier: 1 to 64 of a-z, 0-9, dot, dash, underscore.

    Example:
        >>> is_identifier("../lab-1")
        False
    """
    return (
        0 < len(value) <= IDENTIFIER_LENGTH_MAX
        and set(value) <= IDENTIFIER_CHARACTERS
        and bool(value.strip("."))
    )
