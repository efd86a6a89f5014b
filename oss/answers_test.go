package oss_test

import (
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// answerTest is a test of answers with a service of the test's own.
func answerTest(t *testing.T) storetest.AnswerTest {
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	const partSize = 100 << 10 // the least there is
	return storetest.AnswerTest{
		Service: storetest.NewOSS(), Key: clientio.NewHexLayout("db").Key, LargeBody: partSize,
		NewClient: func(t testing.TB, url string) replica.Client {
			c := (&server{url: url}).client(t, "db", tr)
			c.PartSize = partSize
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
