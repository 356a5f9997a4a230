// Command verify checks a log directory with golang.org/x/mod/sumdb, which shares no code with
// the exchange.
//
// It reads from the directory: checkpoint, vkey, tile/... and, where present, entry.tlog-proof
// with the entry it is for in entry, and old-checkpoint with consistency, the base64 hashes of a
// consistency proof, one on a line. It prints what it checked and exits with 1 on the first
// thing that is wrong.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: verify DIRECTORY")
		os.Exit(2)
	}
	if err := verify(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "REFUSED:", err)
		os.Exit(1)
	}
}

func verify(dir string) error {
	vkey, err := os.ReadFile(filepath.Join(dir, "vkey"))
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(vkey), "\n"))
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint size=%d\n", tree.N)
	count, err := verifyEntries(dir, tree)
	if err != nil {
		return err
	}
	fmt.Printf("entries count=%d\n", count)
	if err := verifyConsistency(dir, tree, verifier); err != nil {
		return err
	}
	if err := verifyCosignature(dir, signed, verifier); err != nil {
		return err
	}
	return verifyProof(dir, verifier)
}

// cosigner verifies C2SP cosignature/v1 lines (signature type 4), which x/mod leaves to others.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

// newCosigner reads a verifier key of type 4 and checks its hash.
func newCosigner(vkey string) (cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return cosigner{}, errors.New("not a verifier key")
	}
	material, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return cosigner{}, err
	}
	if len(material) != 1+ed25519.PublicKeySize || material[0] != 4 {
		return cosigner{}, errors.New("not an Ed25519 cosignature key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), material...))
	if hash := fmt.Sprintf("%x", sum[:4]); hash != parts[1] {
		return cosigner{}, fmt.Errorf("the key hashes to %s", hash)
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), material[1:]}, nil
}

// verifyCosignature opens the checkpoint with the log's key and a witness's, where one is given.
// Lines of other keys, such as ML-DSA-44, are left alone.
func verifyCosignature(dir string, signed []byte, verifier note.Verifier) error {
	vkey, err := os.ReadFile(filepath.Join(dir, "witness-vkey"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	witness, err := newCosigner(strings.TrimSuffix(string(vkey), "\n"))
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier, witness))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != 2 {
		return fmt.Errorf("cosignature: %d of 2 signatures", len(opened.Sigs))
	}
	fmt.Printf("cosignature of=%s others=%d\n", witness.name, len(opened.UnverifiedSigs))
	return nil
}

// openCheckpoint verifies a signed note and reads its three lines.
func openCheckpoint(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// tiles reads tile files; x/mod puts the tile height into the path, C2SP does not.
type tiles struct{ dir string }

func (t tiles) Height() int                     { return tileHeight }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

// verifyEntries builds the tree from the entries and compares it with the checkpoint and with
// every tile file.
//
// TileHashReader then reads the tiles as a client does. It is not enough by itself: before the
// fix of CVE-2026-56865 (golang/go#80744) it left some full tiles unchecked.
func verifyEntries(dir string, tree tlog.Tree) (int64, error) {
	if tree.N == 0 {
		return 0, nil
	}
	var stored, records []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = stored[index]
		}
		return hashes, nil
	})
	for first := int64(0); first < tree.N; first += 1 << tileHeight {
		width := tree.N - first
		if width > 1<<tileHeight {
			width = 1 << tileHeight
		}
		tile := tlog.Tile{H: tileHeight, L: 0, N: first >> tileHeight, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return 0, err
		}
		for n := first; n < first+width; n++ {
			var entry []byte
			if entry, bundle, err = nextEntry(bundle); err != nil {
				return 0, fmt.Errorf("%s: %v", path, err)
			}
			record := tlog.RecordHash(entry)
			completed, err := tlog.StoredHashesForRecordHash(n, record, reader)
			if err != nil {
				return 0, err
			}
			stored, records = append(stored, completed...), append(records, record)
		}
		if len(bundle) != 0 {
			return 0, fmt.Errorf("%s: %d bytes left over", path, len(bundle))
		}
	}
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return 0, err
	}
	if root != tree.Hash {
		return 0, errors.New("the entries do not give the root of the checkpoint")
	}
	if err := verifyTiles(dir, tree, reader); err != nil {
		return 0, err
	}
	indexes := make([]int64, tree.N)
	for n := range indexes {
		indexes[n] = tlog.StoredHashIndex(0, int64(n))
	}
	hashes, err := tlog.TileHashReader(tree, tiles{dir}).ReadHashes(indexes)
	if err != nil {
		return 0, err
	}
	for n, hash := range hashes {
		if hash != records[n] {
			return 0, fmt.Errorf("entry %d is not in the tiles", n)
		}
	}
	return tree.N, nil
}

// verifyTiles compares every tile file of the tree with the bytes that x/mod derives.
func verifyTiles(dir string, tree tlog.Tree, reader tlog.HashReader) error {
	for level, count := 0, tree.N; count > 0; level, count = level+1, count>>tileHeight {
		for first := int64(0); first < count; first += 1 << tileHeight {
			width := count - first
			if width > 1<<tileHeight {
				width = 1 << tileHeight
			}
			tile := tlog.Tile{H: tileHeight, L: level, N: first >> tileHeight, W: int(width)}
			want, err := tlog.ReadTileData(tile, reader)
			if err != nil {
				return err
			}
			got, err := tiles{dir}.ReadTiles([]tlog.Tile{tile})
			if err != nil {
				return err
			}
			if !bytes.Equal(got[0], want) {
				return fmt.Errorf("%s: other hashes than the entries give", tile.Path())
			}
		}
	}
	return nil
}

func nextEntry(bundle []byte) (entry, rest []byte, err error) {
	if len(bundle) < 2 {
		return nil, nil, errors.New("length cut off")
	}
	length := int(binary.BigEndian.Uint16(bundle))
	if len(bundle) < 2+length {
		return nil, nil, errors.New("entry cut off")
	}
	return bundle[2 : 2+length], bundle[2+length:], nil
}

// verifyConsistency checks our proof, and that x/mod derives the same one from the tiles.
func verifyConsistency(dir string, tree tlog.Tree, verifier note.Verifier) error {
	signed, err := os.ReadFile(filepath.Join(dir, "old-checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	old, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "consistency"))
	if err != nil {
		return err
	}
	hashes, err := parseHashes(string(text))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(hashes, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("consistency: %v", err)
	}
	derived, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, tiles{dir}))
	if err != nil {
		return err
	}
	if fmt.Sprint(derived) != fmt.Sprint(tlog.TreeProof(hashes)) {
		return errors.New("consistency: the tiles give another proof")
	}
	fmt.Printf("consistency old=%d new=%d\n", old.N, tree.N)
	return nil
}

// verifyProof reads a .tlog-proof file and checks it against the entry beside it.
func verifyProof(dir string, verifier note.Verifier) error {
	text, err := os.ReadFile(filepath.Join(dir, "entry.tlog-proof"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	entry, err := os.ReadFile(filepath.Join(dir, "entry"))
	if err != nil {
		return err
	}
	split := bytes.Index(text, []byte("\n\n"))
	if split < 0 {
		return errors.New("proof: no checkpoint")
	}
	tree, err := openCheckpoint(text[split+2:], verifier)
	if err != nil {
		return fmt.Errorf("proof: %v", err)
	}
	lines := strings.SplitN(string(text[:split+1]), "\n", 3)
	if len(lines) != 3 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return errors.New("proof: malformed")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	hashes, err := parseHashes(lines[2])
	if err != nil {
		return err
	}
	record := tlog.RecordHash(entry)
	if err := tlog.CheckRecord(tlog.RecordProof(hashes), tree.N, tree.Hash, index, record); err != nil {
		return fmt.Errorf("proof: %v", err)
	}
	fmt.Printf("proof index=%d\n", index)
	return nil
}

func parseHashes(text string) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(data) != tlog.HashSize {
			return nil, fmt.Errorf("not a hash: %q", line)
		}
		var hash tlog.Hash
		copy(hash[:], data)
		hashes = append(hashes, hash)
	}
	return hashes, nil
}
