// Package sftptest runs an SSH server within the process of a test, with OpenSSH's
// sftp-server as its subsystem. The server counts what clients ask for, and lets a
// test break or stop its connections. It also runs OpenSSH's own server and agent.
package sftptest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ltxvfs/litestream/internal/storetest/daemon"
)

// User and Password let a client in.
const (
	User     = "tester"
	Password = "s3cr3t-password"
)

// program is the sftp-server of Debian's package openssh-sftp-server.
const program = "/usr/lib/openssh/sftp-server"

// Server is an SSH server on loopback, until the test ends.
type Server struct {
	Addr    string
	Home    string        // folder that clients begin in
	HostKey ssh.PublicKey // of the server
	KeyFile string        // private key that lets a client in

	t        testing.TB
	args     []string
	config   *ssh.ServerConfig
	listener net.Listener
	wg       sync.WaitGroup

	// Endless makes the server send names for as long as a client asks for more.
	Endless atomic.Bool
	Closed  atomic.Int64 // folders and files that clients have closed

	mu struct {
		sync.Mutex
		conns    map[net.Conn]bool
		opened   int            // connections so far
		requests map[string]int // by kind
	}
}

// New starts a server. The arguments are those of sftp-server. It skips the test if
// there is no sftp-server, or fails if LITESTREAM_TEST_ALL is set.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	daemon.Need(t, program, "openssh-sftp-server")
	s := &Server{Home: t.TempDir(), t: t, args: args}
	hostSigner, _ := newKey(t)
	userSigner, userKey := newKey(t)
	s.HostKey = hostSigner.PublicKey()
	s.KeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(s.KeyFile, userKey, 0o600); err != nil {
		t.Fatal(err)
	}
	s.config = &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if c.User() != User || string(password) != Password {
				return nil, errors.New("wrong user or password")
			}
			return nil, nil
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != User || !bytes.Equal(key.Marshal(), userSigner.PublicKey().Marshal()) {
				return nil, errors.New("wrong user or key")
			}
			return nil, nil
		},
	}
	s.config.AddHostKey(hostSigner)
	s.mu.conns, s.mu.requests = map[net.Conn]bool{}, map[string]int{}
	s.Listen("127.0.0.1:0")
	t.Cleanup(func() {
		s.Stop()
		s.wg.Wait()
	})
	return s
}

// newKey makes a key and returns it also as a file.
func newKey(t testing.TB) (ssh.Signer, []byte) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return withFile(t, key)
}

// withFile returns a private key for use, and as a file.
func withFile(t testing.TB, key crypto.Signer) (ssh.Signer, []byte) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// Listen makes the server accept connections at an address, after Stop.
func (s *Server) Listen(addr string) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.listener, s.Addr = listener, listener.Addr().String()
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.mu.conns[conn] = true
			s.mu.opened++
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(conn) })
		}
	})
}

// Stop ends all connections and accepts no more.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.Break()
}

// Break ends all connections.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.mu.conns {
		_ = conn.Close()
	}
}

// Open returns the number of connections that are open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// Take returns the number of connections and of requests since the last call, as
// lines of text in the order of the names of the requests.
func (s *Server) Take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "connections: %d\n", s.mu.opened)
	for _, name := range slices.Sorted(maps.Keys(s.mu.requests)) {
		fmt.Fprintf(&text, "%s: %d\n", name, s.mu.requests[name])
	}
	s.mu.opened = 0
	clear(s.mu.requests)
	return text.String()
}

// serve serves one connection.
func (s *Server) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.mu.conns, conn)
		s.mu.Unlock()
	}()
	sshConn, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	for newChannel := range channels {
		if newChannel.ChannelType() != "session" {
			_ = newChannel.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := newChannel.Accept()
		if err != nil {
			break
		}
		s.wg.Go(func() {
			for request := range requests {
				ok := request.Type == "subsystem" && string(request.Payload) == "\x00\x00\x00\x04sftp"
				_ = request.Reply(ok, nil)
				if ok {
					s.wg.Go(func() { s.subsystem(channel) })
				}
			}
		})
	}
	_ = sshConn.Close()
}

// subsystem runs sftp-server on a channel.
func (s *Server) subsystem(channel ssh.Channel) {
	defer channel.Close()
	cmd := exec.Command(program, append([]string{"-d", s.Home}, s.args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	cmd.Stdout, cmd.Stderr = channel, io.Discard
	if err := cmd.Start(); err != nil {
		return
	}
	s.count(stdin, channel)
	_ = stdin.Close()
	_ = cmd.Wait()
}

// kinds are the requests of version 3 of the protocol, except those to close a file,
// which clients need not wait for.
var kinds = map[byte]string{
	3: "open", 5: "read", 6: "write", 7: "lstat", 8: "fstat", 9: "setstat", 10: "fsetstat", 11: "opendir", 12: "readdir",
	13: "remove", 14: "mkdir", 15: "rmdir", 16: "realpath", 17: "stat", 18: "rename", 200: "extended",
}

// names are names of a folder, as an answer to a request to read it.
func names(id []byte) []byte {
	const count = 1000
	packet := binary.BigEndian.AppendUint32(append([]byte{104}, id...), count)
	for i := range count {
		for _, name := range []string{fmt.Sprint("name-", i), ""} {
			packet = append(binary.BigEndian.AppendUint32(packet, uint32(len(name))), name...)
		}
		packet = binary.BigEndian.AppendUint32(packet, 0) // no attributes
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...)
}

// count copies requests to sftp-server and counts them.
func (s *Server) count(w io.Writer, client io.ReadWriter) {
	r := io.Reader(client)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[:4])
		if n == 0 || n > 1<<20 {
			return
		}
		packet := make([]byte, 4+n)
		copy(packet, head[:])
		if _, err := io.ReadFull(r, packet[5:]); err != nil {
			return
		}
		if kind := kinds[head[4]]; kind != "" {
			if kind == "extended" && len(packet) > 13 {
				end := 13 + binary.BigEndian.Uint32(packet[9:13])
				kind = string(packet[13:min(int(end), len(packet))])
			}
			s.mu.Lock()
			s.mu.requests[kind]++
			s.mu.Unlock()
		}
		if head[4] == 4 {
			s.Closed.Add(1)
		}
		to := w
		if head[4] == 12 && s.Endless.Load() {
			to, packet = client, names(packet[5:9]) // sftp-server does not answer meanwhile
		}
		if _, err := to.Write(packet); err != nil {
			return
		}
	}
}
