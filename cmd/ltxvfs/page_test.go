package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

const page = "../../docs/cli.md"

// command is a command of the page with what it prints.
type command struct {
	line   int
	text   string
	output []string
}

// parseCommands returns the commands in the blocks of console of a page.
func parseCommands(lines []string) (all []command) {
	inside := false
	for i, line := range lines {
		switch text, isCommand := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case isCommand:
			all = append(all, command{line: i + 1, text: text})
		default:
			all[len(all)-1].output = append(all[len(all)-1].output, line)
		}
	}
	return all
}

// varying matches what differs from run to run: ages, and how long something took.
var varying = regexp.MustCompile(`\b\d+d\b|\b[\d.]+(ms|µs|s)\b|\b\d+ requests, [\d.]+ [kM]?B\b`)

// The page shows what the program prints. -update writes it to the page.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	commands := parseCommands(lines)
	if len(commands) < 10 {
		t.Fatalf("the page has %d commands", len(commands))
	}
	bin, work := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "ltxvfs")); err != nil {
		t.Fatal(err)
	}
	environment := append(os.Environ(), startS3(t)...)
	environment = append(environment, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "LITESTREAM_REPLICA_URL=")
	var updated []string
	next := 0
	for _, c := range commands {
		cmd := exec.Command("sh", "-c", c.text)
		cmd.Dir, cmd.Env = work, environment
		out, err := cmd.CombinedOutput()
		if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(out) == 0 {
			got = nil
		}
		for i, line := range got {
			got[i] = strings.TrimRight(line, " ")
		}
		if !same(got, c.output) && !*update {
			t.Errorf("%s:%d: %s printed\n%s\nwant\n%s", page, c.line, c.text, strings.Join(got, "\n"), strings.Join(c.output, "\n"))
		}
		if same(got, c.output) {
			got = c.output // only what does not vary is news
		}
		updated = append(append(updated, lines[next:c.line]...), got...)
		next = c.line + len(c.output)
	}
	if updated = append(updated, lines[next:]...); *update && !slices.Equal(updated, lines) {
		if err := os.WriteFile(page, []byte(strings.Join(updated, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every line of the README that begins with ltxvfs runs, in its order, where a
// database app.db is.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, startS3(t))
	conn, err := sqlite3.Open(filepath.Join(p.dir, "app.db"))
	if err == nil {
		err = errors.Join(conn.Exec("CREATE TABLE users (name); INSERT INTO users VALUES ('a'), ('b')"), conn.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(string(b)) {
		text, ok := strings.CutPrefix(line, "    ltxvfs ")
		if !ok {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-c", quote(p.path)+" "+text)
		cmd.Dir, cmd.Env = p.dir, p.environment
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(text, "count(*)") && !strings.Contains(string(out), "\n       2\n") {
			t.Errorf("ltxvfs %s: %v, %s", strings.TrimSpace(text), err, out)
		}
	}
	if ran < 5 {
		t.Errorf("%d lines ran", ran)
	}
}

// same reports whether two outputs are the same but for what varies.
func same(a, b []string) bool {
	normalize := func(lines []string) string {
		text := varying.ReplaceAllString(strings.Join(lines, "\n"), "X")
		return regexp.MustCompile(` +`).ReplaceAllString(text, " ") // columns are as wide as ages
	}
	return normalize(a) == normalize(b)
}
