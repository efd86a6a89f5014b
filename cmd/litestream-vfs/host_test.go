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
	"time"
)

// These are numbers of rounds. A round loads the extension, opens a database,
// queries and closes it.
const (
	hostRounds     = 2000
	valgrindRounds = 30 // LITESTREAM_TEST_VALGRIND_ROUNDS=1000 makes it 1,000, which takes many minutes

	hostTimeout = time.Hour // the timeout of go test is shorter by default
)

// build compiles a program of testdata with its own SQLite, and returns its path.
func build(t *testing.T, name string) string {
	t.Helper()
	object, include := client(t, "LITESTREAM_TEST_SQLITE_OBJECT"), client(t, "LITESTREAM_TEST_SQLITE_INCLUDE")
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(name, ".c"))
	source, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, nil, "cc", "-g", "-O1", "-I"+include, source, object, "-o", program, "-lm", "-ldl", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return program
}

// host returns the command that runs testdata/host.c.
func host(t *testing.T, library string, rounds int) []string {
	t.Helper()
	return []string{build(t, "host.c"), library, strconv.Itoa(rounds), "file:app.db?vfs=litestream&replica_url=" + sandwiches(t), "SELECT count(*) FROM sandwich_ratings", "4988"}
}

// runHost runs a host. It returns the bytes that malloc has in use at half
// of the rounds and at the end, and standard error.
func runHost(t *testing.T, args []string, env ...string) (inUse [2]int64, stderr string) {
	t.Helper()
	cmd := commandWithin(t, hostTimeout, append(env, "LITESTREAM_LOG_FILE="+os.DevNull), args[0], args[1:]...)
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

// TestHost_Memory checks that the memory allocated by C does not grow with the
// number of connections. In the first hundreds of rounds it grows by 10 to 30 KiB,
// as the Go runtime starts threads. Over the 1000 rounds between the two
// samples, a leak of a byte in each round stays far below the bound, and one of
// 64 bytes exceeds it.
func TestHost_Memory(t *testing.T) {
	inUse, _ := runHost(t, host(t, extension(t), hostRounds))
	if grown := inUse[1] - inUse[0]; grown > 32<<10 {
		t.Errorf("%d bytes more after %d rounds than after %d", grown, hostRounds, hostRounds/2)
	}
}

// goFrame matches an error in a function of Go. The wrappers in C of
// runtime/cgo and of cgo count as such, because they read and write Go stacks.
var goFrame = regexp.MustCompile(`(?m)^\s+at 0x[0-9A-F]+: .* \((\w+\.(go|s)|gcc_\w+\.c|cgo-gcc-prolog):\d+\)`)

// TestHost_Valgrind checks that C makes no invalid access and loses no memory.
// The library must have its symbols. Memcheck does not check for uninitialised
// data, because pages come from memory that it does not know.
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
	// Valgrind says that the processor has RDTSCP, and cannot run it where it has not.
	_, log := runHost(t, append([]string{valgrind, "--leak-check=full", "--undef-value-errors=no", "--error-limit=no", "--suppressions=" + suppressions}, host(t, library, rounds)...),
		"GODEBUG=cpu.rdtscp=off")
	for _, want := range []string{"definitely lost: 0 bytes in 0 blocks", "indirectly lost: 0 bytes in 0 blocks"} {
		if !strings.Contains(log, want) && !strings.Contains(log, "All heap blocks were freed") {
			t.Errorf("not %q in:\n%s", want, tail(log))
		}
	}
	for _, e := range accessErrors(log) {
		if !goFrame.MatchString(e) {
			t.Error(e)
		}
	}
}

var (
	logPrefix   = regexp.MustCompile(`(?m)^==\d+== ?`)
	accessError = regexp.MustCompile(`(?m)^(Invalid|Syscall param|Jump to|Source and|Mismatched|Argument) `)
)

// accessErrors returns the errors in a log. Each error is a few lines that end
// with an empty one.
func accessErrors(log string) (all []string) {
	for _, text := range strings.Split(logPrefix.ReplaceAllString(log, ""), "\n\n") {
		if accessError.MatchString(text) {
			all = append(all, text)
		}
	}
	return all
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func TestAccessErrors(t *testing.T) {
	const log = `==7== Command: host
==7== 
==7== Thread 4:
==7== Invalid read of size 8
==7==    at 0x5460BCE: gogo (asm_amd64.s:445)
==7==    by 0x542C95B: runtime.execute (proc.go:3382)
==7== 
==7== Invalid write of size 8
==7==    at 0x5460BCE: fileRead (vfs.c:80)
==7==    by 0x542C95B: runtime.execute (proc.go:3382)
==7==  Address 0x1 is not stack'd, malloc'd or (recently) free'd
==7== 
==7== HEAP SUMMARY:
`
	all := accessErrors(log)
	if len(all) != 2 || !goFrame.MatchString(all[0]) || goFrame.MatchString(all[1]) {
		t.Errorf("%q", all)
	}
}
