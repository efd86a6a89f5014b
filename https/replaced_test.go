package https_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/webindex"
)

// versions returns the versions of the files of level 0 as a listing reports them.
func versions(t *testing.T, c *https.ReplicaClient) map[ltx.TXID]string {
	t.Helper()
	found := map[ltx.TXID]string{}
	ctx := clientio.WithVersionNoter(t.Context(), func(info *ltx.FileInfo, version string) { found[info.MinTXID] = version })
	infos, err := list(ctx, c)
	if err != nil || len(infos) != len(found) {
		t.Fatalf("%d files with %d versions, %v", len(infos), len(found), err)
	}
	return found
}

// publishFiles writes an index with files of level 0, and the time of all of them.
func publishFiles(t *testing.T, w *served, at time.Time, sizes map[ltx.TXID]int64) {
	t.Helper()
	index := webindex.Index{Published: at}
	for txid, size := range sizes {
		index.Files = append(index.Files, webindex.File{Name: "ltx/0/" + ltx.FormatFilename(txid, txid), Size: size, Time: at})
	}
	b, err := webindex.Encode(index)
	if err = errors.Join(err, w.folder.WriteIndex(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
}

// A file that an index lists with another time is another version, although no read has
// seen it, and so is one that an index has lacked in between.
func TestIndex_FileReplaced(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	sizes := map[ltx.TXID]int64{1: 1000}
	publishFiles(t, w, time.UnixMilli(1000), sizes)
	v := versions(t, c)[1]
	publishFiles(t, w, time.UnixMilli(1000), sizes)
	if next := versions(t, c)[1]; next != v {
		t.Errorf("nothing has changed, and version %s is %s now", v, next)
	}
	publishFiles(t, w, time.UnixMilli(2000), sizes)
	next := versions(t, c)[1]
	if next == v {
		t.Errorf("a file of another time has version %s still", v)
	}
	publishFiles(t, w, time.UnixMilli(2000), nil)
	if left := versions(t, c); len(left) != 0 {
		t.Errorf("versions are %v, and there are no files", left)
	}
	publishFiles(t, w, time.UnixMilli(2000), sizes)
	if again := versions(t, c)[1]; again == v || again == next {
		t.Errorf("a file that was gone has version %s, which it had before", again)
	}
}

// A read of a file that is replaced before the listing has the version of the listing
// only if the listing says the same as the index by which the file was found.
func TestIndex_ReadBeforeListing(t *testing.T) {
	for name, tt := range map[string]struct {
		at   time.Time // in the index of the listing
		same bool
	}{
		"same":     {time.UnixMilli(1000), true},
		"replaced": {time.UnixMilli(2000), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
			body := encode(t, 1, 1, 5000)
			write(t, w, 1, body)
			sizes := map[ltx.TXID]int64{1: int64(len(body))}
			publishFiles(t, w, time.UnixMilli(1000), sizes)
			got := ""
			ctx := clientio.WithReadNoter(t.Context(), func(version string) { got = version })
			if b, err := read(ctx, c, 1, 0, 100); err != nil || !bytes.Equal(b, body[:100]) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			publishFiles(t, w, tt.at, sizes)
			if listed := versions(t, c)[1]; (got == listed) != tt.same {
				t.Errorf("a read has version %s, and the listing after it %s", got, listed)
			}
		})
	}
}

// A read whose answer comes after a listing that shows another version does not have
// that version, because the answer may be of the version before.
func TestRead_LateAnswer(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	body := encode(t, 1, 1, 5000)
	write(t, w, 1, body)
	sizes := map[ltx.TXID]int64{1: int64(len(body))}
	publishFiles(t, w, time.UnixMilli(1000), sizes)
	versions(t, c)
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".ltx") {
			asked <- struct{}{}
			<-goOn
		}
		return false
	})
	got, done := "", make(chan error, 1)
	go func() {
		_, err := read(clientio.WithReadNoter(t.Context(), func(version string) { got = version }), c, 1, 0, 100)
		done <- err
	}()
	select {
	case <-asked:
	case err := <-done:
		t.Fatal(err)
	}
	publishFiles(t, w, time.UnixMilli(2000), sizes)
	listed := versions(t, c)[1]
	release()
	if err := <-done; err != nil || got == "" || got == listed {
		t.Errorf("a read that began before a listing with version %s has version %q, %v", listed, got, err)
	}
	s.answer(nil)
	if b, err := read(withVersion(t.Context(), listed), c, 1, 0, 100); err != nil || !bytes.Equal(b, body[:100]) {
		t.Errorf("afterwards: %d bytes, %v", len(b), err)
	}
}

// A listing of folders, which tells no times, notices that the newest file was replaced
// by one of the same size. Then the files before it may be others, too, also if a read
// has met the new one before the listing.
func TestFolders_FileReplaced(t *testing.T) {
	for _, met := range []bool{false, true} {
		t.Run(fmt.Sprintf("met by a read=%t", met), func(t *testing.T) { foldersFileReplaced(t, met) })
	}
}

func foldersFileReplaced(t *testing.T, met bool) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	put := func(txid ltx.TXID, seed uint64, at time.Time) {
		t.Helper()
		write(t, w, txid, encode(t, txid, seed, 5000))
		path := filepath.Join(s.root, "app", "ltx", "0", ltx.FormatFilename(txid, txid))
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	put(1, 1, at)
	put(2, 2, at)
	first := versions(t, c)
	for txid := ltx.TXID(1); txid <= 2; txid++ {
		if _, err := read(withVersion(t.Context(), first[txid]), c, txid, 0, 100); err != nil {
			t.Fatal(err)
		}
	}
	put(3, 3, at)
	second := versions(t, c)
	if second[1] != first[1] || second[2] != first[2] {
		t.Errorf("versions %v are %v after a file was added", first, second)
	}
	if _, err := read(withVersion(t.Context(), second[3]), c, 3, 0, 100); err != nil {
		t.Fatal(err)
	}
	if next := versions(t, c); next[1] != second[1] || next[2] != second[2] || next[3] != second[3] {
		t.Errorf("versions %v are %v, and nothing has changed", second, next)
	}
	for txid := ltx.TXID(2); txid <= 3; txid++ {
		put(txid, uint64(txid), at.Add(time.Minute)) // the same content has the same size
	}
	if met {
		if _, err := read(withVersion(t.Context(), second[3]), c, 3, 0, 100); err == nil {
			t.Fatal("the file that was replaced is read as the one before")
		}
	}
	third := versions(t, c)
	for txid, v := range third {
		if v == second[txid] {
			t.Errorf("transaction %d has version %s still", txid, v)
		}
	}
	if len(third) != 3 {
		t.Errorf("%d files", len(third))
	}
	if _, err := read(withVersion(t.Context(), third[3]), c, 3, 0, 100); err != nil {
		t.Fatal(err)
	}
	if next := versions(t, c); next[1] != third[1] || next[2] != third[2] || next[3] != third[3] {
		t.Errorf("versions %v are %v, and nothing has changed since", third, next)
	}
}

// The newest file of a listing was merged and deleted when the next one is made. What
// was read before is what it was, and a file that no listing has shown is the only one
// whose size is asked for.
func TestFolders_NewestGone(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	for txid := ltx.TXID(1); txid <= 2; txid++ {
		write(t, w, txid, encode(t, txid, uint64(txid), 5000))
	}
	first := versions(t, c)
	for txid, v := range first {
		if _, err := read(withVersion(t.Context(), v), c, txid, 0, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(s.root, "app", "ltx", "0", ltx.FormatFilename(2, 2))); err != nil {
		t.Fatal(err)
	}
	write(t, w, 3, encode(t, 3, 3, 5000))
	write(t, w, 4, encode(t, 4, 4, 5000))
	s.take()
	second := versions(t, c)
	if second[1] != first[1] || len(second) != 3 {
		t.Errorf("versions %v are %v after the newest file was deleted", first, second)
	}
	if got := s.take(); strings.Count(got, "HEAD") != 2 || strings.Count(got, ltx.FormatFilename(1, 1)) != 1 {
		t.Errorf("the listing asks for\n%s", got)
	}
	// No read has seen the later ones, so they may be others at each listing.
	if third := versions(t, c); third[1] != first[1] || third[3] == second[3] || third[4] == second[4] {
		t.Errorf("versions %v are %v then", second, third)
	}
}

// A listing of one level does not change the version of a file of another one, which no
// read has seen.
func TestFolders_ByLevel(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	write(t, w, 1, encode(t, 1, 1, 5000))
	first := versions(t, c)
	for range 2 {
		if itr, err := c.LTXFiles(t.Context(), 1, 0, false); err != nil || itr.Close() != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(withVersion(t.Context(), first[1]), c, 1, 0, 100); err != nil {
		t.Error(err)
	}
}

// A file that was never read and that was replaced by one of another size is listed
// with that size.
func TestFolders_UnreadReplaced(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	for i, size := range []int{5000, 10000, 15000, 20000} {
		body := encode(t, 1, uint64(i), size)
		write(t, w, 1, body)
		infos, err := list(t.Context(), c)
		if err != nil || len(infos) != 1 || infos[0].Size != int64(len(body)) {
			t.Errorf("file of %d bytes is listed as %+v, %v", len(body), infos, err)
		}
	}
}

// If nothing is read but listings, the second listing reads the newest file. Versions
// stay from then on, until that file is replaced.
func TestFolders_NothingRead(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		write(t, w, txid, encode(t, txid, uint64(txid), 5000))
	}
	newest := filepath.Join(s.root, "app", "ltx", "0", ltx.FormatFilename(3, 3))
	versions(t, c)
	versions(t, c)
	before := versions(t, c)
	for year := 2020; year < 2023; year++ {
		if next := versions(t, c); !maps.Equal(next, before) {
			t.Errorf("versions %v are %v, and nothing has changed", before, next)
		}
		at := time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)
		if err := os.Chtimes(newest, at, at); err != nil { // another one of the same size, to the server
			t.Fatal(err)
		}
		next := versions(t, c)
		for txid, v := range next {
			if v == before[txid] {
				t.Errorf("transaction %d has version %s still", txid, v)
			}
		}
		before = next
	}
}

// A listing that is cancelled does not change what is known of files.
func TestFolders_ListingCancelled(t *testing.T) {
	s := newServer(t)
	w, c := newServed(t, s.URL, s.root, "app", false), newClient(t, s.URL+"/app")
	write(t, w, 1, encode(t, 1, 1, 5000))
	first := versions(t, c)
	if _, err := read(withVersion(t.Context(), first[1]), c, 1, 0, 100); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".ltx") {
			cancel()
			<-r.Context().Done()
		}
		return false
	})
	if _, err := list(ctx, c); err == nil {
		t.Error("the listing that was cancelled succeeds")
	}
	s.answer(nil)
	if next := versions(t, c); next[1] != first[1] {
		t.Errorf("version %s is %s after a listing that was cancelled", first[1], next[1])
	}
}

// A listing of a bucket, whose times may be in seconds, notices it, too.
func TestBucket_FileReplaced(t *testing.T) {
	s := newServer(t)
	name := "/" + storetest.Bucket + "/data/app/0000/" + ltx.FormatFilename(1, 1)
	body, tag := encode(t, 1, 1, 5000), `"a"`
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == name:
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		case r.URL.Query().Get("prefix") == "data/app/":
			w.Header().Set("Content-Type", "application/xml")
			_, _ = w.Write([]byte(`<ListBucketResult><Contents><Key>data/app/0000/` + ltx.FormatFilename(1, 1) +
				`</Key><Size>` + strconv.Itoa(len(body)) + `</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents><IsTruncated>false</IsTruncated></ListBucketResult>`))
		default:
			http.NotFound(w, r)
		}
		return true
	})
	c := newClient(t, s.URL+"/"+storetest.Bucket+"/data/app")
	v := versions(t, c)[1]
	if _, err := read(withVersion(t.Context(), v), c, 1, 0, 100); err != nil {
		t.Fatal(err)
	}
	if next := versions(t, c)[1]; next != v {
		t.Errorf("nothing has changed, and version %s is %s now", v, next)
	}
	tag = `"b"`
	if next := versions(t, c)[1]; next == v {
		t.Errorf("a file that was replaced has version %s still", v)
	}
}
