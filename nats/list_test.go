package nats_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/superfly/ltx"
)

// A listing takes more than one batch, and files are replaced between two of them. Each
// is listed once.
func TestList_Replaced(t *testing.T) {
	noEnvironment(t)
	const files = 4100
	url := testServer(t)
	bucket := newBucket(t, url)
	js := library(t, url)
	describe := func(txid ltx.TXID, nuid string) *natsgo.Msg {
		key := "some/path/ltx/0/" + ltx.FormatFilename(txid, txid)
		msg := natsgo.NewMsg("$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(key)))
		msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		msg.Data = fmt.Appendf(nil, `{"name":%q,"bucket":%q,"nuid":%q,"size":5,"chunks":1,"options":{"max_chunk_size":128}}`, key, bucket, nuid)
		return msg
	}
	for txid := range ltx.TXID(files) {
		if _, err := js.PublishMsgAsync(describe(txid+1, fmt.Sprint("old", txid))); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
		t.Fatal("the files are not stored")
	}

	rec := newRecorder(t, url)
	batches := 0
	rec.before = func(subject string) {
		if !strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") {
			return
		}
		if batches++; batches == 2 {
			for _, txid := range []ltx.TXID{1, files - 1} { // one that was listed, and one that was not
				if _, err := js.PublishMsg(t.Context(), describe(txid, "new")); err != nil {
					t.Error(err)
				}
			}
		}
	}
	itr, err := newClient(t, rec.url, bucket).LTXFiles(t.Context(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := ltx.SliceFileIterator(itr)
	if err != nil {
		t.Fatal(err)
	}
	if err := itr.Close(); err != nil {
		t.Fatal(err)
	}
	if batches < 2 {
		t.Fatalf("the listing took %d batches", batches)
	}
	if len(infos) != files {
		t.Errorf("%d files are listed, want %d", len(infos), files)
	}
	for i, info := range infos {
		if info.MinTXID != ltx.TXID(i+1) {
			t.Fatalf("file %d is %s", i, info.MinTXID)
		}
	}
}
