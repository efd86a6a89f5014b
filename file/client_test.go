package file_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/iotest"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

var (
	_ replica.Client         = (*file.ReplicaClient)(nil)
	_ replica.LTXFileCreator = (*file.ReplicaClient)(nil)
	_ replica.LTXFileCopier  = (*file.ReplicaClient)(nil)
)

var errBoom = errors.New("boom")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	replicatest.Run(t, func(t *testing.T) replica.Client {
		return file.NewReplicaClient(filepath.Join(t.TempDir(), "some", "replica"))
	}, replicatest.Properties{
		NoInit:    true,
		NoListAll: true,
		LargeBody: 2 << 20, // there are no parts
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			path := filepath.Join(levelDir(c.(*file.ReplicaClient), level), name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, body, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			path := filepath.Join(c.(*file.ReplicaClient).Path(), name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, body, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			u := url.URL{Scheme: "file", Path: filepath.ToSlash(c.(*file.ReplicaClient).Path())}
			d, err := replica.NewFromURL(u.String() + below)
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Unfinished: func(t *testing.T, c replica.Client) []string {
			names, err := filepath.Glob(filepath.Join(levelDir(c.(*file.ReplicaClient), 0), "*.tmp"))
			if err != nil {
				t.Fatal(err)
			}
			return names
		},
		Peer: func(t *testing.T, _ replica.Client) replica.Client {
			return file.NewReplicaClient(filepath.Join(t.TempDir(), "other"))
		},
		Reopen: func(_ *testing.T, c replica.Client) replica.Client {
			return file.NewReplicaClient(c.(*file.ReplicaClient).Path())
		},
	})
}

func TestReplicaClient_Layout(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
	timestamp := time.UnixMilli(1234567890123)
	body := write(t, c, 9, replicatest.FileSpec{MinTXID: 1, MaxTXID: 0x1d, Timestamp: timestamp})

	path := filepath.Join(c.Path(), "ltx", "9", "0000000000000001-000000000000001d.ltx")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%s: not the body that was written (error %v)", path, err)
	}
	if got := stat(t, path).ModTime(); !got.Equal(timestamp) {
		t.Errorf("mtime is %s, want %s", got, timestamp)
	}
}

// The modification time is what a listing tells by default, and the header is
// what it tells with useMetadata.
func TestReplicaClient_LostModTime(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
	timestamp := time.UnixMilli(1234567890123).UTC()
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1, Timestamp: timestamp})
	if got := list(t, c, 0, false)[0].CreatedAt; got != timestamp {
		t.Errorf("CreatedAt is %s, want %s", got, timestamp)
	}

	lost := time.Unix(2e9, 0).UTC()
	path := filepath.Join(levelDir(c, 0), ltx.FormatFilename(1, 1))
	if err := os.Chtimes(path, lost, lost); err != nil {
		t.Fatal(err)
	}
	if got := list(t, c, 0, false)[0].CreatedAt; got != lost {
		t.Errorf("CreatedAt is %s, want the modification time %s", got, lost)
	}
	if got := list(t, c, 0, true)[0].CreatedAt; got != timestamp {
		t.Errorf("CreatedAt with useMetadata is %s, want %s", got, timestamp)
	}
}

// A damaged file does not hide the others.
func TestReplicaClient_DamagedHeader(t *testing.T) {
	for name, content := range map[string]string{
		"empty":   "",
		"short":   "LTX1",
		"foreign": string(bytes.Repeat([]byte("x"), 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			c := file.NewReplicaClient(t.TempDir())
			write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
			path := filepath.Join(levelDir(c, 0), ltx.FormatFilename(2, 2))
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			infos := list(t, c, 0, true)
			if len(infos) != 2 || !infos[1].CreatedAt.Equal(stat(t, path).ModTime()) {
				t.Errorf("got %v, want two files, the second with its modification time", infos)
			}
		})
	}
}

func TestReplicaClient_InvalidArguments(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
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
		"no header":       func() error { _, err := c.WriteLTXFile(ctx, 0, 1, 2, bytes.NewReader(body[1:])); return err },
		"half a header":   func() error { _, err := c.WriteLTXFile(ctx, 0, 1, 2, bytes.NewReader(body[:50])); return err },
		"invalid header":  func() error { _, err := c.WriteLTXFile(ctx, 0, 1, 2, bytes.NewReader(badPageSize(body))); return err },
		"delete nil":      func() error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{nil}) },
		"delete level -1": func() error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: -1}}) },
		"no path":         func() error { _, err := file.NewReplicaClient("").LTXFiles(ctx, 0, 0, false); return err },
		"delete, zero":    func() error { return new(file.ReplicaClient).DeleteLTXFiles(ctx, []*ltx.FileInfo{{}}) },
		"write, zero": func() error {
			_, err := new(file.ReplicaClient).WriteLTXFile(ctx, 0, 1, 2, bytes.NewReader(body))
			return err
		},
	} {
		if err := call(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: got error %v, want fs.ErrInvalid", name, err)
		}
	}
	if got := files(t, c.Path()); len(got) != 0 {
		t.Errorf("%v left behind", got)
	}
}

// No error of a write leaves anything but whole files behind.
func TestReplicaClient_FailedWriteLeavesNothing(t *testing.T) {
	spec := replicatest.FileSpec{MinTXID: 1, MaxTXID: 1, Pages: 100}
	body := encode(t, spec)
	name := ltx.FormatFilename(1, 1)

	syncFails := func(dirs bool) func(*os.File) error {
		return func(f *os.File) error {
			if fi, err := f.Stat(); err != nil || fi.IsDir() == dirs {
				return errors.Join(errBoom, err)
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, c *file.ReplicaClient)
		r       io.Reader
		cancel  bool
		want    error
		left    []string
	}{
		{name: "reader", r: io.MultiReader(bytes.NewReader(body[:5000]), iotest.ErrReader(errBoom)), want: errBoom},
		{name: "context at the end", r: bytes.NewReader(body), cancel: true, want: context.Canceled},
		{name: "sync of the file", prepare: func(_ *testing.T, c *file.ReplicaClient) { c.SetSync(syncFails(false)) }, want: errBoom},
		{name: "sync of a new folder", prepare: func(_ *testing.T, c *file.ReplicaClient) { c.SetSync(syncFails(true)) }, want: errBoom},
		{
			// The file has its name by then; that it is there whole is as good as not at all.
			name: "sync of the folder",
			prepare: func(t *testing.T, c *file.ReplicaClient) {
				write(t, c, 0, replicatest.FileSpec{MinTXID: 2, MaxTXID: 2})
				c.SetSync(syncFails(true))
			},
			want: errBoom,
			left: []string{name, ltx.FormatFilename(2, 2)},
		},
		{
			name: "a folder has the name",
			prepare: func(t *testing.T, c *file.ReplicaClient) {
				if err := os.MkdirAll(filepath.Join(levelDir(c, 0), name), 0o777); err != nil {
					t.Fatal(err)
				}
			},
			want: fs.ErrExist,
		},
	} {
		for _, op := range []string{"write", "create"} {
			t.Run(tt.name+"/"+op, func(t *testing.T) {
				c := file.NewReplicaClient(t.TempDir())
				if tt.prepare != nil {
					tt.prepare(t, c)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := tt.r
				switch {
				case tt.cancel:
					r = io.MultiReader(bytes.NewReader(body), cancelReader(cancel))
				case r == nil || op == "create": // a reader is used up by then
					r = bytes.NewReader(body)
					if tt.r != nil {
						r = io.MultiReader(bytes.NewReader(body[:5000]), iotest.ErrReader(errBoom))
					}
				}
				store := c.WriteLTXFile
				if op == "create" {
					store = c.CreateLTXFile
				}
				if _, err := store(ctx, 0, 1, 1, r); !errors.Is(err, tt.want) {
					t.Errorf("got error %v, want %v", err, tt.want)
				}
				if got := files(t, c.Path()); !slices.Equal(got, tt.left) {
					t.Errorf("files left are %v, want %v", got, tt.left)
				}
			})
		}
	}
}

// Every folder on the way to a new file is flushed, and on later writes only
// the last one.
func TestReplicaClient_SyncsFolders(t *testing.T) {
	top := t.TempDir()
	c := file.NewReplicaClient(filepath.Join(top, "a", "b"))
	var synced []string
	c.SetSync(func(f *os.File) error {
		if rel, err := filepath.Rel(top, f.Name()); err == nil && stat(t, f.Name()).IsDir() {
			synced = append(synced, filepath.ToSlash(rel))
		}
		return nil
	})

	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	slices.Sort(synced)
	if want := []string{".", "a", "a/b", "a/b/ltx", "a/b/ltx/0"}; !slices.Equal(synced, want) {
		t.Errorf("first write flushed %v, want %v", synced, want)
	}

	synced = nil
	write(t, c, 0, replicatest.FileSpec{MinTXID: 2, MaxTXID: 2})
	if want := []string{"a/b/ltx/0"}; !slices.Equal(synced, want) {
		t.Errorf("second write flushed %v, want %v", synced, want)
	}

	synced = nil
	if err := c.DeleteLTXFiles(t.Context(), list(t, c, 0, false)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/b/ltx/0"}; !slices.Equal(synced, want) {
		t.Errorf("deletion flushed %v, want %v", synced, want)
	}
}

func TestReplicaClient_FolderRemovedMeanwhile(t *testing.T) {
	c := file.NewReplicaClient(filepath.Join(t.TempDir(), "replica"))
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	if err := os.RemoveAll(c.Path()); err != nil {
		t.Fatal(err)
	}
	write(t, c, 0, replicatest.FileSpec{MinTXID: 2, MaxTXID: 2})
	if got := len(list(t, c, 0, false)); got != 1 {
		t.Errorf("%d files listed, want 1", got)
	}
}

// A file that goes away between the folder being read and the file being looked
// at is left out.
func TestReplicaClient_DeletedWhileListed(t *testing.T) {
	for _, useMetadata := range []bool{false, true} {
		c := file.NewReplicaClient(t.TempDir())
		for txid := ltx.TXID(1); txid <= 3; txid++ {
			write(t, c, 0, replicatest.FileSpec{MinTXID: txid, MaxTXID: txid})
		}
		itr, err := c.LTXFiles(t.Context(), 0, 0, useMetadata)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 2, MaxTXID: 2}}); err != nil {
			t.Fatal(err)
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err != nil || len(infos) != 2 || infos[1].MinTXID != 3 {
			t.Errorf("got %d files and error %v, want 2", len(infos), err)
		}
	}
}

// Only regular files are LTX files, whatever their names.
func TestReplicaClient_NotRegular(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	if err := os.Mkdir(filepath.Join(levelDir(c, 0), ltx.FormatFilename(2, 2)), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(levelDir(c, 0), ltx.FormatFilename(3, 3))); err != nil {
		t.Skip(err)
	}
	if infos := list(t, c, 0, true); len(infos) != 1 {
		t.Errorf("%d files listed, want 1", len(infos))
	}
}

func TestReplicaClient_ContextDuringListing(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		write(t, c, 0, replicatest.FileSpec{MinTXID: txid, MaxTXID: txid})
	}
	ctx, cancel := context.WithCancel(t.Context())
	itr, err := c.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if !itr.Next() {
		t.Fatal(itr.Err())
	}
	cancel()
	for range 2 {
		if itr.Next() {
			t.Error("Next returned true after the context was done")
		}
	}
	if err := itr.Close(); !errors.Is(err, context.Canceled) || !errors.Is(itr.Err(), context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
}

func TestReplicaClient_Modes(t *testing.T) {
	for _, tt := range []struct{ file, dir, wantFile, wantDir fs.FileMode }{
		{0, 0, 0o600, 0o700},
		{0o640, 0o750, 0o640, 0o750},
	} {
		c := file.NewReplicaClient(filepath.Join(t.TempDir(), "replica"))
		c.FileMode, c.DirMode = tt.file, tt.dir
		write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
		if got := stat(t, filepath.Join(levelDir(c, 0), ltx.FormatFilename(1, 1))).Mode().Perm(); got != tt.wantFile {
			t.Errorf("mode of the file is %o, want %o", got, tt.wantFile)
		}
		if got := stat(t, c.Path()).Mode().Perm(); got&^tt.wantDir != 0 { // less the umask
			t.Errorf("mode of the folder is %o, want %o", got, tt.wantDir)
		}
	}
}

func levelDir(c *file.ReplicaClient, level int) string {
	return filepath.Join(c.Path(), "ltx", strconv.Itoa(level))
}

func encode(t *testing.T, spec replicatest.FileSpec) []byte {
	t.Helper()
	b, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, c *file.ReplicaClient, level int, spec replicatest.FileSpec) []byte {
	t.Helper()
	body := encode(t, spec)
	if _, err := c.WriteLTXFile(t.Context(), level, spec.MinTXID, spec.MaxTXID, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	return body
}

func list(t *testing.T, c *file.ReplicaClient, level int, useMetadata bool) []*ltx.FileInfo {
	t.Helper()
	itr, err := c.LTXFiles(t.Context(), level, 0, useMetadata)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := ltx.SliceFileIterator(itr)
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// files returns the names of all files below dir.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// badPageSize returns body with a header that is not valid.
func badPageSize(body []byte) []byte {
	body = bytes.Clone(body)
	body[8] = 0xff
	return body
}

// cancelReader calls cancel and ends.
type cancelReader context.CancelFunc

func (cancel cancelReader) Read([]byte) (int, error) {
	cancel()
	return 0, io.EOF
}
