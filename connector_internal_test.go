package litestream

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// TestConnExplainer_Ended ends the context of calls: of one that waits for nothing,
// of one that waits for storage, and of a later one. The error says what a call has
// waited for, and nothing of earlier calls.
func TestConnExplainer_Ended(t *testing.T) {
	db := openHere(t, fourPages(t), Options{PollInterval: -1})
	c := connOf(db, nil)
	e := &connExplainer{conn: c, shown: "file://somewhere", codeOf: func(error) (Code, string, bool) { return 0, "", false }}
	for _, tc := range []struct {
		name  string
		waits bool
	}{{"waits for nothing", false}, {"waits for storage", true}, {"after that", false}} {
		for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
			e.Begin(t.Context())
			if tc.waits {
				_ = c.fail("read page 3", fs.ErrPermission)
			}
			err := e.Explain(ended)
			e.End()
			if !errors.Is(err, ended) || errors.Is(err, fs.ErrPermission) != tc.waits || strings.Contains(err.Error(), fs.ErrPermission.Error()) != tc.waits {
				t.Errorf("a call that %s: %v", tc.name, err)
			}
			if !tc.waits && !strings.Contains(err.Error(), "file://somewhere") {
				t.Errorf("a call that %s: %v does not say where", tc.name, err)
			}
		}
	}
}
