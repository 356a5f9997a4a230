"""Which log key must have signed what: the keys given, and the rotations in the log itself.

Batch headers are signed by the key in force at their place, the checkpoint by the last one.
An auditor may hold any of them: each key was introduced by the one before it (or the root
key) and accepted by itself, in entries under the root that the last one signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.x509 import Certificate

from iso_exchange.audit.bundle import Bundle
from iso_exchange.commands import RotateLogKey
from settlement.ledger.checkpoint import OpenedCheckpoint, VerifiedSignature, open_checkpoint
from settlement.ledger.errors import CheckpointError
from settlement.ledger.keys import NoteAlgorithm, key_id, parse_vkey
from settlement.ledger.policy import Policy, open_under_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an auditor trusts.

    Attributes:
        vkeys: Verifier keys of the log; all of them must hold. None take the bundle's own.
        policy: Must hold too: a listed key of the log, and the quorum of witnesses.
        timestamp_roots: Root certificates of timestamp authorities; none leave timestamps
            unchecked.
        previous: Bundles of the logs before, the latest first.
    """

    vkeys: tuple[str, ...] = ()
    policy: Policy | None = None
    timestamp_roots: tuple[Certificate, ...] = ()
    previous: tuple[Path, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether the bundle's own key is all there is: it shows consistency, not identity."""
        return not self.vkeys and self.policy is None


class LogKeyError(ValueError):
    """A key that is not the one in force, or none that leads to a trusted one."""


class LogKeys:
    """The keys of one walk along a log."""

    def __init__(self, bundle: Bundle, trust: Trust) -> None:
        """Read the keys.

        Raises:
            KeyFormatError: one is none.
        """
        self._bundle = bundle
        self._policy = trust.policy
        self._own = parse_vkey(bundle.vkey)
        self._given = tuple(parse_vkey(vkey) for vkey in trust.vkeys)
        listed = () if trust.policy is None else trust.policy.log_keys(bundle.origin)
        self._trusted = self._given or listed or (self._own,)
        plain = [key for key in self._trusted if key.algorithm is NoteAlgorithm.ED25519]
        first = parse_vkey(bundle.first_vkey) if bundle.first_vkey else None
        # Without a rotation the trusted key must have signed the first batch too.
        self._chain = [(first or (plain[0] if plain else self._own)).public]

    @property
    def first(self) -> bytes:
        """Raw key of the first batch header."""
        return self._chain[0]

    @property
    def in_force(self) -> dict[str, bytes]:
        """The key of the next batch header, by its key id."""
        return {key_id(self._chain[-1]): self._chain[-1]}

    def open(self, note: bytes) -> OpenedCheckpoint:
        """Verify the checkpoint under everything that is trusted.

        Raises:
            CheckpointError: it is not signed as it must be.
            KeyFormatError: a trusted key is no log key.
        """
        cosignatures: tuple[VerifiedSignature, ...] = ()
        if self._policy is not None:
            opened = open_under_policy(note, self._policy, origin=self._bundle.origin)
            cosignatures = opened.cosignatures
            if not self._given:
                return opened
        try:
            opened = open_checkpoint(note, self._trusted[0], further_log_keys=self._trusted[1:])
        except CheckpointError:
            # A trusted key of earlier: `finish` holds it against the rotations.
            if not self._bundle.first_vkey or self._own in self._trusted:
                raise
            opened = open_checkpoint(note, self._own)
        return OpenedCheckpoint(
            checkpoint=opened.checkpoint, text=opened.text, cosignatures=cosignatures
        )

    def misstated(self) -> str:
        """What is wrong with the verifier key that the bundle names; empty when it is right.

        A bundle of a log whose key was rotated names the last one: ``finish`` looks at that.
        """
        plain = [key for key in self._trusted if key.algorithm is NoteAlgorithm.ED25519]
        # Of an ML-DSA-44 key alone it does not follow; then the batch headers must hold under it.
        if (
            self._bundle.first_vkey
            or not plain
            or self._own.public in {key.public for key in plain}
        ):
            return ""
        expected = ", ".join(key.to_vkey() for key in plain)
        return f"states the verifier key {self._bundle.vkey}, the expected one is {expected}"

    def rotate(self, command: RotateLogKey) -> None:
        """Follow an accepted rotation.

        Raises:
            LogKeyError: it replaces another key than the one in force.
        """
        if command.old_public_key != self._chain[-1]:
            raise LogKeyError(
                f"replaces {command.old_public_key.hex()}, in force is {self._chain[-1].hex()}"
            )
        self._chain.append(command.new_public_key)

    def finish(self, note: bytes) -> None:
        """Hold the keys that were met against the checkpoint and the trusted keys.

        Raises:
            LogKeyError: the checkpoint is not signed by the last key, or a trusted key is none
                of them.
            CheckpointError: the same, by the checkpoint's own form.
        """
        if len(self._chain) == 1 and not self._bundle.first_vkey:
            return
        if self._own.public != self._chain[-1]:
            raise LogKeyError(
                f"the last key of the log is {self._chain[-1].hex()}, not the bundle's"
            )
        open_checkpoint(note, self._own)
        for key in self._trusted:
            is_plain = key.algorithm is NoteAlgorithm.ED25519
            if is_plain and key.public not in self._chain and (self._given or self._policy is None):
                raise LogKeyError(f"{key.to_vkey()} is no key that this log used")
