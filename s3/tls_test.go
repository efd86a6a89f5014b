package s3_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/s3"
)

// authority returns a certificate of 127.0.0.1 by an authority that no machine
// trusts, and the certificate of the authority in PEM.
func authority(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
}

// serveTLS serves handler with a certificate by an authority of its own.
func serveTLS(t testing.TB, handler http.Handler) (address string, ca []byte) {
	t.Helper()
	cert, ca := authority(t)
	srv := httptest.NewUnstartedServer(handler)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, ca
}

// A real server behind TLS with a private authority.
func TestPrivateAuthority(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	upstream, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	tr := s.ownTransport(t)
	address, ca := serveTLS(t, &httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		r.Out.Host = r.In.Host // which is signed
	}})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	own := clientio.NewTransport(&tls.Config{RootCAs: pool})
	t.Cleanup(own.CloseIdleConnections)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, bundle, string(ca))

	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, c *s3.ReplicaClient)
		ok    bool
	}{
		{"nothing", func(*testing.T, *s3.ReplicaClient) {}, false},
		{"Transport", func(_ *testing.T, c *s3.ReplicaClient) { c.Transport = own }, true},
		{"AWS_CA_BUNDLE", func(t *testing.T, _ *s3.ReplicaClient) { t.Setenv("AWS_CA_BUNDLE", bundle) }, true},
		{"SkipVerify", func(_ *testing.T, c *s3.ReplicaClient) { c.SkipVerify = true }, true},
		{"SkipVerify with AWS_CA_BUNDLE", func(t *testing.T, c *s3.ReplicaClient) {
			t.Setenv("AWS_CA_BUNDLE", bundle)
			c.SkipVerify = true
		}, true},
		{"unsigned bodies", func(_ *testing.T, c *s3.ReplicaClient) { c.Transport, c.SignPayload = own, false }, true},
		{"no bundle", func(t *testing.T, _ *s3.ReplicaClient) { t.Setenv("AWS_CA_BUNDLE", bundle+"x") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.newClient(t)
			c.Endpoint = address
			tt.setup(t, c)
			_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(smallFile))
			if (err == nil) != tt.ok || err != nil && !isPermanent(err) {
				t.Fatalf("got %v", err)
			}
			if !tt.ok {
				return
			}
			if got, err := read(t.Context(), c, 0, 1, 0, 0); err != nil || !bytes.Equal(got, smallFile) {
				t.Errorf("read: %d bytes, %v", len(got), err)
			}
			if err := operations["delete"](t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Which requests have which headers of encryption, and how bodies are signed.
func TestEncryption_Headers(t *testing.T) {
	noEnvironment(t)
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	var mu sync.Mutex
	var seen []string // guarded by mu
	address, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		const prefix = "X-Amz-Server-Side-Encryption"
		what := req.Method
		q := req.URL.Query()
		switch {
		case q.Has("uploads"):
			what = "BEGIN"
		case q.Has("partNumber"):
			what = "PART"
		case q.Has("uploadId"):
			what = "COMPLETE"
		case q.Has("list-type"):
			what = "LIST"
		}
		if req.Header.Get(prefix+"-Customer-Algorithm") == "AES256" && req.Header.Get(prefix+"-Customer-Key") == key &&
			len(req.Header.Get(prefix+"-Customer-Key-Md5")) == 24 {
			what += " C"
		}
		if req.Header.Get(prefix) == "aws:kms" && req.Header.Get(prefix+"-Aws-Kms-Key-Id") == "my-key" {
			what += " KMS"
		}
		if n > 0 && req.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD" {
			what += " unsigned"
		}
		mu.Lock()
		if !slices.Contains(seen, what) {
			seen = append(seen, what)
		}
		mu.Unlock()
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("X-Amz-Request-Id", "request")
		switch {
		case strings.HasPrefix(what, "LIST"):
			_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated>"+
				"<Contents><Key>r/0000/0000000000000001-0000000000000001.ltx</Key><Size>5</Size></Contents></ListBucketResult>")
		case strings.HasPrefix(what, "BEGIN"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case strings.HasPrefix(what, "COMPLETE"):
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
		}
	}))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := clientio.NewTransport(&tls.Config{RootCAs: pool})
	t.Cleanup(tr.CloseIdleConnections)
	for _, tt := range []struct {
		name  string
		setup func(*s3.ReplicaClient)
		want  string
	}{
		{"none", func(*s3.ReplicaClient) {}, "LIST HEAD GET PUT BEGIN PART COMPLETE"},
		{"SSE-C", func(c *s3.ReplicaClient) { c.SSECustomerKey = key }, "LIST HEAD C GET C PUT C BEGIN C PART C COMPLETE C"},
		{"SSE-KMS", func(c *s3.ReplicaClient) { c.SSEKMSKeyID = "my-key" }, "LIST HEAD GET PUT KMS BEGIN KMS PART COMPLETE"},
		{"unsigned", func(c *s3.ReplicaClient) { c.SignPayload = false }, "LIST HEAD GET PUT unsigned BEGIN PART unsigned COMPLETE unsigned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := (&server{endpoint: address, key: testKey, secret: testSecret, bucket: "bucket"}).client(t, "r", tr)
			c.PartSize = 5 << 20
			tt.setup(c)
			seen = nil
			if _, err := list(t.Context(), c, true); err != nil {
				t.Error(err)
			}
			if _, err := read(t.Context(), c, 0, 1, 0, 0); err != nil {
				t.Error(err)
			}
			write(t, c, 0, 1, smallFile)
			write(t, c, 0, 1, file(t, 1, 6<<20))
			if got := strings.Join(seen, " "); got != tt.want {
				t.Errorf("got  %s,\nwant %s", got, tt.want)
			}
		})
	}
}
