//go:build cgo

package docs_test

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/causes"
)

// sentinels are the errors that errors.Is finds, as a program writes them.
var sentinels = map[error]string{
	nil:                          "",
	litestream.ErrNoDatabase:     "litestream.ErrNoDatabase",
	litestream.ErrCorrupt:        "litestream.ErrCorrupt",
	litestream.ErrReadOnly:       "litestream.ErrReadOnly",
	litestream.ErrConflict:       "litestream.ErrConflict",
	litestream.ErrBufferInUse:    "litestream.ErrBufferInUse",
	litestream.ErrForeignBuffer:  "litestream.ErrForeignBuffer",
	litestream.ErrTxNotAvailable: "litestream.ErrTxNotAvailable",
	litestream.ErrInTransaction:  "litestream.ErrInTransaction",
	context.DeadlineExceeded:     "context.DeadlineExceeded",
	fs.ErrPermission:             "fs.ErrPermission",
	fs.ErrNotExist:               "fs.ErrNotExist",
}

// TestErrors brings about everything that errors.md lists, and checks that it has the
// texts as litestream.Open gives them.
func TestErrors(t *testing.T) {
	var b strings.Builder
	b.WriteString("| when | cause | text | errors.Is | fails |\n|---|---|---|---|---|\n")
	for _, r := range causes.Run(t, causes.Connector(litestream.Open)) {
		sentinel, known := sentinels[r.Is]
		if !known {
			t.Errorf("%s: errors.md cannot name %v", r.Name, r.Is)
		}
		if sentinel != "" {
			sentinel = code(sentinel)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.When, r.Name, code(r.Text), sentinel, failsAfter(r.Cause))
	}
	if !t.Failed() {
		checkMade(t, path.Join("docs", "errors.md"), b.String())
	}
}

// failsAfter says how long a failure takes.
func failsAfter(c causes.Cause) string {
	switch {
	case c.Until != "":
		return "after " + c.Until
	case c.Requests < 0:
		return "without a request"
	case c.Requests == 1:
		return "after 1 request"
	case c.Requests > 0:
		return fmt.Sprintf("after at most %d requests", c.Requests)
	}
	return "at once"
}
