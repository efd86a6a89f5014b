package s3_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/replica"
)

// No log and no error has anything in it that would let someone in.
func TestNoSecrets(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	const token = "s3cr3t-token"
	sseKey := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	var out testlog.Buffer
	log := testlog.New(t, &out)
	report := func(err error) {
		if err != nil {
			log.Info("error", "error", err, "full", fmt.Sprintf("%+v %#v", err, err.Error()))
		}
	}

	path := newPath()
	primary := ltxtest.New(t, s.client(t, path, nil), ltxtest.Options{})
	primary.Exec("CREATE TABLE t (x)")
	opts := func() *litestream.Options {
		return &litestream.Options{Logger: log, OpenTimeout: 300 * time.Millisecond, PollInterval: 20 * time.Millisecond}
	}
	signature := make(chan string, 10_000)
	tr := s.ownTransport(t)
	note := func(answerWith func(*http.Request) (*http.Response, error)) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			if _, sig, ok := strings.Cut(req.Header.Get("Authorization"), "Signature="); ok {
				select {
				case signature <- sig:
				default:
				}
			}
			return answerWith(req)
		})
	}
	echo := func(status int, code string) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			return answer(req, status, code, fmt.Sprintf("you sent %s and %s and %s and %s", testKey, testSecret, token, sseKey)), nil
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
		change func(key, secret, token *string)
	}{
		{"success", tr.RoundTrip, func(_, _, token *string) { *token = "" }},
		{"wrong secret", tr.RoundTrip, func(_, secret, token *string) { *secret, *token = "wr0ngsecret", "" }},
		{"wrong key", tr.RoundTrip, func(key, _, token *string) { *key, *token = "wr0ngkey", "" }},
		{"echo 403", echo(403, "AccessDenied"), nil},
		{"echo 400", echo(400, "ExpiredToken"), nil},
		{"echo 503", echo(503, "SlowDown"), nil},
		{"echo in the code", echo(400, testSecret), nil},
		{"no xml", func(req *http.Request) (*http.Response, error) {
			resp := answer(req, 200, "", "")
			resp.Body = io.NopCloser(strings.NewReader(token + testSecret))
			return resp, nil
		}, nil},
	} {
		c := s.client(t, path, note(tt.answer))
		c.SessionToken, c.Logger = token, log
		if tt.change != nil {
			tt.change(&c.AccessKeyID, &c.SecretAccessKey, &c.SessionToken)
		} else {
			// The server does not take such keys without TLS.
			c.SSECustomerKey = sseKey
		}
		for _, do := range operations {
			report(do(t.Context(), c))
		}
		db, err := openVFS(t, c, opts())
		report(err)
		var status string
		report(db.QueryRow("PRAGMA litestream_status").Scan(&status))
		log.Info("status", "status", status)
	}
	for _, rawURL := range []string{
		"s3://" + testKey + ":" + testSecret + "@bucket/path", "s3://bucket/path?sse-customer-key=" + sseKey + "&part-size=" + testSecret,
		"s3://bucket/path?endpoint=https://u:" + testSecret + "@host", "s3://" + testKey + ":" + testSecret + "@:x/%zz",
	} {
		_, err := replica.NewFromURL(rawURL)
		if err == nil {
			t.Errorf("%s: no error", rawURL)
		}
		report(err)
	}

	close(signature)
	secrets := []string{testSecret, testKey, token, sseKey, "wr0ngsecret", "wr0ngkey", "Signature="}
	for sig := range signature {
		secrets = append(secrets, sig)
	}
	text := out.String()
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%q is in the log: %s", secret, text[max(0, i-300):min(len(text), i+100)])
			break
		}
	}
	if len(secrets) < 20 || !strings.Contains(text, "SlowDown") || !strings.Contains(text, "[redacted]") {
		t.Error("not everything was logged")
	}
}
