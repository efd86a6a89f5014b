package litestream

import (
	"bytes"
	"io"
	"testing"

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
