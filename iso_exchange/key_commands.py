"""Commands that change keys; ``iso_exchange.countersigning`` says who must sign them.

Public keys are 32 raw bytes of Ed25519.
"""

from __future__ import annotations

from dataclasses import dataclass

from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Replace a key of a participant, a meter or the exchange's services.

    Signed by old and new key (32 raw bytes); without the old one by operator, root and new key.
    """

    header: Header
    participant_id: str
    old_key_id: str
    new_public_key: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRootKey:
    """State the offline root key; signed by operator, itself and the one it replaces."""

    header: Header
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateLogKey:
    """From the next batch on another key signs batch headers and checkpoints.

    Signed by the exchange's services, the new log key, and the old one or the root key.
    """

    header: Header
    old_public_key: bytes
    new_public_key: bytes
    reason: str
