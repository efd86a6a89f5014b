package https

import (
	"runtime"
	"strings"
	"testing"
)

// A listing in JSON ends at the first item that is none, and not in the memory that
// millions of them take.
func TestParseJSON(t *testing.T) {
	const size = 4 << 20
	body := []byte("[" + strings.Repeat("{},", size/3) + "{}]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	entries, ok := parseJSON(body)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; ok || took > size {
		t.Errorf("%d entries, %v, %d MB for %d MB of text", len(entries), ok, took>>20, size>>20)
	}
	for body, want := range map[string]int{
		`[{"name":"a","type":"file"},{"name":"b","type":"directory"}]`: 2, `[]`: 0, `[{"name":"a","type":"file"}`: -1, `[{"name":"a","type":"file"}] x`: -1,
		`[{"name":"a"}]`: -1, `{}`: -1, `[1]`: -1, `[{"name":"../a","type":"file"}]`: 0,
	} {
		if entries, ok := parseJSON([]byte(body)); ok != (want >= 0) || ok && len(entries) != want {
			t.Errorf("%s: %v, %v", body, entries, ok)
		}
	}
}
