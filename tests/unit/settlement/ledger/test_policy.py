"""Trust policies: the file format of C2SP tlog-policy, and what it accepts."""

from __future__ import annotations

import pytest

from settlement.ledger.checkpoint import (
    Checkpoint,
    add_signature_lines,
    cosign,
    encode_checkpoint,
    open_checkpoint,
    sign_checkpoint,
)
from settlement.ledger.errors import CheckpointError, LedgerErrorCode, PolicyError
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from settlement.ledger.mldsa import MlDsaKey
from settlement.ledger.policy import Policy, open_under_policy, parse_policy

ORIGIN = "log.example/iso"
LOG = SigningKey.from_seed(bytes(32))
SECOND = MlDsaKey.from_seed(b"2" * 32)
LOG_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=LOG.public)
SECOND_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ML_DSA_44, public=SECOND.public)
NAMES = ("x1", "x2", "x3", "y1", "y2")
WITNESSES = {name: SigningKey.from_seed(name.encode() * 16) for name in NAMES}
VKEYS = {
    name: NoteKey(
        name=f"{name}.example", algorithm=NoteAlgorithm.COSIGNATURE_V1, public=key.public
    ).to_vkey()
    for name, key in WITNESSES.items()
}
STATEMENT = Checkpoint(origin=ORIGIN, size=5, root=b"r" * 32)
TEXT = encode_checkpoint(STATEMENT)


def policy(*lines: str) -> Policy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def two_groups(*logs: str) -> Policy:
    """The example of the specification: two of three, and one of two."""
    return policy(
        "# two organisations",
        *(f"log {vkey}" for vkey in logs),
        *(f"\twitness  {name} {VKEYS[name]} " for name in NAMES),
        "",
        "group X 2 x1 x2 x3",
        "group Y any y1 y2",
        "group both all X Y",
        "quorum both",
    )


def note(*names: str, second: bool = False) -> bytes:
    lines = [cosign(TEXT, f"{name}.example", WITNESSES[name], 7) for name in names]
    if second:
        lines.append(cosign(TEXT, ORIGIN, SECOND, 7))
    return add_signature_lines(sign_checkpoint(STATEMENT, LOG), lines)


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (("x1", "x2", "y1"), True),
        (("x1", "x3", "y2"), True),
        (NAMES, True),
        (("x1", "y1", "y2"), False),
        (("x1", "x2", "x3"), False),
        ((), False),
    ],
)
def test_the_quorum_decides(names: tuple[str, ...], good: bool) -> None:
    rule = two_groups(LOG_KEY.to_vkey())
    if good:
        opened = open_under_policy(note(*names), rule, origin=ORIGIN)
        assert opened.checkpoint == STATEMENT
        assert len(opened.cosignatures) == len(names)
        return
    with pytest.raises(CheckpointError) as caught:
        open_under_policy(note(*names), rule)
    assert caught.value.code is LedgerErrorCode.NOTE_TOO_FEW_WITNESSES


@pytest.mark.parametrize("key", [LOG_KEY, SECOND_KEY])
def test_one_key_of_the_log_is_enough_for_a_policy(key: NoteKey) -> None:
    rule = policy(f"log {key.to_vkey()}", "quorum none")
    opened = open_under_policy(note("x1", second=True), rule)
    assert (opened.checkpoint, opened.cosignatures) == (STATEMENT, ())


def test_a_policy_with_both_keys_accepts_a_note_with_either() -> None:
    rule = policy(f"log {LOG_KEY.to_vkey()}", f"log {SECOND_KEY.to_vkey()}", "quorum none")
    only_second = TEXT + b"\n" + cosign(TEXT, ORIGIN, SECOND, 7)
    for signed in (note(), only_second):
        assert open_under_policy(signed, rule).checkpoint == STATEMENT


def test_both_keys_can_be_asked_for() -> None:
    both = note(second=True)
    for first, further in ((LOG_KEY, SECOND_KEY), (SECOND_KEY, LOG_KEY)):
        assert open_checkpoint(both, first, further_log_keys=[further]).cosignatures == ()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(note(), LOG_KEY, further_log_keys=[SECOND_KEY])
    assert caught.value.code is LedgerErrorCode.NOTE_UNVERIFIED


def test_a_log_of_another_origin_does_not_count() -> None:
    other = NoteKey(name="other.example", algorithm=NoteAlgorithm.ED25519, public=LOG.public)
    with pytest.raises(CheckpointError) as caught:
        open_under_policy(note(), policy(f"log {other.to_vkey()}", "quorum none"))
    assert caught.value.code is LedgerErrorCode.CHECKPOINT_ORIGIN


def test_the_log_is_not_its_own_witness() -> None:
    own = NoteKey(name="w.example", algorithm=NoteAlgorithm.COSIGNATURE_V1, public=LOG.public)
    rule = policy(f"log {LOG_KEY.to_vkey()}", f"witness w {own.to_vkey()}", "quorum w")
    forged = add_signature_lines(note(), [cosign(TEXT, "w.example", LOG, 7)])
    with pytest.raises(CheckpointError) as caught:
        open_under_policy(forged, rule)
    assert caught.value.code is LedgerErrorCode.NOTE_TOO_FEW_WITNESSES


W = f"witness x1 {VKEYS['x1']}"


@pytest.mark.parametrize(
    ("lines", "code", "place"),
    [
        ([], "POLICY_QUORUM", ""),
        (["quorum none", "quorum none"], "POLICY_QUORUM", "line 2"),
        (["quorum x1"], "POLICY_NAME", "line 1"),
        (["log", "quorum none"], "POLICY_MALFORMED", "line 1"),
        (["what is this", "quorum none"], "POLICY_MALFORMED", "line 1"),
        (["log nonsense", "quorum none"], "POLICY_KEY", "line 1"),
        ([f"log {VKEYS['x1']}", "quorum none"], "POLICY_KEY", "line 1"),
        ([f"witness a {LOG_KEY.to_vkey()}", "quorum a"], "POLICY_KEY", "line 1"),
        ([W, W.replace("x1 ", "x2 ", 1), "quorum x1"], "POLICY_DUPLICATE_KEY", "line 2"),
        ([W, W.replace(VKEYS["x1"], VKEYS["x2"]), "quorum x1"], "POLICY_NAME", "line 2"),
        ([f"witness none {VKEYS['x1']}", "quorum none"], "POLICY_NAME", "line 1"),
        ([W, "group g all x2", "quorum g"], "POLICY_NAME", "line 2"),
        ([W, "group g all none", "quorum g"], "POLICY_NAME", "line 2"),
        ([W, "group g 2 x1", "quorum g"], "POLICY_QUORUM", "line 2"),
        ([W, "group g 0 x1", "quorum g"], "POLICY_QUORUM", "line 2"),
        ([W, "group g all x1", "group h all x1", "quorum h"], "POLICY_NAME", "line 3"),
        ([W, "group g all g", "quorum g"], "POLICY_NAME", "line 2"),
        (["log\x07", "quorum none"], "POLICY_MALFORMED", ""),
    ],
)
def test_a_bad_policy_is_refused_with_its_line(lines: list[str], code: str, place: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(*lines)
    assert (caught.value.code.value, caught.value.place) == (code, place)
