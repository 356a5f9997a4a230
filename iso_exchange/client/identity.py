"""Who a program is at the exchange: TLS certificate, signing key, and where to connect.

An identity directory holds ``ca.pem``, ``cert.pem``, ``key.pem`` (TLS, X.509),
``signing.pem`` (Ed25519, PKCS #8) and ``exchange.json`` (target, origin and log key of
the exchange). ``iso_exchange.identity.directory`` writes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from iso_exchange.client.errors import IdentityError
from iso_exchange.identity.directory import ExchangeAddress
from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import SigningKey

CA_FILE: Final = "ca.pem"
CERTIFICATE_FILE: Final = "cert.pem"
PRIVATE_KEY_FILE: Final = "key.pem"
SIGNING_KEY_FILE: Final = "signing.pem"
EXCHANGE_FILE: Final = "exchange.json"

_PARTICIPANT_SEGMENT: Final = "/participant/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A participant, a meter or the operator, able to connect and to sign.

    Attributes:
        participant_id: Whom the certificate names; signer of everything this identity sends.
        signing_key: Ed25519 key registered at the exchange.
        certificate_pem: TLS client certificate with its chain.
        private_key_pem: Key of that certificate.
        ca_pem: Authority that the exchange's own certificate is checked against.
    """

    participant_id: str
    signing_key: SigningKey = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    private_key_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)


def load_identity(directory: Path) -> Identity:
    """Read an identity directory.

    Raises:
        IdentityError: a file is missing or unreadable, or the certificate names nobody.
    """
    certificate = _read(directory / CERTIFICATE_FILE)
    try:
        signing_key = SigningKey.from_pem(_read(directory / SIGNING_KEY_FILE))
    except KeyFormatError as error:
        message = f"{directory / SIGNING_KEY_FILE}: {error}"
        raise IdentityError(message) from error
    return Identity(
        participant_id=participant_of(certificate, directory / CERTIFICATE_FILE),
        signing_key=signing_key,
        certificate_pem=certificate,
        private_key_pem=_read(directory / PRIVATE_KEY_FILE),
        ca_pem=_read(directory / CA_FILE),
    )


def load_exchange(directory: Path) -> ExchangeAddress:
    """Read where the exchange of an identity directory is.

    Raises:
        IdentityError: ``exchange.json`` is missing or does not say it.
    """
    path = directory / EXCHANGE_FILE
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        message = f"{path}: not a JSON document: {error}"
        raise IdentityError(message) from error
    texts = document if isinstance(document, dict) else {}
    target, origin = texts.get("target"), texts.get("origin")
    log_vkey = texts.get("log_vkey", "")
    if not (isinstance(target, str) and isinstance(origin, str) and isinstance(log_vkey, str)):
        message = f"{path}: expected an object with the texts target, origin and log_vkey"
        raise IdentityError(message)
    return ExchangeAddress(target=target, origin=origin, log_vkey=log_vkey)


def participant_of(certificate_pem: bytes, place: Path) -> str:
    """Participant named by the URI ``spiffe://<origin>/participant/<id>`` of a certificate.

    Args:
        certificate_pem: The first certificate counts.
        place: Named in the error.

    Raises:
        IdentityError: not a certificate, or it names not exactly one participant.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        message = f"{place}: not a certificate of a participant: {error}"
        raise IdentityError(message) from error
    found = [
        uri.rpartition(_PARTICIPANT_SEGMENT)[2]
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier)
        if uri.startswith("spiffe://") and _PARTICIPANT_SEGMENT in uri
    ]
    if len(found) != 1 or not found[0]:
        message = f"{place}: names {len(found)} participants, expected one"
        raise IdentityError(message)
    return found[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        raise IdentityError(message) from error
