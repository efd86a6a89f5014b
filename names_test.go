package litestream

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/memory"
)

// A database that failed to open is not there any more, even while connections have
// yet to leave it: the next one opens it again.
func TestNames_FailedOpen(t *testing.T) {
	var n names
	opts := Options{Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	first, how, err := n.join("key", "app.db", opts)
	if err != nil || how != joinFirst {
		t.Fatalf("join: %d, %v", how, err)
	}
	if other, how, err := n.join("key", "app.db", opts); err != nil || how != joinOther || other != first {
		t.Fatalf("join while it opens: %d, %v", how, err)
	}
	failure := errors.New("no answer")
	if !n.opened("key", first, nil, failure) || !errors.Is(first.err, failure) {
		t.Errorf("those that wait get %v", first.err)
	}
	if next, how, err := n.join("key", "app.db", opts); err != nil || how != joinFirst || next == first {
		t.Errorf("join after it has failed: %d, %v", how, err)
	}
	for range 2 {
		if how := n.leave("key", first, 0, nil); how != leaveOthers {
			t.Errorf("a connection that has failed to open closes the next one's database: %d", how)
		}
	}
}

// TestNames_FailedCloses has more closes fail than errors are kept.
func TestNames_FailedCloses(t *testing.T) {
	var n names
	const more = 37
	for i := range maxFailed + more {
		n.forget("key", new(sharedDB), fmt.Errorf("close %d", i))
	}
	n.forget("key", new(sharedDB), nil)
	failed := n.takeFailed()
	if len(failed) != maxFailed+1 {
		t.Fatalf("%d errors are kept, want %d and one for the others", len(failed), maxFailed)
	}
	if first, last := failed[0].Error(), failed[maxFailed].Error(); first != "close 0" || !strings.HasSuffix(last, fmt.Sprintf(": %d", more)) {
		t.Errorf("the first error is %q, the last one %q", first, last)
	}
	if again := n.takeFailed(); len(again) != 0 {
		t.Errorf("they are returned again: %v", again)
	}
}

// TestOpens_LocalFile opens a local file, which counts neither as an open that
// succeeds nor as one that fails.
func TestOpens_LocalFile(t *testing.T) {
	vfs := newTestVFS(t, nil)
	vfs.NewClient = func(string) (ReplicaClient, error) { return nil, nil }
	if _, err := vfs.OpenConn(filepath.Join(t.TempDir(), "local.db"), nil, OpenMode{Create: true}); !errors.Is(err, ErrLocalFile) {
		t.Errorf("open: %v, want ErrLocalFile", err)
	}
	if o := vfs.Opens(); o.Successes != 0 || o.Failures != 0 {
		t.Errorf("opens: %+v", o)
	}
}

// countedClient is a client that counts how often it is closed.
type countedClient struct {
	*memory.ReplicaClient
	closed atomic.Int64
}

func (c *countedClient) Close() error {
	c.closed.Add(1)
	return nil
}

// A client that the program has made, for one name or for several, stays open when a
// database is closed: other names may use it.
func TestClose_ClientOfProgram(t *testing.T) {
	client := &countedClient{ReplicaClient: fourPages(t)}
	byName := newTestVFS(t, nil)
	byName.NewClient = func(string) (ReplicaClient, error) { return client, nil }
	for what, vfs := range map[string]*VFS{"of NewVFS": newTestVFS(t, client), "of NewClient": byName} {
		c := openFile(t, vfs, "app.db")
		if err := errors.Join(c.Close(), vfs.Close(t.Context())); err != nil {
			t.Error(err)
		}
		if n := client.closed.Load(); n != 0 {
			t.Errorf("the client %s is closed %d times", what, n)
		}
	}
}
