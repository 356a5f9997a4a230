"""A witness's keys and memory: one directory, one process, every write durable before it counts.

The memory is one file per origin, the last checkpoint that was cosigned with the witness's
own lines on it, so that a damaged or foreign file is noticed at start. Losing the memory
means that a rollback of a log can no longer be noticed: it is kept like a key.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from iso_exchange.publisher.files import replace
from iso_exchange.secrets_file import create_seed, read_seed
from settlement.ledger.checkpoint import (
    Checkpoint,
    VerifiedSignature,
    add_signature_lines,
    cosign,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from settlement.ledger.cosignature import check_time
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey, check_key_name
from settlement.ledger.mldsa import MlDsaKey
from settlement.ledger.witness import Consistent

ED25519_FILE: Final = "ed25519.seed"
MLDSA_FILE: Final = "ml-dsa-44.seed"
NAME_FILE: Final = "name"
LOCK_FILE: Final = "lock"
LOGS_DIRECTORY: Final = "logs"


class WitnessStateError(RuntimeError):
    """The directory cannot be used.

    Attributes:
        code: ``NO_WITNESS``, ``WITNESS_EXISTS``, ``STATE_IN_USE`` or ``STATE_DAMAGED``.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessKeys:
    """Name and keys; at least one key."""

    name: str
    ed25519: SigningKey | None
    mldsa: MlDsaKey | None

    @property
    def note_keys(self) -> tuple[NoteKey, ...]:
        """Public keys, as they stand in a policy."""
        found = []
        if self.ed25519 is not None:
            algorithm = NoteAlgorithm.COSIGNATURE_V1
            found.append(NoteKey(name=self.name, algorithm=algorithm, public=self.ed25519.public))
        if self.mldsa is not None:
            found.append(
                NoteKey(name=self.name, algorithm=NoteAlgorithm.ML_DSA_44, public=self.mldsa.public)
            )
        return tuple(found)

    def cosign(self, text: bytes, time_seconds: int) -> bytes:
        """One line of each key."""
        keys = [key for key in (self.ed25519, self.mldsa) if key is not None]
        return b"".join(cosign(text, self.name, key, time_seconds) for key in keys)


def create(directory: Path, *, name: str, ed25519: bool, mldsa: bool) -> WitnessKeys:
    """Make a witness; the name file is written last, so that a directory without it is none.

    Raises:
        WitnessStateError: ``WITNESS_EXISTS``.
        KeyFormatError: ``KEY_NAME``.
        OSError: the file system failed.
    """
    check_key_name(name)
    if (directory / NAME_FILE).exists():
        raise WitnessStateError("WITNESS_EXISTS", f"{directory} holds a witness already")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for wanted, file in ((ed25519, ED25519_FILE), (mldsa, MLDSA_FILE)):
        if wanted:
            create_seed(directory / file)
    replace(directory / NAME_FILE, name.encode() + b"\n")
    return read_keys(directory)


def read_keys(directory: Path) -> WitnessKeys:
    """Name and keys of a witness.

    Raises:
        WitnessStateError: ``NO_WITNESS``.
        ValueError: a seed file is damaged.
    """
    try:
        name = (directory / NAME_FILE).read_text(encoding="utf-8").removesuffix("\n")
    except FileNotFoundError as error:
        raise WitnessStateError(
            "NO_WITNESS", f"there is no witness in {directory}: make one with `iso witness init`"
        ) from error
    ed25519, mldsa = directory / ED25519_FILE, directory / MLDSA_FILE
    keys = WitnessKeys(
        name=name,
        ed25519=SigningKey.from_seed(read_seed(ed25519)) if ed25519.exists() else None,
        mldsa=MlDsaKey.from_seed(read_seed(mldsa)) if mldsa.exists() else None,
    )
    if not keys.note_keys:
        raise WitnessStateError("NO_WITNESS", f"there is no key in {directory}")
    return keys


@dataclass(slots=True, kw_only=True)
class _Kept:
    checkpoint: Checkpoint
    time_seconds: int


@dataclass(slots=True, kw_only=True)
class WitnessState:
    """The memory of a running witness; the caller serialises calls.

    Use as a context manager: it holds the lock of the directory.
    """

    directory: Path
    keys: WitnessKeys
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _lock: int = -1

    @classmethod
    def open(cls, directory: Path) -> WitnessState:
        """Take the directory over and read what was cosigned.

        Raises:
            WitnessStateError: ``NO_WITNESS``, ``STATE_IN_USE``, ``STATE_DAMAGED``.
            OSError: the file system failed.
        """
        state = cls(directory=directory, keys=read_keys(directory))
        state._lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(state._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            state.close()
            raise WitnessStateError(
                "STATE_IN_USE", f"another process witnesses with {directory}"
            ) from error
        try:
            # A temporary file (".<name>.tmp") was never renamed: nobody was told of it.
            for path in sorted((directory / LOGS_DIRECTORY).glob("[!.]*")):
                state._read(path)
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        """Let another process have the directory; closing twice closes once."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def latest(self, origin: str) -> Checkpoint | None:
        """What was cosigned last for an origin."""
        kept = self._kept.get(origin)
        return None if kept is None else kept.checkpoint

    def cosign(self, consistent: Consistent, now_seconds: int) -> bytes:
        """Sign, keep, and only then return the signature lines.

        Args:
            now_seconds: POSIX time; where the clock fell back, the time of the last
                cosignature of this origin stands instead.

        Raises:
            OSError: it could not be kept; nothing was given out.
        """
        origin = consistent.checkpoint.origin
        kept = self._kept.get(origin)
        time_seconds = max(now_seconds, 1 if kept is None else kept.time_seconds)
        check_time(time_seconds)
        lines = self.keys.cosign(consistent.text, time_seconds)
        signed = add_signature_lines(consistent.text + b"\n" + lines, ())
        replace(self.directory / LOGS_DIRECTORY / file_of(origin), signed)
        self._kept[origin] = _Kept(checkpoint=consistent.checkpoint, time_seconds=time_seconds)
        return lines

    def note(self, name: str) -> bytes | None:
        """Kept checkpoint by file name, None where there is none."""
        known = {file_of(origin) for origin in self._kept}
        return (self.directory / LOGS_DIRECTORY / name).read_bytes() if name in known else None

    def _read(self, path: Path) -> None:
        try:
            note = parse_note(path.read_bytes())
            lines = verify_note(note, self.keys.note_keys)
            checkpoint = parse_checkpoint(note.text)
        except LedgerFormatError as error:
            raise WitnessStateError("STATE_DAMAGED", f"{path}: {error}") from error
        if path.name != file_of(checkpoint.origin):
            raise WitnessStateError("STATE_DAMAGED", f"{path} is of {checkpoint.origin}")
        self._kept[checkpoint.origin] = _Kept(
            checkpoint=checkpoint, time_seconds=_latest_time(lines)
        )


def file_of(origin: str) -> str:
    """File name of an origin: hex SHA-256, because an origin may hold any character."""
    return hashlib.sha256(origin.encode()).hexdigest()


def _latest_time(lines: tuple[VerifiedSignature, ...]) -> int:
    return max(line.time_seconds or 0 for line in lines)
