"""Commands that change keys or logs; ``iso_exchange.countersigning`` says who must sign them.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseLog:
    """Nothing follows in this log but releases of books; another one continues it.

    Signed by the operator and the log key.

    Attributes:
        successor_origin: Name of the log that continues this one.
        successor_key: Its first log key.
        log_key: Key of this log that is in force.
    """

    header: Header
    successor_origin: str
    successor_key: bytes
    log_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueLog:
    """First entry of a log that continues another: commits to the other one's last checkpoint.

    Signed by the new log key and the last key of the log before.

    Attributes:
        origin: Of the log before.
        size: Its leaves, its ``CloseLog`` and the batch header of that included.
        root: Their RFC 6962 root, 32 bytes.
        old_log_key: Its last log key.
        new_log_key: Key of this log; the one that ``CloseLog`` names.
    """

    header: Header
    origin: str
    size: int
    root: bytes
    old_log_key: bytes
    new_log_key: bytes
