package rowjson

import (
	"encoding/json"
	"testing"
)

// FuzzObject makes objects of any names and values. Each is valid JSON with all of
// its columns.
func FuzzObject(f *testing.F) {
	f.Add("a", "b", "text", []byte("blob"), int64(-1), 0.5)
	f.Add("\x00\"", "\xff", "\u2028<>&", []byte(nil), int64(-1<<63), 1e308)
	f.Fuzz(func(t *testing.T, a, b, text string, blob []byte, n int64, x float64) {
		s, err := Object([]string{a, b, "c", "d", "e"}, []any{text, blob, n, x, nil})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(s), &got); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		for _, column := range []string{"c", "d", "e"} {
			if _, ok := got[column]; !ok {
				t.Errorf("%s has no %s", s, column)
			}
		}
	})
}
