"use strict";
// Checks the files of this page in the browser: proofs, fingerprints, signature. No network.
(() => {
  const text = new TextEncoder();
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const join = (...parts) => new Uint8Array(parts.flatMap((part) => [...part]));
  const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
  const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const file = (name) => {
    const link = document.querySelector(`a[download="${name}"]`);
    return link && bytesOf(link.href.slice(link.href.indexOf(",") + 1));
  };

  const envelope = (data) => JSON.parse(new TextDecoder().decode(data));
  const payload = (data) => JSON.parse(new TextDecoder().decode(bytesOf(envelope(data).payload)));

  // RFC 9162, 2.1.3.2: from a leaf to the root. Sizes are far below 2**53, so numbers are exact.
  async function rootOf(index, size, hash, path) {
    let node = index, last = size - 1, found = hash;
    for (const sibling of path) {
      if (last === 0) throw new Error("the proof is too long");
      if (node % 2 === 1 || node === last) {
        found = await sha256(join([1], sibling, found));
        while (node % 2 === 0 && node !== 0) { node = Math.floor(node / 2); last = Math.floor(last / 2); }
      } else {
        found = await sha256(join([1], found, sibling));
      }
      node = Math.floor(node / 2); last = Math.floor(last / 2);
    }
    if (last !== 0) throw new Error("the proof is too short");
    return found;
  }

  function noteOf(data) {
    const note = new TextDecoder().decode(data);
    const split = note.indexOf("\n\n") + 1;
    const [origin, size, root] = note.slice(0, split).split("\n");
    const signatures = note.slice(split + 1).trim().split("\n").map((line) => line.split(" "));
    return { body: note.slice(0, split), origin, size: Number(size), root: bytesOf(root), signatures };
  }

  // Signed note with an Ed25519 key: name+hash+base64(algorithm byte, key).
  async function signed(note, vkey) {
    const parts = /^(.+)\+[0-9a-f]{8}\+(.+)$/.exec(vkey);
    const [name, material] = [parts[1], bytesOf(parts[2])];
    const id = (await sha256(join(text.encode(name), [10], material))).slice(0, 4);
    const key = await crypto.subtle.importKey("raw", material.slice(1), { name: "Ed25519" }, false, ["verify"]);
    for (const [, signer, value] of note.signatures) {
      const data = bytesOf(value);
      if (signer === name && same(data.slice(0, 4), id)) {
        return crypto.subtle.verify({ name: "Ed25519" }, key, data.slice(4), text.encode(note.body));
      }
    }
    return false;
  }

  async function entry(index, note, checkpoint) {
    const leaf = file(`entry-${index}.leaf`);
    const proof = new TextDecoder().decode(file(`entry-${index}.tlog-proof`));
    const split = proof.indexOf("\n\n");
    const [head, position, ...path] = proof.slice(0, split).split("\n");
    if (head !== "c2sp.org/tlog-proof@v1" || position !== `index ${index}`) throw new Error("the proof is of another entry");
    if (!same(text.encode(proof.slice(split + 2)), checkpoint)) throw new Error("the proof is of another checkpoint");
    const root = await rootOf(index, note.size, await sha256(join([0], leaf)), path.map(bytesOf));
    if (!same(root, note.root)) throw new Error("the entry is not in the log");
    const salt = file(`entry-${index}.salt`);
    if (!salt) {
      const total = payload(leaf);
      return `in the log: ${total.delivered} chip-seconds, ${dollars(total.surcharge)}`;
    }
    const opening = file(`entry-${index}.envelope`);
    const fingerprint = await sha256(join(text.encode("iso-exchange/commitment/v1\n"), salt, opening));
    if (!same(fingerprint, bytesOf(envelope(leaf).payload))) throw new Error("the envelope is not what the entry commits to");
    const statement = file(`entry-${index}.statement.json`);
    if (payload(opening).statement_sha256 !== hex(await sha256(statement))) throw new Error("the statement is not the one that the entry names");
    const stated = JSON.parse(new TextDecoder().decode(statement));
    return `in the log: paid out ${dollars(stated.payout)}`;
  }

  function show(place, ok, words) {
    place.textContent = words;
    place.classList.toggle("good", ok);
    place.classList.toggle("bad", !ok);
  }

  // Amounts beyond 2**53 are texts in these documents, so they go through BigInt.
  function dollars(micro) {
    const amount = BigInt(micro), whole = amount / 1000000n, part = amount % 1000000n;
    return `${whole}.${String(part).padStart(6, "0")} USD`;
  }

  async function check() {
    const verdict = document.getElementById("verdict");
    if (!window.crypto || !crypto.subtle) {
      show(verdict, false, "This browser does not let a local page compute fingerprints. Use another browser, or iso audit verify.");
      return;
    }
    const checkpoint = file("checkpoint");
    const note = noteOf(checkpoint);
    let failed = 0, count = 0;
    for (const row of document.querySelectorAll("tr[data-entry]")) {
      const place = row.querySelector(".result");
      count += 1;
      try {
        show(place, true, await entry(Number(row.dataset.entry), note, checkpoint));
      } catch (error) {
        failed += 1;
        show(place, false, error.message);
      }
    }
    let signature;
    try {
      signature = (await signed(note, document.getElementById("vkey").textContent.trim())) ? "good" : "bad";
    } catch {
      signature = "unknown";
    }
    const words = { good: "the key below signed the log.", bad: "the key below did NOT sign the log.", unknown: "this browser cannot check the signature of the log." };
    show(verdict, failed === 0 && signature === "good", `${count - failed} of ${count} entries are in the log; ${words[signature]}`);
  }

  document.getElementById("check").addEventListener("click", check);
})();
