package maintain_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// Publish lists each file with its size and the time of its header, and writes again
// only after a change.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../testdata/replicas/compacted")); err != nil {
		t.Fatal(err)
	}
	client := file.NewReplicaClient(dir)
	first, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{})
	if err != nil || !first.Written {
		t.Fatal(first, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, webindex.Name))
	if err != nil {
		t.Fatal(err)
	}
	index, err := webindex.Decode(b)
	if err != nil || len(index.Files) != first.Files || first.Files == 0 {
		t.Fatalf("%d files of %d, %v", len(index.Files), first.Files, err)
	}
	for _, f := range index.Files {
		r, err := os.Open(filepath.Join(dir, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		hdr, _, err := ltx.PeekHeader(r)
		if fi, serr := r.Stat(); err != nil || serr != nil || fi.Size() != f.Size || !f.Time.Equal(time.UnixMilli(hdr.Timestamp)) {
			t.Errorf("%+v: header is of %d, %v, %v", f, hdr.Timestamp, err, serr)
		}
		r.Close()
	}

	second, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{Last: first, Requests: maintain.Requests{}})
	if err != nil || second.Written {
		t.Errorf("without a change: %+v, %v", second, err)
	}
	gone := index.Files[len(index.Files)-1].Name
	if err := os.Remove(filepath.Join(dir, gone)); err != nil {
		t.Fatal(err)
	}
	third, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{Last: second})
	if err != nil || !third.Written || third.Files != first.Files-1 {
		t.Errorf("after a change: %+v, %v", third, err)
	}
}

// unversioned is a folder that does not tell the versions of its files.
type unversioned struct{ *file.ReplicaClient }

func (c unversioned) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return c.ReplicaClient.LTXFiles(clientio.WithVersionNoter(ctx, func(*ltx.FileInfo, string) {}), level, seek, useMetadata)
}

// A file that was replaced by one of the same size has the time of the new header in the
// next index.
func TestPublish_Replaced(t *testing.T) {
	for name, clientOf := range map[string]func(*file.ReplicaClient) replica.Client{
		"versions":    func(c *file.ReplicaClient) replica.Client { return c },
		"no versions": func(c *file.ReplicaClient) replica.Client { return unversioned{c} },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("../testdata/replicas/compacted")); err != nil {
				t.Fatal(err)
			}
			client := clientOf(file.NewReplicaClient(dir))
			var index webindex.Index
			var last *maintain.Published
			publish := func() bool {
				t.Helper()
				p, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{Last: last, Write: func(_ context.Context, b []byte) (err error) {
					index, err = webindex.Decode(b)
					return err
				}})
				if err != nil {
					t.Fatal(err)
				}
				last = p
				return p.Written
			}
			replace := func(name string, at time.Time) {
				t.Helper()
				path := filepath.Join(dir, name)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var hdr ltx.Header
				if err := hdr.UnmarshalBinary(b[:ltx.HeaderSize]); err != nil {
					t.Fatal(err)
				}
				hdr.Timestamp = at.UnixMilli()
				head, err := hdr.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				copy(b, head)
				modified := at.Add(5 * time.Second) // which is not the time of the header
				if err := errors.Join(os.WriteFile(path, b, 0o600), os.Chtimes(path, modified, modified)); err != nil {
					t.Fatal(err)
				}
			}
			publish()
			before := index
			newest := slices.IndexFunc(before.Files, func(f webindex.File) bool { return f.Name == "ltx/0/"+ltx.FormatFilename(0x1d, 0x1d) })
			if newest < 0 {
				t.Fatalf("the index has %+v", before.Files)
			}
			at := before.Files[newest].Time
			for range 2 { // the first listing asks for the times of the headers, and the others do not
				at = at.Add(time.Hour)
				replace(before.Files[newest].Name, at)
				if !publish() {
					t.Error("the index with a file that was replaced is not written")
				}
				for i, f := range index.Files {
					want := before.Files[i].Time
					if i == newest {
						want = at
					}
					if !f.Time.Equal(want) || f.Size != before.Files[i].Size {
						t.Errorf("%s has %d bytes and the time %s, want %s", f.Name, f.Size, f.Time, want)
					}
				}
			}
			if publish() {
				t.Error("the index is written without a change")
			}
		})
	}
}

// A file has the same time in an index that goes on from the last one as in one that is
// made from nothing, so that readers do not take it for another file when a publisher is
// started again.
func TestPublish_TimeOfNews(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../testdata/replicas/compacted")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "ltx", "0", ltx.FormatFilename(0x1d, 0x1d))
	news, err := os.ReadFile(name)
	if err := errors.Join(err, os.Remove(name)); err != nil {
		t.Fatal(err)
	}
	client := file.NewReplicaClient(dir)
	var index webindex.Index
	publish := func(last *maintain.Published) *maintain.Published {
		t.Helper()
		p, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{Last: last, Write: func(_ context.Context, b []byte) (err error) {
			index, err = webindex.Decode(b)
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := publish(nil)
	uploaded := time.Now().Add(time.Hour) // which is not the time of the header
	if err := errors.Join(os.WriteFile(name, news, 0o600), os.Chtimes(name, uploaded, uploaded)); err != nil {
		t.Fatal(err)
	}
	if p := publish(first); p.Files != first.Files+1 {
		t.Fatalf("%d files after %d", p.Files, first.Files)
	}
	after := index
	publish(nil)
	for i, f := range after.Files {
		if again := index.Files[i]; f.Name != again.Name || !f.Time.Equal(again.Time) {
			t.Errorf("%s has the time %s, and in an index from nothing %s has %s", f.Name, f.Time, again.Name, again.Time)
		}
	}
}

// hexed is a store with the layout of S3.
type hexed struct{ *memory.ReplicaClient }

func (h hexed) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := h.ReplicaClient.Survey(ctx, dir)
	survey.LevelDir = "0009/"
	return survey, err
}

// The names in the index are those that the store gives the files.
func TestPublish_Layout(t *testing.T) {
	b := layered(t)
	for name, tt := range map[string]struct {
		client replica.Client
		want   string // the name of a snapshot
	}{
		"levels":     {b.stored(t), "ltx/9/0000000000000001-000000000000000a.ltx"},
		"hex":        {hexed{b.stored(t)}, "0009/0000000000000001-000000000000000a.ltx"},
		"no surveys": {b, "ltx/9/0000000000000001-000000000000000a.ltx"},
	} {
		var index webindex.Index
		opts := maintain.PublishOptions{Write: func(_ context.Context, encoded []byte) (err error) {
			index, err = webindex.Decode(encoded)
			return err
		}}
		if _, err := maintain.Publish(t.Context(), tt.client, opts); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(index.Files) != len(b) || !slices.ContainsFunc(index.Files, func(f webindex.File) bool { return f.Name == tt.want }) {
			t.Errorf("%s: the index has %+v, want %s", name, index.Files, tt.want)
		}
	}
}

// silent is a store that does not answer when it is asked what lies there.
type silent struct{ bucket }

func (silent) Survey(ctx context.Context, _ string) (replica.Survey, error) {
	<-ctx.Done()
	return replica.Survey{}, ctx.Err()
}

// Publish waits for a store no longer than a request may take.
func TestPublish_Timeout(t *testing.T) {
	plain := layered(t)
	for name, tt := range map[string]struct {
		client replica.Client
		write  func(context.Context) error
	}{
		"survey": {silent{plain}, func(context.Context) error { return nil }},
		"index": {plain, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				_, err := maintain.Publish(ctx, tt.client, maintain.PublishOptions{
					Requests: maintain.Requests{Timeout: time.Second},
					Write:    func(ctx context.Context, _ []byte) error { return tt.write(ctx) },
				})
				if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Minute {
					t.Errorf("after %s: %v", took, err)
				}
			})
		})
	}
}

// The upload of a large index may take longer than other requests.
func TestPublish_Large(t *testing.T) {
	const files, mib = 15_000, 1 << 20
	b, body := make(bucket, files), make([]byte, 1000)
	for txid := ltx.TXID(1); txid <= files; txid++ {
		b[key(0, txid, txid)] = body
	}
	synctest.Test(t, func(t *testing.T) {
		size := 0
		p, err := maintain.Publish(t.Context(), b, maintain.PublishOptions{
			Requests: maintain.Requests{Timeout: time.Second},
			Write: func(ctx context.Context, index []byte) error {
				size = len(index)
				time.Sleep(1500 * time.Millisecond)
				return ctx.Err()
			},
		})
		if err != nil || p.Files != files || size < mib {
			t.Errorf("%d bytes: %+v, %v", size, p, err)
		}
	})
}

// A store that cannot keep an index is unsupported, unless the index goes elsewhere.
func TestPublish_Elsewhere(t *testing.T) {
	client := memory.NewReplicaClient()
	if _, err := maintain.Publish(t.Context(), client, maintain.PublishOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got error %v", err)
	}
	var got []byte
	opts := maintain.PublishOptions{Write: func(_ context.Context, index []byte) error {
		got = index
		return nil
	}}
	if _, err := maintain.Publish(t.Context(), client, opts); err != nil {
		t.Fatal(err)
	}
	if index, err := webindex.Decode(got); err != nil || len(index.Files) != 0 {
		t.Errorf("%s: %v", got, err)
	}
	if _, err := maintain.Publish(t.Context(), file.NewReplicaClient(filepath.Join(t.TempDir(), "none")), maintain.PublishOptions{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that does not exist: %v", err)
	}
}
