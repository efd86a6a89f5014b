//go:build unix

package sftptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ltxvfs/litestream/internal/storetest/daemon"
)

const (
	sshdVariable = "LITESTREAM_TEST_SSHD" // environment variable with the path of sshd

	sshAgent = "/usr/bin/ssh-agent"
	sshAdd   = "/usr/bin/ssh-add"
)

// OpenSSH is OpenSSH's server on loopback, until the test ends.
type OpenSSH struct {
	Addr     string
	User     string          // that the server lets in, with the key
	KeyFile  string          // private key of the user
	HostKeys []ssh.PublicKey // of the server, of several kinds
}

// NewOpenSSH starts a server that lets one user in with a key, and refuses every
// password. That is the user of the test, or nobody where this is root: sshd as root
// wants a user and a folder of its own. It skips the test if the environment has no
// sshd, or fails if LITESTREAM_TEST_ALL is set.
func NewOpenSSH(t testing.TB) *OpenSSH {
	t.Helper()
	sshd := daemon.Program(t, sshdVariable)
	id := os.Getuid()
	if id == 0 {
		id = daemon.Nobody
	}
	me, err := user.LookupId(strconv.Itoa(id))
	if err != nil {
		t.Fatal(err)
	}
	dir := daemon.Folder(t)
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		err := os.WriteFile(file, content, 0o600)
		if err == nil && os.Getuid() == 0 {
			err = os.Chown(file, id, id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	s := &OpenSSH{User: me.Username}
	var config strings.Builder
	for name, newKey := range map[string]func(testing.TB) (ssh.Signer, []byte){"ed25519": newKey, "ecdsa": newECDSAKey} {
		signer, key := newKey(t)
		s.HostKeys = append(s.HostKeys, signer.PublicKey())
		fmt.Fprintf(&config, "HostKey %s\n", write("host_"+name, key))
	}
	signer, key := newKey(t)
	s.KeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(s.KeyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	authorized := write("authorized_keys", ssh.MarshalAuthorizedKey(signer.PublicKey()))
	// Without PAM, sshd takes nobody, who has no password, for a user that is locked out.
	fmt.Fprintf(&config, "AuthorizedKeysFile %s\nStrictModes no\nUsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n"+
		"MaxAuthTries 20\nPidFile none\nSubsystem sftp internal-sftp\n", authorized)
	// The programs may be where the user of the server finds none. Since version 9.8,
	// sshd runs others, and makes clients wait that were refused.
	libexec := filepath.Join(filepath.Dir(sshd), "../lib/openssh")
	sshd = copyProgram(t, sshd, dir)
	for program, settings := range map[string]string{"sshd-session": "PerSourcePenalties no\nSshdSessionPath ", "sshd-auth": "SshdAuthPath "} {
		if path := filepath.Join(libexec, program); fileExists(path) {
			fmt.Fprintf(&config, "%s%s\n", settings, copyProgram(t, path, dir))
		}
	}
	file := write("sshd_config", []byte(config.String()))
	s.Addr = daemon.Start(t, "", func(addr string) *exec.Cmd {
		host, port, _ := strings.Cut(addr, ":")
		cmd := exec.Command(sshd, "-D", "-e", "-f", file, "-o", "ListenAddress="+host, "-p", port)
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
		}
		return cmd
	})
	return s
}

// copyProgram copies a program to a folder, and returns its path there.
func copyProgram(t testing.TB, program, folder string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	path := filepath.Join(folder, filepath.Base(program))
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newECDSAKey is newKey for a key of another kind.
func newECDSAKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return withFile(t, key)
}

// StartAgent starts OpenSSH's agent with the keys of files until the test ends, and
// returns the name of its socket.
func StartAgent(t testing.TB, keyFiles ...string) (socket string) {
	t.Helper()
	daemon.Need(t, sshAgent, "openssh-client")
	dir, err := os.MkdirTemp("", "agent") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	cmd := exec.Command(sshAgent, "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not listen")
		}
	}
	add := exec.Command(sshAdd, append([]string{"-q"}, keyFiles...)...)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
	return socket
}
