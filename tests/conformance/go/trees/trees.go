// Command trees compares roots and proofs with golang.org/x/mod/sumdb/tlog.
//
// The log's leaves are "leaf 0", "leaf 1" and so on. It reads from standard input, one on a line
// and in any order:
//
//	root SIZE HASH
//	record SIZE INDEX HASH...
//	tree SIZE OLD_SIZE HASH...
//
// with hashes in hex: a root, an inclusion proof, a consistency proof. Each must be what tlog
// computes, and must pass tlog's check. It prints the number of lines and exits with 1 on the
// first that differs.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = m[index]
	}
	return found, nil
}

var (
	stored memory
	grown  int64
)

func grow(size int64) error {
	for ; grown < size; grown++ {
		hashes, err := tlog.StoredHashes(grown, []byte(fmt.Sprintf("leaf %d", grown)), stored)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	return nil
}

func check(line string) error {
	words := strings.Fields(line)
	kind, size, rest := words[0], number(words[1]), words[2:]
	if err := grow(size); err != nil {
		return err
	}
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return err
	}
	switch kind {
	case "root":
		if hash(rest[0]) != root {
			return fmt.Errorf("the root is %x", root[:])
		}
	case "record":
		index := number(rest[0])
		own, err := tlog.ProveRecord(size, index, stored)
		if err != nil {
			return err
		}
		given := hashes(rest[1:])
		if err := same(given, own); err != nil {
			return err
		}
		leaf := tlog.RecordHash([]byte(fmt.Sprintf("leaf %d", index)))
		return tlog.CheckRecord(given, size, root, index, leaf)
	case "tree":
		old := number(rest[0])
		own, err := tlog.ProveTree(size, old, stored)
		if err != nil {
			return err
		}
		given := hashes(rest[1:])
		if err := same(given, own); err != nil {
			return err
		}
		before, err := tlog.TreeHash(old, stored)
		if err != nil {
			return err
		}
		return tlog.CheckTree(given, size, root, old, before)
	}
	return nil
}

func same(given, own []tlog.Hash) error {
	if len(given) != len(own) {
		return fmt.Errorf("the proof has %d hashes", len(own))
	}
	for i := range own {
		if given[i] != own[i] {
			return fmt.Errorf("hash %d of the proof is %x", i, own[i][:])
		}
	}
	return nil
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func hash(text string) (found tlog.Hash) {
	if _, err := hex.Decode(found[:], []byte(text)); err != nil {
		panic(err)
	}
	return found
}

func hashes(texts []string) []tlog.Hash {
	found := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		found[i] = hash(text)
	}
	return found
}

func main() {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 1<<20)
	count := 0
	for ; scanner.Scan(); count++ {
		if err := check(scanner.Text()); err != nil {
			fmt.Fprintf(os.Stderr, "REFUSED: %s: %v\n", scanner.Text(), err)
			os.Exit(1)
		}
	}
	fmt.Println(count)
}
