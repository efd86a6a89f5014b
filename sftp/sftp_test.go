package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
	"github.com/ltxvfs/litestream/sftp"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"LITESTREAM_SFTP_PASSWORD", "LITESTREAM_SFTP_KEY_PATH", "LITESTREAM_SFTP_KEY_PASSPHRASE", "LITESTREAM_SFTP_HOST_KEY", "LITESTREAM_SFTP_KNOWN_HOSTS", "SSH_AUTH_SOCK"} {
		os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m)
}

// newClient returns a client of a folder of a server.
func newClient(t testing.TB, s *sftptest.Server, path string) *sftp.ReplicaClient {
	t.Helper()
	c := sftp.NewReplicaClient()
	c.Host, c.User, c.Password, c.Path = s.Addr, sftptest.User, sftptest.Password, path
	c.HostKey = string(ssh.MarshalAuthorizedKey(s.HostKey))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// properties has the suite look at a replica from outside.
func properties(s *sftptest.Server) replicatest.Properties {
	place := func(t *testing.T, name string, body []byte) {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, body, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return replicatest.Properties{
		NoListAll:          true,
		TimestampPrecision: time.Second, // of the protocol
		LargeBody:          2 << 20,     // several writes
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			place(t, filepath.Join(c.(*sftp.ReplicaClient).Path, "ltx", strconv.Itoa(level), name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			place(t, filepath.Join(c.(*sftp.ReplicaClient).Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			return newClient(t, s, c.(*sftp.ReplicaClient).Path)
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			u := url.URL{Scheme: "sftp", User: url.UserPassword(sftptest.User, sftptest.Password), Host: s.Addr, Path: c.(*sftp.ReplicaClient).Path}
			d, err := replica.NewFromURL(u.String() + below + "?host-key=" + url.QueryEscape(string(ssh.MarshalAuthorizedKey(s.HostKey))))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.(*sftp.ReplicaClient).Close() })
			return d
		},
		Unfinished: func(t *testing.T, c replica.Client) []string { return temps(t, c.(*sftp.ReplicaClient).Path) },
	}
}

func TestConformance(t *testing.T) {
	s := sftptest.New(t)
	replicatest.Run(t, func(t *testing.T) replica.Client {
		return newClient(t, s, filepath.Join(t.TempDir(), "some", "replica"))
	}, properties(s))
}

// A server without the extensions of OpenSSH does all but create files.
func TestConformance_NoExtensions(t *testing.T) {
	s := sftptest.New(t, "-P", "hardlink,posix-rename,fsync,statvfs")
	props := properties(s)
	props.NoCreate, props.ManyFiles = true, -1
	replicatest.Run(t, func(t *testing.T) replica.Client {
		return newClient(t, s, filepath.Join(t.TempDir(), "some", "replica"))
	}, props)
}

// encode makes an LTX file of about size bytes.
func encode(t testing.TB, txid ltx.TXID, seed uint64, size int) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{
		MinTXID: txid, MaxTXID: txid, Timestamp: time.UnixMilli(1_700_000_000_123), PageSize: 4096, Pages: max(size/4096, 1), Seed: seed,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(ctx context.Context, c *sftp.ReplicaClient, txid ltx.TXID, body []byte) error {
	_, err := c.WriteLTXFile(ctx, 0, txid, txid, bytes.NewReader(body))
	return err
}

func read(ctx context.Context, c *sftp.ReplicaClient, txid ltx.TXID, offset, size int64) ([]byte, error) {
	body, err := c.OpenLTXFile(ctx, 0, txid, txid, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

// temps returns the temporary files of level 0.
func temps(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, "ltx", "0", ".*.tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// within polls a condition until it holds, for a minute.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.As(err, &p) && p.Permanent()
}

// Each refusal of a server or of its key is one clear error, without a secret.
func TestRefusals(t *testing.T) {
	s := sftptest.New(t)
	other := sftptest.New(t)
	dir := t.TempDir()
	knownHosts := func(name, line string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	line := func(key ssh.PublicKey) string {
		host, port, _ := strings.Cut(s.Addr, ":")
		return "[" + host + "]:" + port + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	}
	for name, tt := range map[string]struct {
		change    func(c *sftp.ReplicaClient)
		want      string // in the error; empty: none
		transient bool
	}{
		"password":          {func(*sftp.ReplicaClient) {}, "", false},
		"key":               {func(c *sftp.ReplicaClient) { c.Password, c.KeyPath = "", s.KeyFile }, "", false},
		"wrong password":    {func(c *sftp.ReplicaClient) { c.Password = "s3cr3t-wrong" }, "user tester is not let in with the password", false},
		"wrong user":        {func(c *sftp.ReplicaClient) { c.User = "other" }, "user other is not let in with the password", false},
		"wrong key":         {func(c *sftp.ReplicaClient) { c.Password, c.KeyPath = "", other.KeyFile }, "user tester is not let in with the key", false},
		"no key file":       {func(c *sftp.ReplicaClient) { c.KeyPath = filepath.Join(dir, "none") }, "read key " + filepath.Join(dir, "none"), false},
		"no key in it":      {func(c *sftp.ReplicaClient) { c.KeyPath = knownHosts("nokey", "s3cr3t") }, "file is no private key", false},
		"fingerprint":       {func(c *sftp.ReplicaClient) { c.HostKey = ssh.FingerprintSHA256(s.HostKey) }, "", false},
		"wrong host key":    {func(c *sftp.ReplicaClient) { c.HostKey = ssh.FingerprintSHA256(other.HostKey) }, "another server answers, or its key has changed", false},
		"bad host key":      {func(c *sftp.ReplicaClient) { c.HostKey = "s3cr3t" }, "host key is neither", false},
		"known host":        {func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", knownHosts("right", line(s.HostKey)) }, "", false},
		"changed host":      {func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", knownHosts("changed", line(other.HostKey)) }, "changed line 1 has another", false},
		"unknown host":      {func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", knownHosts("empty", "") }, "of the server is not known", false},
		"no known hosts":    {func(c *sftp.ReplicaClient) { c.HostKey, c.KnownHosts = "", filepath.Join(dir, "none") }, "read known hosts", false},
		"any host":          {func(c *sftp.ReplicaClient) { c.HostKey, c.InsecureSkipHostKey = "", true }, "", false},
		"nothing listens":   {func(c *sftp.ReplicaClient) { c.Host = "127.0.0.1:1" }, "connection refused", true},
		"nothing to offer":  {func(c *sftp.ReplicaClient) { c.Password = "" }, "no password, no key file", false},
		"no permission":     {func(c *sftp.ReplicaClient) { c.Path = "/proc/1/fdinfo/x" }, "permission denied", false},
		"too many at once":  {func(c *sftp.ReplicaClient) { c.Connections = 65 }, "connections 65", false},
		"path with a zero":  {func(c *sftp.ReplicaClient) { c.Path = "a\x00" }, "zero byte", false},
		"host with a user":  {func(c *sftp.ReplicaClient) { c.Host = "a@b" }, `host "a@b"`, false},
		"port out of range": {func(c *sftp.ReplicaClient) { c.Host = "a:70000" }, "port", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HOME", dir)
			c := newClient(t, s, t.TempDir())
			tt.change(c)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			itr, err := c.LTXFiles(ctx, 0, 0, false)
			if err == nil {
				err = itr.Close()
			}
			switch {
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want %q", err, tt.want)
			case err != nil && permanent(err) == tt.transient:
				t.Errorf("error is permanent: %v: %v", permanent(err), err)
			case err != nil && (strings.Contains(err.Error(), "s3cr3t") || errors.Is(err, fs.ErrNotExist)):
				t.Errorf("error has a secret, or says that a file is missing: %v", err)
			}
		})
	}
}

// A client goes on after its server was restarted, and after connections broke.
func TestReconnects(t *testing.T) {
	s := sftptest.New(t)
	c := newClient(t, s, t.TempDir())
	body := encode(t, 1, 0, 2<<20)
	if err := write(t.Context(), c, 1, body); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	addr := s.Addr
	s.Stop()
	if n, err := io.Copy(io.Discard, r); err == nil || errors.Is(err, io.EOF) || permanent(err) {
		t.Errorf("read %d bytes of a connection that ended: %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := read(t.Context(), c, 1, 0, 100); err == nil || permanent(err) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a server: %v", err)
	}
	s.Listen(addr)
	if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("after a restart: %d bytes, %v", len(got), err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("after Close: %d bytes, %v", len(got), err)
	}
}

// Many reads at once share a few connections, which Close ends.
func TestConnections(t *testing.T) {
	s := sftptest.New(t)
	c := newClient(t, s, t.TempDir())
	c.Connections = 3
	body := encode(t, 1, 0, 1<<20)
	if err := write(t.Context(), c, 1, body); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for i := range 128 {
		group.Go(func() error {
			for range 10 {
				offset := int64(i * 8000)
				if got, err := read(t.Context(), c, 1, offset, 5000); err != nil {
					return err
				} else if !bytes.Equal(got, body[offset:offset+5000]) {
					return errors.New("wrong bytes")
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	within(t, "three connections", func() bool { return s.Open() == 3 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "no connection is left", func() bool { return s.Open() == 0 })
}
