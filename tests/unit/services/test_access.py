from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509

from iso_exchange.commands import Role
from iso_exchange.config import ConfigError, parse, parse_clock, parse_listen
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.names import is_identifier, participant_of, participant_uri
from iso_exchange.services.access import Caller, subject_of
from iso_exchange.services.errors import Refused

ORIGIN = "exchange.example/log"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_a_certificate_names_its_participant(tmp_path: Path) -> None:
    authority = DevelopmentAuthority.load_or_create(tmp_path, origin=ORIGIN, now=NOW)
    again = DevelopmentAuthority.load_or_create(tmp_path, origin=ORIGIN, now=NOW)
    assert again.certificate_pem == authority.certificate_pem
    issued = authority.issue("lab-1", now=NOW)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    root = x509.load_pem_x509_certificate(authority.certificate_pem)
    certificate.verify_directly_issued_by(root)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert participant_of(ORIGIN, uris) == "lab-1"
    assert (tmp_path / "ca-key.pem").stat().st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="identifier"):
        authority.issue("../lab", now=NOW)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["DNS:lab-1"],
        ["spiffe://other.example/log/participant/lab-1"],
        [participant_uri(ORIGIN, "lab-1"), participant_uri(ORIGIN, "lab-2")],
        [participant_uri(ORIGIN, "")],
        [participant_uri(ORIGIN, "Lab 1")],
        [participant_uri(ORIGIN, "lab-1/admin")],
    ],
)
def test_other_certificates_name_nobody(names: list[str]) -> None:
    assert participant_of(ORIGIN, names) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "a" * 65])
def test_identifiers_are_no_paths(name: str) -> None:
    assert not is_identifier(name)


def test_others_books_are_for_auditors() -> None:
    buyer = Caller(participant_id="lab-1", roles=frozenset((Role.BUYER,)))
    operator = Caller(participant_id="operator", roles=frozenset((Role.OPERATOR,)))
    auditor = Caller(participant_id="aud", roles=frozenset((Role.AUDITOR,)))
    assert subject_of(buyer, "") == "lab-1"
    assert subject_of(auditor, "lab-1") == "lab-1"
    assert subject_of(operator, "lab-1", operator=True) == "lab-1"
    for caller, wanted in ((buyer, "lab-2"), (operator, "lab-1")):
        with pytest.raises(Refused):
            subject_of(caller, wanted)
    assert not operator.may_read(("lab-1",))


def test_configuration_is_parsed_once() -> None:
    config = parse(
        ["--data", "d", "--clock", "simulated:2026-01-01T00:00:00Z", "--listen", "[::1]:0"],
        {"ISO_DATABASE_URL": "postgresql://h/d"},
    )
    assert config.simulated_start_us == int(NOW.timestamp()) * 1_000_000
    assert (config.grpc.host, config.grpc.port) == ("::1", 0)
    assert config.database_url == "postgresql://h/d"
    assert parse_clock("system") is None


@pytest.mark.parametrize("text", ["", "7443", ":7443", "host:x", "host:70000", "host:-1"])
def test_an_unusable_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_listen(text)


@pytest.mark.parametrize("text", ["", "simulated", "simulated:now", "simulated:2026-01-01T00:00"])
def test_an_unusable_clock_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_clock(text)
