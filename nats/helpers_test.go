package nats_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/nats"
)

// ltxFile returns a body of a size with an LTX header. The rest is no LTX file.
func ltxFile(txid ltx.TXID, size int) []byte {
	body := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: 1, MinTXID: txid, MaxTXID: txid, Timestamp: 1_700_000_000_000},
		map[uint32][]byte{1: make([]byte, 512)}, false)
	return append(body, make([]byte, size-len(body))...)
}

func write(t testing.TB, client *nats.ReplicaClient, txid ltx.TXID, size int) {
	t.Helper()
	if _, err := client.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(ltxFile(txid, size))); err != nil {
		t.Fatal(err)
	}
}

func isExist(err error) bool { return errors.Is(err, fs.ErrExist) }

func asError[E error](err error, target *E) bool { return errors.As(err, target) }
