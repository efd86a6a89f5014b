//go:build darwin || linux

package pageshare

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// parseBootID parses a UUID.
func parseBootID(text string) (id [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("the system names its boot %q, which is no UUID", text)
	}
	return [16]byte(b), nil
}
