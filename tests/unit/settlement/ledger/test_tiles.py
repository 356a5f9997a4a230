from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.ledger import merkle, tiles
from settlement.ledger.errors import LedgerErrorCode, MerkleError, TileError
from settlement.ledger.tiles import Tile
from tests.conformance import sample_log


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(level=0, index=0), "tile/0/000"),
        (Tile(level=0, index=273, width=112), "tile/0/273.p/112"),
        (Tile(level=1, index=1_234_067), "tile/1/x001/x234/067"),
        (Tile(level=63, index=1_000, width=1), "tile/63/x001/000.p/1"),
        (Tile(level=None, index=999, width=255), "tile/entries/999.p/255"),
        (Tile(level=None, index=1_000_000), "tile/entries/x001/x000/000"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tiles.parse_path(path) == tile


@given(
    level=st.none() | st.integers(0, 63),
    index=st.integers(0, 2**55 - 1),
    width=st.integers(1, 256),
)
def test_every_path_reads_back(level: int | None, index: int, width: int) -> None:
    tile = Tile(level=level, index=index, width=width)
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/data/000",
        "tile/0/000/",
        "tile/0/../000",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
    ],
)
def test_another_spelling_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(TileError) as caught:
        tiles.parse_path(path)
    assert caught.value.code is LedgerErrorCode.TILE_PATH


@pytest.mark.parametrize(("level", "index", "width"), [(64, 0, 1), (0, -1, 1), (0, 0, 0)])
def test_a_tile_that_has_no_path_is_refused(level: int, index: int, width: int) -> None:
    with pytest.raises(TileError) as caught:
        Tile(level=level, index=index, width=width)
    assert caught.value.code is LedgerErrorCode.TILE_PATH


def test_a_log_of_70000_entries_has_the_tiles_of_the_specification() -> None:
    written = list(tiles.changed_tiles(0, 70_000))
    assert [tile.path for tile in written if tile.level == 0][-2:] == [
        "tile/0/272",
        "tile/0/273.p/112",
    ]
    assert [tile.path for tile in written if tile.level] == [
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert len(written) == 277
    bundles = [tile.path for tile in tiles.changed_bundles(0, 70_000)]
    assert (len(bundles), bundles[-1]) == (274, "tile/entries/273.p/112")


def test_a_log_of_256_entries_has_a_full_tile_and_its_hash_above() -> None:
    assert [tile.path for tile in tiles.changed_tiles(255, 256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in tiles.changed_tiles(256, 256)] == []
    assert [tile.path for tile in tiles.changed_tiles(256, 257)] == ["tile/0/001.p/1"]


@given(
    sizes=st.lists(st.integers(0, 2_000), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_growing_in_steps_writes_all_files_of_the_last_size(sizes: list[int]) -> None:
    written: set[str] = set()
    for old_size, new_size in zip([0, *sizes], sizes, strict=False):
        for changed in (tiles.changed_tiles, tiles.changed_bundles):
            paths = [tile.path for tile in changed(old_size, new_size)]
            assert len(paths) == len(set(paths))
            # Files are immutable: no path is ever written a second time.
            assert written.isdisjoint(paths)
            written.update(paths)
    needed = {tile.path for tile in tiles.changed_tiles(0, sizes[-1])}
    assert needed <= written


def test_a_log_does_not_shrink() -> None:
    for changed in (tiles.changed_tiles, tiles.changed_bundles):
        with pytest.raises(MerkleError) as caught:
            list(changed(2, 1))
        assert caught.value.code is LedgerErrorCode.TREE_SIZE


def test_a_bundle_frames_entries_with_big_endian_lengths() -> None:
    entries = [b"", b"ab", b"x" * 258]
    data = tiles.encode_bundle(entries)
    assert data == b"\x00\x00" + b"\x00\x02ab" + b"\x01\x02" + b"x" * 258
    assert tiles.decode_bundle(data) == entries


@given(entries=st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_read_back(entries: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(entries)) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x01", b"\x00\x01ab", b"\xff\xffab"])
def test_a_cut_off_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(TileError) as caught:
        tiles.decode_bundle(data, "tile/entries/000")
    assert caught.value.code is LedgerErrorCode.BUNDLE_MALFORMED
    assert caught.value.place == "tile/entries/000"


def test_an_entry_longer_than_its_length_field_is_refused() -> None:
    assert len(tiles.encode_bundle([bytes(65_535)])) == 65_537
    with pytest.raises(TileError) as caught:
        tiles.encode_bundle([b"", bytes(65_536)])
    assert caught.value.code is LedgerErrorCode.BUNDLE_ENTRY_TOO_LARGE
    assert caught.value.place == "entry 1"


def test_a_bundle_has_no_tile_bytes() -> None:
    with pytest.raises(TileError) as caught:
        tiles.tile_bytes(Tile(level=None, index=0), merkle.HashTree().subtree_hash)
    assert caught.value.code is LedgerErrorCode.TILE_PATH


@functools.cache
def sample() -> sample_log.SampleLog:
    return sample_log.build(sample_log.entries_of(700), steps=[300])


def replay_refusal(files: dict[str, bytes], root: bytes | None = None) -> tuple[str, str]:
    log = sample()
    with pytest.raises(TileError) as caught:
        list(tiles.replay(files.get, size=700, root=log.root if root is None else root))
    return caught.value.code, caught.value.place


def test_a_removed_partial_file_is_replaced_by_the_full_one() -> None:
    log = sample()
    smaller = tiles.TileReader(log.files.get, size=300, root=log.tree.root(300))
    files = {path: data for path, data in log.files.items() if ".p/44" not in path}
    assert len(files) == len(log.files) - 2
    fallback = tiles.TileReader(files.get, size=300, root=log.tree.root(300))
    assert list(fallback.replay()) == list(smaller.replay())
    assert list(smaller.replay()) == list(enumerate(log.entries[:300]))


def test_two_exchanged_entries_are_found() -> None:
    files = dict(sample().files)
    entries = tiles.decode_bundle(files["tile/entries/001"])
    entries[3], entries[5] = entries[5], entries[3]
    files["tile/entries/001"] = tiles.encode_bundle(entries)
    assert replay_refusal(files) == ("BUNDLE_ENTRY_MISMATCH", "tile/entries/001 entry 3")


def test_an_entry_with_its_leaf_hash_changed_too_is_found_one_level_up() -> None:
    files = dict(sample().files)
    entries = tiles.decode_bundle(files["tile/entries/001"])
    entries[3] = b"another"
    files["tile/entries/001"] = tiles.encode_bundle(entries)
    files["tile/0/001"] = b"".join(merkle.leaf_hash(entry) for entry in entries)
    assert replay_refusal(files) == ("TILE_HASH_MISMATCH", "tile/0/001")


def test_a_log_rewritten_in_all_files_disagrees_with_the_checkpoint() -> None:
    entries = list(sample().entries)
    entries[3] = b"another"
    rewritten = sample_log.build(entries)
    assert replay_refusal(rewritten.files) == ("TILE_ROOT_MISMATCH", "checkpoint")


def test_a_hash_of_the_edge_that_disagrees_with_its_tile_is_named() -> None:
    files = dict(sample().files)
    edge = bytearray(files["tile/1/000.p/2"])
    edge[32] ^= 1
    files["tile/1/000.p/2"] = bytes(edge)
    assert replay_refusal(files) == ("TILE_HASH_MISMATCH", "tile/1/000.p/2 hash 1")


@pytest.mark.parametrize(
    ("path", "cut", "code"),
    [
        ("tile/0/000", 1, "TILE_LENGTH"),
        ("tile/0/000", 32, "TILE_LENGTH"),
        ("tile/0/002.p/188", 32, "TILE_LENGTH"),
        ("tile/entries/000", 1, "BUNDLE_MALFORMED"),
        # The last entry of the bundle whole, with its length.
        ("tile/entries/002.p/188", len(sample_log.entries_of(700)[-1]) + 2, "BUNDLE_MALFORMED"),
    ],
)
def test_a_truncated_file_is_named(path: str, cut: int, code: str) -> None:
    files = dict(sample().files)
    files[path] = files[path][:-cut]
    assert replay_refusal(files) == (code, path)


def test_replay_starts_anywhere_within_the_log() -> None:
    log = sample()
    for start in (0, 1, 255, 256, 699, 700):
        assert list(log.reader().replay(start)) == list(enumerate(log.entries))[start:]
    for start in (-1, 701):
        with pytest.raises(MerkleError) as caught:
            list(log.reader().replay(start))
        assert caught.value.code is LedgerErrorCode.LEAF_INDEX


def test_questions_beyond_the_checkpoint_are_refused() -> None:
    reader = sample().reader()
    for attempt in (
        lambda: reader.leaf(700),
        lambda: reader.leaf(-1),
        lambda: reader.inclusion_proof(700),
        lambda: reader.subtree_hash(0, 700),
        lambda: reader.subtree_hash(9, 1),
        lambda: reader.subtree_hash(-1, 0),
    ):
        with pytest.raises(MerkleError) as caught:
            attempt()
        assert caught.value.code is LedgerErrorCode.LEAF_INDEX


def test_a_proof_from_false_tiles_is_never_handed_out() -> None:
    files = dict(sample().files)
    changed = bytearray(files["tile/0/001"])
    changed[0] ^= 1
    files["tile/0/001"] = bytes(changed)
    with pytest.raises(TileError) as caught:
        sample().reader(files).inclusion_proof(300)
    assert caught.value.place == "tile/0/001"


def test_the_empty_log_has_no_files() -> None:
    files: dict[str, bytes] = {}
    assert list(tiles.replay(files.get, size=0, root=merkle.EMPTY_ROOT)) == []
    with pytest.raises(TileError) as caught:
        list(tiles.replay(files.get, size=0, root=bytes(32)))
    assert caught.value.code is LedgerErrorCode.TILE_ROOT_MISMATCH
