package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/browser"
)

var update = flag.Bool("update", false, "write the pictures of the page to docs")

// hasten is a program that runs before that of the page: timers of seconds take
// milliseconds, window.waiting tells how many timers and requests are under way, and
// window.later waits for twenty such timers.
const hasten = `(() => {
	const timeout = window.setTimeout, clear = window.clearTimeout, fetched = window.fetch, timers = new Set();
	let requests = 0;
	window.setTimeout = (f, ms) => {
		const id = timeout(() => { timers.delete(id); f(); }, Math.min(ms, 20));
		timers.add(id);
		return id;
	};
	window.clearTimeout = (id) => { timers.delete(id); clear(id); };
	window.fetch = (...args) => { requests++; return fetched(...args).finally(() => { requests--; }); };
	window.waiting = () => timers.size + requests;
	window.later = () => new Promise((done) => timeout(done, 400));
})();`

// show serves a page until the test ends, and opens it in a browser. Status is what the
// server answers, 0 for what the page does.
func show(t *testing.T, b *browser.Browser, page http.Handler, v browser.View, user string) (tab *browser.Tab, status *atomic.Int64) {
	t.Helper()
	status = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := status.Load(); s != 0 {
			http.Error(w, "down", int(s))
			return
		}
		page.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	v.Before = hasten
	tab = b.Open(t, strings.Replace(server.URL, "//", "//"+user, 1)+"/", v)
	t.Cleanup(func() {
		for _, url := range tab.Requests() {
			if url := strings.Replace(url, "//"+user, "//", 1); !strings.HasPrefix(url, server.URL+"/") && !strings.HasPrefix(url, "data:") {
				t.Errorf("the page has asked for %s", url)
			}
		}
	})
	return tab, status
}

// wantQuiet expects that nothing went wrong in a page.
func wantQuiet(t *testing.T, tab *browser.Tab) {
	t.Helper()
	if problems := tab.Problems(); len(problems) > 0 {
		t.Errorf("the page has the problems %q", problems)
	}
}

var desk = browser.View{Width: 1280, Height: 900}

// hostile is a name that does harm where it is taken for HTML.
const hostile = `<script>window.hit = 1</script><img src=x onerror="window.hit = 1">&amp;'"`

// The page in a real browser.
func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	t.Run("content", func(t *testing.T) { testContent(t, b) })
	t.Run("refresh", func(t *testing.T) { testRefresh(t, b) })
	t.Run("hostile", func(t *testing.T) { testHostile(t, b) })
	t.Run("many", func(t *testing.T) { testMany(t, b) })
	t.Run("urls", func(t *testing.T) { testURLs(t, b) })
	t.Run("token", func(t *testing.T) { testToken(t, b) })
}

// Each part of the page shows what it is for.
func testContent(t *testing.T, b *browser.Browser) {
	bed := newBed(t, litestream.Options{PollInterval: -1, HydrationEnabled: true})
	_, p := bed.primary("app.db", 3000)
	p.Snapshot()
	p.Exec("DELETE FROM numbers WHERE id <= 3; UPDATE numbers SET n = n + 1 WHERE id BETWEEN 10 AND 14")
	db := bed.open("app.db")
	count(t, db, "SELECT count(*) FROM numbers")
	await(t, "the local copy", func() bool { return bed.vfs.Stats()[0].Hydration.Status == litestream.HydrationComplete })
	tab, _ := show(t, b, New(Options{}, bed.vfs), desk, "")
	tab.Await(t, "the files", `document.querySelectorAll("#line .mark").length === 3 && document.querySelectorAll("#line .snapshot").length === 1`)
	tab.Await(t, "the map", `(() => {
		const c = document.getElementById("map"), colors = new Set();
		const pixels = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) colors.add(pixels[i] + " " + pixels[i + 1] + " " + pixels[i + 2]);
		return colors.size >= 3;
	})()`)
	if err := tab.Eval(`document.querySelector("#changes button").click()`, nil); err != nil {
		t.Fatal(err)
	}
	tab.Await(t, "the changes", `document.body.innerText.includes("numbers: 5 updated, 3 deleted.")`)
	text := tab.Text(t)
	for _, want := range []string{
		"1 database: fine", "app.db", "memory://bucket/app.db", p.TXID().String(), "100 %", "Every page is in the local file", "by_text",
		"4 files", "3 moments can be queried and restored", "This program only reads the database", "Nothing has failed since the database was opened.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	wantQuiet(t, tab)
}

// News show without a reload, in the same nodes, and only while somebody sees them.
func testRefresh(t *testing.T, b *browser.Browser) {
	bed := newBed(t, litestream.Options{PollInterval: 5 * time.Millisecond})
	s, p := bed.primary("app.db", 100)
	bed.open("app.db")
	tab, status := show(t, b, New(Options{KeepFresh: true}, bed.vfs), desk, "")
	contains := func(text string) string { return fmt.Sprintf("document.body.innerText.includes(%q)", text) }
	tab.Await(t, "the transaction", contains(p.TXID().String()))
	if err := tab.Eval(`window.node = document.querySelector("#facts dd"), window.at = document.querySelector("#line"), 1`, nil); err != nil {
		t.Fatal(err)
	}
	txid := p.Exec("INSERT INTO numbers (n) VALUES (1)").String()
	tab.Await(t, "the next transaction", fmt.Sprintf(`document.querySelector("#facts small").textContent === %q`, txid))
	tab.Await(t, "the same nodes", `window.node === document.querySelector("#facts dd") && window.at === document.querySelector("#line")`)

	remove := s.fault.Add(decorate.Rule{Err: fs.ErrPermission})
	tab.Await(t, "a problem", contains("polls fail since")+" && "+contains("What to do: Storage refuses the credentials")+` && document.title === "(1) Databases"`)
	remove()
	tab.Await(t, "the end of the problem", contains("1 database: fine")+" && "+contains("Nothing: it works again."))
	wantQuiet(t, tab)

	status.Store(http.StatusServiceUnavailable)
	tab.Await(t, "the failure", contains("trying again: status 503")+` && document.querySelector("main.stale")`)
	status.Store(0)
	tab.Await(t, "the return", `!document.querySelector("main.stale") && !`+contains("trying again"))

	see := func(state string) {
		t.Helper()
		err := tab.Eval(fmt.Sprintf(`Object.defineProperty(document, "visibilityState", { configurable: true, get: () => %q }), document.dispatchEvent(new Event("visibilitychange"))`, state), nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	see("hidden")
	tab.Await(t, "rest", "window.waiting() === 0")
	before := len(tab.Requests())
	if err := tab.Eval("window.later()", nil); err != nil {
		t.Fatal(err)
	}
	if n := len(tab.Requests()) - before; n > 0 {
		t.Errorf("while nobody sees the page, it has made %d requests", n)
	}
	txid = p.Exec("INSERT INTO numbers (n) VALUES (2)").String()
	see("visible")
	tab.Await(t, "the news", contains(txid))
}

// Names from a database, a store or an error are text.
func testHostile(t *testing.T, b *browser.Browser) {
	bed := newBed(t, litestream.Options{PollInterval: 5 * time.Millisecond, PollIdleAfter: -1, HydrationEnabled: true})
	s, p := bed.primary(hostile, 200)
	p.Exec(`CREATE TABLE "` + strings.ReplaceAll(hostile, `"`, `""`) + `" (a, b); CREATE INDEX "long` + strings.Repeat("x", 300) + `" ON numbers (n)`)
	p.Exec("INSERT INTO \"" + strings.ReplaceAll(hostile, `"`, `""`) + "\" WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500) SELECT i, hex(randomblob(20)) FROM c")
	bed.open(hostile)
	unopened := func() []Unopened { return []Unopened{{hostile + "2", fmt.Errorf("open %s: no", hostile)}} }
	tab, _ := show(t, b, New(Options{Unopened: unopened}, bed.vfs), browser.View{Width: 360, Height: 700, Phone: true, Dark: true}, "")
	tab.Await(t, "the list", `document.querySelectorAll("#databases button").length === 2`)
	for _, id := range []int{0, 1} {
		if err := tab.Eval(fmt.Sprintf(`document.querySelectorAll("#databases button")[%d].click()`, id), nil); err != nil {
			t.Fatal(err)
		}
		tab.Await(t, "the choice", fmt.Sprintf(`document.querySelectorAll("#databases button")[%d].getAttribute("aria-current") === "true" && document.getElementById("name").textContent.startsWith("<script>")`, id))
	}
	tab.Await(t, "the map", `document.getElementById("owners").innerText.includes("<script>window.hit")`)
	tab.Await(t, "the files", `document.querySelectorAll("#changes button").length > 0`)
	if err := tab.Eval(`document.querySelector("#changes button").click()`, nil); err != nil {
		t.Fatal(err)
	}
	tab.Await(t, "the changes", `document.getElementById("changes").innerText.includes("500 inserted")`)
	s.fault.Add(decorate.Rule{Err: fmt.Errorf("%s: %w", hostile, fs.ErrPermission)})
	tab.Await(t, "the problem", `document.getElementById("problems").innerText.includes("onerror=")`)
	var harm int
	if err := tab.Eval(`document.querySelectorAll("img, main script, iframe").length + (window.hit ? 1000 : 0)`, &harm); err != nil || harm != 0 {
		t.Errorf("%d elements come from names, %v", harm, err)
	}
	var wide []string
	err := tab.Eval(`document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "#" + e.id + "." + e.className)`, &wide)
	if err != nil || len(wide) > 0 {
		t.Errorf("on a phone, these are wider than the screen: %q, %v", wide, err)
	}
	wantQuiet(t, tab)
}

// A hundred databases: those with problems come first, and one is found by its name.
func testMany(t *testing.T, b *browser.Browser) {
	bed := newBed(t, litestream.Options{PollInterval: -1})
	first, _ := bed.primary("tenant-000.db", 10)
	for i := 1; i < 100; i++ {
		bed.clients[fmt.Sprintf("tenant-%03d.db", i)] = first
	}
	for i := range 100 {
		c, err := bed.vfs.OpenConn(fmt.Sprintf("tenant-%03d.db", i), nil, litestream.OpenMode{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	unopened := func() []Unopened { return []Unopened{{"tenant-100.db", litestream.ErrNoDatabase}} }
	tab, _ := show(t, b, New(Options{Unopened: unopened}, bed.vfs), desk, "")
	tab.Await(t, "the list", `document.querySelectorAll("#databases button").length === 101`)
	var names []string
	if err := tab.Eval(`[...document.querySelectorAll("#databases .title")].map(e => e.textContent)`, &names); err != nil {
		t.Fatal(err)
	}
	if names[0] != "tenant-100.db" || !slices.IsSorted(names[1:]) || names[1] != "tenant-000.db" {
		t.Errorf("the list is %q", names)
	}
	if text := tab.Text(t); !strings.Contains(text, "101 databases: 1 has a problem, 100 are fine") {
		t.Errorf("the page says:\n%s", text)
	}
	tab.Await(t, "the one with a problem", `document.getElementById("name").textContent === "tenant-100.db"`)
	if err := tab.Eval(`document.getElementById("filter").value = "T-042", document.getElementById("filter").dispatchEvent(new Event("input")), document.querySelector("#databases button").click()`, nil); err != nil {
		t.Fatal(err)
	}
	tab.Await(t, "the choice", `document.querySelectorAll("#databases button").length === 1 && document.getElementById("name").textContent === "tenant-042.db" && document.querySelectorAll("#line rect").length > 0`)
	wantQuiet(t, tab)
}

// Of URLs, the list shows where they differ.
func testURLs(t *testing.T, b *browser.Browser) {
	for _, test := range []struct{ names, want string }{
		{"s3://b/x/one.db s3://b/x/y/two.db", "[one.db y/two.db]"}, {"gs://b/one.db s3://b/one.db", "[gs://b/one.db s3://b/one.db]"},
		{"/a:// s3://b/c", "[/a:// s3://b/c]"}, {"a/one.db a/two.db", "[a/one.db a/two.db]"},
	} {
		unopened := func() (all []Unopened) {
			for name := range strings.FieldsSeq(test.names) {
				all = append(all, Unopened{name, litestream.ErrNoDatabase})
			}
			return all
		}
		tab, _ := show(t, b, New(Options{Unopened: unopened}), desk, "")
		tab.Await(t, "the list", `document.querySelectorAll("#databases button").length === 2`)
		var got []string
		if err := tab.Eval(`[...document.querySelectorAll("#databases .title")].map(e => e.textContent)`, &got); err != nil || fmt.Sprint(got) != test.want {
			t.Errorf("the list of %s is %q, %v", test.names, got, err)
		}
		wantQuiet(t, tab)
	}
}

// A browser gets nothing without the token, and all with it as a password.
func testToken(t *testing.T, b *browser.Browser) {
	bed := newBed(t, litestream.Options{PollInterval: -1})
	bed.primary("app.db", 10)
	bed.open("app.db")
	page := New(Options{Token: "s3cret"}, bed.vfs)
	for _, user := range []string{"", "me:wrong@"} {
		tab, _ := show(t, b, page, desk, user)
		tab.Await(t, "the refusal", `document.readyState === "complete" && !document.body.innerText.includes("app.db") && !document.getElementById("main")`)
	}
	tab, _ := show(t, b, page, desk, "me:s3cret@")
	tab.Await(t, "the page", `document.body.innerText.includes("1 database: fine") && document.querySelectorAll("#line rect").length > 0`)
	wantQuiet(t, tab)
}

// The pictures in docs show the page with databases that are in use.
func TestPictures(t *testing.T) {
	if !*update {
		t.Skip("it writes the pictures in docs, with -update")
	}
	b := browser.Start(t)
	bed := newBed(t, litestream.Options{PollInterval: time.Second, HydrationEnabled: true, HydrationRateLimit: 18 << 10, HydrationConcurrency: 1, RequestPrices: litestream.RequestPrices{}})
	_, p := bed.primary("ratings.db", 30_000)
	p.Exec("CREATE TABLE cities (name TEXT PRIMARY KEY, country) WITHOUT ROWID; CREATE TABLE visits (at, city, note)")
	p.Exec("INSERT INTO cities SELECT text, n FROM numbers WHERE id < 6000")
	p.Exec("INSERT INTO visits SELECT id, n, hex(randomblob(60)) FROM numbers WHERE id < 9000")
	p.Compact(1, 1, p.TXID())
	p.Snapshot()
	for i := range 24 {
		p.Exec(fmt.Sprintf("INSERT INTO visits VALUES (%d, 1, 'new'); UPDATE numbers SET n = n + 1 WHERE id %% 5000 = %d; DELETE FROM cities WHERE name = 'text %d'", i, i, i))
		if i%6 == 5 {
			p.Compact(1, p.TXID()-5, p.TXID())
		}
	}
	bed.primary("orders.db", 400)
	failing, _ := bed.primary("tenants/kiosk.db", 400)
	db := bed.open("ratings.db")
	bed.open("orders.db")
	bed.open("tenants/kiosk.db")
	await(t, "the local copy", func() bool { return bed.vfs.Stats()[1].Hydration.Progress+bed.vfs.Stats()[0].Hydration.Progress > 0 })
	failing.fault.Add(decorate.Rule{Err: fmt.Errorf("list all levels: http status 403: AccessDenied: Access Denied: %w", fs.ErrPermission)})
	page := New(Options{KeepFresh: true}, bed.vfs)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // queries for the chart
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			for range 1 + i*i%23 {
				_ = count(t, db, fmt.Sprintf("SELECT count(*) FROM numbers WHERE id BETWEEN %d AND %d", i*7919%30000, i*7919%30000+300))
			}
			_ = ask[pageData](t, page, "view=data")
			time.Sleep(200 * time.Millisecond)
		}
	}()
	idOf := func(name string) string {
		for _, d := range ask[pageData](t, page, "view=data").Databases {
			if d.Name == name {
				return d.ID
			}
		}
		t.Fatalf("there is no %s", name)
		return ""
	}
	await(t, "half of the local copy", func() bool {
		s, err := bed.vfs.StatsOf(t.Context(), "ratings.db")
		return err == nil && s.Hydration.Progress > 55
	})
	for _, shot := range []struct {
		name   string
		height int // of the picture
		view   browser.View
	}{
		{"light", 1600, browser.View{Width: 1280, Height: 900}},
		{"dark", 900, browser.View{Width: 1280, Height: 900, Dark: true}},
		{"phone", 1500, browser.View{Width: 390, Height: 800, Phone: true}},
	} {
		tab, _ := show(t, b, page, shot.view, "")
		if err := tab.Eval(fmt.Sprintf(`location.hash = "db=%s"`, idOf("ratings.db")), nil); err != nil {
			t.Fatal(err)
		}
		tab.Await(t, "the page", `document.querySelectorAll("#line rect").length > 5 && document.getElementById("name").textContent === "ratings.db"`)
		if err := tab.Eval(`document.querySelector("#changes button").click(), document.querySelector("#line .mark:last-of-type").dispatchEvent(new Event("click"))`, nil); err != nil {
			t.Fatal(err)
		}
		tab.Await(t, "the changes", `document.getElementById("changes").innerText.includes("inserted")`)
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "dashboard-"+shot.name+".png"), fewColors(t, tab.Screenshot(t, shot.view.Width, shot.height)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-done
}

// fewColors returns a picture with a palette, which takes a third of the bytes: the 255
// most frequent colours, and for others the nearest of these.
func fewColors(t *testing.T, b []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	bounds, uses := from.Bounds(), make(map[color.Color]int)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			uses[from.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(uses), func(a, b color.Color) int { return cmp.Compare(uses[b], uses[a]) })
	to := image.NewPaletted(bounds, palette[:min(len(palette), 255)])
	imagedraw.Draw(to, bounds, from, bounds.Min, imagedraw.Src)
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, to); err != nil {
		t.Fatal(err)
	}
	return small.Bytes()
}
