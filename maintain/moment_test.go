package maintain_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/maintain"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]struct {
		maintain.Moment
		shown string
	}{
		"":                          {maintain.Moment{}, "the newest state"},
		" Latest ":                  {maintain.Moment{}, "the newest state"},
		"000000000000001a":          {maintain.Moment{TXID: 26}, "transaction 000000000000001a"},
		"2026-01-02T15:04:05.5Z":    {maintain.Moment{Time: time.Date(2026, 1, 2, 15, 4, 5, 500_000_000, time.UTC)}, "2026-01-02T15:04:05.5Z"},
		"2026-01-02T15:04:05+02:00": {maintain.Moment{Time: time.Date(2026, 1, 2, 13, 4, 5, 0, time.UTC)}, "2026-01-02T13:04:05Z"},
		"5 minutes ago":             {maintain.Moment{Time: now.Add(-5 * time.Minute)}, "2026-03-01T08:55:00Z"},
	} {
		got, err := maintain.ParseMoment(text, now)
		if err != nil || got.TXID != want.TXID || !got.Time.Equal(want.Time) || got.String() != want.shown {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want.shown)
		}
	}
	for text, want := range map[string]string{
		"0000000000000000": "transactions begin with 0000000000000001",
		"1a":               "neither a transaction of 16 hex digits nor a time",
		"soon":             "neither a transaction of 16 hex digits nor a time",
	} {
		if _, err := maintain.ParseMoment(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Names of files and kinds are texts in JSON.
func TestTexts(t *testing.T) {
	name := maintain.FileName{Level: 1, MinTXID: 2, MaxTXID: 10}
	for _, tt := range []struct {
		value any
		want  string
	}{
		{name, `"1/0000000000000002-000000000000000a.ltx"`},
		{maintain.Damaged, `"damaged"`},
		{maintain.Unreadable, `"unreadable"`},
		{maintain.Missing, `"missing"`},
		{maintain.Misplaced, `"misplaced"`},
		{maintain.Disorder, `"disorder"`},
		{maintain.Conflict, `"conflict"`},
		{maintain.Kind(-1), `"Kind(-1)"`},
		{maintain.Kind(6), `"Kind(6)"`},
		{maintain.MakeSnapshot, `"snapshot"`},
	} {
		if got, err := json.Marshal(tt.value); err != nil || string(got) != tt.want {
			t.Errorf("%#v is %s, %v; want %s", tt.value, got, err, tt.want)
		}
	}
	finding := maintain.Finding{File: name, Err: errors.New("cut off")}
	for n, want := range map[int]string{
		0: "damaged: 1/0000000000000002-000000000000000a.ltx: cut off",
		1: "damaged: 1/0000000000000002-000000000000000a.ltx: cut off; lost: 0000000000000001",
		7: "damaged: 1/0000000000000002-000000000000000a.ltx: cut off; lost: 0000000000000001, 0000000000000003, 0000000000000005, 0000000000000007, 0000000000000009 and 2 more",
	} {
		finding.Lost = nil
		for i := range n {
			finding.Lost = append(finding.Lost, maintain.Range{First: ltx.TXID(2*i + 1), Last: ltx.TXID(2*i + 1)})
		}
		if got := finding.String(); got != want {
			t.Errorf("%d ranges: %q, want %q", n, got, want)
		}
	}
	for want, r := range map[string]maintain.Range{
		"0000000000000002":                     {First: 2, Last: 2},
		"0000000000000002 to 000000000000000a": {First: 2, Last: 10},
	} {
		if got := r.String(); got != want {
			t.Errorf("%d to %d is %q, want %q", r.First, r.Last, got, want)
		}
	}
}
