package mainfile

import (
	"errors"
	"strings"
	"testing"
)

// fakeConn records the calls that matter to other connections.
type fakeConn struct {
	calls      []string
	rolledBack bool   // what IsRolledBack returns
	fails      string // call that fails
}

func (c *fakeConn) call(s string) error {
	c.calls = append(c.calls, s)
	if s == c.fails {
		return errors.New("no luck")
	}
	return nil
}

func (c *fakeConn) BeginRead() error  { return c.call("read") }
func (c *fakeConn) EndRead()          { _ = c.call("endread") }
func (c *fakeConn) BeginWrite() error { return c.call("begin") }
func (c *fakeConn) EndWrite() error   { return c.call("end") }

func (c *fakeConn) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

func (c *fakeConn) WriteAt(p []byte, _ int64) (int, error) {
	if err := c.call("write"); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *fakeConn) Truncate(int64) error { return c.call("truncate") }

func (c *fakeConn) Seal(durable bool) error {
	if durable {
		return c.call("durable")
	}
	return c.call("seal")
}

func (c *fakeConn) SealSeveral() error { return c.call("several") }

func (c *fakeConn) Commit(durable bool) error {
	if durable {
		return c.call("commit+")
	}
	return c.call("commit")
}

func (c *fakeConn) Rollback()          { _ = c.call("rollback") }
func (c *fakeConn) IsRolledBack() bool { return c.rolledBack }
func (c *fakeConn) Close() error       { return c.call("close") }

// step makes one call of SQLite's.
func step(f *File, c *fakeConn, name string) (err error) {
	switch name {
	case "shared":
		return f.Lock(Shared)
	case "reserved":
		return f.Lock(Reserved)
	case "exclusive":
		return f.Lock(Exclusive)
	case "version": // of the pages that SQLite has cached
		_, err = f.ReadAt(make([]byte, 16), 24)
		return err
	case "page":
		_, err = f.ReadAt(make([]byte, 512), 0)
		return err
	case "write":
		_, err = f.WriteAt(make([]byte, 512), 0)
		return err
	case "truncate":
		return f.Truncate(512)
	case "end": // of a transaction that wrote
		return f.BeforeSync(false)
	case "endall": // of a transaction over several databases
		return f.BeforeSync(true)
	case "sync":
		return f.Sync()
	case "commit":
		return f.Commit()
	case "tail": // what was sealed was rolled back
		c.rolledBack = true
		return nil
	case "downgrade":
		return f.Unlock(Shared)
	case "unlock":
		return f.Unlock(None)
	case "close":
		return f.Close()
	}
	return errors.New("no such step")
}

// TestFile makes the calls that SQLite makes in each of its modes. A step that
// ends in ! fails, and so does the call of the connection that fails names.
func TestFile(t *testing.T) {
	for _, tc := range []struct{ name, fails, steps, want string }{
		{"read", "", "shared unlock", "read endread"},
		{"upgrade at once", "", "exclusive unlock", "read begin end endread"},
		{"commit", "", "shared reserved exclusive write end sync commit downgrade unlock", "read begin begin write durable commit+ end endread"},
		{"commit without sync", "", "shared exclusive write end commit downgrade unlock", "read begin write commit end endread"},
		{"shrunk", "", "exclusive write end sync truncate commit unlock", "read begin write durable truncate commit+ end endread"},
		{"two commits in exclusive mode", "", "exclusive write end sync commit write end sync commit close", "read begin write durable commit+ write commit+ end endread close"},
		{"rolled back", "", "exclusive write end sync tail write end unlock", "read begin write durable write rollback end endread"},
		{"several", "", "exclusive write endall sync truncate commit unlock", "read begin write several durable truncate commit+ end endread"},
		{"several, another failed", "", "exclusive write endall write end unlock", "read begin write several rollback write end endread"},
		{"closed in a transaction", "", "exclusive write close", "read begin write end endread close"},
		{"no lock", "read", "shared! unlock", "read"},
		{"busy", "begin", "shared reserved! unlock", "read begin endread"},
		{"write failed", "write", "exclusive write! write! end write! unlock", "read begin write write rollback write end endread"},
		{"write failed, no journal", "write", "exclusive write! version write! unlock", "read begin write rollback write end endread"},
		{"write failed, going on", "write", "exclusive write! page write! unlock", "read begin write write end endread"},
		{"write failed, then nothing to commit", "write", "exclusive write! end commit write! end unlock", "read begin write rollback commit write end endread"},
		{"read between commits", "", "exclusive write end sync commit version write end sync commit unlock", "read begin write durable commit+ write commit+ end endread"},
		{"seal failed", "durable", "exclusive write end sync! unlock", "read begin write durable end endread"},
		{"seal of several failed", "several", "exclusive write endall! unlock", "read begin write several end endread"},
		{"commit failed", "commit+", "exclusive write end sync commit! unlock", "read begin write durable commit+ rollback end endread"},
		{"end failed", "end", "exclusive write end sync commit unlock!", "read begin write durable commit+ end endread"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &fakeConn{fails: tc.fails}
			f := New(c)
			for name := range strings.FieldsSeq(tc.steps) {
				name, fails := strings.CutSuffix(name, "!")
				if err := step(f, c, name); (err != nil) != fails {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := strings.Join(c.calls, " "); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.steps, got, tc.want)
			}
		})
	}
}
