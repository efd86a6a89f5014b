// Package booltext parses the words for true and false that parameters, variables
// and PRAGMAs accept.
package booltext

import (
	"fmt"
	"strings"
)

// Parse returns the boolean that a word means, in any case: true, t, yes, on and
// 1, or false, f, no, off and 0.
func Parse(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "t", "yes", "on", "1":
		return true, nil
	case "false", "f", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("invalid value %q, want true or false", s)
}
