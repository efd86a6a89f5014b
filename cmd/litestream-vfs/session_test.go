//go:build unix

package main_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The pages of the documentation have sessions: blocks of a terminal with
// commands for bash after "$ ", SQL for the SQLite shell after "sqlite> ", and
// below each the output. TestSessions runs them.

// step is a command of a session and the output that the page shows.
type step struct {
	line  int // of the page
	inSQL bool
	input string
	want  []string
}

// steps returns the steps of all sessions of a page. A session in the SQLite
// shell may go on in the next block.
func steps(text string) (all []step) {
	inside := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
			continue
		case !inside:
			continue
		}
		command, isCommand := strings.CutPrefix(line, "$ ")
		query, isQuery := strings.CutPrefix(line, "sqlite> ")
		more, isMore := strings.CutPrefix(line, "   ...> ")
		switch {
		case isCommand:
			all = append(all, step{i + 1, false, command, nil})
		case isQuery:
			all = append(all, step{i + 1, true, query, nil})
		case isMore:
			last := &all[len(all)-1]
			last.input += "\n" + more
		default:
			last := &all[len(all)-1]
			last.want = append(last.want, line)
		}
	}
	return all
}

// matches reports whether output is what a page shows. In the page, "..." stands
// for any text within a line.
func matches(want []string, got string) bool {
	var pattern strings.Builder
	for _, line := range want {
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), regexp.QuoteMeta("..."), ".*") + "\n")
	}
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"a\n", "a\n", true},
		{"a\n", "a\nb\n", false},
		{"a ... c\n", "a b c\n", true},
		{"a...\n", "a\nb\n", false},
		{"1.0\n", "100\n", false},
		{"", "", true},
	} {
		want := strings.Split(c.want, "\n")
		if got := matches(want[:len(want)-1], c.got); got != c.ok {
			t.Errorf("%q shows %q: %v", c.want, c.got, got)
		}
	}
}

// terminal is a bash that runs the commands of a page, and within it the SQLite
// shell, which reads from the same pipe.
type terminal struct {
	t   *testing.T
	in  io.Writer
	out io.Reader
}

const endOfOutput = "-- end of output --"

// send writes lines, and returns what is printed until the end marker, which
// these lines make bash or SQLite print.
func (s *terminal) send(lines string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.in, lines); err != nil {
		s.t.Fatal(err)
	}
	return readUntil(s.t, s.out, endOfOutput+"\n")
}

// nearLine is what the SQLite shell adds to errors where it does not talk to a
// terminal.
var nearLine = regexp.MustCompile(`(?m)^((?:Runtime|Parse) error) near line \d+:`)

// run runs the steps of a page.
func (s *terminal) run(page string, steps []step) {
	s.t.Helper()
	inSQL, once := false, ""
	quit := func() string { inSQL = false; return s.send(".quit\n") }
	for i, step := range steps {
		var got string
		switch next := i + 1; {
		case step.inSQL && step.input == ".quit":
			got = quit()
		case strings.HasPrefix(step.input, ".once "):
			// The end marker would go to the file, so this one goes with the next step.
			once = step.input + "\n"
			continue
		case step.inSQL:
			got = s.send(once + step.input + "\n.print " + endOfOutput + "\n")
			once = ""
		case inSQL:
			s.t.Fatalf("%s:%d: a command without .quit before it", page, step.line)
		case next < len(steps) && steps[next].inSQL:
			inSQL = true
			got = s.send(step.input + "; echo '" + endOfOutput + "'\n.print " + endOfOutput + "\n")
		default:
			got = s.send(step.input + "\necho '" + endOfOutput + "'\n")
		}
		if got = nearLine.ReplaceAllString(got, "$1:"); !matches(step.want, got) {
			s.t.Errorf("%s:%d: %s\ngot:\n%s\nwant:\n%s", page, step.line, step.input, got, strings.Join(step.want, "\n"))
		}
	}
	if inSQL {
		if got := quit(); got != "" {
			s.t.Errorf("%s: the shell ends with %q", page, got)
		}
	}
}

// library is the path in the pages.
const library = "build/linux-amd64/litestream.so"

func isSameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// link makes a symbolic link, and the folder that it is in.
func link(t *testing.T, target, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.Symlink(target, name)); err != nil {
		t.Fatal(err)
	}
}

// TestSessions runs the sessions of pages from their beginnings to their ends,
// in a folder that looks like a clone of the repository. They start an S3 server
// of their own.
func TestSessions(t *testing.T) {
	so, sqlite := extension(t), client(t, "LITESTREAM_TEST_SQLITE3")
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "docs/recipes.md"} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(repository, page))
			if err != nil {
				t.Fatal(err)
			}
			all := steps(string(text))
			if len(all) == 0 {
				t.Fatal("no sessions")
			}
			dir, servers := repository, "LITESTREAM_SERVERS_RUN="+filepath.Join(t.TempDir(), "servers")
			if page == "README.md" { // its session compiles an example, and writes no file
				if !isSameFile(so, filepath.Join(repository, library)) {
					t.Fatalf("LITESTREAM_TEST_EXTENSION is not %s, which the page loads", library)
				}
			} else {
				dir = t.TempDir()
				link(t, filepath.Join(repository, "scripts"), filepath.Join(dir, "scripts"))
				link(t, so, filepath.Join(dir, library))
			}
			scripts := func(args ...string) {
				cmd := exec.Command(filepath.Join(repository, "scripts", "servers"), args...)
				cmd.Env = append(os.Environ(), servers)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("servers %s: %v\n%s", args, err, out)
				}
			}
			scripts("install", "s3")
			t.Cleanup(func() { scripts("stop") })

			state := "XDG_STATE_HOME=" + t.TempDir() // where commits that cannot be uploaded are kept
			env := []string{servers, state, "LITESTREAM_LOG_FILE=" + os.DevNull, "PATH=" + filepath.Dir(sqlite) + string(filepath.ListSeparator) + os.Getenv("PATH")}
			cmd := commandWithin(t, 10*time.Minute, env, "bash", "--noprofile", "--norc")
			cmd.Dir = dir
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = cmd.Stdout
			// A limit that passes ends the programs that bash has started, too. They have the pipe.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
			s := &terminal{t, in, out}
			s.run(page, all)
		})
	}
}
