package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is the path of the module whose packages are mutated.
const module = "github.com/ltxvfs/litestream"

// listed is what go list says of a package.
type listed struct {
	ImportPath  string
	Dir         string
	Export      string
	GoFiles     []string
	CgoFiles    []string
	TestGoFiles []string
	DepOnly     bool
}

// loader parses packages, and checks their types against the export data of
// what they import.
type loader struct {
	fset     *token.FileSet
	packages map[string]*listed // by import path
	importer types.Importer
}

// load lists the packages of some directories of the tree, "." for the root.
func load(dirs []string) (*loader, error) {
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,DepOnly", module + "/internal/mutants/active"}
	for _, dir := range dirs {
		args = append(args, "./"+dir)
	}
	out, err := goCommand(args...)
	if err != nil {
		return nil, err
	}
	l := &loader{fset: token.NewFileSet(), packages: make(map[string]*listed)}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the output of go list: %w", err)
		}
		l.packages[p.ImportPath] = &p
	}
	l.importer = importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) {
		p := l.packages[path]
		if p == nil || p.Export == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(p.Export)
	})
	return l, nil
}

// goCommand runs the go command in the current directory.
func goCommand(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return out, nil
}

// sourceFile is a parsed file of a package.
type sourceFile struct {
	path   string // absolute
	src    []byte
	syntax *ast.File
	cgo    bool // imports "C", so that it is checked with gaps and not mutated
}

// parse reads the files of a package. Texts in changed replace files of the disk.
func (l *loader) parse(p *listed, changed map[string][]byte) ([]*sourceFile, error) {
	var files []*sourceFile
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		f := &sourceFile{path: filepath.Join(p.Dir, name), cgo: slices.Contains(p.CgoFiles, name)}
		f.src = changed[f.path]
		if f.src == nil {
			var err error
			if f.src, err = os.ReadFile(f.path); err != nil {
				return nil, err
			}
		}
		var err error
		if f.syntax, err = parser.ParseFile(l.fset, f.path, f.src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return nil, fmt.Errorf("parse %s: %w", f.path, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// check returns the types of a package, and where they are wrong.
func (l *loader) check(p *listed, files []*sourceFile) (*types.Package, *types.Info, []token.Position) {
	var wrong []token.Position
	var syntax []*ast.File
	cgo := false
	for _, f := range files {
		syntax = append(syntax, f.syntax)
		cgo = cgo || f.cgo
	}
	info := &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Defs:  make(map[*ast.Ident]types.Object),
		Uses:  make(map[*ast.Ident]types.Object),
	}
	conf := types.Config{
		Importer:    l.importer,
		FakeImportC: cgo,
		GoVersion:   "go1.26",
		Error: func(err error) {
			var e types.Error
			if errors.As(err, &e) {
				wrong = append(wrong, l.fset.Position(e.Pos))
			}
		},
	}
	pkg, _ := conf.Check(p.ImportPath, l.fset, syntax, info)
	return pkg, info, wrong
}
