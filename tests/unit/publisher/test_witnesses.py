"""The publisher and real witnesses over loopback HTTP: cosignatures, outages, forks, rollbacks."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from iso_exchange.config import Listen
from iso_exchange.publisher.publication import CHECKPOINT_NAME, WITNESSED_NAME
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.publisher.witnesses import Answer, Cosigned, Finding, Witnesses
from iso_exchange.witness.server import Witness, WitnessServer
from iso_exchange.witness.state import (
    LOGS_DIRECTORY,
    WitnessState,
    WitnessStateError,
    create,
    file_of,
    read_keys,
)
from settlement.ledger import merkle
from settlement.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_note,
    sign_checkpoint,
    verify_note,
)
from settlement.ledger.errors import CheckpointError
from settlement.ledger.keys import NoteAlgorithm, NoteKey
from settlement.ledger.mldsa import MlDsaKey
from settlement.ledger.policy import Policy, PolicyWitness, open_under_policy, parse_policy
from settlement.ledger.witness import AddCheckpoint, encode_request
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Entry, StoreError
from tests.unit.publisher.test_publisher import KEY, NOTE_KEY, ORIGIN, entry, grow

NOW = 1_767_225_600
SECOND = MlDsaKey.from_seed(b"2" * 32)
SECOND_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ML_DSA_44, public=SECOND.public)
LOGS = parse_policy(f"log {NOTE_KEY.to_vkey()}\nquorum none\n".encode())
AWAY = Answer(
    witness=PolicyWitness(
        name="away",
        key=NoteKey(name="w", algorithm=NoteAlgorithm.COSIGNATURE_V1, public=KEY.public),
    ),
    finding=Finding.UNREACHABLE,
)
MakeWitness = Callable[[str], WitnessServer]


@pytest.fixture(autouse=True)
def unsynced() -> Iterator[None]:
    """Nobody cuts the power of these tests."""
    with patch("os.fsync"):
        yield


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[MakeWitness]:
    """Start a witness by name; its state outlives the server."""
    with ExitStack() as stack:

        def start(name: str) -> WitnessServer:
            directory = tmp_path / name
            if not directory.exists():
                create(directory, name=f"{name}.example", ed25519=True, mldsa=True)
            state = stack.enter_context(WitnessState.open(directory))
            server = WitnessServer(
                listen=Listen(host="127.0.0.1", port=0),
                state=state,
                policy=LOGS,
                now_seconds=lambda: NOW,
            )
            server.start()
            stack.callback(server.stop)
            return server

        yield start


def policy_of(tmp_path: Path, urls: dict[str, str], *quorum: str) -> Policy:
    """One group for the keys of each witness, and a quorum over the groups."""
    lines = [f"log {NOTE_KEY.to_vkey()}"]
    for name, url in urls.items():
        keys = read_keys(tmp_path / name).note_keys
        lines += [f"witness {name}{n} {key.to_vkey()} {url}" for n, key in enumerate(keys)]
        members = " ".join(f"{name}{n}" for n in range(len(keys)))
        lines.append(f"group {name} all {members}")
    lines += quorum or ("quorum none",)
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def publisher(store: MemoryStore, directory: Path, policy: Policy) -> Publisher:
    return Publisher(
        store=store,
        origin=ORIGIN,
        key=KEY,
        directory=directory,
        second_key=SECOND,
        witnesses=Witnesses(policy=policy, seconds_max=5.0),
        now_seconds=lambda: NOW,
    )


async def new_store(count: int = 0) -> MemoryStore:
    store = MemoryStore()
    await store.take_over()
    if count:
        await grow(store, count)
    return store


def another(index: int) -> Entry:
    leaf = b"another"
    return replace(entry(index), leaf=leaf, envelope=leaf, leaf_hash=merkle.leaf_hash(leaf))


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_quorum_cosigns_before_anything_is_published(
    tmp_path: Path, serve: MakeWitness
) -> None:
    urls = {name: serve(name).url for name in ("one", "two")}
    policy = policy_of(tmp_path, urls, "group both all one two", "quorum both")
    store = await new_store()
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    for count in (3, 1, 300):
        await grow(store, count)
        published = await log.publish()
        assert published is not None
        note = (tmp_path / "log" / CHECKPOINT_NAME).read_bytes()
        assert note == published.checkpoint
        assert (tmp_path / "log" / WITNESSED_NAME).read_bytes() == note
        opened = open_under_policy(note, policy, origin=ORIGIN)
        assert opened.checkpoint.size == (await store.tree_state()).size
        assert len(opened.cosignatures) == 4
        assert {line.time_seconds for line in opened.cosignatures} == {NOW}
        open_checkpoint(note, NOTE_KEY, further_log_keys=[SECOND_KEY])


async def test_without_a_quorum_nothing_waits_and_lines_follow(
    tmp_path: Path, serve: MakeWitness
) -> None:
    one = serve("one")
    create(tmp_path / "away", name="away.example", ed25519=True, mldsa=False)
    policy = policy_of(tmp_path, {"one": one.url, "away": closed_port()})
    store = await new_store(5)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    published = await log.publish()
    assert published is not None
    assert open_under_policy(published.checkpoint, policy).cosignatures == ()
    cosigned = await log.collect()
    assert cosigned is not None
    findings = {answer.witness.name: answer.finding for answer in cosigned.answers}
    assert findings == {
        "one0": Finding.COSIGNED,
        "one1": Finding.COSIGNED,
        "away0": Finding.UNREACHABLE,
    }
    for name in (CHECKPOINT_NAME, WITNESSED_NAME):
        note = (tmp_path / "log" / name).read_bytes()
        assert len(open_under_policy(note, policy).cosignatures) == 2
    stored = await store.published()
    assert stored is not None
    assert stored == log.published
    assert stored.checkpoint == note
    # The lines are kept over a restart, and asking again adds none twice.
    again = publisher(store, tmp_path / "log", policy)
    await again.start()
    assert again.published == stored


async def test_a_quorum_that_is_away_holds_publication_back_and_nothing_else(
    tmp_path: Path, serve: MakeWitness
) -> None:
    server = serve("one")
    policy = policy_of(tmp_path, {"one": server.url}, "quorum one")
    store = await new_store(5)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    away = publisher(
        store, tmp_path / "log", policy_of(tmp_path, {"one": closed_port()}, "quorum one")
    )
    await away.start()
    assert await away.publish() is None
    assert not (tmp_path / "log" / CHECKPOINT_NAME).exists()
    await grow(store, 5)
    published = await log.publish()
    assert published is not None
    assert published.size == 10


async def test_the_cosigner_of_each_checkpoint_runs_by_itself(
    tmp_path: Path, serve: MakeWitness
) -> None:
    policy = policy_of(tmp_path, {"one": serve("one").url})
    store = await new_store(5)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    task = asyncio.create_task(log.run_witnesses())
    for _ in range(2):
        await grow(store, 1)
        await log.publish()
        path = tmp_path / "log" / WITNESSED_NAME
        for _ in range(500):
            size = parse_size(path)
            if size == (await store.tree_state()).size:
                break
            await asyncio.sleep(0.01)
        assert size == (await store.tree_state()).size
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def parse_size(path: Path) -> int:
    return int(path.read_bytes().split(b"\n")[1]) if path.exists() else -1


async def test_a_witness_that_hangs_or_comes_back_holds_nothing_up(
    tmp_path: Path, serve: MakeWitness
) -> None:
    create(tmp_path / "mute", name="mute.example", ed25519=True, mldsa=False)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)  # connections are taken by the system, and never answered
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        store = await new_store(5)
        log = Publisher(
            store=store,
            origin=ORIGIN,
            key=KEY,
            directory=tmp_path / "log",
            witnesses=Witnesses(policy=policy_of(tmp_path, {"mute": url}), seconds_max=0.2),
        )
        await log.start()
        for _ in range(3):
            await grow(store, 1)
            assert await log.publish() is not None
            cosigned = await log.collect()
            assert cosigned is not None
            assert not cosigned.is_complete
            assert {answer.finding for answer in cosigned.answers} == {Finding.UNREACHABLE}
    # The log is quiet now; who was away is asked again about the same checkpoint.
    one = serve("one")
    log = publisher(store, tmp_path / "log", policy_of(tmp_path, {"one": one.url}))
    answers = [Cosigned(note=b"", is_quorum=False, answers=(AWAY,))]
    real = log.collect

    async def collect() -> Cosigned | None:
        return answers.pop() if answers else await real()

    await log.start()
    with (
        patch("iso_exchange.publisher.publisher.RETRY_SECONDS", 0.01),
        patch.object(log, "collect", collect),
    ):
        task = asyncio.create_task(log.run_witnesses())
        while parse_size(tmp_path / "log" / WITNESSED_NAME) != 8:
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_restored_backup_is_refused_by_what_a_witness_remembers(
    tmp_path: Path, serve: MakeWitness
) -> None:
    policy = policy_of(tmp_path, {"one": serve("one").url})
    store = await new_store(9)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    await log.publish()
    await log.collect()
    # Database and log directory come from the backup: nothing but the witness knows better.
    for count in (0, 5):
        restored = publisher(await new_store(count), tmp_path / f"restored{count}", policy)
        with pytest.raises(StoreError, match="ROLLED_BACK: witness one0: it cosigned 9 entries"):
            await restored.start()
    other = await new_store(4)
    with patch("tests.unit.publisher.test_publisher.entry", another):
        await grow(other, 7)
    with pytest.raises(StoreError, match="ROLLED_BACK: witness one0: it cosigned another tree"):
        await publisher(other, tmp_path / "forked", policy).start()


async def test_a_restored_database_is_refused_by_the_witnessed_file(
    tmp_path: Path, serve: MakeWitness
) -> None:
    policy = policy_of(tmp_path, {"one": serve("one").url})
    store = await new_store(9)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    await log.publish()
    await log.collect()
    (tmp_path / "log" / CHECKPOINT_NAME).unlink()
    unwitnessed = Publisher(
        store=await new_store(5), origin=ORIGIN, key=KEY, directory=tmp_path / "log"
    )
    with pytest.raises(StoreError, match=r"ROLLED_BACK: checkpoint\.witnessed names another tree"):
        await unwitnessed.start()


# The witness itself -------------------------------------------------------------------------------


def request(size: int, old: int, label: bytes = b"") -> bytes:
    tree = merkle.HashTree()
    tree.extend(merkle.leaf_hash(label + b"%d" % number) for number in range(40))
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=tree.root(size)), KEY)
    proof = merkle.consistency_proof(old, size, tree.subtree_hash) if 0 < old < size else ()
    return encode_request(AddCheckpoint(old_size=old, proof=proof, note=note))


def witness(state: WitnessState, now: int = NOW) -> Witness:
    return Witness(state=state, policy=LOGS, now_seconds=lambda: now)


def test_a_witness_remembers_over_a_restart(tmp_path: Path) -> None:
    create(tmp_path / "w", name="w.example", ed25519=True, mldsa=False)
    with WitnessState.open(tmp_path / "w") as state:
        assert witness(state).add_checkpoint(request(7, 0))[0] == 200
    with WitnessState.open(tmp_path / "w") as state:
        again = witness(state)
        assert again.add_checkpoint(request(20, 0)) == (409, "text/x.tlog.size", b"7\n")
        assert again.add_checkpoint(request(5, 5))[0] == 409
        assert again.add_checkpoint(request(20, 7, b"fork"))[0] == 422
        assert again.add_checkpoint(request(7, 7, b"fork"))[0] == 409
        assert again.add_checkpoint(request(20, 7))[0] == 200


def test_the_time_of_cosignatures_never_falls(tmp_path: Path) -> None:
    keys = create(tmp_path / "w", name="w.example", ed25519=True, mldsa=True)
    times = []
    for now, size in ((NOW, 7), (NOW - 3600, 20), (NOW + 5, 30)):
        with WitnessState.open(tmp_path / "w") as state:
            old = state.latest(ORIGIN)
            body = request(size, 0 if old is None else old.size)
            status, _, lines = witness(state, now).add_checkpoint(body)
        assert status == 200
        text = parse_note(body.partition(b"\n\n")[2]).text
        found = verify_note(parse_note(text + b"\n" + lines), keys.note_keys)
        times.append({line.time_seconds for line in found})
    assert times == [{NOW}, {NOW}, {NOW + 5}]


def test_nothing_is_given_out_that_could_not_be_kept(tmp_path: Path) -> None:
    create(tmp_path / "w", name="w.example", ed25519=True, mldsa=False)
    with WitnessState.open(tmp_path / "w") as state:
        lines = witness(state)
        with (
            patch("iso_exchange.witness.state.replace", side_effect=OSError("disk full")),
            pytest.raises(OSError, match="disk full"),
        ):
            lines.add_checkpoint(request(7, 0))
        assert state.latest(ORIGIN) is None
        assert lines.add_checkpoint(request(9, 0, b"other"))[0] == 200


def test_one_process_has_the_memory(tmp_path: Path) -> None:
    create(tmp_path / "w", name="w.example", ed25519=True, mldsa=False)
    with WitnessState.open(tmp_path / "w"), pytest.raises(WitnessStateError) as caught:
        WitnessState.open(tmp_path / "w")
    assert caught.value.code == "STATE_IN_USE"
    with pytest.raises(WitnessStateError) as caught:
        create(tmp_path / "w", name="w.example", ed25519=True, mldsa=False)
    assert caught.value.code == "WITNESS_EXISTS"
    with pytest.raises(WitnessStateError) as caught:
        read_keys(tmp_path)
    assert caught.value.code == "NO_WITNESS"


@pytest.mark.parametrize("position", [0, len(ORIGIN) + 1, -10])
def test_a_damaged_memory_is_refused(tmp_path: Path, position: int) -> None:
    create(tmp_path / "w", name="w.example", ed25519=True, mldsa=False)
    with WitnessState.open(tmp_path / "w") as state:
        witness(state).add_checkpoint(request(7, 0))
    path = tmp_path / "w" / LOGS_DIRECTORY / file_of(ORIGIN)
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(WitnessStateError) as caught:
        WitnessState.open(tmp_path / "w")
    assert caught.value.code == "STATE_DAMAGED"


def call(
    server: WitnessServer, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_server_answers_the_protocol(tmp_path: Path, serve: MakeWitness) -> None:
    server = serve("one")
    assert call(server, "POST", "/add-checkpoint", b"nonsense")[0] == 400
    assert call(server, "POST", "/other", b"x")[0] == 404
    assert call(server, "POST", "/add-checkpoint", b"x" * 300_000)[0] == 413
    assert call(server, "GET", f"/checkpoints/{file_of(ORIGIN)}")[0] == 404
    status, lines = call(server, "POST", "/add-checkpoint", request(7, 0))
    assert status == 200
    assert len(lines.splitlines()) == 2
    status, note = call(server, "GET", f"/checkpoints/{file_of(ORIGIN)}")
    assert status == 200
    assert len(verify_note(parse_note(note), read_keys(tmp_path / "one").note_keys)) == 2
    assert call(server, "GET", "/checkpoints/../name")[0] == 404
    assert call(server, "GET", "/healthz") == (200, b"ok\n")


async def test_a_witness_that_lies_gives_no_line(tmp_path: Path, serve: MakeWitness) -> None:
    """Another witness's answer, and one that cannot be read, are not mistaken for a cosignature."""
    create(tmp_path / "two", name="two.example", ed25519=True, mldsa=True)
    policy = policy_of(tmp_path, {"two": serve("one").url}, "quorum two")
    store = await new_store(5)
    log = publisher(store, tmp_path / "log", policy)
    await log.start()
    assert await log.publish() is None
    note = log._sign(5, log.tree.root(5))
    cosigned = await log._ask(note)
    assert {answer.finding for answer in cosigned.answers} == {Finding.REFUSED}
    assert cosigned.note == note
    with pytest.raises(CheckpointError):
        open_under_policy(cosigned.note, policy)
