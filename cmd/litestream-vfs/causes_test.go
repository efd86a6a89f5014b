package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/causes"
)

// noLimit is why a program cannot limit the time of a query.
const noLimit = "it has no limits of queries"

// absolute returns the absolute path of a file in the repository.
func absolute(t testing.TB, names ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"..", ".."}, names...)...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// variables returns variables of an environment.
func variables(env map[string]string, more ...string) []string {
	for name, value := range env {
		more = append(more, name+"="+value)
	}
	slices.Sort(more)
	return more
}

// refused are the causes that are errors of a call, which opens nothing.
func refused() map[string]string {
	const why = "the call refuses it before there is a place"
	return map[string]string{"misspelt option": why, "misspelt write mode": why, "unknown option": why}
}

// shown are causes whose texts docs/errors.md shows for each program.
var shown = []string{"wrong access key", "reads are not permitted"}

// moment is the time of a line of the log.
var moment = regexp.MustCompile(`time=\S+ `)

// checkShown checks that docs/errors.md has rows with the texts of a program.
func checkShown(t *testing.T, program string, results []causes.Result) {
	t.Helper()
	page, err := os.ReadFile(absolute(t, "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		text := "`" + strings.ReplaceAll(moment.ReplaceAllString(r.Text, ""), "\n", "`<br>`") + "`"
		if row := fmt.Sprintf("| %s | %s | %s |\n", program, r.Name, text); slices.Contains(shown, r.Name) && !bytes.Contains(page, []byte(row)) {
			t.Errorf("docs/errors.md lacks the row %s", row)
		}
	}
}

// TestCauses_Python runs over the Python package. A text is that of the exception, and
// that of last_error.
func TestCauses_Python(t *testing.T) {
	library := strings.TrimSuffix(extension(t), filepath.Ext(extension(t)))
	python := client(t, "LITESTREAM_TEST_PYTHON")
	checkShown(t, "Python", causes.Run(t, causes.Binding{
		Start: func(t testing.TB, env map[string]string) causes.Program {
			cmd := command(t, variables(env, "PYTHONPATH="+absolute(t, "packages", "python", "src"), "PYTHONDONTWRITEBYTECODE=1"),
				python, absolute(t, "cmd", "litestream-vfs", "testdata", "causes", "child.py"), library)
			return causes.StartChild(t, cmd)
		},
		Lacks:     map[string]string{"the limit of a query": noLimit, "SQLite's shared cache": "the package has no such option"},
		Bare:      map[string]string{"write mode is off": causes.NotAsked},
		Placeless: refused(),
	}))
}

// TestCauses_Node runs over the npm package and node:sqlite. A text is that of the
// exception, and that of lastError.
func TestCauses_Node(t *testing.T) {
	library, node := extension(t), client(t, "LITESTREAM_TEST_NODE22")
	checkShown(t, "Node.js", causes.Run(t, causes.Binding{
		Start: func(t testing.TB, env map[string]string) causes.Program {
			// The package looks for the library beside itself.
			dir := t.TempDir()
			arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
			if arch == "" {
				arch = runtime.GOARCH
			}
			lib := filepath.Join(dir, "lib", runtime.GOOS+"-"+arch)
			code, err := os.ReadFile(absolute(t, "packages", "node", "index.js"))
			if err = errors.Join(err, os.MkdirAll(lib, 0o700), os.Symlink(library, filepath.Join(lib, filepath.Base(library))),
				os.WriteFile(filepath.Join(dir, "index.js"), code, 0o600)); err != nil {
				t.Fatal(err)
			}
			return causes.StartChild(t, command(t, variables(env), node, "--no-warnings", absolute(t, "cmd", "litestream-vfs", "testdata", "causes", "child.js"), dir))
		},
		Lacks:     map[string]string{"the limit of a query": noLimit, "SQLite's shared cache": "the package has no such option"},
		Bare:      map[string]string{"write mode is off": causes.NotAsked},
		Placeless: refused(),
	}))
}

// TestCauses_Shell runs over SQLite's shell. A text is what it writes: its own errors,
// the log and, where neither says why, the last error of litestream_status.
func TestCauses_Shell(t *testing.T) {
	checkShown(t, "SQLite shell", causes.Run(t, causes.Binding{
		Start: func(t testing.TB, env map[string]string) causes.Program { return newShellProgram(t, variables(env)) },
		Lacks: map[string]string{"the limit of a query": noLimit},
		Bare:  map[string]string{"write mode is off": causes.NotAsked},
	}))
}

// TestCauses_Variable misspells a variable. A program need not be for this extension
// alone, so that is a warning and no error.
func TestCauses_Variable(t *testing.T) {
	env := []string{"LITESTREAM_REPLICA_URL=" + sandwiches(t), "LITESTREAM_HYDRATON_ENABLED=1"}
	out, log := shell(t, "", env, ".open file:app.db?vfs=litestream", "SELECT litestream_hydration_status();")
	const want = "unknown variable LITESTREAM_HYDRATON_ENABLED is ignored, did you mean LITESTREAM_HYDRATION_ENABLED?"
	if strings.Count(log, want) != 1 || !strings.Contains(log, "level=WARN") || strings.TrimSpace(out) != "idle" {
		t.Errorf("the shell writes %q, and logs\n%s", out, log)
	}
}

// shellProgram is a shell that loads the extension. Its standard output and standard
// error are one stream.
type shellProgram struct {
	in     io.Writer
	out    *bufio.Reader
	opened int // number of connections
	active int // number of the connection in use
}

func newShellProgram(t testing.TB, env []string) *shellProgram {
	t.Helper()
	cmd := command(t, env, client(t, "LITESTREAM_TEST_SQLITE3"), "-batch", "-init", os.DevNull)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it says so if one of its statements has failed
		_ = out.Close()
	})
	s := &shellProgram{in: in, out: bufio.NewReader(out)}
	if said, err := s.run(".load " + extension(t)); err != nil || said != "" {
		t.Fatalf("load: %s, %v", said, err)
	}
	return s
}

// run runs lines, and returns what the shell writes.
func (s *shellProgram) run(lines ...string) (string, error) {
	const end = "-- the end --\n"
	if _, err := io.WriteString(s.in, strings.Join(lines, "\n")+"\n.print "+end); err != nil {
		return "", err
	}
	var said bytes.Buffer
	for !strings.HasSuffix(said.String(), end) {
		line, err := s.out.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			return said.String(), err
		}
	}
	return strings.TrimSpace(strings.TrimSuffix(said.String(), end)), nil
}

func (s *shellProgram) Open(_ context.Context, url string, options map[string]string) (causes.DB, error) {
	s.opened, s.active = s.opened+1, s.opened
	var lines []string
	if s.active > 0 {
		lines = append(lines, fmt.Sprintf(".connection %d", s.active))
	}
	uri := causes.URI("litestream", url, options)
	said, err := s.run(append(lines, ".open '"+uri+"'")...)
	said = strings.ReplaceAll(said, uri, "...") // the shell repeats what the user has given it
	if err != nil || strings.Contains(said, "Error: ") {
		return nil, errors.New(strings.TrimSpace(said)) // it may have ended
	}
	return &shellDB{s, s.active}, nil
}

// shellDB is a connection of a shell.
type shellDB struct {
	s    *shellProgram
	conn int
}

func (d *shellDB) run(statement string) (string, error) {
	var lines []string
	if d.conn != d.s.active {
		lines, d.s.active = append(lines, fmt.Sprintf(".connection %d", d.conn)), d.conn
	}
	return d.s.run(append(lines, statement+";")...)
}

func (d *shellDB) Exec(_ context.Context, statement string) error {
	said, err := d.run(statement)
	if err != nil || !strings.Contains(said, "rror") {
		return err
	}
	return causes.With(errors.New(said), causes.LastError(d))
}

func (d *shellDB) Query(query string) (string, error) {
	said, err := d.run(query)
	lines := strings.Split(said, "\n")
	return lines[len(lines)-1], err
}

// Close opens another database in the place of this one.
func (d *shellDB) Close() error {
	_, err := d.s.run(fmt.Sprintf(".connection %d", d.conn), ".open :memory:")
	d.s.active = d.conn
	return err
}
