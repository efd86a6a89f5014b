package abs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/abs"
)

// files returns infos of transactions 1 to n, which exist where put is set.
func files(t *testing.T, c *abs.ReplicaClient, n int, put bool) []*ltx.FileInfo {
	t.Helper()
	var infos []*ltx.FileInfo
	for txid := ltx.TXID(1); txid <= ltx.TXID(n); txid++ {
		infos = append(infos, &ltx.FileInfo{MinTXID: txid, MaxTXID: txid})
		if !put {
			continue
		}
		if _, err := c.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(encode(t, txid, 0, 1))); err != nil {
			t.Fatal(err)
		}
	}
	return infos
}

func TestDeleteLTXFiles_Batches(t *testing.T) {
	c := newClient(t)
	rec := record(c, nil)
	infos := files(t, c, 5, true)
	rec.take()
	if err := c.DeleteLTXFiles(t.Context(), infos[:3]); err != nil {
		t.Fatal(err)
	}
	rec.want(t, "delete 3 files", "POST comp=batch")
	if err := c.DeleteLTXFiles(t.Context(), infos[3:4]); err != nil {
		t.Fatal(err)
	}
	rec.want(t, "delete a file", "DELETE")
	// Most of these are gone or never were.
	infos = files(t, c, 600, false)
	if err := c.DeleteLTXFiles(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	rec.want(t, "delete 600 files", "POST comp=batch", "POST comp=batch", "POST comp=batch")
	if left, err := listAll(t.Context(), c, 0); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, error %v", len(left), err)
	}
	for _, bad := range []*ltx.FileInfo{nil, {Level: 10, MinTXID: 1, MaxTXID: 1}} {
		rec.take()
		if err := c.DeleteLTXFiles(t.Context(), append(infos[:1:1], bad)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: got error %v", bad, err)
		}
		rec.want(t, "delete what cannot be")
	}
}

// Accounts, credentials and servers that take no batches.
func TestDeleteLTXFiles_BatchRefused(t *testing.T) {
	const multipart = "multipart/mixed; boundary=b"
	part := func(id, status string) string {
		return "--b\r\nContent-Type: application/http\r\nContent-ID: " + id + "\r\n\r\nHTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n"
	}
	for _, tt := range []struct {
		name string
		resp func() *http.Response
	}{
		{"no such request", func() *http.Response { return answer(400, "InvalidQueryParameterValue", "application/xml", "") }},
		{"hierarchical namespace", func() *http.Response {
			return answer(409, "FeatureNotSupportedForAccount", "application/xml", "")
		}},
		{"permission", func() *http.Response {
			return answer(403, "AuthorizationPermissionMismatch", "application/xml", "")
		}},
		{"not implemented", func() *http.Response { return answer(501, "", "text/plain", "") }},
		{"each part", func() *http.Response {
			return answer(202, "", multipart, part("0", "403 no")+part("1", "403 no")+part("2", "403 no")+"--b--\r\n")
		}},
		{"not an answer to a batch", func() *http.Response { return answer(202, "", "text/plain", "secret") }},
		{"a part of none", func() *http.Response {
			return answer(202, "", multipart, part("0", "202 ok")+part("7", "404 no")+"--b--\r\n")
		}},
		{"a part that fails without a number", func() *http.Response {
			return answer(202, "", multipart, part("0", "202 ok")+strings.Replace(part("", "404 no"), "Content-ID: \r\n", "", 1)+"--b--\r\n")
		}},
		{"parts missing", func() *http.Response { return answer(202, "", multipart, part("0", "202 ok")+"--b--\r\n") }},
		{"cut off", func() *http.Response { return answer(202, "", multipart, part("0", "202 ok")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			infos := files(t, c, 3, true)
			c = keyClient(t, c.Bucket)
			rec := record(c, func(r *http.Request) *http.Response {
				if r.Method == http.MethodPost {
					return tt.resp()
				}
				return nil
			})
			for _, want := range [][]string{{"POST comp=batch", "DELETE", "DELETE", "DELETE"}, {"DELETE", "DELETE", "DELETE"}} {
				if err := c.DeleteLTXFiles(t.Context(), infos); err != nil {
					t.Fatal(err)
				}
				rec.want(t, "delete", want...)
			}
			if left, err := listAll(t.Context(), c, 0); err != nil || len(left) > 0 {
				t.Errorf("%d files are left, error %v", len(left), err)
			}
		})
	}

	t.Run("a part for now", func(t *testing.T) {
		c := newClient(t)
		rec := record(c, func(*http.Request) *http.Response {
			return answer(202, "", multipart, part("0", "202 ok")+part("1", "503 busy")+part("2", "202 ok")+"--b--\r\n")
		})
		if err := c.DeleteLTXFiles(t.Context(), files(t, c, 3, false)); err == nil || permanent(err) {
			t.Errorf("got error %v, want a transient one", err)
		}
		rec.want(t, "delete", "POST comp=batch")
	})
}
