package docs_test

import (
	"context"
	"fmt"
	"math"
	"path"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

const sandwiches = root + "/testdata/replicas/sandwiches"

// words stand for defaults that text cannot set, and for zeros that mean
// something else than the number.
var words = map[string]string{
	"MaxConcurrentRequests": fmt.Sprint(litestream.DefaultMaxConcurrentRequests),
	"HydrationRateLimit":    "no limit",
	"SnapshotInterval":      "as SnapshotRetention",
	"SnapshotRetention":     "for ever",
	"Logger":                "slog.Default()",
	"LocalFiles":            litestream.AllLocalFiles.String(),
}

// TestOptions checks that options.md has a table of all options, as the code
// has them, and a text about each.
func TestOptions(t *testing.T) {
	parameters := make(map[string]string) // by field
	for _, name := range litestream.OptionNames() {
		parameters[fieldOf(t, name)] = name
	}
	opened := newOpener(t, "options", func(*litestream.Options) {})
	if err := opened.open(t, ""); err != nil {
		t.Fatal(err)
	}
	text := readFile(t, "docs/options.md")
	var b strings.Builder
	b.WriteString("| field | parameter | variable | default | range |\n|---|---|---|---|---|\n")
	for _, field := range reflect.VisibleFields(reflect.TypeFor[litestream.Options]()) {
		if !field.IsExported() {
			continue
		}
		parameter, variable := parameters[field.Name], ""
		if parameter != "" {
			variable = code("LITESTREAM_" + strings.ToUpper(parameter))
			parameter = code(parameter)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", code(field.Name), parameter, variable, opened.defaultOf(t, field.Name, parameters[field.Name]), rangeOf(t, field, parameters[field.Name]))
		if !strings.Contains(text, "\n* `"+field.Name+"`") {
			t.Errorf("options.md does not say what %s means", field.Name)
		}
	}
	checkMade(t, path.Join("docs", "options.md"), b.String())
}

func code(s string) string { return "`" + s + "`" }

// otherValue returns a value of a parameter that is not its default.
func otherValue(parameter string) string {
	for _, value := range []string{"7s", "7", "true", "pages"} {
		if new(litestream.Options).Set(parameter, value) == nil {
			return value
		}
	}
	return "x"
}

// fieldOf returns the field that a parameter sets.
func fieldOf(t *testing.T, parameter string) string {
	t.Helper()
	var zero, set litestream.Options
	if err := set.Set(parameter, otherValue(parameter)); err != nil {
		t.Fatal(err)
	}
	before, after := reflect.ValueOf(zero), reflect.ValueOf(set)
	for _, field := range reflect.VisibleFields(before.Type()) {
		if field.IsExported() && fmt.Sprint(before.FieldByIndex(field.Index)) != fmt.Sprint(after.FieldByIndex(field.Index)) {
			return field.Name
		}
	}
	t.Fatalf("parameter %s sets no field", parameter)
	return ""
}

// opener opens databases, and collects what is logged about that.
type opener struct {
	vfs string // name
	log testlog.Buffer
}

func newOpener(t *testing.T, name string, set func(*litestream.Options)) *opener {
	t.Helper()
	o := &opener{vfs: name}
	opts := &litestream.Options{Logger: testlog.New(t, &o.log)}
	set(opts)
	vfs := litestream.NewVFS(file.NewReplicaClient(sandwiches), opts)
	if err := vfstest.Register(name, vfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return o
}

// open opens a connection with parameters until the end of the test.
func (o *opener) open(t *testing.T, parameters string) error {
	t.Helper()
	db, err := sqlitetest.Open("file:app.db?vfs=" + o.vfs + "&" + parameters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db.Ping()
}

// fails returns what is logged about an open that fails.
func (o *opener) fails(t *testing.T, parameters string) string {
	t.Helper()
	before := len(o.log.String())
	if err := o.open(t, parameters); err == nil {
		t.Errorf("a database opens with %q", parameters)
	}
	return o.log.String()[before:]
}

// defaultOf returns what stands for the zero value of a field: the value that
// a database is open with, when another connection asks for another one.
func (o *opener) defaultOf(t *testing.T, field, parameter string) string {
	t.Helper()
	if word := words[field]; word != "" || parameter == "" {
		return word
	}
	problem := o.fails(t, parameter+"="+otherValue(parameter))
	m := regexp.MustCompile(parameter + ` is (\S+), not`).FindStringSubmatch(problem)
	if m == nil {
		t.Fatalf("parameter %s: no default in %q", parameter, problem)
	}
	values := strings.Split(strings.Trim(m[1], `\"`), ",")
	for i, value := range values { // 5m0s is 5m, and 1h0m0s is 1h
		if strings.HasSuffix(value, "m0s") {
			values[i] = strings.TrimSuffix(strings.TrimSuffix(value, "0s"), "h0m")
			if strings.HasSuffix(value, "h0m0s") {
				values[i] += "h"
			}
		}
	}
	return strings.Join(values, ",")
}

var rangePattern = regexp.MustCompile(`from (\S+) to ([^\s"\\]+)`)

// rangeOf returns the range of a field, from the error about a wrong value.
func rangeOf(t *testing.T, field reflect.StructField, parameter string) string {
	t.Helper()
	var problem string
	switch {
	case field.Type.Kind() == reflect.Bool:
		return "true, false"
	case field.Type == reflect.TypeFor[litestream.LocalFiles]():
		return fmt.Sprintf("%v, %v, %v", litestream.AllLocalFiles, litestream.ExistingLocalFiles, litestream.NoLocalFiles)
	case field.Type == reflect.TypeFor[litestream.HydrationMode]():
		return fmt.Sprintf("%s, %s", litestream.HydrateAll, litestream.HydratePages)
	case parameter != "" && field.Type.Kind() != reflect.String:
		problem = new(litestream.Options).Set(parameter, "wrong").Error()
	case field.Type.Kind() == reflect.Int:
		o := newOpener(t, field.Name, func(opts *litestream.Options) {
			reflect.ValueOf(opts).Elem().FieldByIndex(field.Index).SetInt(math.MaxInt32)
		})
		problem = o.fails(t, "")
	default:
		return ""
	}
	m := rangePattern.FindStringSubmatch(problem)
	if m == nil {
		t.Fatalf("option %s: no range in %q", field.Name, problem)
	}
	return m[1] + " to " + m[2]
}
