package timeexpr

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// now is late on the last day of a month that is longer than the previous
// month.
var now = time.Date(2026, 3, 31, 15, 30, 45, 123456789, time.UTC)

func TestParse(t *testing.T) {
	tests := []struct{ in, want string }{
		// Absolute times.
		{"2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"},
		{"2024-01-02t03:04:05z", "2024-01-02T03:04:05Z"},
		{"  2024-01-02T03:04:05Z\n", "2024-01-02T03:04:05Z"},
		{"2024-01-02T03:04:05.000000001Z", "2024-01-02T03:04:05.000000001Z"},
		{"2024-01-02T03:04:05.678+02:00", "2024-01-02T01:04:05.678Z"},
		{"2024-01-02T03:04:05-11:30", "2024-01-02T14:34:05Z"},
		{"2024-01-02 03:04:05 +02:00", "2024-01-02T01:04:05Z"},
		{"2024-01-02 03:04:05 +0200", "2024-01-02T01:04:05Z"},
		{"2024-01-02 03:04:05-02", "2024-01-02T05:04:05Z"},
		{"2024-01-02 03:04+02:00", "2024-01-02T01:04:00Z"},
		{"2024-01-02 03:04", "2024-01-02T03:04:00Z"},
		{"2024-01-02T03:04", "2024-01-02T03:04:00Z"},
		{"2024-01-02 03:04:05", "2024-01-02T03:04:05Z"},
		{"2024-01-02T03:04:05", "2024-01-02T03:04:05Z"},
		{"2024-01-02 03:04:05.6", "2024-01-02T03:04:05.6Z"},
		{"2024-01-02 03:04:05 UTC", "2024-01-02T03:04:05Z"},
		{"2024-01-02 03:04 utc", "2024-01-02T03:04:00Z"},
		{"2024-01-02 03:04:05Z", "2024-01-02T03:04:05Z"},
		{"2024-01-02", "2024-01-02T00:00:00Z"},
		{"2024-02-29", "2024-02-29T00:00:00Z"},
		{"0000-01-01", "0000-01-01T00:00:00Z"},
		{"9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"},
		{"@0", "1970-01-01T00:00:00Z"},
		{"@1700000000", "2023-11-14T22:13:20Z"},
		{"@1700000000.123", "2023-11-14T22:13:20.123Z"},
		{"@1700000000.1234567891", "2023-11-14T22:13:20.123456789Z"},
		{"@-1.5", "1969-12-31T23:59:58.5Z"},

		// Words.
		{"now", "2026-03-31T15:30:45.123456789Z"},
		{"NOW", "2026-03-31T15:30:45.123456789Z"},
		{"today", "2026-03-31T00:00:00Z"},
		{"Yesterday", "2026-03-30T15:30:45.123456789Z"},
		{"last week", "2026-03-24T15:30:45.123456789Z"},
		{"last\t month", "2026-02-28T15:30:45.123456789Z"},
		{"last year", "2025-03-31T15:30:45.123456789Z"},

		// Offsets with one unit.
		{"5 minutes ago", "2026-03-31T15:25:45.123456789Z"},
		{"1 Minute Ago", "2026-03-31T15:29:45.123456789Z"},
		{"0 minutes ago", "2026-03-31T15:30:45.123456789Z"},
		{"5m ago", "2026-03-31T15:25:45.123456789Z"},
		{"5M ago", "2026-03-31T15:25:45.123456789Z"},
		{"5 min ago", "2026-03-31T15:25:45.123456789Z"},
		{"007 mins ago", "2026-03-31T15:23:45.123456789Z"},
		{"123 ms ago", "2026-03-31T15:30:45.000456789Z"},
		{"124msecs ago", "2026-03-31T15:30:44.999456789Z"},
		{"10s ago", "2026-03-31T15:30:35.123456789Z"},
		{"10 seconds ago", "2026-03-31T15:30:35.123456789Z"},
		{"2 hrs ago", "2026-03-31T13:30:45.123456789Z"},
		{"3d ago", "2026-03-28T15:30:45.123456789Z"},
		{"2w ago", "2026-03-17T15:30:45.123456789Z"},
		{"2 wks ago", "2026-03-17T15:30:45.123456789Z"},
		{"6mo ago", "2025-09-30T15:30:45.123456789Z"},
		{"1 month ago", "2026-02-28T15:30:45.123456789Z"},
		{"25 months ago", "2024-02-29T15:30:45.123456789Z"},
		{"1y ago", "2025-03-31T15:30:45.123456789Z"},
		{"2 yrs ago", "2024-03-31T15:30:45.123456789Z"},
		{"1000 years ago", "1026-03-31T15:30:45.123456789Z"},
		{"730485 days ago", "0026-03-31T15:30:45.123456789Z"},
		{"an hour ago", "2026-03-31T14:30:45.123456789Z"},
		{"a minute ago", "2026-03-31T15:29:45.123456789Z"},
		{"one day ago", "2026-03-30T15:30:45.123456789Z"},
		{"half an hour ago", "2026-03-31T15:00:45.123456789Z"},
		{"half a minute ago", "2026-03-31T15:30:15.123456789Z"},
		{"1.5 hours ago", "2026-03-31T14:00:45.123456789Z"},
		{"0.001s ago", "2026-03-31T15:30:45.122456789Z"},

		// Sums of several units.
		{"1 hour 30 minutes ago", "2026-03-31T14:00:45.123456789Z"},
		{"1h30m ago", "2026-03-31T14:00:45.123456789Z"},
		{"1h 30m ago", "2026-03-31T14:00:45.123456789Z"},
		{"2 hours and 5 minutes ago", "2026-03-31T13:25:45.123456789Z"},
		{"1 day, 2 hours, and 5m ago", "2026-03-30T13:25:45.123456789Z"},
		{"an hour and a minute ago", "2026-03-31T14:29:45.123456789Z"},
		{"1 month 1 day ago", "2026-02-27T15:30:45.123456789Z"},
		{"1 day 1 month ago", "2026-02-27T15:30:45.123456789Z"},
		{"1 year and 1 month ago", "2025-02-28T15:30:45.123456789Z"},

		// Offsets with a sign.
		{"-5m", "2026-03-31T15:25:45.123456789Z"},
		{"-1h30m", "2026-03-31T14:00:45.123456789Z"},
		{"-5 minutes", "2026-03-31T15:25:45.123456789Z"},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in, now)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
		} else if s := got.Format(time.RFC3339Nano); s != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, s, tt.want)
		}
	}
}

func TestParse_Error(t *testing.T) {
	syntax := []string{
		"", " ", "garbage", "ago", " ago", "-", "@", "@x", "@1.", "@.5", "@+1", "@1e9", "--5m", "-5m ago", "5", "5m", "m ago",
		"5 parsecs ago", "5 minutes", "in 5 minutes", "5 ago", "5 5 minutes ago", "5 minutes minutes ago",
		"and 5 minutes ago", "5 minutes and ago", "5 minutes, ago", ", ago", "5 minutes and and 5 minutes ago",
		"1..5 hours ago", "1. hours ago", ".5 hours ago", "1.5 months ago", "half a year ago", "half hour ago", "half an ago",
		"few minutes ago", "+5m", "5m ago ago", "5é ago", "5\x00m ago", "\xff", "last", "last century",
		"2024", "2024-01", "2024-1-2", "20240102", "2024-01-02x", "2024-01-02T", "2024-01-02 3", "2024-01-02 03",
		"2024-01-02 03:04:05 PST", "2024-01-02 03:04:05 +", "2024-01-02 03:04:05+2:00", "2024-01-02 03:04:05Z+02:00",
		"2024-01-02 03:04:05:06", "2024-01-02T03:04:05Z ago", "2024-01-02 UTC UTC", "12024-01-02", "-2024-01-02",
	}
	for _, in := range syntax {
		checkError(t, in, "5 minutes ago")
	}
	outOfRange := []string{
		"2024-13-01", "2024-02-30", "2023-02-29", "2024-01-02 25:00", "2024-01-02 03:60", "2024-01-02 03:04:60",
		"0000-01-01T00:00:00+00:01", "9999-12-31T23:59:00-00:01",
		"3000 years ago", "10001 years ago", "99999999999999999999 years ago", "9223372036854775807 ms ago",
		"9223372036854775807 months ago", "9223372036854775807 years ago", "9223372036854775807 weeks ago",
		"1537228672809129302 years ago", "30500568905 weeks ago", // these would wrap around to small values
		"9999 years and 9999 years ago", "316224000000000 ms 316224000000000 ms ago",
		"@9223372036854775807", "@-9223372036854775808", "@253402300800", "@-62167219201", "@99999999999999999999",
	}
	for _, in := range outOfRange {
		checkError(t, in, "out of range")
	}
}

func checkError(t *testing.T, in, want string) {
	t.Helper()
	got, err := Parse(in, now)
	if err == nil {
		t.Errorf("%q: got %v, want an error", in, got)
	} else if !strings.HasPrefix(err.Error(), "parse time \"") || !strings.Contains(err.Error(), want) {
		t.Errorf("%q: error %q does not mention %q", in, err, want)
	}
}

func TestParse_LongInput(t *testing.T) {
	for _, in := range []string{
		strings.Repeat("x", 1<<20),
		strings.Repeat("1m", 1<<19) + "x ago",
		"@" + strings.Repeat("1", 1<<20),
	} {
		if _, err := Parse(in, now); err == nil {
			t.Errorf("%.10q: no error", in)
		} else if len(err.Error()) > 400 {
			t.Errorf("%.10q: error of %d bytes", in, len(err.Error()))
		}
	}
}

// The zone of now must not matter: the result is the same as for the same
// instant in UTC.
func TestParse_ZoneOfNow(t *testing.T) {
	local := now.In(time.FixedZone("", -9*60*60))
	for _, in := range []string{"now", "today", "yesterday", "last month", "1 month 3h ago", "2024-01-02 03:04"} {
		want, err := Parse(in, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(in, local); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
}

// A time formatted as RFC 3339 parses to itself.
func TestParse_RoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lo, hi := time.Date(0, 1, 3, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 29, 0, 0, 0, 0, time.UTC).Unix()
	for range 20_000 {
		zone := time.FixedZone("", (rng.IntN(2*24*60-1)-24*60+1)*60)
		want := time.Unix(lo+rng.Int64N(hi-lo), rng.Int64N(1e9)).In(zone)
		in := want.Format(time.RFC3339Nano)
		got, err := Parse(in, now)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(want) || got.Location() != time.UTC {
			t.Fatalf("%q: got %v", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"2024-01-02T03:04:05.678+02:00", "2024-01-02 03:04:05 UTC", "2024-01-02", "@1700000000.5", "@-1", "now", "today",
		"yesterday", "last month", "5 minutes ago", "1 day, 2 hours and 5m ago", "half an hour ago", "1.5 weeks ago", "-1h30m",
		"99999999999999999999 years ago",
	} {
		f.Add(s, int64(1775000000))
	}
	f.Fuzz(func(t *testing.T, s string, sec int64) {
		at := time.Unix(sec, 0).UTC()
		got, err := Parse(s, at)
		if err != nil {
			if !got.IsZero() {
				t.Fatalf("%q: %v together with %v", s, got, err)
			}
			return
		}
		if got.Location() != time.UTC || got.Year() < 0 || got.Year() > 9999 {
			t.Fatalf("%q: got %v", s, got)
		}
		again, err := Parse(got.Format(time.RFC3339Nano), at)
		if err != nil || !again.Equal(got) {
			t.Fatalf("%q: %v, again %v, %v", s, got, again, err)
		}
	})
}
