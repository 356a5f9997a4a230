"""OpenSSL's command line checks the bare Ed25519 signatures under our formats."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from settlement.ledger import checkpoint, envelope, keys
from settlement.ledger.cosignature import cosignature_message
from tests.conformance import sample_log


@functools.cache
def openssl() -> str:
    """The program, if it can verify Ed25519 (1.1.1 and later); skips otherwise."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    usage = subprocess.run(
        [program, "pkeyutl", "-help"], capture_output=True, text=True, timeout=30, check=False
    )
    if "-rawin" not in usage.stdout + usage.stderr:
        pytest.skip("openssl pkeyutl has no -rawin")
    return program


def accepts(folder: Path, public: bytes, message: bytes, signature: bytes) -> bool:
    """What `openssl pkeyutl -verify -rawin` says."""
    for name, content in (
        ("key.pem", keys.public_to_pem(public)),
        ("message", message),
        ("signature", signature),
    ):
        (folder / name).write_bytes(content)
    command = [openssl(), "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem"]
    result = subprocess.run(
        [*command, "-in", "message", "-sigfile", "signature"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ("Signature Verified Successfully" in result.stdout) == (result.returncode == 0)
    return result.returncode == 0


def test_openssl_verifies_the_checkpoint_signature(tmp_path: Path) -> None:
    log = sample_log.build(sample_log.entries_of(5))
    note = checkpoint.parse_note(log.files["checkpoint"])
    public, signature = sample_log.LOG_KEY.public, note.signatures[0].signature
    assert accepts(tmp_path, public, note.text, signature)
    changed = note.text.replace(b"\n5\n", b"\n6\n")
    assert changed != note.text
    assert not accepts(tmp_path, public, changed, signature)
    assert not accepts(tmp_path, public, note.text, signature[:-1] + b"\x00")
    assert not accepts(tmp_path, sample_log.WITNESS_KEY.public, note.text, signature)


def test_openssl_verifies_a_cosignature(tmp_path: Path) -> None:
    log = sample_log.build(sample_log.entries_of(5))
    note = checkpoint.parse_note(log.files["checkpoint"])
    line = note.signatures[1].signature
    time_seconds, signature = int.from_bytes(line[:8], "big"), line[8:]
    public = sample_log.WITNESS_KEY.public
    message = cosignature_message(note.text, time_seconds)
    assert accepts(tmp_path, public, message, signature)
    later = cosignature_message(note.text, time_seconds + 1)
    assert not accepts(tmp_path, public, later, signature)


def test_openssl_verifies_an_envelope(tmp_path: Path) -> None:
    opened = envelope.decode(envelope.sign("text/plain", b"hello", [sample_log.LOG_KEY]))
    signature = opened.signatures[0].sig
    message = envelope.pae("text/plain", b"hello")
    assert accepts(tmp_path, sample_log.LOG_KEY.public, message, signature)
    assert not accepts(tmp_path, sample_log.LOG_KEY.public, message + b"!", signature)


def test_openssl_reads_our_private_key(tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_bytes(sample_log.LOG_KEY.to_pem())
    result = subprocess.run(
        [openssl(), "pkey", "-in", "private.pem", "-pubout"],
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert keys.public_from_pem(result.stdout) == sample_log.LOG_KEY.public
