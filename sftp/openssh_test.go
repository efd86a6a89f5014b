//go:build unix

package sftp_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ltxvfs/litestream/internal/storetest/daemon"
	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/sftp"
)

// A client gets along with OpenSSH's own server and agent: it is let in with a key, from
// a file or from the agent, checks each kind of host key, and says why it is refused.
func TestOpenSSH(t *testing.T) {
	s := sftptest.NewOpenSSH(t)
	dir := t.TempDir()
	t.Setenv("HOME", dir) // without keys and known hosts of the user
	other := filepath.Join(dir, "other")
	unknown, err := os.ReadFile(sftptest.New(t).KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, unknown, 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	knownHosts := func(key ssh.PublicKey) string {
		file := filepath.Join(dir, "known_"+key.Type())
		line := "[" + host + "]:" + port + " " + string(ssh.MarshalAuthorizedKey(key))
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	agent, empty := sftptest.StartAgent(t, s.KeyFile), sftptest.StartAgent(t, other)
	for name, tt := range map[string]struct {
		agent  string
		change func(c *sftp.ReplicaClient)
		want   string // in the error; empty: none
	}{
		"key":                   {"", func(c *sftp.ReplicaClient) { c.KeyPath = s.KeyFile }, ""},
		"agent":                 {agent, func(*sftp.ReplicaClient) {}, ""},
		"known host":            {agent, func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", knownHosts(s.HostKeys[0]) }, ""},
		"known by another key":  {agent, func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", knownHosts(s.HostKeys[1]) }, ""},
		"unknown host":          {agent, func(c *sftp.ReplicaClient) { c.HostKey = "" }, "of the server is not known"},
		"wrong host key":        {agent, func(c *sftp.ReplicaClient) { c.HostKey = "SHA256:9VyMYFbCUAeNzq9Pbx0i5RdT8TsBsWKqPYCO2dBKBmA" }, "another server answers, or its key has changed"},
		"wrong key":             {"", func(c *sftp.ReplicaClient) { c.KeyPath = other }, "user " + s.User + " is not let in with the key"},
		"agent without the key": {empty, func(*sftp.ReplicaClient) {}, "user " + s.User + " is not let in"},
		"password":              {"", func(c *sftp.ReplicaClient) { c.Password = "s3cr3t" }, "user " + s.User + " is not let in with the password"},
		"wrong user":            {"", func(c *sftp.ReplicaClient) { c.KeyPath, c.User = s.KeyFile, "nobody-of-this-name" }, "user nobody-of-this-name is not let in with the key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", tt.agent)
			c := sftp.NewReplicaClient()
			c.Host, c.User, c.Path = s.Addr, s.User, daemon.Folder(t)
			c.HostKey = string(ssh.MarshalAuthorizedKey(s.HostKeys[0]))
			t.Cleanup(func() { c.Close() })
			tt.change(c)
			body := encode(t, 1, 0, 100_000)
			err := write(t.Context(), c, 1, body)
			switch {
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want %q", err, tt.want)
			case err != nil && (!permanent(err) || strings.Contains(err.Error(), "s3cr3t") || errors.Is(err, fs.ErrNotExist)):
				t.Errorf("error is permanent: %v: %v", permanent(err), err)
			case err == nil:
				if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			}
		})
	}
}
