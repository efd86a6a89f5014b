package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/s3"
)

const emptyListing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

// keyOf returns the access key that signed a request.
func keyOf(req *http.Request) string {
	_, rest, _ := strings.Cut(req.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(rest, "/")
	return key
}

func TestCredentials_Environment(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		env                    map[string]string
		key, token, wantSource string
		endpoint               string // variable
	}{
		{
			"aws", map[string]string{"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": "C"},
			"A", "C", "AWS_ACCESS_KEY_ID", "LITESTREAM_S3_ENDPOINT",
		},
		{
			"litestream", map[string]string{"LITESTREAM_ACCESS_KEY_ID": "L", "LITESTREAM_SECRET_ACCESS_KEY": "M", "LITESTREAM_SESSION_TOKEN": "N"},
			"L", "N", "LITESTREAM_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_S3",
		},
		{
			"aws first", map[string]string{
				"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B",
				"LITESTREAM_ACCESS_KEY_ID": "L", "LITESTREAM_SECRET_ACCESS_KEY": "M",
			}, "A", "", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL",
		},
		{"half", map[string]string{"LITESTREAM_ACCESS_KEY_ID": "L"}, "", "", "without the other", "AWS_ENDPOINT_URL"},
		{"profile", map[string]string{"AWS_PROFILE": "p"}, "P", "", "SharedConfigCredentials", "AWS_ENDPOINT_URL"},
		{"no profile", map[string]string{"AWS_PROFILE": "q"}, "", "", "profile q does not exist", "AWS_ENDPOINT_URL"},
		{"none", nil, "", "", "none found", "AWS_ENDPOINT_URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noEnvironment(t)
			var key, token atomic.Value
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				key.Store(keyOf(req))
				token.Store(req.Header.Get("X-Amz-Security-Token"))
				refuse(403, "AccessDenied", "no")(w, req)
			}))
			defer srv.Close()
			t.Setenv(tt.endpoint, srv.URL)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			writeFile(t, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "[p]\naws_access_key_id = P\naws_secret_access_key = Q\n")
			c := fromURL(t, "s3://bucket/path")
			defer c.Close()
			_, err := list(t.Context(), c, false)
			if err == nil || !strings.Contains(err.Error(), tt.wantSource) || !isPermanent(err) {
				t.Errorf("got %v, want %q", err, tt.wantSource)
			}
			if tt.key != "" && (key.Load() != tt.key || token.Load() != tt.token) {
				t.Errorf("key %v, token %v", key.Load(), token.Load())
			}
		})
	}
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Credentials that expire are replaced in time, and those that a server calls
// expired at once.
func TestCredentials_Refresh(t *testing.T) {
	noEnvironment(t)
	var handed atomic.Int64
	var expires time.Duration
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":"K%d","SecretAccessKey":"S","Token":"T","Expiration":%q}`,
			handed.Add(1), time.Now().Add(expires).UTC().Format(time.RFC3339))
	}))
	defer issuer.Close()
	var last atomic.Value
	var expired atomic.Value
	expired.Store("")
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		last.Store(keyOf(req))
		if keyOf(req) == expired.Load() {
			refuse(400, "ExpiredToken", "The provided token has expired.")(w, req)
			return
		}
		_, _ = io.WriteString(w, emptyListing)
	}))
	defer store.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", issuer.URL)
	t.Setenv("LITESTREAM_S3_ENDPOINT", store.URL)
	use := func(c *s3.ReplicaClient, want string) {
		t.Helper()
		if _, err := list(t.Context(), c, false); err != nil || last.Load() != want {
			t.Errorf("key %v, error %v, want %s", last.Load(), err, want)
		}
	}

	expires = -time.Minute // at once
	c := fromURL(t, "s3://bucket/path")
	defer c.Close()
	use(c, "K1")
	expires = time.Hour
	use(c, "K2")
	use(c, "K2")

	expired.Store("K2")
	if _, err := list(t.Context(), c, false); err == nil || isPermanent(err) {
		t.Errorf("got %v, want one that may be retried", err)
	}
	use(c, "K3")
}

// A credential process is run again, and what it prints is not shown.
func TestCredentials_Process(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("runs a shell script")
	}
	noEnvironment(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "issue")
	output := filepath.Join(dir, "output")
	writeFile(t, script, "#!/bin/sh\ncat "+output+" 2>/dev/null || exit 3\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, os.Getenv("AWS_CONFIG_FILE"), "[default]\ncredential_process = "+script+"\n")
	var last atomic.Value
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		last.Store(keyOf(req))
		_, _ = io.WriteString(w, emptyListing)
	}))
	defer store.Close()
	c := fromURL(t, "s3://bucket/path?endpoint="+store.URL)
	defer c.Close()

	for _, content := range []string{"", `{"SecretAccessKey": "` + inURL + `"`} {
		if content != "" {
			writeFile(t, output, content)
		}
		_, err := list(t.Context(), c, false)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "credential_process") || strings.Contains(err.Error(), inURL) {
			t.Errorf("got %v", err)
		}
	}
	for _, key := range []string{"K1", "K2"} {
		writeFile(t, output, fmt.Sprintf(`{"Version":1,"AccessKeyId":%q,"SecretAccessKey":"S","SessionToken":"T","Expiration":"2020-01-01T00:00:00Z"}`, key))
		if _, err := list(t.Context(), c, false); err != nil || last.Load() != key {
			t.Errorf("key %v, error %v, want %s", last.Load(), err, key)
		}
	}
}

// Where there is neither a region nor an endpoint, AWS is asked, once.
func TestRegion(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		region  string
		want    string // of the requests; "": an error
		mention string
	}{
		{"200", 200, "eu-west-1", "eu-west-1", ""},
		{"301", 301, "ap-south-1", "ap-south-1", ""},
		{"403", 403, "us-west-2", "us-west-2", ""},
		{"404", 404, "", "", "bucket does not exist"},
		{"no answer", 403, "", "", "set the region"},
		{"503", 503, "", "", "503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noEnvironment(t)
			var heads atomic.Int64
			var hosts sync.Map
			c := s3.NewReplicaClient()
			c.AccessKeyID, c.SecretAccessKey, c.Bucket = testKey, testSecret, "some-bucket"
			c.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodHead {
					heads.Add(1)
					if req.Header.Get("Authorization") != "" || req.URL.Host != "some-bucket.s3.us-east-1.amazonaws.com" {
						t.Errorf("asks %s with %q", req.URL.Host, req.Header.Get("Authorization"))
					}
					resp := answer(req, tt.status, "", "")
					if tt.region != "" {
						resp.Header.Set("X-Amz-Bucket-Region", tt.region)
					}
					return resp, nil
				}
				hosts.Store(req.URL.Host, true)
				if !strings.Contains(req.Header.Get("Authorization"), "/"+tt.want+"/s3/") {
					t.Errorf("signed for another region: %s", req.Header.Get("Authorization"))
				}
				resp := answer(req, 200, "", "")
				resp.Body = io.NopCloser(strings.NewReader(emptyListing))
				return resp, nil
			})
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					_, err := list(t.Context(), c, false)
					if (err == nil) != (tt.want != "") || err != nil && (!strings.Contains(err.Error(), tt.mention) || errors.Is(err, fs.ErrNotExist)) {
						t.Errorf("got %v", err)
					}
				})
			}
			group.Wait()
			if tt.want != "" {
				if _, ok := hosts.Load("some-bucket.s3." + tt.want + ".amazonaws.com"); !ok || heads.Load() != 1 {
					t.Errorf("%d requests for the region", heads.Load())
				}
			} else if isPermanent(c.Init(t.Context())) != (tt.status < 500) {
				t.Errorf("wrong class: %v", c.Init(t.Context()))
			}
		})
	}
}

// A call of Init that waits for another one has a context of its own. If the
// caller of the other one gives up, that is no error of this call.
func TestInit_Waiting(t *testing.T) {
	noEnvironment(t)
	c := s3.NewReplicaClient()
	c.AccessKeyID, c.SecretAccessKey, c.Bucket = testKey, testSecret, "some-bucket"
	asked := make(chan struct{}, 10)
	var answered atomic.Bool
	c.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		wait := !answered.Load()
		asked <- struct{}{}
		if wait {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		resp := answer(req, 200, "", "")
		resp.Header.Set("X-Amz-Bucket-Region", "eu-west-1")
		return resp, nil
	})
	leaderCtx, stopLeader := context.WithCancel(t.Context())
	leader, patient := make(chan error, 1), make(chan error, 1)
	go func() { leader <- c.Init(leaderCtx) }()
	select {
	case <-asked:
	case err := <-leader:
		t.Fatalf("leader did not ask: %v", err)
	}
	hastyCtx, stopHasty := context.WithCancel(t.Context())
	stopHasty()
	if err := c.Init(hastyCtx); !errors.Is(err, context.Canceled) {
		t.Errorf("hasty: %v", err)
	}
	go func() { patient <- c.Init(t.Context()) }()
	answered.Store(true)
	stopLeader()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Errorf("leader: %v", err)
	}
	if err := <-patient; err != nil {
		t.Errorf("patient: %v", err)
	}
}
