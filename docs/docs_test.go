// Package docs_test checks that the documentation does not go stale: links
// lead somewhere, code is compiled or run elsewhere, and tables have what the
// code has.
package docs_test

import (
	"flag"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write the tables and lists that are made from code")

// root is the folder of the module.
const root = ".."

// repository is the address of the files of the main branch. Pages that are
// published outside of the repository use it in links.
const repository = "https://github.com/ltxvfs/litestream/blob/main/"

// readFile returns the text of a file, by its path from the root.
func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns the paths, from the root, of the files whose names end so.
func files(t *testing.T, suffix string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build" || d.Name() == "node_modules"):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, suffix):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// block is a fenced block of a page.
type block struct {
	language string
	lines    []string
}

// parse takes a page apart: its fenced blocks, and the lines outside of them.
func parse(text string) (blocks []block, prose []string) {
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		language, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !inside:
			blocks = append(blocks, block{language: language})
			inside = true
		case isFence:
			inside = false
		case inside:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
		default:
			prose = append(prose, line)
		}
	}
	return blocks, prose
}

var (
	linkPattern = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codePattern = regexp.MustCompile("`[^`]*`")
	textPattern = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns the anchors that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	_, prose := parse(text)
	for _, line := range prose {
		level := len(line) - len(strings.TrimLeft(line, "#"))
		heading, ok := strings.CutPrefix(line[level:], " ")
		if level == 0 || !ok {
			continue
		}
		heading = textPattern.ReplaceAllString(heading, "$1")
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(heading))
		all[anchor] = true
	}
	return all
}

// checkLink returns what is wrong with a link on a page, empty if nothing is.
// Links to other sites are not followed.
func checkLink(page, link string, read func(name string) (string, error)) string {
	target, ours := strings.CutPrefix(link, repository)
	if !ours && strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	target, anchor, hasAnchor := strings.Cut(target, "#")
	target, err := url.PathUnescape(target)
	if err != nil {
		return err.Error()
	}
	name := page
	switch {
	case ours:
		name = target
	case target != "":
		name = filepath.Join(filepath.Dir(page), target)
	}
	text, err := read(name)
	if err != nil {
		return err.Error()
	}
	if hasAnchor && strings.HasSuffix(name, ".md") && !anchors(text)[anchor] {
		return "there is no heading #" + anchor
	}
	return ""
}

// TestLinks follows the links of all pages to files and headings.
func TestLinks(t *testing.T) {
	read := func(name string) (string, error) {
		name = filepath.Join(root, name)
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			return "", err
		}
		b, err := os.ReadFile(name)
		return string(b), err
	}
	links := 0
	for _, page := range files(t, ".md") {
		_, prose := parse(readFile(t, page))
		for _, line := range prose {
			for _, m := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, ""), -1) {
				links++
				if problem := checkLink(page, m[1], read); problem != "" {
					t.Errorf("%s: link to %s: %s", page, m[1], problem)
				}
			}
		}
	}
	if links < 100 {
		t.Errorf("%d links found", links)
	}
}

func TestCheckLink(t *testing.T) {
	pages := map[string]string{
		"README.md": "# A\n",
		"docs/a.md": "## It's `x_y`, [Node.js](n)!\n```\n## in a block\n```\n",
	}
	read := func(name string) (string, error) {
		text, ok := pages[name]
		if !ok {
			return "", fs.ErrNotExist
		}
		return text, nil
	}
	for _, c := range []struct {
		page, link string
		ok         bool
	}{
		{"docs/a.md", "../README.md#a", true},
		{"docs/a.md", "#its-x_y-nodejs", true},
		{"README.md", "docs/a.md#its-x_y-nodejs", true},
		{"README.md", repository + "docs/a.md", true},
		{"README.md", "https://example.com/docs/b.md", true},
		{"README.md", "docs/b.md", false},
		{"README.md", repository + "docs/b.md", false},
		{"docs/a.md", "#in-a-block", false},
		{"docs/a.md", "README.md", false},
	} {
		if problem := checkLink(c.page, c.link, read); (problem == "") != c.ok {
			t.Errorf("%s on %s: %q", c.link, c.page, problem)
		}
	}
}

// codeOf returns the code in the first column of the table with that heading.
func codeOf(text, heading string) (names []string) {
	_, rest, _ := strings.Cut(text, "\n| "+heading+" |")
	table, _, _ := strings.Cut(rest, "\n\n")
	for row := range strings.Lines(table) {
		column, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, code := range codePattern.FindAllString(column, -1) {
			names = append(names, strings.Trim(code, "`"))
		}
	}
	return names
}

// trimmed returns lines without indentation.
func trimmed(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// TestBlocks_Go checks that every block of Go is code of a test, which is
// compiled. The program in README.md has a test of its own.
func TestBlocks_Go(t *testing.T) {
	var code strings.Builder
	for _, name := range files(t, "_test.go") {
		if filepath.Dir(name) == "docs" {
			code.WriteString(trimmed(strings.Split(readFile(t, name), "\n")))
		}
	}
	found := 0
	for _, page := range files(t, ".md") {
		if page == frameworks {
			continue // TestBlocks_Frameworks has it
		}
		blocks, _ := parse(readFile(t, page))
		for _, b := range blocks {
			if b.language != "go" || b.lines[0] == "package main" {
				continue
			}
			found++
			if !strings.Contains(code.String(), trimmed(b.lines)) {
				t.Errorf("%s: no test has this code:\n%s", page, strings.Join(b.lines, "\n"))
			}
		}
	}
	if found < 5 {
		t.Errorf("%d blocks found", found)
	}
}

// TestBlocks_Packages checks that the programs in extension.md are those in
// the pages of the packages, whose tests run them.
func TestBlocks_Packages(t *testing.T) {
	blocks, _ := parse(readFile(t, "docs/extension.md"))
	pages := map[string]string{"python": "packages/python/README.md", "js": "packages/node/README.md", "ruby": "packages/ruby/README.md"}
	for language, page := range pages {
		theirs, _ := parse(readFile(t, page))
		ours := slices.DeleteFunc(slices.Clone(blocks), func(b block) bool { return b.language != language })
		if len(ours) == 0 {
			t.Errorf("no program in %s", language)
		}
		for _, b := range ours {
			if !slices.ContainsFunc(theirs, func(their block) bool { return slices.Equal(their.lines, b.lines) }) {
				t.Errorf("%s has another program than:\n%s", page, strings.Join(b.lines, "\n"))
			}
		}
	}
}

// frameworks is the page about the programs that scripts/recipes runs.
const frameworks = "docs/frameworks.md"

// TestBlocks_Frameworks checks that the code of a section is in the program to
// which the section has its first link, piece by piece between empty lines. It
// also checks that each recipe has a section.
func TestBlocks_Frameworks(t *testing.T) {
	var sections []string
	for section := range strings.SplitSeq(readFile(t, frameworks), "\n##") {
		heading, _, _ := strings.Cut(section, "\n")
		blocks, prose := parse(section)
		if len(blocks) == 0 {
			continue
		}
		sections = append(sections, strings.ToLower(strings.TrimLeft(heading, "# ")))
		link := linkPattern.FindStringSubmatch(strings.Join(prose, "\n"))
		if link == nil {
			t.Errorf("%s: no program", heading)
			continue
		}
		program := trimmed(strings.Split(readFile(t, filepath.Join("docs", link[1])), "\n"))
		for _, b := range blocks {
			for piece := range strings.SplitSeq(trimmed(b.lines), "\n\n") {
				if !strings.Contains(program, strings.Trim(piece, "\n")+"\n") {
					t.Errorf("%s does not have this code:\n%s", link[1], piece)
				}
			}
		}
	}
	_, list, _ := strings.Cut(readFile(t, "scripts/recipes"), "\nall=(")
	list, _, _ = strings.Cut(list, ")")
	if recipes := strings.Fields(list); !slices.Equal(sections, recipes) {
		t.Errorf("sections %v, recipes %v", sections, recipes)
	}
}

// TestREADME_Size keeps the first page short.
func TestREADME_Size(t *testing.T) {
	if n := len(readFile(t, "README.md")); n > 8<<10 {
		t.Errorf("README.md has %d bytes, want 8 KiB at most", n)
	}
}

const (
	beginMarker = "<!-- begin: written by go test ./docs -update -->\n"
	endMarker   = "<!-- end -->"
)

// checkMade compares what a page has between its markers with what was made
// from code, or puts it there.
func checkMade(t *testing.T, page, want string) {
	t.Helper()
	text := readFile(t, page)
	want = "\n" + want + "\n"
	before, rest, found := strings.Cut(text, beginMarker)
	got, after, ended := strings.Cut(rest, endMarker)
	switch {
	case !found || !ended:
		t.Fatalf("%s has no markers", page)
	case got == want:
	case *update:
		text = before + beginMarker + want + endMarker + after
		if err := os.WriteFile(filepath.Join(root, page), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is stale, go test ./docs -update writes it anew", page)
		reportDifference(t, strings.Split(got, "\n"), strings.Split(want, "\n"))
	}
}

// reportDifference reports the lines that only one of two texts has.
func reportDifference(t *testing.T, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("has:  %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("want: %s", line)
		}
	}
}

// TestContributing checks that CONTRIBUTING.md says where every file of the
// root package and every other package is.
func TestContributing(t *testing.T) {
	text := readFile(t, "CONTRIBUTING.md")
	for _, name := range files(t, ".go") {
		dir := filepath.ToSlash(filepath.Dir(name))
		first, _, _ := strings.Cut(dir, "/")
		switch {
		case strings.HasSuffix(name, "_test.go"), first == "bench", first == "examples":
		case dir == "." && !strings.Contains(text, "]("+name+")"):
			t.Errorf("CONTRIBUTING.md does not have %s", name)
		case dir != "." && !strings.Contains(text, "["+dir+"]("):
			t.Errorf("CONTRIBUTING.md does not have package %s", dir)
		}
	}
}
