package gs_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// A listing has what it needs by itself: a request for each 1,000 objects.
func TestLTXFiles_Requests(t *testing.T) {
	const files = 2500
	key := func(i int) string {
		return "db/ltx/0/" + ltx.FormatFilename(ltx.TXID(i), ltx.TXID(i))
	}
	var queries []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		queries = append(queries, q.Get("startOffset")+" "+q.Get("maxResults")+" "+q.Get("fields")+" "+q.Get("projection"))
		start := 1
		_, _ = fmt.Sscan(q.Get("pageToken"), &start)
		var items []any
		for i := start; i < start+1000 && i <= files; i++ {
			items = append(items, map[string]any{
				"name": key(i), "size": "123", "timeCreated": "2026-01-02T03:04:05.678Z",
				"metadata": map[string]string{"litestream-timestamp": "2025-01-02T03:04:05.678901234Z"},
			})
		}
		answer := map[string]any{"kind": "storage#objects", "items": items}
		if start+1000 <= files {
			answer["nextPageToken"] = fmt.Sprint(start + 1000)
		}
		reply(w, 200, answer)
	})
	infos, err := list(t.Context(), s.client(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != files {
		t.Fatalf("%d files, want %d", len(infos), files)
	}
	want := ltx.FileInfo{MinTXID: files, MaxTXID: files, Size: 123, CreatedAt: time.Date(2025, 1, 2, 3, 4, 5, 678901234, time.UTC)}
	if got := *infos[files-1]; got != want {
		t.Errorf("last is %+v, want %+v", got, want)
	}
	if asked := s.asked(); len(asked) != 3 {
		t.Errorf("requests: %q", asked)
	}
	for _, want := range []string{" 1000 kind,nextPageToken,", "metadata", "name", "size", "timeCreated", " noAcl"} {
		if !strings.Contains(queries[0], want) || strings.Contains(queries[0], "acl") {
			t.Errorf("query is %q, want it with %q and without acl", queries[0], want)
		}
	}

	queries = nil
	itr, err := s.client(t).LTXFiles(t.Context(), 0, 0x1234, false)
	if err != nil {
		t.Fatal(err)
	}
	itr.Next()
	if err := itr.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "db/ltx/0/0000000000001234 1000"; len(queries) == 0 || queries[0][:len(want)] != want {
		t.Errorf("listing from a seek: %q", queries)
	}
}

// An object that a tool has copied has the time of the copy.
func TestLTXFiles_WithoutMetadata(t *testing.T) {
	bucket := newBucket(t)
	c := newClient(t, bucket.BucketName())
	before := time.Now().Add(-time.Minute)
	place(t, c, "some/path/ltx/0/"+ltx.FormatFilename(1, 1), body(t, 1))
	infos, err := list(t.Context(), c)
	if err != nil || len(infos) != 1 {
		t.Fatalf("got %v, %v", infos, err)
	}
	if got := infos[0].CreatedAt; got.Before(before) || got.Location() != time.UTC {
		t.Errorf("CreatedAt is %v", got)
	}
}

// A listing that fails on its second page is an error.
func TestLTXFiles_FailsLater(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("pageToken") != "" {
			refuse(w, 503, "backendError", "Again.")
			return
		}
		items := make([]any, 1000)
		for i := range items {
			items[i] = map[string]any{"name": "db/ltx/0/" + ltx.FormatFilename(ltx.TXID(i+1), ltx.TXID(i+1))}
		}
		reply(w, 200, map[string]any{"kind": "storage#objects", "items": items, "nextPageToken": "2"})
	})
	infos, err := list(t.Context(), s.client(t))
	wantError(t, err, "transient", "list level 0", "503")
	if asked := s.asked(); len(asked) != 2 {
		t.Errorf("%d files, requests: %q", len(infos), asked)
	}
}

// Deletions go 16 at a time, and no more.
func TestDeleteLTXFiles_Parallel(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	all := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		running++
		most = max(most, running)
		if running == 16 && most == 16 {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		mu.Unlock()
		<-all
		mu.Lock()
		running--
		mu.Unlock()
		w.WriteHeader(204)
	})
	var infos []*ltx.FileInfo
	for txid := ltx.TXID(1); txid <= 100; txid++ {
		infos = append(infos, &ltx.FileInfo{MinTXID: txid, MaxTXID: txid})
	}
	if err := s.client(t).DeleteLTXFiles(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); len(asked) != 100 || most != 16 {
		t.Errorf("%d requests, %d at once, want 100 and 16", len(asked), most)
	}
	wantError(t, s.client(t).DeleteLTXFiles(t.Context(), []*ltx.FileInfo{nil}), "invalid")
	wantError(t, s.client(t).DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: 10}}), "invalid")
}

func FuzzListing(f *testing.F) {
	file := func(level int, txid ltx.TXID) string {
		return fmt.Sprintf(`{"bucket":"bucket","name":"r/ltx/%d/%s","size":"5","timeCreated":"2026-01-02T03:04:05.678Z","generation":"7","metadata":{"litestream-timestamp":"2025-01-02T03:04:05.678901234Z"}}`,
			level, ltx.FormatFilename(txid, txid))
	}
	storetest.FuzzListing(f, http.Header{"Content-Type": {"application/json"}}, func(tr http.RoundTripper) replica.Client {
		c := gs.NewReplicaClient()
		c.Endpoint, c.Bucket, c.Path, c.Transport = "http://127.0.0.1:1", "bucket", "r", tr
		return c
	},
		`{"kind":"storage#objects","items":[`+file(0, 2)+","+file(0, 3)+`]}`,
		`{"kind":"storage#objects","nextPageToken":"t","items":[`+file(0, 1)+","+file(9, 2)+`,{"name":"r/ltx/0/x"}]}`,
		`{"kind":"storage#objects","items":[{"name":"r/ltx/0/0000000000000001-0000000000000001.ltx","size":"18446744073709551615"}]}`,
		`{"kind":"storage#objects","items":[null,{"name":"r/ltx/0/\u0030"}]}`,
	)
}
