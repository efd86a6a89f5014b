package https

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
)

// FuzzListing checks that whatever a server sends as index.json, as the page of a folder
// or as the listing of a bucket has only names of LTX files or of what lies directly in
// the folder, or is an error.
func FuzzListing(f *testing.F) {
	const name = "0000000000000001-0000000000000001.ltx"
	index, err := webindex.Encode(webindex.Index{Files: []webindex.File{{Name: "ltx/0/" + name, Size: 7}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	for _, page := range []string{
		`<html><title>Index of /a/</title><a href="../">../</a><a href="%s">x</a>   28-Nov-2026 20:00                1234` + "\n" + `<a href='0/'>0/</a><a href="%%2e%%2e">up</a></html>`,
		`<pre><a href="%%2e%%2e/">..</a><a href="a%%2Fb">b</a><a href="//[">x</a><a href="/a/%s?C=M">y</a>`,
		`[{"name":"0","type":"directory","mtime":"Sat, 28 Nov 2026 20:00:00 GMT"},{"name":"%s","type":"file","size":-3},{"name":"../x","type":"file"},{"name":"..","type":"directory"}]`,
		`<ListBucketResult><Contents><Key>data/ltx/0/%s</Key><Size>3</Size></Contents><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>`,
	} {
		f.Add([]byte(fmt.Sprintf(page, name)))
	}
	folder := &url.URL{Scheme: "https", Host: "example.com", Path: "/a/"}
	f.Fuzz(func(t *testing.T, body []byte) {
		doc := &document{url: folder, body: body}
		var files []listed
		if x, err := parseIndex(doc); err == nil {
			files = append(files, x.files...)
		}
		if page, _, err := parseListing(body, "data/"); err == nil {
			files = append(files, page...)
		}
		for _, file := range files {
			if parsed, _, ok := parseName(file.name); !ok || parsed != file.File || file.size < 0 {
				t.Errorf("listing has %q of %d bytes", file.name, file.size)
			}
		}
		entries, _ := parseJSON(body)
		more, _, _ := parseHTML(doc)
		for _, e := range append(entries, more...) {
			if clientio.CheckDir(e.name+"/") != nil || e.size < -1 {
				t.Errorf("folder has %q of %d bytes", e.name, e.size)
			}
		}
	})
}
