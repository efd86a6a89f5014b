package replicatest

import (
	"context"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

var versionMutants = []mutant{
	{
		name:   "reads whatever version there is",
		killed: []string{"Versions/a read gives the version asked for, or fs.ErrNotExist"},
		mutate: func(f *fake) {
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				return f.ReplicaClient.OpenLTXFile(clientio.WithVersion(ctx, ""), level, minTXID, maxTXID, offset, size)
			}
		},
	},
	{
		name:   "checks a version only if one is asked for",
		killed: []string{"Versions/a read reports the version that a listing reports"},
		mutate: func(f *fake) {
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				if clientio.Version(ctx) == "" {
					ctx = clientio.WithReadNoter(ctx, func(string) {})
				}
				return f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
			}
		},
	},
	{
		name:   "tells one version of all",
		killed: []string{"Versions/a file that is replaced has another version", "Versions/a read reports the version that a listing reports"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				one := clientio.WithVersionNoter(ctx, func(info *ltx.FileInfo, _ string) { clientio.NoteVersion(ctx, info, "1") })
				return f.ReplicaClient.LTXFiles(one, level, seek, useMetadata)
			}
		},
	},
}
