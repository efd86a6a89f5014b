package gs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	noCredentials(t)
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 256 << 10 // the least there is
	return storetest.AnswerTest{
		Service: storetest.NewGCS(), Key: clientio.NewLayout("db").Key, LargeBody: partSize,
		NewClient: func(_ testing.TB, url string) replica.Client {
			c := gs.NewReplicaClient()
			c.Bucket, c.Path, c.Endpoint, c.PartSize, c.Transport = storetest.Bucket, "db", url, partSize, tr
			return c
		},
		Natural: func(r *http.Request) int {
			switch {
			case r.Method == http.MethodDelete:
				return http.StatusNoContent
			case r.Header.Get("Range") != "":
				return http.StatusPartialContent
			}
			return http.StatusOK
		},
	}
}

func TestWrongAnswers(t *testing.T) { storetest.RunWrongAnswers(t, answerTest(t)) }

func TestWrongRefusals(t *testing.T) { storetest.RunWrongRefusals(t, answerTest(t)) }

func TestEndlessAnswers(t *testing.T) { storetest.RunEndlessAnswers(t, answerTest(t), 16<<20) }

// Those that hand out tokens cannot send without an end either.
func TestEndlessAnswers_Tokens(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, url string){
		"metadata server": func(t *testing.T, url string) {
			noCredentials(t)
			t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(url, "http://"))
		},
		"service account": func(t *testing.T, url string) { setCredentials(t, url) },
	} {
		t.Run(name, func(t *testing.T) {
			url, check := storetest.EndlessServer(t)
			use(t, url)
			c := gs.NewReplicaClient()
			c.Bucket, c.Endpoint = "bucket", "https://127.0.0.1:1"
			t.Cleanup(func() { c.Close() })
			_, err := list(t.Context(), c)
			check(err)
		})
	}
}

// An answer without a token is none, and not one that is refused.
func TestTokens_None(t *testing.T) {
	tokens := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"expires_in": 3600}) })
	setCredentials(t, tokens.URL)
	asked := newTLSServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, listing) })
	_, err := list(t.Context(), asked.client(t))
	wantError(t, err, "transient", "no token")
	if requests := asked.asked(); len(requests) > 0 {
		t.Errorf("requests without a token: %q", requests)
	}
}
