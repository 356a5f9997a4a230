"""A witness under any sequence of requests, crashes and restarts never signs two histories."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from iso_exchange.publisher import files
from iso_exchange.witness.server import Witness
from iso_exchange.witness.state import WitnessState, create
from settlement.ledger import merkle
from settlement.ledger.checkpoint import Checkpoint, parse_note, sign_checkpoint, verify_note
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from settlement.ledger.policy import parse_policy
from settlement.ledger.witness import AddCheckpoint, Refused, decode_request, encode_request, judge

ORIGIN = "log.example/property"
KEY = SigningKey.from_seed(b"p" * 32)
LOG_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=KEY.public)
POLICY = parse_policy(f"log {LOG_KEY.to_vkey()}\nquorum none\n".encode())
SIZE = 12
COMMON = 4
"""The two histories share their first leaves."""


def history(label: bytes) -> merkle.HashTree:
    tree = merkle.HashTree()
    tree.extend(
        merkle.leaf_hash(b"%d" % number if number < COMMON else label + b"%d" % number)
        for number in range(SIZE)
    )
    return tree


TREES = (history(b"a"), history(b"b"))
ROOTS = tuple({tree.root(size): size for size in range(SIZE + 1)} for tree in TREES)


class CrashError(RuntimeError):
    """The power is cut."""


ACTIONS = st.tuples(
    st.sampled_from(("ask", "ask", "ask", "crash before", "crash after", "restart")),
    st.integers(0, 1),
    st.integers(0, SIZE),
    st.integers(0, SIZE),
)


def request(tree: merkle.HashTree, old: int, new: int) -> bytes:
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=new, root=tree.root(new)), KEY)
    proof = merkle.consistency_proof(old, new, tree.subtree_hash) if 0 < old < new else ()
    return encode_request(AddCheckpoint(old_size=old, proof=proof, note=note))


@settings(max_examples=150, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=25))
def test_what_it_signs_is_one_growing_history(actions: list[tuple[str, int, int, int]]) -> None:
    signed: list[Checkpoint] = []
    with tempfile.TemporaryDirectory() as name, patch("os.fsync"):
        directory = Path(name) / "w"
        keys = create(directory, name="w.example", ed25519=True, mldsa=False)
        state = WitnessState.open(directory)
        witness = Witness(state=state, policy=POLICY, now_seconds=lambda: 7)
        for action, which, old, new in actions:
            crashes = action.startswith("crash")

            def broken(path: Path, content: bytes, when: str = action) -> None:
                if when == "crash after":
                    files.replace(path, content)
                raise CrashError

            body = request(TREES[which], old, new)
            with contextlib.ExitStack() as stack:
                if crashes:
                    stack.enter_context(patch("iso_exchange.witness.state.replace", broken))
                    stack.enter_context(contextlib.suppress(CrashError))
                if action != "restart":
                    status, _, lines = witness.add_checkpoint(body)
                    if status == 200:
                        text = parse_note(decode_request(body).note).text
                        assert verify_note(parse_note(text + b"\n" + lines), keys.note_keys)
                        signed.append(
                            Checkpoint(origin=ORIGIN, size=new, root=TREES[which].root(new))
                        )
            if crashes or action == "restart":
                state.close()
                state = WitnessState.open(directory)
                witness = Witness(state=state, policy=POLICY, now_seconds=lambda: 7)
            # What was given out is never forgotten.
            kept = state.latest(ORIGIN)
            assert not signed or (kept is not None and kept.size >= signed[-1].size)
        state.close()
    sizes = [checkpoint.size for checkpoint in signed]
    assert sizes == sorted(sizes)
    assert any(
        all(roots.get(checkpoint.root) == checkpoint.size for checkpoint in signed)
        for roots in ROOTS
    ), "two histories are cosigned"


@settings(max_examples=300, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda good, at, byte: good[:at] + bytes([byte]) + good[at + 1 :],
            st.sampled_from([request(TREES[0], 3, 9), request(TREES[0], 0, 5)]),
            st.integers(0, 400),
            st.integers(0, 255),
        ),
    )
)
def test_no_request_makes_it_fall_over(body: bytes) -> None:
    latest = Checkpoint(origin=ORIGIN, size=3, root=TREES[0].root(3))
    answer = judge(body, POLICY.log_keys, lambda _: latest)
    if not isinstance(answer, Refused):
        assert TREES[0].root(answer.checkpoint.size) == answer.checkpoint.root


LINES = st.sampled_from(
    (
        "quorum none",
        "quorum g",
        "group g all w",
        "group g 2 w w",
        "group none any w",
        "witness w x",
        f"log {LOG_KEY.to_vkey()}",
        "# a comment",
        "",
        "log",
    )
)


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.lists(LINES, max_size=6).map(lambda lines: "\n".join([*lines, ""]).encode()),
    )
)
def test_a_policy_is_read_or_refused(data: bytes) -> None:
    try:
        policy = parse_policy(data)
    except LedgerFormatError:
        return
    assert policy.quorum == "none" or policy.witnesses
