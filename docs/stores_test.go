package docs_test

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	_ "github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/https"
	_ "github.com/ltxvfs/litestream/nats"
	_ "github.com/ltxvfs/litestream/oss"
	_ "github.com/ltxvfs/litestream/s3"
	_ "github.com/ltxvfs/litestream/sftp"
	_ "github.com/ltxvfs/litestream/webdav"
)

// TestStores checks that the pages about stores have URLs that clients
// understand, and parameters that exist.
func TestStores(t *testing.T) {
	placeholders := strings.NewReplacer("ACCOUNT", "123456789012", "REGION", "eu-west-1", "NAME", "name")
	bases := map[string]string{"s3": "s3://bucket/path", "gcs": "gs://bucket/path", "azure": "abs://account@container/path", "file": "file:///path", "sftp": "sftp://user@host/path", "nats": "nats://host/bucket", "https": "https://host/path", "oss": "oss://bucket/path", "webdav": "webdavs://host/path"}
	urls, parameters := 0, 0
	for _, page := range files(t, ".md") {
		dir, name := filepath.Split(page)
		base, ok := bases[strings.TrimSuffix(name, ".md")]
		if dir != "docs/stores/" || !ok {
			continue
		}
		text := readFile(t, page)
		_, prose := parse(text)
		for _, line := range prose {
			example, ok := strings.CutPrefix(line, "    ")
			if !ok {
				continue
			}
			urls++
			if _, err := litestream.NewReplicaClientFromURL(placeholders.Replace(example)); err != nil {
				t.Errorf("%s: %s: %v", page, example, err)
			}
		}
		unknown := func(parameter string) bool {
			_, err := litestream.NewReplicaClientFromURL(base + "?" + url.Values{parameter: {"1"}}.Encode())
			return err != nil && (strings.Contains(err.Error(), "unknown") || strings.Contains(err.Error(), "no parameter"))
		}
		if !unknown("wrong") {
			t.Errorf("%s: a parameter that does not exist is accepted", base)
		}
		for _, parameter := range codeOf(text, "parameter") {
			parameters++
			if unknown(parameter) {
				t.Errorf("%s: there is no parameter %s", page, parameter)
			}
		}
	}
	if urls < 10 || parameters < 20 {
		t.Errorf("%d URLs and %d parameters found", urls, parameters)
	}
}
