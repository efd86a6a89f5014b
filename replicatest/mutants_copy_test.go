package replicatest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// copyWith returns a copy that reads the other file and stores it with put.
func copyWith(store put) func(context.Context, replica.Client, int, ltx.TXID, ltx.TXID) (*ltx.FileInfo, error) {
	return func(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
		body, err := from.OpenLTXFile(ctx, level, minTXID, maxTXID, 0, 0)
		if err != nil {
			return nil, err
		}
		info, err := store(ctx, level, minTXID, maxTXID, body)
		return info, errors.Join(err, body.Close())
	}
}

var copyMutants = []mutant{
	{
		name: "copies over a file",
		killed: []string{
			"CopyLTXFile/an existing file is fs.ErrExist and does not change",
			"CopyLTXFile/of concurrent calls exactly one succeeds",
		},
		mutate: func(f *fake) { f.copy = copyWith(f.ReplicaClient.WriteLTXFile) },
	},
	{
		name:   "copies from any store",
		killed: []string{"CopyLTXFile/a client of another store is errors.ErrUnsupported"},
		mutate: func(f *fake) { f.copy = copyWith(f.ReplicaClient.CreateLTXFile) },
	},
	{
		name:   "copies any version",
		killed: []string{"CopyLTXFile/another version than the context asks for is fs.ErrNotExist"},
		mutate: func(f *fake) {
			inner := f.copy
			f.copy = func(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
				return inner(clientio.WithVersion(ctx, ""), from, level, minTXID, maxTXID)
			}
		},
	},
	{
		name:   "copies a part of a file",
		killed: []string{"CopyLTXFile/the file has the content and the timestamp of the other one"},
		mutate: func(f *fake) {
			f.copy = copyWith(func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				return f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, io.LimitReader(r, 200))
			})
		},
	},
	{
		name:   "copies what is not there",
		killed: []string{"CopyLTXFile/a missing file is fs.ErrNotExist"},
		mutate: func(f *fake) {
			f.copy = func(ctx context.Context, _ replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
				return f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, bytes.NewReader(file{level, minTXID, maxTXID}.body()))
			}
		},
	},
	{
		name:   "copies after the end of the context",
		killed: []string{"CopyLTXFile/returns the error of its context"},
		mutate: func(f *fake) {
			inner := f.copy
			f.copy = func(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
				return inner(context.WithoutCancel(ctx), from, level, minTXID, maxTXID)
			}
		},
	},
}
