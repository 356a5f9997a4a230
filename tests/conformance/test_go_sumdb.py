"""golang.org/x/mod/sumdb, the verifier of the Go checksum database, reads our logs.

Needs the Debian packages golang-go and golang-golang-x-mod-dev, or another `go` whose GOPATH
holds golang.org/x/mod.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from settlement.ledger import checkpoint, merkle, tiles
from settlement.ledger.mldsa import MlDsaKey
from tests.conformance import go_program, sample_log

SOURCE = Path(__file__).parent / "go" / "verify.go"


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program.build(SOURCE, tmp_path_factory.mktemp("go"))


def run(verifier: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(verifier), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )


def write_log(folder: Path, *, size: int, old_size: int, index: int) -> sample_log.SampleLog:
    log = sample_log.build(sample_log.entries_of(size), steps=[old_size])
    log.write(folder)
    reader = log.reader()
    consistency = reader.consistency_proof(old_size)
    for name, content in (
        ("vkey", sample_log.LOG_NOTE_KEY.to_vkey().encode() + b"\n"),
        ("old-checkpoint", sample_log.signed_checkpoint(old_size, log.tree.root(old_size))),
        ("consistency", b"".join(base64.b64encode(hash_) + b"\n" for hash_ in consistency)),
        ("entry", log.entries[index]),
        ("entry.tlog-proof", log.proof_file(index)),
    ):
        (folder / name).write_bytes(content)
    return log


@pytest.mark.parametrize(
    ("size", "old_size", "index"),
    [
        (1, 1, 0),
        (2, 1, 1),
        (255, 7, 200),
        (256, 255, 255),
        (257, 256, 256),
        (700, 512, 513),
        (66_000, 65_536, 65_999),
    ],
)
def test_go_accepts_our_log(
    verifier: Path, tmp_path: Path, size: int, old_size: int, index: int
) -> None:
    write_log(tmp_path, size=size, old_size=old_size, index=index)
    result = run(verifier, tmp_path)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"checkpoint size={size}",
        f"entries count={size}",
        f"consistency old={old_size} new={size}",
        f"proof index={index}",
    ]
    assert result.returncode == 0


def test_go_accepts_an_empty_log(verifier: Path, tmp_path: Path) -> None:
    (tmp_path / "vkey").write_text(sample_log.LOG_NOTE_KEY.to_vkey())
    (tmp_path / "checkpoint").write_bytes(sample_log.signed_checkpoint(0, merkle.EMPTY_ROOT))
    result = run(verifier, tmp_path)
    assert result.stdout.splitlines() == ["checkpoint size=0", "entries count=0"]
    assert result.returncode == 0


def test_go_accepts_our_cosignature_and_leaves_the_second_signature_alone(
    verifier: Path, tmp_path: Path
) -> None:
    log = write_log(tmp_path, size=300, old_size=7, index=200)
    text = checkpoint.parse_note(log.files["checkpoint"]).text
    second = checkpoint.cosign(text, sample_log.ORIGIN, MlDsaKey.from_seed(bytes(32)), 7)
    signed = checkpoint.add_signature_lines(log.files["checkpoint"], [second])
    (tmp_path / "checkpoint").write_bytes(signed)
    (tmp_path / "witness-vkey").write_text(sample_log.WITNESS_NOTE_KEY.to_vkey() + "\n")
    result = run(verifier, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"cosignature of={sample_log.WITNESS} others=1" in result.stdout.splitlines()
    # Another time in the line, and no line at all.
    (tmp_path / "checkpoint").write_bytes(
        sample_log.signed_checkpoint(300, log.root, cosigned=False)
    )
    assert "1 of 2 signatures" in run(verifier, tmp_path).stderr
    lines = signed.splitlines(keepends=True)
    name, _, encoded = lines[5].rpartition(b" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[11] ^= 1  # the last byte of the time, behind four of the key's hash
    lines[5] = name + b" " + base64.b64encode(bytes(blob)) + b"\n"
    (tmp_path / "checkpoint").write_bytes(b"".join(lines))
    assert "invalid signature" in run(verifier, tmp_path).stderr


def flip_at(path: str, position: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / path).read_bytes())
        content[position] ^= 1
        (folder / path).write_bytes(bytes(content))

    return change


def exchange(path: str, other: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        first, second = (folder / path).read_bytes(), (folder / other).read_bytes()
        (folder / path).write_bytes(second)
        (folder / other).write_bytes(first)

    return change


def rewrite_entry(folder: Path) -> None:
    """Another entry, with its hash in the leaf tile: only the levels above disagree."""
    bundle = folder / "tile/entries/001"
    entries = tiles.decode_bundle(bundle.read_bytes())
    entries[1] = b"another"
    bundle.write_bytes(tiles.encode_bundle(entries))
    hashes = b"".join(merkle.leaf_hash(entry) for entry in entries)
    (folder / "tile/0/001").write_bytes(hashes)


WRONG_ROOT = "the entries do not give the root of the checkpoint"
WRONG_TILE = "other hashes than the entries give"
ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "changed-checkpoint-size": (
        flip_at("checkpoint", len(sample_log.ORIGIN) + 1),
        "invalid signature",
    ),
    "changed-entry": (flip_at("tile/entries/001", 10), WRONG_ROOT),
    "changed-length": (flip_at("tile/entries/001", 1), "tile/entries/001"),
    "rewritten-entry": (rewrite_entry, WRONG_ROOT),
    "changed-full-tile": (flip_at("tile/0/001", 40), WRONG_TILE),
    "changed-partial-tile": (flip_at("tile/0/002.p/188", 0), WRONG_TILE),
    "changed-upper-tile": (flip_at("tile/1/000.p/2", 0), WRONG_TILE),
    "swapped-bundles": (exchange("tile/entries/000", "tile/entries/001"), WRONG_ROOT),
    "swapped-checkpoints": (
        exchange("checkpoint", "old-checkpoint"),
        "consistency: tlog: invalid inputs",
    ),
    "other-entry": (flip_at("entry", 0), "proof: invalid transparency proof"),
    "changed-proof-index": (
        flip_at("entry.tlog-proof", len("c2sp.org/tlog-proof@v1\nindex 51")),
        "proof: invalid transparency proof",
    ),
    "changed-consistency": (flip_at("consistency", 0), "consistency: invalid transparency proof"),
}


@pytest.mark.parametrize(("attack", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_go_refuses_a_tampered_log(
    verifier: Path, tmp_path: Path, attack: Callable[[Path], None], reason: str
) -> None:
    write_log(tmp_path, size=700, old_size=300, index=513)
    assert run(verifier, tmp_path).returncode == 0
    attack(tmp_path)
    result = run(verifier, tmp_path)
    assert result.returncode == 1
    assert reason in result.stderr
