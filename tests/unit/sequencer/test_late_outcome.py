"""Documents that come with what they say, and outcomes that are read when somebody asks."""

from __future__ import annotations

import hashlib

import pytest

from clearing import codec
from clearing.outcome import Outcome
from iso_exchange.sequencer.effects import Meta, document
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.signer import Written, make_document, read_back, written
from settlement.types import Postings
from tests.unit.sequencer.spot_world import (
    STEP,
    close,
    gang_terms,
    offer,
    opened,
    publish,
    run_at,
)
from tests.unit.sequencer.world import FIRST


def outcome() -> Outcome:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang"))
    run = run_at(world, FIRST)
    assert run.outcome is not None
    return run.outcome


def late(of: Outcome) -> LateOutcome:
    return LateOutcome(book_sha256=of.book_sha256, seed=of.seed, body=codec.encode(of))


def test_an_outcome_is_read_once_and_is_what_was_written() -> None:
    made = outcome()
    unread = late(made)
    assert unread.body
    assert unread.read() == made
    assert not unread.body, "its text is let go of"
    assert unread.read() is unread.read()
    assert unread == LateOutcome.of(made)


def test_an_unreadable_outcome_says_so_when_it_is_read() -> None:
    broken = LateOutcome(book_sha256="", seed="", body=b"{}")
    with pytest.raises(codec.DocumentError):
        broken.read()


@pytest.mark.parametrize("places", [1, 3])
def test_what_comes_with_its_values_gives_the_state_that_reading_gives(places: int) -> None:
    worlds = []
    for beside in (False, True):
        world = opened()
        offer(world)
        world.must(gang_terms(world, "gang"))
        for place in range(places):
            publish(world, close(world, FIRST + place * STEP), beside=beside)
        worlds.append(world.state)
    read, given = worlds
    assert given.runs == read.runs
    assert given.contracts == read.contracts
    assert given.markets == read.markets
    assert given.books.balances() == read.books.balances()
    assert given.postings == read.postings


def test_a_value_is_taken_in_place_of_reading_and_only_of_its_kind() -> None:
    empty = Postings(postings_id="award/x", transfers=())
    made = written("POSTINGS", empty)
    name, digest = made.sha256, made.sha256.hex()
    meta = Meta(
        time_us=0, index=0, leaf_hash=b"", documents={name: made.body}, values={name: empty}
    )
    assert document(meta, digest, Postings) is empty
    other = Meta(time_us=0, index=0, leaf_hash=b"", documents={name: made.body}, values={name: 1})
    found = document(other, digest, Postings)
    assert found == empty
    assert found is not empty
    assert isinstance(document(meta, hashlib.sha256(b"").hexdigest(), Postings), Rejected)


def test_what_another_process_wrote_is_read_back_with_its_document() -> None:
    empty = Postings(postings_id="award/x", transfers=())
    body = codec.encode(empty)
    back = read_back("POSTINGS", body, Postings)
    assert isinstance(back, Written)
    assert back.value == empty
    plain = make_document("POSTINGS", body)
    assert (back.sha256, back.kind, back.public, back.owners, back.body) == (
        plain.sha256,
        plain.kind,
        plain.public,
        plain.owners,
        plain.body,
    )
