// Package main_test tests the built extension from outside, with programs that
// load it. The variable LITESTREAM_TEST_EXTENSION is the path of the extension;
// scripts/extension sets it.
package main_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// timeout is how long a program may take.
const timeout = 2 * time.Minute

// variable returns an environment variable that a test needs.
func variable(t testing.TB, name, from string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" && os.Getenv("LITESTREAM_TEST_ALL") != "" {
		t.Fatalf("%s is not set; %s sets it", name, from)
	}
	if value == "" {
		t.Skipf("%s is not set; %s sets it", name, from)
	}
	return value
}

// extension returns the path of the extension.
func extension(t testing.TB) string {
	t.Helper()
	return variable(t, "LITESTREAM_TEST_EXTENSION", "scripts/extension prints it, and scripts/check")
}

func client(t testing.TB, name string) string {
	t.Helper()
	return variable(t, name, "scripts/clients install")
}

// sandwiches copies a replica from the tests of the library, and returns its
// URL.
func sandwiches(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "replicas", "sandwiches"))); err != nil {
		t.Fatal(err)
	}
	return "file://" + dir
}

// command makes a command that works in an empty folder. Its environment has
// none of this process's settings for the extension.
func command(t testing.TB, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	return commandWithin(t, timeout, env, name, args...)
}

func commandWithin(t testing.TB, limit time.Duration, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = t.TempDir()
	for _, s := range os.Environ() {
		if !strings.HasPrefix(s, "LITESTREAM_") && !strings.HasPrefix(s, "AWS_") {
			cmd.Env = append(cmd.Env, s)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// shell loads the extension in a sqlite3 shell, runs lines in a folder, and
// returns the output. If dir is "", the folder is an empty one.
func shell(t testing.TB, dir string, env []string, lines ...string) (stdout, stderr string) {
	t.Helper()
	cmd := command(t, env, client(t, "LITESTREAM_TEST_SQLITE3"), "-batch", "-init", os.DevNull)
	if dir != "" {
		cmd.Dir = dir
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Stdin = strings.NewReader(".load " + extension(t) + "\n" + strings.Join(lines, "\n") + "\n")
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

// wantShell runs a shell, and compares its standard output with want.
func wantShell(t testing.TB, dir string, env []string, want string, lines ...string) {
	t.Helper()
	if got, stderr := shell(t, dir, env, lines...); strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Fatalf("%s\ngot:\n%s\nwant:\n%s\nstandard error:\n%s", strings.Join(lines, "\n"), got, want, stderr)
	}
}

// session is a shell that stays open between runs.
type session struct {
	t   testing.TB
	in  io.WriteCloser
	out io.Reader
}

func newSession(t testing.TB, env []string) *session {
	t.Helper()
	cmd := command(t, env, client(t, "LITESTREAM_TEST_SQLITE3"), "-batch", "-init", os.DevNull)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("shell: %v", err)
		}
		if t.Failed() {
			t.Log(errs.String())
		}
	})
	s := &session{t, in, out}
	s.run(".load " + extension(t))
	return s
}

// run runs lines, and returns what they write to standard output.
func (s *session) run(lines ...string) string {
	s.t.Helper()
	const end = "-- the end --"
	if _, err := io.WriteString(s.in, strings.Join(lines, "\n")+"\n.print "+end+"\n"); err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(readUntil(s.t, s.out, end+"\n"))
}

// readUntil reads what a program prints until it has printed end, which is left out.
func readUntil(t testing.TB, out io.Reader, end string) string {
	t.Helper()
	var got bytes.Buffer
	b := make([]byte, 4096)
	for !strings.HasSuffix(got.String(), end) {
		n, err := out.Read(b)
		got.Write(b[:n])
		if err != nil {
			t.Fatalf("the program ended after %q: %v", got.String(), err)
		}
	}
	return strings.TrimSuffix(got.String(), end)
}

// until repeats lines until they write what is wanted.
func (s *session) until(want string, lines ...string) {
	s.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		got := s.run(lines...)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %q after %v, want %q", strings.Join(lines, "\n"), got, timeout, want)
		}
		time.Sleep(10 * time.Millisecond) // pause before the next look at what another process wrote
	}
}
