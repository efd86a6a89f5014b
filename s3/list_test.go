package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/s3"
)

// A listing that a server cuts, or does not sort, is an error and no end.
func TestList_WrongAnswers(t *testing.T) {
	name := func(txid ltx.TXID) string {
		return "<Contents><Key>r/0000/" + ltx.FormatFilename(txid, txid) + "</Key><Size>5</Size></Contents>"
	}
	const whole = "<IsTruncated>false</IsTruncated>"
	for what, answer := range map[string]string{
		"order":    whole + name(2) + name(1),
		"twice":    whole + name(1) + name(1),
		"no size":  whole + "<Contents><Key>r/0000/" + ltx.FormatFilename(1, 1) + "</Key></Contents>",
		"no token": name(1) + "<IsTruncated>true</IsTruncated>",
		"loop":     "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>",
		"garbage":  whole + "<Contents",
	} {
		c := fakeClient(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<ListBucketResult>"+answer+"</ListBucketResult>")
		})
		if files, err := list(t.Context(), c, false); err == nil {
			t.Errorf("%s: %d files and no error", what, len(files))
		}
	}
}

// Timestamps: what is gone meanwhile is left out, what has none keeps its date.
func TestTimestamps(t *testing.T) {
	const files = 40
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodHead {
			_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated>")
			for txid := ltx.TXID(1); txid <= files; txid++ {
				fmt.Fprintf(w, "<Contents><Key>r/0000/%s</Key><Size>5</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>", ltx.FormatFilename(txid, txid))
			}
			_, _ = io.WriteString(w, "</ListBucketResult>")
			return
		}
		switch _, maxTXID, _ := ltx.ParseFilename(req.URL.Path[len("/bucket/r/0000/"):]); maxTXID % 4 {
		case 0:
			w.WriteHeader(http.StatusNotFound)
		case 1:
			w.Header().Set("Last-Modified", "Fri, 02 Jan 2026 00:00:00 GMT")
		case 2:
			w.Header().Set("X-Amz-Meta-Litestream-Timestamp", "nonsense")
		case 3:
			w.Header().Set("X-Amz-Meta-Litestream-Timestamp", "2025-01-01T00:00:00.123456789Z")
		}
	})
	got, err := list(t.Context(), c, true)
	if err != nil || len(got) != files*3/4 {
		t.Fatalf("%d files, %v", len(got), err)
	}
	want := map[ltx.TXID]string{1: "2026-01-02T00:00:00Z", 2: "2026-01-01T00:00:00Z", 3: "2025-01-01T00:00:00.123456789Z"}
	for i, info := range got {
		if i > 0 && info.MinTXID <= got[i-1].MinTXID {
			t.Errorf("%s comes after %s", info.MinTXID, got[i-1].MinTXID)
		}
		if at := info.CreatedAt.Format(time.RFC3339Nano); at != want[info.MinTXID%4] {
			t.Errorf("%s is of %s", info.MinTXID, at)
		}
	}

	// A failure is one of the listing.
	c = fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>r/0000/%s</Key><Size>5</Size></Contents></ListBucketResult>", ltx.FormatFilename(1, 1))
	})
	if _, err := list(t.Context(), c, true); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// As many requests for timestamps are under way as there may be.
func TestTimestamps_Concurrency(t *testing.T) {
	noEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		const files, limit = 40, 4
		var under, heads atomic.Int64
		next := make(chan struct{})
		c := s3.NewReplicaClient()
		c.AccessKeyID, c.SecretAccessKey, c.Bucket, c.Path, c.Region = testKey, testSecret, "bucket", "r", "us-east-1"
		c.MetadataConcurrency = limit
		c.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			resp := answer(req, 200, "", "")
			resp.Header.Set("Etag", `"x"`)
			resp.Header.Set("X-Amz-Request-Id", "r")
			if req.Method == http.MethodHead {
				heads.Add(1)
				under.Add(1)
				<-next
				under.Add(-1)
				return resp, nil
			}
			var b strings.Builder
			for txid := ltx.TXID(1); txid <= files; txid++ {
				fmt.Fprintf(&b, "<Contents><Key>r/0000/%s</Key><Size>5</Size></Contents>", ltx.FormatFilename(txid, txid))
			}
			resp.Body = io.NopCloser(strings.NewReader("<ListBucketResult><IsTruncated>false</IsTruncated>" + b.String() + "</ListBucketResult>"))
			return resp, nil
		})
		done := make(chan error, 1)
		go func() {
			got, err := list(t.Context(), c, true)
			if err == nil && len(got) != files {
				err = fmt.Errorf("%d files", len(got))
			}
			done <- err
		}()
		for i := range files {
			synctest.Wait()
			if n := under.Load(); n != min(limit, int64(files-i)) {
				t.Errorf("after %d answers, %d requests are under way", i, n)
			}
			next <- struct{}{}
		}
		if err := <-done; err != nil || heads.Load() != files {
			t.Errorf("%v, %d requests", err, heads.Load())
		}
	})
}

// Deletions: batches of 1,000 with both checksums, and what single files fail of.
func TestDelete(t *testing.T) {
	var sizes []int
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		sizes = append(sizes, bytes.Count(body, []byte("<Key>")))
		if req.Header.Get("Content-Md5") == "" || !bytes.Contains(body, []byte("<Quiet>true</Quiet>")) || req.Header.Get("Accept-Encoding") != "" {
			t.Errorf("header %v, body %.200s", req.Header, body)
		}
		_, _ = io.WriteString(w, "<DeleteResult>")
		if len(sizes) == 3 {
			fmt.Fprintf(w, "<Error><Key>r/0000/%s</Key><Code>AccessDenied</Code><Message>no</Message></Error>", ltx.FormatFilename(7, 7))
			_, _ = io.WriteString(w, "<Error><Key>x</Key><Code>NoSuchKey</Code></Error>")
		}
		_, _ = io.WriteString(w, "</DeleteResult>")
	})
	infos := make([]*ltx.FileInfo, 2500)
	for i := range infos {
		infos[i] = &ltx.FileInfo{MinTXID: ltx.TXID(i + 1), MaxTXID: ltx.TXID(i + 1)}
	}
	err := c.DeleteLTXFiles(t.Context(), infos)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), ltx.FormatFilename(7, 7)) || !strings.Contains(err.Error(), "1 could not") {
		t.Errorf("got %v", err)
	}
	if fmt.Sprint(sizes) != "[1000 1000 500]" {
		t.Errorf("batches of %d", sizes)
	}
	if err := c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{nil}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
}

func FuzzListing(f *testing.F) {
	header := http.Header{"X-Amz-Request-Id": {"1"}, "Etag": {`"x"`}, "X-Amz-Meta-Litestream-Timestamp": {"2026-01-02T03:04:05.678Z"}}
	file := func(level int, txid ltx.TXID) string {
		return fmt.Sprintf(`<Contents><Key>r/%04x/%s</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"x"</ETag><Size>5</Size></Contents>`, level, ltx.FormatFilename(txid, txid))
	}
	storetest.FuzzListing(f, header, func(tr http.RoundTripper) replica.Client {
		c := s3.NewReplicaClient()
		c.AccessKeyID, c.SecretAccessKey, c.Region, c.Endpoint, c.Bucket, c.Path = testKey, testSecret, "us-east-1", "http://127.0.0.1:1", "bucket", "r"
		c.Transport = tr
		return c
	},
		"<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>"+file(0, 2)+file(0, 3)+"</ListBucketResult>",
		"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"+file(0, 1)+file(9, 2)+"<Contents><Key>r/0000/x</Key></Contents></ListBucketResult>",
		`<ListBucketResult><EncodingType>url</EncodingType><Prefix>r%2F0000%2F</Prefix><Contents><Key>r%2F0000%2F%30</Key><Size>-1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>`,
	)
}
