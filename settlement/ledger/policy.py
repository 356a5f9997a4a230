"""Trust policies: which logs, which witnesses, and how many of them make a quorum.

One text file says it to the publisher (whom to ask), to clients and to auditors (what to
accept). A checkpoint is valid under a policy when any listed key of its log signed it and
the witnesses that cosigned it make the quorum.

Source: C2SP tlog-policy (c2sp.org/tlog-policy).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from settlement.ledger.checkpoint import (
    OpenedCheckpoint,
    check_log_key,
    latest_cosignatures,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from settlement.ledger.errors import (
    CheckpointError,
    KeyFormatError,
    LedgerErrorCode,
    PolicyError,
)
from settlement.ledger.keys import NoteAlgorithm, NoteKey, parse_vkey

POLICY_BYTES_MAX: Final = 256 * 1024
POLICY_NAMES_MAX: Final = 256
QUORUM_NONE: Final = "none"

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_SPACE: Final = re.compile(r"[ \t]+")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLog:
    """A key with which a log may sign; the key's name is its origin."""

    key: NoteKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWitness:
    """A witness.

    Attributes:
        name: Inside the policy only; the name it signs under is that of its key.
        url: Submission prefix of C2SP tlog-witness, empty where nobody asks it.
    """

    name: str
    key: NoteKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGroup:
    """At least ``threshold`` of the members, each a witness or an earlier group."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A parsed policy.

    Attributes:
        groups: In the order of the file: members stand before.
        quorum: Name of a witness or group, or ``none``.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    @property
    def needs_witnesses(self) -> bool:
        """Whether a checkpoint without cosignatures is refused."""
        return self.quorum != QUORUM_NONE

    def log_keys(self, origin: str) -> tuple[NoteKey, ...]:
        """Keys of one log."""
        return tuple(log.key for log in self.logs if log.key.name == origin)

    def is_quorum(self, cosigners: Iterable[NoteKey]) -> bool:
        """Whether these keys, all of which cosigned, make the quorum."""
        if self.quorum == QUORUM_NONE:
            return True
        signed = set(cosigners)
        reached = {witness.name for witness in self.witnesses if witness.key in signed}
        for group in self.groups:
            if sum(member in reached for member in group.members) >= group.threshold:
                reached.add(group.name)
        return self.quorum in reached


def parse_policy(data: bytes) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: ``POLICY_TOO_LARGE``, ``POLICY_MALFORMED``, ``POLICY_KEY``,
            ``POLICY_DUPLICATE_KEY``, ``POLICY_NAME``, ``POLICY_QUORUM``; the place is the line.
    """
    if len(data) > POLICY_BYTES_MAX:
        raise PolicyError(
            LedgerErrorCode.POLICY_TOO_LARGE, f"{len(data)} bytes, the limit is {POLICY_BYTES_MAX}"
        )
    if _CONTROL.search(data) or (data and not data.endswith(b"\n")):
        raise PolicyError(
            LedgerErrorCode.POLICY_MALFORMED, "a control character, or no final newline"
        )
    reading = _Reading()
    # Octets of names are opaque to the format; surrogates keep those that are not UTF-8 apart.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), start=1):
        words = _SPACE.split(line.strip(" \t"))
        if words != [""] and not words[0].startswith("#"):
            reading.take(words, f"line {number}")
    return reading.finish()


def open_under_policy(note: bytes, policy: Policy, *, origin: str = "") -> OpenedCheckpoint:
    """Verify a checkpoint note: any listed key of its log, and the quorum.

    Args:
        note: As served under ``checkpoint``.
        policy: Lists at least one key of the log.
        origin: The log that is expected; empty accepts every listed log.

    Raises:
        CheckpointError: ``NOTE_*``, ``CHECKPOINT_*``, ``COSIGNATURE_MALFORMED``.
    """
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    keys = policy.log_keys(checkpoint.origin)
    if not keys or (origin and checkpoint.origin != origin):
        raise CheckpointError(
            LedgerErrorCode.CHECKPOINT_ORIGIN,
            f"{checkpoint.origin} is not {origin or 'a log of the policy'}",
        )
    verified = verify_note(parsed, (*keys, *(witness.key for witness in policy.witnesses)))
    if all(line.key not in keys for line in verified):
        raise CheckpointError(
            LedgerErrorCode.NOTE_UNVERIFIED, "not signed by the log", place=checkpoint.origin
        )
    cosignatures = latest_cosignatures(verified, keys)
    if not policy.is_quorum(line.key for line in cosignatures):
        names = ", ".join(sorted(line.key.name for line in cosignatures)) or "nobody"
        raise CheckpointError(
            LedgerErrorCode.NOTE_TOO_FEW_WITNESSES,
            f"cosigned by {names}, which is not the quorum {policy.quorum}",
        )
    return OpenedCheckpoint(checkpoint=checkpoint, text=parsed.text, cosignatures=cosignatures)


class _Reading:
    """What the lines said so far."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._names: set[str] = {QUORUM_NONE}
        self._members: set[str] = set()
        self._quorum = ""

    def take(self, words: Sequence[str], place: str) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self._log(vkey, "".join(url), place)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, vkey, "".join(url), place)
            case ["group", name, count, *members] if members:
                self._group(name, count, tuple(members), place)
            case ["quorum", name]:
                self._set_quorum(name, place)
            case _:
                raise PolicyError(
                    LedgerErrorCode.POLICY_MALFORMED,
                    "expected 'log vkey [url]', 'witness name vkey [url]', "
                    "'group name all|any|k name...' or 'quorum name'",
                    place=place,
                )

    def finish(self) -> Policy:
        if not self._quorum:
            raise PolicyError(
                LedgerErrorCode.POLICY_QUORUM, "no quorum line; 'quorum none' asks for no witness"
            )
        return Policy(
            logs=tuple(self._logs),
            witnesses=tuple(self._witnesses),
            groups=tuple(self._groups),
            quorum=self._quorum,
        )

    def _log(self, vkey: str, url: str, place: str) -> None:
        key = _key(vkey, place)
        try:
            check_log_key(key)
        except KeyFormatError as error:
            raise PolicyError(LedgerErrorCode.POLICY_KEY, error.detail, place=place) from error
        if any(log.key.public == key.public for log in self._logs):
            raise _twice("log", place)
        self._logs.append(PolicyLog(key=key, url=url))

    def _witness(self, name: str, vkey: str, url: str, place: str) -> None:
        key = _key(vkey, place)
        if key.algorithm is NoteAlgorithm.ED25519:
            raise PolicyError(
                LedgerErrorCode.POLICY_KEY, "the key of a log, not of a witness", place=place
            )
        if any(witness.key.public == key.public for witness in self._witnesses):
            raise _twice("witness", place)
        self._define(name, place)
        self._witnesses.append(PolicyWitness(name=name, key=key, url=url))

    def _group(self, name: str, count: str, members: tuple[str, ...], place: str) -> None:
        for member in members:
            if member == QUORUM_NONE or member not in self._names:
                raise PolicyError(
                    LedgerErrorCode.POLICY_NAME, f"{member} is not defined before", place=place
                )
            # Counted in two groups, one witness could stand for two.
            if member in self._members:
                raise PolicyError(
                    LedgerErrorCode.POLICY_NAME, f"{member} is a member already", place=place
                )
            self._members.add(member)
        threshold = {"all": len(members), "any": 1}.get(count)
        if threshold is None:
            threshold = int(count) if _COUNT.fullmatch(count) else 0
        if not 1 <= threshold <= len(members):
            raise PolicyError(
                LedgerErrorCode.POLICY_QUORUM,
                f"{count} of {len(members)}: expected all, any or a number up to that",
                place=place,
            )
        self._define(name, place)
        self._groups.append(PolicyGroup(name=name, threshold=threshold, members=members))

    def _set_quorum(self, name: str, place: str) -> None:
        if self._quorum:
            raise PolicyError(LedgerErrorCode.POLICY_QUORUM, "a second quorum line", place=place)
        if name not in self._names:
            raise PolicyError(
                LedgerErrorCode.POLICY_NAME, f"{name} is not defined before", place=place
            )
        self._quorum = name

    def _define(self, name: str, place: str) -> None:
        if name in self._names:
            raise PolicyError(LedgerErrorCode.POLICY_NAME, f"{name} is taken", place=place)
        if len(self._names) > POLICY_NAMES_MAX:
            raise PolicyError(
                LedgerErrorCode.POLICY_TOO_LARGE,
                f"more than {POLICY_NAMES_MAX} witnesses and groups",
                place=place,
            )
        self._names.add(name)


def _key(vkey: str, place: str) -> NoteKey:
    try:
        return parse_vkey(vkey)
    except KeyFormatError as error:
        raise PolicyError(LedgerErrorCode.POLICY_KEY, str(error), place=place) from error


def _twice(what: str, place: str) -> PolicyError:
    return PolicyError(
        LedgerErrorCode.POLICY_DUPLICATE_KEY, f"a {what} has this key already", place=place
    )
