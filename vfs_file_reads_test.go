package litestream

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// TestPromise1_FileOfOneView examines the file between SHARED and NONE while
// the view is replaced, through every method that SQLite calls.
func TestPromise1_FileOfOneView(t *testing.T) {
	for _, pageSize := range []int{512, 65536} {
		store := memory.NewReplicaClient()
		p := ltxtest.New(t, store, ltxtest.Options{PageSize: pageSize})
		p.Exec("CREATE TABLE t (x)")
		p.Exec("INSERT INTO t VALUES (zeroblob(100000))")
		vfs := newTestVFS(t, store)
		c, other := openFile(t, vfs, "app.db"), openFile(t, vfs, "app.db")
		numbers := make(map[uint32]ltx.TXID)
		for _, change := range []string{"INSERT INTO t VALUES (randomblob(200000))", "DELETE FROM t", "VACUUM", "CREATE TABLE u (y)"} {
			before := p.TXID()
			if err := c.BeginRead(); err != nil {
				t.Fatal(err)
			}
			content, counter := fileAs(t, c)
			checkImage(t, "before", content, p.Image(before), counter)
			if other, known := numbers[counter]; known {
				t.Errorf("states %s and %s share the number %d", other, before, counter)
			}
			numbers[counter] = before

			p.Exec(change)
			if err := c.db.poller.poll(false); err != nil {
				t.Fatal(err)
			}
			if got := c.db.Current.Load().TXID; got != p.TXID() {
				t.Fatalf("the poll brought %s", got)
			}
			if _, number := fileAs(t, other); number == counter {
				t.Errorf("after %q another connection sees the same number", change)
			}
			same, number := fileAs(t, c)
			if !bytes.Equal(same, content) || number != counter {
				t.Errorf("after %q the file changed under a transaction", change)
			}
			c.EndRead()
		}
		content, counter := fileAs(t, c)
		checkImage(t, "after", content, p.Image(p.TXID()), counter)
	}
}

// TestConn_Reads reads at unusual offsets and lengths.
func TestConn_Reads(t *testing.T) {
	store := memory.NewReplicaClient()
	p := ltxtest.New(t, store, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (x)")
	p.Exec("INSERT INTO t VALUES (randomblob(5000))")
	c := openFile(t, newTestVFS(t, store), "app.db")
	content, _ := fileAs(t, c)
	size := int64(len(content))
	for _, tc := range []struct {
		off  int64
		n    int
		want int
	}{
		{0, 1, 1}, {90, 20, 20}, {100, 412, 412}, {500, 30, 30}, {511, 1026, 1026}, {size - 10, 10, 10},
		{size - 10, 20, 10}, {size, 10, 0}, {size + 5000, 10, 0}, {1 << 40, 512, 0},
	} {
		buf := bytes.Repeat([]byte{0xEE}, tc.n)
		n, err := c.ReadAt(buf, tc.off)
		if n != tc.want || (err != io.EOF) != (n == tc.n) || err != nil && err != io.EOF {
			t.Errorf("read %d bytes at %d: %d, %v", tc.n, tc.off, n, err)
		}
		if n > 0 && !bytes.Equal(buf[:n], content[tc.off:tc.off+int64(n)]) {
			t.Errorf("read %d bytes at %d: wrong bytes", tc.n, tc.off)
		}
	}
	if _, err := c.ReadAt(make([]byte, 10), -1); err == nil || err == io.EOF {
		t.Errorf("a negative offset gives %v", err)
	}
}

// numbered returns a page that differs at each offset.
func numbered(seed byte) []byte {
	page := make([]byte, 512)
	for i := range page {
		page[i] = byte(i*7) + byte(i/256) + seed
	}
	return page
}

// TestConn_ReadsCommitted reads pages of commits that are in the write buffer only, at
// unusual offsets and lengths.
func TestConn_ReadsCommitted(t *testing.T) {
	_, c, other := newWriters(t, 5)
	begin(t, c)
	countUp(t, c, 5)
	for pgno := int64(2); pgno <= 4; pgno++ {
		if _, err := c.WriteAt(numbered(byte(pgno)), (pgno-1)*512); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	content, _ := fileAs(t, other)
	for pgno := 2; pgno <= 4; pgno++ {
		if !bytes.Equal(content[(pgno-1)*512:][:512], numbered(byte(pgno))) {
			t.Errorf("page %d is not what was committed", pgno)
		}
	}
	for _, tc := range []struct{ off, n int }{
		{0, 512}, {1, 512}, {24, 16}, {511, 514}, {512, 512}, {512, 1000}, {513, 511}, {513, 512}, {513, 1200}, {1023, 2}, {1025, 1024}, {1500, 900},
	} {
		buf := bytes.Repeat([]byte{0xEE}, tc.n)
		if n, err := other.ReadAt(buf, int64(tc.off)); n != tc.n || err != nil || !bytes.Equal(buf, content[tc.off:][:tc.n]) {
			t.Errorf("read %d bytes at %d: %d, %v, or wrong bytes", tc.n, tc.off, n, err)
		}
	}
}

// TestConn_ReadsAfterUpload has a read outside of a transaction find that the segment of
// its page was uploaded and closed meanwhile. It reads the same place of the newest state.
func TestConn_ReadsAfterUpload(t *testing.T) {
	vfs, c, other := newWriters(t, 5)
	begin(t, c)
	countUp(t, c, 5)
	if _, err := c.WriteAt(numbered(3), 2*512); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	before := other.view()
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
	loc, ok := before.Lookup(3)
	if !ok || loc.File.Segment == nil {
		t.Fatal("the commit was not in the write buffer")
	}
	await(t, "the segment to be closed, which a sync does not wait for", func() bool {
		return errors.Is(loc.ReadSegment(3, make([]byte, 512)), fs.ErrClosed)
	})
	for _, tc := range []struct{ in, n, want int }{{0, 512, 512}, {100, 50, 50}, {500, 50, 12}} {
		buf := make([]byte, tc.n)
		n, err := other.readPage(before, buf, int64(2*512+tc.in))
		if err != nil || n != tc.want || !bytes.Equal(buf[:n], numbered(3)[tc.in:][:n]) {
			t.Errorf("read %d bytes of page 3 at %d: %d, %v, or wrong bytes", tc.n, tc.in, n, err)
		}
	}
}

// TestConn_FirstReadOfGoneState has the files of the newest known state deleted after
// the replica went on, while no poll looks. A transaction that SQLite was told nothing
// of begins in the newest state; one that has read, or knows the size, cannot, and the
// next one does.
func TestConn_FirstReadOfGoneState(t *testing.T) {
	counter := func(c *Conn) ([]byte, error) {
		p := make([]byte, 16)
		_, err := c.ReadAt(p, 24)
		return p, err
	}
	for _, tc := range []struct {
		name   string
		before func(t *testing.T, c *Conn) // while the state is there
		after  func(t *testing.T, c *Conn) // when it is not
		fails  bool
	}{
		{name: "outside of a transaction"},
		{name: "first of a transaction", after: func(t *testing.T, c *Conn) { mustBeginRead(t, c) }},
		{name: "of a transaction that began earlier", before: func(t *testing.T, c *Conn) { mustBeginRead(t, c) }},
		{name: "after another", fails: true, before: func(t *testing.T, c *Conn) {
			mustBeginRead(t, c)
			if n, err := c.ReadAt(make([]byte, 512), 512); n != 512 || err != nil {
				t.Fatalf("read %d bytes of page 2: %v", n, err)
			}
		}},
		{name: "behind the end", fails: true, after: func(t *testing.T, c *Conn) {
			mustBeginRead(t, c)
			if _, err := c.ReadAt(make([]byte, 512), 1<<30); err != io.EOF {
				t.Fatalf("a read behind the end: %v", err)
			}
		}},
		{name: "after the size", fails: true, after: func(t *testing.T, c *Conn) {
			mustBeginRead(t, c)
			if _, err := c.FileSize(); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "of a past state", fails: true, before: func(_ *testing.T, c *Conn) { c.travelTo(c.view()) }, after: func(t *testing.T, c *Conn) { mustBeginRead(t, c) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := memory.NewReplicaClient()
			p := ltxtest.New(t, store, ltxtest.Options{PageSize: 512})
			p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(5000))")
			vfs := newTestVFS(t, store)
			vfs.CacheSize = -1
			c := openFile(t, vfs, "app.db")
			p.Exec("UPDATE t SET x = randomblob(6000)")
			if err := c.db.poller.poll(true); err != nil {
				t.Fatal(err)
			}
			old := c.db.Current.Load()
			if tc.before != nil {
				tc.before(t, c)
			}
			p.Exec("UPDATE t SET x = randomblob(90000)")
			p.DeleteLevelBelow(0, p.Snapshot()+1)
			if tc.after != nil {
				tc.after(t, c)
			}
			if c.db.Current.Load() != old || old.TXID >= p.TXID() {
				t.Fatal("something looked for news")
			}

			got, err := counter(c)
			if (err != nil) != tc.fails || tc.fails && !errors.Is(err, errs.ErrStateGone) {
				t.Fatalf("the counter: %v", err)
			}
			if tc.fails {
				c.EndRead()
				c.travelTo(nil)
				mustBeginRead(t, c)
				if got, err = counter(c); err != nil {
					t.Fatalf("the next transaction: %v", err)
				}
			}
			content, _ := fileAs(t, c)
			if !bytes.Equal(content[dbheader.Size:], p.Image(p.TXID())[dbheader.Size:]) {
				t.Error("the file is not that of the newest state")
			}
			if c.db.reads.Last().IsFailing() {
				t.Error("reads count as failing, since a state is gone")
			}
			if !bytes.Equal(got, content[24:40]) {
				t.Errorf("the first read gives %x, the file has %x", got, content[24:40])
			}
		})
	}
}

func mustBeginRead(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.BeginRead(); err != nil {
		t.Fatal(err)
	}
}
