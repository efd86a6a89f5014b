package nats_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/nats"
)

// descriptionOf returns a message that stores the description of a file of level 0.
func descriptionOf(bucket string, txid ltx.TXID, nuid string) *natsgo.Msg {
	key := "some/path/ltx/0/" + ltx.FormatFilename(txid, txid)
	msg := natsgo.NewMsg("$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(key)))
	msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	msg.Data = fmt.Appendf(nil, `{"name":%q,"bucket":%q,"nuid":%q,"size":5,"chunks":1,"options":{"max_chunk_size":128}}`, key, bucket, nuid)
	return msg
}

// listLevel0 lists level 0.
func listLevel0(ctx context.Context, client *nats.ReplicaClient) ([]*ltx.FileInfo, error) {
	itr, err := client.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		return nil, err
	}
	infos, err := ltx.SliceFileIterator(itr)
	return infos, errors.Join(err, itr.Close())
}

// A listing takes more than one batch, and files are replaced between two of them. Each
// is listed once.
func TestList_Replaced(t *testing.T) {
	noEnvironment(t)
	const files = 4100
	url := testServer(t)
	bucket := newBucket(t, url)
	js := library(t, url)
	for txid := range ltx.TXID(files) {
		if _, err := js.PublishMsgAsync(descriptionOf(bucket, txid+1, fmt.Sprint("old", txid))); err != nil {
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
				if _, err := js.PublishMsg(t.Context(), descriptionOf(bucket, txid, "new")); err != nil {
					t.Error(err)
				}
			}
		}
	}
	infos, err := listLevel0(t.Context(), newClient(t, rec.url, bucket))
	if err != nil {
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

// A listing ends although another file comes each time that it asks for more. It has
// those that were there at its beginning.
func TestList_Busy(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	js := library(t, url)
	store := func(txid ltx.TXID) {
		if _, err := js.PublishMsg(t.Context(), descriptionOf(bucket, txid, fmt.Sprint("file", txid))); err != nil {
			t.Error(err)
		}
	}
	const files = 3
	newest := ltx.TXID(files)
	for txid := range newest {
		store(txid + 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := newRecorder(t, url)
	rec.before = func(subject string) {
		if !strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") {
			return
		}
		newest++
		store(newest)
		if newest == 20*files {
			cancel()
		}
	}
	infos, err := listLevel0(ctx, newClient(t, rec.url, bucket))
	if err != nil {
		t.Fatalf("%d files have come, and the listing goes on: %v", newest-files, err)
	}
	if newest == files {
		t.Error("no file has come meanwhile")
	}
	for txid := range ltx.TXID(files) {
		if int(txid) >= len(infos) || infos[txid].MinTXID != txid+1 {
			t.Fatalf("file %d of %d is missing", txid+1, len(infos))
		}
	}
}
