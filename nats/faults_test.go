package nats_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/replica"
)

const secret = "s3cr3t-password"

// isPermanent reports whether a caller does not repeat a call that failed.
func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent() || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)
}

// wantError checks the text and the class of an error, and that it has no secret.
func wantError(t *testing.T, name string, err error, permanent bool, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", name)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: %v, want %q in it", name, err, want)
	case isPermanent(err) != permanent:
		t.Errorf("%s: permanent is %v: %v", name, !permanent, err)
	case strings.Contains(err.Error(), secret):
		t.Errorf("%s: the password is in the error: %v", name, err)
	}
	t.Logf("%s: %v", name, err)
}

func TestWrongFields(t *testing.T) {
	noEnvironment(t)
	for _, tt := range []struct {
		change func(*nats.ReplicaClient)
		want   string
	}{
		{func(c *nats.ReplicaClient) { c.BucketName = "" }, "no bucket is set"},
		{func(c *nats.ReplicaClient) { c.BucketName = "a.b" }, "bucket name has other characters"},
		{func(c *nats.ReplicaClient) { c.Path = "/a" }, "path begins or ends with a slash"},
		{func(c *nats.ReplicaClient) { c.URL = "http://host" }, "another scheme"},
		{func(c *nats.ReplicaClient) { c.URL = "nats://user:" + secret + "@host" }, "has credentials"},
		{func(c *nats.ReplicaClient) { c.URL = "nats://host/path" }, "is not like nats://host:4222"},
		{func(c *nats.ReplicaClient) { c.URL = "nats://a,nats://%zz" + secret }, "is not a url"},
		{func(c *nats.ReplicaClient) { c.ChunkSize = 100 }, "chunk size"},
		{func(c *nats.ReplicaClient) { c.Timeout = -1 }, "duration is negative"},
		{func(c *nats.ReplicaClient) { c.ClientCert = "x" }, "only one is set"},
		{func(c *nats.ReplicaClient) { c.JWT = secret }, "a JWT is set, but not its seed"},
		{func(c *nats.ReplicaClient) { c.NKey = "U" }, "neither its seed nor a function that signs"},
		{func(c *nats.ReplicaClient) { c.UserJWT = func() (string, error) { return "", nil } }, "none that signs"},
		{func(c *nats.ReplicaClient) { c.Username = "user" }, "a user is set, but no password"},
	} {
		c := nats.NewReplicaClient()
		c.BucketName = "bucket"
		tt.change(c)
		err := c.Init(t.Context())
		wantError(t, tt.want, err, true, tt.want)
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v is not fs.ErrInvalid", tt.want, err)
		}
	}
}

// What is wrong from the beginning is one clear error of every method.
func TestFaults_Connect(t *testing.T) {
	noEnvironment(t)
	dir := t.TempDir()
	const unused = "127.0.0.1:1"                    // the port of a server that has closed may be another one's by now
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server := startServer(t, "accounts { A { users = [{ user: u, password: \""+secret+"\" }], jetstream: enabled }, B { users = [{ user: plain, password: \""+secret+"\" }] } }",
		natsgo.UserInfo("u", secret))
	newBucketIn(t, server.url, "there", natsgo.UserInfo("u", secret))

	for _, tt := range []struct {
		name      string
		change    func(*nats.ReplicaClient)
		permanent bool
		want      string
	}{
		{"wrong host", func(c *nats.ReplicaClient) { c.URL = "nats://" + unused }, false, "connection refused"},
		{"silent server", func(c *nats.ReplicaClient) {
			c.URL, c.Timeout = "nats://"+silent.Addr().String(), 100*time.Millisecond
		}, false, "timeout"},
		{"no credentials", func(c *nats.ReplicaClient) { c.Username = "" }, true, "no credentials: nats: Authorization Violation"},
		{"wrong password", func(c *nats.ReplicaClient) { c.Password = "other" }, true, "user u: nats: Authorization Violation"},
		{"no jetstream", func(c *nats.ReplicaClient) { c.Username = "plain" }, true, "server has no jetstream, or not for this account"},
		{"no bucket", func(c *nats.ReplicaClient) { c.BucketName = "missing" }, true, "no bucket missing, or not for user u: create it with: nats object add missing"},
		{"no creds file", func(c *nats.ReplicaClient) { c.Creds = dir + "/missing" }, true, "no such file"},
		{"no nkey file", func(c *nats.ReplicaClient) { c.Username, c.NKeyFile = "", dir+"/missing" }, true, "missing does not exist, or does not hold the seed"},
		{"no tls", func(c *nats.ReplicaClient) { c.TLS = true }, true, "the server offers none"},
		{"no root ca", func(c *nats.ReplicaClient) { c.TLS, c.RootCAs = true, []string{dir + "/ca"} }, true, "no such file"},
		{"no client certificate", func(c *nats.ReplicaClient) { c.ClientCert, c.ClientKey = dir+"/cert", dir+"/key" }, true, "no such file"},
	} {
		c := newClient(t, server.url, "there")
		c.Username, c.Password = "u", secret
		tt.change(c)
		start := time.Now()
		for method, call := range methods(c) {
			err := call(t.Context())
			wantError(t, tt.name+", "+method, err, tt.permanent, tt.want)
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, %s: says that an LTX file is missing: %v", tt.name, method, err)
			}
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: takes %v", tt.name, d)
		}
	}
	// A call ends with its context, also if the server says nothing.
	c := newClient(t, "nats://"+silent.Addr().String(), "there")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Init(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want the context's", err)
	}
}

// methods are all methods of a client that ask the server.
func methods(c *nats.ReplicaClient) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			itr, err := c.LTXFiles(ctx, 0, 0, false)
			if err != nil {
				return err
			}
			itr.Next()
			return itr.Close()
		},
		"open": func(ctx context.Context) error {
			r, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		},
		"write": func(ctx context.Context) error {
			_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(ltxFile(1, 1000)))
			return err
		},
		"create": func(ctx context.Context) error {
			_, err := c.CreateLTXFile(ctx, 0, 2, 2, bytes.NewReader(ltxFile(2, 1000)))
			return err
		},
		"delete": func(ctx context.Context) error {
			return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
		},
		"survey": func(ctx context.Context) error {
			_, err := c.Survey(ctx, "")
			return err
		},
	}
}

func newBucketIn(t testing.TB, url, name string, opts ...natsgo.Option) {
	t.Helper()
	if _, err := library(t, url, opts...).CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: name}); err != nil {
		t.Fatal(err)
	}
}

// A permission that is missing is an error at once, although the server does not
// answer such messages. The other methods work.
func TestFaults_Permissions(t *testing.T) {
	noEnvironment(t)
	admin := natsgo.UserInfo("admin", secret)
	server := startServer(t, `authorization { users = [
		{ user: admin, password: "`+secret+`" }
		{ user: reader, password: "`+secret+`", permissions: { subscribe: "_INBOX.>", publish: [
			"$JS.API.STREAM.INFO.OBJ_bucket", "$JS.API.DIRECT.GET.OBJ_bucket", "$JS.API.DIRECT.GET.OBJ_bucket.>",
			"$JS.API.CONSUMER.CREATE.OBJ_bucket.>", "$JS.API.CONSUMER.DELETE.OBJ_bucket.>", "$JS.API.CONSUMER.MSG.NEXT.OBJ_bucket.>" ] } }
		{ user: nobody, password: "`+secret+`", permissions: { subscribe: "_INBOX.>", publish: "nothing" } }
		{ user: deaf, password: "`+secret+`", permissions: { subscribe: "nothing", publish: ">" } }
	] }`, admin)
	newBucketIn(t, server.url, "bucket", admin)
	client := func(user string) *nats.ReplicaClient {
		c := newClient(t, server.url, "bucket")
		c.Username, c.Password = user, secret
		return c
	}
	write(t, client("admin"), 1, 300_000)

	reader := client("reader")
	if got := readRange(t, reader, 1, 200_000, 10); len(got) != 10 {
		t.Errorf("%d bytes", len(got))
	}
	calls := methods(reader)
	for _, method := range []string{"list", "open", "survey"} {
		if err := calls[method](t.Context()); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	start := time.Now()
	for _, method := range []string{"write", "create", "delete"} {
		wantError(t, method, calls[method](t.Context()), true, `user reader: permissions violation: Permissions Violation for Publish to "$`)
	}
	for _, user := range []string{"nobody", "deaf"} {
		for method, call := range methods(client(user)) {
			wantError(t, user+", "+method, call(t.Context()), true, "user "+user+": permissions violation")
		}
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("errors come after %v", d)
	}
}

// A bucket that is full refuses files with a clear error, and nothing of them is
// left.
func TestFaults_Full(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	name := newBucket(t, url)
	js := library(t, url)
	if _, err := js.UpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: name, Storage: jetstream.MemoryStorage, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, url, name)
	write(t, c, 1, 500_000)
	_, err := c.WriteLTXFile(t.Context(), 0, 2, 2, bytes.NewReader(ltxFile(2, 2<<20)))
	wantError(t, "full", err, false, "maximum bytes exceeded")
	stream, err := js.Stream(t.Context(), "OBJ_"+name)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 5 {
		t.Errorf("%d messages are left, want the 5 of the first file", n)
	}
}

// A database stays usable while the server is killed and started again. Reads fail
// at once while it is down.
func TestFaults_Restart(t *testing.T) {
	noEnvironment(t)
	server := startServer(t, "")
	newBucketIn(t, server.url, "bucket")
	newPrimary(t, server.url, "bucket", 0)
	client := newClient(t, server.url, "bucket")
	client.ChunkCacheSize = -1
	db := openVFS(t, client, &litestream.Options{ReadAheadSize: -1, CacheSize: -1, ReadTimeout: time.Second, PollInterval: time.Hour})
	read := func(id int) error {
		var n int
		return db.QueryRow("SELECT length(b) FROM t WHERE id = ?", id).Scan(&n)
	}
	if err := read(100); err != nil {
		t.Fatal(err)
	}
	server.stop()
	start := time.Now()
	if err := read(2000); err == nil {
		t.Error("a read succeeds without a server")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the error comes after %v", d)
	}
	_, err := client.OpenLTXFile(t.Context(), 0, 9, 9, 0, 0)
	wantError(t, "server is down", err, false, "connection to the server is lost")
	server.start(t)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := read(3000)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A connection that is cut in a body is an error, and so is one that hangs. The
// client connects again.
func TestFaults_Cut(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	write(t, newClient(t, url, bucket), 1, 8<<20)
	proxy := storetest.NewProxy(t, strings.TrimPrefix(url, "nats://"))
	c := newClient(t, "nats://"+proxy.Addr(), bucket)
	c.ChunkCacheSize = -1
	readRange(t, c, 1, 0, 10)
	remove := proxy.Add(storetest.Toxic{Type: "limit_data", Attributes: map[string]any{"bytes": 1 << 20}})
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	wantError(t, "cut", err, false, "connection to the server is lost")
	remove()
	within(t, func() error {
		r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 100)
		if err == nil {
			err = r.Close()
		}
		return err
	})

	hang := proxy.Add(storetest.Toxic{Type: "timeout", Attributes: map[string]any{"timeout": 0}})
	for method, call := range methods(c) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got error %v, want the context's", method, err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: the error comes after %v", method, d)
		}
		cancel()
	}
	hang()
	// The connection hangs still. The client notices that, and makes another one.
	within(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return methods(c)["open"](ctx)
	})
}

func within(t testing.TB, fn func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// authority makes a certificate authority, and the files of a server's certificate.
func authority(t testing.TB, dir string) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	save := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ca = save("ca.pem", "CERTIFICATE", der)
	return ca, ca, save("key.pem", "EC PRIVATE KEY", keyDER)
}

// Every way to authenticate works, by fields, by parameters of the URL and by
// variables.
func TestAuthentication(t *testing.T) {
	noEnvironment(t)
	dir := t.TempDir()
	ca, cert, key := authority(t, dir)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(dir, "seed.nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	tls := natsgo.RootCAs(ca)
	users := startServer(t, fmt.Sprintf(`tls { cert_file: %q, key_file: %q }
		authorization { users = [{ user: u, password: %q }, { nkey: %s }] }`, cert, key, secret, public), tls, natsgo.UserInfo("u", secret))
	newBucketIn(t, users.url, "bucket", tls, natsgo.UserInfo("u", secret))
	token := startServer(t, fmt.Sprintf("authorization { token: %q }", secret), natsgo.Token(secret))
	newBucketIn(t, token.url, "bucket", natsgo.Token(secret))
	clients := startServer(t, fmt.Sprintf(`tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }`, cert, key, ca), tls, natsgo.ClientCert(cert, key))
	newBucketIn(t, clients.url, "bucket", tls, natsgo.ClientCert(cert, key))

	host := func(s *natsServer) string { return strings.TrimPrefix(s.url, "nats://") }
	for _, tt := range []struct {
		name, url string
		change    func(*nats.ReplicaClient)
		env       map[string]string
	}{
		{name: "user in the url", url: "nats://u:" + secret + "@" + host(users) + "/bucket?tls=true&root-cas=" + ca},
		{name: "user", url: users.url + "/bucket?root-cas=" + ca, change: func(c *nats.ReplicaClient) { c.Username, c.Password = "u", secret }},
		{name: "user in variables", url: users.url + "/bucket", env: map[string]string{"NATS_USER": "u", "NATS_PASSWORD": secret, "NATS_CA": ca}},
		{name: "nkey file in the url", url: users.url + "/bucket?nkey=" + seedFile + "&root-cas=" + ca},
		{name: "nkey file in a variable", url: users.url + "/bucket?root-cas=" + ca, env: map[string]string{"NATS_NKEY": seedFile}},
		{name: "nkey and seed", url: users.url + "/bucket?root-cas=" + ca, change: func(c *nats.ReplicaClient) { c.NKey, c.Seed = public, string(seed) }},
		{name: "token in the url", url: "nats://" + secret + "@" + host(token) + "/bucket"},
		{name: "token in a variable", url: token.url + "/bucket", env: map[string]string{"NATS_TOKEN": secret}},
		{name: "client certificate in the url", url: clients.url + "/bucket?root-cas=" + ca + "&client-cert=" + cert + "&client-key=" + key},
		{name: "client certificate in variables", url: clients.url + "/bucket", env: map[string]string{"NATS_CA": ca, "NATS_CERT": cert, "NATS_KEY": key}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			made, err := replica.NewFromURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			c := made.(*nats.ReplicaClient)
			defer c.Close()
			if tt.change != nil {
				tt.change(c)
			}
			if err := c.Init(t.Context()); err != nil {
				t.Error(err)
			}
			if id := c.ReplicaIdentity(); strings.Contains(id, secret) {
				t.Errorf("the identity %s has the password", id)
			}
		})
	}
	c := newClient(t, users.url, "bucket")
	c.Username, c.Password = "u", secret
	wantError(t, "unknown authority", c.Init(t.Context()), true, "certificate signed by unknown authority")
	c = newClient(t, clients.url, "bucket")
	c.RootCAs = []string{ca}
	wantError(t, "no client certificate", c.Init(t.Context()), false, "tls") // depending on timing, the error tells why
	c = newClient(t, users.url, "bucket")
	c.RootCAs, c.NKey, c.Seed = []string{ca}, public, secret
	wantError(t, "wrong seed", c.Init(t.Context()), true, "seed is not one of an nkey")
}

// A password that is no longer accepted is an error that says so and does not show
// it.
func TestNoSecrets(t *testing.T) {
	noEnvironment(t)
	server := startServer(t, fmt.Sprintf("authorization { user: u, password: %q }", secret), natsgo.UserInfo("u", secret))
	newBucketIn(t, server.url, "bucket", natsgo.UserInfo("u", secret))
	client, err := replica.NewFromURL("nats://u:" + secret + "@" + strings.TrimPrefix(server.url, "nats://") + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	c := client.(*nats.ReplicaClient)
	t.Cleanup(func() { c.Close() })
	write(t, c, 1, 1000)
	server.stop()
	config := server.args[2]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, bytes.ReplaceAll(text, []byte(secret), []byte("changed")), 0o600); err != nil {
		t.Fatal(err)
	}
	server.start(t, natsgo.UserInfo("u", "changed"))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err = c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
		if err == nil {
			t.Fatal("no error")
		}
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("the password is in the error: %v", err)
		}
		if errors.Is(err, fs.ErrPermission) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	wantError(t, "password changed", err, true, "user u is not accepted")
}
