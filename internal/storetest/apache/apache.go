// Package apache runs Apache's web server in a test, from Debian's package
// apache2-bin.
package apache

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest/daemon"
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
	daemon.Need(t, program, "apache2-bin")
	s := &Server{Root: daemon.Folder(t)}
	run := daemon.Folder(t)
	var text bytes.Buffer
	for _, name := range append([]string{"mpm_event", "authn_core", "authz_core", "autoindex", "dir"}, more...) {
		fmt.Fprintf(&text, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
	}
	file, log := filepath.Join(run, "apache.conf"), filepath.Join(run, "error.log")
	s.Addr = daemon.Start(t, log, func(addr string) *exec.Cmd {
		content := fmt.Sprintf("%sServerName localhost\nListen %s\nPidFile %s/pid\nErrorLog %s\nDocumentRoot %s\n"+
			"DefaultRuntimeDir %s\nMutex file:%s default\nKeepAlive On\nMaxKeepAliveRequests 0\nServerLimit 4\nThreadsPerChild 64\nMaxRequestWorkers 256\n"+
			"<Directory />\nOptions Indexes\nRequire all granted\n</Directory>\n%s\n",
			text.String(), addr, run, log, s.Root, run, run, config)
		if os.Getuid() == 0 {
			content += fmt.Sprintf("User #%[1]d\nGroup #%[1]d\n", daemon.Nobody) // it does not serve as root
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(program, "-d", run, "-f", file, "-D", "FOREGROUND")
	})
	return s
}
