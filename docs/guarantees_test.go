package docs_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const guarantees = "docs/guarantees.md"

// testLinkPattern is a link to a test: its name and its file.
var testLinkPattern = regexp.MustCompile("\\[`(Test\\w+)`\\]\\(([^)#\\s]+_test\\.go)\\)")

// checkPromises returns what is wrong with the tables of promises of a page, and the
// numbers of the promises in them.
func checkPromises(page, text string, read func(name string) (string, error)) (numbers []int, rows int, wrong []string) {
	inTable := false
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == "| promise | tests |":
			inTable = true
			continue
		case !strings.HasPrefix(line, "|"):
			inTable = false
		}
		if !inTable || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		c := cells(line)
		if len(c) != 2 || c[0] == "" {
			wrong = append(wrong, fmt.Sprintf("a row has not two cells: %s", line))
			continue
		}
		if number, _, ok := strings.Cut(c[0], ". "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				numbers = append(numbers, n)
			}
		}
		links := testLinkPattern.FindAllStringSubmatch(c[1], -1)
		if len(links) == 0 || len(links) != strings.Count(c[1], "](") {
			wrong = append(wrong, fmt.Sprintf("no test, or a link that is none to a test: %s", line))
		}
		for _, link := range links {
			name := path.Join(path.Dir(page), link[2])
			code, err := read(name)
			if err != nil {
				wrong = append(wrong, err.Error())
			} else if !strings.Contains(code, "\nfunc "+link[1]+"(") {
				wrong = append(wrong, fmt.Sprintf("%s has no test %s", name, link[1]))
			}
		}
	}
	return numbers, rows, wrong
}

// designPattern is a numbered promise of design.md.
var designPattern = regexp.MustCompile(`(?m)^(\d+)\. \*\*`)

// promisesOfDesign returns the numbers of the promises of design.md.
func promisesOfDesign(t *testing.T) (numbers []int) {
	t.Helper()
	_, text, _ := strings.Cut(readFile(t, "docs/design.md"), "\n## Promises\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, m := range designPattern.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		t.Fatal("design.md has no promises")
	}
	return numbers
}

// TestGuarantees checks that each promise has a test that exists, and that no promise
// of design.md is missing. It also checks tests that are linked elsewhere.
func TestGuarantees(t *testing.T) {
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return string(b), err
	}
	text := readFile(t, guarantees)
	numbers, rows, wrong := checkPromises(guarantees, text, read)
	for _, w := range wrong {
		t.Error(w)
	}
	if rows < 60 {
		t.Errorf("%d promises are found", rows)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	want := promisesOfDesign(t)
	if !slices.Equal(numbers, want) {
		t.Errorf("%s has the promises %d, design.md has %d", guarantees, numbers, want)
	}
	for _, page := range files(t, ".md") {
		for _, link := range testLinkPattern.FindAllStringSubmatch(readFile(t, page), -1) {
			name := path.Join(path.Dir(filepath.ToSlash(page)), link[2])
			if code, err := read(name); err != nil || !strings.Contains(code, "\nfunc "+link[1]+"(") {
				t.Errorf("%s: %s has no test %s", page, name, link[1])
			}
		}
	}
}

func TestCheckPromises(t *testing.T) {
	read := func(name string) (string, error) {
		if name != "a_test.go" {
			return "", os.ErrNotExist
		}
		return "package a\n\nfunc TestA(t *testing.T) {}\n", nil
	}
	const table = "| promise | tests |\n|---|---|\n"
	for _, c := range []struct {
		row string
		ok  bool
	}{
		{"| 3. it holds | [`TestA`](../a_test.go) |", true},
		{"| it holds | |", false},
		{"| it holds | in principle |", false},
		{"| it holds | [`TestB`](../a_test.go) |", false},
		{"| it holds | [`TestA`](../b_test.go) |", false},
		{"| it holds | [`TestA`](../a_test.go), [the code](../a.go) |", false},
		{"| [`TestA`](../a_test.go) |", false},
	} {
		if _, rows, wrong := checkPromises("docs/page.md", table+c.row+"\n", read); rows != 1 || (len(wrong) == 0) != c.ok {
			t.Errorf("%s: %d rows, %q", c.row, rows, wrong)
		}
	}
}
