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

from iso_exchange.seed_chain import SeedChain
from settlement.ledger.keys import SigningKey

SEED_BYTES = 32
DERIVATION_FILE = "derivation.seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSecrets:
    """Keys of one exchange.

    Attributes:
        log_key: Signs batch headers and checkpoints.
        service_key: Signs results, postings and statements (participant ``exchange``).
        derivation: 32 bytes; never leaves this host.
    """

    log_key: SigningKey
    service_key: SigningKey
    derivation: bytes

    def tie_seed(self, auction_id: str) -> bytes:
        """Tie seed of an auction; its SHA-256 is published before gate closure."""
        return self._derive("tie-seed", auction_id)

    def seed_commitment(self, auction_id: str) -> str:
        """Lower-case hex SHA-256 of the tie seed."""
        return hashlib.sha256(self.tie_seed(auction_id)).hexdigest()

    def book_salt(self, auction_id: str) -> bytes:
        """Salt of the commitment to an auction's book."""
        return self._derive("book-salt", auction_id)

    def seed_chain(self, market_id: str, length: int) -> SeedChain:
        """Tie seeds of a spot market; its anchor is published when the market opens."""
        return SeedChain(self._derive("spot-seed", market_id), length)

    def _derive(self, purpose: str, subject: str) -> bytes:
        message = f"iso-exchange/{purpose}/v1\n{subject}".encode()
        return hmac.new(self.derivation, message, hashlib.sha256).digest()


def load_or_create(directory: Path) -> ExchangeSecrets:
    """Read the secrets, making those that do not exist yet."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ExchangeSecrets(
        log_key=SigningKey.from_seed(_seed(directory / "log.seed")),
        service_key=SigningKey.from_seed(_seed(directory / "exchange.seed")),
        derivation=_seed(directory / DERIVATION_FILE),
    )


def _seed(path: Path) -> bytes:
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SEED_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _sync_directory(path.parent)
    seed = bytes.fromhex(path.read_text().strip())
    if len(seed) != SEED_BYTES:
        message = f"{path} does not hold {SEED_BYTES} bytes in hex; restore it from your backup"
        raise ValueError(message)
    return seed


def _sync_directory(directory: Path) -> None:
    """Make a rename durable: what was derived from a secret must outlive the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
