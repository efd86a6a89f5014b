// Package timeexpr parses points in time in the notation of users, absolute or
// relative to now: "2026-01-02 15:04", "5 minutes ago", "yesterday".
//
// It supports only English and UTC, on purpose. General libraries either take
// hundreds of milliseconds and tens of megabytes to initialize, or guess where
// they should return an error. A wrong guess would show the wrong state of a
// database.
package timeexpr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var (
	errSyntax = errors.New(`unknown form; try "2026-01-02T15:04:05Z", "2026-01-02 15:04", "5 minutes ago", "yesterday" or "@1767366245"`)
	errRange  = errors.New("out of range")
)

// Parse returns the time, in UTC, that s means at the time now. Case and
// surrounding space do not matter. It accepts:
//
//   - RFC 3339, with any offset and fraction.
//   - 2026-01-02, its midnight in UTC.
//   - 2026-01-02 15:04[:05[.999]], also with a T between date and clock, in
//     UTC unless Z, UTC or an offset follows.
//   - @1767366245 and @1767366245.999, seconds since the Unix epoch.
//   - now; today, the last midnight in UTC; yesterday, 24 hours ago.
//   - 5 minutes ago, 1h30m ago, 2 hours and 5 minutes ago, 1.5 days ago, an
//     hour ago, half an hour ago, -5m, last week, last month, last year.
//
// Units are milliseconds (ms), seconds (s, sec), minutes (m, min), hours (h,
// hr), days (d), weeks (w, wk), months (mo) and years (y, yr). Months and
// years are those of the calendar in UTC; a day that the month does not have
// becomes its last day. They are counted before the other units.
//
// The result is in the years 0 to 9999; it is an error if it would not be.
func Parse(s string, now time.Time) (time.Time, error) {
	t, err := parse(normalize(s), now.Round(0).UTC()) // Round drops the monotonic clock
	if err == nil && (t.Year() < 0 || t.Year() > 9999) {
		err = errRange
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("parse time %.80q: %w", s, err)
	}
	return t, nil
}

// normalize returns s in lower case with single spaces.
func normalize(s string) string {
	return strings.Join(strings.Fields(strings.ToLower(s)), " ")
}

func parse(s string, now time.Time) (time.Time, error) {
	switch s {
	case "now":
		return now, nil
	case "today":
		return now.Truncate(24 * time.Hour), nil
	case "yesterday":
		return offset{ms: msPerDay}.before(now), nil
	case "last week":
		return offset{ms: 7 * msPerDay}.before(now), nil
	case "last month":
		return offset{months: 1}.before(now), nil
	case "last year":
		return offset{months: 12}.before(now), nil
	}
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		return parseUnix(rest)
	}
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return parseOffset(rest, now)
	}
	if rest, ok := strings.CutSuffix(s, " ago"); ok {
		return parseOffset(rest, now)
	}
	return parseAbsolute(s)
}

func parseOffset(s string, now time.Time) (time.Time, error) {
	o, err := scanOffset(s)
	if err != nil {
		return time.Time{}, err
	}
	return o.before(now), nil
}

// parseUnix parses seconds since the Unix epoch, with an optional fraction.
func parseUnix(s string) (time.Time, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, frac, hasFrac := strings.Cut(digits, ".")
	if !isDigits(whole) || hasFrac && !isDigits(frac) {
		return time.Time{}, errSyntax
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, errRange
	}
	nsec, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	if negative {
		sec, nsec = -sec, -nsec
	}
	return time.Unix(sec, nsec).UTC(), nil
}

// parseAbsolute parses a date with an optional clock time and an optional zone.
func parseAbsolute(s string) (time.Time, error) {
	layout := "2006-01-02"
	date, rest := s, ""
	if len(s) > len(layout) {
		date, rest = s[:len(layout)], s[len(layout):]
	}
	if rest == "" {
		return parseLayout(layout, date)
	}

	sep, rest := rest[:1], rest[1:]
	if sep != "t" && sep != " " {
		return time.Time{}, errSyntax
	}
	clock, zone := rest, ""
	if i := strings.IndexAny(rest, "z+- "); i >= 0 {
		clock, zone = rest[:i], strings.TrimPrefix(rest[i:], " ")
	}
	layout += " 15:04"
	if strings.Count(clock, ":") > 1 {
		layout += ":05" // time.Parse accepts a fraction that is not in the layout
	}
	switch {
	case zone == "" || zone == "z" || zone == "utc":
		zone = ""
	case strings.Contains(zone, ":"):
		layout += "-07:00"
	case len(zone) > len("-07"):
		layout += "-0700"
	default:
		layout += "-07"
	}
	return parseLayout(layout, date+" "+clock+zone)
}

func parseLayout(layout, s string) (time.Time, error) {
	t, err := time.Parse(layout, s)
	if pe, ok := errors.AsType[*time.ParseError](err); ok && strings.HasSuffix(pe.Message, "out of range") {
		return time.Time{}, errRange
	} else if err != nil {
		return time.Time{}, errSyntax
	}
	return t.UTC(), nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
