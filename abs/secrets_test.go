package abs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/replica"
)

var vfsNames atomic.Int64

// No secret is in any log or error, whatever happens.
func TestSecrets(t *testing.T) {
	newReplica := func() *abs.ReplicaClient {
		c := newClient(t)
		primary := ltxtest.New(t, c, ltxtest.Options{})
		primary.Exec("CREATE TABLE t (x)")
		primary.Exec("INSERT INTO t VALUES (1)")
		return c
	}
	good := newReplica()

	all := sas.AccountPermissions{Read: true, List: true, Write: true, Create: true, Delete: true}
	valid := accountSAS(t, all, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	expired := accountSAS(t, all, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	const wrongKey = "d3Jvbmcga2V5IHdyb25nIGtleQ=="
	secrets := []string{accountKey, wrongKey, "sig=", "SharedKey ", "Bearer ", "secret"}
	for _, token := range []string{valid, expired} {
		query, err := url.ParseQuery(token)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, query.Get("sig"), url.QueryEscape(query.Get("sig")))
	}

	var log testlog.Buffer
	note := func(err error) {
		if err != nil {
			fmt.Fprintln(&log, err)
		}
	}
	clients := map[string]*abs.ReplicaClient{
		"key": newReplica(), "sas": withSAS(t, newReplica(), valid), "expired": withSAS(t, good, expired),
		"wrong key": keyClient(t, good.Bucket), "wrong container": withSAS(t, good, valid), "wrong host": withSAS(t, good, valid),
		"malformed endpoint": withSAS(t, good, valid), "malformed sas": withSAS(t, good, "secret%zz"), "malformed key": keyClient(t, good.Bucket),
		"broken": withSAS(t, good, valid), "plain http": withSAS(t, good, ""),
	}
	clients["wrong key"].AccountKey = wrongKey
	clients["wrong container"].Bucket = "no-such-container"
	clients["wrong host"].Endpoint = "http://127.0.0.1:1/" + account
	clients["malformed endpoint"].Endpoint = "http://h/?sig=secret\x7f"
	clients["malformed key"].AccountKey = "secret!"
	clients["broken"].Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: r.Method, URL: r.URL.String(), Err: errors.New("broken")}
	})
	clients["plain http"].Credential = &tokens{}

	for name, c := range clients {
		opts := &litestream.Options{Logger: testlog.New(t, &log), OpenTimeout: time.Second, ReadTimeout: time.Second, PollInterval: 10 * time.Millisecond}
		vfs := litestream.NewVFS(c, opts)
		vfsName := fmt.Sprintf("abs-secrets-%d", vfsNames.Add(1))
		if err := vfstest.Register(vfsName, vfs); err != nil {
			t.Fatal(err)
		}
		db, err := sqlitetest.Open("file:app.db?mode=ro&vfs=" + vfsName)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n)
		note(err)
		if ok := name == "key" || name == "sas"; ok != (err == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		for _, call := range methods(t) {
			note(call(t.Context(), c))
		}
		note(c.Init(t.Context()))
		_, err = c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader([]byte("no header")))
		note(err)
		note(db.Close())
		note(vfs.Close(context.Background()))
	}
	for _, text := range []string{
		"abs://account:secret@container/path", "abs://c%zz:secret@container", "abs://container/?sig=secret",
		"abs://container/path?endpoint=https%3A%2F%2Fh%2F%3Fsig%3Dsecret", "abs://secret:x y@container",
	} {
		_, err := replica.NewFromURL(text)
		if err == nil {
			t.Errorf("%s: no error", text)
		}
		note(err)
	}
	text := log.String()
	for _, secret := range secrets {
		for line := range strings.Lines(text) {
			if strings.Contains(line, secret) {
				t.Errorf("%q is in: %s", secret, line)
				break
			}
		}
	}
	if strings.Count(text, "\n") < 50 {
		t.Errorf("the log has little: %s", text)
	}
}
