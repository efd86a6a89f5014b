package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/superfly/ltx"
)

// lister is the listing method of upstream's clients and ours.
type lister interface {
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)
}

// listLevels lists each level, with the timestamps of the metadata.
func listLevels(t *testing.T, client lister) []*ltx.FileInfo {
	t.Helper()
	var all []*ltx.FileInfo
	for level := range upstreamlib.SnapshotLevel + 1 {
		itr, err := client.LTXFiles(t.Context(), level, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, collect(t, itr)...)
	}
	return all
}

func collect(t *testing.T, itr ltx.FileIterator) []*ltx.FileInfo {
	t.Helper()
	infos, err := ltx.SliceFileIterator(itr)
	if err := errors.Join(err, itr.Close()); err != nil {
		t.Fatal(err)
	}
	return infos
}

// wantSameFiles compares files by name, size and timestamp.
func wantSameFiles(t *testing.T, what string, got, want []*ltx.FileInfo) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b *ltx.FileInfo) bool {
		return a.Level == b.Level && a.MinTXID == b.MinTXID && a.MaxTXID == b.MaxTXID &&
			a.Size == b.Size && a.CreatedAt.Equal(b.CreatedAt)
	}) {
		t.Errorf("%s: got\n%swant\n%s", what, listingText(got), listingText(want))
	}
}

func listingText(infos []*ltx.FileInfo) string {
	var b bytes.Buffer
	for _, info := range infos {
		fmt.Fprintf(&b, "  %s, %d bytes, %v\n", fileName(info), info.Size, info.CreatedAt.UTC())
	}
	return b.String()
}

func fileName(info *ltx.FileInfo) string {
	return fmt.Sprintf("%d/%s", info.Level, ltx.FormatFilename(info.MinTXID, info.MaxTXID))
}

// lastOfLevel0 returns the last file of level 0.
func lastOfLevel0(infos []*ltx.FileInfo) *ltx.FileInfo {
	var last *ltx.FileInfo
	for _, info := range infos {
		if info.Level == 0 {
			last = info
		}
	}
	return last
}

// opener is the read method of upstream's clients and ours.
type opener interface {
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)
}

// readFile reads a part of a file. A size of 0 reads to the end.
func readFile(t *testing.T, client opener, info *ltx.FileInfo, offset, size int64) []byte {
	t.Helper()
	r, err := client.OpenLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, offset, size)
	if err != nil {
		t.Fatalf("open %s: %v", fileName(info), err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s: %v", fileName(info), err)
	}
	return b
}

func readHeader(t *testing.T, client opener, info *ltx.FileInfo) ltx.Header {
	t.Helper()
	var hdr ltx.Header
	if err := hdr.UnmarshalBinary(readFile(t, client, info, 0, ltx.HeaderSize)); err != nil {
		t.Fatalf("header of %s: %v", fileName(info), err)
	}
	return hdr
}
