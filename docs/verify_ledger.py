"""Check an audit bundle of the exchange without any of the exchange's code.

    python verify_ledger.py BUNDLE [--key VERIFIER_KEY]

For auditors who want to read what checks for them: one file, Python's standard library and
`cryptography` for Ed25519. It was written from docs/reference/log-format.md, audit.md and the
.proto files, and shares no line with `iso audit verify`, which checks more (prices, certificates,
contracts and readings follow the market's rules). Here is what a bookkeeper asks for:

    files        every file of the listing, with its digest, and no other
    checkpoint   signed by the log's key
    tree         every leaf hashes through the tiles to the signed root
    batches      each header signed by the log's key, covering the leaves since the last
    signatures   every envelope by a registered key in force, in a role that may sign it
    commitments  salt and envelope give the leaf; each opened once, in order
    documents    every document that an entry names, and no other
    books        the orders that stand at gate closure are those of the published book root, of
                 a spot run those of its book; the revealed tie seed is the one committed to
    accounts     transfers applied once; holds posted or voided once, within their amount;
                 every asset sums to zero; pots empty when their hour is settled
    statements   exactly what moved the account since its last one, and what may be paid out
    communities  published totals are the sum of the surcharges posted and of the delivery
    allocation   awarded and idle chips are all chips; the alarm's levels follow from the runs, and
                 every change of its level was put on record

Exit code 0: nothing wrong. 1: something is, and the one line says where and what. 2: no bundle.
A public bundle opens nothing: its accounts are not checkable, and the summary says so.
The expected key may be an earlier one where the log's key was rotated.
Numbers are whole: micro-USD, chip-seconds, seconds. Not looked at: second signatures, witnesses'
lines and timestamps (the tree under them is); the log before a log that continues another; keys
of small order. Not worked out again, which `iso audit verify` does: what hours, corrections,
rebates and the holds of spot results amount to (they are applied as posted, between the parties
that they name); which standing orders a spot run leaves out; notices; what held chips idle;
readings that an upheld dispute replaces.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import stat
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
Fields = dict[int, list[Any]]
WIDTH = 256
HOUR = 3_600
DAY = 86_400
CORRECTION_DAYS = 60
PPM = 1_000_000
CENT = 10_000
ED25519 = 1
SAFE_INTEGER = 2**53 - 1
INTERRUPTIBLE = 2
LEVELS = ("NORMAL", "WARNING", "MAJOR_OUTAGE")
SUPPLIER, BUYER, METER, OPERATOR = 1, 2, 3, 5
ROLES = {"supplier": 1, "buyer": 2, "meter": 3, "operator": 5, "exchange": 7}
ANYBODY = (1, 2, 3, 4, 5, 6, 7)
MEDIA = "application/vnd.iso-exchange."
COMMITMENT = MEDIA + "commitment.v1"
BATCH = MEDIA + "batch.v1+json"
KINDS: dict[str, tuple[str, bool, tuple[int, ...]]] = {}
"""By payload type without its prefix: entry kind, whether public, roles that may sign it."""
for _line in """
public json operator log-closure=LOG_CLOSED
public json exchange log-key-rotation=LOG_KEY_ROTATED predecessor=PREDECESSOR book-root=BOOK_ROOT
public json exchange run-gate=RUN_GATE auction-prices=AUCTION_PRICES auction-failed=AUCTION_FAILED
public json exchange credit-gate=CREDIT_GATE credit-round=CREDIT_ROUND
public protobuf buyer credits-book=CREDITS_OPENED credits-close=CREDITS_CLOSED
public json exchange book-release=BOOK_RELEASED community-total=COMMUNITY_TOTAL
public json exchange allocation=ALLOCATION
public protobuf anybody key-rotation=KEY_ROTATED
public protobuf supplier+operator grant=GRANT
public protobuf operator participant=PARTICIPANT key-revocation=KEY_REVOKED root-key=ROOT_KEY
public protobuf operator suspension=PARTICIPANT_SUSPENDED reinstatement=PARTICIPANT_REINSTATED
public protobuf operator cancel-all=ORDERS_CANCELLED site=SITE pool=POOL meter=METER
public protobuf operator chip-table=CHIP_TABLE auction-spec=AUCTION_SPEC
public protobuf operator auction-halt=AUCTION_HALTED auction-resume=AUCTION_RESUMED
public protobuf operator spot-market=SPOT_MARKET spot-halt=SPOT_HALTED spot-resume=SPOT_RESUMED
public protobuf operator spot-close=SPOT_CLOSED
public protobuf buyer access-key=ACCESS_KEY
closed json exchange auction-result=AUCTION_RESULT award=AWARD notice=NOTICE postings=POSTINGS
closed json exchange statement=STATEMENT spot-result=SPOT_RESULT correction=CORRECTION
closed json exchange rebate=REBATE pool-rebate=POOL_REBATE
closed json exchange instructions=INSTRUCTIONS provisioning-timeout=PROVISIONING_TIMEOUT
closed protobuf supplier batch-acknowledgement=INSTRUCTIONS_ACKNOWLEDGED handover=HANDOVER
closed protobuf supplier+buyer webhook=WEBHOOK order=ORDER order-cancellation=ORDER_CANCELLED
closed protobuf supplier+buyer dispute=DISPUTE
closed protobuf supplier+operator outage-report=OUTAGE
closed protobuf buyer entitlement=ENTITLEMENT nomination=NOMINATION hour-return=RETURN
closed protobuf buyer release=RELEASE recall=RECALL
closed protobuf buyer credit-grant=CREDIT_GRANT credit-bid=CREDIT_BID
closed protobuf buyer credit-bid-cancellation=CREDIT_BID_CANCELLED
closed json exchange credit-result=CREDIT_RESULT credit-expiry=CREDIT_EXPIRY
closed protobuf meter meter-batch=METER_BATCH
closed protobuf operator deposit=DEPOSIT dispute-decision=DISPUTE_DECISION
""".strip().split("\n"):
    _visible, _encoding, _who, *_kinds = _line.split()
    _roles = ANYBODY if _who == "anybody" else tuple(ROLES[name] for name in _who.split("+"))
    for _noun, _kind in (pair.split("=") for pair in _kinds):
        KINDS[f"{_noun}.v1+{_encoding}"] = (_kind, _visible == "public", _roles)
REGISTRY = {
    *("PARTICIPANT", "KEY_REVOKED", "KEY_ROTATED", "ROOT_KEY", "LOG_KEY_ROTATED", "LOG_CLOSED"),
    *("METER", "SITE", "AUCTION_SPEC", "AUCTION_PRICES", "SPOT_MARKET", "RUN_GATE", "SPOT_CLOSED"),
    *("CREDITS_OPENED", "CREDITS_CLOSED", "CREDIT_GATE", "CREDIT_ROUND", "ALLOCATION"),
}
"""Kinds that mean something without openings."""
CRASHES = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError),
    *(StopIteration, ArithmeticError),
)


class WrongError(Exception):
    """Something in the bundle is not as it must be."""


def demand(condition: bool, what: str) -> None:
    """Go on only where the condition holds."""
    if not condition:
        raise WrongError(what)


# Bytes ---------------------------------------------------------------------------------------


def sha256(*parts: bytes) -> bytes:
    """Digest of the parts, one behind the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return sha256(b"\0", leaf)


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1: root over leaf hashes (or over roots of full subtrees)."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else sha256()
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1", tree_hash(hashes[:split]), tree_hash(hashes[split:]))


def unbase64(text: str) -> bytes:
    """Base64 in its one spelling."""
    data = base64.b64decode(text, validate=True)
    demand(base64.b64encode(data).decode() == text, "base64 in a second spelling")
    return data


def is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an Ed25519 signature holds."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def unique(pairs: list[tuple[str, Any]]) -> Json:
    """An object in which no name stands twice."""
    demand(len(dict(pairs)) == len(pairs), "a field appears twice")
    return dict(pairs)


def no_float(text: str) -> None:
    """Documents hold integers only."""
    raise WrongError(f"{text} is no integer")


def plain_json(data: bytes) -> Any:
    """Any JSON without floats and repeated names."""
    return json.loads(
        data.decode(), object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float
    )


def canonical(value: Any) -> bytes:
    """Sorted names, no white space; integers beyond 2**53 - 1 as text."""

    def safe(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: safe(item) for name, item in part.items()}
        if isinstance(part, list):
            return [safe(item) for item in part]
        is_large = isinstance(part, int) and abs(part) > SAFE_INTEGER
        return str(part) if is_large else part

    text = json.dumps(safe(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def canonical_json(data: bytes) -> Json:
    """A document in its one spelling."""
    value = plain_json(data)
    demand(isinstance(value, dict) and canonical(value) == data, "not canonical JSON")
    return dict(value)


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length number, and where the next thing begins."""
    value = shift = 0
    while True:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 128:
            return value, place


def protobuf(data: bytes) -> Fields:
    """Values of each field of a message: whole numbers, or bytes."""
    found: Fields = defaultdict(list)
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        if tag & 7 == 0:
            value, place = varint(data, place)
            found[tag >> 3].append(value - (1 << 64) if value >> 63 else value)
            continue
        demand(tag & 7 == 2, "a field of a type that no body has")
        length, place = varint(data, place)
        demand(place + length <= len(data), "a field ends behind the message")
        found[tag >> 3].append(data[place : place + length])
        place += length
    return found


def text(fields: Fields, number: int) -> str:
    """A text field, empty where there is none."""
    return str(fields[number][-1].decode()) if fields[number] else ""


def whole(fields: Fields, number: int, default: int = 0) -> int:
    """A number, or its default."""
    return int(fields[number][-1]) if fields[number] else default


def seconds(fields: Fields, number: int) -> int:
    """Seconds of a Timestamp, 0 where it is not set."""
    return whole(protobuf(fields[number][-1]), 1) if fields[number] else 0


def numbers(fields: Fields, number: int) -> list[int]:
    """A repeated number, packed or not."""
    found: list[int] = []
    for item in fields[number]:
        place = 0
        while isinstance(item, bytes) and place < len(item):
            value, place = varint(item, place)
            found.append(value)
        if isinstance(item, int):
            found.append(item)
    return found


# The log -------------------------------------------------------------------------------------


def read_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, key hash and raw public key of a C2SP verifier key."""
    name, hash_, encoded = vkey.split("+", 2)
    key = unbase64(encoded)
    demand(len(key) == 33 and key[0] == ED25519, "the verifier key is no Ed25519 key")
    expected = sha256(name.encode(), b"\n", key)[:4]
    demand(hash_ == expected.hex(), "the verifier key has another hash")
    return name, expected, key[1:]


def read_checkpoint(note: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key signed."""
    name, key_hash, public = read_vkey(vkey)
    body, _, signatures = note.decode().rpartition("\n\n")
    demand(bool(body) and signatures.endswith("\n"), "no signed note")
    signed = 0
    for line in signatures.removesuffix("\n").split("\n"):
        dash, signer, encoded = line.split(" ", 2)
        blob = unbase64(encoded)
        demand(dash == "—", "no signature line")
        if (signer, blob[:4]) == (name, key_hash):
            holds = is_signed(public, blob[4:], body.encode() + b"\n")
            demand(holds, "the log's signature does not hold")
            signed += 1
    demand(signed == 1, f"{signed} signatures of {name}, not one")
    origin, size, root = body.split("\n")[:3]
    demand(origin == name, f"is of {origin}, the key of {name}")
    demand(size.isascii() and size.isdigit() and str(int(size)) == size, "the size is no number")
    return origin, int(size), unbase64(root)


def tile_name(index: int, width: int) -> str:
    """Number of a tile as a path: groups of three digits."""
    digits = f"{index % 1000:03}"
    while index := index // 1000:
        digits = f"x{index % 1000:03}/{digits}"
    return digits if width == WIDTH else f"{digits}.p/{width}"


def tiles_of(count: int) -> Iterator[tuple[int, str, int]]:
    """First hash, name and width of the tiles over some hashes."""
    for first in range(0, count, WIDTH):
        width = min(WIDTH, count - first)
        yield first, tile_name(first // WIDTH, width), width


class Bundle:
    """The files of a bundle; ``place`` is what is being looked at."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet."""
        self.directory = directory
        self.place = "bundle.json"
        self.documents_named: set[str] = set()

    def read(self, name: str) -> bytes:
        """A regular file inside the bundle."""
        self.place = name
        demand(".." not in name.split("/") and not name.startswith("/"), "leads out of the bundle")
        path = self.directory / name
        demand(path.exists(), "is missing")
        demand(stat.S_ISREG(path.lstat().st_mode), "is no regular file")
        return path.read_bytes()

    def listing(self) -> Json:
        """``bundle.json``, and every file that it lists and no other."""
        found = canonical_json(self.read("bundle.json"))
        demand(found["format"] == "iso-exchange.audit-bundle.v1", "unknown format")
        demand(found["kind"] in {"public", "auditor"}, "neither public nor auditor")
        fields = {"files", "format", "kind", "origin", "sealed_from", "size", "vkey"}
        demand({*found} - {"first_vkey"} == fields, "has other fields")
        names = [file["path"] for file in found["files"]]
        demand(names == sorted(set(names)), "files are not sorted, or stand twice")
        present = {
            path.relative_to(self.directory).as_posix()
            for path in self.directory.rglob("*")
            if path.is_symlink() or not path.is_dir()
        }
        for name in sorted({*names, "bundle.json"} ^ present):
            self.place = name
            raise WrongError("is listed but missing" if name in names else "is not listed")
        for file in found["files"]:
            body = self.read(file["path"])
            said = {"path": file["path"], "sha256": sha256(body).hex(), "size": len(body)}
            demand(file == said, "has another digest or size than listed")
        return found

    def document(self, digest: str) -> bytes:
        """A document that an entry names, with its digest."""
        self.documents_named.add(digest)
        place = self.place
        body = self.read(f"documents/{digest}")
        demand(sha256(body).hex() == digest, f"is not what {place} names")
        self.place = place
        return body

    def leaves(self, size: int, root: bytes) -> list[bytes]:
        """All leaves, checked through every tile to the root."""
        expected = {"log/checkpoint"}
        leaves: list[bytes] = []
        for _, name, width in tiles_of(size):
            data = self.read(f"log/tile/entries/{name}")
            expected.add(self.place)
            for _ in range(width):
                end = 2 + int.from_bytes(data[:2], "big")
                demand(2 <= len(data) >= end, "ends inside an entry")
                leaves.append(data[2:end])
                data = data[end:]
            demand(not data, "goes on behind its entries")
        level, hashes = 0, [leaf_hash(leaf) for leaf in leaves]
        while hashes:
            above: list[bytes] = []
            for first, name, width in tiles_of(len(hashes)):
                part = hashes[first : first + width]
                same = self.read(f"log/tile/{level}/{name}") == b"".join(part)
                demand(same, "is not what the level below hashes to")
                expected.add(self.place)
                if width == WIDTH:
                    above.append(tree_hash(part))
            level, hashes = level + 1, above
        self.place = "log/checkpoint"
        whole_tree = tree_hash([leaf_hash(leaf) for leaf in leaves])
        demand(whole_tree == root, f"the entries give the root {whole_tree.hex()}")
        for path in sorted((self.directory / "log").rglob("*")):
            self.place = path.relative_to(self.directory).as_posix()
            if path.parent.name == "timestamps":
                self.stamped(path, leaves)
                continue
            demand(path.is_dir() or self.place in expected, "is no file of a log of this size")
        return leaves

    def stamped(self, path: Path, leaves: list[bytes]) -> None:
        """A checkpoint that an authority stamped is one of this log; the stamp is not looked at."""
        _, size, root = path.with_suffix(".checkpoint").read_text().split("\n")[:3]
        demand(path.name in {f"{size}.checkpoint", f"{size}.tsr"}, "is named after another size")
        demand(0 < int(size) <= len(leaves), "is of a size that the log has not")
        found = tree_hash([leaf_hash(leaf) for leaf in leaves[: int(size)]])
        demand(found == unbase64(root), "is of another log")


class Envelope:
    """A DSSE envelope: payload type, payload, signatures by key identifier."""

    def __init__(self, data: bytes) -> None:
        """Read one; its signatures are not checked yet."""
        demand(data[:1] == b"{" and data[-1:] == b"}", "no envelope")
        fields = plain_json(data)
        demand({*fields} == {"payload", "payloadType", "signatures"}, "no envelope")
        self.type = str(fields["payloadType"])
        self.payload = unbase64(fields["payload"])
        self.signatures = [(item["keyid"], unbase64(item["sig"])) for item in fields["signatures"]]
        for item in fields["signatures"]:
            demand({*item} == {"keyid", "sig"}, "a signature has other fields")

    def check(self, keys: dict[str, bytes]) -> set[str]:
        """Key identifiers of the signatures, all of known keys and all valid."""
        kind = self.type.encode()
        message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)
        demand(bool(self.signatures), "nobody signed")
        for name, signature in self.signatures:
            demand(name in keys, f"signed by the unknown key {name}")
            demand(is_signed(keys[name], signature, message), "a signature does not hold")
        names = {name for name, _ in self.signatures}
        demand(len(names) == len(self.signatures), "a key signed twice")
        return names


# The accounts --------------------------------------------------------------------------------


class Accounts:
    """Double-entry books, kept from the transfers alone."""

    def __init__(self) -> None:
        """Empty books."""
        self.posted: dict[tuple[str, str], int] = defaultdict(int)
        self.held: dict[tuple[str, str], int] = defaultdict(int)
        self.open: dict[str, Json] = {}
        self.seen: dict[str, Json] = {}
        self.unstated: dict[tuple[str, str], list[tuple[Json, int]]] = defaultdict(list)

    def apply(self, transfer: Json) -> int:
        """Apply one transfer; the amount that it moved."""
        name, phase, pending = (transfer[key] for key in ("transfer_id", "phase", "pending_id"))
        debit, credit, asset = (transfer[key] for key in ("debit", "credit", "asset"))
        amount = int(transfer["amount"])
        what = f"transfer {name}: "
        demand(bool(name and debit and credit and asset), what + "something is empty")
        demand(amount >= 0 and debit != credit, what + "a negative amount, or one account")
        demand(name not in self.seen, what + "applied before")
        self.seen[name] = transfer
        if phase in {"POST_PENDING", "VOID_PENDING"}:
            demand(pending in self.open, what + f"{pending} is no open hold")
            hold = self.open.pop(pending)
            same = all(hold[key] == transfer[key] for key in ("asset", "debit", "credit"))
            demand(same, what + "between other accounts than its hold")
            limit = int(hold["amount"]) if phase == "POST_PENDING" else 0
            demand(amount <= limit, what + f"{amount} is more than {limit}")
            self.held[debit, asset] -= int(hold["amount"])
        else:
            demand(phase in {"POSTED", "PENDING"} and not pending, what + "no such phase")
        if phase == "PENDING":
            self.open[name] = transfer
            self.held[debit, asset] += amount
            return 0
        self.posted[debit, asset] -= amount
        self.posted[credit, asset] += amount
        for account in (debit, credit):
            if amount and account.startswith(("p:", "community:", "operator:")):
                self.unstated[account, asset].append((transfer, amount))
        return amount

    def payable(self, account: str, asset: str) -> int:
        """Whole cents that may be paid out: nothing held, nothing that guarantees something."""
        free = self.posted[account, asset] - self.held[account, asset]
        if asset != "USD" or account.endswith(":collateral"):
            return 0
        if account.startswith("p:"):
            guarantee = (account.removesuffix("cash") + "collateral", asset)
            free += self.posted[guarantee] - self.held[guarantee]
            free = min(self.posted[account, asset], free)
        return max(0, free) // CENT * CENT

    def owed(self, account: str, asset: str) -> int:
        """What a participant owes beyond its deposits, holds included."""
        if asset != "USD" or not (account.startswith("p:") and account.endswith(":cash")):
            return 0
        both = (account, asset), (account.removesuffix("cash") + "collateral", asset)
        return max(0, sum(self.held[key] - self.posted[key] for key in both))

    def lines(self, account: str, asset: str) -> list[Json]:
        """Lines of the statement that is due: one for each code, contract and hour."""
        groups: dict[tuple[int, str, str], list[tuple[Json, int]]] = defaultdict(list)
        for transfer, amount in self.unstated.pop((account, asset), []):
            key = (transfer["interval_start"], transfer["contract_id"], transfer["code"])
            groups[key].append((transfer, amount if transfer["credit"] == account else -amount))
        found = []
        for (start, contract, code), items in sorted(groups.items()):
            prices = {item["price"] for item, _ in items}
            price = prices.pop() if len(prices) == 1 else 0
            others = {item["debit" if item["credit"] == account else "credit"] for item, _ in items}
            texts = {
                "code": code,
                "contract_id": contract,
                "counterparty": ",".join(sorted(others)),
            }
            names = sorted(item["transfer_id"] for item, _ in items)
            quantity = sum(int(item["quantity"]) for item, _ in items)
            amount = sum(amount for _, amount in items)
            figures = {"interval_start": start, "quantity": quantity, "price": price}
            found.append({**texts, **figures, "amount": amount, "transfer_ids": names})
        return found


def transfer_of(name: str, debit: str, credit: str, amount: int, code: str, phase: str) -> Json:
    """A transfer that an entry implies without a document."""
    texts = {"pending_id": "", "reason": "", "contract_id": "", "corrects": "", "asset": "USD"}
    figures = {"amount": amount, "interval_start": 0, "quantity": 0, "price": 0}
    sides = {"transfer_id": name, "debit": debit, "credit": credit, "code": code, "phase": phase}
    return {**texts, **figures, **sides}


def order_hold(order: Fields, interval: int, stop_loss_ppm: int, look_ahead: int = 0) -> int:
    """Most that an order can cost, micro-USD rounded up (a supplier's: its stop-loss).

    A standing order of a spot market: most that one run of ``look_ahead`` intervals can bind.
    """
    number = next(number for number in (8, 9, 10, 11) if order[number])
    bid = protobuf(order[number][-1])
    terms = protobuf(bid[1][-1]) if number != 8 else protobuf(b"")
    kept = {8: 0, 9: 0, 10: look_ahead - 1, 11: 0}[number]
    if number != 8 and whole(terms, 1) == INTERRUPTIBLE:
        kept = min(look_ahead - 1, -(-whole(terms, 3) // interval))
    most = (1 + kept) * interval

    def curve(segments: list[bytes]) -> int:
        parts = []
        for segment in map(protobuf, segments):
            steps = [protobuf(step) for step in segment[3]]
            rate = sum(max(0, whole(step, 1)) * whole(step, 2) for step in steps)
            parts.append((rate, seconds(segment, 2) - seconds(segment, 1)))
        if look_ahead:
            return max(rate for rate, _ in parts) * min(most, sum(length for _, length in parts))
        return sum(rate * length for rate, length in parts)

    if number == 8:
        return -(-curve(bid[2]) * stop_loss_ppm // (HOUR * PPM))
    if number == 9:
        cost = curve(bid[2])
    elif number == 10:
        profile = numbers(bid, 9)
        length = min(most, whole(bid, 4)) if look_ahead else whole(bid, 4)
        chips = sum(profile) * interval if profile else whole(bid, 5) * length
        cost = max(0, whole(bid, 7)) * chips
    else:
        cost = max(0, whole(bid, 6)) * whole(bid, 4)
    factors = [whole(protobuf(item), 2) for item in terms[5]]
    return -(-cost * max([PPM, *factors]) // (HOUR * PPM))


# The walk ------------------------------------------------------------------------------------


class Walk:
    """Along the log, entry by entry; what the entries say is kept here."""

    def __init__(self, bundle: Bundle, listing: Json) -> None:
        """Before the first leaf."""
        self.bundle = bundle
        bundle.place = "bundle.json"
        self.origin = str(listing["origin"])
        # Keys that signed batch headers, the one in force last; rotations add to them.
        self.log_keys = [read_vkey(listing.get("first_vkey") or listing["vkey"])[2]]
        self.root_key = b""
        self.known_keys: set[bytes] = set()
        # Entries from here on are not opened.
        sealed = int(listing["sealed_from"])
        demand(sealed >= -1, f"sealed from {sealed}")
        self.sealed_from = int(listing["size"]) if sealed < 0 else sealed
        self.is_sealed = sealed >= 0
        self.openings: Iterator[bytes] = iter(())
        if listing["kind"] == "public":
            demand(not self.is_sealed, "a public bundle opens nothing, so it seals nothing")
            self.sealed_from = 0
        else:
            lines = bundle.read("openings.jsonl")
            demand(lines in {b"", lines.removesuffix(b"\n") + b"\n"}, "ends inside a line")
            self.openings = iter(lines.split(b"\n")[:-1])
        self.counts: dict[str, int] = defaultdict(int)
        self.time_us = self.epoch = 0
        self.requests: set[tuple[str, str]] = set()
        self.people: dict[str, tuple[set[int], dict[str, bytes]]] = {}
        self.communities: dict[str, str] = {}
        self.auctions: dict[str, Fields] = {}
        self.priced, self.waiting, self.closed, self.postings = (set[str]() for _ in range(4))
        # Of auctions and spot markets: hash of the next tie seed. Of auctions and runs: period.
        self.seeds: dict[str, bytes] = {}
        self.periods: dict[str, Json] = {}
        # Spot markets, and up to which entry their orders are opened; gates of their runs.
        self.markets: dict[str, Fields] = {}
        self.open_to: dict[str, int] = {}
        self.labs: dict[str, str] = {}
        self.bids: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.gates: dict[str, int] = {}
        self.frozen: dict[str, dict[str, tuple[int, bytes]]] = {}
        # Orders that runs bound, by interval numbers; the first one of each gang that began.
        self.bound: dict[str, set[int]] = defaultdict(set)
        self.gangs: dict[str, int] = {}
        self.orders: dict[str, tuple[str, str, int, bytes, str, Fields]] = {}
        self.nominations: dict[tuple[str, str], tuple[str, int, bytes]] = {}
        self.releases: dict[str, tuple[str, str]] = {}
        self.commitments: dict[str, str] = {}
        self.roots: dict[str, tuple[int, str]] = {}
        self.contracts: dict[str, Json] = {}
        self.readings: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
        self.hours: dict[tuple[str, int], list[Json]] = {}
        self.disputes: dict[str, Json] = {}
        self.due: dict[str, int] = {}
        self.settled: dict[str, int] = defaultdict(int)
        self.delivered, self.surcharges, self.closings = (
            defaultdict[tuple[str, str], int](int) for _ in range(3)
        )
        # Of spot markets: level of the allocation alarm, calmer runs in a row, worst of those; and
        # runs whose change of the level is on record before their hour.
        self.alarms: dict[str, tuple[int, int, int]] = {}
        self.alarmed: dict[str, set[int]] = defaultdict(set)
        self.accounts = Accounts()

    def run(self, leaves: list[bytes]) -> None:
        """The whole log."""
        first = 0
        for index, leaf in enumerate(leaves):
            self.bundle.place = f"entry {index}"
            envelope = Envelope(leaf)
            if envelope.type != BATCH:
                continue
            self.header(index, first, envelope, leaves)
            for entry in range(first, index):
                self.bundle.place = f"entry {entry}"
                self.entry(entry, leaves[entry])
            first = index + 1
        self.bundle.place = f"entry {first}"
        demand(first == len(leaves), "is covered by no batch header")
        self.bundle.place = "openings.jsonl"
        demand(next(self.openings, None) is None, "opens more than the log has")
        self.bundle.place = "bundle.json"
        behind = [market for market, at in self.open_to.items() if at < self.sealed_from]
        waiting = behind or self.waiting - self.priced
        explained = not self.is_sealed or (self.counts["seals"] and waiting)
        demand(bool(explained), f"nothing explains that entries from {self.sealed_from} are sealed")
        self.bundle.place = "accounts"
        totals: dict[str, int] = defaultdict(int)
        for (_, asset), amount in self.accounts.posted.items():
            totals[asset] += amount
        demand(not any(totals.values()), f"an asset does not sum to zero: {dict(totals)}")

    def header(self, index: int, first: int, envelope: Envelope, leaves: list[bytes]) -> None:
        """The signed header of a batch, against the leaves before it."""
        envelope.check({sha256(self.log_keys[-1]).hex(): self.log_keys[-1]})
        said = canonical_json(envelope.payload)
        root = tree_hash([leaf_hash(leaf) for leaf in leaves[first:index]]).hex()
        found = {"first_index": first, "count": index - first, "root": root}
        demand({**said, **found} == said, f"the header says {said}, the leaves give {found}")
        demand(index > first, "covers no leaf")
        demand(said["time_us"] >= self.time_us, "time falls")
        demand(said["epoch"] >= self.epoch, "the epoch falls")
        self.time_us, self.epoch = said["time_us"], said["epoch"]
        self.counts["batches"] += 1

    def entry(self, index: int, leaf: bytes) -> None:
        """One entry: opened, signed by whom it may, and what it means for the books."""
        envelope = Envelope(leaf)
        is_closed = envelope.type == COMMITMENT
        kind = ""
        if index == self.sealed_from and self.is_sealed:
            demand(is_closed, "is public, nothing of it can be sealed")
            self.counts["seals"] += 1
        if is_closed:
            payload = base64.b64encode(envelope.payload).decode()
            spelling = f'{{"payload":"{payload}","payloadType":"{COMMITMENT}","signatures":[]}}'
            demand(leaf == spelling.encode() and len(envelope.payload) == 32, "no commitment")
            if index >= self.sealed_from:
                self.counts["not opened"] += 1
                return
            envelope, kind, listed = self.opened(index, envelope.payload)
        name, is_public, roles = KINDS[envelope.type.removeprefix(MEDIA)]
        demand(is_public != is_closed, f"{name} must be {'public' if is_public else 'closed'}")
        body: Any  # fields by name, or by number
        if envelope.type.endswith("json"):
            body = canonical_json(envelope.payload)
            head = body["header"]
        else:
            body = protobuf(envelope.payload)
            numbered = protobuf(body[1][-1])
            keys = ("origin", "signer_id", "request_id")
            head = {key: text(numbered, number) for number, key in enumerate(keys, 1)}
        self.authorise(envelope, name, roles, body, head)
        digests = [body[key] for key in body if isinstance(key, str) and key.endswith("_sha256")]
        documents = {digest: self.bundle.document(digest) for digest in sorted(set(digests))}
        if is_closed:
            demand(kind == name, f"the opening says {kind}, the envelope is {name}")
            demand(listed == sorted(documents), "the opening lists other documents")
            self.counts["commitments opened"] += 1
        self.counts["signed entries"] += 1
        handler = getattr(self, f"on_{name.lower()}", None)
        if handler and (name in REGISTRY or index < self.sealed_from):
            handler(body, index, leaf_hash(leaf))

    def opened(self, index: int, commitment: bytes) -> tuple[Envelope, str, list[str]]:
        """Envelope behind a commitment, its kind and its documents, as the opening says."""
        line = next(self.openings, None)
        demand(line is not None, "no opening")
        opening = canonical_json(line or b"")
        demand(opening["index"] == index, f"the next opening is for entry {opening['index']}")
        expected = {"documents", "envelope", "index", "kind", "salt"}
        demand({*opening} == expected, "the opening has other fields")
        salt, data = bytes.fromhex(opening["salt"]), unbase64(opening["envelope"])
        demand(len(salt) == 32, "the salt has not 32 bytes")
        found = sha256(b"iso-exchange/commitment/v1\n", salt, data)
        demand(found == commitment, "salt and envelope give another commitment")
        return Envelope(data), str(opening["kind"]), list(opening["documents"])

    def authorise(
        self, envelope: Envelope, name: str, roles: tuple[int, ...], body: Any, head: Json
    ) -> None:
        """For this exchange, once, by registered keys in force, in a role that may sign it."""
        signer, request = head["signer_id"], (head["signer_id"], head["request_id"])
        demand(head["origin"] == self.origin, f"signed for {head['origin']}")
        demand(bool(request[1]) and request not in self.requests, f"request {request} again")
        self.requests.add(request)
        further = self.countersigners(name, body, signer)
        extra = {sha256(key).hex(): key for group in further for key in group}
        if not self.people:
            demand(name in {"PARTICIPANT", "PREDECESSOR"}, "nobody is registered")
            if name == "PARTICIPANT":
                key = body[5][-1]
                extra[sha256(key).hex()] = key
                demand(text(body, 2) == signer, "the first participant registers itself")
                demand(set(numbers(body, 4)) >= set(roles), "the first one is no operator")
            signers = []
        else:
            signers = [signer]
        if name == "ENTITLEMENT":
            demand(text(body, 3) == signer, "not signed by its holder")
            signers.append(text(body, 4))
        if name == "ORDER":
            demand(text(body, 4) == signer, "not signed by the participant it names")
            roles = (SUPPLIER,) if body[8] else (BUYER,)
        if name == "GRANT" and text(body, 4) != signer:
            roles = (OPERATOR,)
        for who in signers:
            demand(who in self.people, f"{who} is not registered")
        keys = {key: raw for who in signers for key, raw in self.people[who][1].items()}
        used = envelope.check({**keys, **extra})
        for who in signers:
            demand(bool(used & self.people[who][1].keys()), f"{who} did not sign")
        for group in further:
            demand(any(sha256(key).hex() in used for key in group), "a countersignature is missing")
        if signers:
            demand(bool(self.people[signer][0] & set(roles)), f"{signer} may not sign {name}")

    def countersigners(self, name: str, body: Any, signer: str) -> list[set[bytes]]:
        """Groups of keys of which one each must have signed besides the signer."""
        root = {self.root_key} - {b""}
        if name == "KEY_ROTATED":
            if text(body, 2) == signer:
                return [{body[4][-1]}, {self.people[signer][1][text(body, 3)]}]
            demand(bool(root), "only the owner replaces a key while there is no root key")
            demand(OPERATOR in self.people[signer][0], "neither the owner nor the operator")
            return [{body[4][-1]}, root]
        if name == "ROOT_KEY":
            return [{body[2][-1]}, *([root] if root else [])]
        fields = {
            "LOG_KEY_ROTATED": ("new_public_key", "old_public_key"),
            "LOG_CLOSED": ("log_key",),
            "PREDECESSOR": ("old_log_key", "new_log_key"),
        }.get(name, ())
        groups = [{bytes.fromhex(body[field])} for field in fields]
        if name == "LOG_KEY_ROTATED":
            groups[1] |= root
        return groups

    def enrol(self, key: bytes) -> dict[str, bytes]:
        """A key that comes into use: once, by one owner."""
        demand(len(key) == 32 and key not in self.known_keys, "the key is in use already")
        self.known_keys.add(key)
        return {sha256(key).hex(): key}

    # What the entries say: protobuf fields by number, or JSON fields by name.

    def on_participant(self, body: Fields, *_: Any) -> None:
        demand(text(body, 2) not in self.people, "registered before")
        self.people[text(body, 2)] = (set(numbers(body, 4)), self.enrol(body[5][-1]))

    def on_meter(self, body: Fields, *_: Any) -> None:
        demand(text(body, 2) not in self.people, "registered before")
        self.people[text(body, 2)] = ({METER}, self.enrol(body[4][-1]))

    def on_key_revoked(self, body: Fields, *_: Any) -> None:
        del self.people[text(body, 2)][1][text(body, 3)]

    def on_key_rotated(self, body: Fields, *_: Any) -> None:
        keys = self.people[text(body, 2)][1]
        keys.pop(text(body, 3), None)
        keys.update(self.enrol(body[4][-1]))

    def on_root_key(self, body: Fields, *_: Any) -> None:
        self.enrol(body[2][-1])
        self.root_key = body[2][-1]

    def on_log_key_rotated(self, body: Json, *_: Any) -> None:
        in_force = self.log_keys[-1].hex()
        demand(body["old_public_key"] == in_force, f"the log key in force is {in_force}")
        self.log_keys.append(bytes.fromhex(body["new_public_key"]))

    def on_log_closed(self, body: Json, *_: Any) -> None:
        in_force = self.log_keys[-1].hex()
        demand(body["log_key"] == in_force, f"the log key in force is {in_force}")

    def on_site(self, body: Fields, *_: Any) -> None:
        self.communities[text(body, 2)] = text(body, 4)

    def on_auction_spec(self, body: Fields, index: int, *_: Any) -> None:
        name, start = text(body, 2), seconds(body, 6)
        demand(name not in self.seeds, "created before")
        self.auctions[name] = body
        self.due[name], self.seeds[name] = whole(body, 8), body[15][-1]
        self.periods[name] = {"start": start, "end": start + whole(body, 7) * whole(body, 8)}
        if index < self.sealed_from:
            self.waiting.add(name)

    def on_spot_market(self, body: Fields, index: int, *_: Any) -> None:
        demand(text(body, 2) not in self.seeds, "opened before")
        self.markets[text(body, 2)], self.seeds[text(body, 2)] = body, body[13][-1]
        if index < self.sealed_from:
            self.open_to[text(body, 2)] = -1

    def on_spot_closed(self, body: Fields, index: int, *_: Any) -> None:
        market = text(body, 2)
        self.open_to[market] = index
        self.closed.add(market)
        if index < self.sealed_from:
            for order_id in [name for name, order in self.orders.items() if order[0] == market]:
                self.drop(order_id)
            self.no_order_holds(market)

    def on_run_gate(self, body: Json, index: int, *_: Any) -> None:
        market, start = body["market_id"], body["start"]
        name, spec, now = f"{market}/{start}", self.markets[market], self.time_us // 1_000_000
        demand(market not in self.closed, "the market is closed")
        on_grid = start % whole(spec, 4) == 0 and start >= seconds(spec, 3)
        demand(on_grid and name not in self.gates, "no run begins there, or it has its gate")
        demand(start - whole(spec, 6) <= now < start, "not between the gate's time and the start")
        self.gates[name] = index
        self.periods[name] = {"start": start // DAY * DAY, "end": start // DAY * DAY + DAY}
        if index < self.sealed_from:
            standing = [key for key, order in self.orders.items() if order[0] == market]
            for order_id in standing:
                if self.is_over(order_id, start, whole(spec, 4)):
                    self.drop(order_id)
            self.frozen[name] = {
                key: order[2:4] for key, order in self.orders.items() if order[0] == market
            } | {item[0]: item[1:] for key, item in self.nominations.items() if key[0] == market}

    def is_over(self, order_id: str, start: int, interval: int) -> bool:
        """Whether a standing order can get nothing any more in a run, which releases its hold."""
        order, number = self.orders[order_id][5], start // interval
        if not order[10]:
            parts = protobuf((order[8] or order[9])[-1])[2]
            return max(seconds(protobuf(part), 2) for part in parts) <= start
        gang = protobuf(order[10][-1])
        first = self.gangs.get(order_id)
        if first is None:
            return (seconds(gang, 3) or seconds(gang, 2)) // interval < number
        is_reclaimed = max(self.bound[order_id], default=0) < number - 1
        return first + whole(gang, 4) // interval <= number or is_reclaimed

    def on_auction_prices(self, body: Json, *_: Any) -> None:
        name = body["auction_id"]
        market = name.rpartition("/")[0]
        self.priced.add(name)
        seed = canonical_json(self.bundle.document(body["prices_sha256"]))["tie_seed"]
        committed = self.seeds[market or name]
        demand(sha256(bytes.fromhex(seed)) == committed, "another tie seed than the one committed")
        if market:  # the next run reveals what this seed is the hash of
            self.seeds[market] = bytes.fromhex(seed)
            self.open_to[market] = max(self.open_to.get(market, -1), self.gates[name])

    def on_allocation(self, body: Json, *_: Any) -> None:
        made = canonical_json(self.bundle.document(body["allocation_sha256"]))
        market, hour = body["market_id"], body["interval"]
        same = all(made[key] == body[key] for key in ("market_id", "interval", "hourly"))
        demand(same, "is not of the market and interval of its document")
        total: dict[str, int] = defaultdict(int)
        idle: dict[str, int] = defaultdict(int)
        for row in made["pools"]:
            for key in ("capacity", "awarded", "delivered"):
                total[key] += int(row[key])
            for share in row["idle"]:
                idle[share["reason"]] += int(share["quantity"])
        kept = idle.get("OUTAGE", 0) + idle.get("NOT_OFFERED", 0)
        total["in_service"] = total["capacity"] - kept
        demand(total["awarded"] + sum(idle.values()) == total["capacity"], "chips are missing")
        if not body["hourly"]:
            total["delivered"] = -1
        said = {item["reason"]: int(item["quantity"]) for item in body["idle"]}
        demand(said == dict(idle), f"says {said} idle, the pools give {dict(idle)}")
        for key, value in total.items():
            demand(int(body[key]) == value, f"says {key} {body[key]}, the pools give {value}")
        demand(int(body["run_count"]) == len(made["runs"]), "counts other runs")
        for key in ("in_service", "awarded"):
            found = sum(int(run[key]) for run in made["runs"])
            demand(found == total[key], f"{key} of its runs are {found}, not {total[key]}")
        self.follow_alarm(market, made, body["level"])
        self.counts["allocations"] += 1
        if body["hourly"]:
            self.alarmed[market] = {at for at in self.alarmed[market] if at >= hour["end"]}

    def follow_alarm(self, market: str, made: Json, level: str) -> None:
        """Levels follow from the runs; those of an alarm from the hours and runs before it."""
        if not made["hourly"]:
            (run,) = made["runs"]
            demand(run["start"] not in self.alarmed[market], "this alarm is on record")
            demand(run["alarm"] == level, "has another level than its run")
            self.alarmed[market].add(run["start"])
            return
        at, calm, worst = self.alarms.get(market, (0, 0, 0))
        for run in made["runs"]:
            demand(f"{market}/{run['start']}" in self.gates, "a run of it had no gate")
            awarded, service = 100 * int(run["awarded"]), int(run["in_service"])
            found = 2 if awarded < 94 * service else 1 if awarded < 95 * service else 0
            before = at
            if found >= at:
                at, calm, worst = found, 0, 0
            else:
                calm, worst = calm + 1, max(found, worst) if calm else found
                if calm == 3:
                    at, calm, worst = worst, 0, 0
            named = LEVELS.index(run["level"]), LEVELS.index(run["alarm"])
            demand(named == (found, at), f"the level of run {run['start']} does not follow")
            on_record = run["start"] in self.alarmed[market]
            demand(on_record == (at != before), f"the alarm of run {run['start']} is not on record")
        demand(LEVELS.index(level) == at, "has another level than its last run")
        self.alarms[market] = (at, calm, worst)

    def on_deposit(self, body: Fields, *_: Any) -> None:
        name, to = f"deposit/{text(body, 4)}", f"p:{text(body, 2)}:collateral"
        self.apply(transfer_of(name, "bank", to, whole(body, 3), "DEPOSIT", "POSTED"))

    def on_order(self, body: Fields, index: int, leaf: bytes) -> None:
        order_id, auction_id, owner = (text(body, number) for number in (2, 3, 4))
        demand(auction_id not in self.closed, "behind gate closure")
        self.void(order_id)
        market = self.markets.get(auction_id)
        spec = market or self.auctions[auction_id]
        is_early = bool(market) or self.time_us // 1_000_000 < seconds(spec, 5)
        demand(is_early, "after the gate's time")
        tariff, interval, look_ahead = (15, 4, whole(spec, 5)) if market else (16, 7, 0)
        stop_loss_ppm = whole(protobuf(spec[tariff][-1]), 6) if spec[tariff] else PPM
        amount = order_hold(body, whole(spec, interval), stop_loss_ppm, look_ahead)
        hold = f"order-hold/{auction_id}/{order_id}/{whole(body, 5)}" if amount else ""
        if hold:
            debit, credit = f"p:{owner}:cash", f"pot:{auction_id}:0"
            self.apply(transfer_of(hold, debit, credit, amount, "ORDER_HOLD", "PENDING"))
        self.orders[order_id] = (auction_id, owner, index, leaf, hold, body)

    def on_order_cancelled(self, body: Fields, *_: Any) -> None:
        self.drop(text(body, 2))

    def on_orders_cancelled(self, body: Fields, *_: Any) -> None:
        for order_id, (auction_id, owner, *_rest) in list(self.orders.items()):
            spec, now = self.auctions.get(auction_id), self.time_us // 1_000_000
            late = auction_id in self.closed or (spec is not None and now >= seconds(spec, 5))
            if owner == text(body, 2) and not late:
                self.drop(order_id)

    def on_nomination(self, body: Fields, index: int, leaf: bytes) -> None:
        self.nominations[text(body, 4), text(body, 3)] = (text(body, 2), index, leaf)

    def on_return(self, body: Fields, index: int, leaf: bytes) -> None:
        self.nominations[text(body, 4), text(body, 3)] = ("return:" + text(body, 2), index, leaf)

    def on_release(self, body: Fields, index: int, leaf: bytes) -> None:
        self.releases[text(body, 2)] = text(body, 4), text(body, 3)
        self.on_recall({3: body[2]}, index, leaf)

    def on_recall(self, body: Fields, index: int, leaf: bytes) -> None:
        name = text(body, 3)
        self.nominations[self.releases[name]] = (name, index, leaf)

    def on_credits_opened(self, body: Fields, index: int, *_: Any) -> None:
        name = "credits/" + text(body, 2)
        self.labs[name] = text(protobuf(body[1][-1]), 2)
        if index < self.sealed_from:
            self.open_to[name] = -1

    def on_credits_closed(self, body: Fields, index: int, *_: Any) -> None:
        self.open_to["credits/" + text(body, 2)] = index

    def on_credit_grant(self, body: Fields, *_: Any) -> None:
        lab = text(protobuf(body[1][-1]), 2)
        name, to = f"credit-grant/{lab}/{text(body, 2)}", f"team:{text(body, 3)}"
        row = transfer_of(name, "treasury", to, whole(body, 4), "CREDIT_GRANT", "POSTED")
        self.apply({**row, "asset": f"CREDIT:{lab}"})

    def on_credit_bid(self, body: Fields, index: int, leaf: bytes) -> None:
        self.bids["credits/" + text(body, 3), text(body, 2)] = (index, leaf)

    def on_credit_gate(self, body: Json, index: int, *_: Any) -> None:
        name = f"credits/{body['book_id']}/{body['start']}"
        self.gates[name], self.roots[name] = index, (body["bid_count"], body["book_root"])

    def on_credit_round(self, body: Json, *_: Any) -> None:
        name = f"credits/{body['book_id']}"
        gate = self.gates[f"{name}/{body['start']}"]
        self.open_to[name] = max(self.open_to.get(name, -1), gate)

    def on_credit_result(self, body: Json, *_: Any) -> None:
        book_name = f"credits/{body['book_id']}"
        name, asset = f"{book_name}/{body['start']}", "CREDIT:" + self.labs[book_name]
        book = canonical_json(self.bundle.document(body["book_sha256"]))
        names = [bid["order_id"] for kind in ("step_bids", "block_bids") for bid in book[kind]]
        self.has_root(name, [self.bids[book_name, key] for key in names], "such")
        self.in_credits(body["postings_sha256"], f"credits/{name}", asset)

    def on_credit_expiry(self, body: Json, *_: Any) -> None:
        postings = canonical_json(self.bundle.document(body["postings_sha256"]))["postings_id"]
        demand(postings.startswith("credit-expiry/"), f"{postings} is no expiry")
        self.in_credits(body["postings_sha256"], postings, f"CREDIT:{body['organisation']}")

    def in_credits(self, digest: str, postings_id: str, asset: str) -> None:
        """Post credits: of one lab, and no team below zero."""
        for transfer, _moved in self.document(digest, postings_id):
            demand(transfer["asset"] == asset, f"{transfer['transfer_id']} is not in {asset}")
            for account in (transfer["debit"], transfer["credit"]):
                is_team = account.startswith("team:")
                demand(not is_team or self.accounts.posted[account, asset] >= 0, "overspent")

    def on_meter_batch(self, body: Fields, *_: Any) -> None:
        rows = self.readings[text(body, 3), seconds(body, 4)] = {}
        for contract in map(protobuf, body[7]):
            for node in map(protobuf, contract[2]):
                rows[text(contract, 1), text(node, 1)] = whole(node, 2)

    def on_book_root(self, body: Json, *_: Any) -> None:
        name = body["auction_id"]
        self.commitments[name] = body["book_commitment"]
        self.roots[name] = (body["order_count"], body["book_root"])
        if name in self.gates:  # what is in a run's book is known with its result
            return
        orders = [order[2:4] for order in self.orders.values() if order[0] == name]
        orders += [leaf[1:] for key, leaf in self.nominations.items() if key[0] == name]
        self.has_root(name, orders, "standing")
        self.closed.add(name)

    def has_root(self, name: str, orders: list[tuple[int, bytes]], which: str) -> None:
        """Whether the published book root is the one over the leaves of these entries."""
        root = tree_hash([leaf for _, leaf in sorted(orders)]).hex()
        same = self.roots[name] == (len(orders), root)
        demand(same, f"the log has {len(orders)} {which} orders with root {root}")
        self.counts["book roots"] += 1

    def on_auction_result(self, body: Json, *_: Any) -> None:
        name = body["auction_id"]
        book = self.bundle.document(body["book_sha256"])
        opened = sha256(b"iso-exchange/commitment/v1\n", bytes.fromhex(body["book_salt"]), book)
        demand(opened.hex() == self.commitments[name], "another book than at gate closure")
        assignment = canonical_json(self.bundle.document(body["assignment_sha256"]))
        for contract in assignment["contracts"]:
            demand(contract["contract_id"] not in self.contracts, "a contract stands twice")
            self.contracts[contract["contract_id"]] = contract
        self.document(body["postings_sha256"], f"award/{name}")
        self.due[name] = len(assignment["intervals"])  # of a strip its hours
        if name in self.gates:
            self.bind(name, canonical_json(book), assignment["contracts"])
        else:
            self.no_order_holds(name)

    def bind(self, name: str, book: Json, contracts: list[Json]) -> None:
        """The book of a run holds what stood at its gate; what its result binds goes on."""
        frozen, kinds = self.frozen.pop(name), ("offers", "step_bids", "block_bids", "nominations")
        names = {order["order_id"] for kind in kinds for order in book[kind]}
        # "release:", "standing:" and "bound:" come of earlier entries, "@" is a later start.
        strange = [key for key in names - frozen.keys() if ":" not in key and "@" not in key]
        demand(not strange, f"orders in the book that did not stand at the gate: {strange[:3]}")
        self.has_root(name, [frozen.pop(key) for key in names & frozen.keys()], "such")
        market, _, start = name.rpartition("/")
        interval = whole(self.markets[market], 4)
        for contract in contracts:
            places = {hour["interval"]["start"] // interval for hour in contract["hours"]}
            self.bound[contract["order_id"]] |= places
            if int(start) // interval in places:
                self.gangs.setdefault(contract["order_id"], int(start) // interval)

    def no_order_holds(self, name: str) -> None:
        """Acceptance holds of an auction or a market are all released."""
        pot = f"pot:{name}:0"
        left = [hold for hold, item in self.accounts.open.items() if item["credit"] == pot]
        demand(not left, f"order holds stay open: {left[:3]}")

    def on_notice(self, body: Json, *_: Any) -> None:
        demand(body["run_id"] in self.priced, "of a run that is not published")
        owners = {item["participant_id"] for item in body["notices"]}
        demand(owners == {body["participant_id"]}, "tells one participant of others")

    def on_spot_result(self, body: Json, *_: Any) -> None:
        name, interval = body["auction_id"], body["interval"]
        result = canonical_json(self.bundle.document(body["spot_sha256"]))
        demand((result["auction_id"], result["interval"]) == (name, interval), "another result")
        for item in (*result["purchases"], *result["recalls"]):
            new = item["contract"]
            known = self.contracts.get(new["contract_id"], {"hours": []})
            self.contracts[new["contract_id"]] = {**new, "hours": known["hours"] + new["hours"]}
        postings_id = f"spot/{name}/{interval['start']}"
        for transfer, _moved in self.document(body["postings_sha256"], postings_id):
            demand(transfer["phase"] == "PENDING", "a spot result moves money")

    def on_postings(self, body: Json, *_: Any) -> None:
        name, start = body["auction_id"], body["interval"]["start"]
        self.settle(body, f"hour/{name}/{start}")
        self.settled[name] += 1
        if self.settled[name] == self.due[name]:
            own = {key for key, item in self.contracts.items() if item["auction_id"] == name}
            holds = self.accounts.open.items()
            left = [key for key, item in holds if item["contract_id"] in own]
            demand(not left, f"holds stay open behind the last hour: {left[:3]}")

    def on_correction(self, body: Json, *_: Any) -> None:
        name, start = body["auction_id"], body["interval"]["start"]
        demand((name, start) in self.hours, "corrects an hour that is not settled")
        late = self.time_us // 1_000_000 - body["interval"]["end"]
        demand(late <= CORRECTION_DAYS * DAY, "corrects an hour after more than 60 days")
        number, prefix = body["number"], f"correction/hour/{name}/{start}/"
        demand(number == 1 or f"{prefix}{number - 1}" in self.postings, "a number is left out")
        for transfer in self.settle(body, f"{prefix}{number}"):
            was = self.accounts.seen.get(transfer["corrects"], transfer)
            is_new = was is transfer and transfer["corrects"] != f"hour/{name}/{start}"
            keys = ("asset", "code", "contract_id", "interval_start")
            same = all(was[key] == transfer[key] for key in keys) and not is_new
            same &= {was["debit"], was["credit"]} == {transfer["debit"], transfer["credit"]}
            demand(same and transfer["phase"] == "POSTED", "corrects another posting")

    def settle(self, body: Json, postings_id: str) -> list[Json]:
        """Post an hour, or what readings changed of it; its transfers."""
        name, start = body["auction_id"], body["interval"]["start"]
        market = name.rpartition("/")[0]
        hours = canonical_json(self.bundle.document(body["delivered_sha256"]))
        demand((hours["auction_id"], hours["interval"]) == (name, body["interval"]), "other hours")
        old = self.hours.get((name, start), [])
        self.hours[name, start] = hours["hours"]
        for sign, hour in [(-1, hour) for hour in old] + [(1, hour) for hour in hours["hours"]]:
            keys = ("delivered", "failed", "gap", "reclaimed", "withdrawn")
            parts = sum(int(hour.get(key, 0)) for key in keys)
            demand(parts == int(hour["position"]), f"{hour['contract_id']}: parts are no whole")
            home = self.contracts[hour["contract_id"]]["site_id"]
            self.delivered[market or name, home] += sign * int(hour["delivered"])
            for part in hour.get("served", ()):  # by others, perhaps at another site
                self.delivered[market or name, home] -= sign * int(part["quantity"])
                self.delivered[market or name, part["site_id"]] += sign * int(part["quantity"])
        found = self.document(body["postings_sha256"], postings_id)
        for transfer, amount in found:
            if transfer["code"] in {"SURCHARGE", "SURCHARGE_DIFFERENCE"}:
                self.surcharges[market or name, transfer["credit"]] += amount
                self.surcharges[market or name, transfer["debit"]] -= amount
        for (account, asset), amount in self.accounts.posted.items():
            kind, _colon, rest = account.partition(":")
            ends = kind in {"pot", "cover"} and rest.startswith(name + ":")
            if ends and rest.endswith(f":{start}"):
                demand(amount == 0, f"{account} keeps {amount} {asset}")
        return [transfer for transfer, _ in found]

    def on_rebate(self, body: Json, *_: Any) -> None:
        name = body["auction_id"]
        demand(self.settled[name] == self.due[name], "rebates before the last hour is settled")
        self.give_back(body["postings_sha256"], f"rebate/{name}")

    def on_pool_rebate(self, body: Json, *_: Any) -> None:
        period = body["period"]
        demand(period["end"] <= self.time_us // 1_000_000, "the month has not ended")
        self.give_back(body["postings_sha256"], f"pool-rebate/{period['start']}")

    def give_back(self, digest: str, postings_id: str) -> None:
        """Pay participants out of rents and the pool."""
        for transfer, _moved in self.document(digest, postings_id):
            source, to = transfer["debit"], transfer["credit"]
            is_paid = source.startswith(("rent:", "pool")) and to.startswith("p:")
            demand(is_paid, f"{transfer['transfer_id']} is no rebate")
            demand(self.accounts.posted[source, transfer["asset"]] >= 0, f"overdraws {source}")

    def on_dispute(self, body: Fields, *_: Any) -> None:
        name, contract, start = text(body, 2), self.contracts[text(body, 3)], seconds(body, 4)
        contract_id, signer = contract["contract_id"], text(protobuf(body[1][-1]), 2)
        demand(name not in self.disputes, "disputed before")
        buyer, supplier = contract["buyer_id"], contract["supplier_id"]
        demand(signer in {buyer, supplier}, f"{signer} is no party of {contract_id}")
        hours = self.hours[contract["auction_id"], start]
        read = next(hour for hour in hours if hour["contract_id"] == contract_id)
        legs = next(h["legs"] for h in contract["hours"] if h["interval"]["start"] == start)
        quantity = 0 if body[6] else int(read["position"])
        for item in map(protobuf, body[6]):
            rows = self.readings.get((contract["pool_id"], seconds(item, 2)), {})
            short = rows.get((contract_id, text(item, 1)), 0) - whole(item, 4)
            quantity += max(0, short if signer == buyer else -short)
        own = legs["contract" if contract["service_class"] == "BASE_LOAD" else "energy"]
        # What a gap would cost, in the account of who would pay; half a micro-USD to even.
        amount, rest = divmod(max(0, own, legs["contract"]) * quantity, HOUR)
        amount += 2 * rest > HOUR or (2 * rest == HOUR and amount % 2 == 1)
        payer = supplier if signer == buyer else contract.get("payer_id") or buyer
        debit, credit = f"p:{payer}:cash", f"dispute:{contract_id}"
        frozen = transfer_of(f"dispute/{name}", debit, credit, amount, "DISPUTE", "POSTED")
        frozen |= {"contract_id": contract_id, "interval_start": start, "quantity": quantity}
        self.disputes[name] = frozen
        if amount:
            self.apply(frozen)

    def on_dispute_decision(self, body: Fields, *_: Any) -> None:
        frozen = self.disputes[text(body, 2)]
        demand(bool(frozen), "decided before")
        self.disputes[text(body, 2)] = {}
        back = {"debit": frozen["credit"], "credit": frozen["debit"], "quantity": 0}
        if frozen["amount"]:
            self.apply({**frozen, **back, "transfer_id": f"decision/{text(body, 2)}"})

    def on_statement(self, body: Json, *_: Any) -> None:
        data = self.bundle.document(body["statement_sha256"])
        issued = canonical_json(data)
        account, asset = issued["account"], issued["asset"]
        period = self.periods[body["auction_id"]]
        owner = account.split(":")[1]
        party = {"community": self.communities.get(owner), "operator": "operator", "p": owner}
        opening = self.closings[account, asset]
        lines = self.accounts.lines(account, asset)
        name = f"statement/{account}/{asset}/{period['start']}-{period['end']}"
        party_id = party[account.split(":")[0]]
        due = {"statement_id": name, "party_id": party_id, "account": account, "asset": asset}
        due |= {"period": period, "opening": opening, "lines": lines}
        due["closing"] = opening + sum(line["amount"] for line in lines)
        due["payout"] = self.accounts.payable(account, asset)
        if owed := self.accounts.owed(account, asset):
            due["collateral_call"] = owed
        for key, value in due.items():
            is_same = canonical(value) == canonical(issued.get(key))
            demand(is_same, f"the statement of {account} has another {key}: due is {value}")
        demand(canonical(due) == data, "the statement has other fields")
        said = (body["statement_id"], body["party_id"])
        named = (due["statement_id"], due["party_id"])
        demand(said == named, "the entry names another statement or party")
        closing = self.accounts.posted[account, asset]
        demand(due["closing"] == closing, f"closes at {due['closing']}, its account at {closing}")
        self.closings[account, asset] = closing
        if due["payout"]:
            name = f"payout/{due['statement_id']}"
            self.apply(transfer_of(name, account, "bank", due["payout"], "PAYOUT", "POSTED"))
        self.counts["statements"] += 1

    def on_community_total(self, body: Json, *_: Any) -> None:
        name, site = body["auction_id"], body["site_id"]
        market = name.rpartition("/")[0]
        name = market or name
        said = (body["community_id"], int(body["delivered"]), int(body["surcharge"]))
        surcharge = self.surcharges[name, f"community:{site}"]
        due = (self.communities[site], self.delivered[name, site], surcharge)
        demand(said == due, f"says {said}, the postings give {due}")
        if market:  # the next day's total begins at nothing
            self.delivered[name, site] = self.surcharges[name, f"community:{site}"] = 0
        self.counts["community totals"] += 1

    def document(self, digest: str, postings_id: str) -> list[tuple[Json, int]]:
        """Apply a document of transfers once; each with what it moved."""
        found = canonical_json(self.bundle.document(digest))
        demand(found["postings_id"] == postings_id, f"the postings are not {postings_id}")
        demand(postings_id not in self.postings, f"{postings_id} was posted before")
        self.postings.add(postings_id)
        applied = [(transfer, self.apply(transfer)) for transfer in found["transfers"]]
        demand(self.accounts.posted["pool", "USD"] >= 0, "the pool is overdrawn")
        return applied

    def apply(self, transfer: Json) -> int:
        """Apply a transfer."""
        self.counts["transfers"] += 1
        return self.accounts.apply(transfer)

    def drop(self, order_id: str) -> None:
        """An order is withdrawn, or over."""
        self.void(order_id)
        del self.orders[order_id]

    def void(self, order_id: str) -> None:
        """Release the hold of an order that is amended or cancelled."""
        hold = self.orders[order_id][4] if order_id in self.orders else ""
        if hold:
            held = self.accounts.open[hold]
            voided = {"transfer_id": f"void/{hold}", "amount": 0, "phase": "VOID_PENDING"}
            self.apply({**held, **voided, "pending_id": hold})


def verify(directory: Path, vkey: str | None = None) -> tuple[int, str]:
    """Check a bundle.

    Returns:
        Exit code and the line to print.
    """
    bundle = Bundle(directory)
    if not (directory / "bundle.json").is_file():
        return 2, f"{directory} is no bundle: there is no bundle.json"
    try:
        listing = bundle.listing()
        own = listing["vkey"]
        bundle.place = "the expected key"
        given = read_vkey(vkey or own)[2]
        origin, size, root = read_checkpoint(bundle.read("log/checkpoint"), own)
        said = (listing["origin"], listing["size"])
        demand((origin, size) == said, f"is of {(origin, size)}, bundle.json says {said}")
        walk = Walk(bundle, listing)
        walk.run(bundle.leaves(size, root))
        bundle.place = "bundle.json"
        demand(read_vkey(own)[2] == walk.log_keys[-1], "states another key than the log's last")
        demand(given in walk.log_keys, f"the log was never signed by the expected key {vkey}")
        for file in listing["files"]:
            bundle.place = file["path"]
            folder, _, name = file["path"].partition("/")
            is_known = folder == "log" or file["path"] == "openings.jsonl"
            is_named = folder == "documents" and name in bundle.documents_named
            demand(is_known or is_named, "no entry names it")
    except WrongError as wrong:
        return 1, f"FAILED {bundle.place}: {wrong}"
    except CRASHES as error:
        return 1, f"FAILED {bundle.place}: cannot be read: {type(error).__name__}: {error}"
    counts = ", ".join(f"{count:,} {what}" for what, count in walk.counts.items())
    summary = f"{size:,} leaves, {counts}"
    if walk.counts["not opened"]:
        summary += f"; accounts not checked from entry {walk.sealed_from} on"
    if vkey is None:
        summary += "; the bundle's own key was believed: consistent, but whose?"
    return 0, f"OK {summary}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description="Check an audit bundle from its files alone.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", help="verifier key of the log, from a place that you trust")
    options = parser.parse_args(arguments)
    code, line = verify(options.bundle, options.key)
    sys.stdout.write(line + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
