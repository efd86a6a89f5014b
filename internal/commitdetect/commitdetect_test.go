package commitdetect

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
)

// fakeConn records the calls that report a commit.
type fakeConn struct {
	Conn
	calls      []string
	rolledBack bool   // what IsRolledBack returns
	resized    bool   // what IsResized returns
	fails      string // call that fails; "write" is the first write behind page 1
}

func (c *fakeConn) call(s string) error {
	c.calls = append(c.calls, s)
	if s == c.fails {
		return errors.New("no luck")
	}
	return nil
}

func (c *fakeConn) BeginRead() error                      { return nil }
func (c *fakeConn) EndRead()                              {}
func (c *fakeConn) BeginWrite() error                     { return nil }
func (c *fakeConn) EndWrite() error                       { return c.call("end") }
func (c *fakeConn) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (c *fakeConn) Truncate(int64) error                  { return nil }
func (c *fakeConn) IsRolledBack() bool                    { return c.rolledBack }
func (c *fakeConn) IsResized() bool                       { return c.resized }
func (c *fakeConn) Close() error                          { return nil }

func (c *fakeConn) WriteAt(p []byte, off int64) (int, error) {
	if c.fails == "write" && off > 0 && !c.rolledBack {
		c.rolledBack = true
		return 0, errors.New("no luck")
	}
	return len(p), nil
}

func (c *fakeConn) Commit(bool) error {
	if err := c.call("commit"); err != nil {
		return err
	}
	if c.fails == "write" && c.rolledBack {
		return errors.New("an earlier write failed")
	}
	return nil
}

func (c *fakeConn) Rollback() {
	_ = c.call("rollback")
	if c.fails == "write" {
		c.rolledBack = false
	}
}

func (c *fakeConn) SealSeveral() error { return c.call("several") }

func (c *fakeConn) Seal(durable bool) error {
	if durable {
		return c.call("durable")
	}
	return c.call("seal")
}

// TestFile makes the calls that SQLite makes in each of its modes.
func TestFile(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps string
		want  string
	}{
		{"journal deleted", "lock journal write sync close delete unlock", "durable commit commit end"},
		{"journal deleted, no sync", "lock journal write close delete unlock", "commit commit end"},
		{"journal truncated", "lock journal write sync truncate unlock", "durable commit commit end"},
		{"journal zeroed", "lock journal write sync zero unlock", "durable commit commit end"},
		{"journal in memory", "lock write sync unlock", "durable commit commit end"},
		{"journal in memory, no sync", "lock write unlock", "commit end"},
		{"journal closed after an error", "lock journal write sync close unlock", "durable end"},
		{"journal still open", "lock journal write unlock", "end"},
		{"rolled back", "lock journal write rolledback sync close delete unlock", "rollback end"},
		{"rolled back, journal in memory", "lock write rolledback sync unlock", "rollback end"},
		{"two in exclusive mode", "lock journal write sync truncate write sync truncate unlock", "durable commit durable commit commit end"},
		{"second given up", "lock journal write sync truncate write unlock", "durable commit end"},
		{"second without a journal", "lock journal write sync close delete write sync unlock", "durable commit durable commit commit end"},
		{"several", "lock journal write super write sync close delete unlock", "several commit commit end"},
		{"several, then one", "lock journal write super write sync truncate write sync truncate unlock", "several commit durable commit commit end"},
		{"one, then several", "lock journal write sync truncate super write sync truncate unlock", "durable commit several commit commit end"},
		{"several given up", "lock journal write super write sync unlock", "several end"},
		{"several rolled back", "lock journal write super write sync rolledback write sync truncate unlock", "several rollback end"},
		{"truncated after the commit", "lock journal write sync truncate write resized unlock", "durable commit commit end"},
		{"closed in a transaction", "lock write closefile", "commit end"},
		{"sync without a lock", "sync", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := new(fakeConn)
			files := NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return 7 })
			f := files.Open(c, "a.db", nil)
			var j *Journal
			for step := range strings.FieldsSeq(tc.steps) {
				if err := run(files, f, &j, c, step); err != nil {
					t.Fatalf("%s: %v", step, err)
				}
			}
			if got := strings.Join(c.calls, " "); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.steps, got, tc.want)
			}
		})
	}
}

// TestFile_Failed goes on with locking_mode=EXCLUSIVE after a call that failed. A step
// that ends in ! fails, and a number is page 1 with that change counter.
func TestFile_Failed(t *testing.T) {
	for _, tc := range []struct{ name, fails, steps, want string }{
		{"sync, no journal", "durable", "lock write sync! version", "durable rollback"},
		{"sync, no journal, read by a cursor", "durable", "lock write sync! page", "durable"},
		{"nothing", "", "lock write version", ""},
		{"journal truncated", "commit", "lock journal write truncate! version", "commit rollback"},
		{"write, no journal", "write", "lock 5 spill! version 5 spill! version 5 unlock", "rollback rollback commit end"},
		{"write, page 1 later", "write", "lock spill! 4 version 5 unlock", "rollback commit end"},
		{"write, journal in memory", "write", "lock 5 spill! 4 sync 5 sync", "rollback durable commit"},
		{"write, journal in memory, no sync", "write", "lock 5 spill! 4 5! 4 5! unlock", "commit commit end"},
		{"write of the second, no sync", "write", "lock 5 spill! 5 6! 5 6! unlock", "commit commit end"},
		{"write of the second without page 1, no sync", "write", "lock 5 spill! 6! unlock", "commit end"},
		{"write of the last counter, no sync", "write", "lock 4294967295 spill! 0!", "commit"},
		{"write to a new database, no sync", "write", "lock 1 spill! empty 1! unlock", "commit end"},
		{"write, and the lock given back", "write", "lock 5 spill! 4 unlock lock 5 unlock", "end end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &fakeConn{fails: tc.fails}
			files := NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return 7 })
			f := files.Open(c, "a.db", nil)
			var j *Journal
			for step := range strings.FieldsSeq(tc.steps) {
				step, fails := strings.CutSuffix(step, "!")
				if err := run(files, f, &j, c, step); (err != nil) != fails {
					t.Errorf("%s: %v", step, err)
				}
			}
			if got := strings.Join(c.calls, " "); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.steps, got, tc.want)
			}
		})
	}
}

// run makes the calls of one step of SQLite.
func run(files *Files, f *File, j **Journal, c *fakeConn, step string) (err error) {
	if counter, err := strconv.ParseUint(step, 10, 32); err == nil {
		page := make([]byte, 512)
		binary.BigEndian.PutUint32(page[24:], uint32(counter))
		_, err = f.WriteAt(page, 0)
		return err
	}
	switch step {
	case "lock":
		for level := Shared; level <= Exclusive && err == nil; level++ {
			err = f.Lock(level)
		}
	case "journal":
		*j, err = files.OpenJournal("a.db-journal", nil)
	case "write":
		_, err = f.WriteAt(make([]byte, 512), 0)
	case "spill": // another page
		_, err = f.WriteAt(make([]byte, 512), 512)
	case "empty":
		err = f.Truncate(0)
	case "version": // of the pages that SQLite has cached
		_, err = f.ReadAt(make([]byte, 16), 24)
	case "page":
		_, err = f.ReadAt(make([]byte, 512), 0)
	case "sync":
		err = f.Sync()
	case "close":
		err = (*j).Close()
	case "delete":
		err = files.Delete("a.db-journal")
	case "truncate":
		err = (*j).Truncate(0)
	case "zero":
		_, err = (*j).WriteAt(make([]byte, zeroedHeader), 0)
	case "super": // the end of the name of a super-journal
		_, err = (*j).WriteAt([]byte(journalMagic), 4096)
	case "unlock":
		if err = f.Unlock(Shared); err == nil {
			err = f.Unlock(None)
		}
	case "closefile":
		err = f.Close()
	case "rolledback":
		c.rolledBack = true
	case "resized":
		c.resized = true
	}
	return err
}

// TestFile_Errors checks that errors of a commit are returned, in whichever
// call it is detected. One after which SQLite does not roll back is a CommitError.
func TestFile_Errors(t *testing.T) {
	for _, tc := range []struct {
		steps, fails string
		final        bool
	}{
		{"lock journal write sync", "durable", false},
		{"lock journal write super sync", "several", false},
		{"lock journal write sync truncate", "commit", true},
		{"lock journal write zero", "commit", true},
		{"lock journal write close delete", "commit", true},
		{"lock write sync", "commit", false},
		{"lock write unlock", "commit", true},
		{"lock unlock", "end", false},
		{"lock write closefile", "commit", true},
	} {
		c := &fakeConn{fails: tc.fails}
		files := NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return 7 })
		f := files.Open(c, "a.db", nil)
		var j *Journal
		steps := strings.Fields(tc.steps)
		for i, step := range steps {
			err := run(files, f, &j, c, step)
			if (err != nil) != (i == len(steps)-1) {
				t.Errorf("%s: %s: %v", tc.steps, step, err)
			}
			if _, final := errors.AsType[*CommitError](err); err != nil && final != tc.final {
				t.Errorf("%s: %s: a CommitError: %v", tc.steps, step, final)
			}
		}
	}
}

// TestFiles_SameName has databases of two replicas with the same file name.
// SQLite deletes a journal on the thread that has closed it.
func TestFiles_SameName(t *testing.T) {
	thread := uint64(1)
	files := NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return thread })
	conns, journals := make([]*fakeConn, 2), make([]*Journal, 2)
	for i, url := range []string{"file:///x", "file:///y"} {
		params := map[string]string{"replica_url": url}
		conns[i] = new(fakeConn)
		f := files.Open(conns[i], "a.db", params)
		if err := f.Lock(Exclusive); err != nil {
			t.Fatal(err)
		}
		var err error
		if journals[i], err = files.OpenJournal("a.db-journal", params); err != nil {
			t.Fatal(err)
		}
	}
	for i, j := range journals {
		thread = uint64(i + 1)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range journals {
		thread = uint64(i + 1)
		if err := files.Delete("a.db-journal"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(conns[i].calls, " "); got != "commit" {
			t.Errorf("database %d: %q", i, got)
		}
	}
	if _, err := files.OpenJournal("b.db-journal", nil); err == nil {
		t.Error("a journal of a database that is not open was opened")
	}
}

// TestFiles_SuperJournal writes super-journals that name open databases, and
// others.
func TestFiles_SuperJournal(t *testing.T) {
	files := NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return 7 })
	f := files.Open(new(fakeConn), "c.db", nil)
	s := files.OpenSuperJournal("c.db-mj123456789")
	if !files.Exists("c.db-mj123456789") || files.Exists("c.db-journal") {
		t.Error("only the super-journal exists")
	}
	if _, err := s.WriteAt([]byte("c.db-journal\x00"), 0); err != nil {
		t.Error(err)
	}
	if _, err := s.WriteAt([]byte("b.db-journal\x00"), 13); err == nil {
		t.Error("a local file takes part in a transaction")
	}
	if err := files.Delete("c.db-mj123456789"); err != nil || files.Exists("c.db-mj123456789") {
		t.Errorf("the super-journal is there after it was deleted: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("c.db-journal\x00"), 26); err == nil {
		t.Error("a database that is closed takes part in a transaction")
	}
}

// TestFiles_SeveralVFSs has a transaction over databases of two VFSs. The super-journal
// is one of the first, and the second finds it when it rolls back.
func TestFiles_SeveralVFSs(t *testing.T) {
	var all [2]*Files
	var opened [2]*File
	for i, name := range []string{"one.db", "two.db"} {
		all[i] = NewFiles(slog.New(slog.DiscardHandler), keyOf, func() uint64 { return 7 })
		opened[i] = all[i].Open(new(fakeConn), name, nil)
	}
	const name = "one.db-mj123456789"
	if all[1].Exists(name) {
		t.Error("the super-journal exists before it is opened")
	}
	s := all[0].OpenSuperJournal(name)
	if _, err := s.WriteAt([]byte("one.db-journal\x00two.db-journal\x00"), 0); err != nil {
		t.Error(err)
	}
	if !all[1].Exists(name) || all[1].Exists("one.db-journal") {
		t.Error("only the super-journal exists for the second database")
	}
	if err := all[0].Delete(name); err != nil || all[1].Exists(name) {
		t.Errorf("the super-journal is there after it was deleted: %v", err)
	}
	if err := opened[1].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("two.db-journal\x00"), 0); err == nil {
		t.Error("a database that is closed takes part in a transaction")
	}
	if err := opened[0].Close(); err != nil {
		t.Fatal(err)
	}
	if anyFiles(func(f *Files) bool { return f == all[0] || f == all[1] }) {
		t.Error("a registry without open databases is kept")
	}
}

// keyOf tells databases apart by the replica, or by name.
func keyOf(name string, params map[string]string) string {
	return params["replica_url"] + " " + name
}
