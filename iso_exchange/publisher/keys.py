"""Which key signs checkpoints in a publisher apart: the one that the log itself names.

A rotation is an entry (``RotateLogKey``), and every checkpoint that covers it is signed with the
new key. The seed of that key lies beside the old one before the entry is sent, and in its place
soon after, so it is found in one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearing import codec
from iso_exchange import rotation
from iso_exchange.commands import RotateLogKey
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.rotation import Rotated
from iso_exchange.secrets_file import read_seed
from iso_exchange.sequencer.sequencer import LogKeyError
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey

PAYLOAD_TYPE: Final = ENTRY_KINDS[RotateLogKey].payload_type
_MARK: Final = PAYLOAD_TYPE.encode()


@dataclass(slots=True)
class LogKeys:
    """The log key at hand, and the rotations that were read.

    Attributes:
        directory: Secrets of the exchange.
        named: Public key of the last rotation, empty before the first.
    """

    directory: Path
    named: bytes = b""
    _found: SigningKey | None = None

    def see(self, leaf: bytes) -> None:
        """A leaf of the log."""
        if _MARK not in leaf:
            return
        parsed = envelope.decode(leaf, allow_unsigned=True)
        if parsed.payload_type == PAYLOAD_TYPE:
            self.named = codec.decode(parsed.payload, RotateLogKey).new_public_key

    def key(self) -> SigningKey:
        """The key in force.

        Raises:
            LogKeyError: it is not in the secrets directory.
        """
        if self._found is not None and self.named in (b"", self._found.public):
            return self._found
        # Twice, because the one is renamed to the other beside us.
        for _ in range(2):
            for key in (
                rotation.next_key(self.directory, Rotated.LOG) if self.named else None,
                self._present(),
            ):
                if key is not None and self.named in (b"", key.public):
                    self._found = key
                    return key
        raise LogKeyError(
            f"the log is signed with {self.named.hex() or 'a key'}, which is not in "
            f"{self.directory}: restore it from your backup, or start the sequencer first"
        )

    def _present(self) -> SigningKey | None:
        path = self.directory / Rotated.LOG.value
        return SigningKey.from_seed(read_seed(path)) if path.exists() else None
