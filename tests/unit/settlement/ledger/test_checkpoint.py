from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.ledger import checkpoint as notes
from settlement.ledger.checkpoint import Checkpoint
from settlement.ledger.cosignature import cosignature_message
from settlement.ledger.errors import CheckpointError, KeyFormatError, LedgerErrorCode
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey, parse_vkey
from settlement.ledger.merkle import EMPTY_ROOT

ORIGIN = "log.example/iso"
LOG = SigningKey.from_seed(bytes(32))
WITNESS = SigningKey.from_seed(b"w" * 32)
STRANGER = SigningKey.from_seed(b"s" * 32)
LOG_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=LOG.public)
WITNESS_KEY = NoteKey(name="w", algorithm=NoteAlgorithm.COSIGNATURE_V1, public=WITNESS.public)
STATEMENT = Checkpoint(origin=ORIGIN, size=42, root=bytes(range(32)))
TEXT = notes.encode_checkpoint(STATEMENT)
NOTE = notes.sign_checkpoint(STATEMENT, LOG)
DASH = "\u2014 "

# The example note of golang.org/x/mod/sumdb/note.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    f"{DASH}PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
).encode()


def refusal_of_note(note: bytes) -> LedgerErrorCode:
    with pytest.raises(CheckpointError) as caught:
        notes.open_checkpoint(note, LOG_KEY, witnesses=[WITNESS_KEY])
    return caught.value.code


def test_a_note_of_the_go_implementation_verifies() -> None:
    key = parse_vkey(GO_VKEY)
    verified = notes.verify_note(notes.parse_note(GO_NOTE), [key])
    assert [(line.key, line.time_seconds) for line in verified] == [(key, None)]
    with pytest.raises(CheckpointError) as caught:
        notes.verify_note(notes.parse_note(GO_NOTE.replace(b"answer", b"cause")), [key])
    assert caught.value.code is LedgerErrorCode.NOTE_BAD_SIGNATURE


def test_the_text_is_three_lines() -> None:
    root = base64.b64encode(bytes(range(32))).decode()
    assert f"{ORIGIN}\n42\n{root}\n".encode() == TEXT
    assert notes.parse_checkpoint(TEXT) == STATEMENT


def test_the_note_is_text_blank_line_and_signature_line() -> None:
    blob = base64.b64encode(LOG_KEY.key_hash + LOG.sign(TEXT)).decode()
    assert TEXT + f"\n{DASH}{ORIGIN} {blob}\n".encode() == NOTE
    opened = notes.open_checkpoint(NOTE, LOG_KEY)
    assert (opened.checkpoint, opened.text, opened.cosignatures) == (STATEMENT, TEXT, ())


@given(
    size=st.integers(min_value=1, max_value=2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1), max_size=3
    ),
)
def test_every_checkpoint_reads_back(size: int, root: bytes, extensions: list[str]) -> None:
    statement = Checkpoint(origin=ORIGIN, size=size, root=root, extensions=tuple(extensions))
    note = notes.sign_checkpoint(statement, LOG)
    assert notes.open_checkpoint(note, LOG_KEY).checkpoint == statement


def test_the_empty_log_has_the_empty_root() -> None:
    empty = Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT)
    assert notes.parse_checkpoint(notes.encode_checkpoint(empty)) == empty
    with pytest.raises(CheckpointError) as caught:
        notes.encode_checkpoint(Checkpoint(origin=ORIGIN, size=0, root=bytes(32)))
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_MALFORMED


ROOT_LINE = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"o\n42\n{ROOT_LINE}",
        "o\n42\n",
        f"\n42\n{ROOT_LINE}\n",
        f"o\n042\n{ROOT_LINE}\n",
        f"o\n+42\n{ROOT_LINE}\n",
        f"o\n-1\n{ROOT_LINE}\n",
        f"o\n4_2\n{ROOT_LINE}\n",
        f"o\n\u0664\u0662\n{ROOT_LINE}\n",
        f"o\n{2**63}\n{ROOT_LINE}\n",
        f"o\n42\n{ROOT_LINE[:-1]}\n",
        f"o\n42\n{ROOT_LINE[:40]}\n",
        f"o\n42\n{ROOT_LINE}\n\n",
        f"o\n42\n{ROOT_LINE}\n\nx\n",
        f"o\r\n42\r\n{ROOT_LINE}\r\n",
        f"o\n0\n{ROOT_LINE}\n",
    ],
)
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        notes.parse_checkpoint(text.encode())
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_MALFORMED


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(CheckpointError) as caught:
        notes.parse_checkpoint(b"\xff" + TEXT)
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_MALFORMED


@pytest.mark.parametrize("origin", ["", "a\nb", "a\x07b", "\ud800"])
def test_an_origin_that_breaks_the_text_is_refused(origin: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        notes.encode_checkpoint(Checkpoint(origin=origin, size=1, root=bytes(32)))
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_MALFORMED


def test_an_origin_that_is_no_key_name_cannot_sign() -> None:
    with pytest.raises(KeyFormatError) as caught:
        notes.sign_checkpoint(Checkpoint(origin="two words", size=1, root=bytes(32)), LOG)
    assert caught.value.code is LedgerErrorCode.KEY_NAME


LINE = NOTE[len(TEXT) + 1 :]
BLOB = LINE.decode().rstrip("\n").rpartition(" ")[2]

MALFORMED_NOTES = {
    "empty": b"",
    "text-only": TEXT,
    "no-signatures": TEXT + b"\n",
    "no-blank-line": TEXT + LINE,
    "no-final-newline": NOTE[:-1],
    "blank-line-behind": NOTE + b"\n",
    "hyphen": TEXT + b"\n" + LINE.replace(DASH.encode(), b"- "),
    "no-name": TEXT + f"\n{DASH}{BLOB}\n".encode(),
    "plus-in-name": TEXT + f"\n{DASH}a+b {BLOB}\n".encode(),
    "space-in-name": TEXT + f"\n{DASH}a\u00a0b {BLOB}\n".encode(),
    "no-base64": NOTE + f"{DASH}x !!!!\n".encode(),
    "key-hash-only": NOTE + f"{DASH}x AAAAAA==\n".encode(),
    "two-spaces": NOTE + f"{DASH}x  {BLOB}\n".encode(),
    "carriage-return": NOTE[:-1] + b"\r\n",
    "tab-in-text": b"\t" + NOTE,
    "not-utf-8": b"\xff" + NOTE,
    "junk-line": NOTE + b"junk\n",
}


@pytest.mark.parametrize("note", MALFORMED_NOTES.values(), ids=MALFORMED_NOTES.keys())
def test_a_malformed_note_is_refused(note: bytes) -> None:
    assert refusal_of_note(note) is LedgerErrorCode.NOTE_MALFORMED


def test_notes_have_a_largest_size_and_number_of_signatures() -> None:
    assert refusal_of_note(b"x" * 300_000) is LedgerErrorCode.NOTE_TOO_LARGE
    assert refusal_of_note(NOTE + LINE * 100) is LedgerErrorCode.NOTE_TOO_LARGE
    assert notes.open_checkpoint(NOTE + LINE * 99, LOG_KEY).checkpoint == STATEMENT


def test_lines_of_unknown_keys_are_ignored() -> None:
    note = notes.sign_note(TEXT, [("stranger.example", STRANGER), (ORIGIN, LOG)])
    assert notes.open_checkpoint(note, LOG_KEY).checkpoint == STATEMENT
    # The name is known, the key hash is not: another key of that name, so ignored too.
    same_name = notes.sign_note(TEXT, [(ORIGIN, STRANGER), (ORIGIN, LOG)])
    assert notes.open_checkpoint(same_name, LOG_KEY).checkpoint == STATEMENT


def test_a_note_without_a_known_key_is_refused() -> None:
    note = notes.sign_note(TEXT, [("stranger.example", STRANGER), (ORIGIN, STRANGER)])
    assert refusal_of_note(note) is LedgerErrorCode.NOTE_UNVERIFIED


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    note = TEXT + b"\n" + notes.cosign(TEXT, "w", WITNESS, 7)
    assert refusal_of_note(note) is LedgerErrorCode.NOTE_UNVERIFIED


def test_a_false_line_of_a_known_key_spoils_the_note() -> None:
    forged = base64.b64encode(LOG_KEY.key_hash + bytes(64)).decode()
    note = NOTE + f"{DASH}{ORIGIN} {forged}\n".encode()
    assert refusal_of_note(note) is LedgerErrorCode.NOTE_BAD_SIGNATURE
    changed = NOTE.replace(b"\n42\n", b"\n43\n")
    assert refusal_of_note(changed) is LedgerErrorCode.NOTE_BAD_SIGNATURE


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    other = Checkpoint(origin="log.example/other", size=42, root=bytes(32))
    note = notes.sign_note(notes.encode_checkpoint(other), [(ORIGIN, LOG)])
    assert refusal_of_note(note) is LedgerErrorCode.CHECKPOINT_ORIGIN


def test_a_signed_text_that_is_no_checkpoint_is_refused() -> None:
    note = notes.sign_note(b"hello\n", [(ORIGIN, LOG)])
    assert refusal_of_note(note) is LedgerErrorCode.CHECKPOINT_MALFORMED


def test_a_cosignature_carries_its_time() -> None:
    note = notes.add_signature_lines(NOTE, [notes.cosign(TEXT, "w", WITNESS, 1_679_315_147)])
    opened = notes.open_checkpoint(note, LOG_KEY, witnesses=[WITNESS_KEY], witness_count_min=1)
    assert [line.time_seconds for line in opened.cosignatures] == [1_679_315_147]
    assert cosignature_message(TEXT, 7) == b"cosignature/v1\ntime 7\n" + TEXT


def test_the_latest_cosignature_of_a_witness_counts_once() -> None:
    lines = [notes.cosign(TEXT, "w", WITNESS, time) for time in (5, 9, 7)]
    note = notes.add_signature_lines(NOTE, lines)
    opened = notes.open_checkpoint(note, LOG_KEY, witnesses=[WITNESS_KEY], witness_count_min=1)
    assert [line.time_seconds for line in opened.cosignatures] == [9]
    with pytest.raises(CheckpointError) as caught:
        notes.open_checkpoint(note, LOG_KEY, witnesses=[WITNESS_KEY], witness_count_min=2)
    assert caught.value.code is LedgerErrorCode.NOTE_TOO_FEW_WITNESSES


def test_one_key_under_two_names_is_one_witness_and_the_log_is_none() -> None:
    witnesses = [
        NoteKey(name=name, algorithm=NoteAlgorithm.COSIGNATURE_V1, public=key.public)
        for name, key in (("w", WITNESS), ("v", WITNESS), (ORIGIN, LOG))
    ]
    lines = [
        notes.cosign(TEXT, name, key, 5)
        for name, key in (("w", WITNESS), ("v", WITNESS), (ORIGIN, LOG))
    ]
    note = notes.add_signature_lines(NOTE, lines)
    assert len(notes.open_checkpoint(note, LOG_KEY, witnesses=witnesses).cosignatures) == 1


def test_a_cosignature_over_another_checkpoint_is_refused() -> None:
    other = notes.encode_checkpoint(Checkpoint(origin=ORIGIN, size=41, root=bytes(32)))
    note = notes.add_signature_lines(NOTE, [notes.cosign(other, "w", WITNESS, 7)])
    assert refusal_of_note(note) is LedgerErrorCode.NOTE_BAD_SIGNATURE


def test_a_cosignature_with_another_time_is_refused() -> None:
    signature = WITNESS.sign(cosignature_message(TEXT, 7))
    for time, code in (
        (8, LedgerErrorCode.NOTE_BAD_SIGNATURE),
        (2**63, LedgerErrorCode.COSIGNATURE_MALFORMED),
    ):
        blob = base64.b64encode(WITNESS_KEY.key_hash + time.to_bytes(8, "big") + signature)
        note = NOTE + f"{DASH}w {blob.decode()}\n".encode()
        assert refusal_of_note(note) is code
    short = base64.b64encode(WITNESS_KEY.key_hash + signature).decode()
    note = NOTE + f"{DASH}w {short}\n".encode()
    assert refusal_of_note(note) is LedgerErrorCode.COSIGNATURE_MALFORMED


def test_a_cosignature_is_not_made_over_anything_or_at_any_time() -> None:
    with pytest.raises(CheckpointError) as caught:
        notes.cosign(b"hello\n", "w", WITNESS, 7)
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_MALFORMED
    for time in (-1, 2**63):
        with pytest.raises(CheckpointError) as caught:
            notes.cosign(TEXT, "w", WITNESS, time)
        assert caught.value.code is LedgerErrorCode.COSIGNATURE_MALFORMED


def test_text_cannot_be_smuggled_in_as_a_signature_line() -> None:
    line = notes.cosign(TEXT, "w", WITNESS, 7)
    with pytest.raises(CheckpointError) as caught:
        notes.add_signature_lines(NOTE, [b"\nmore text\n\n" + line])
    assert caught.value.code is LedgerErrorCode.NOTE_MALFORMED


@pytest.mark.parametrize("text", [b"", b"no newline", b"control \x07\n", b"\xff\n"])
def test_a_text_that_does_not_read_back_is_not_signed(text: bytes) -> None:
    with pytest.raises(CheckpointError) as caught:
        notes.sign_note(text, [(ORIGIN, LOG)])
    assert caught.value.code is LedgerErrorCode.NOTE_MALFORMED


def test_a_cosignature_key_is_not_a_log_key() -> None:
    with pytest.raises(KeyFormatError) as caught:
        notes.open_checkpoint(NOTE, WITNESS_KEY)
    assert caught.value.code is LedgerErrorCode.KEY_ALGORITHM
