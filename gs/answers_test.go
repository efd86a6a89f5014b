package gs_test

import (
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	noCredentials(t)
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 256 << 10 // the least there is
	return storetest.AnswerTest{
		Service: storetest.NewGCS(), Key: clientio.NewLayout("db").Key, LargeBody: partSize,
		NewClient: func(_ testing.TB, url string) litestream.ReplicaClient {
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

func TestEndlessAnswers(t *testing.T) { storetest.RunEndlessAnswers(t, answerTest(t), 16<<20) }
