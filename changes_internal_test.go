package litestream

import (
	"context"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/view"
)

// changesOf returns the changes of table t between two transactions, as text.
func changesOf(t *testing.T, db *database, from, to ltx.TXID) (changes string) {
	t.Helper()
	if err := db.changes(t.Context(), from, to, []string{"t"}, func(c rowdiff.Change) error {
		changes += fmt.Sprint(c.Kind, c.Old, c.New, " ")
		return nil
	}); err != nil {
		t.Errorf("from %s to %s: %v", from, to, err)
	}
	return changes
}

// TestChanges_FileGoes deletes the file that tells which pages were written between
// two states, after it was listed. Without it, pages are compared that need not be, and
// the changes are the same. A file that is there and cannot be read is an error.
func TestChanges_FileGoes(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 4)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	const want = "update[2] [4] "
	if got := changesOf(t, db, 2, 4); got != want {
		t.Fatalf("the changes are %s, want %s", got, want)
	}
	p.Compact(1, 3, 4)
	var problem error
	asked := 0
	client.open = func(k view.Key, _ int64) error {
		if k != (view.Key{Level: 1, MinTXID: 3, MaxTXID: 4}) {
			return nil
		}
		asked++
		return problem
	}
	problem = fs.ErrNotExist
	if got := changesOf(t, db, 2, 4); got != want {
		t.Errorf("without the file, the changes are %s, want %s", got, want)
	}
	problem = fs.ErrPermission
	if err := db.changes(t.Context(), 2, 4, nil, func(rowdiff.Change) error { return nil }); err == nil {
		t.Error("a file that cannot be read is no error")
	}
	if asked < 2 {
		t.Errorf("the file was read %d times", asked)
	}
}

// frugalClient counts listings that ask for the exact times of files, for which some
// stores take a request for each file.
type frugalClient struct {
	*hookClient
	exact atomic.Int64
}

func (c *frugalClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if useMetadata {
		c.exact.Add(1)
	}
	return c.hookClient.AllLTXFiles(ctx, useMetadata)
}

// TestChanges_NoExactTimes compares states, which needs no times of files. The history
// of a database does.
func TestChanges_NoExactTimes(t *testing.T) {
	client := &frugalClient{hookClient: newHookClient()}
	counterPrimary(t, client, 4)
	db := openHere(t, client, Options{PollInterval: -1})
	changesOf(t, db, 1, 4)
	if n := client.exact.Load(); n != 0 {
		t.Errorf("%d listings ask for exact times", n)
	}
	if _, err := db.history(t.Context()); err != nil || client.exact.Load() != 1 {
		t.Errorf("the history asks %d times, %v", client.exact.Load(), err)
	}
}
