package maintain_test

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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// database returns a source of the newest state of a replica, and its bytes.
func database(t testing.TB) (maintain.Source, []byte) {
	t.Helper()
	b := readBucket(t, "../testdata/replicas/pagesize-1024")
	txids := b.reachable()
	image, err := b.image(txids[len(txids)-1])
	if err != nil {
		t.Fatal(err)
	}
	src, err := maintain.NewFileSource(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return src, image
}

// What was imported is restored as it was.
func TestImport(t *testing.T) {
	src, image := database(t)
	client := memory.NewReplicaClient()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var last maintain.Progress
	r, err := maintain.Import(t.Context(), client, src, maintain.ImportOptions{Time: at, Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }}})
	if err != nil {
		t.Fatal(err)
	}
	if r.TXID != 1 || !r.Time.Equal(at) || int(r.Pages)*int(r.PageSize) != len(image) || last != (maintain.Progress{Files: 1, AllFiles: 1, Bytes: int64(len(image)), AllBytes: int64(len(image))}) {
		t.Errorf("imported %+v, progress %+v", r, last)
	}
	var got bytes.Buffer
	if _, err := maintain.RestoreTo(t.Context(), client, &got, maintain.RestoreOptions{}); err != nil || !bytes.Equal(got.Bytes(), image) {
		t.Errorf("restored %d bytes, error %v, want the %d bytes that were imported", got.Len(), err, len(image))
	}
	report, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
	if err != nil || len(report.Findings) > 0 || report.Restorable != 1 {
		t.Errorf("report %+v, error %v", report, err)
	}
	info, err := maintain.Inspect(t.Context(), client, maintain.Requests{})
	if err != nil || info.Newest != (maintain.Point{TXID: 1, Time: at}) || info.Size != int64(len(image)) || info.Files != 1 || info.Bytes != r.Stored {
		t.Errorf("info %+v, error %v", info, err)
	}
}

// Of calls at the same time, one begins the replica.
func TestImport_Once(t *testing.T) {
	client := memory.NewReplicaClient()
	var wg sync.WaitGroup
	errors4 := make([]error, 4)
	for i := range errors4 {
		src, _ := database(t)
		wg.Go(func() { _, errors4[i] = maintain.Import(t.Context(), client, src, maintain.ImportOptions{}) })
	}
	wg.Wait()
	succeeded := 0
	for _, err := range errors4 {
		if err == nil {
			succeeded++
		} else if !errors.Is(err, fs.ErrExist) {
			t.Errorf("error %v, want fs.ErrExist", err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d calls succeeded", succeeded)
	}
}

// Import changes nothing where something lies already.
func TestImport_Refuses(t *testing.T) {
	src, image := database(t)
	if _, err := maintain.Import(t.Context(), file.NewReplicaClient(filepath.Join(parent(t), "compacted")), src, maintain.ImportOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a replica: error %v, want fs.ErrExist", err)
	}
	path := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := maintain.Import(t.Context(), file.NewReplicaClient(path), src, maintain.ImportOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a database: error %v, want fs.ErrExist", err)
	}
	if _, err := maintain.Import(t.Context(), file.NewReplicaClient(parent(t)), src, maintain.ImportOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the folder of a replica: error %v, want fs.ErrExist", err)
	}
}

// failingSource fails at a page.
type failingSource struct {
	maintain.Source
	at  uint32
	err error
}

func (s failingSource) ReadPage(ctx context.Context, pgno uint32, page []byte) error {
	if pgno == s.at {
		return s.err
	}
	return s.Source.ReadPage(ctx, pgno, page)
}

// An import that fails leaves nothing.
func TestImport_Fails(t *testing.T) {
	src, _ := database(t)
	failed := errors.New("failed")
	for _, pgno := range []uint32{1, 2, src.Pages()} {
		client := memory.NewReplicaClient()
		if _, err := maintain.Import(t.Context(), client, failingSource{src, pgno, failed}, maintain.ImportOptions{}); !errors.Is(err, failed) {
			t.Errorf("page %d: error %v", pgno, err)
		}
		isEmpty(t, client)
	}
	client := memory.NewReplicaClient()
	faults := decorate.NewFault(client)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: fs.ErrPermission})
	if _, err := maintain.Import(t.Context(), faults, src, maintain.ImportOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("refused: error %v", err)
	}
	isEmpty(t, client)
	for _, bytesOf := range [][]byte{nil, []byte("no database, but long enough to have a header of a hundred bytes, if it were a database of SQLite, you see")} {
		if _, err := maintain.NewFileSource(bytes.NewReader(bytesOf), int64(len(bytesOf))); !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("source of %d bytes: error %v", len(bytesOf), err)
		}
	}
}

// lateClient is a store that notices after the upload that it cannot create a file on the
// condition that there is none.
type lateClient struct{ *memory.ReplicaClient }

func (c lateClient) CreateLTXFile(_ context.Context, _ int, _, _ ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return nil, errors.ErrUnsupported
}

// changingSource is a database that gives each page once. Restart goes over to a later
// state.
type changingSource struct {
	maintain.PagesSource
	later maintain.PagesSource
	t     *testing.T
	next  uint32
}

func (s *changingSource) ReadPage(ctx context.Context, pgno uint32, page []byte) error {
	return s.ReadPages(ctx, pgno, page)
}

func (s *changingSource) ReadPages(ctx context.Context, pgno uint32, pages []byte) error {
	if pgno < s.next {
		s.t.Errorf("page %d is read again", pgno)
	}
	s.next = pgno + uint32(len(pages))/s.PageSize()
	return s.PagesSource.ReadPages(ctx, pgno, pages)
}

func (s *changingSource) Restart(context.Context) error {
	s.PagesSource, s.next = s.later, 1
	return nil
}

// The upload that such a store does not take is made again, with all pages of one state.
func TestImport_ReadsAgain(t *testing.T) {
	same, image := database(t)
	source := func(image []byte) maintain.PagesSource {
		src, err := maintain.NewFileSource(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	longer := append(bytes.Clone(image), make([]byte, same.PageSize())...)
	for _, src := range []maintain.Source{same, &changingSource{PagesSource: source(longer), later: source(image), t: t}} {
		client := memory.NewReplicaClient()
		read := int64(len(image)) + int64(src.Pages())*int64(src.PageSize())
		var last maintain.Progress
		r, err := maintain.Import(t.Context(), lateClient{client}, src, maintain.ImportOptions{Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }}})
		if err != nil || int(r.Pages)*int(r.PageSize) != len(image) || last != (maintain.Progress{Files: 1, AllFiles: 1, Bytes: read, AllBytes: read}) {
			t.Errorf("%T: imported %+v, progress %+v, error %v", src, r, last, err)
			continue
		}
		var got bytes.Buffer
		if _, err := maintain.RestoreTo(t.Context(), client, &got, maintain.RestoreOptions{}); err != nil || !bytes.Equal(got.Bytes(), image) {
			t.Errorf("%T: restored %d bytes, error %v, want the %d bytes that were imported", src, got.Len(), err, len(image))
		}
	}
}

func isEmpty(t testing.TB, client replica.Client) {
	t.Helper()
	if _, err := maintain.Inspect(t.Context(), client, maintain.Requests{}); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("the replica is not empty: %v", err)
	}
}

// Find finds replicas in folders, and says what is at a place without them.
func TestFind(t *testing.T) {
	dir, err := filepath.Abs("../testdata/replicas")
	if err != nil {
		t.Fatal(err)
	}
	url := "file://" + filepath.ToSlash(dir)
	found, err := maintain.Find(t.Context(), url, maintain.Requests{})
	if err != nil || len(found.URLs) < 20 || len(found.Partial) > 0 {
		t.Fatalf("found %+v, error %v", found, err)
	}
	for _, want := range []string{url + "/compacted", url + "/broken/base"} {
		if !slices.Contains(found.URLs, want) {
			t.Errorf("%s was not found", want)
		}
	}
	if found, err := maintain.Find(t.Context(), url+"/compacted", maintain.Requests{}); err != nil || len(found.URLs) != 1 {
		t.Errorf("a replica: found %+v, error %v", found, err)
	}
	if _, err := maintain.Find(t.Context(), url+"/nothing", maintain.Requests{}); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("nothing: error %v", err)
	}
}

// Find looks up to four folders deep. What is no replica does not matter below the URL
// that was asked for, but a folder that cannot be looked at does. Every client is closed,
// and tells if that fails.
func TestFind_Deep(t *testing.T) {
	dir := t.TempDir()
	src, _ := database(t)
	for _, name := range []string{"1/2/3/4", "1/2/other/4/5", "near"} {
		if _, err := maintain.Import(t.Context(), file.NewReplicaClient(filepath.Join(dir, filepath.FromSlash(name))), src, maintain.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"old/generations/0123456789abcdef/snapshots", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var opened, closed atomic.Int64
	var closeErr error
	refused, unknown := "", ""
	replica.Register("closing", func(_, _, path string, _ url.Values, _ *url.Userinfo) (replica.Client, error) {
		if path == refused {
			return nil, fs.ErrPermission
		}
		opened.Add(1)
		return closing{file.NewReplicaClient(filepath.Join(dir, filepath.FromSlash(path))), func() error { closed.Add(1); return closeErr }, path == unknown}, nil
	})
	found, err := maintain.Find(t.Context(), "closing:///", maintain.Requests{})
	if want := []string{"closing:///1/2/3/4", "closing:///near"}; err != nil || !slices.Equal(found.URLs, want) {
		t.Errorf("found %+v, error %v, want %v", found, err, want)
	}
	if opened.Load() != closed.Load() || opened.Load() < 8 {
		t.Errorf("%d clients, of which %d were closed", opened.Load(), closed.Load())
	}
	refused = "/1/2"
	if found, err := maintain.Find(t.Context(), "closing:///", maintain.Requests{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder is refused: found %+v, error %v", found, err)
	}
	refused, unknown = "", "/empty"
	if found, err := maintain.Find(t.Context(), "closing:///", maintain.Requests{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the names of a folder are refused: found %+v, error %v", found, err)
	}
	unknown = ""
	closeErr = errors.New("broken pipe")
	if _, err := maintain.Find(t.Context(), "closing:///near", maintain.Requests{}); !errors.Is(err, closeErr) {
		t.Errorf("a client cannot be closed: error %v", err)
	}
	if _, err := maintain.Find(t.Context(), "closing:///old", maintain.Requests{}); err == nil || !strings.Contains(err.Error(), "Litestream v0.3") {
		t.Errorf("a replica of Litestream v0.3: error %v", err)
	}
}

// closing is a client with a Close method, which may be unable to tell what lies at a
// place.
type closing struct {
	*file.ReplicaClient
	close   func() error
	unknown bool
}

func (c closing) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	if c.unknown {
		return replica.Survey{}, fs.ErrPermission
	}
	return c.ReplicaClient.Survey(ctx, dir)
}

func (c closing) Close() error { return c.close() }

// Inspect counts what lies on each level, and what a restore of the newest state reads.
func TestInspect(t *testing.T) {
	b := layered(t)
	var levels [view.Levels]maintain.LevelInfo
	var all, open int64
	for k, body := range b {
		levels[k.Level].Bytes += int64(len(body))
		all += int64(len(body))
		if k == key(9, 1, 10) || k == key(1, 9, 12) || k.Level == 0 && k.MinTXID > 12 {
			open += int64(len(body))
		}
	}
	want := []maintain.LevelInfo{
		{Level: 0, Files: 16, Bytes: levels[0].Bytes, MinTXID: 1, MaxTXID: 16},
		{Level: 1, Files: 3, Bytes: levels[1].Bytes, MinTXID: 1, MaxTXID: 12},
		{Level: 2, Files: 1, Bytes: levels[2].Bytes, MinTXID: 1, MaxTXID: 8},
		{Level: 9, Files: 2, Bytes: levels[9].Bytes, MinTXID: 1, MaxTXID: 10},
	}
	info, err := maintain.Inspect(t.Context(), b, maintain.Requests{})
	if err != nil || !slices.Equal(info.Levels, want) || info.Files != 22 || info.Bytes != all {
		t.Errorf("%+v, error %v, want levels %+v", info, err, want)
	}
	if info.Open != 6 || info.OpenBytes != open || info.Moments != 16 || info.Oldest.TXID != 1 || info.Newest.TXID != 16 {
		t.Errorf("%+v, want 6 files of %d bytes for the newest of 16 states", info, open)
	}
}

// History has the states in order, with their times.
func TestHistory(t *testing.T) {
	b, _ := large(t)
	points, err := maintain.History(t.Context(), b, time.Time{}, maintain.Requests{})
	if err != nil || len(points) != 4 || points[1].TXID != 8 || points[1].Time.UnixMilli() != 1_700_000_008_000 {
		t.Errorf("history %v, error %v", points, err)
	}
	points, err = maintain.History(t.Context(), b, time.UnixMilli(1_700_000_009_000), maintain.Requests{})
	if err != nil || len(points) != 2 || points[0].TXID != 9 {
		t.Errorf("history since transaction 9: %v, error %v", points, err)
	}
}
