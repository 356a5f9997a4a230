"""The exchange's own secrets: log key, service key, derivation secret, made on first start.

Kept in one directory with mode 0700, files 0600, written durably before first use. The
derivation secret gives the tie seed and book salt of each auction, so that a restart
between gate closure and clearing finds the same ones.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from iso_exchange.durable import make_directory, sync_directory
from settlement.ledger.keys import SigningKey
from settlement.ledger.mldsa import MlDsaKey

SEED_BYTES = 32
LOG_FILE = "log.seed"
SERVICE_FILE = "exchange.seed"
SECOND_LOG_FILE = "log-ml-dsa-44.seed"
DERIVATION_FILE = "derivation.seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSecrets:
    """Keys of one exchange.

    Attributes:
        log_key: Signs batch headers and checkpoints.
        second_log_key: Signs checkpoints too; None where the exchange has none.
        service_key: Signs results, postings and statements (participant ``exchange``).
        derivation: 32 bytes; never leaves this host.
    """

    log_key: SigningKey
    service_key: SigningKey
    derivation: bytes
    second_log_key: MlDsaKey | None = None

    def tie_seed(self, auction_id: str) -> bytes:
        """Tie seed of an auction; its SHA-256 is published before gate closure."""
        return self._derive("tie-seed", auction_id)

    def seed_commitment(self, auction_id: str) -> str:
        """Lower-case hex SHA-256 of the tie seed."""
        return hashlib.sha256(self.tie_seed(auction_id)).hexdigest()

    def book_salt(self, auction_id: str) -> bytes:
        """Salt of the commitment to an auction's book."""
        return self._derive("book-salt", auction_id)

    def pseudonym(self, auction_id: str, name: str) -> str:
        """Stand-in for a name in the released book of one auction, another one in the next."""
        subject = f"{auction_id}\n{name}"
        return f"p-{self._derive('pseudonym', subject)[:8].hex()}"

    def _derive(self, purpose: str, subject: str) -> bytes:
        message = f"iso-exchange/{purpose}/v1\n{subject}".encode()
        return hmac.new(self.derivation, message, hashlib.sha256).digest()


def load_or_create(directory: Path, *, second_signature: bool = False) -> ExchangeSecrets:
    """Read the secrets, making those that do not exist yet.

    Args:
        second_signature: Whether a new exchange gets an ML-DSA-44 log key; one that started
            without it goes on without it, because nobody knows its key.
    """
    make_directory(directory, 0o700)
    second = directory / SECOND_LOG_FILE
    # The first key is made last: where it is missing, nothing was signed yet.
    if second_signature and not second.exists() and not (directory / LOG_FILE).exists():
        create_seed(second)
    return ExchangeSecrets(
        second_log_key=MlDsaKey.from_seed(read_seed(second)) if second.exists() else None,
        log_key=SigningKey.from_seed(_seed(directory / LOG_FILE)),
        service_key=SigningKey.from_seed(_seed(directory / SERVICE_FILE)),
        derivation=_seed(directory / DERIVATION_FILE),
    )


def _seed(path: Path) -> bytes:
    if not path.exists():
        create_seed(path)
    return read_seed(path)


def create_seed(path: Path) -> None:
    """Write 32 new random bytes in hex, mode 0600, durably."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(SEED_BYTES).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    # What is derived from a secret must not outlive it.
    sync_directory(path.parent)


def read_seed(path: Path) -> bytes:
    """A seed that was written before.

    Raises:
        ValueError: the file does not hold 32 bytes in hex.
        OSError: it cannot be read.
    """
    seed = bytes.fromhex(path.read_text().strip())
    if len(seed) != SEED_BYTES:
        message = f"{path} does not hold {SEED_BYTES} bytes in hex; restore it from your backup"
        raise ValueError(message)
    return seed
