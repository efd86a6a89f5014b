package metrics

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// TestMain checks that nothing goes on after the last test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const pageSize = 512

// pageOne returns page 1 of a database.
func pageOne(counter uint32, pages int) []byte {
	page := make([]byte, pageSize)
	copy(page, dbheader.SqliteMagic)
	binary.BigEndian.PutUint16(page[dbheader.OffPageSize:], pageSize)
	page[dbheader.OffWriteVersion], page[dbheader.OffReadVersion] = 1, 1
	for _, at := range []int{dbheader.OffChangeCounter, dbheader.OffVersionValid} {
		binary.BigEndian.PutUint32(page[at:], counter)
	}
	binary.BigEndian.PutUint32(page[dbheader.OffCommit:], uint32(pages))
	return page
}

// newReplica returns a replica of a database, a second old.
func newReplica(t testing.TB, pages int) *memory.ReplicaClient {
	t.Helper()
	content := map[uint32][]byte{1: pageOne(1, pages)}
	for pgno := uint32(2); pgno <= uint32(pages); pgno++ {
		content[pgno] = bytes.Repeat([]byte{byte(pgno)}, pageSize)
	}
	client := memory.NewReplicaClient()
	hdr := ltx.Header{PageSize: pageSize, Commit: uint32(pages), MinTXID: 1, MaxTXID: 1, Timestamp: time.Now().Add(-time.Second).UnixMilli()}
	if _, err := client.WriteLTXFile(t.Context(), litestream.SnapshotLevel, 1, 1, bytes.NewReader(ltxtest.EncodeLTX(hdr, content, false))); err != nil {
		t.Fatal(err)
	}
	return client
}

// open opens a connection.
func open(t testing.TB, vfs *litestream.VFS, name string, params map[string]string) *litestream.Conn {
	t.Helper()
	c, err := vfs.OpenConn(name, params, litestream.OpenMode{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// read reads a page in a transaction of its own.
func read(c *litestream.Conn, pgno int64) error {
	if err := c.BeginRead(); err != nil {
		return err
	}
	defer c.EndRead()
	_, err := c.ReadAt(make([]byte, pageSize), (pgno-1)*pageSize)
	return err
}

// commit commits a change of page 1.
func commit(t *testing.T, c *litestream.Conn, counter uint32, pages int) {
	t.Helper()
	if err := errors.Join(c.BeginRead(), c.BeginWrite()); err != nil {
		t.Fatal(err)
	}
	_, err := c.WriteAt(pageOne(counter, pages), 0)
	if err = errors.Join(err, c.Commit(true), c.EndWrite()); err != nil {
		t.Fatal(err)
	}
	c.EndRead()
}

// fleet is a VFS with a database in each of several conditions.
type fleet struct {
	vfs    *litestream.VFS
	stores map[string]*decorate.Fault
	conns  map[string]*litestream.Conn
}

// newFleet opens databases of n pages by their names, over stores that can fail.
// The caller closes it.
func newFleet(t *testing.T, n int, params map[string]map[string]string) *fleet {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where commits are kept that are not uploaded
	f := &fleet{stores: make(map[string]*decorate.Fault), conns: make(map[string]*litestream.Conn)}
	f.vfs = litestream.NewVFS(nil, &litestream.Options{
		Logger: slog.New(slog.DiscardHandler), ReadTimeout: time.Second, CloseTimeout: time.Second, CompactionDisabled: true,
		NewClient: func(name string) (litestream.ReplicaClient, error) {
			if f.stores[name] == nil {
				return nil, errors.New("no such replica")
			}
			return f.stores[name], nil
		},
	})
	for name, p := range params {
		f.stores[name] = decorate.NewFault(newReplica(t, n))
		f.conns[name] = open(t, f.vfs, name, p)
	}
	return f
}

// close closes all connections and the VFS.
func (f *fleet) close(t *testing.T) {
	t.Helper()
	for name, c := range f.conns {
		if err := c.Close(); err != nil && f.stores[name] == nil {
			t.Error(err)
		}
	}
	_ = f.vfs.Close(t.Context()) // commits that a store refuses are lost with it
}
