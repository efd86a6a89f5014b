package file_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/replicatest"
)

// TestReplicaClient_LastingErrors checks that errors of the operating system that
// last are permanent, so that they are not retried.
func TestReplicaClient_LastingErrors(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, "app.db")
	if err := os.WriteFile(database, []byte("SQLite format 3\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Skip(err)
	}
	for name, path := range map[string]string{
		"file":           database,
		"below a file":   filepath.Join(database, "a"),
		"loop of links":  loop,
		"name too long":  filepath.Join(dir, strings.Repeat("x", 300)),
		"impossible":     "a\x00b",
		"no path at all": "",
	} {
		t.Run(name, func(t *testing.T) {
			c := file.NewReplicaClient(path)
			for call, run := range map[string]func(context.Context) error{
				"list": func(ctx context.Context) error {
					itr, err := c.LTXFiles(ctx, 0, 0, false)
					if err != nil {
						return err
					}
					return errors.Join(itr.Err(), itr.Close())
				},
				"read": func(ctx context.Context) error {
					r, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
					if err != nil {
						return err
					}
					return r.Close()
				},
				"write": func(ctx context.Context) error {
					body, err := replicatest.FileSpec{MinTXID: 1, MaxTXID: 1}.Encode()
					if err != nil {
						return err
					}
					_, err = c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(body))
					return err
				},
				"delete": func(ctx context.Context) error {
					return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
				},
				"survey": func(ctx context.Context) error {
					_, err := c.Survey(ctx, "")
					return err
				},
			} {
				err := run(t.Context())
				var p interface{ Permanent() bool }
				lasting := errors.As(err, &p) && p.Permanent() || errors.Is(err, fs.ErrInvalid)
				// Nothing is there, which is no error for a listing.
				empty := strings.HasSuffix(name, "file") && (call == "list" || call == "survey")
				if empty && err != nil || !empty && !lasting {
					t.Errorf("%s: got error %v", call, err)
				}
			}
		})
	}
}

// TestSurvey_Links checks that a link to a folder counts as a folder, and that a
// link to nothing is a name like any other.
func TestSurvey_Links(t *testing.T) {
	dir := t.TempDir()
	c := file.NewReplicaClient(filepath.Join(dir, "replica"))
	write(t, c, 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	for name, to := range map[string]string{"a": c.Path(), "b": filepath.Join(dir, "nothing")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip(err)
		}
	}
	s, err := file.NewReplicaClient(dir).Survey(t.Context(), "")
	if got := strings.Join(s.Names, " "); err != nil || got != "a/ b replica/" {
		t.Errorf("got %q, %v", got, err)
	}
	if s, err := file.NewReplicaClient(dir).Survey(t.Context(), "a/"); err != nil || strings.Join(s.Names, " ") != "ltx/" {
		t.Errorf("got %q, %v", s.Names, err)
	}
}
