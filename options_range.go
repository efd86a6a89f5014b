package litestream

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/bytesize"
)

// limits is the range of a number: nanoseconds, bytes or a count. On every
// platform, a value in range can be doubled, can be added to a time limit or to
// the current time, and fits an int after a division by the page size. Zero
// selects the default and is always in range.
type limits struct{ min, max int64 }

const century = 876000 * time.Hour

var (
	anyDuration = limits{-int64(century), int64(century)} // a negative duration means never, or no limit
	positive    = limits{1, int64(century)}
)

func (l limits) has(n int64) bool { return n == 0 || n >= l.min && n <= l.max }

// parseDuration reads a duration from text.
func (l limits) parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, l.durationError(strconv.Quote(s))
	}
	return d, l.checkDuration(d, strconv.Quote(s))
}

// The functions below take a value and its original text.

func (l limits) checkDuration(d time.Duration, text string) error {
	if l.has(int64(d)) {
		return nil
	}
	return l.durationError(text)
}

func (l limits) checkDurations(all []time.Duration, text string) error {
	for _, d := range all {
		if d == 0 || !l.has(int64(d)) {
			return l.durationsError(text)
		}
	}
	if len(all) > maxCompactionLevels {
		return l.durationsError(text)
	}
	return nil
}

func (l limits) checkSize(n int64, text string) error {
	if l.has(n) {
		return nil
	}
	return l.sizeError(text)
}

func (l limits) checkCount(n int64, text string) error {
	if l.has(n) {
		return nil
	}
	return l.countError(text)
}

func (l limits) durationError(text string) error {
	return fmt.Errorf("invalid duration %s, want one like 500ms or 1m30s, from %s to %s", text, formatDuration(l.min), formatDuration(l.max))
}

func (l limits) durationsError(text string) error {
	return fmt.Errorf("invalid durations %s, want up to %d like 30s,5m,1h, each from %s to %s", text, maxCompactionLevels, formatDuration(l.min), formatDuration(l.max))
}

func (l limits) sizeError(text string) error {
	return fmt.Errorf("invalid size %s, want one like 10485760, 10MB or 10MiB, from %s to %s", text, bytesize.Format(l.min), bytesize.Format(l.max))
}

func (l limits) countError(text string) error {
	return fmt.Errorf("invalid number %s, want one from %d to %d", text, l.min, l.max)
}

// formatDuration formats whole hours without zero minutes and seconds.
func formatDuration(ns int64) string { return strings.TrimSuffix(time.Duration(ns).String(), "0m0s") }
