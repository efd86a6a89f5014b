package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// Whoever is not permitted gets nothing, whatever the request asks for.
func TestRequests(t *testing.T) {
	open, guarded := New(Options{Hosts: []string{"Status.example.com"}}), New(Options{Token: "s3cret"})
	anywhere := New(Options{Hosts: []string{"*"}})
	beside := Guard(Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fine")) }))
	for _, test := range []struct {
		name    string
		page    http.Handler
		method  string
		url     string
		headers string // "name: value" lines
		want    int
	}{
		{"the page", open, "GET", "http://localhost:8080/", "", 200},
		{"any path", open, "GET", "http://localhost/a/b", "", 200},
		{"the head", open, "HEAD", "http://127.0.0.1/", "", 200},
		{"an address of version 6", open, "GET", "http://[::1]:80/", "", 200},
		{"an address of the network", open, "GET", "http://10.1.2.3/", "", 200},
		{"a name that was set", open, "GET", "http://status.EXAMPLE.com:81/?view=data", "", 200},
		{"a name that was not set", open, "GET", "http://evil.example.com/", "", 403},
		{"a name that was not set, for data", open, "GET", "http://evil.example.com/?view=data", "", 403},
		{"a name that begins like an address", open, "GET", "http://127.0.0.1.example.com/", "", 403},
		{"every name", anywhere, "GET", "http://evil.example.com/", "", 200},
		{"a write", open, "POST", "http://localhost/?view=data", "", 405},
		{"a deletion", open, "DELETE", "http://localhost/", "", 405},
		{"an unknown view", open, "GET", "http://localhost/?view=secrets", "", 404},
		{"data for the page", open, "GET", "http://localhost/?view=data", "Sec-Fetch-Site: same-origin", 200},
		{"data for a person", open, "GET", "http://localhost/?view=data", "Sec-Fetch-Site: none", 200},
		{"data for another site", open, "GET", "http://localhost/?view=changes", "Sec-Fetch-Site: cross-site", 403},
		{"data for a neighbour", open, "GET", "http://localhost/?view=files", "Sec-Fetch-Site: same-site", 403},
		{"a link of another site", open, "GET", "http://localhost/", "Sec-Fetch-Site: cross-site", 200},
		{"data over http for another site", open, "GET", "http://10.1.2.3/?view=changes", "Referer: http://evil.example.com/", 403},
		{"data over http for another port", open, "GET", "http://10.1.2.3:8080/?view=changes", "Referer: http://10.1.2.3/", 403},
		{"data over http for a script of another site", open, "GET", "http://10.1.2.3/?view=changes", "Origin: http://evil.example.com", 403},
		{"data over http for a frame without an origin", open, "GET", "http://10.1.2.3/?view=changes", "Origin: null", 403},
		{"data over http for a malformed site", open, "GET", "http://10.1.2.3/?view=changes", "Referer: %zz", 403},
		{"data over http for the page", open, "GET", "http://10.1.2.3:8080/?view=data", "Referer: http://10.1.2.3:8080/", 200},
		{"data over http for the page, under a name", open, "GET", "http://status.EXAMPLE.com:81/?view=data", "Origin: http://status.example.com:81", 200},
		{"a link of another site over http", open, "GET", "http://10.1.2.3/", "Referer: http://evil.example.com/", 200},
		{"metrics over http for another site", beside, "GET", "http://10.1.2.3/metrics", "Referer: http://evil.example.com/", 403},
		{"something beside the page", beside, "GET", "http://localhost/healthz", "Sec-Fetch-Site: same-origin", 200},
		{"the same for a program", beside, "GET", "http://localhost/healthz", "", 200},
		{"the same for another site", beside, "GET", "http://localhost/healthz", "Sec-Fetch-Site: cross-site", 403},
		{"the same under another name", beside, "GET", "http://evil.example.com/healthz", "", 403},
		{"no token", guarded, "GET", "http://localhost/", "", 401},
		{"no token, for data", guarded, "GET", "http://localhost/?view=data", "", 401},
		{"the token in the URL", guarded, "GET", "http://localhost/?token=s3cret", "", 401},
		{"another token", guarded, "GET", "http://localhost/", "Authorization: Bearer s3cre", 401},
		{"an empty token", guarded, "GET", "http://localhost/", "Authorization: Bearer ", 401},
		{"the token as a user", guarded, "GET", "http://localhost/", "Authorization: Basic czNjcmV0Og==", 401},
		{"the bearer token", guarded, "GET", "http://localhost/", "Authorization: Bearer s3cret", 200},
		{"the password", guarded, "GET", "http://any.example.com/?view=data", "Authorization: Basic bWU6czNjcmV0", 200},
	} {
		r := httptest.NewRequest(test.method, test.url, nil)
		if name, value, ok := strings.Cut(test.headers, ": "); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		test.page.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s: status %d, want %d: %s", test.name, w.Code, test.want, w.Body)
		}
		h := w.Header()
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", test.name, h)
		}
		if isPage := strings.HasPrefix(w.Body.String(), "<!doctype html>"); isPage != strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; ") {
			t.Errorf("%s: policy %q for %.20q", test.name, h.Get("Content-Security-Policy"), w.Body)
		}
		if (w.Code == 401) != (h.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: a browser asks for a password by %q", test.name, h.Get("WWW-Authenticate"))
		}
	}
}

// The page has no address of another place, and no handler or style within its tags,
// which its policy would forbid.
func TestSelfContained(t *testing.T) {
	body := strings.ReplaceAll(pageBody, "http://www.w3.org/2000/svg", "")
	for _, forbidden := range []string{"http://", "https://", "//", "@import", "url(", " style=", " onclick=", "innerHTML", "/* page."} {
		text := body
		if forbidden == "//" {
			text = strings.NewReplacer("// ", "", `"://"`, "").Replace(body) // comments of the program, and what it looks for in names
		}
		if i := strings.Index(text, forbidden); i >= 0 {
			t.Errorf("the page has %q: %.60q", forbidden, text[i:])
		}
	}
}

// The list and the details say what Stats say, and gathering them asks storage for
// nothing.
func TestData(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: -1, HydrationEnabled: true})
	s, p := b.primary("app.db", 3000)
	db := b.open("app.db")
	count(t, db, "SELECT count(*) FROM numbers")
	await(t, "the local copy", func() bool { return b.vfs.Stats()[0].Hydration.Status == litestream.HydrationComplete })
	page := New(Options{}, b.vfs)
	count(t, db, "SELECT sum(n) FROM numbers WHERE id % 3 = 1")
	s.trace.Reset()
	d, stats := detailOf(t, page), b.vfs.Stats()[0]
	if n := len(s.trace.Events()); n > 0 {
		t.Errorf("the page has made requests:\n%s", s.trace)
	}
	if d.Name != "app.db" || d.Place != "memory://bucket/app.db" || d.TXID != p.TXID().String() || d.Time != p.Time(p.TXID()).UnixMilli() ||
		d.Size != int64(stats.Pages)*1024 || d.Pages != int64(stats.Pages) || d.Local != 100 || d.Hydration.Status != litestream.HydrationComplete || d.Lag != -1 || len(d.Problems) != 0 {
		t.Errorf("the details are %+v", d)
	}
	if d.Requests.Get != stats.Requests.Get || d.Bytes.Indexes != stats.LoadReadBytes || d.Bytes.Indexes == 0 || d.Tiers != tiersOf(&stats) || d.Tiers.Local == 0 {
		t.Errorf("the counters are %+v %+v %+v, want those of %+v", d.Requests, d.Bytes, d.Tiers, stats)
	}
	if m := d.Map; m.Pages != int64(stats.Pages) || m.Fill != strings.Repeat("9", len(m.Owners)) || fmt.Sprint(m.Names) != "[sqlite_schema numbers by_text]" || strings.Contains(m.Owners, ".") {
		t.Errorf("the map is %+v", m)
	}
	if got := ask[pageData](t, page, "view=data&db=none"); got.Detail != nil || len(got.Databases) != 1 {
		t.Errorf("a database that is not there has details: %+v", got)
	}
}

// The words and the colour of a database are those of its state: good, asleep, and bad
// with what is wrong and what to do.
func TestStates(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: 5 * time.Millisecond, PollIdleAfter: -1})
	s, _ := b.primary("app.db", 10)
	b.open("app.db")
	page := New(Options{}, b.vfs)
	await(t, "a poll", func() bool { return one(t, page).Lag >= 0 })
	if d := one(t, page); d.State != stateGood {
		t.Errorf("it polls, and is %s: %s", d.State, d.Words)
	}
	remove := s.fault.Add(decorate.Rule{Err: fs.ErrPermission})
	await(t, "a failed poll", func() bool { return one(t, page).State == stateBad })
	d := one(t, page)
	if len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Text, "polls fail since") || !strings.Contains(d.Problems[0].Todo, "refuses the credentials") {
		t.Errorf("the problems are %+v", d.Problems)
	}
	if e := detailOf(t, page).Events; len(e) != 1 || !e[0].Failing || e[0].What != "polls for news" {
		t.Errorf("the events are %+v", e)
	}
	remove()
	await(t, "a poll", func() bool { return one(t, page).State == stateGood })
	if e := detailOf(t, page).Events; len(e) != 1 || e[0].Failing || !strings.Contains(e[0].Todo, "works again") {
		t.Errorf("the events are %+v", e)
	}
}

// A database that nothing uses sleeps, unless the page keeps it fresh.
func TestKeepFresh(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: 5 * time.Millisecond, PollIdleAfter: time.Millisecond})
	_, p := b.primary("app.db", 10)
	b.open("app.db")
	page := New(Options{}, b.vfs)
	await(t, "sleep", func() bool { return one(t, page).State == stateAsleep })
	txid := p.Exec("INSERT INTO numbers (n) VALUES (1)").String()
	if d := one(t, page); d.State != stateAsleep || d.TXID == txid {
		t.Errorf("the page has woken it: %+v", d)
	}
	fresh := New(Options{KeepFresh: true}, b.vfs)
	await(t, "the news", func() bool { return one(t, fresh).TXID == txid })
}

// Write mode shows what waits for its upload, and why it cannot be uploaded.
func TestUploads(t *testing.T) {
	b := newBed(t, litestream.Options{WriteEnabled: true, WriteBufferPath: tempFile(t), WriteSyncInterval: 10 * time.Millisecond, PollInterval: -1})
	s := b.add("app.db")
	db := b.open("app.db")
	exec(t, db, "CREATE TABLE t (a)")
	page := New(Options{}, b.vfs)
	await(t, "the upload", func() bool { return one(t, page).Unsynced == 0 && detailOf(t, page).Write.Syncs > 0 })
	remove := s.fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate, decorate.OpWrite), Err: errors.New("503 slow down")})
	exec(t, db, "INSERT INTO t VALUES (1)")
	await(t, "a failed upload", func() bool { return one(t, page).State == stateBad })
	d := detailOf(t, page)
	if d.Unsynced == 0 || d.Write.Commits != 2 || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Text, "503 slow down") || !d.Uploads.Failing {
		t.Errorf("the uploads are %+v, %+v, %+v", d.databaseData, d.Write, d.Uploads)
	}
	remove()
	await(t, "the upload", func() bool { d := one(t, page); return d.State == stateGood && d.Unsynced == 0 })
}

// Databases that could not be opened are on the page.
func TestUnopened(t *testing.T) {
	page := New(Options{Unopened: func() []Unopened {
		return []Unopened{{"s3://bucket/none.db", fmt.Errorf("open s3://bucket/none.db: %w", litestream.ErrNoDatabase)}}
	}})
	d := one(t, page)
	if d.State != stateBad || d.Name != "s3://bucket/none.db" || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Todo, "ltxvfs ls") {
		t.Errorf("it is %+v", d)
	}
	if got := ask[pageData](t, page, "view=data&db="+d.ID); got.Detail != nil {
		t.Errorf("it has details: %+v", got.Detail)
	}
	page = New(Options{Unopened: func() []Unopened {
		return []Unopened{{"abs://backups/app.db", litestream.ErrNoDatabase}, {"abs://backups/app.db", fs.ErrPermission}} // of two accounts
	}})
	if all := ask[pageData](t, page, "view=data").Databases; len(all) != 2 || all[0].ID == all[1].ID {
		t.Errorf("two of one name are %+v", all)
	}
}

// Databases of one file name, in one VFS or in two, are told apart.
func TestSameNames(t *testing.T) {
	a, b := newBed(t, litestream.Options{PollInterval: -1}), newBed(t, litestream.Options{PollInterval: -1})
	for i, bed := range []*bed{a, b} {
		bed.primary("app.db", 10*(1+i))
		bed.open("app.db")
	}
	page := New(Options{}, a.vfs, b.vfs)
	all := ask[pageData](t, page, "view=data").Databases
	if len(all) != 2 || all[0].ID == all[1].ID {
		t.Fatalf("the databases are %+v", all)
	}
	for _, d := range all {
		if got := ask[pageData](t, page, "view=data&db="+d.ID).Detail; got == nil || got.ID != d.ID || got.Size != d.Size {
			t.Errorf("the details of %+v are %+v", d, got)
		}
	}
}

// Databases whose URLs differ only in what is not shown are told apart: the one that
// fails is the one that is shown so, and each has its own files.
func TestSameURLs(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: 5 * time.Millisecond, PollIdleAfter: -1})
	litestream.RegisterReplicaClientFactory("same", func(_, _, _ string, _ url.Values, user *url.Userinfo) (litestream.ReplicaClient, error) {
		return b.clients[user.Username()].trace, nil
	})
	_, p := b.primary("works", 10)
	p.Exec("INSERT INTO numbers (n) VALUES (1)")
	fails, _ := b.primary("fails", 10)
	for _, user := range []string{"works", "fails"} {
		address := "same://" + user + "@host/app.db"
		c, err := b.vfs.OpenConn(address, map[string]string{"replica_url": address}, litestream.OpenMode{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	page := New(Options{KeepFresh: true}, b.vfs)
	list := func() (works, fails databaseData) {
		t.Helper()
		all := ask[pageData](t, page, "view=data").Databases
		if len(all) != 2 || all[0].Name != "same://host/app.db" || all[1].Name != "same://host/app.db (2)" || all[0].ID == all[1].ID {
			t.Fatalf("the databases are %+v", all)
		}
		return all[0], all[1]
	}
	await(t, "polls", func() bool { a, b := list(); return a.Lag >= 0 && b.Lag >= 0 })
	one, two := list()
	for _, d := range []databaseData{one, two} {
		if f := ask[filesData](t, page, "view=files&db="+d.ID); f.Error != "" || f.Newest.TXID != d.TXID {
			t.Errorf("the files of %s, which is at %s, are %+v", d.Name, d.TXID, f)
		}
	}
	if one.TXID != p.TXID().String() || two.TXID == one.TXID {
		t.Errorf("the databases are at %s and %s", one.TXID, two.TXID)
	}
	fails.fault.Add(decorate.Rule{Err: fs.ErrPermission})
	await(t, "a failed poll", func() bool { _, d := list(); return d.State == stateBad })
	for range 20 {
		if one, two := list(); one.State != stateGood || two.State != stateBad || len(two.Problems) != 1 {
			t.Fatalf("the databases are %+v and %+v", one, two)
		}
	}
}

// Files are listed when somebody asks, and not again within half a minute.
func TestFiles(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: -1})
	s, p := b.primary("app.db", 10)
	for range 4 {
		p.Exec("INSERT INTO numbers (n) VALUES (1)")
	}
	p.Snapshot()
	p.Compact(1, 2, 4)
	b.open("app.db")
	page := New(Options{}, b.vfs)
	id := one(t, page).ID
	s.trace.Reset()
	f := ask[filesData](t, page, "view=files&db="+id)
	if c := s.trace.Counts(); c.Lists == 0 || c.Reads != 0 {
		t.Errorf("the files took %+v", c)
	}
	s.trace.Reset()
	again := ask[filesData](t, page, "view=files&db="+id)
	if n := len(s.trace.Events()); n != 0 || again.At != f.At {
		t.Errorf("asking again took %d requests", n)
	}
	if f.Error != "" || f.Files != int(p.TXID())+2 || f.Moments != int(p.TXID()) || f.Newest.TXID != p.TXID().String() || len(f.Levels) != 3 || f.Levels[0].Level != 9 || f.Levels[2].Files != int(p.TXID()) {
		t.Errorf("the files are %+v", f)
	}
	if last := f.Last[0]; last.TXID != p.TXID().String() || last.From != (p.TXID()-1).String() {
		t.Errorf("the last transaction is %+v", last)
	}
	for query, want := range map[string]string{
		"view=files&db=none": "the database is not open", "view=files": "the database is not open", "view=changes&db=none": "the database is not open",
		"view=changes&db=" + id + "&from=1&to=2":                               "invalid formatted transaction id",
		"view=changes&db=" + id + "&from=0000000000000001&to=000000000000ffff": "transaction not available",
		"view=changes&db=" + id + "&from=0000000000000001&to=<script>":         "invalid",
	} {
		if got := ask[struct{ Error string }](t, page, query); !strings.Contains(got.Error, want) {
			t.Errorf("%s: %q, want %q", query, got.Error, want)
		}
	}
	s.fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList, decorate.OpListAll), Err: fs.ErrPermission})
	other := New(Options{}, b.vfs)
	if got := ask[filesData](t, other, "view=files&db="+id); !strings.Contains(got.Error, "permission denied") {
		t.Errorf("a listing that fails gives %+v", got)
	}
}

// Changes are read when somebody asks, and once.
func TestChanges(t *testing.T) {
	b := newBed(t, litestream.Options{PollInterval: -1})
	s, p := b.primary("app.db", 500)
	from := p.TXID()
	p.Exec("DELETE FROM numbers WHERE id <= 3; UPDATE numbers SET n = n + 1 WHERE id BETWEEN 10 AND 14; CREATE TABLE other (a); INSERT INTO other VALUES (1), (2)")
	b.open("app.db")
	page := New(Options{}, b.vfs)
	query := fmt.Sprintf("view=changes&db=%s&from=%s&to=%s", one(t, page).ID, from, p.TXID())
	want := []litestream.TableChanges{{Table: "numbers", Deleted: 3, Updated: 5}, {Table: "other", Inserted: 2, Definition: "created"}}
	for range 2 {
		if got := ask[changesData](t, page, query); fmt.Sprint(got.Tables) != fmt.Sprint(want) || got.Error != "" {
			t.Errorf("the changes are %+v, want %+v", got, want)
		}
		s.fault.Add(decorate.Rule{Err: errors.New("storage is not asked again")})
	}
}

// No more requests than maxWork use storage at a time, and one that waits ends with its
// context.
func TestWork(t *testing.T) {
	p := New(Options{}).(*guard).next.(*page)
	var ends []func()
	for range maxWork {
		_, end, err := p.startWork(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.startWork(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("work beyond the limit begins: %v", err)
	}
	ends[0]()
	if _, end, err := p.startWork(t.Context()); err != nil {
		t.Error(err)
	} else {
		end()
	}
	for _, end := range ends[1:] {
		end()
	}
}
