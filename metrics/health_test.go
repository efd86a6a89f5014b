package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// get asks a handler, and returns the code of its answer and the report.
func get(t *testing.T, h http.Handler) (code int, r Report) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if got := w.Header().Get("Content-Type") + ", " + w.Header().Get("Cache-Control"); got != "application/json, no-store" {
		t.Errorf("headers: %s", got)
	}
	return w.Code, r
}

// TestHealth breaks polls, reads and uploads of databases in turn, and lets another
// writer win. The answer says what is wrong, and how bad that is.
func TestHealth(t *testing.T) {
	down := errors.New("storage is down")
	fault := func(ops ...decorate.Op) func(*testing.T, *fleet) {
		return func(t *testing.T, f *fleet) {
			f.stores["b.db"].Add(decorate.Rule{Match: decorate.Ops(ops...), Err: down})
		}
	}
	for _, c := range []struct {
		name     string
		params   map[string]string
		spoil    func(*testing.T, *fleet)
		use      func(*testing.T, *fleet)
		code     int
		status   Status
		part     litestream.Part
		says     string // part of the error
		hasSince bool
	}{
		{name: "all is well", use: func(*testing.T, *fleet) {}, spoil: func(*testing.T, *fleet) {}, code: 200, status: Healthy},
		{
			name: "polls", spoil: fault(decorate.OpRead, decorate.OpList, decorate.OpListAll), code: 200, status: Degraded, part: litestream.PartPolls, says: "polls fail since", hasSince: true,
			use: func(t *testing.T, f *fleet) {
				if err := read(f.conns["b.db"], 1); err != nil { // it is cached
					t.Error(err)
				}
			},
		},
		{
			name: "reads", params: map[string]string{"cache_size": "-1", "poll_interval": "-1s"}, spoil: fault(decorate.OpRead), code: 503, status: Unhealthy, part: litestream.PartReads, says: "reads fail since", hasSince: true,
			use: func(t *testing.T, f *fleet) {
				if err := read(f.conns["b.db"], 7); !errors.Is(err, down) {
					t.Errorf("error is %v", err)
				}
			},
		},
		{
			name: "syncs", params: map[string]string{"write_enabled": "true"}, spoil: fault(decorate.OpCreate), code: 200, status: Degraded, part: litestream.PartSyncs, says: "write mode: syncs fail since", hasSince: true,
			use: func(t *testing.T, f *fleet) { commit(t, f.conns["b.db"], 2, 8) },
		},
		{
			name: "another writer", params: map[string]string{"write_enabled": "true"}, code: 503, status: Unhealthy, part: litestream.PartWriteMode, says: "another writer has written", hasSince: true,
			spoil: func(t *testing.T, f *fleet) {
				other := litestream.NewVFS(f.stores["b.db"], &f.vfs.Options)
				c := open(t, other, "b.db", map[string]string{"write_enabled": "true"})
				commit(t, c, 2, 8)
				if err := errors.Join(other.Sync(t.Context(), "b.db"), c.Close(), other.Close(t.Context())); err != nil {
					t.Fatal(err)
				}
			},
			use: func(t *testing.T, f *fleet) { commit(t, f.conns["b.db"], 3, 8) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 8, map[string]map[string]string{"a.db": nil, "b.db": c.params})
				defer f.close(t)
				h := Health(f.vfs)
				if code, r := get(t, h); code != 200 || r.Status != Healthy || r.Open != 2 || r.Text != "nothing is wrong with 2 open databases" || len(r.Databases) != 0 {
					t.Errorf("at first: %d %+v", code, r)
				}
				c.spoil(t, f)
				c.use(t, f)
				time.Sleep(4 * time.Second)
				synctest.Wait()
				code, r := get(t, h)
				if code != c.code || r.Status != c.status {
					t.Errorf("%d %+v, want %d %s", code, r, c.code, c.status)
				}
				if c.status == Healthy {
					return
				}
				if len(r.Databases) != 1 || r.Degraded+r.Unhealthy != 1 || !strings.HasPrefix(r.Text, "1 of 2 open databases ") {
					t.Fatalf("report: %+v", r)
				}
				d := r.Databases[0]
				if d.Database != "b.db" || d.Status != c.status || len(d.Problems) != 1 {
					t.Fatalf("database: %+v", d)
				}
				if p := d.Problems[0]; p.Part != c.part || !strings.Contains(p.Error, c.says) || p.Since.IsZero() == c.hasSince {
					t.Errorf("problem: %+v", p)
				}
			})
		})
	}
}

// TestHealth_Page compares the answer in docs/monitoring.md with that of a database
// whose uploads fail.
func TestHealth_Page(t *testing.T) {
	var b bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, map[string]map[string]string{"ratings.db": nil, "orders.db": {"write_enabled": "true"}})
		defer f.close(t)
		f.stores["orders.db"].Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: errors.New("PutObject: status 503, SlowDown")})
		commit(t, f.conns["orders.db"], 2, 8)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w := httptest.NewRecorder()
		Health(f.vfs).ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
			t.Error(err)
		}
	})
	checkPart(t, "health", "```json\n"+b.String()+"```\n")
}

// TestHealth_Closed asks about a VFS without databases, and about one that is closed.
func TestHealth_Closed(t *testing.T) {
	vfs := new(litestream.VFS)
	if code, r := get(t, Health(vfs)); code != 200 || r.Text != "no database is open" {
		t.Errorf("without databases: %d %+v", code, r)
	}
	if err := vfs.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, r := get(t, Health(new(litestream.VFS), vfs)); code != 503 || r.Status != Unhealthy || r.Text != "the VFS is closed" {
		t.Errorf("closed: %d %+v", code, r)
	}
}

// TestHealthOf asks about databases of which some could not be opened. They are
// unhealthy, and named before those that are open.
func TestHealthOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, map[string]map[string]string{"a.db": nil, "b.db": {"write_enabled": "true"}})
		defer f.close(t)
		f.stores["b.db"].Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: errors.New("storage is down")})
		commit(t, f.conns["b.db"], 2, 8)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		var missing []Unopened
		h := HealthOf(func() []Unopened { return missing }, f.vfs)
		if code, r := get(t, h); code != 200 || r.Status != Degraded || r.Unopened != 0 || len(r.Databases) != 1 {
			t.Errorf("if all are open: %d %+v", code, r)
		}
		missing = []Unopened{{Name: "c.db", Err: errors.New("open c.db: no answer")}}
		code, r := get(t, h)
		if code != 503 || r.Status != Unhealthy || r.Open != 2 || r.Unopened != 1 || r.Unhealthy != 0 || r.Degraded != 1 || !strings.HasPrefix(r.Text, "1 database could not be opened; 1 of 2 open databases ") {
			t.Errorf("if one is not: %d %+v", code, r)
		}
		if len(r.Databases) != 2 || r.Databases[1].Database != "b.db" {
			t.Fatalf("databases: %+v", r.Databases)
		}
		if d := r.Databases[0]; d.Database != "c.db" || d.Status != Unhealthy || len(d.Problems) != 1 || d.Problems[0].Part != partOpen || d.Problems[0].Error != "open c.db: no answer" {
			t.Errorf("database: %+v", d)
		}
		missing = append(missing, Unopened{Name: "d.db", Err: errors.New("open d.db: no answer")})
		if code, r := get(t, h); code != 503 || r.Unopened != 2 || !strings.HasPrefix(r.Text, "2 databases could not be opened; ") {
			t.Errorf("if two are not: %d %+v", code, r)
		}
	})
}

// TestHealth_Methods asks in other ways than by GET.
func TestHealth_Methods(t *testing.T) {
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		Health().ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", method, w.Code, want)
		}
	}
}

// TestReport_Many has more databases with problems than a report lists. It lists the
// worst, and counts all.
func TestReport_Many(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		params := make(map[string]map[string]string)
		const n = mostReported + 3
		for i := range n {
			params[fmt.Sprintf("%03d.db", i)] = map[string]string{"cache_size": "-1", "poll_interval": "-1s"}
		}
		params["zzz.db"] = map[string]string{"write_enabled": "true", "cache_size": "-1"}
		f := newFleet(t, 8, params)
		defer f.close(t)
		down := errors.New("storage is down")
		f.stores["zzz.db"].Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: down})
		commit(t, f.conns["zzz.db"], 2, 8)
		var wg sync.WaitGroup
		for name, c := range f.conns {
			if name == "zzz.db" {
				continue
			}
			wg.Go(func() {
				f.stores[name].Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: down})
				if err := read(c, 7); err == nil {
					t.Errorf("%s can be read", name)
				}
			})
		}
		wg.Wait()
		time.Sleep(3 * time.Second)
		_, r := get(t, Health(f.vfs))
		if r.Unhealthy != n || r.Degraded != 1 || len(r.Databases) != mostReported {
			t.Errorf("%d unhealthy, %d degraded, %d listed", r.Unhealthy, r.Degraded, len(r.Databases))
		}
		for i, d := range r.Databases {
			if d.Database != fmt.Sprintf("%03d.db", i) || d.Status != Unhealthy {
				t.Errorf("database %d: %s is %s", i, d.Database, d.Status)
			}
		}
	})
}
