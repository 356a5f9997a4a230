"""A certificate authority for development and tests: issues what mutual TLS needs.

In production certificates come from the operator's own authority; the exchange only needs its
root certificate. This one keeps an unencrypted key below the data directory.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iso_exchange.durable import make_directory, sync_directory
from iso_exchange.identity.names import is_identifier, participant_uri
from iso_exchange.publisher.files import replace

ROOT_DAYS: Final = 3_650
LEAF_DAYS: Final = 365
CLOCK_SKEW: Final = dt.timedelta(hours=1)
CERTIFICATE_FILE: Final = "ca.pem"
KEY_FILE: Final = "ca-key.pem"

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its key.

    Attributes:
        certificate_pem: Leaf certificate.
        private_key_pem: PKCS #8, not encrypted.
    """

    certificate_pem: bytes
    private_key_pem: bytes


class DevelopmentAuthority:
    """Issues certificates for the participants and the server of one exchange."""

    def __init__(self, *, origin: str, certificate: x509.Certificate, key: PrivateKey) -> None:
        """Keep what ``load_or_create`` read."""
        self._origin = origin
        self._certificate = certificate
        self._key = key

    @classmethod
    def load_or_create(
        cls, directory: Path, *, origin: str, now: dt.datetime
    ) -> DevelopmentAuthority:
        """Read the authority of a directory, or make one.

        Args:
            now: Host time with its zone. Never the exchange's clock: the other side of a
                connection knows no simulated time.
        """
        make_directory(directory, 0o700)
        certificate_path, key_path = directory / CERTIFICATE_FILE, directory / KEY_FILE
        if not certificate_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(key_path, _key_pem(key))
            certificate = _sign(
                _builder(f"{origin} development authority", key, now, ROOT_DAYS)
                .issuer_name(_name(f"{origin} development authority"))
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_key_usage(signs_certificates=True), critical=True),
                key,
            )
            # The certificate last: a crash before it makes the pair anew.
            replace(certificate_path, _certificate_pem(certificate))
        loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            message = f"{key_path} is no elliptic-curve key; restore it from your backup"
            raise TypeError(message)
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        return cls(origin=origin, certificate=certificate, key=loaded)

    @property
    def certificate_pem(self) -> bytes:
        """Root certificate, which both sides trust."""
        return _certificate_pem(self._certificate)

    def issue(self, participant_id: str, *, now: dt.datetime) -> IssuedCertificate:
        """Client certificate that names a participant or meter.

        Raises:
            ValueError: not an identifier that can be registered.
        """
        if not is_identifier(participant_id):
            message = f"{participant_id!r} is no participant identifier"
            raise ValueError(message)
        name = x509.UniformResourceIdentifier(participant_uri(self._origin, participant_id))
        return self._leaf(participant_id, [name], ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def issue_server(self, hosts: tuple[str, ...], *, now: dt.datetime) -> IssuedCertificate:
        """Server certificate for host names and addresses."""
        names = [_host(host) for host in hosts]
        return self._leaf(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now)

    def _leaf(
        self,
        common_name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: dt.datetime,
    ) -> IssuedCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(
            _builder(common_name, key, now, LEAF_DAYS)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False),
            self._key,
        )
        return IssuedCertificate(
            certificate_pem=_certificate_pem(certificate), private_key_pem=_key_pem(key)
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a secret file with mode 0600, durably, replacing what is there."""
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def _builder(
    common_name: str, key: PrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    limited = common_name[:64]  # X.520 upper bound of a common name
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, limited)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
