package litestream_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// TestPlaces_File opens folders in which something else lies than LTX files.
func TestPlaces_File(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		return folderRoot(t, func(path string) replica.Client { return file.NewReplicaClient(path) })
	})
}

// placed is a replica in memory at a place where something else lies. Its surveys
// are those of a folder.
type placed struct {
	*memory.ReplicaClient
	folder *file.ReplicaClient
}

func (p placed) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	return p.folder.Survey(ctx, dir)
}

func (p placed) ReplicaIdentity() string { return "memory://" + p.folder.Path() }

// folderRoot returns a root whose objects are files in a folder.
func folderRoot(t testing.TB, client func(path string) replica.Client) sqltest.Root {
	dir := t.TempDir()
	return sqltest.Root{
		Client: func(path string) replica.Client { return client(filepath.Join(dir, path)) },
		Put: func(name string, body []byte) {
			name = filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, body, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// TestPlaces_Memory does it with a client that lists all levels at once.
func TestPlaces_Memory(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		return folderRoot(t, func(path string) replica.Client {
			return placed{memory.NewReplicaClient(), file.NewReplicaClient(path)}
		})
	})
}

// plainReplica has none of the optional interfaces.
type plainReplica struct{ litestream.ReplicaClient }

// TestPlaces_URL checks that the error of a URL with secrets says where it looked
// and shows none of them.
func TestPlaces_URL(t *testing.T) {
	const secret = "s3cr3t"
	litestream.RegisterReplicaClientFactory("places-test", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (litestream.ReplicaClient, error) {
		return plainReplica{memory.NewReplicaClient()}, nil
	})
	vfs := litestream.NewVFS(nil, &litestream.Options{WaitForReplica: -1, Logger: testlog.New(t, nil)})
	defer vfs.Close(context.Background())
	_, err := vfs.OpenConn("app.db", map[string]string{"replica_url": "places-test://user:" + secret + "@host/a/b?token=" + secret}, litestream.OpenMode{})
	if !errors.Is(err, litestream.ErrNoDatabase) || !strings.Contains(err.Error(), "places-test://host/a/b has no LTX files") || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

// TestOpen_PlaceOnce opens replicas by a URL with secrets. Each error begins with
// the place, has it once, and shows no secret, and neither does the log.
func TestOpen_PlaceOnce(t *testing.T) {
	const secret, place = "s3cr3t", "once-test://host/a/b"
	var client litestream.ReplicaClient
	litestream.RegisterReplicaClientFactory("once-test", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (litestream.ReplicaClient, error) {
		if client == nil {
			return nil, errDown
		}
		return client, nil
	})
	down, hangs := decorate.NewFault(memoryClient()), decorate.NewFault(memoryClient())
	down.Add(decorate.Rule{Err: errDown})
	hangs.Add(decorate.Rule{Hang: true})
	place2 := folderRoot(t, func(path string) replica.Client { return placed{memoryClient(), file.NewReplicaClient(path)} })
	place2.Put("a/x.db", []byte("SQLite format 3\x00 and so on"))
	for _, c := range []struct {
		name   string
		client litestream.ReplicaClient
		params map[string]string
		limit  time.Duration
		want   string
	}{
		{"no client", nil, nil, 0, errDown.Error()},
		{"empty", plainReplica{memoryClient()}, map[string]string{"wait_for_replica": "0"}, 0, "it has no LTX files"},
		{"empty, waits", plainReplica{memoryClient()}, map[string]string{"wait_for_replica": "1ms"}, 0, "no files came within 1ms"},
		{"empty, a context ends the wait", plainReplica{memoryClient()}, nil, 100 * time.Millisecond, "it has no LTX files"},
		{"nothing there", place2.Client("b"), map[string]string{"wait_for_replica": "0"}, 0, "nothing lies there"},
		{"a database", place2.Client("a/x.db"), nil, 0, "it is a SQLite database and not a replica"},
		{"down", down, map[string]string{"open_timeout": "100ms"}, 0, errDown.Error()},
		{"down, a context ends the wait", down, nil, 100 * time.Millisecond, errDown.Error()},
		{"hangs", hangs, map[string]string{"open_timeout": "100ms"}, 0, "deadline exceeded"},
		{"bad option", down, map[string]string{"cache_size": "big"}, 0, `invalid size "big"`},
		{"unknown parameter", down, map[string]string{"cache_sise": "1"}, 0, `unknown parameter "cache_sise"`},
		{"shared cache", down, map[string]string{"cache": "shared"}, 0, "shared cache"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client = c.client
			var log testlog.Buffer
			opts := litestream.Options{Logger: testlog.New(t, &log)}
			name := "once-test://user:" + secret + "@host/a/b?token=" + secret
			var err error
			vfs := litestream.NewVFS(nil, &opts)
			if c.limit > 0 {
				ctx, cancel := context.WithTimeout(t.Context(), c.limit)
				defer cancel()
				err = vfs.Health(ctx, name)
			} else {
				params := map[string]string{"replica_url": name}
				maps.Copy(params, c.params)
				_, err = vfs.OpenConn(name, params, litestream.OpenMode{})
			}
			text := fmt.Sprint(err)
			if !strings.HasPrefix(text, "open "+place+": ") || strings.Count(text, "host/a/b") != 1 || !strings.Contains(text, c.want) {
				t.Errorf("the error is %q, want %q with the place once", text, c.want)
			}
			if err := vfs.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if text += log.String(); strings.Contains(text, secret) {
				t.Errorf("the secret shows: %s", text)
			}
		})
	}
}

// TestPlaces_SurveyFails checks what an open does if the client cannot tell what
// lies at the place. It says so, and write mode begins a new database if it must
// not look, but not if it may look later.
func TestPlaces_SurveyFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		rule   decorate.Rule
		begins bool
		want   string
	}{
		{"forbidden", decorate.Rule{Err: fs.ErrPermission}, true, "what else lies there is not known: permission denied"},
		{"unsupported", decorate.Rule{Err: errors.ErrUnsupported}, true, "has no LTX files"},
		{"down", decorate.Rule{Err: errDown}, false, errDown.Error()},
		{"hangs", decorate.Rule{Hang: true}, false, "deadline exceeded"},
		{"fails once", decorate.Rule{Err: errDown, Times: 1}, true, "nothing lies at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, write := range []bool{false, true} {
				fault := decorate.NewFault(memoryClient())
				c.rule.Match = decorate.Ops(decorate.OpSurvey)
				fault.Add(c.rule)
				vfs := litestream.NewVFS(fault, &litestream.Options{OpenTimeout: time.Second, WaitForReplica: -1, WriteEnabled: write, Logger: testlog.New(t, nil)})
				conn, err := vfs.OpenConn("app.db", nil, litestream.OpenMode{Create: true})
				switch {
				case write && c.begins:
					if err != nil {
						t.Errorf("write mode: %v", err)
					} else if err := conn.Close(); err != nil {
						t.Error(err)
					}
				case !errors.Is(err, litestream.ErrNoDatabase) || !strings.Contains(err.Error(), c.want):
					t.Errorf("write mode %v: got error %v, want ErrNoDatabase with %q", write, err, c.want)
				}
				if err := vfs.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
