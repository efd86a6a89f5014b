// Package causes is the table of what goes wrong, for tests: each way in which an
// open, a read, a write or a commit fails, how to bring it about, and what the error
// says then. Run brings them all about through one binding of SQLite.
//
// The store is an S3 server in the process of the test, so that bindings in other
// processes reach it as well.
package causes

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/s3"
)

// Binding is a way to use the library.
type Binding struct {
	// Start starts a program that uses the library, with variables of its
	// environment in addition to those of the test. It ends with the test.
	Start func(t testing.TB, env map[string]string) Program

	// Sentinels says that errors.Is finds the causes of errors.
	Sentinels bool

	// Lacks has causes, by their names, that do not exist with the binding, and why.
	Lacks map[string]string

	// Bare has causes, by their names, of which the text is SQLite's or the driver's
	// alone, and why. Of these, Run only checks what a text must not have.
	Bare map[string]string

	// Placeless has causes, by their names, of which the text has no place, and why.
	Placeless map[string]string
}

// Program is a running program that uses the library. Its methods are called by one
// goroutine at a time.
type Program interface {
	// Open opens a database by the URL of its replica, with options by their
	// names. Each call opens another connection.
	Open(ctx context.Context, url string, options map[string]string) (DB, error)
}

// DB is a connection. One goroutine uses it.
type DB interface {
	// Exec runs a statement to its end. The error has everything that the program
	// tells its user.
	Exec(ctx context.Context, statement string) error

	// Query returns the first value of the first row.
	Query(query string) (string, error)

	Close() error
}

// Occasion is when a cause shows.
type Occasion string

// The occasions.
const (
	Opening Occasion = "open"
	Reading Occasion = "read"
	Writing Occasion = "write"
	Commit  Occasion = "commit"
	Travel  Occasion = "time travel"

	Hydration Occasion = "hydration"
)

// Cause is a way in which something fails.
type Cause struct {
	Name string
	When Occasion

	// Fail brings the failure about and returns the error.
	Fail func(w *World) error

	// Says are texts that the error has.
	Says []string

	// Place are texts that the error has for the place. Nil: bucket and path of the
	// replica, and the address of the endpoint.
	Place []string

	// MaySay is a text that no other error has.
	MaySay string

	// Is is what errors.Is finds. Nil: no sentinel.
	Is error

	// Requests limits the number of requests of a failure that is not tried again.
	// Negative: there is none. Zero: any number.
	Requests int

	// Until is the option that limits the time of a failure that is tried again.
	Until string
}

// atOnce limits the time of a failure that is not tried again. It is less than the
// defaults of the options that limit others, and enough for a program to start on a
// machine that has much to do.
const atOnce = 20 * time.Second

// Result is a cause with the text of its error.
type Result struct {
	Cause
	Text string // with the same names and numbers in each run
}

// World is what a cause has to bring its failure about.
type World struct {
	T       *testing.T
	Dir     string            // an empty folder
	Env     map[string]string // of programs that are started afterwards
	binding Binding
	server  *server
	program Program
	dbs     []DB
	began   time.Time // when the last statement began
	before  int       // number of requests before it
}

// replicaPath is the path of the replica in the bucket.
const replicaPath = "app.db"

// URL returns the URL of the replica, with more parameters.
func (w *World) URL(parameters ...string) string { return w.urlOf(replicaPath, parameters...) }

func (w *World) urlOf(path string, parameters ...string) string {
	return "s3://" + storetest.Bucket + "/" + path + "?" + strings.Join(append([]string{"endpoint=" + w.server.http.URL}, parameters...), "&")
}

// Primary returns a primary that has written two small tables, t and big, in three
// transactions.
func (w *World) Primary() *ltxtest.Primary {
	w.T.Helper()
	p := ltxtest.New(w.T, w.client(), ltxtest.Options{})
	p.Exec("CREATE TABLE t (n INTEGER)")
	p.Exec("INSERT INTO t VALUES (1)")
	// The numbers look random, so that the table is large in an LTX file as well.
	p.Exec("CREATE TABLE big AS WITH RECURSIVE c(x, h) AS (SELECT 1, 12345 UNION ALL SELECT x+1, (h*1103515245 + 12345) % 2147483648 FROM c LIMIT 9000)" +
		" SELECT x, printf('%x%x%x', h, h*31 % 2147483647, h*17 % 999999937) AS b FROM c")
	return p
}

// client returns a client of the replica.
func (w *World) client() *s3.ReplicaClient {
	c := s3.NewReplicaClient()
	c.Bucket, c.Path, c.Endpoint, c.ForcePathStyle = storetest.Bucket, replicaPath, w.server.http.URL, true
	c.AccessKeyID, c.SecretAccessKey = keyID, secretKey
	return c
}

// Program returns a program, the same one each time.
func (w *World) Program() Program {
	if w.program == nil {
		w.program = w.binding.Start(w.T, w.Env)
	}
	return w.program
}

// TryOpen opens a database, with names and values of options.
func (w *World) TryOpen(p Program, url string, options ...string) (DB, error) {
	w.begin()
	db, err := p.Open(w.T.Context(), url, pairs(options))
	if err == nil {
		w.dbs = append(w.dbs, db)
	}
	return db, err
}

// Open opens a database, which must succeed.
func (w *World) Open(p Program, url string, options ...string) DB {
	w.T.Helper()
	db, err := w.TryOpen(p, url, options...)
	if err != nil {
		w.T.Fatal(err)
	}
	return db
}

// OpenFails opens a database that cannot be opened, and returns the error of the open
// or of the first statement.
func (w *World) OpenFails(url string, options ...string) error {
	db, err := w.TryOpen(w.Program(), url, options...)
	if err != nil {
		return err
	}
	return db.Exec(w.T.Context(), "SELECT n FROM t")
}

// Must runs a statement, which must succeed.
func (w *World) Must(db DB, statement string) {
	w.T.Helper()
	if err := db.Exec(w.T.Context(), statement); err != nil {
		w.T.Fatalf("%s: %v", statement, err)
	}
}

// Fails runs a statement and returns its error.
func (w *World) Fails(db DB, statement string) error {
	w.begin()
	return db.Exec(w.T.Context(), statement)
}

// failsLater is Fails as soon as the error has a text, which it has not at first.
func (w *World) failsLater(db DB, statement, text string) (err error) {
	for deadline := time.Now().Add(atOnce); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = w.Fails(db, statement); err == nil || strings.Contains(err.Error(), text) {
			break
		}
	}
	return err
}

func (w *World) begin() { w.began, w.before = time.Now(), w.server.count() }

func pairs(options []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i+1 < len(options); i += 2 {
		m[options[i]] = options[i+1]
	}
	return m
}

// never are texts that no error has: secrets, and texts of other causes.
var never = []string{secretKey, Password, "invalid argument", "no such file or directory"}

// Password is a secret in URLs.
const Password = "Pa55w0rd"

// Run brings all causes about, and checks the texts. It returns them in the order
// of the table.
func Run(t *testing.T, b Binding) (results []Result) {
	known := make(map[string]bool)
	for _, c := range Table() {
		known[c.Name] = true
		if _, ok := b.Lacks[c.Name]; ok {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if r, ok := run(t, b, c); ok {
				results = append(results, r)
			}
		})
	}
	for _, exceptions := range []map[string]string{b.Lacks, b.Bare, b.Placeless} {
		for name := range exceptions {
			if !known[name] {
				t.Errorf("%q is not in the table", name)
			}
		}
	}
	byText := make(map[string]string)
	for _, r := range results {
		if other, ok := byText[r.Text]; ok && b.Bare[r.Name] == "" {
			t.Errorf("%s and %s share a text: %s", r.Name, other, r.Text)
		}
		byText[r.Text] = r.Name
	}
	return results
}

// run brings one cause about.
func run(t *testing.T, b Binding, c Cause) (r Result, ok bool) {
	w := &World{T: t, Dir: t.TempDir(), binding: b, server: newServer(t), Env: map[string]string{
		"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secretKey,
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
		"AWS_EC2_METADATA_DISABLED": "true", "XDG_STATE_HOME": t.TempDir(),
	}}
	defer func() {
		w.server.setFault(nil)
		for _, db := range slices.Backward(w.dbs) {
			_ = db.Close() // after many causes it says what the statement has said
		}
	}()
	err := c.Fail(w)
	took, requests := time.Since(w.began), w.server.count()-w.before
	if err == nil {
		t.Error("no error")
		return r, false
	}
	text := err.Error()
	t.Logf("%s, %d requests: %s", took.Round(time.Millisecond), requests, text)
	wanted := []string{"s3://bucket/" + replicaPath, "HOST"}
	if c.Place != nil {
		wanted = c.Place
	}
	if b.Placeless[c.Name] != "" {
		wanted = nil
	}
	if wanted = slices.Concat(c.Says, wanted); b.Bare[c.Name] != "" {
		wanted = nil
	}
	for _, want := range wanted {
		if want = strings.NewReplacer("HOST", w.server.host(), "DIR", w.Dir).Replace(want); !strings.Contains(text, want) {
			t.Errorf("the error does not say %q: %s", want, text)
		}
	}
	for _, no := range never {
		if strings.Contains(text, no) && no != c.MaySay {
			t.Errorf("the error says %q: %s", no, text)
		}
	}
	if c.Is != nil && b.Sentinels && !errors.Is(err, c.Is) {
		t.Errorf("the error is not %v: %v", c.Is, err)
	}
	if took > atOnce { // also of one that is tried again, with the options that it has
		t.Errorf("it took %s, want at most %s", took, atOnce)
	}
	if c.Requests != 0 && requests > max(c.Requests, 0) {
		t.Errorf("%d requests, want at most %d", requests, max(c.Requests, 0))
	}
	return Result{Cause: c, Text: w.same(text)}, true
}

// Numbers that differ from run to run.
var (
	localPort = regexp.MustCompile(`127\.0\.0\.1:\d+->`)
	resolved  = regexp.MustCompile(`lookup minio\.invalid[^\n"]*`) // each resolver says it in its own words
	kept      = regexp.MustCompile(`buffer-\d+\.kept`)
)

// same returns a text that is the same in each run.
func (w *World) same(text string) string {
	text = strings.NewReplacer(w.server.host(), "127.0.0.1:9000", w.Dir, "/folder", w.Env["XDG_STATE_HOME"], "/home/user/.local/state").Replace(text)
	text = localPort.ReplaceAllString(text, "127.0.0.1:40000->")
	text = resolved.ReplaceAllString(text, "lookup minio.invalid: no such host")
	return kept.ReplaceAllString(text, "buffer-4711.kept")
}

// within runs f with a context that ends after d.
func within(d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return f(ctx)
}

// change changes an object of the server.
func (w *World) change(key string, change func([]byte) []byte) {
	w.T.Helper()
	body, ok := w.server.Get(key)
	if !ok {
		w.T.Fatalf("there is no object %s", key)
	}
	w.server.Put(key, change(slices.Clone(body)))
}

// hydrationError waits until hydration has failed, and returns why.
func (w *World) hydrationError(db DB) error {
	w.T.Helper()
	w.begin()
	for deadline := w.began.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, err := db.Query("PRAGMA litestream_status")
		if err != nil {
			w.T.Fatal(err)
		}
		var status struct {
			Hydration struct{ Status, Error string } `json:"hydration"`
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			w.T.Fatal(err)
		}
		if status.Hydration.Status == "failed" {
			return errors.New(status.Hydration.Error)
		}
	}
	return nil
}
