package memory_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

var (
	_ replica.Client            = (*memory.ReplicaClient)(nil)
	_ replica.LTXFileCreator    = (*memory.ReplicaClient)(nil)
	_ replica.LTXFileCopier     = (*memory.ReplicaClient)(nil)
	_ replica.AllLTXFilesLister = (*memory.ReplicaClient)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	replicatest.Run(t, func(*testing.T) replica.Client {
		return memory.NewReplicaClient()
	}, replicatest.Properties{
		NoInit:    true,
		LargeBody: 1 << 20, // there are no parts
		Peer:      func(*testing.T, replica.Client) replica.Client { return memory.NewReplicaClient() },
		Reopen:    func(_ *testing.T, c replica.Client) replica.Client { return c },
	})
}

func TestReplicaClient_ZeroValue(t *testing.T) {
	var c memory.ReplicaClient
	write(t, &c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	if got := len(list(t, &c)); got != 1 {
		t.Errorf("%d files listed, want 1", got)
	}
}

func TestReplicaClient_CreatedAtIsHeaderTimestamp(t *testing.T) {
	c := memory.NewReplicaClient()
	want := time.UnixMilli(1234567890123).UTC()
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1, Timestamp: want})
	if got := list(t, c)[0].CreatedAt; got != want {
		t.Errorf("CreatedAt is %s, want %s", got, want)
	}
}

func TestReplicaClient_InvalidArguments(t *testing.T) {
	c := memory.NewReplicaClient()
	ctx := t.Context()
	body := encode(t, replicatest.FileSpec{MinTXID: 1, MaxTXID: 2})
	for name, call := range map[string]func() error{
		"list level -1":   func() error { _, err := c.LTXFiles(ctx, -1, 0, false); return err },
		"list level 10":   func() error { _, err := c.LTXFiles(ctx, 10, 0, false); return err },
		"open level 10":   func() error { _, err := c.OpenLTXFile(ctx, 10, 1, 2, 0, 0); return err },
		"negative offset": func() error { _, err := c.OpenLTXFile(ctx, 0, 1, 2, -1, 0); return err },
		"negative size":   func() error { _, err := c.OpenLTXFile(ctx, 0, 1, 2, 0, -1); return err },
		"write level 10":  func() error { _, err := c.WriteLTXFile(ctx, 10, 1, 2, bytes.NewReader(body)); return err },
		"other MinTXID":   func() error { _, err := c.WriteLTXFile(ctx, 0, 2, 2, bytes.NewReader(body)); return err },
		"other MaxTXID":   func() error { _, err := c.CreateLTXFile(ctx, 0, 1, 3, bytes.NewReader(body)); return err },
		"invalid header": func() error {
			b := bytes.Clone(body)
			b[8] = 0xff // page size
			_, err := c.WriteLTXFile(ctx, 0, 1, 2, bytes.NewReader(b))
			return err
		},
		"delete nil":      func() error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{nil}) },
		"delete level -1": func() error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: -1}}) },
	} {
		if err := call(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: got error %v, want fs.ErrInvalid", name, err)
		}
	}
}

// Listings and bodies are of the moment at which they were asked for, and what
// a caller does with its bytes stays with the caller.
func TestReplicaClient_Snapshots(t *testing.T) {
	c := memory.NewReplicaClient()
	body := write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	itr, err := c.LTXFiles(t.Context(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}

	write(t, c, 0, replicatest.FileSpec{MinTXID: 2, MaxTXID: 2})
	if err := c.DeleteLTXFiles(t.Context(), list(t, c)); err != nil {
		t.Fatal(err)
	}

	if !itr.Next() || itr.Item().MaxTXID != 1 || itr.Next() || itr.Next() || itr.Item() != nil {
		t.Error("listing has changed")
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("body has changed: error %v", err)
	}
	clear(got)
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
}

func encode(t *testing.T, spec replicatest.FileSpec) []byte {
	t.Helper()
	b, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, c *memory.ReplicaClient, level int, spec replicatest.FileSpec) []byte {
	t.Helper()
	body := encode(t, spec)
	if _, err := c.WriteLTXFile(t.Context(), level, spec.MinTXID, spec.MaxTXID, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	return body
}

func list(t *testing.T, c *memory.ReplicaClient) []*ltx.FileInfo {
	t.Helper()
	itr, err := c.LTXFiles(t.Context(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := ltx.SliceFileIterator(itr)
	if err != nil {
		t.Fatal(err)
	}
	return infos
}
