package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a program on it.
type terminal struct {
	t   testing.TB
	tty *os.File // the end that the program does not have
	own *os.File // the program's end
	cmd *exec.Cmd

	mu struct {
		sync.Mutex
		screen string // everything that the program has printed
	}
}

func newTerminal(t testing.TB, cmd *exec.Cmd) *terminal {
	t.Helper()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, tty: tty, own: own, cmd: cmd}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = own, own, own
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 1024)
		for {
			n, err := tty.Read(b)
			term.mu.Lock()
			term.mu.screen += string(b[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = own.Close()
		<-read
		_ = tty.Close()
	})
	return term
}

// send types keys.
func (term *terminal) send(keys string) {
	if _, err := term.tty.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

// waitFor waits until the program has printed something since a position, and
// returns the position after it. It calls again while it waits.
func (term *terminal) waitFor(from int, text string, again func()) int {
	term.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		term.mu.Lock()
		screen := term.mu.screen
		term.mu.Unlock()
		if i := strings.Index(screen[from:], text); i >= 0 {
			return from + i + len(text)
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("%q was not printed:\n%s", text, screen[from:])
		}
		if again != nil {
			again()
		}
	}
}

// Ctrl-C ends the statement that runs, or the line that is typed, and not the shell.
// A signal that ends the shell leaves the terminal as it was.
func TestShell_Interrupts(t *testing.T) {
	p := newProgram(t, []string{"XDG_STATE_HOME=" + t.TempDir()})
	bucket := fillFolder(t, p.dir)
	term := newTerminal(t, p.command("shell", "-q", bucket+"/app.db"))
	before, err := unix.IoctlGetTermios(int(term.own.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	at := term.waitFor(0, "ltxvfs> ", nil)
	term.send("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;\r")
	// The terminal may still be in raw mode when the first one comes.
	at = term.waitFor(at, "error: interrupted", func() { term.send("\x03") })
	at = term.waitFor(at, "ltxvfs> ", nil)
	term.send("SELECT 40 + 2;\r")
	at = term.waitFor(at, "40 + 2\r\n", nil)
	at = term.waitFor(at, "    42\r\n", nil)
	term.send("SELECT 'open\r")
	at = term.waitFor(at, "   ...> ", nil)
	term.send("' || \x03")
	at = term.waitFor(at, "^C\r\n", nil)
	at = term.waitFor(at, "ltxvfs> ", nil)
	term.send("SELECT 40 + 3;\r")
	at = term.waitFor(at, "    43\r\n", nil)
	term.waitFor(at, "ltxvfs> ", nil)
	if err := term.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = term.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
		t.Errorf("it ends with %v, want exit code %d", err, exitInterrupted)
	}
	after, err := unix.IoctlGetTermios(int(term.own.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, error %v, want %+v", after, err, before)
	}
}

// Rows and errors with commands of a terminal are shown as text.
func TestQuery_ControlCharacters(t *testing.T) {
	p := newProgram(t, nil)
	url := fillFolder(t, p.dir) + "/app.db"
	for sql, want := range map[string]string{
		"SELECT char(27) || '[2J' || char(155) || '2Jrow'": `\x1b[2J\u009b2Jrow`,
		"SELECT \"\x1b[2Jname\"":                           `no such column: "\x1b[2Jname"`,
	} {
		term := newTerminal(t, p.command("query", url, sql))
		term.waitFor(0, want, nil)
		_ = term.cmd.Wait() // the error is the program's exit code
		term.mu.Lock()
		if strings.ContainsAny(term.mu.screen, "\x1b\u009b") {
			t.Errorf("the terminal got %q", term.mu.screen)
		}
		term.mu.Unlock()
	}
}
