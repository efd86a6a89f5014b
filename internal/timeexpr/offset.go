package timeexpr

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	msPerDay = 24 * 60 * 60 * 1000

	// Subtracting more than this from any time in range leads out of range.
	maxMonths = 10_000 * 12
	maxMS     = 10_000 * 366 * msPerDay
)

// unit is a unit of time: a number of either months or milliseconds.
type unit struct {
	months int64
	ms     int64
}

var (
	millisecond = unit{ms: 1}
	second      = unit{ms: 1000}
	minute      = unit{ms: 60 * 1000}
	hour        = unit{ms: 60 * 60 * 1000}
	day         = unit{ms: msPerDay}
	week        = unit{ms: 7 * msPerDay}
	month       = unit{months: 1}
	year        = unit{months: 12}
)

// lookUpUnit finds a unit by its name, its plural or an abbreviation.
func lookUpUnit(name string) (unit, bool) {
	switch name {
	case "ms", "msec", "msecs", "millisecond", "milliseconds":
		return millisecond, true
	case "s", "sec", "secs", "second", "seconds":
		return second, true
	case "m", "min", "mins", "minute", "minutes":
		return minute, true
	case "h", "hr", "hrs", "hour", "hours":
		return hour, true
	case "d", "day", "days":
		return day, true
	case "w", "wk", "wks", "week", "weeks":
		return week, true
	case "mo", "mos", "month", "months":
		return month, true
	case "y", "yr", "yrs", "year", "years":
		return year, true
	}
	return unit{}, false
}

// offset is a duration of months and milliseconds.
type offset struct {
	months int64 // 0 to maxMonths
	ms     int64 // 0 to maxMS
}

// before returns the time that is o before t.
func (o offset) before(t time.Time) time.Time {
	if o.months > 0 {
		t = monthsBefore(t, int(o.months))
	}
	// A time.Duration is limited to 292 years.
	return time.Unix(t.Unix()-o.ms/1000, int64(t.Nanosecond())-o.ms%1000*1e6).UTC()
}

// monthsBefore subtracts n calendar months. If the resulting month is too short
// for the day, it returns the last day of that month.
func monthsBefore(t time.Time, n int) time.Time {
	y, m, d := t.Date()
	first := time.Date(y, m-time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	d = min(d, first.AddDate(0, 1, -1).Day())
	return time.Date(first.Year(), first.Month(), d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// add adds count units, where count is a number such as "2" or "1.5".
func (o *offset) add(count string, u unit) error {
	whole, frac, hasFrac := strings.Cut(count, ".")
	if !isDigits(whole) || hasFrac && !isDigits(frac) {
		return errSyntax
	}
	if hasFrac && u.months > 0 {
		return errSyntax // a fraction of a month has no fixed length
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return errRange
	}

	switch {
	case u.months > 0 && n > (maxMonths-o.months)/u.months,
		u.ms > 0 && n > (maxMS-o.ms)/u.ms:
		return errRange
	}
	o.months += n * u.months
	o.ms += n * u.ms
	if hasFrac {
		f, err := strconv.ParseFloat("0."+frac, 64)
		if err != nil {
			return errRange
		}
		o.ms = min(o.ms+int64(math.Round(f*float64(u.ms))), maxMS)
	}
	return nil
}

// scanOffset parses a sum of terms like "2 hours and 5 minutes" or "1h30m".
func scanOffset(s string) (offset, error) {
	var o offset
	sc := scanner(s)
	for {
		count, u, ok := sc.term()
		if !ok {
			return offset{}, errSyntax
		}
		if err := o.add(count, u); err != nil {
			return offset{}, err
		}
		if sc == "" {
			return o, nil
		}
		sc.skip(",")
		sc.skip("and")
	}
}

// scanner is the rest of a string. Its tokens are numbers, words and other
// single bytes.
type scanner string

// term consumes a count and a unit.
func (sc *scanner) term() (count string, u unit, ok bool) {
	switch count = sc.next(); count {
	case "a", "an", "one":
		count = "1"
	case "half":
		if !sc.skip("an") && !sc.skip("a") {
			return "", unit{}, false
		}
		count = "0.5"
	}
	u, ok = lookUpUnit(sc.next())
	return count, u, ok
}

// next consumes a token and returns it. It returns "" at the end.
func (sc *scanner) next() string {
	s := strings.TrimPrefix(string(*sc), " ")
	n := 0
	for n < len(s) && isNumeric(s[n]) {
		n++
	}
	if n == 0 {
		for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
			n++
		}
	}
	if n == 0 && s != "" {
		n = 1
	}
	*sc = scanner(strings.TrimPrefix(s[n:], " "))
	return s[:n]
}

// skip consumes the next token if it equals token, and reports whether it did.
func (sc *scanner) skip(token string) bool {
	rest := *sc
	if rest.next() != token {
		return false
	}
	*sc = rest
	return true
}

func isNumeric(c byte) bool { return c >= '0' && c <= '9' || c == '.' }
