package s3_test

import (
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/s3"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	noEnvironment(t)
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 64 << 10
	return storetest.AnswerTest{
		Service: storetest.NewS3(), Key: clientio.NewHexLayout("db").Key, LargeBody: partSize,
		NewClient: func(t testing.TB, url string) replica.Client {
			s := &server{endpoint: url, key: testKey, secret: testSecret, bucket: storetest.Bucket}
			c := s.client(t, "db", tr)
			if err := s3.SetPartSize(t.Context(), c, partSize); err != nil {
				t.Fatal(err)
			}
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

// Those that hand out credentials cannot send without an end either.
func TestEndlessAnswers_Credentials(t *testing.T) {
	noEnvironment(t)
	url, check := storetest.EndlessServer(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url+"/credentials")
	s := &server{endpoint: "http://127.0.0.1:1", bucket: "bucket"}
	_, err := list(t.Context(), s.client(t, "db", nil), false)
	check(err)
}
