package abs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	t.Cleanup(abs.RetryPartsAtOnce())
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 64 << 10
	return storetest.AnswerTest{
		Service: storetest.NewAzure(), Key: clientio.NewLayout("db").Key, LargeBody: partSize,
		NewClient: func(_ testing.TB, url string) replica.Client {
			c := abs.NewReplicaClient()
			c.AccountName, c.AccountKey, c.Endpoint = account, accountKey, url+"/"+account
			c.Bucket, c.Path, c.PartSize, c.Transport = storetest.Bucket, "db", partSize, tr
			return c
		},
		Natural: func(r *http.Request) int {
			switch {
			case r.Method == http.MethodDelete, r.URL.Query().Get("comp") == "batch":
				return http.StatusAccepted
			case r.Method == http.MethodPut:
				return http.StatusCreated
			case r.Header.Get("Range") != "", r.Header.Get("X-Ms-Range") != "":
				return http.StatusPartialContent
			}
			return http.StatusOK
		},
	}
}

func TestWrongAnswers(t *testing.T) { storetest.RunWrongAnswers(t, answerTest(t)) }

func TestWrongRefusals(t *testing.T) { storetest.RunWrongRefusals(t, answerTest(t)) }

func TestEndlessAnswers(t *testing.T) { storetest.RunEndlessAnswers(t, answerTest(t), 64<<20) }

// Those that hand out tokens cannot send without an end either.
func TestEndlessAnswers_Tokens(t *testing.T) {
	for name, value := range map[string]string{
		"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "secret", "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
		"LITESTREAM_AZURE_ACCOUNT_KEY": "", "LITESTREAM_AZURE_SAS_TOKEN": "",
	} {
		t.Setenv(name, value)
	}
	url, check := storetest.EndlessServer(t)
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	c := abs.NewReplicaClient()
	c.Endpoint, c.Bucket = "https://account.example.com", "bucket"
	c.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(url, "http://")
		return tr.RoundTrip(r)
	})
	_, err := listAll(t.Context(), c, 0)
	check(err)
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
