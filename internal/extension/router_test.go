package extension_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/extension"
)

// step is an open or a close, with its expected result.
type step struct {
	path     string
	own      bool // the name has a replica_url
	named    bool // the name has vfs=litestream
	defaults bool
	exists   bool
	env      string // LITESTREAM_REPLICA_URL
	close    bool
	failed   bool   // the open of the local file fails
	want     string // "own", "env", "local", "error"
}

func TestRouter(t *testing.T) {
	for name, steps := range map[string][]step{
		"its own URL": {
			{path: "/a", own: true, want: "own"},
			{path: "/a", own: true, env: "s3://b", want: "own"},
		},
		"no URL": {
			{path: "/a", named: true, want: "error"},
			{path: "/a", want: "error"},
		},
		"named, so of the environment": {
			{path: "/a", named: true, env: "s3://b", want: "env"},
			{path: "/b", named: true, env: "s3://b", want: "env"},
			{path: "/c", env: "s3://b", want: "local"}, // this name is attached
			{path: "/c", named: true, env: "s3://b", want: "error"},
		},
		"not named: the first": {
			{path: "/a", env: "s3://b", want: "env"},
			{path: "/a", env: "s3://b", want: "env"},
			{path: "/b", env: "s3://b", want: "local"},
			{path: "/a", close: true},
			{path: "/a", close: true},
			{path: "/a", env: "s3://c", want: "env"},
			{path: "/b", own: true, want: "error"},
		},
		"another URL while it is open": {
			{path: "/a", env: "s3://b", want: "env"},
			{path: "/a", env: "s3://c", want: "error"},
			{path: "/a", close: true},
			{path: "/a", env: "s3://c", want: "env"},
		},
		"attached to one with a URL of its own": {
			{path: "/a", own: true, want: "own"},
			{path: "/b", want: "local"},
			{path: "/a", want: "error"},
		},
		"default": {
			{path: "/here", defaults: true, exists: true, env: "s3://b", want: "local"},
			{path: "/a", defaults: true, env: "s3://b", want: "env"},
			{path: "/new", defaults: true, env: "s3://b", want: "local"},
			{path: "/a", defaults: true, env: "s3://b", want: "env"},
			{path: "/x", defaults: true, own: true, want: "own"},
			{path: "/a", defaults: true, exists: true, env: "s3://b", want: "env"}, // the name is bound already
		},
		"local before there was a URL": {
			{path: "/a", defaults: true, want: "local"},
			{path: "/a", defaults: true, env: "s3://b", want: "local"},
			{path: "/b", defaults: true, env: "s3://b", want: "env"},
		},
		"local, could not be opened": {
			{path: "/a", defaults: true, want: "local"},
			{path: "/a", failed: true},
			{path: "/a", defaults: true, env: "s3://b", want: "env"},
		},
		"a URI that was not read": {
			{path: "/x/file:probe?mode=memory", defaults: true, env: "s3://b", want: "error"},
			{path: "/x/file:app.db?vfs=litestream", defaults: true, env: "s3://b", want: "error"},
			{path: "/x/file:/y/app.db?replica_url=file:/b", env: "s3://b", want: "error"},
			{path: "file:app.db?cache_size=1MiB", env: "s3://b", want: "error"},
			{path: "/x/file:app.db?mode=ro", defaults: true, exists: true, env: "s3://b", want: "local"},
			{path: "/a?b", defaults: true, env: "s3://b", want: "env"},
			{path: "/x/file:new.db?mode=ro", defaults: true, env: "s3://b", want: "local"},
			{path: "/a?b", defaults: true, env: "s3://b", want: "env"},
		},
		"a URI that was not read, without a URL": {
			{path: "/x/file:app.db?mode=ro", defaults: true, want: "local"},
		},
		"a path like that of such a URI, named": {
			{path: "/x/file:app.db?b", named: true, env: "s3://b", want: "env"},
			{path: "/x/file:app.db?b", env: "s3://b", want: "env"},
			{path: "/y/file:app.db?b", own: true, env: "s3://b", want: "own"},
		},
		"default without a URL": {
			{path: "/a", defaults: true, want: "local"},
			{path: "/b", defaults: true, named: true, want: "error"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r extension.Router
			for i, s := range steps {
				if s.close {
					r.Close(s.path)
					continue
				}
				if s.failed {
					r.NotOpened(s.path)
					continue
				}
				n := extension.Name{Path: s.path, Named: s.named, Default: s.defaults, Exists: func() bool { return s.exists }}
				if s.own {
					n.Params = map[string]string{"replica_url": "s3://own"}
				}
				url, local, err := r.Open(n, extension.Environment{extension.ReplicaURL: s.env})
				got := "own"
				switch {
				case err != nil:
					got = "error"
				case local:
					got = "local"
				case url != "":
					got = "env"
				}
				if got != s.want {
					t.Fatalf("step %d: %s, %v; want %s", i, got, err, s.want)
				}
			}
		})
	}
}

func TestRouter_Companion(t *testing.T) {
	var r extension.Router
	env := extension.Environment{extension.ReplicaURL: "s3://b"}
	open := func(n extension.Name) {
		t.Helper()
		if _, _, err := r.Open(n, env); err != nil {
			t.Fatal(err)
		}
	}
	open(extension.Name{Path: "/my-app.db"})
	open(extension.Name{Path: "/my-app.db-local"})
	open(extension.Name{Path: "/own", Params: map[string]string{"replica_url": "s3://own"}})
	for path, want := range map[string]bool{
		"/my-app.db-journal":       true,
		"/my-app.db-mj12AB349EF":   true,
		"/own-journal":             true,
		"/my-app.db-local-journal": false, // a journal of the local file
		"/other-journal":           false,
		"/my":                      false,
		"-":                        false,
		"":                         false,
	} {
		if is := r.Companion(path); is != want {
			t.Errorf("%q: %v", path, is)
		}
	}
	if r.Bound() != "/my-app.db" {
		t.Error(r.Bound())
	}
	if _, _, err := new(extension.Router).Open(extension.Name{Path: "/a", Named: true}, nil); !errors.Is(err, extension.ErrNoReplica) {
		t.Error(err)
	}
}

// TestRouter_Restricted checks that what the environment forbids is refused,
// and leaves no trace.
func TestRouter_Restricted(t *testing.T) {
	env := extension.Environment{extension.ReplicaURL: "s3://b", extension.URIParameters: "cache_size", extension.LocalFiles: "none"}
	var r extension.Router
	if _, _, err := r.Open(extension.Name{Path: "/own", Params: map[string]string{"replica_url": "s3://own"}}, env); err == nil || !strings.HasPrefix(err.Error(), "parameter replica_url is not allowed") {
		t.Error(err)
	}
	for range 2 {
		if url, local, err := r.Open(extension.Name{Path: "/a", Params: map[string]string{"cache_size": "1"}}, env); err != nil || local || url != "s3://b" {
			t.Error(url, local, err)
		}
	}
	for _, n := range []extension.Name{{Path: "/local"}, {Path: "/local", Default: true, Exists: func() bool { return true }}, {Path: "/a-journal"}} {
		if _, local, err := r.Open(n, env); !errors.Is(err, extension.ErrNoLocalFiles) || local {
			t.Errorf("%s: %v, %v", n.Path, local, err)
		}
	}
	env[extension.LocalFiles] = "existing"
	for _, isDefault := range []bool{false, true} {
		there := func(is bool) extension.Name {
			return extension.Name{Path: fmt.Sprintf("/local-%t", is), Default: isDefault, Exists: func() bool { return is }}
		}
		if _, local, err := r.Open(there(true), env); err != nil || !local {
			t.Error(local, err)
		}
		if _, local, err := r.Open(there(false), env); !errors.Is(err, extension.ErrNoNewLocalFiles) || local {
			t.Error(local, err)
		}
	}
	delete(env, extension.LocalFiles)
	if _, local, err := r.Open(extension.Name{Path: "/local"}, env); err != nil || !local {
		t.Error(local, err)
	}
}
