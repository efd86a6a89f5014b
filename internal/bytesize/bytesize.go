// Package bytesize parses and formats sizes in the notation of users.
package bytesize

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse parses a number of bytes such as 10485760, 10MiB (powers of 1024) or
// 10MB (powers of 1000).
func Parse(s string) (int64, error) {
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.ToLower(strings.TrimSpace(s[len(number):]))
	factor, ok := map[string]int64{
		"": 1, "b": 1,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n*factor/factor != n {
		return 0, fmt.Errorf("invalid size %q, want one like 10485760, 10MB or 10MiB", s)
	}
	return n * factor, nil
}

// Format formats a number of bytes in the largest unit that gives a whole
// number. Parse accepts the result.
func Format(n int64) string {
	unit := ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}
