package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
)

// upstreamDir returns the folder of upstream's source.
func upstreamDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/benbjohnson/litestream").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// exportedNames returns what a file of Go exports: constants, variables, types,
// functions, fields of structs, and methods of structs and interfaces.
func exportedNames(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	add := func(idents ...*ast.Ident) {
		for _, ident := range idents {
			if ident.IsExported() {
				names = append(names, ident.Name)
			}
		}
	}
	fields := func(list *ast.FieldList) {
		for _, f := range list.List {
			add(f.Names...)
		}
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && !ast.IsExported(strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*")) {
				continue
			}
			add(d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					add(spec.Names...)
				case *ast.TypeSpec:
					if !spec.Name.IsExported() {
						continue
					}
					add(spec.Name)
					switch typ := spec.Type.(type) {
					case *ast.StructType:
						fields(typ.Fields)
					case *ast.InterfaceType:
						fields(typ.Methods)
					}
				}
			}
		}
	}
	return names
}

// textNames returns what a pattern finds in a file: names in quotes.
func textNames(t *testing.T, file string, pattern *regexp.Regexp) (names []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range pattern.FindAllString(string(b), -1) {
		for _, quoted := range regexp.MustCompile(`"[^"]+"`).FindAllString(m, -1) {
			names = append(names, strings.Trim(quoted, `"`))
		}
	}
	return names
}

// TestFromLitestream checks that docs/from-litestream.md has every name by which
// upstream's VFS and the clients of the same stores are configured and used, and
// every option that upstream does not have.
func TestFromLitestream(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "from-litestream.md"))
	if err != nil {
		t.Fatal(err)
	}
	var text []string // code
	for _, code := range regexp.MustCompile("`[^`]+`").FindAllString(string(page), -1) {
		text = append(text, strings.FieldsFunc(strings.Trim(code, "`"), func(r rune) bool { return strings.ContainsRune(" .,()=*&?'", r) })...)
	}
	dir := upstreamDir(t)
	found := make(map[string][]string)
	for _, name := range []string{"vfs.go", "vfs_config.go", "replica_client.go", "replica_url.go"} {
		found[name] = exportedNames(t, filepath.Join(dir, name))
	}
	pragma := regexp.MustCompile(`case "litestream_\w+"`)
	found["PRAGMAs"] = textNames(t, filepath.Join(dir, "vfs.go"), pragma)
	found["functions"] = textNames(t, filepath.Join(dir, "src", "litestream-vfs.c"), regexp.MustCompile(`sqlite3_create_function_v2\(db, "\w+"`))
	found["URI parameters"] = textNames(t, filepath.Join(dir, "vfs_config.go"), regexp.MustCompile(`case "\w+":`))
	variable := regexp.MustCompile(`os\.Getenv\("\w+"\)`)
	found["variables"] = textNames(t, filepath.Join(dir, "cmd", "litestream-vfs", "main.go"), variable)
	parameter := regexp.MustCompile(`(?:query\.Get|query\.Has|QueryValue)\([^)]*\)`)
	for _, store := range []string{"s3", "gs", "abs", "nats", "oss", "file"} {
		file := filepath.Join(dir, store, "replica_client.go")
		found[store] = exportedNames(t, file)
		found["variables of "+store] = textNames(t, file, variable)
		found["parameters of "+store] = textNames(t, file, parameter)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[litestream.Options]()) {
		if !slices.Contains(found["vfs.go"], field.Name) && field.IsExported() {
			found["our options"] = append(found["our options"], field.Name)
		}
	}
	for kind, least := range map[string]int{"vfs.go": 60, "PRAGMAs": 6, "functions": 4, "URI parameters": 8, "variables": 8, "parameters of s3": 20, "our options": 15} {
		if n := len(found[kind]); n < least {
			t.Errorf("%s: %d names found, want at least %d", kind, n, least)
		}
	}
	for kind, names := range found {
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if !slices.Contains(text, name) {
				t.Errorf("from-litestream.md does not have %s, of %s", name, kind)
			}
		}
	}
}
