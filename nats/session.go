package nats

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/semaphore"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	defaultTimeout       = 5 * time.Second
	defaultReconnectWait = 250 * time.Millisecond

	// A connection on which nothing comes back is given up after two pings, so
	// that reads which are repeated after a time-out use another one.
	pingInterval = 4 * time.Second
	maxPingsOut  = 2

	// readBudget is the number of bytes of chunks that are requested and have not
	// arrived. The server gives up a connection that has 64 MiB to send.
	readBudget = 16 << 20

	defaultChunkCacheSize = 4 << 20

	minChunkSize = 4 << 10
	maxChunkSize = 64 << 20 // the most that a server accepts in a message

	// messageOverhead is the part of a message that is left for its headers.
	messageOverhead = 4 << 10
)

// session is a connection to a bucket that exists. It does not change, except for
// what it learns about the objects. It is safe for concurrent use.
type session struct {
	nc     *natsgo.Conn
	js     jetstream.JetStream
	stream jetstream.Stream // of the bucket; nothing refreshes what it knows of it

	bucket    string
	layout    clientio.Layout
	chunkSize int
	replicas  int // of the stream: each of them answers reads

	budget  *semaphore.Weighted // bytes that may still be requested, see readBudget
	objects objects
	chunks  chunkCache

	problem *problem
	written atomic.Uint64 // sequence number of the newest description that this session stored
}

// bucketNames matches the names that NATS allows.
var bucketNames = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// validate checks the fields.
func (c *ReplicaClient) validate() error {
	switch {
	case c.BucketName == "":
		return clientio.Invalid("no bucket is set")
	case !bucketNames.MatchString(c.BucketName):
		return clientio.Invalid("bucket name has other characters than letters, digits, dashes and underscores")
	case strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/"):
		return clientio.Invalid("path begins or ends with a slash")
	case c.ChunkSize != 0 && (c.ChunkSize < minChunkSize || c.ChunkSize > maxChunkSize):
		return clientio.Invalid("chunk size is not between 4 KiB and 64 MiB")
	case c.Timeout < 0 || c.ReconnectWait < 0:
		return clientio.Invalid("a duration is negative")
	case (c.ClientCert == "") != (c.ClientKey == ""):
		return clientio.Invalid("of client certificate and client key only one is set")
	case c.JWT != "" && c.Seed == "":
		return clientio.Invalid("a JWT is set, but not its seed")
	case c.NKey != "" && c.Seed == "" && c.SigCB == nil:
		return clientio.Invalid("an nkey is set, but neither its seed nor a function that signs")
	case c.UserJWT != nil && c.SigCB == nil:
		return clientio.Invalid("a function for the JWT is set, but none that signs")
	}
	_, err := servers(c.URL)
	return err
}

// servers returns the addresses in a URL.
func servers(rawURL string) ([]string, error) {
	var out []string
	for _, text := range strings.Split(cmp.Or(rawURL, natsgo.DefaultURL), ",") {
		host, err := hostOf(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		out = append(out, "nats://"+host)
	}
	return out, nil
}

// newSession connects to a server and looks for the bucket.
func newSession(ctx context.Context, c *ReplicaClient) (*session, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	addresses, err := servers(c.URL)
	if err != nil {
		return nil, err
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	seen := &problem{}
	opts, err := c.options(seen)
	if err != nil {
		return nil, err
	}
	nc, err := natsgo.Connect(strings.Join(addresses, ","), opts...)
	if err != nil {
		return nil, seen.connectFailed(err)
	}
	seen.reconnected(nc) // of several servers, some may not have answered
	s := &session{
		nc: nc, bucket: c.BucketName, layout: clientio.NewLayout(c.Path), problem: seen, objects: newObjects(),
		budget: semaphore.NewWeighted(readBudget),
	}
	s.chunks.limit = cmp.Or(c.ChunkCacheSize, defaultChunkCacheSize)
	if err := s.find(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	s.chunkSize = min(int(cmp.Or(c.ChunkSize, DefaultChunkSize)), int(nc.MaxPayload())-messageOverhead)
	if s.chunkSize <= 0 {
		nc.Close()
		return nil, clientio.Permanent(fmt.Errorf("server accepts no messages of more than %d bytes", nc.MaxPayload()))
	}
	return s, nil
}

// find looks for the stream of the bucket.
func (s *session) find(ctx context.Context) error {
	var err error
	if s.js, err = jetstream.New(s.nc); err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	err = s.call(ctx, "$JS.API.STREAM.INFO.", func(ctx context.Context) error {
		var err error
		s.stream, err = s.js.Stream(ctx, s.streamName())
		return err
	})
	if err != nil {
		return fmt.Errorf("look for bucket %s: %w", s.bucket, err)
	}
	s.replicas = s.stream.CachedInfo().Config.Replicas
	return nil
}

// options returns the options of the connection. What the connection reports goes to
// seen.
func (c *ReplicaClient) options(seen *problem) ([]natsgo.Option, error) {
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	opts := []natsgo.Option{
		natsgo.Name("litestream"),
		natsgo.Timeout(timeout),
		natsgo.SetCustomDialer(&dialer{net.Dialer{Timeout: timeout}, seen}),
		natsgo.PingInterval(pingInterval),
		natsgo.MaxPingsOutstanding(maxPingsOut),
		natsgo.MaxReconnects(-1),
		natsgo.ReconnectWait(cmp.Or(c.ReconnectWait, defaultReconnectWait)),
		natsgo.ReconnectJitter(defaultReconnectWait/2, defaultReconnectWait/2),
		// A call that cannot be sent fails, and is not kept for another connection.
		natsgo.ReconnectBufSize(-1),
		// A password that is changed at the server is changed back sometimes.
		natsgo.IgnoreAuthErrorAbort(),
		natsgo.NoCallbacksAfterClientClose(),
		// Without these functions the library prints.
		natsgo.ErrorHandler(seen.asynchronous),
		natsgo.DisconnectErrHandler(seen.disconnected),
		natsgo.ReconnectErrHandler(seen.reconnectFailed),
		natsgo.ReconnectHandler(seen.reconnected),
	}
	auth, source, err := c.authentication()
	if err != nil {
		return nil, err
	}
	seen.source = source
	if auth != nil {
		opts = append(opts, auth)
	}
	if c.TLS {
		opts = append(opts, natsgo.Secure())
	}
	certificates, err := c.certificates()
	return append(opts, certificates...), err
}

// certificates returns the options with the certificates, whose files must be right
// now. The library reads them at each connect.
func (c *ReplicaClient) certificates() (opts []natsgo.Option, err error) {
	cas := c.RootCAs
	if ca := os.Getenv("NATS_CA"); len(cas) == 0 && ca != "" {
		cas = []string{ca}
	}
	for _, name := range cas {
		text, err := os.ReadFile(name)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = errors.New("no certificate is in it")
		}
		if err != nil {
			return nil, clientio.Permanent(fmt.Errorf("read certificate authority %s: %w", name, clientio.WithoutClass(err)))
		}
	}
	if len(cas) > 0 {
		opts = append(opts, natsgo.RootCAs(cas...))
	}
	cert, key := c.ClientCert, c.ClientKey
	if cert == "" {
		cert, key = os.Getenv("NATS_CERT"), os.Getenv("NATS_KEY")
	}
	if (cert == "") != (key == "") {
		return nil, clientio.Invalid("of NATS_CERT and NATS_KEY only one is set")
	}
	if cert != "" {
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			return nil, clientio.Permanent(fmt.Errorf("read client certificate %s with key %s: %w", cert, key, clientio.WithoutClass(err)))
		}
		opts = append(opts, natsgo.ClientCert(cert, key))
	}
	return opts, nil
}

// authentication returns the option with the credentials, nil for none, and where
// they come from. The order of the fields is upstream's.
func (c *ReplicaClient) authentication() (natsgo.Option, string, error) {
	switch {
	case c.UserJWT != nil:
		return natsgo.UserJWT(c.UserJWT, c.SigCB), "the function for the JWT", nil
	case c.JWT != "":
		return natsgo.UserJWTAndSeed(c.JWT, c.Seed), "the JWT", nil
	case c.Creds != "":
		return credsFile(c.Creds, "the credentials file "+c.Creds)
	case c.NKey != "":
		sign := c.SigCB
		if sign == nil {
			sign = signWith(c.Seed)
		}
		return natsgo.Nkey(c.NKey, sign), "nkey " + c.NKey, nil
	case c.NKeyFile != "":
		return nkeyFile(c.NKeyFile, "the nkey file "+c.NKeyFile)
	case c.Username != "" && c.Password != "":
		return natsgo.UserInfo(c.Username, c.Password), "user " + c.Username, nil
	case c.Token != "":
		return natsgo.Token(c.Token), "the token", nil
	case c.Username != "":
		return nil, "", clientio.Invalid("a user is set, but no password")
	}
	if file := os.Getenv("NATS_CREDS"); file != "" {
		return credsFile(file, "NATS_CREDS="+file)
	}
	if file := os.Getenv("NATS_NKEY"); file != "" {
		return nkeyFile(file, "NATS_NKEY="+file)
	}
	if user, password := os.Getenv("NATS_USER"), os.Getenv("NATS_PASSWORD"); user != "" && password != "" {
		return natsgo.UserInfo(user, password), "NATS_USER=" + user, nil
	}
	if token := os.Getenv("NATS_TOKEN"); token != "" {
		return natsgo.Token(token), "NATS_TOKEN", nil
	}
	return nil, "no credentials", nil
}

// credsFile returns the option for a file of credentials, which must exist now.
func credsFile(name, source string) (natsgo.Option, string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", clientio.Permanent(fmt.Errorf("read %s: %w", source, clientio.WithoutClass(errors.Unwrap(err))))
	}
	_ = f.Close() // nothing was read
	return natsgo.UserCredentials(name), source, nil
}

// nkeyFile returns the option for a file that holds the seed of an NKey.
func nkeyFile(name, source string) (natsgo.Option, string, error) {
	option, err := natsgo.NkeyOptionFromSeed(name)
	if err != nil {
		return nil, "", clientio.Permanent(fmt.Errorf("%s does not exist, or does not hold the seed of an nkey", source))
	}
	return option, source, nil
}

var errSeed = errors.New("seed is not one of an nkey")

// signWith returns a function that signs with a seed. Its errors do not show the
// seed.
func signWith(seed string) func([]byte) ([]byte, error) {
	return func(nonce []byte) ([]byte, error) {
		pair, err := nkeys.FromSeed([]byte(seed))
		if err != nil {
			return nil, errSeed
		}
		defer pair.Wipe()
		return pair.Sign(nonce)
	}
}

// streamName returns the name of the bucket's stream.
func (s *session) streamName() string { return "OBJ_" + s.bucket }

// metaSubject is the subject of the description of an object.
func (s *session) metaSubject(key string) string { return s.metaPrefix() + encodeName(key) }

func (s *session) metaPrefix() string { return "$O." + s.bucket + ".M." }

// chunkSubject is the subject of the chunks of a version of an object.
func (s *session) chunkSubject(nuid string) string { return "$O." + s.bucket + ".C." + nuid }
