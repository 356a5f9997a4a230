// Checks inclusion proofs and envelopes with @sigstore/verify and @sigstore/core, which share no
// code with the exchange. Reads one JSON document per line from standard input:
//
//   {"leaf": hex, "index": n, "size": n, "root": hex, "proof": [hex, ...]}
//   {"type": text, "payload": hex, "signature": hex, "key": PEM}
//
// and prints "ok" or "refused" for each.
"use strict";

const path = require("node:path");
const readline = require("node:readline");

const packages = path.join(process.argv[2], "@sigstore");
const { verifyMerkleInclusion } = require(path.join(packages, "verify", "dist", "tlog", "merkle.js"));
const { crypto, dsse } = require(path.join(packages, "core"));

const bytes = (hex) => Buffer.from(hex, "hex");

function accepts(item) {
  if (item.type !== undefined) {
    const message = dsse.preAuthEncoding(item.type, bytes(item.payload));
    return crypto.verify(message, crypto.createPublicKey(item.key), bytes(item.signature));
  }
  const entry = {
    inclusionProof: { logIndex: String(item.index), hashes: item.proof.map(bytes) },
    canonicalizedBody: bytes(item.leaf),
  };
  try {
    verifyMerkleInclusion(entry, { logSize: BigInt(item.size), logHash: bytes(item.root) });
    return true;
  } catch {
    return false;
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  console.log(accepts(JSON.parse(line)) ? "ok" : "refused");
});
