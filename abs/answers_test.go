package abs_test

import (
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	t.Cleanup(abs.RetryPartsAtOnce())
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 64 << 10
	return storetest.AnswerTest{
		Service: storetest.NewAzure(), Key: clientio.NewLayout("db").Key, LargeBody: partSize,
		NewClient: func(_ testing.TB, url string) litestream.ReplicaClient {
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

func TestEndlessAnswers(t *testing.T) { storetest.RunEndlessAnswers(t, answerTest(t), 64<<20) }
