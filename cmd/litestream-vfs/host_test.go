package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rounds of loading, opening, querying and closing.
const (
	hostRounds     = 1000
	valgrindRounds = 100 // 1,000 with LITESTREAM_TEST_VALGRIND_ROUNDS=1000; they take minutes
)

// host compiles testdata/host.c with a SQLite of its own, and returns how to run it.
func host(t *testing.T, library string, rounds int) []string {
	t.Helper()
	object, include := client(t, "LITESTREAM_TEST_SQLITE_OBJECT"), client(t, "LITESTREAM_TEST_SQLITE_INCLUDE")
	program := filepath.Join(t.TempDir(), "host")
	source, err := filepath.Abs(filepath.Join("testdata", "host.c"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, nil, "cc", "-g", "-O1", "-I"+include, source, object, "-o", program, "-lm", "-ldl", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return []string{program, library, strconv.Itoa(rounds), "file:app.db?vfs=litestream&replica_url=" + sandwiches(t), "SELECT count(*) FROM sandwich_ratings", "4988"}
}

// runHost runs a host, and returns what malloc has in use at a tenth of the
// rounds and at the end, and standard error.
func runHost(t *testing.T, args []string) (inUse [2]int64, stderr string) {
	t.Helper()
	cmd := command(t, []string{"LITESTREAM_LOG_FILE=" + os.DevNull}, args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	t.Log(out.String())
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var round int
		var sqlite, resident int64
		if _, err := fmt.Sscanf(line, "round %d malloc %d sqlite %d resident %d", &round, &inUse[i], &sqlite, &resident); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return inUse, errs.String()
}

// TestHost_Memory: what C has allocated does not grow with the number of connections. A
// leak of a byte in each of the 900 rounds between is a few KiB less than the bound, one of 64 more.
func TestHost_Memory(t *testing.T) {
	inUse, _ := runHost(t, host(t, extension(t), hostRounds))
	if grown := inUse[1] - inUse[0]; grown > 32<<10 {
		t.Errorf("%d bytes more after %d rounds than after %d", grown, hostRounds, hostRounds/10)
	}
}

// goFrame is a place in Go's functions, whose stacks and heap Memcheck does not know.
var goFrame = regexp.MustCompile(`at 0x[0-9A-F]+: .* \(\w+\.(go|s):\d+\)`)

// TestHost_Valgrind: no invalid access in C, and nothing lost. The library must have its symbols.
func TestHost_Valgrind(t *testing.T) {
	valgrind := client(t, "LITESTREAM_TEST_VALGRIND")
	library := variable(t, "LITESTREAM_TEST_EXTENSION_SYMBOLS", "scripts/check")
	rounds := valgrindRounds
	if s := os.Getenv("LITESTREAM_TEST_VALGRIND_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	suppressions, err := filepath.Abs(filepath.Join("testdata", "go.supp"))
	if err != nil {
		t.Fatal(err)
	}
	_, log := runHost(t, append([]string{valgrind, "--leak-check=full", "--error-limit=no", "--suppressions=" + suppressions}, host(t, library, rounds)...))
	for _, want := range []string{"definitely lost: 0 bytes in 0 blocks", "indirectly lost: 0 bytes in 0 blocks"} {
		if !strings.Contains(log, want) && !strings.Contains(log, "All heap blocks were freed") {
			t.Errorf("not %q in:\n%s", want, tail(log))
		}
	}
	// An error is some lines that each begin with ==pid==, and an empty one.
	prefix := regexp.MustCompile(`(?m)^==\d+== ?`)
	for _, text := range strings.Split(prefix.ReplaceAllString(log, ""), "\n\n") {
		kind, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		if regexp.MustCompile(`^(Invalid|Conditional|Use of|Syscall param|Jump|Source and|Mismatched|Argument)`).MatchString(strings.TrimSpace(regexp.MustCompile(`^Thread \d+.*:\n`).ReplaceAllString(text, ""))) {
			frames := regexp.MustCompile(`(?m)^\s+at .*$`).FindString(text)
			if !goFrame.MatchString(frames) {
				t.Errorf("%s\n%s", kind, text)
			}
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
