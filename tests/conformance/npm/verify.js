// Checks roots and proofs with the npm package @transmute/rfc9162, which shares no code with the
// exchange. Reads one JSON document from standard input: entries (hex), roots by size (hex), and
// proofs; prints one JSON document that says which of them the package accepts.
"use strict";

let rfc9162;
try {
  rfc9162 = require("@transmute/rfc9162").RFC9162;
} catch (error) {
  process.stdout.write(JSON.stringify({ missing: String(error.message).split("\n")[0] }));
  process.exit(0);
}

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

async function main(input) {
  const entries = input.entries.map(bytes);
  const roots = [];
  for (const size of input.sizes) {
    roots.push(hex(await rfc9162.treeHead(entries.slice(0, size))));
  }
  const inclusion = [];
  for (const proof of input.inclusion) {
    const leaf = await rfc9162.leaf(entries[proof.index]);
    inclusion.push(
      await rfc9162.verifyInclusionProof(bytes(proof.root), leaf, {
        log_id: "",
        tree_size: proof.size,
        leaf_index: proof.index,
        inclusion_path: proof.path.map(bytes),
      }),
    );
  }
  const consistency = [];
  for (const proof of input.consistency) {
    const path = proof.path.map(bytes);
    // RFC 9162, 2.1.4.2, step 2, which version 0.0.5 of the package leaves to its caller.
    if ((proof.old_size & (proof.old_size - 1)) === 0) path.unshift(bytes(proof.old_root));
    consistency.push(
      await rfc9162.verifyConsistencyProof(bytes(proof.old_root), bytes(proof.root), {
        log_id: "",
        tree_size_1: proof.old_size,
        tree_size_2: proof.size,
        consistency_path: path,
      }),
    );
  }
  process.stdout.write(JSON.stringify({ roots, inclusion, consistency }));
}

let text = "";
process.stdin.on("data", (chunk) => (text += chunk));
process.stdin.on("end", () => main(JSON.parse(text)));
