package litestream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ltxvfs/litestream"

// layer states what packages of this module may import of it.
type layer struct {
	// packages are patterns: a path within the module, "." for the root, or a
	// path that ends in "/..." for everything below it. A package belongs to
	// the first layer that matches it.
	packages []string

	// may are the patterns of the packages that may be imported, directly or
	// by way of others.
	may []string
}

// contract is what every store is built on.
var contract = []string{"replica", "internal/clientio", "internal/nearest"}

// These are the layers of the engine. Each list is what a layer may import, and
// the next layer builds on it.
var (
	belowView   = append([]string{"internal/commitlog", "internal/dbheader", "internal/errs", "internal/ltxio"}, contract...)
	belowRemote = append([]string{"internal/jitter", "internal/view"}, belowView...)
	belowPages  = append([]string{"internal/remote", "internal/task", "internal/btree", "internal/fulltext", "internal/sqllists", "internal/sqltokens"}, belowRemote...)
	onDisk      = []string{"internal/diskhook", "internal/ownfile", "internal/pagefile", "internal/pageshare"}
)

// layers are ordered from the packages that know nothing of their callers to
// the programs. A package below internal/ that imports no other of this module
// needs no entry.
var layers = []layer{
	{packages: []string{"internal/clientio"}, may: []string{"internal/nearest"}},
	{packages: []string{"replica"}, may: []string{"internal/clientio", "internal/nearest"}},
	{packages: []string{"memory"}, may: contract},
	{packages: []string{"file", "s3", "gs", "abs", "sftp", "nats", "oss", "https", "webdav"}, may: append([]string{"internal/booltext", "internal/bytesize", "internal/webindex"}, contract...)},
	{packages: []string{"decorate"}, may: contract},
	{packages: []string{"replicatest"}, may: contract},
	{packages: []string{"internal/sim"}, may: append([]string{"memory"}, contract...)},

	// These are parts of programs, and tests that run the whole library.
	{packages: []string{"internal/extension", "internal/dashboard"}, may: []string{".", "replica", "file", "internal/..."}},
	{packages: []string{"internal/killtest", "internal/vfstest"}, may: []string{".", "replica", "file", "ncruces", "internal/..."}},
	{packages: []string{"internal/causes"}, may: []string{".", "replica", "file", "s3", "replicatest", "ncruces", "internal/..."}},
	{packages: []string{"internal/storetest/sqltest", "internal/sqlsuite"}, may: []string{".", "replica", "file", "ncruces", "replicatest", "decorate", "internal/..."}},
	// These are tests of stores, which use the conformance suite to write
	// files.
	{packages: []string{"internal/storetest"}, may: append([]string{"replicatest", "internal/testscale"}, contract...)},

	{packages: []string{"internal/storetest/apache", "internal/storetest/sftptest"}, may: []string{"internal/storetest/daemon"}},

	// These are formats and mechanisms that import others.
	{packages: []string{"internal/errs"}, may: []string{"internal/ltxio"}},
	{packages: []string{"internal/dbheader"}, may: []string{"internal/errs", "internal/ltxio"}},
	{packages: []string{"internal/survey"}, may: contract},
	{packages: []string{"internal/fulltext", "internal/owners"}, may: []string{"internal/btree"}},
	{packages: []string{"internal/sqllists"}, may: []string{"internal/btree", "internal/sqltokens"}},
	{packages: []string{"internal/pagefile", "internal/pageshare"}, may: []string{"internal/ownfile"}},
	{packages: []string{"internal/livefile"}, may: []string{"internal/dbheader", "internal/errs", "internal/ltxio"}},
	{packages: []string{"internal/superjournal"}, may: []string{"internal/openfiles", "internal/tempfile"}},
	{packages: []string{"internal/osvfs"}, may: []string{"internal/openfiles"}},
	{packages: []string{"internal/cvfs"}, may: []string{"internal/btree", "internal/changetable", "internal/mainfile", "internal/openfiles", "internal/sqllists", "internal/sqltokens", "internal/superjournal", "internal/tempfile"}},
	{packages: []string{"internal/feed"}, may: []string{"internal/task"}},
	{packages: []string{"internal/commitdetect"}, may: []string{"internal/openfiles", "internal/superjournal", "internal/tempfile"}},
	{packages: []string{"internal/badbytes"}, may: append([]string{"internal/btree"}, belowRemote...)},
	{packages: []string{"internal/ltxtest"}, may: []string{"internal/sqlitetest"}},
	{packages: []string{"internal/btree/btreetest"}, may: []string{"internal/btree"}},
	{packages: []string{"internal/mutants"}, may: []string{"internal/mutants/active"}},

	// These are the parts of the engine. They import neither the root nor a
	// store, and hydration, write mode and compaction do not import each other.
	{packages: []string{"internal/view"}, may: belowView},
	{packages: []string{"internal/view/viewtest"}, may: belowRemote},
	{packages: []string{"internal/remote"}, may: append([]string{"internal/task"}, belowRemote...)},
	{packages: []string{"internal/pages"}, may: belowPages},
	{packages: []string{"internal/hydrate"}, may: slices.Concat([]string{"internal/pages"}, onDisk, belowPages)},
	{packages: []string{"internal/write"}, may: slices.Concat([]string{"internal/outcome", "internal/pages", "internal/tempfile"}, onDisk, belowPages)},
	{packages: []string{"internal/compact"}, may: append([]string{"internal/remote", "internal/task"}, belowRemote...)},

	// What differs between two views is told from their pages alone.
	{packages: []string{"internal/rowdiff"}, may: append([]string{"internal/btree", "internal/sqltokens"}, belowRemote...)},

	// What operators do with whole replicas uses parts of the engine, and needs
	// no SQLite.
	{packages: []string{"maintain"}, may: slices.Concat([]string{"internal/compact", "internal/ownfile", "internal/pagefile", "internal/remote", "internal/survey", "internal/task", "internal/timeexpr", "internal/webindex"}, belowRemote)},

	// The rest imports nothing of this module.
	{packages: []string{"internal/..."}},
	{packages: []string{"."}, may: []string{"replica", "file", "internal/..."}},

	{packages: []string{"docs"}}, // it holds only tests
	{packages: []string{"metrics", "ncruces"}, may: []string{".", "replica", "file", "internal/..."}},
	{packages: []string{"cmd/...", "examples/...", "docs"}, may: []string{
		".", "maintain", "replica", "file", "memory", "s3", "gs", "abs", "sftp", "nats", "oss", "https", "webdav", "decorate", "replicatest", "metrics", "ncruces", "internal/...",
	}},
}

// highInternal are the packages below internal/ that stand above the root, or
// that serve tests. The root must not import them, although "internal/..."
// matches them.
var highInternal = []string{
	"internal/causes", "internal/dashboard", "internal/extension", "internal/killtest", "internal/livefile", "internal/storetest", "internal/storetest/sqltest", "internal/storetest/sftptest", "internal/storetest/daemon",
	"internal/sqlsuite", "internal/sqlsuite/remote", "internal/btree/btreetest", "internal/ltxtest", "internal/sqlitetest", "internal/testlog", "internal/testscale",
	"internal/mutants", "internal/mutants/active", "internal/sim", "internal/vfstest", "internal/view/viewtest", "internal/network", "internal/browser", "internal/badbytes", "internal/goldenfile",
}

// drivers are the packages that bind SQLite to Go, with all packages below
// them.
var drivers = []string{"github.com/mattn/go-sqlite3", "github.com/psanford/sqlite3vfs", "github.com/ncruces/go-sqlite3"}

// adapters are patterns of path.Match for the files that may import a driver. A
// pattern must go when none of the files that it matches imports one.
var adapters = []string{
	// These belong to the library.
	"driver_*.go",
	"ncruces/*.go",
	"internal/livefile/*.go",
	"internal/osvfs/*.go",
	"internal/sharedcache/*.go",
	"internal/sqlfunc/*.go",

	// These are helpers of tests.
	"internal/sqlitetest/*.go",
	"internal/vfstest/*.go",

	// These are programs.
	"cmd/ltxvfs/*.go",
	"examples/*/*.go",
}

// protocols are modules that only the stores of their protocol import, or only what
// makes metrics, so that no other program contains them.
var protocols = []string{"github.com/prometheus", "github.com/pkg/sftp", "golang.org/x/crypto/ssh", "github.com/nats-io/nats.go", "github.com/aliyun/alibabacloud-oss-go-sdk-v2"}

// protocolStores are patterns of path.Match for the files that may import one.
var protocolStores = []string{"metrics/*.go", "cmd/ltxvfs/*.go", "sftp/*.go", "nats/*.go", "oss/*.go", "internal/storetest/sftptest/*.go"}

// imports maps a package to the packages that it imports. Paths of this module
// are relative to it, and "." is the root.
type imports map[string][]string

// isOurs reports whether a path of an import graph is in this module.
func (g imports) isOurs(pkg string) bool {
	_, ok := g[pkg]
	return ok
}

// matches reports whether a pattern of a layer matches a package.
func matches(pattern, pkg string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(pkg, dir+"/")
	}
	return pattern == pkg
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// layerOf returns the layer of a package, or nil.
func layerOf(layers []layer, pkg string) *layer {
	i := slices.IndexFunc(layers, func(l layer) bool { return matchesAny(l.packages, pkg) })
	if i < 0 {
		return nil
	}
	return &layers[i]
}

// mayImport reports whether the layer allows a package. A package of high needs
// a layer that may import the root, or that names the package.
func (l *layer) mayImport(pkg string, high []string) bool {
	if slices.Contains(high, pkg) && !slices.Contains(l.may, ".") {
		return slices.Contains(l.may, pkg)
	}
	return matchesAny(l.may, pkg)
}

// checkLayers returns what is wrong with an import graph: one line for each
// package that is in no layer, and one for each package that its layer forbids,
// with a shortest chain of imports that leads to it. A chain ends at the first
// forbidden package.
func checkLayers(g imports, layers []layer, high []string) (wrong []string) {
	for _, from := range slices.Sorted(maps.Keys(g)) {
		l := layerOf(layers, from)
		if l == nil {
			wrong = append(wrong, fmt.Sprintf("%s is in no layer", from))
			continue
		}
		chains := map[string]string{from: ""} // chains by the package at their end
		for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
			for _, dep := range g[queue[0]] {
				if _, ok := chains[dep]; ok || !g.isOurs(dep) {
					continue
				}
				chains[dep] = chains[queue[0]] + " -> " + dep
				if l.mayImport(dep, high) {
					queue = append(queue, dep)
				} else {
					wrong = append(wrong, fmt.Sprintf("%s must not import %s: %s%s", from, dep, from, chains[dep]))
				}
			}
		}
	}
	return wrong
}

// checkDrivers returns what is wrong with the imports of files: files that
// import a driver, or the module of a protocol, without being an adapter, and
// patterns without such a file.
func checkDrivers(files imports, drivers, adapters []string) (wrong []string) {
	used := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		i := slices.IndexFunc(files[file], func(dep string) bool {
			return slices.ContainsFunc(drivers, func(d string) bool { return dep == d || strings.HasPrefix(dep, d+"/") })
		})
		if i < 0 {
			continue
		}
		adapter := slices.IndexFunc(adapters, func(pattern string) bool { ok, err := path.Match(pattern, file); return ok && err == nil })
		if adapter < 0 {
			wrong = append(wrong, fmt.Sprintf("%s imports the driver %s and is no adapter", file, files[file][i]))
		} else {
			used[adapters[adapter]] = true
		}
	}
	for _, pattern := range adapters {
		if !used[pattern] {
			wrong = append(wrong, fmt.Sprintf("no file that matches %s imports a driver", pattern))
		}
	}
	return wrong
}

// listImports adds the imports of this module's packages to g, for the given
// value of CGO_ENABLED and build tags, and without those of tests.
func listImports(t *testing.T, g imports, cgo, tags string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", tags, "-json=ImportPath,Imports", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	relative := func(pkg string) string {
		if pkg == module {
			return "."
		}
		return strings.TrimPrefix(pkg, module+"/")
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		name := relative(pkg.ImportPath)
		for _, dep := range pkg.Imports {
			if dep = relative(dep); !slices.Contains(g[name], dep) {
				g[name] = append(g[name], dep)
			}
		}
		if g[name] == nil {
			g[name] = []string{}
		}
	}
}

// parseImports returns the imports of all files of this module except tests,
// whatever their build constraints are.
func parseImports(t *testing.T) imports {
	t.Helper()
	files := imports{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if base := entry.Name(); name != "." && (err == nil || base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
				return fs.SkipDir // another module, or a folder without code of this one
			}
			return nil
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		for _, spec := range parsed.Imports {
			files[name] = append(files[name], strings.Trim(spec.Path.Value, `"`))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// No package imports one that stands above it, and only adapters import a
// driver of SQLite.
func TestLayers(t *testing.T) {
	g := imports{}
	listImports(t, g, "1", "")
	listImports(t, g, "1", "SQLITE3VFS_LOADABLE_EXT")
	listImports(t, g, "0", "")
	for _, wrong := range checkLayers(g, layers, highInternal) {
		t.Error(wrong)
	}
	files := parseImports(t)
	for _, wrong := range append(checkDrivers(files, drivers, adapters), checkDrivers(files, protocols, protocolStores)...) {
		t.Error(wrong)
	}
}

// The rules of this module reject every import that goes upwards.
func TestLayers_Rules(t *testing.T) {
	base := imports{
		"internal/clientio": {"context"}, "internal/bytesize": {}, "internal/btree": {}, "internal/ltxio": {}, "internal/task": {},
		"internal/ownfile": {}, "internal/pagefile": {"internal/ownfile"}, "internal/tempfile": {}, "internal/commitdetect": {"internal/tempfile"},
		"internal/errs": {"internal/ltxio"}, "internal/dbheader": {"internal/errs"},
		"internal/view": {"internal/dbheader", "replica"}, "internal/remote": {"internal/view", "internal/clientio"},
		"internal/pages":   {"internal/remote", "internal/btree", "internal/task"},
		"internal/hydrate": {"internal/pages", "internal/pagefile"}, "internal/write": {"internal/pages", "internal/pagefile", "internal/tempfile"},
		"internal/compact":  {"internal/remote", "internal/task"},
		"internal/killtest": {".", "internal/vfstest"}, "internal/extension": {"."}, "internal/ltxtest": {"internal/sqlitetest"},
		"internal/sqlitetest": {"github.com/mattn/go-sqlite3"}, "internal/vfstest": {".", "ncruces"}, "ncruces": {"."},
		"internal/storetest": {"replicatest"}, "internal/storetest/sqltest": {".", "internal/storetest"},
		"replica": {"internal/clientio"}, "file": {"replica"}, "memory": {"internal/clientio"}, "s3": {"replica", "internal/bytesize"},
		"decorate": {"replica"}, "replicatest": {"replica"},
		".":                  {"replica", "file", "internal/hydrate", "internal/write", "internal/compact"},
		"cmd/litestream-vfs": {".", "s3", "internal/extension"}, "examples/query": {".", "memory", "internal/ltxtest"},
	}
	for _, tt := range []struct {
		from, to string
		want     string // the line of the error, or part of it; empty: allowed
	}{
		{"internal/pages", "replica", ""},
		{"internal/pages", "internal/view", ""},
		{"internal/hydrate", "internal/remote", ""},
		{"internal/write", "internal/ownfile", ""},
		{"internal/compact", "internal/errs", ""},
		{".", "internal/bytesize", ""},
		{".", "internal/commitdetect", ""},
		{"internal/errs", "internal/view", "internal/errs must not import internal/view"},
		{"internal/ltxio", "internal/errs", "internal/ltxio must not import internal/errs"},
		{"internal/bytesize", "internal/ltxio", "internal/bytesize must not import internal/ltxio"},
		{"internal/task", "internal/view", "internal/task must not import internal/view"},
		{"internal/view", "internal/remote", "internal/view must not import internal/remote: internal/view -> internal/remote"},
		{"internal/view", "internal/task", "internal/view must not import internal/task"},
		{"internal/view", "internal/write", "internal/view must not import internal/write"},
		{"internal/remote", "internal/pages", "internal/remote must not import internal/pages"},
		{"internal/remote", "internal/compact", "internal/remote must not import internal/compact"},
		{"internal/pages", "internal/hydrate", "internal/pages must not import internal/hydrate"},
		{"internal/pages", "internal/write", "internal/pages must not import internal/write"},
		{"internal/pages", "internal/tempfile", "internal/pages must not import internal/tempfile"},
		{"internal/hydrate", "internal/write", "internal/hydrate must not import internal/write"},
		{"internal/write", "internal/hydrate", "internal/write must not import internal/hydrate"},
		{"internal/write", "internal/compact", "internal/write must not import internal/compact"},
		{"internal/compact", "internal/write", "internal/compact must not import internal/write"},
		{"internal/compact", "internal/pages", "internal/compact must not import internal/pages"},
		{"internal/compact", ".", "internal/compact must not import .: internal/compact -> ."},
		{"internal/write", ".", "internal/write must not import .: internal/write -> ."},
		{"internal/hydrate", ".", "internal/hydrate must not import .: internal/hydrate -> ."},
		{"internal/view", "internal/ltxtest", "internal/view must not import internal/ltxtest"},
		{".", "internal/ltxtest", ". must not import internal/ltxtest"},
		{"s3", "internal/clientio", ""},
		{"examples/query", "gs", ""}, // the graph lacks this package
		{"cmd/litestream-vfs", "decorate", ""},
		{"s3", ".", "s3 must not import .: s3 -> ."},
		{"memory", ".", "memory must not import .: memory -> ."},
		{"decorate", ".", "decorate must not import ."},
		{"replicatest", ".", "replicatest must not import ."},
		{"replica", ".", "replica must not import ."},
		{"replica", "memory", "replica must not import memory: replica -> memory"},
		{"replica", "internal/view", "replica must not import internal/view"},
		{"internal/clientio", "internal/bytesize", "internal/clientio must not import internal/bytesize"},
		{"internal/clientio", "replica", "internal/clientio must not import replica"},
		{"s3", "file", "s3 must not import file"},
		{"s3", "internal/pages", "s3 must not import internal/pages: s3 -> internal/pages"},
		{"decorate", "internal/view", "decorate must not import internal/view"},
		{"internal/view", ".", "internal/compact must not import .: internal/compact -> internal/remote -> internal/view -> ."},
		{"internal/view", "file", "internal/view must not import file"},
		{"internal/view", "memory", "internal/view must not import memory"},
		{"internal/view", "decorate", "internal/view must not import decorate"},
		{"internal/view", "internal/killtest", "internal/view must not import internal/killtest"},
		{"internal/view", "internal/storetest", "internal/view must not import internal/storetest"},
		{"internal/storetest", ".", "internal/storetest must not import .: internal/storetest -> ."},
		{"replicatest", "internal/view", "internal/storetest must not import internal/view: internal/storetest -> replicatest -> internal/view"},
		{".", "s3", ". must not import s3"},
		{".", "replicatest", ". must not import replicatest"},
		{".", "internal/extension", ". must not import internal/extension"},
		{".", "cmd/litestream-vfs", ". must not import cmd/litestream-vfs"},
		{"internal/extension", "cmd/litestream-vfs", "internal/extension must not import cmd/litestream-vfs"},
		{"cmd/litestream-vfs", "examples/query", "cmd/litestream-vfs must not import examples/query"},
	} {
		g := maps.Clone(base)
		g[tt.from] = append(slices.Clone(g[tt.from]), tt.to)
		wrong := checkLayers(g, layers, highInternal)
		if found := slices.ContainsFunc(wrong, func(s string) bool { return strings.HasPrefix(s, tt.want) }); tt.want == "" && len(wrong) > 0 || tt.want != "" && !found {
			t.Errorf("import of %s by %s: got %q, want %q", tt.to, tt.from, wrong, tt.want)
		}
	}
	g := maps.Clone(base)
	g["extra"] = []string{}
	if wrong := checkLayers(g, layers, highInternal); !slices.Equal(wrong, []string{"extra is in no layer"}) {
		t.Errorf("a package in no layer: got %q", wrong)
	}
}

func TestLayers_Drivers(t *testing.T) {
	drivers, adapters := []string{"d/sqlite"}, []string{"driver_*.go", "a/*.go"}
	base := imports{"driver_vfs.go": {"d/sqlite"}, "a/a.go": {"fmt", "d/sqlite"}, "a/b.go": {"fmt"}, "b/b.go": {"example.com/m/a"}}
	for _, tt := range []struct {
		file string
		deps []string
		want []string
	}{
		{"driver_functions.go", []string{"d/sqlite"}, nil},
		{"a/c.go", []string{"d/sqlite/vfs"}, nil},
		{"c/c.go", []string{"d/sqlitex", "e/d/sqlite"}, nil},
		{"vfs.go", []string{"fmt", "d/sqlite"}, []string{"vfs.go imports the driver d/sqlite and is no adapter"}},
		{"c/c.go", []string{"d/sqlite/vfs"}, []string{"c/c.go imports the driver d/sqlite/vfs and is no adapter"}},
		{"c/driver_vfs.go", []string{"d/sqlite"}, []string{"c/driver_vfs.go imports the driver d/sqlite and is no adapter"}},
		{"a/d/d.go", []string{"d/sqlite"}, []string{"a/d/d.go imports the driver d/sqlite and is no adapter"}},
		{"a/a.go", []string{"fmt"}, []string{"no file that matches a/*.go imports a driver"}},
	} {
		files := maps.Clone(base)
		files[tt.file] = tt.deps
		if got := checkDrivers(files, drivers, adapters); !slices.Equal(got, tt.want) {
			t.Errorf("%s imports %q: got %q, want %q", tt.file, tt.deps, got, tt.want)
		}
	}
}
