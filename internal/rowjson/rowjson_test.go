package rowjson_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/ltxvfs/litestream/internal/rowjson"
)

func TestObject(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string
	}{
		{nil, `null`},
		{int64(math.MinInt64), `-9223372036854775808`},
		{int64(12), `12`},
		{12.0, `12.0`},
		{-0.5, `-0.5`},
		{1e300, `1e+300`},
		{math.Copysign(0, -1), `-0.0`},
		{math.Inf(-1), `null`},
		{math.NaN(), `null`},
		{"", `""`},
		{"a \"quoted\"\n\x00 text", `"a \"quoted\"\n\u0000 text"`},
		{"\xff", "\"\\ufffd\""},
		{[]byte{}, `""`},
		{[]byte("\x00\x01\x02"), `"AAEC"`},
	} {
		got, err := rowjson.Object([]string{`a "b"`}, []any{tt.value})
		if want := `{"a \"b\"": ` + tt.want + `}`; err != nil || got != want {
			t.Errorf("%#v: got %s, %v, want %s", tt.value, got, err, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON", got)
		}
	}
	if got, err := rowjson.Object([]string{"a", "b"}, []any{int64(1), "x"}); err != nil || got != `{"a": 1, "b": "x"}` {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := rowjson.Object(nil, nil); err != nil || got != `{}` {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := rowjson.Object([]string{"a"}, []any{make(chan int)}); err == nil {
		t.Errorf("a channel is %s", got)
	}
}
