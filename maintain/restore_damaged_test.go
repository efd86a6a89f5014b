package maintain_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
)

// A damaged file ends a restore, and nothing is left to continue from.
func TestRestore_Damaged(t *testing.T) {
	b, _ := large(t)
	key := view.Key{Level: 9, MinTXID: 1, MaxTXID: 5}
	b[key] = bytes.Clone(b[key])
	b[key][len(b[key])/2] ^= 1 // in a page that cannot be compressed
	path := filepath.Join(t.TempDir(), "app.db")
	_, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{})
	if !errors.Is(err, errs.ErrCorrupt) {
		t.Fatalf("error %v, want that the file is damaged", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
	if _, err := maintain.RestoreTo(t.Context(), b, new(bytes.Buffer), maintain.RestoreOptions{}); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("to a writer: error %v, want that the file is damaged", err)
	}
}

// Every file of replicas is damaged in turn, in several ways. Every state that the
// other files give is restored, and every other one is an error.
func TestRestore_Avoids(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	inFrame := flip(ltx.HeaderSize + ltx.PageHeaderSize + 20)
	avoided := 0
	for _, c := range []struct {
		replica, damage string
		spoil           func([]byte) []byte
	}{
		{"compacted", "flip in a frame", inFrame},
		{"overlap", "flip in a frame", inFrame},
		{"overlap", "flip in the trailer", flip(-1)},
		{"overlap", "flip in the header", flip(0)},
		{"overlap", "half of it", func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		t.Run(c.replica+", "+c.damage, func(t *testing.T) {
			intact := readBucket(t, "../testdata/replicas/"+c.replica)
			for _, key := range slices.SortedFunc(maps.Keys(intact), view.Key.Compare) {
				b, left := maps.Clone(intact), maps.Clone(intact)
				b[key] = c.spoil(bytes.Clone(b[key]))
				delete(left, key)
				for _, txid := range intact.reachable() {
					if !slices.Contains(left.reachable(), txid) {
						wantDamaged(t, b, txid)
						continue
					}
					want, err := intact.image(txid)
					if err != nil {
						t.Fatal(err)
					}
					path := filepath.Join(t.TempDir(), "app.db")
					r, err := maintain.Restore(t.Context(), b, path, quietly(txid))
					if err != nil {
						t.Errorf("%s, damage in %s: %v", txid, key, err)
						continue
					}
					if !bytes.Equal(readFile(t, path), want) || r.TXID != txid {
						t.Errorf("%s, damage in %s: restored %s with another content", txid, key, r.TXID)
					}
					isAlone(t, path)
					if len(r.Damaged) > 1 || len(r.Damaged) == 1 && r.Damaged[0] != maintain.FileName(key) {
						t.Errorf("%s, damage in %s: says that %v are", txid, key, r.Damaged)
					}
					avoided += len(r.Damaged)
				}
			}
		})
	}
	if avoided == 0 {
		t.Error("no restore has avoided a file")
	}
}

// Files that could replace each other are damaged together: the newest state is an
// error, not one that is older.
func TestRestore_AvoidsNoState(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/overlap")
	for _, key := range []view.Key{{Level: 9, MinTXID: 1, MaxTXID: 12}, {Level: 1, MinTXID: 1, MaxTXID: 5}} {
		b[key] = b[key][:len(b[key])/2]
	}
	wantDamaged(t, b, 0)
}

// Files that would serve instead of a damaged one disappear before they are read. The
// error names the damaged file, and says that nothing is left without it.
func TestRestore_AvoidsGone(t *testing.T) {
	b := layered(t)
	bad := key(9, 1, 10)
	b[bad] = flip(b[bad])
	faults := decorate.NewFault(b)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
		maps.DeleteFunc(b, func(k view.Key, _ []byte) bool { return k != bad })
	}})
	path := filepath.Join(t.TempDir(), "app.db")
	_, err := maintain.Restore(t.Context(), faults, path, quietly(10))
	if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), bad.String()) || !strings.Contains(err.Error(), "no transaction can be travelled to") {
		t.Errorf("error %v, want that %s is damaged and that there is nothing else", err, bad)
	}
}

// quietly returns options for a restore of a state without a log, 0 for the newest.
func quietly(txid ltx.TXID) maintain.RestoreOptions {
	return maintain.RestoreOptions{Requests: maintain.Requests{Logger: slog.New(slog.DiscardHandler)}, At: maintain.Moment{TXID: txid}}
}

// wantDamaged fails the test unless the restore of a state says that a file is
// damaged, and leaves nothing.
func wantDamaged(t *testing.T, b bucket, txid ltx.TXID) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	if _, err := maintain.Restore(t.Context(), b, path, quietly(txid)); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("%s: error %v, want that a file is damaged", txid, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) > 0 {
		t.Errorf("%s: left %v", txid, entries)
	}
}
