package litestream

import (
	"runtime"
	"testing"
	"time"
	"weak"
)

// heldClient is a client whose memory a test watches.
type heldClient struct{ ReplicaClient }

// TestCloseDelay_Memory closes a VFS while a database waits for the end of CloseDelay.
// Nothing keeps the database in memory until then.
func TestCloseDelay_Memory(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 3)
	held := &heldClient{client}
	watched := weak.Make(held)
	vfs := NewVFS(held, &Options{PollInterval: -1, CloseDelay: time.Hour})
	held = nil
	for range 3 {
		conn, err := vfs.OpenConn("app.db", nil, OpenMode{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := vfs.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	vfs = nil
	for deadline := time.Now().Add(10 * time.Second); watched.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the database is in memory after its VFS was closed")
		}
	}
}
