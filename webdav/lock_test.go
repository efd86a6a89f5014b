package webdav_test

import (
	"bytes"
	"context"
	"io"
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

// locking is a server whose lock lasts a second, whatever the client asks for. It calls
// answer with the number of each request for a lock from 1 on, and does not answer to
// moves.
func locking(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int64)) (s server, moves *atomic.Int64) {
	moves = new(atomic.Int64)
	var locks atomic.Int64
	return patch(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch r.Method {
		case "LOCK":
			answer(w, r, locks.Add(1))
		case "UNLOCK":
			w.WriteHeader(http.StatusNoContent)
		case "MOVE":
			moves.Add(1)
			leave(r)
		default:
			return false
		}
		return true
	}), moves
}

// leave waits until the client has given up a request.
func leave(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the server notices that only then
	<-r.Context().Done()
}

// grant grants a lock for a second.
func grant(w http.ResponseWriter) {
	w.Header().Set("Lock-Token", "<opaquelocktoken:1>")
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?><D:prop xmlns:D="DAV:"><D:lockdiscovery><D:activelock>`+
		`<D:locktype><D:write/></D:locktype><D:depth>0</D:depth><D:timeout>Second-1</D:timeout></D:activelock></D:lockdiscovery></D:prop>`)
}

// A client creates a file only while its lock lasts, which the server says, from when it
// has asked for the lock.
func TestLock_Ends(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, n int64)
		moves  int64
	}{
		"the move is slow": {func(w http.ResponseWriter, _ *http.Request, n int64) {
			if n == 1 {
				grant(w)
			} else {
				http.Error(w, "locked", http.StatusLocked)
			}
		}, 1},
		"the lock is slow": {func(w http.ResponseWriter, _ *http.Request, n int64) {
			if n == 1 {
				time.Sleep(600 * time.Millisecond)
				grant(w)
			} else {
				http.Error(w, "locked", http.StatusLocked)
			}
		}, 0},
		"the second lock is slow": {func(w http.ResponseWriter, r *http.Request, n int64) {
			if n == 1 {
				grant(w)
			} else {
				leave(r)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, moves := locking(t, tt.answer)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := newClient(t, s, "/app.db").CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(encode(t, 1, 1, 1)))
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "did not move the file within 500ms") || permanent(err) {
				t.Errorf("error %v", err)
			}
			if n := moves.Load(); n != tt.moves {
				t.Errorf("%d moves", n)
			}
		})
	}
}
