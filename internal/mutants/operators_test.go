package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// find parses the body of a function and returns its mutants.
func find(t *testing.T, body string) (*sourceFile, int, []*mutant) {
	t.Helper()
	l := &loader{fset: token.NewFileSet()}
	f := &sourceFile{path: "p.go", src: []byte("package p\nfunc f(a, b int, s []byte, ok bool, err error) error {\n" + body + "\nreturn nil }\nfunc g(int) int { panic(0) }\n")}
	var err error
	if f.syntax, err = parser.ParseFile(l.fset, f.path, f.src, parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	pkg, info, wrong := l.check(&listed{ImportPath: "p"}, []*sourceFile{f})
	if len(wrong) > 0 {
		t.Fatalf("%q does not compile at %s", body, wrong[0])
	}
	found := (&finder{l: l, pkg: pkg, info: info, file: f, name: "p.go"}).find()
	return f, l.fset.Position(f.syntax.Name.End()).Offset, slices.DeleteFunc(found, func(m *mutant) bool { return m.Func != "f" })
}

// TestOperators compares the mutants of a line, and the code that has them all.
func TestOperators(t *testing.T) {
	for _, c := range []struct{ line, want, code string }{
		{"if a < b { a = b }", "a < b => a >= b; a < b => a <= b; a = b => nothing",
			"if (mutantactive.On(1) != (mutantactive.Less(2, a , b))) { if !mutantactive.On(3) { a = b } }"},
		{"if a == b && ok { a++ }", "a == b => a != b; a == b => true in a == b && ok; ok => true in a == b && ok; a++ => nothing; a++ => a--",
			"if mutantactive.True(1, (mutantactive.On(3) != (a == b))) && mutantactive.True(2, ok) { if !mutantactive.On(4) { if mutantactive.On(5) { a-- } else { a++ } } }"},
		{"for range a { if !ok { break } }", "!ok => !(!ok); break => continue",
			"for range a { if (mutantactive.On(1) != (!ok)) { if mutantactive.On(2) { continue } else { break } } }"},
		{"s = s[a:]", "s = s[a:] => nothing; s[a:]: a => a+1", "if !mutantactive.On(1) { s = s[mutantactive.Plus(2, a):] }"},
		{"return err", "return err => return nil", "return mutantactive.Nil(1, err)"},
		{"_ = a*b + g(a)", "a*b + g(a) => a*b - g(a); a*b => a + b",
			"_ = mutantactive.Add(1, mutantactive.Mul(2, a,b) , g(a))"},
		{"_ = g(1 << 3)", "", "_ = g(1 << 3)"},
		{"_ = g(7)", "7 => 7+1 in g(7); 7 => 7-1 in g(7)", "_ = g(mutantactive.Plus[int](1, mutantactive.Minus[int](2, 7)))"},
		{"ok = true", "ok = true => nothing; true => !true in ok = true", "if !mutantactive.On(1) { ok = (mutantactive.On(2) != true) }"},
		{"for a = 0; ; { switch { case ok: break } }", "0 => 0+1 in a = 0", "for a = mutantactive.Plus[int](1, 0); ; { switch { case ok: break } }"},
	} {
		f, packageEnd, found := find(t, c.line)
		var got []string
		for i, m := range found {
			m.id = i + 1
			got = append(got, m.Change)
		}
		want := strings.Split(c.want, "; ")
		if c.want == "" {
			want = nil
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the mutants\n%s\nwant\n%s", c.line, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		code := strings.Split(string(rewrite(f, packageEnd, found)), "\n")[2]
		if code != c.code {
			t.Errorf("%s becomes\n%s\nwant\n%s", c.line, code, c.code)
		}

		// A sample has mutants in any order.
		slices.Reverse(found)
		if _, err := parser.ParseFile(token.NewFileSet(), "p.go", rewrite(f, packageEnd, found), 0); err != nil {
			t.Errorf("%s in the other order: %v", c.line, err)
		}
	}
}

// A test that was changed is measured again.
func TestSources(t *testing.T) {
	dir := t.TempDir()
	sums := func(body string) map[string]uint64 {
		t.Helper()
		text := "package p\nfunc TestA(t *testing.T) {" + body + "}\nfunc TestB(t *testing.T) {}\nfunc (x) TestC() {}\n"
		if err := os.WriteFile(filepath.Join(dir, "p_test.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := testSources(dir)
		if err != nil || len(s) != 2 {
			t.Fatalf("%d tests, %v", len(s), err)
		}
		return s
	}
	a, b := sums("f()"), sums("\n// a comment moves the other one\nf()")
	if a["TestA"] == b["TestA"] || a["TestB"] != b["TestB"] {
		t.Errorf("sums %v and %v", a, b)
	}
}

// The reasons why no test can notice some mutants can be read.
func TestEquivalent(t *testing.T) {
	all, err := readEquivalent("equivalent.txt")
	if err != nil || len(all) == 0 {
		t.Errorf("%d mutants, %v", len(all), err)
	}
}
