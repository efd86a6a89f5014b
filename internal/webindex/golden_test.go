package webindex

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/goldenfile"
)

// TestIndex_Golden reads and writes the list of files of testdata/formats.
func TestIndex_Golden(t *testing.T) {
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, "index-1.json", b)
	if got, err := Decode(goldenfile.Read(t, "index-1.json")); err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestDecode_NewerVersion decodes lists of a newer version. Whatever else has
// changed, the error names the version.
func TestDecode_NewerVersion(t *testing.T) {
	for _, text := range []string{
		`{"version":2,"published":"2026-01-02T03:04:05Z","files":[]}`,
		`{"version":2,"files":{"0":["0000000000000001-0000000000000001.ltx"]}}`,
		`{"version":2,"published":1767323045}`,
	} {
		_, err := Decode(encodeIndex([]byte(text)))
		if err == nil || !strings.Contains(err.Error(), "version is 2, want 1") {
			t.Errorf("%s: got error %v", text, err)
		}
	}
}
