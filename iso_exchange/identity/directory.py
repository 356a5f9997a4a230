"""Identity directories: everything one participant needs to connect and to sign.

``ca.pem`` trusted root, ``cert.pem`` and ``key.pem`` for TLS, ``signing.pem`` Ed25519 key of
envelopes, ``exchange.json`` where the exchange is and which log key it signs with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iso_exchange.durable import make_directory
from iso_exchange.identity.ca import IssuedCertificate, write_private
from iso_exchange.publisher.files import replace
from settlement.ledger.keys import SigningKey

SIGNING_FILE: Final = "signing.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeAddress:
    """What ``exchange.json`` says.

    Attributes:
        target: gRPC target, ``host:port``.
        origin: Log origin.
        log_vkey: Verifier key of the log (C2SP signed note).
    """

    target: str
    origin: str
    log_vkey: str

    def to_json(self) -> bytes:
        """Stable text for the file."""
        fields = {"target": self.target, "origin": self.origin, "log_vkey": self.log_vkey}
        return json.dumps(fields, indent=2, sort_keys=True).encode() + b"\n"


def signing_key(directory: Path, seed: bytes) -> SigningKey:
    """Signing key of an identity directory; made from ``seed`` when there is none."""
    path = directory / SIGNING_FILE
    if not path.exists():
        make_directory(directory, 0o700)
        write_private(path, SigningKey.from_seed(seed).to_pem())
    return SigningKey.from_pem(path.read_bytes())


def write_identity(
    directory: Path, *, ca_pem: bytes, issued: IssuedCertificate, address: ExchangeAddress
) -> None:
    """Write everything but the signing key, which ``signing_key`` keeps."""
    make_directory(directory, 0o700)
    write_private(directory / "key.pem", issued.private_key_pem)
    replace(directory / "cert.pem", issued.certificate_pem)
    replace(directory / "ca.pem", ca_pem)
    write_address(directory, address)


def write_address(directory: Path, address: ExchangeAddress) -> None:
    """Renew where the exchange is, for instance after a start on another port."""
    replace(directory / "exchange.json", address.to_json())
