package nats

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// A file with credentials that is gone when the client connects, or connects again, is
// no missing LTX file.
func TestProblem_MissingFile(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "app.creds", Err: fs.ErrNotExist}
	p := &problem{source: "the credentials file app.creds"}
	s := &session{problem: p, bucket: "bucket"}
	p.reconnectFailed(nil, missing)
	called := s.call(t.Context(), "x", func(context.Context) error { return natsgo.ErrDisconnected })
	for name, err := range map[string]error{"connect": p.connectFailed(missing), "call": called} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "open app.creds") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}
