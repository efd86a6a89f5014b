package webdav_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/webdav"
)

// locked is a server that answers to the first n requests of a method that another
// client has locked the name.
func locked(t *testing.T, method string, n int) (s server, answers *atomic.Int64) {
	answers = new(atomic.Int64)
	return patch(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || answers.Add(1) > int64(n) {
			return false
		}
		http.Error(w, "locked", http.StatusLocked)
		return true
	}), answers
}

// changes are the requests that servers refuse while another client has a lock.
var changes = []string{"MKCOL", http.MethodPut, "MOVE", http.MethodDelete}

// writeAndDelete writes transaction 1 as the first file of a replica, and deletes it.
func writeAndDelete(t *testing.T, c *webdav.ReplicaClient) error {
	t.Helper()
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 1, 1))); err != nil {
		return err
	}
	wantSeed(t, c, 1)
	return c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: 0, MinTXID: 1, MaxTXID: 1}})
}

// A client waits while another one has locked what it changes, as servers do when
// several clients make the folders of a replica at once.
func TestLocked(t *testing.T) {
	for _, method := range changes {
		t.Run(method, func(t *testing.T) {
			const refused = 3
			s, answers := locked(t, method, refused)
			if err := writeAndDelete(t, newClient(t, s, "/app.db")); err != nil {
				t.Error(err)
			}
			if n := answers.Load(); n <= refused {
				t.Errorf("there were %d requests", n)
			}
		})
	}
}

// If a lock stays, the error says so, and that it may end.
func TestLocked_Stays(t *testing.T) {
	t.Cleanup(webdav.SetPatience(30 * time.Millisecond))
	for _, method := range changes {
		t.Run(method, func(t *testing.T) {
			s, _ := locked(t, method, 1<<30)
			err := writeAndDelete(t, newClient(t, s, "/app.db"))
			if err == nil || !strings.Contains(err.Error(), "another client holds a lock") {
				t.Errorf("got error %v", err)
			}
			if permanent(err) {
				t.Errorf("error is permanent: %v", err)
			}
		})
	}
}
