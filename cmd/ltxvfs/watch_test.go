package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output collects what a process prints. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex // serialises access to buf
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a command until it is stopped, at the latest when the test ends.
func (p *program) start(args ...string) (*exec.Cmd, *output) {
	p.t.Helper()
	out := new(output)
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return cmd, out
}

// waitFor waits until something was printed.
func (o *output) waitFor(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(o.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not printed:\n%s", text, o)
		}
	}
}

// A copy that watches prints a line for each batch, ends well when it is interrupted,
// and ends with exit code 4 when the source was rolled back.
func TestCopy_Watch(t *testing.T) {
	p := newProgram(t, startS3(t))
	bucket := fillFolder(t, p.dir)
	newest := filepath.Join(p.dir, "app.db", "ltx", "0", "000000000000001d-000000000000001d.ltx")
	aside := filepath.Join(p.dir, "aside")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(newest, aside)
	start := func(args ...string) (*exec.Cmd, *output) {
		return p.start(append([]string{"copy", bucket + "/app.db", "s3://bucket/copy.db", "--watch", "--interval", "20ms"}, args...)...)
	}
	cmd, out := start()
	out.waitFor(t, "up to 000000000000001c: 12 files, 516 kB; watching\n")
	move(aside, newest)
	out.waitFor(t, " copied 1 file, 17 kB, up to 000000000000001d\n")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
	cmd, out = start("--json")
	out.waitFor(t, `"files":0,"bytes":0,"there":13,"newest":"000000000000001d"}`+"\n")
	move(newest, aside)
	_ = cmd.Wait() // the exit code says how it ended
	if code := cmd.ProcessState.ExitCode(); code != exitDamaged || !strings.Contains(out.String(),
		"ltxvfs: copy: the source was rolled back: its newest transaction is 000000000000001c, and was 000000000000001d\n") {
		t.Errorf("the source was rolled back: exit code %d\n%s", code, out)
	}
}
