"""OpenSSL's timestamp authority stamps our checkpoints; the audit verifies them offline."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.log_keys import Trust
from iso_exchange.audit.report import Step
from iso_exchange.audit.verify import verify
from iso_exchange.cli.main import run
from settlement.ledger.checkpoint import Checkpoint, parse_note, sign_checkpoint
from tests.integration.bundles import read_bundle, reseal, write_bundle
from tests.integration.market_day import ORIGIN, MarketDay, key_of

timestamps = pytest.importorskip("iso_exchange.publisher.timestamps")

CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.3.6.1.4.1.4146.2.3
digests = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def authority(folder: Path, name: str) -> x509.Certificate:
    """Root and signing certificate of a timestamp authority, as files for OpenSSL."""
    folder.mkdir()
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(who: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
        )

    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    root = (
        builder(subject, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage),
            critical=True,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} tsa")]), key.public_key()
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "tsa.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "tsa.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "config").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    return root


@pytest.fixture
def tsa(tmp_path: Path) -> Iterator[tuple[str, x509.Certificate, Path]]:
    """`openssl ts` behind HTTP: its address, its root, its folder."""
    openssl = shutil.which("openssl") or ""
    if not openssl:
        pytest.skip("openssl is not installed")
    folder = tmp_path / "tsa"
    root = authority(folder, "one")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = folder / "query.tsq"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            made = subprocess.run(
                [
                    *(openssl, "ts", "-reply", "-queryfile", str(query)),
                    *("-signer", str(folder / "tsa.pem")),
                    *("-inkey", str(folder / "tsa.key"), "-config", str(folder / "config")),
                    *("-section", "one", "-out", str(folder / "reply.tsr")),
                ],
                capture_output=True,
                timeout=30,
                check=False,
            )
            body = (folder / "reply.tsr").read_bytes() if made.returncode == 0 else made.stderr
            self.send_response(200 if made.returncode == 0 else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", root, folder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def accepts(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


async def test_checkpoints_are_stamped_and_the_audit_says_when(
    tmp_path: Path, tsa: tuple[str, x509.Certificate, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url, root, folder = tsa
    bundle = tmp_path / "bundle"
    with patch("os.fsync"):
        async with MarketDay(directory=tmp_path) as day:
            stamps = timestamps.Timestamps(
                publisher=day.publisher, url=url, seconds=60.0, directory=day.log_directory
            )
            await day.open_market()
            sizes = []
            for _ in range(2):
                published = await day.publisher.publish()
                assert published is not None
                path = await stamps.stamp(published)
                sizes.append(published.size)
                await day.trade() if len(sizes) == 1 else None
            text = parse_note(path.with_suffix(".checkpoint").read_bytes()).text
            (tmp_path / "text").write_bytes(text)
            await write_bundle(day, bundle, BundleKind.PUBLIC)
            vkey = day.vkey
    # OpenSSL accepts the stamp of the note text, and not of another one.
    command = ["openssl", "ts", "-verify", "-data", str(tmp_path / "text"), "-in", str(path)]
    command += ["-CAfile", str(folder / "root.pem"), "-untrusted", str(folder / "tsa.pem")]
    assert await asyncio.to_thread(accepts, command)
    (tmp_path / "text").write_bytes(text + b"\n")
    assert not await asyncio.to_thread(accepts, command)
    report = verify(bundle, Trust(vkeys=(vkey,), timestamp_roots=(root,)))
    assert report.ok, report.failed
    assert [stamp.split(" ")[0] for stamp in report.timestamps] == [str(size) for size in sizes]
    capsys.readouterr()
    arguments = ["audit", "verify", str(bundle), "--key", vkey, "--tsa-root"]
    assert run([*arguments, str(folder / "root.pem")]) == 0
    assert f"stamped: {sizes[0]} entries at 20" in capsys.readouterr().out
    # Unchecked without a root, refused under another one.
    assert verify(bundle, vkey).timestamps == ()
    other = authority(tmp_path / "other", "one")
    report = verify(bundle, Trust(vkeys=(vkey,), timestamp_roots=(other,)))
    assert [step.name for step in report.failed] == ["CHECKPOINT"]
    # Another root at that size, even one that the log's key signs.
    forged = Checkpoint(origin=ORIGIN, size=sizes[0], root=bytes(32))
    stamped = bundle / "log" / "timestamps" / f"{sizes[0]}.checkpoint"
    stamped.write_bytes(sign_checkpoint(forged, key_of("log")))
    reseal(bundle)
    report = verify(bundle, Trust(vkeys=(vkey,), timestamp_roots=(root,)))
    assert report.step(Step.CHECKPOINT).place == f"timestamps/{sizes[0]}.tsr"
    # A stamp that is not listed in pairs does not belong.
    stamped.unlink()
    reseal(bundle)
    assert "FILES" in {step.name for step in verify(bundle, vkey).failed}
    assert read_bundle(bundle).size == sizes[1]


async def test_an_authority_that_answers_something_else_leaves_no_stamp(
    tmp_path: Path, tsa: tuple[str, x509.Certificate, Path]
) -> None:
    url, _, folder = tsa
    with patch("os.fsync"):
        async with MarketDay(directory=tmp_path) as day:
            await day.open_market()
            published = await day.publisher.publish()
            assert published is not None
            stamps = timestamps.Timestamps(
                publisher=day.publisher, url=url, seconds=60.0, directory=day.log_directory
            )
            (folder / "tsa.key").unlink()
            with pytest.raises(timestamps.TimestampError, match="status 500"):
                await stamps.stamp(published)
            with (
                patch.object(timestamps, "post", lambda *_, **__: (200, b"nonsense")),
                pytest.raises(ValueError, match="ASN"),
            ):
                await stamps.stamp(published)
    assert not (day.log_directory / "timestamps").exists()
