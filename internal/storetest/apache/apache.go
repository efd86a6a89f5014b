// Package apache runs Apache's web server in a test, from Debian's package
// apache2-bin.
package apache

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	program = "/usr/sbin/apache2"
	modules = "/usr/lib/apache2/modules"
)

// Server is an Apache on loopback, until the test ends.
type Server struct {
	Addr string
	Root string // folder that it serves
}

// New starts a server with further lines of configuration, and the modules that they
// need besides those for files and listings. It skips the test if there is no Apache,
// or fails if LITESTREAM_TEST_ALL is set.
func New(t testing.TB, config string, more ...string) *Server {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("LITESTREAM_TEST_ALL") != "" {
			t.Fatalf("%v: install Debian's package apache2-bin", err)
		}
		t.Skipf("%v: install Debian's package apache2-bin", err)
	}
	s := &Server{Root: folder(t)}
	run := folder(t)
	var text bytes.Buffer
	for _, name := range append([]string{"mpm_event", "authn_core", "authz_core", "autoindex", "dir"}, more...) {
		fmt.Fprintf(&text, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
	}
	// A port that is free may be taken by the time the server listens.
	for range 5 {
		s.Addr = freeAddr(t)
		file := filepath.Join(run, "apache.conf")
		content := fmt.Sprintf("%sServerName localhost\nListen %s\nPidFile %s/pid\nErrorLog %s/error.log\nDocumentRoot %s\n"+
			"DefaultRuntimeDir %s\nMutex file:%s default\nKeepAlive On\nMaxKeepAliveRequests 0\nServerLimit 4\nThreadsPerChild 64\nMaxRequestWorkers 256\n"+
			"<Directory />\nOptions Indexes\nRequire all granted\n</Directory>\n%s\n",
			text.String(), s.Addr, run, run, s.Root, run, run, config)
		if os.Getuid() == 0 {
			content += "User #65534\nGroup #65534\n" // it does not serve as root
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "-d", run, "-f", file, "-D", "FOREGROUND")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if listens(s.Addr, ended) {
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				select {
				case <-ended:
				case <-time.After(10 * time.Second):
					_ = cmd.Process.Kill()
					<-ended
				}
			})
			return s
		}
		_ = cmd.Process.Kill()
		log, _ := os.ReadFile(filepath.Join(run, "error.log"))
		t.Logf("apache does not run: %s%s", out.Bytes(), log)
	}
	t.Fatal("apache does not run")
	return nil
}

// folder makes a folder that the user of the server can read and write, also where
// the test runs as root and the folders of tests are for root only.
func folder(t testing.TB) string {
	if os.Getuid() != 0 {
		return t.TempDir()
	}
	parent := "/tmp"
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "apache-test-")
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

// listens waits until something listens at an address. It returns false if the
// process ends before.
func listens(addr string, ended chan error) bool {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
