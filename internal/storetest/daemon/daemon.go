// Package daemon runs servers of Debian's packages in tests.
package daemon

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Need skips the test if a program does not exist, or fails it if LITESTREAM_TEST_ALL is
// set. pkg is the package of Debian that has the program.
func Need(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("LITESTREAM_TEST_ALL") != "" {
			t.Fatalf("%v: install Debian's package %s", err, pkg)
		}
		t.Skipf("%v: install Debian's package %s", err, pkg)
	}
}

// Program returns the path of a program from the environment variable of that name,
// which scripts/servers sets. Without it, Program skips the test, or fails it if
// LITESTREAM_TEST_ALL is set.
func Program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	switch {
	case path == "" && os.Getenv("LITESTREAM_TEST_ALL") != "":
		t.Fatalf("%s is not set, and LITESTREAM_TEST_ALL is", variable)
	case path == "":
		t.Skipf(`%s is not set: install the program with eval "$(scripts/servers start)"`, variable)
	}
	return path
}

// Nobody is the id of the user that servers run as, and of its group, where the test
// runs as root.
const Nobody = 65534

// Folder makes a folder that the user of a server can read and write, also where the
// test runs as root and the folders of tests are for root only.
func Folder(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		return t.TempDir()
	}
	parent := "/tmp"
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "daemon-test-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

const (
	starts    = 5 // attempts, as a port that is free may be taken by the time the server listens
	startTime = 20 * time.Second
	stopTime  = 10 * time.Second
)

// Start runs a server on loopback until the test ends, and returns its address. command
// returns the command of a server that listens at an address and stays in the
// foreground. log is the name of the file with the messages of the server, or empty if
// the command prints them.
func Start(t testing.TB, log string, command func(addr string) *exec.Cmd) (addr string) {
	t.Helper()
	for range starts {
		addr := freeAddr(t)
		cmd := command(addr)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if listens(addr, ended) {
			t.Cleanup(func() { stop(cmd, ended) })
			return addr
		}
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		messages, _ := os.ReadFile(log) // there may be none
		t.Logf("%s does not run: %s%s", cmd.Path, out.Bytes(), messages)
	}
	t.Fatalf("no server in %d attempts", starts)
	return ""
}

// stop ends a server.
func stop(cmd *exec.Cmd, ended <-chan error) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-ended:
	case <-time.After(stopTime):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// listens waits until something listens at an address. It returns false if the process
// ends before.
func listens(addr string, ended chan error) bool {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			return false
		default:
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

// freeAddr returns an address that nothing listens at.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
